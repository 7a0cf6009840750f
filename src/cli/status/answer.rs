//! PURE. The first line of `status`: what happens, why, and what to do.

use jiff::Timestamp;
use kube::ResourceExt;

use super::question::{Question, resume};
use super::sides::Side;
use crate::api::condition::types;
use crate::api::cutover::Cutover;
use crate::api::phase::Phase;
use crate::api::run::StepState;
use crate::cli::text::time;
use crate::view;

/// What the answer is made from.
pub(crate) struct Known<'a> {
    pub cutover: &'a Cutover,
    pub run: Option<&'a view::Run<'a>>,
    /// The newest run, where another one is asked about.
    pub newer: Option<String>,
    pub question: Option<&'a Question>,
    pub sides: &'a [Side],
    /// What printed commands need behind them.
    pub flags: &'a str,
    pub now: Timestamp,
}

/// The answer to somebody who looks at 3 a.m.
pub(crate) struct Answer {
    /// One sentence, without the name of the Cutover.
    pub says: String,
    /// What to do: whole commands.
    pub next: Option<String>,
    /// It tells of trouble that the phase does not show.
    pub alarm: bool,
}

impl Answer {
    fn says(says: impl Into<String>) -> Self {
        Self { says: says.into(), next: None, alarm: false }
    }

    fn alarm(says: impl Into<String>) -> Self {
        Self { alarm: true, ..Self::says(says) }
    }

    fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }

    /// All of it.
    pub(crate) fn text(&self) -> String {
        match &self.next {
            Some(next) => format!("{}; next: {next}", self.says),
            None => self.says.clone(),
        }
    }
}

/// Makes the sentence.
pub(crate) fn answer(known: &Known) -> Answer {
    // Nobody watches over users: that comes before everything that was seen before.
    if let Some((run, since)) = known.run.and_then(|run| Some((run, run.unwatched_since(known.now)?))) {
        return unwatched(known, run, since);
    }
    match known.run {
        Some(run) if !run.phase.is_over() && run.phase != Phase::Completed => of_run(known, run),
        Some(run) if known.newer.is_some() => of_run(known, run),
        Some(run) => at_rest(known, of_run(known, run)),
        None => at_rest(known, never_run(known.cutover)),
    }
}

/// The operator is away while a run observes.
fn unwatched(known: &Known, run: &view::Run, since: Timestamp) -> Answer {
    let (name, flags) = (known.cutover.name_any(), known.flags);
    let target = run.target.as_ref().map_or("the target", |t| t.name);
    let old = run.old.as_ref().map_or("the old side", |t| t.name);
    Answer::alarm(format!(
        "the operator has not looked since {} ({} ago): nobody watches {target}, and nobody rolls back by itself",
        time::clock(since, known.now),
        time::ago(since, known.now),
    ))
    .next(format!(
        "kubectl cutover check {name}{flags} or, if users are to go back to {old} now, kubectl cutover rollback {name} \
         --without-operator{flags}"
    ))
}

/// What is wrong while nothing is under way comes before what the last run came to.
fn at_rest(known: &Known, came_to: Answer) -> Answer {
    let (name, flags) = (known.cutover.name_any(), known.flags);
    let conditions = known.cutover.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let stands = |type_: &str, status: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == status);
    // What a follow-up or a retirement asks about comes first.
    if known.question.is_some() {
        return came_to;
    }
    let check = format!("kubectl cutover check {name}{flags}");
    if let Some(c) = stands(types::SELECTOR_DRIFT, "True").or_else(|| stands(types::SERVICE_CONFLICT, "True")) {
        return Answer::alarm(format!("{}: {}", c.type_, c.message)).next(check);
    }
    if let Some(empty) = known.sides.iter().find_map(Side::cannot_serve) {
        return Answer::alarm(empty).next(check);
    }
    match stands(types::ACCEPTED, "False") {
        Some(c) => Answer::alarm(format!("no release can start: {}; before that: {}", c.message, came_to.says))
            .next(format!("kubectl cutover plan {name}{flags}")),
        None => came_to,
    }
}

/// No run has been made yet.
fn never_run(cutover: &Cutover) -> Answer {
    let status = cutover.status.clone().unwrap_or_default();
    Answer::says(match (status.message.filter(|m| !m.is_empty()), status.live) {
        (Some(message), _) => message,
        (None, Some(live)) => format!("at rest on {live}; no release has been run yet"),
        (None, None) => "the operator has not looked at it yet".to_owned(),
    })
}

