//! PURE. What comes of a person's decision that no driver answers: the run that it names is closed, or is not there.
//!
//! A word counts when it is first seen or never. `Retry` and `Revalidate` are carried out, once each: a Retry is recorded in
//! the Cutover's status by the very write that claims the new run, a Revalidate in the journal of the run that is opened for
//! it. All others, and these two where they cannot be met, are refused with the reason.

use std::time::Duration;

use jiff::Timestamp;

use super::intent;
use crate::api::cutover::{CutoverStatus, Intent};
use crate::api::decision::{CutoverDecisionSpec, Verb};
use crate::api::phase::Phase;
use crate::api::run::{CutoverRun, RunStatus};
use crate::journal::words::{of_another, taken_in};

/// The clocks of operator and API server differ by less.
const CLOCKS: Duration = Duration::from_secs(60);

/// Where the run is that a decision names.
#[derive(Clone, Copy, Debug)]
pub enum NamedRun<'a> {
    /// It is not closed: its driver answers.
    UnderWay,
    /// The Cutover's newest run, closed.
    Newest(&'a CutoverRun),
    /// An earlier run of the Cutover.
    Older(&'a CutoverRun),
    /// It is a run of another Cutover.
    Elsewhere,
    /// There is no such run in the namespace.
    Gone,
}

/// What comes of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Somebody else answers it.
    Leave,
    /// Refused, or found carried out; `run`: on which it took effect.
    Answer { result: String, run: Option<String> },
    /// A new run is to be started for it.
    Retry,
    /// The newest run is to be opened for it.
    Revalidate,
}

/// The Cutover as the decision finds it.
#[derive(Clone, Copy, Debug)]
pub struct Stand<'a> {
    pub name: &'a str,
    pub status: &'a CutoverStatus,
    pub wanted: &'a Intent,
    /// It is being deleted.
    pub deleting: bool,
}

/// Judges a decision by its uid, the time of its creation and what it says. `cutover`: none of this name exists.
pub fn judge(
    uid: &str,
    created: Timestamp,
    spec: &CutoverDecisionSpec,
    cutover: Option<Stand<'_>>,
    place: NamedRun<'_>,
) -> Word {
    if let NamedRun::UnderWay = place {
        return Word::Leave;
    }
    let Some(cutover) = cutover else {
        return refused(format!("there is no Cutover {} in this namespace", spec.cutover));
    };
    // Carried out before: only the answer was not written.
    if let Some(retry) = cutover.status.retries.iter().find(|r| r.decision == uid) {
        return Word::Answer {
            result: format!("accepted: run {} is started", retry.run),
            run: Some(retry.run.clone()),
        };
    }
    let run = match place {
        NamedRun::Newest(run) | NamedRun::Older(run) => run,
        NamedRun::Elsewhere => return Word::Answer { result: of_another(spec), run: None },
        NamedRun::UnderWay | NamedRun::Gone => {
            let uid = &spec.run_uid;
            return refused(format!(
                "Cutover {} has no run {uid}, or has it no more (spec.historyLimit)",
                spec.cutover
            ));
        }
    };
    let name = run.metadata.name.clone().unwrap_or_default();
    let journal = run.status.clone().unwrap_or_default();
    if let Some(record) = taken_in(&journal, uid) {
        return Word::Answer { result: record.result.clone(), run: Some(name) };
    }
    let newest = match place {
        NamedRun::Older(_) => {
            Err(format!("run {name} is not the newest of Cutover {}, which is {}", cutover.name, newest(cutover)))
        }
        _ => Ok(()),
    };
    let wish = match spec.decision {
        Verb::Retry => newest.and_then(|()| retry(cutover, &name, &journal, created)).map(|()| Word::Retry),
        Verb::Revalidate => newest.and_then(|()| revalidate(cutover, &name, &journal)).map(|()| Word::Revalidate),
        Verb::Rollback if journal.phase == Phase::Completed => Err(format!(
            "run {name} has completed and is closed; to go back, set spec.activate of Cutover {} to the other side",
            cutover.name
        )),
        _ => Err(format!("run {name} is over: {}", journal.phase)),
    };
    wish.unwrap_or_else(refused)
}

fn refused(why: String) -> Word {
    Word::Answer { result: format!("refused: {why}"), run: None }
}

fn newest(cutover: Stand<'_>) -> &str {
    cutover.status.run.as_ref().map_or("none", |r| r.name.as_str())
}

