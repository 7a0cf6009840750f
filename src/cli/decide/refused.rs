//! PURE. What the operator would refuse for certain: it is said before anything is asked, with the command that does it.

use kube::ResourceExt;

use crate::api::decision::Verb;
use crate::api::phase::Phase;
use crate::api::run::{CutoverRun, RunState, RunStatus};
use crate::cli::exit::{Exit, Failure};
use crate::cli::find::Found;
use crate::journal;
use crate::journal::words::NoWayBack;
use crate::view;

/// Why a word would not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub says: String,
    /// The verb that does what was meant.
    pub instead: Option<Verb>,
    /// Going back is a new run.
    pub anew: bool,
}

impl Refused {
    fn says(says: impl Into<String>) -> Self {
        Self { says: says.into(), instead: None, anew: false }
    }

    fn instead(self, verb: Verb) -> Self {
        Self { instead: Some(verb), ..self }
    }

    fn anew(self) -> Self {
        Self {
            says: self.says + "; going back is a new run, which makes its checks and asks at its gates again",
            anew: true,
            ..self
        }
    }
}

/// Why a word about a run does not count; none where it is for the operator to say.
pub(crate) fn refused(verb: Verb, run: &CutoverRun, journal: &RunStatus) -> Option<Refused> {
    let name = run.name_any();
    let closed = journal.state == RunState::Closed || journal::is_reopened(journal);
    let over = journal.phase.is_over() || closed;
    let is_over = || format!("run {name} is over ({})", journal.phase.as_str());
    let leads_back = matches!(verb, Verb::Abort | Verb::Rollback);
    match verb {
        // Whether there is anything to check, or to start once more, the operator says itself.
        Verb::Revalidate | Verb::Retry => None,
        Verb::Suspend | Verb::Resume if journal::is_reopened(journal) => None,
        _ if over && leads_back && journal.phase == Phase::Completed => Some(
            Refused::says(format!("run {name} has completed and is closed, so it cannot be rolled back any more"))
                .anew(),
        ),
        _ if over => Some(Refused::says(is_over())),
        _ => journal::words::no_way_back(verb, journal).map(|no| match no {
            NoWayBack::Ending => Refused::says(format!("run {name} is ending already")),
            NoWayBack::Switched => {
                Refused::says("the switch has been made, so there is nothing to call off").instead(Verb::Rollback)
            }
            NoWayBack::NotSwitched => {
                Refused::says("nothing has been switched, so users are where they were").instead(Verb::Abort)
            }
            NoWayBack::Retired => Refused::says(format!(
                "the old side of run {name} is retired, so users cannot be sent back to it at once"
            ))
            .anew(),
        }),
    }
}

/// Refuses what the operator would refuse. `flags`: what printed commands need behind them.
///
/// # Errors
/// Why it would not count, and the whole command that does what was meant.
pub(crate) fn check(verb: Verb, found: &Found, flags: &str) -> Result<(), Failure> {
    let begun = found.run.as_ref().and_then(|run| Some((run, run.status.as_ref()?)));
    let Some((run, journal)) = begun else { return Ok(()) };
    let Some(refused) = refused(verb, run, journal) else { return Ok(()) };
    let name = found.cutover.name_any();
    let newest = found.runs.last().is_some_and(|last| last.name_any() == run.name_any());
    let next = match refused.instead {
        Some(Verb::Rollback) => format!("kubectl cutover rollback {name}{flags}"),
        Some(Verb::Abort) => format!("kubectl cutover abort {name}{flags}"),
        _ if refused.anew && newest => anew(&name, run, flags),
        _ => format!("kubectl cutover status {name}{flags}"),
    };
    Err(Failure::new(refused.says).next(next).exit(Exit::Failed))
}

/// The command that starts the run back: with the name of the release of the old side, where that is known.
fn anew(name: &str, run: &CutoverRun, flags: &str) -> String {
    let plan = view::plan_of(run);
    let seen = view::Run::of(run, plan.as_ref());
    let old = seen.as_ref().and_then(|seen| seen.release.old);
    let side = seen.as_ref().and_then(|seen| seen.old.as_ref()).map(|side| side.name);
    match (old, side) {
        (Some(version), _) => format!("kubectl cutover release {name} --version {version}{flags}"),
        (None, Some(side)) => {
            format!("kubectl patch cutover {name}{flags} --type merge -p '{{\"spec\":{{\"activate\":\"{side}\"}}}}'")
        }
        (None, None) => format!("kubectl cutover status {name}{flags}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::fixtures::{at_gate, cutover, observing, over, run};

    fn told(verb: Verb, status: Value) -> String {
        let runs = vec![run(2, "2.4.0", Some(status))];
        let found = Found { cutover: cutover("2.4.0", json!({})), run: runs.last().cloned(), runs };
        check(verb, &found, " -n prod").map_or_else(|failure| failure.to_string(), |()| "asked".to_owned())
    }

    #[test]
    fn what_would_be_refused_is_said_before_it_is_asked_with_the_command_that_does_it() {
        let mut completed = over("Completed");
        completed["oldRelease"] = json!("2.3.0");
        let mut ending = observing();
        ending["ending"] =
            json!({"phase": "RolledBack", "reason": "Decision", "message": "m", "at": "2026-01-01T00:09:00Z"});
        let mut retired = observing();
        retired["phase"] = json!("Completed");
        retired["steps"]
            .as_array_mut()
            .expect("steps")
            .push(json!({"name": "cutover-retire", "state": "Succeeded", "attempt": 1}));
        let again = "going back is a new run, which makes its checks and asks at its gates again; \
                     next: kubectl cutover release web --version 2.3.0 -n prod";
        for (verb, status, wanted) in [
            (Verb::Rollback, completed.clone(), again),
            (Verb::Abort, completed.clone(), again),
            (Verb::Rollback, retired, again),
            (
                Verb::Rollback,
                over("Completed"),
                "kubectl patch cutover web -n prod --type merge -p '{\"spec\":{\"activate\":\"blue\"}}'",
            ),
            (Verb::Rollback, over("Failed"), "run web-2 is over (Failed); next: kubectl cutover status web -n prod"),
            (Verb::Abort, observing(), "nothing to call off; next: kubectl cutover rollback web -n prod"),
            (Verb::Rollback, at_gate("t"), "where they were; next: kubectl cutover abort web -n prod"),
            (Verb::Rollback, ending, "run web-2 is ending already; next: kubectl cutover status web -n prod"),
            (Verb::Suspend, over("RolledBack"), "run web-2 is over (RolledBack)"),
            (Verb::Rollback, observing(), "asked"),
            (Verb::Abort, at_gate("t"), "asked"),
            (Verb::Retry, over("Failed"), "asked"),
            (Verb::Revalidate, completed, "asked"),
        ] {
            let said = told(verb, status);
            assert!(said.ends_with(wanted) || said.contains(wanted), "{verb:?}: {said}\nis not\n{wanted}");
        }
    }

    #[test]
    fn an_open_completed_run_can_still_be_rolled_back() {
        let mut open = observing();
        open["phase"] = json!("Completed");
        assert_eq!(told(Verb::Rollback, open), "asked");
    }
}
