//! PURE. The status of a Cutover: what its newest run shows, beside what the controller knows.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::why;
use crate::api::condition::{reasons, set, types, unset};
use crate::api::cutover::{Cutover, CutoverStatus, GateStatus};
use crate::api::duration::Duration;
use crate::api::phase::Phase;
use crate::api::run::{CutoverRun, RunStatus};
use crate::plan::{PLAN_VERSION, same_intent, unknown_form, wanted};
use crate::view::{self, release_name};

/// Longest part of the refusals that stands in other places than `Accepted`, in characters.
const SHORT: usize = 512;
/// What a Cutover says whose last run is over, and whose next one is about to begin.
const NOT_BEGUN: &str = "what is wanted now has not begun yet";

/// What the controller knows about a Cutover besides its newest run.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The side that all Services point to, where that is one of the two.
    pub live: Option<String>,
    /// What stands in the way of starting a run, as (condition type, reason, message).
    pub problem: Option<(String, String, String)>,
}

/// The Cutover's status from its newest run (`None`: there is none, or it is of no interest any more).
/// Fields that only the controller may write (`started`, `runs`, `run`, `releases`) are kept as they are.
pub fn project(cutover: &Cutover, run: Option<&CutoverRun>, facts: &Facts, now: Timestamp) -> CutoverStatus {
    let old = cutover.status.clone().unwrap_or_default();
    let plan = run.and_then(view::plan_of);
    // One that was just created has no journal yet: it is Pending, and nothing is at rest.
    let fresh = RunStatus::default();
    let seen = run.map(|run| view::Run::with(run, run.status.as_ref().unwrap_or(&fresh), plan.as_ref()));
    let mut conditions = old.conditions.clone();
    for type_ in [
        types::AWAITING_DECISION,
        types::CAN_ROLL_BACK,
        types::ROLLBACK_BLOCKED,
        types::SELECTOR_DRIFT,
        types::SERVICE_CONFLICT,
        types::OUTCOME_UNKNOWN,
        types::NODE_LOST,
        types::METRICS_INCONCLUSIVE,
        types::SUSPENDED,
        types::NOTIFICATIONS_FAILING,
    ] {
        // Nothing takes a closed run back, whatever its last look at the old side was.
        let stands = |r: &&view::Run| !r.closed || type_ != types::CAN_ROLL_BACK || r.is_retired();
        let in_run = seen.as_ref().filter(stands).and_then(|r| r.conditions.iter().find(|c| c.type_ == type_));
        match in_run {
            Some(c) => set(&mut conditions, type_, c.status == "True", &c.reason, &c.message, now),
            // It is about what was applied, and goes when that is looked at again.
            None if type_ == types::NOTIFICATIONS_FAILING && is_unusable(&conditions) => {}
            None => unset(&mut conditions, type_),
        }
    }
    let live = facts.live.as_ref().map(|side| at_version(side, old.releases.get(side).map(String::as_str)));
    let mut status = CutoverStatus {
        observed_generation: cutover.metadata.generation,
        live,
        conditions: vec![],
        target: None,
        step: None,
        gate: None,
        progress: None,
        message: None,
        phase: Some(Phase::Idle),
        since: old.since,
        ..old.clone()
    };
    let (reason, message) = match (&seen, &facts.problem) {
        (Some(run), _) => {
            columns(cutover, run, &mut status);
            let says = run.under_way().map(|(step, what)| (step.name, what));
            why(run.phase, run.ending, run.waiting, says)
        }
        (None, Some((_, reason, message))) => (reason.clone(), message.clone()),
        (None, None) => (reasons::IDLE.to_owned(), String::new()),
    };
    if let Some((type_, reason, message)) = &facts.problem {
        set(&mut conditions, type_, true, reason, message, now);
        status.message = Some(message.clone());
    }
    let phase = status.phase.unwrap_or_default();
    // What cannot be carried out as it is written is Stalled, a run of what was written before or not.
    let refused = conditions.iter().find(|c| c.type_ == types::ACCEPTED && c.status == "False");
    let refused = refused.map(|c| (c.reason.clone(), c.message.chars().take(SHORT).collect::<String>()));
    // Nor can the steps of a run whose plan another operator wrote.
    let open = seen.as_ref().is_none_or(|r| !r.closed);
    let foreign = run.filter(|_| open).filter(|r| r.spec.plan_version != PLAN_VERSION);
    let foreign = foreign.map(|_| (reasons::PLAN_VERSION.to_owned(), unknown_form()));
    if let Some((_, message)) = &foreign {
        status.message = Some(message.clone());
    }
    let refused = foreign.or(refused);
    let blocked =
        facts.problem.is_some() && seen.as_ref().is_none_or(|r| r.phase.is_over() || r.phase == Phase::Completed);
    let at_rest = matches!(phase, Phase::Idle | Phase::Completed);
    let over = phase.is_over() || blocked;
    let (reason, message) = match (&facts.problem, &refused) {
        (Some((_, reason, message)), _) if blocked => (reason.clone(), message.clone()),
        (_, Some(refused)) if at_rest || over => refused.clone(),
        _ => (reason, message),
    };
    if refused.is_some() && facts.problem.is_none() && (at_rest || over) {
        status.message = Some(message.clone());
    }
    // As long as nothing was begun or refused of what is wanted now, all of this is about what was wanted before: whoever waits
    // must neither take it for done nor for failed.
    let taken_up = old.started.as_ref().is_none_or(|started| same_intent(started, &wanted(&cutover.spec)));
    let behind = !taken_up && facts.problem.is_none() && refused.is_none();
    let (reason, message) = match behind && (at_rest || over) {
        true => (Phase::Pending.as_str().to_owned(), NOT_BEGUN.to_owned()),
        false => (reason, message),
    };
    if behind && (at_rest || over) {
        status.message = Some(message.clone());
    }
    let ready = at_rest && !over && refused.is_none() && !behind;
    set(&mut conditions, types::READY, ready, &reason, &message, now);
    set(&mut conditions, types::RECONCILING, behind || !at_rest && !over, &reason, &message, now);
    let (reason, message) = refused.clone().filter(|_| !over).unwrap_or((reason, message));
    set(&mut conditions, types::STALLED, over && !behind || refused.is_some(), &reason, &message, now);
    // What was checked is of the generation that was checked.
    for c in conditions.iter_mut().filter(|c| c.type_ != types::ACCEPTED) {
        c.observed_generation = cutover.metadata.generation;
    }
    if status.phase != old.phase && seen.is_none() {
        status.since = Some(now);
    }
    status.conditions = conditions;
    status
}