fn of_run(known: &Known, run: &view::Run) -> Answer {
    let (name, flags, question) = (known.cutover.name_any(), known.flags, known.question);
    let newest = known.newer.is_none();
    let release = |r: Option<&str>| r.map(|v| format!("@{v}")).unwrap_or_default();
    let target = run.target.as_ref().map_or("the target", |t| t.name).to_owned() + &release(run.release.new);
    let old = run.old.as_ref().map_or("the old side", |t| t.name).to_owned() + &release(run.release.old);
    // What blocks comes before everything else.
    if let Some(c) = run.raised().filter(|c| !run.phase.is_over() && !run.closed && c.type_ != types::AWAITING_DECISION)
    {
        let answer = Answer::says(format!("{}: {}", c.type_, c.message));
        return match question {
            Some(q) => answer.next(q.next()),
            None if c.type_ == types::SUSPENDED => answer.next(resume(run, &name, flags)),
            None => answer,
        };
    }
    if let Some(gate) = run.gate.filter(|_| !run.phase.is_over()) {
        let missing: Vec<String> = gate
            .open
            .roles
            .iter()
            .filter(|r| (run.approved(&gate, r).len() as u64) < u64::from(r.wanted))
            .map(|r| r.name.clone())
            .collect();
        if run.is_suspended() {
            let who = if missing.is_empty() { "nobody else".to_owned() } else { missing.join(", ") };
            let answer = Answer::says(format!(
                "suspended at gate {}, which waits for {who} and opens once the run goes on",
                gate.name
            ));
            return answer.next(resume(run, &name, flags));
        }
        return Answer::says(format!("gate {} waits for {}", gate.name, missing.join(", ")))
            .next(format!("kubectl cutover approve {name}{flags}"));
    }
    if let Some(q) = question {
        return Answer::says(&q.text).next(q.next());
    }
    if let Some(e) = run.ending {
        let trouble = if e.incomplete { "; an undo or a rollback step failed" } else { "" };
        let restored = run.switch.and_then(|s| s.restored);
        let answer = Answer::says(match (run.phase, restored) {
            (Phase::RolledBack, _) => format!("rolled back to {old}: {}{trouble}", e.message),
            (phase, _) if phase.is_over() => format!("{target} was not activated: {}{trouble}", e.message),
            (_, Some(_)) => format!("{old} is live again, undoing what was done: {}", e.message),
            (_, None) if run.switch.is_some() => format!("rolling back to {old}: {}", e.message),
            (_, None) => format!("ending before the switch: {}", e.message),
        });
        let again = format!("kubectl cutover retry {name}{flags} (the same release once more)");
        return match run.phase {
            Phase::RolledBack | Phase::Failed | Phase::Aborted if newest => answer.next(again),
            _ => answer,
        };
    }
    if run.suspended.is_some() {
        return Answer::says("suspended by a person").next(resume(run, &name, flags));
    }
    if let Some(why) = run.waiting {
        return Answer::says(format!("waits: {why}"));
    }
    Answer::says(match run.phase {
        Phase::Observing => observing(run, &target),
        Phase::Completed => match (&known.newer, run.is_retired()) {
            (Some(newer), _) => format!("{target} went live then; run {newer} is newer"),
            (None, true) => format!("{target} is live and {old} is retired"),
            (None, false) => format!("{target} is live"),
        },
        Phase::Superseded => format!("{target} was not activated: a newer release took its place"),
        _ => match run.executions.iter().find(|s| s.state == Some(StepState::Running)) {
            Some(step) => {
                let says = step.message.map(|m| format!(": {m}")).unwrap_or_default();
                format!("on the way to {target}, step {}{says}", step.name)
            }
            None => format!("on the way to {target}"),
        },
    })
}

