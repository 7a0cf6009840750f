//! PURE. The first line of `status`: what happens, why, and what to do.

use kube::ResourceExt;

use super::question::Question;
use crate::api::condition::types;
use crate::api::cutover::Cutover;
use crate::api::phase::Phase;
use crate::api::run::StepState;
use crate::cli::text::time;
use crate::view;

/// The answer to somebody who looks at 3 a.m.
pub(crate) struct Answer {
    /// One sentence, without the name of the Cutover.
    pub says: String,
    /// What to do: whole commands.
    pub next: Option<String>,
}

impl Answer {
    fn says(says: impl Into<String>) -> Self {
        Self { says: says.into(), next: None }
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

/// Makes the sentence. `flags`: what printed commands need behind them.
pub(crate) fn answer(cutover: &Cutover, run: Option<&view::Run>, question: Option<&Question>, flags: &str) -> Answer {
    let name = cutover.name_any();
    match run {
        Some(run) => of_run(&name, run, question, flags),
        None => Answer::says(at_rest(cutover)),
    }
}

fn at_rest(cutover: &Cutover) -> String {
    let status = cutover.status.clone().unwrap_or_default();
    let refused = status.conditions.iter().find(|c| c.type_ == types::ACCEPTED && c.status == "False");
    match (refused, status.message.filter(|m| !m.is_empty()), status.live) {
        (Some(c), ..) => format!("no release can start: {}", c.message),
        (None, Some(message), _) => message,
        (None, None, Some(live)) => format!("at rest on {live}; no release has been run yet"),
        (None, None, None) => "the operator has not looked at it yet".to_owned(),
    }
}

fn of_run(name: &str, run: &view::Run, question: Option<&Question>, flags: &str) -> Answer {
    let release = |r: Option<&str>| r.map(|v| format!("@{v}")).unwrap_or_default();
    let target = run.target.as_ref().map_or("the target", |t| t.name).to_owned() + &release(run.release.new);
    let old = run.old.as_ref().map_or("the old side", |t| t.name).to_owned() + &release(run.release.old);
    // What blocks comes before everything else.
    if let Some(c) = run.raised().filter(|c| !run.phase.is_over() && c.type_ != types::AWAITING_DECISION) {
        let answer = Answer::says(format!("{}: {}", c.type_, c.message));
        return match (question, run.suspended) {
            (Some(q), _) => answer.next(q.next()),
            (None, Some(_)) if c.type_ == types::SUSPENDED => {
                answer.next(format!("kubectl cutover resume {name}{flags}"))
            }
            (None, _) => answer,
        };
    }
    if let Some(gate) = run.gate.filter(|_| !run.phase.is_over()) {
        let missing: Vec<String> = gate
            .open
            .roles
            .iter()
            .filter(|r| (r.by.len() as u64) < u64::from(r.wanted))
            .map(|r| r.name.clone())
            .collect();
        return Answer::says(format!("gate {} waits for {}", gate.name, missing.join(", ")))
            .next(format!("kubectl cutover approve {name}{flags}"));
    }
    if let Some(q) = question {
        return Answer::says(&q.text).next(q.next());
    }
    if let Some(e) = run.ending {
        let trouble = if e.incomplete { "; an undo or a rollback step failed" } else { "" };
        let restored = run.switch.and_then(|s| s.restored);
        return Answer::says(match (run.phase, restored) {
            (Phase::RolledBack, _) => format!("rolled back to {old}: {}{trouble}", e.message),
            (phase, _) if phase.is_over() => format!("{target} was not activated: {}{trouble}", e.message),
            (_, Some(_)) => format!("{old} is live again, undoing what was done: {}", e.message),
            (_, None) if run.switch.is_some() => format!("rolling back to {old}: {}", e.message),
            (_, None) => format!("ending before the switch: {}", e.message),
        });
    }
    if run.suspended.is_some() {
        return Answer::says("suspended by a person").next(format!("kubectl cutover resume {name}{flags}"));
    }
    if let Some(why) = run.waiting {
        return Answer::says(format!("waits: {why}"));
    }
    Answer::says(match run.phase {
        Phase::Observing => observing(run, &target),
        Phase::Completed => match run.is_retired() {
            true => format!("{target} is live and {old} is retired"),
            false => format!("{target} is live"),
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
            let limit = t.limit.map(|l| format!(" ({} {} is bad)", if l.above { "above" } else { "below" }, l.text));
            format!("{target} is live{time}; trigger {} is bad: {saw}{}", t.name, limit.unwrap_or_default())
        }
        None => format!("{target} is live{time}, all triggers are quiet"),
    }
}