/// Whether what stands of notifications was found when the Cutover was applied.
fn is_unusable(conditions: &[Condition]) -> bool {
    conditions.iter().any(|c| c.type_ == types::NOTIFICATIONS_FAILING && c.reason == reasons::RECEIVER_UNUSABLE)
}

/// `green@2.4.0`, or the side alone where the release has no version.
fn at_version(side: &str, version: Option<&str>) -> String {
    match version {
        Some(v) if !v.is_empty() => format!("{side}@{v}"),
        _ => side.to_owned(),
    }
}

/// The side of `green@2.4.0`.
pub(crate) fn without_version(at_version: &str) -> &str {
    at_version.split_once('@').map_or(at_version, |(side, _)| side)
}

fn columns(cutover: &Cutover, run: &view::Run, status: &mut CutoverStatus) {
    status.phase = Some(run.phase);
    status.since = run.since.or(run.created);
    let (target, version) = match &run.target {
        Some(target) => (target.name, run.release.new),
        None => (cutover.spec.activate.as_str(), cutover.spec.release.as_ref().and_then(release_name)),
    };
    status.target = Some(at_version(target, version));
    if !run.phase.is_over() {
        let open: Vec<&str> = run.executions.iter().filter(|s| s.is_open()).map(|s| s.name).take(3).collect();
        status.step = (!open.is_empty()).then(|| open.join(","));
    }
    // Up to Completed: what comes after it is told in the message.
    status.progress = run.progress.map(|p| format!("{}/{}", p.done, p.all));
    status.gate = run.gate.map(|gate| GateStatus {
        name: gate.name.to_owned(),
        token: gate.open.token.clone(),
        until: gate.open.until,
        roles: gate.open.roles.clone(),
        instructions: gate.instructions.map(str::to_owned),
        checklist: gate.checklist.to_vec(),
    });
    status.message = Some(message(cutover, run));
}