/// The trigger that is nearest to its limit, or the time that is still to be observed.
fn observing(run: &view::Run, target: &str) -> String {
    let time = run.observation.and_then(|o| Some(format!("{} of {}", time::long(o.seen.signed()), o.wanted?)));
    let time = time.map(|t| format!(", observed {t}")).unwrap_or_default();
    let bad = run.triggers.iter().find(|t| t.bad_since.is_some());
    match bad {
        Some(t) => {
            let saw = t.saw.unwrap_or("bad");
            let limit = t.limit.as_ref().map(|l| format!(" ({})", l.said()));
            format!("{target} is live{time}; trigger {} is bad: {saw}{}", t.name, limit.unwrap_or_default())
        }
        None => format!("{target} is live{time}, all triggers are quiet"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::run::CutoverRun;
    use crate::cli::cluster::Seen;
    use crate::cli::fixtures::{at, at_gate, cutover, deployment, observing, over, reading, run, time};
    use crate::cli::status::model::{Status, Watched};
    use crate::cli::status::page;
    use crate::cli::text::Look;

    fn of(told: Value, runs: Vec<CutoverRun>, green: u32, minute: u32) -> Status {
        let mut reading = reading(cutover("2.4.0", told), runs);
        reading.deployments = Seen::Known(vec![deployment("web-blue", 2), deployment("web-green", green)]);
        Status::of(&reading, " -n prod", time(minute))
    }

    fn one(status: Value) -> Vec<CutoverRun> {
        vec![run(2, "2.4.0", Some(status))]
    }

    fn shown(status: &Status, minute: u32) -> String {
        page::page(status, Look::plain(), time(minute)).show(Look::plain())
    }

    #[test]
    fn while_the_operator_is_away_nothing_is_called_quiet() {
        let quiet = || {
            let mut status = observing();
            status["triggers"][0]["last"] = json!("Good");
            status["triggers"][0].as_object_mut().expect("a trigger").remove("badSince");
            status
        };
        let live = json!({"live": "green@2.4.0"});
        let now = of(live.clone(), one(quiet()), 1, 10);
        assert!(now.answer.contains("all triggers are quiet") && !now.alarm, "{}", now.answer);
        let later = of(live.clone(), one(quiet()), 1, 12);
        assert_eq!(
            later.answer,
            "the operator has not looked since 00:09:50Z (2m10s ago): nobody watches green, and nobody rolls back by itself; \
             next: kubectl cutover check web -n prod or, if users are to go back to blue now, kubectl cutover rollback web \
             --without-operator -n prod"
        );
        assert!(later.alarm && later.triggers.iter().all(|t| t.watched == Watched::Overdue));
        let page = shown(&later, 12);
        assert!(page.contains("? errors") && page.contains("? down") && !page.contains("quiet"), "{page}");
        // One that was looked at is enough, and none is looked at on the way back or once the run is completed.
        let mut other = quiet();
        other["triggers"][2]["lastAt"] = json!(at(12));
        assert!(!of(live.clone(), one(other), 1, 12).alarm);
        let mut back = quiet();
        back["ending"] = json!({"phase": "RolledBack", "reason": "Decision", "message": "m", "at": at(10)});
        assert!(!of(live.clone(), one(back), 1, 12).alarm);
        // What gives no verdict is no sign of the operator. It counts the observation all the same.
        let mut silent = quiet();
        for t in silent["triggers"].as_array_mut().expect("triggers") {
            t["last"] = json!("Inconclusive");
        }
        silent["observation"]["countedTo"] = json!(at(12));
        assert!(!of(live.clone(), one(silent.clone()), 1, 12).alarm);
        silent["observation"]["countedTo"] = json!(at(9));
        assert!(of(live, one(silent), 1, 12).answer.starts_with("the operator has not looked since 00:09:00Z"));
    }

    #[test]
    fn that_the_operator_is_away_is_seen_where_pods_alone_are_watched() {
        let live = json!({"live": "green@2.4.0"});
        let pods = |clock: &str| {
            let mut status = observing();
            status["triggers"] = json!([{"name": "cutover-ready", "trials": 0, "last": "Good", "saw": "2 of 2"}]);
            status["observation"]["clock"] = json!(clock);
            status
        };
        // Looked at each 15 s, which is too long ago after three times that.
        assert!(!of(live.clone(), one(pods("Counting")), 1, 9).alarm);
        let away = of(live.clone(), one(pods("Counting")), 1, 10);
        assert!(away.answer.starts_with("the operator has not looked since 00:09:00Z (1m ago)"), "{}", away.answer);
        assert!(away.triggers.iter().all(|t| t.watched == Watched::Overdue));
        // While the observation stands still it is looked at each minute.
        assert!(!of(live.clone(), one(pods("Stopped")), 1, 12).alarm);
        assert!(of(live.clone(), one(pods("Stopped")), 1, 13).alarm);
        let mut finishing = pods("Counting");
        finishing["phase"] = json!("Finishing");
        assert!(!of(live, one(finishing), 1, 59).alarm, "nothing is counted there");
    }

    #[test]
    fn a_live_side_without_a_ready_pod_comes_before_what_the_run_came_to() {
        let live = json!({"live": "green@2.4.0"});
        let mut completed = observing();
        completed["phase"] = json!("Completed");
        completed["state"] = json!("Closed");
        let served = of(live.clone(), one(completed.clone()), 1, 59);
        assert_eq!(served.answer, "green@2.4.0 is live");
        // What the triggers saw is of the past.
        let page = shown(&served, 59);
        assert!(page.contains("looked at no more") && page.contains("– down"), "{page}");
        let empty = of(live, one(completed), 0, 59);
        assert_eq!(
            empty.answer,
            "green is live and has no ready pod: Deployment web-green has 0 of 2 ready; next: kubectl cutover check web -n prod"
        );
        assert!(empty.alarm && shown(&empty, 59).starts_with("⚠ prod/web Completed"));
    }

    #[test]
    fn what_was_applied_and_is_refused_is_said_though_a_run_is_over() {
        let condition = |type_: &str, status: &str| {
            json!([{"type": type_, "status": status, "reason": "InvalidSpec", "message": "steps[0].when: no CEL",
                "lastTransitionTime": at(9)}])
        };
        let refused = json!({"live": "blue@2.3.0", "conditions": condition("Accepted", "False")});
        let status = of(refused.clone(), one(over("RolledBack")), 1, 10);
        assert_eq!(
            status.answer,
            "no release can start: steps[0].when: no CEL; before that: rolled back to blue: trigger errors fired; \
             next: kubectl cutover plan web -n prod"
        );
        // Under way it is said, and does not come first.
        let status = of(refused, one(observing()), 1, 10);
        assert!(status.answer.contains("trigger errors is bad"), "{}", status.answer);
        assert!(shown(&status, 10).contains("⚠ Accepted: no release can start: steps[0]"), "{}", shown(&status, 10));
        // A Service that was moved at rest is known to the Cutover alone.
        let drift = json!({"live": "blue@2.3.0", "conditions": condition("SelectorDrift", "True")});
        assert!(of(drift, one(over("RolledBack")), 1, 10).answer.starts_with("SelectorDrift: steps[0]"));
    }

    #[test]
    fn after_a_rollback_it_is_said_what_was_scaled_down_and_what_is_next() {
        let mut status = over("RolledBack");
        status["closings"] = json!([{"side": "green", "at": at(9), "had": 2, "workloads": [{"workload":
            {"kind": "Deployment", "name": "web-green"}, "uid": "d", "from": 2, "remembered": 2, "done": true}]}]);
        let mut reading = reading(cutover("2.4.0", json!({"live": "blue@2.3.0"})), one(status));
        let mut idle = deployment("web-green", 0);
        idle.spec.as_mut().expect("a spec").replicas = Some(0);
        reading.deployments = Seen::Known(vec![deployment("web-blue", 2), idle]);
        let status = Status::of(&reading, " -n prod", time(10));
        assert_eq!(
            status.answer,
            "rolled back to blue: trigger errors fired; next: kubectl cutover retry web -n prod (the same release once more)"
        );
        let wanted = "scaled from 2 to 0 by run web-2 at 2026-01-01 00:09:00Z, to end its connections; the next run gives it 2 again";
        assert!(shown(&status, 10).contains(wanted), "{}", shown(&status, 10));
        // Whoever has scaled it up since knows.
        reading.deployments = Seen::Known(vec![deployment("web-blue", 2), deployment("web-green", 2)]);
        assert!(!shown(&Status::of(&reading, " -n prod", time(10)), 10).contains("scaled from"));
    }

    #[test]
    fn an_approval_that_is_given_while_the_run_is_suspended_is_shown() {
        let mut status = at_gate("t");
        status["suspended"] = json!(at(8));
        status["decisions"] = json!([{"uid": "d", "decision": "Approve", "by": "jane", "at": at(9), "gate": "go",
            "role": "qa", "token": "t", "result": "accepted"}]);
        let held = of(json!({}), one(status.clone()), 1, 10);
        assert_eq!(
            held.answer,
            "suspended at gate go, which waits for operations and opens once the run goes on; \
             next: kubectl cutover resume web -n prod"
        );
        let gate = held.gate.as_ref().expect("a gate");
        assert_eq!((gate.roles[0].by.as_slice(), gate.commands.len()), (["jane".to_owned()].as_slice(), 1));
        assert!(shown(&held, 10).contains("the run is suspended: approvals count"));
        // For other evidence it does not count.
        status["decisions"][0]["token"] = json!("before");
        assert!(of(json!({}), one(status), 1, 10).answer.contains("waits for qa, operations"));
    }

    #[test]
    fn an_older_run_does_not_say_what_is_live() {
        let runs = vec![run(1, "2.3.0", Some(over("Completed"))), run(2, "2.4.0", Some(over("Completed")))];
        let mut reading = reading(cutover("2.4.0", json!({"live": "green@2.4.0"})), runs);
        reading.found.run = reading.found.runs.first().cloned();
        let status = Status::of(&reading, " -n prod", time(10));
        assert_eq!(status.answer, "green@2.3.0 went live then; run web-2 is newer");
    }
}