fn retry(cutover: Stand<'_>, run: &str, journal: &RunStatus, created: Timestamp) -> Result<(), String> {
    if journal.phase == Phase::Completed {
        return Err(format!(
            "run {run} has completed, so there is nothing to try again; change spec.release to start another"
        ));
    }
    // Said while the run was under way, refused then, and that answer was never written. Clocks decide nothing nearer.
    let under_way = journal.phase_since.is_some_and(|end| {
        created.checked_add(jiff::SignedDuration::try_from(CLOCKS).unwrap_or_default()).is_ok_and(|at| at < end)
    });
    if under_way {
        return Err(format!("it was said while run {run} was under way; decide Retry again"));
    }
    still_wanted(cutover)
}

fn revalidate(cutover: Stand<'_>, run: &str, journal: &RunStatus) -> Result<(), String> {
    if journal.phase != Phase::Completed {
        return Err(format!(
            "run {run} has not completed ({}): only the checks of a completed run are made again",
            journal.phase
        ));
    }
    still_wanted(cutover)
}

fn still_wanted(cutover: Stand<'_>) -> Result<(), String> {
    if cutover.deleting {
        return Err(format!("Cutover {} is being deleted", cutover.name));
    }
    if !intent::is_started(cutover.status, cutover.wanted) {
        return Err(format!("spec.release or spec.activate of Cutover {} has changed since the run", cutover.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn run(name: &str, phase: &str, taken: Value) -> CutoverRun {
        serde_json::from_value(json!({
            "apiVersion": "cutover.dev/v1alpha1", "kind": "CutoverRun", "metadata": {"name": name, "uid": name},
            "spec": {"cutover": "shop", "cutoverUID": "c", "planVersion": 1, "plan": {}},
            "status": {"state": "Closed", "phase": phase, "phaseSince": "2026-11-20T22:00:00Z", "decisions": taken},
        }))
        .expect("a run")
    }

    fn spec(verb: &str, by: &str) -> CutoverDecisionSpec {
        serde_json::from_value(json!({"cutover": "shop", "runUID": "shop-1", "decision": verb, "by": by}))
            .expect("a spec")
    }

    fn intent(activate: &str) -> Intent {
        Intent { activate: activate.into(), release: None }
    }

    fn status(run: &str, retries: Value) -> CutoverStatus {
        serde_json::from_value(json!({
            "run": {"name": run, "uid": run}, "started": {"activate": "green"}, "runs": 1, "retries": retries,
        }))
        .expect("a status")
    }

    fn at(time: &str) -> Timestamp {
        time.parse().expect("a time")
    }

    /// Judged a minute after the run's end.
    fn says(verb: &str, status: &CutoverStatus, place: NamedRun<'_>) -> Word {
        let wanted = intent("green");
        let stand = Stand { name: "shop", status, wanted: &wanted, deleting: false };
        judge("d", at("2026-11-20T22:01:00Z"), &spec(verb, "sre"), Some(stand), place)
    }

    fn why(word: &Word) -> &str {
        match word {
            Word::Answer { result, .. } => result,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_retry_counts_for_the_newest_run_that_is_over_and_for_no_other() {
        let newest = status("shop-1", json!([]));
        for phase in ["RolledBack", "Failed", "Aborted", "Superseded"] {
            assert_eq!(
                says("Retry", &newest, NamedRun::Newest(&run("shop-1", phase, json!([])))),
                Word::Retry,
                "{phase}"
            );
        }
        let over = run("shop-1", "RolledBack", json!([]));
        let completed = run("shop-1", "Completed", json!([]));
        let of = |place| says("Retry", &newest, place);
        assert_eq!(of(NamedRun::UnderWay), Word::Leave, "its driver refuses it");
        assert!(why(&of(NamedRun::Newest(&completed))).contains("has completed"));
        assert!(why(&says("Retry", &status("shop-2", json!([])), NamedRun::Older(&over))).contains("which is shop-2"));
        assert!(why(&of(NamedRun::Gone)).contains("has no run shop-1, or has it no more"));
        assert!(why(&of(NamedRun::Elsewhere)).contains("run shop-1 is not a run of Cutover shop"));
        let missing = judge("d", at("2026-11-20T22:01:00Z"), &spec("Retry", "sre"), None, NamedRun::Gone);
        assert!(why(&missing).contains("there is no Cutover shop"));
    }

    #[test]
    fn a_retry_that_was_carried_out_is_answered_and_starts_nothing() {
        let done = status("shop-2", json!([{"decision": "d", "run": "shop-2"}]));
        let over = run("shop-1", "RolledBack", json!([]));
        for place in [NamedRun::Older(&over), NamedRun::Gone, NamedRun::Newest(&over)] {
            let word = says("Retry", &done, place);
            assert_eq!(
                word,
                Word::Answer { result: "accepted: run shop-2 is started".into(), run: Some("shop-2".into()) }
            );
        }
    }

    #[test]
    fn what_was_said_long_before_the_end_starts_nothing_after_it() {
        let (newest, wanted) = (status("shop-1", json!([])), intent("green"));
        let over = run("shop-1", "RolledBack", json!([]));
        let stand = Stand { name: "shop", status: &newest, wanted: &wanted, deleting: false };
        let created = |time| judge("d", at(time), &spec("Retry", "sre"), Some(stand), NamedRun::Newest(&over));
        assert!(why(&created("2026-11-20T21:58:00Z")).contains("was said while run shop-1 was under way"));
        assert_eq!(created("2026-11-20T21:59:30Z"), Word::Retry, "the clock of the API server may be behind");
    }

    #[test]
    fn what_is_not_wanted_any_more_is_not_tried_again() {
        let newest = status("shop-1", json!([]));
        let (over, completed) = (run("shop-1", "RolledBack", json!([])), run("shop-1", "Completed", json!([])));
        for (verb, run) in [("Retry", &over), ("Revalidate", &completed)] {
            let asked = |activate: &str, deleting| {
                let wanted = intent(activate);
                let stand = Stand { name: "shop", status: &newest, wanted: &wanted, deleting };
                judge("d", at("2026-11-20T22:01:00Z"), &spec(verb, "sre"), Some(stand), NamedRun::Newest(run))
            };
            assert!(why(&asked("blue", false)).contains("has changed since the run"), "{verb}");
            assert!(why(&asked("green", true)).contains("is being deleted"), "{verb}");
        }
    }

    #[test]
    fn checks_are_made_again_for_a_completed_run_alone() {
        let newest = status("shop-1", json!([]));
        assert_eq!(
            says("Revalidate", &newest, NamedRun::Newest(&run("shop-1", "Completed", json!([])))),
            Word::Revalidate
        );
        let word = says("Revalidate", &newest, NamedRun::Newest(&run("shop-1", "RolledBack", json!([]))));
        assert!(why(&word).contains("has not completed (RolledBack)"), "{word:?}");
        let record = json!([{"uid": "d", "decision": "Revalidate", "by": "sre", "at": "2026-11-20T22:00:30Z", "result": "accepted"}]);
        let word = says("Revalidate", &newest, NamedRun::Newest(&run("shop-1", "Completed", record)));
        assert_eq!(word, Word::Answer { result: "accepted".into(), run: Some("shop-1".into()) }, "met already");
    }

    #[test]
    fn every_other_verb_on_a_closed_run_is_refused_or_found_in_its_journal() {
        let newest = status("shop-1", json!([]));
        for verb in ["Abort", "Rollback", "Suspend", "Resume", "Resolve", "Approve", "Reject"] {
            let word = says(verb, &newest, NamedRun::Newest(&run("shop-1", "Failed", json!([]))));
            assert!(why(&word).starts_with("refused: run shop-1 is over: Failed"), "{verb}: {word:?}");
        }
        let word = says("Rollback", &newest, NamedRun::Newest(&run("shop-1", "Completed", json!([]))));
        assert!(why(&word).contains("set spec.activate"));
        let record = json!([{"uid": "d", "decision": "Rollback", "by": "sre", "at": "2026-11-20T22:00:30Z", "result": "accepted"}]);
        let word = says("Rollback", &newest, NamedRun::Older(&run("shop-1", "RolledBack", record)));
        assert_eq!(why(&word), "accepted", "the answer that a crash lost");
        let wanted = intent("green");
        let stand = Stand { name: "shop", status: &newest, wanted: &wanted, deleting: false };
        let over = run("shop-1", "RolledBack", json!([]));
        let by = "system:serviceaccount:a:b";
        let word = judge("d", at("2026-11-20T22:01:00Z"), &spec("Retry", by), Some(stand), NamedRun::Newest(&over));
        assert_eq!(word, Word::Retry, "a pipeline may, where RBAC gives its account the verb");
    }
}