/// What goes on, in one line; where a person is needed it ends with the next command.
fn message(cutover: &Cutover, run: &view::Run) -> String {
    let namespace = cutover.metadata.namespace.as_deref().unwrap_or_default();
    let look = view::look(run.name, namespace);
    if let Some(c) = run.raised().filter(|_| !run.phase.is_over()) {
        return format!("{}: {}; next: {look}", c.type_, c.message);
    }
    if let Some(e) = run.ending {
        if run.phase.is_over() {
            let trouble = if e.incomplete { " (an undo or rollback step failed)" } else { "" };
            return format!("{}{trouble}; next: {look}", e.message);
        }
        let restored = run.switch.is_none_or(|s| s.restored.is_some());
        let doing = match (run.waiting, restored) {
            (Some(why), _) => why,
            (None, true) => "undoing what was done",
            (None, false) => "the selectors go back",
        };
        return format!("{}; {doing}", e.message);
    }
    if let Some(why) = run.waiting {
        return format!("waits: {why}");
    }
    match run.phase {
        Phase::Observing => match run.observation {
            Some(view::Observation { seen, wanted: Some(wanted), .. }) => {
                format!("observed {}s of {wanted}", in_steps(seen, wanted).as_millis() / 1000)
            }
            _ => "observing".into(),
        },
        Phase::Completed => "done".into(),
        _ => {
            let running = run.executions.iter().find(|s| s.is_running());
            running.and_then(|s| s.message.map(|m| format!("{}: {m}", s.name))).unwrap_or_default()
        }
    }
}

/// A time of observation in steps of a twentieth of what is wanted, and of at most a minute: each step is a write of the
/// Cutover, and nobody is helped by more.
fn in_steps(seen: Duration, wanted: Duration) -> Duration {
    let step = (wanted.as_millis() / 20).clamp(1000, 60_000);
    Duration::from_millis(seen.as_millis() / step * step)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::actions::fixtures::Fixture;
    use crate::api::cutover::Intent;
    use crate::plan::{Action, Stage};

    fn cutover() -> Cutover {
        let value = json!({
            "apiVersion": "cutover.dev/v1alpha1", "kind": "Cutover",
            "metadata": {"name": "web", "namespace": "prod", "generation": 2},
            "spec": {"services": [], "sides": [], "activate": "blue", "release": {"version": "9"}},
        });
        serde_json::from_value(value).expect("a Cutover")
    }

    /// A run of the release 2.4.0 on green, with two steps, one of them a gate.
    fn run(status: Value) -> CutoverRun {
        let mut f = Fixture::new();
        let wait = Action::Wait(crate::api::step::Wait { for_: crate::api::Duration::from_secs(1) });
        let gate = serde_json::from_value(json!({"roles": [{"name": "qa"}], "instructions": "look"}));
        f.plan.steps = vec![
            crate::actions::fixtures::step("pause", Stage::Prepare, wait),
            crate::actions::fixtures::step("go", Stage::Verify, Action::Approval(gate.expect("an approval"))),
        ];
        let plan = serde_json::to_value(&f.plan).expect("JSON");
        let spec = json!({"cutover": "web", "cutoverUID": "u", "planVersion": PLAN_VERSION, "plan": plan});
        let mut run = CutoverRun::new("web-1", serde_json::from_value(spec).expect("a spec"));
        run.status = Some(serde_json::from_value(status).expect("a journal"));
        run
    }

    fn projected(status: Value) -> CutoverStatus {
        project(&cutover(), Some(&run(status)), &Facts::default(), Timestamp::UNIX_EPOCH)
    }

    fn at(second: u32) -> String {
        format!("2026-01-01T00:00:{second:02}Z")
    }

    #[test]
    fn the_columns_are_those_of_the_run() {
        let status = projected(json!({
            "phase": "Verifying", "phaseSince": at(5),
            "steps": [
                {"name": "pause", "state": "Succeeded", "attempt": 1},
                {"name": "go", "state": "Running", "attempt": 1, "message": "qa is awaited",
                 "gate": {"token": "t", "until": at(59), "roles": []}},
            ],
        }));
        assert_eq!((status.phase, status.since), (Some(Phase::Verifying), at(5).parse().ok()));
        let columns = [&status.target, &status.step, &status.progress, &status.message].map(|c| c.as_deref());
        assert_eq!(columns, [Some("green@2.4.0"), Some("go"), Some("1/2"), Some("go: qa is awaited")]);
        let gate = status.gate.expect("it is open");
        assert_eq!((gate.name.as_str(), gate.token.as_str()), ("go", "t"));
        assert_eq!(gate.instructions.as_deref(), Some("look"));
    }

    #[test]
    fn a_run_whose_plan_cannot_be_read_shows_what_is_wanted_and_what_it_does() {
        let mut run = run(json!({"phase": "Preparing", "steps": [{"name": "a", "state": "Running", "attempt": 1}]}));
        run.spec.plan = json!({});
        let status = project(&cutover(), Some(&run), &Facts::default(), Timestamp::UNIX_EPOCH);
        assert_eq!((status.target.as_deref(), status.step.as_deref()), (Some("blue@9"), Some("a")));
        assert_eq!((status.progress, status.gate), (None, None));
    }

    #[test]
    fn the_message_says_what_goes_on_and_what_is_next() {
        let condition = |type_: &str| json!([{"type": type_, "status": "True", "reason": "r", "message": "m", "lastTransitionTime": at(0)}]);
        let ending = |incomplete: bool| json!({"phase": "RolledBack", "reason": "TriggerFired", "message": "errors", "at": at(1), "incomplete": incomplete});
        let switch = |restored: bool| {
            let mut switch = json!({"claimedAt": at(0), "services": []});
            if restored {
                switch["restoredAt"] = json!(at(2));
            }
            switch
        };
        let look = "next: kubectl describe cutoverrun web-1 -n prod";
        let table = [
            (json!({"phase": "Observing", "conditions": condition("NodeLost")}), format!("NodeLost: m; {look}")),
            (
                json!({"phase": "RolledBack", "ending": ending(true), "conditions": condition("NodeLost")}),
                format!("errors (an undo or rollback step failed); {look}"),
            ),
            (json!({"phase": "RolledBack", "ending": ending(false)}), format!("errors; {look}")),
            (
                json!({"phase": "RollingBack", "ending": ending(false), "switch": switch(false)}),
                "errors; the selectors go back".into(),
            ),
            (
                json!({"phase": "RollingBack", "ending": ending(false), "switch": switch(true)}),
                "errors; undoing what was done".into(),
            ),
            (
                json!({"phase": "RollingBack", "ending": ending(false), "waiting": "blue has no pods"}),
                "errors; blue has no pods".into(),
            ),
            (json!({"phase": "Switching", "waiting": "green has 0"}), "waits: green has 0".into()),
            (
                json!({"phase": "Observing", "observation": {"since": at(0), "conclusiveMs": 30500, "countedTo": at(30)}}),
                "observed 30s of 5m".into(),
            ),
            (json!({"phase": "Observing"}), "observing".into()),
            (json!({"phase": "Completed"}), "done".into()),
            (json!({"phase": "Preparing"}), String::new()),
        ];
        for (status, wanted) in table {
            assert_eq!(projected(status.clone()).message, Some(wanted), "{status}");
        }
    }

    #[test]
    fn what_is_wanted_now_is_not_done_by_what_was_wanted_before() {
        let started = |activate: &str, version: &str| Intent {
            activate: activate.into(),
            release: serde_json::from_value(json!({"version": version})).ok(),
        };
        let of = |started: Intent, journal: Option<Value>| {
            let mut cutover = cutover();
            cutover.status = Some(CutoverStatus { started: Some(started), ..CutoverStatus::default() });
            let mut run = run(json!({}));
            run.status = journal.map(|journal| serde_json::from_value(journal).expect("a journal"));
            let status = project(&cutover, Some(&run), &Facts::default(), Timestamp::UNIX_EPOCH);
            let is = |type_: &str| status.conditions.iter().any(|c| c.type_ == type_ && c.status == "True");
            (status.phase, [types::READY, types::RECONCILING, types::STALLED].map(is))
        };
        let (done, under_way, failed) = ([true, false, false], [false, true, false], [false, false, true]);
        let completed = || Some(json!({"phase": "Completed"}));
        let back = || Some(json!({"phase": "RolledBack"}));
        assert_eq!(of(started("blue", "9"), completed()), (Some(Phase::Completed), done));
        assert_eq!(of(started("green", "9"), completed()), (Some(Phase::Completed), under_way), "another side");
        assert_eq!(of(started("blue", "8"), completed()), (Some(Phase::Completed), under_way), "another release");
        assert_eq!(of(started("blue", "9"), back()), (Some(Phase::RolledBack), failed));
        assert_eq!(of(started("blue", "8"), back()), (Some(Phase::RolledBack), under_way), "another release");
        // A run without a journal was just created.
        assert_eq!(of(started("blue", "9"), None), (Some(Phase::Pending), under_way));
    }

    #[test]
    fn what_only_the_controller_may_write_stays_and_a_closed_run_cannot_roll_back() {
        let mut before = cutover();
        let releases = [("green".to_owned(), "2.4.0".to_owned())].into();
        before.status = Some(CutoverStatus { releases, ..CutoverStatus::default() });
        let can = json!([{"type": "CanRollBack", "status": "True", "reason": "r", "message": "m", "lastTransitionTime": at(0)}]);
        let facts = Facts { live: Some("green".into()), problem: None };
        for (state, wanted) in [("Active", "True"), ("Closed", "Unknown")] {
            let run = run(json!({"phase": "Completed", "state": state, "conditions": can}));
            let status = project(&before, Some(&run), &facts, Timestamp::UNIX_EPOCH);
            assert_eq!(status.live.as_deref(), Some("green@2.4.0"));
            assert_eq!(status.releases.len(), 1);
            let seen = status.conditions.iter().find(|c| c.type_ == "CanRollBack").map(|c| c.status.as_str());
            assert_eq!(seen.unwrap_or("Unknown"), wanted, "{state}");
        }
    }

    #[test]
    fn what_stands_in_the_way_of_a_run_is_said_where_there_is_none() {
        let problem = Some(("ServiceConflict".to_owned(), "Claimed".to_owned(), "another has it".to_owned()));
        let status = project(&cutover(), None, &Facts { live: None, problem }, Timestamp::UNIX_EPOCH);
        assert_eq!((status.phase, status.message.as_deref()), (Some(Phase::Idle), Some("another has it")));
        let of = |type_: &str| status.conditions.iter().find(|c| c.type_ == type_).map(|c| c.status.as_str());
        assert_eq!((of("ServiceConflict"), of("Ready"), of("Stalled")), (Some("True"), Some("False"), Some("True")));
    }
}
