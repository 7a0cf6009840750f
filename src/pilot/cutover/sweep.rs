//! PURE. Decisions that no run has. One that was answered goes with the run that it names ([`crate::writes::answer`]); the
//! rest goes after a while: what was never answered, and what names a run that is not there. One whose owner could not be
//! written, or that was answered by a version which wrote none, is given to its run then.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::decision::CutoverDecision;
use crate::journal::words::is_way_back;

/// The shortest time for which decisions may be kept: they are answered within seconds.
pub const LEAST: Duration = Duration::from_secs(10);
/// Most decisions that are deleted or given to their runs in one go.
pub const MOST: usize = 1000;
/// Pause after one in which there were more.
const SOON: Duration = Duration::from_secs(60);

/// How often it is looked for such decisions: hourly where they are kept for a day.
pub fn every(keep: Duration) -> Duration {
    keep / 24
}

/// When that is done first, once this process leads: ten minutes later where they are kept for a day.
pub fn first(keep: Duration) -> Duration {
    every(keep) / 6
}

/// When it is done again after so many have been dealt with.
pub fn again(keep: Duration, dealt_with: usize) -> Duration {
    if dealt_with < MOST { every(keep) } else { SOON.min(every(keep)) }
}

/// A decision that no run has, old enough to be dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Its resourceVersion as it was read: one that was answered meanwhile has another.
    pub resource_version: String,
    /// The uid of the run that it names.
    pub run_uid: String,
    word: Open,
}

/// How a decision stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// It has an answer.
    No,
    Yes,
    /// Rollback or Abort: it does not expire.
    WayBack,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate<'a> {
    /// It waits.
    Stays,
    /// It is deleted.
    Goes,
    /// It is given to the run of this name.
    IsOf(&'a str),
}

/// Whether nobody has the decision, `keep` after it was created. An owner that others have written is none: it would keep
/// a decision forever that no run has taken in.
pub fn stray(decision: &CutoverDecision, now: Timestamp, keep: Duration) -> Option<Stray> {
    let (meta, spec) = (&decision.metadata, &decision.spec);
    let created = meta.creation_timestamp.as_ref()?.0;
    let old = now.duration_since(created) >= SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    let owned = meta.owner_references.iter().flatten().any(|o| o.kind == "CutoverRun" && o.uid == spec.run_uid);
    let word = match decision.is_open() {
        true if is_way_back(spec.decision) => Open::WayBack,
        true => Open::Yes,
        false => Open::No,
    };
    if !old || meta.deletion_timestamp.is_some() || (owned && word == Open::No) {
        return None;
    }
    Some(Stray {
        namespace: decision.namespace()?,
        name: decision.name_any(),
        uid: decision.uid()?,
        resource_version: decision.resource_version()?,
        run_uid: spec.run_uid.clone(),
        word,
    })
}

impl Stray {
    /// What becomes of it. `runs`: the names of all runs of its namespace by uid, read after the time for which it was found
    /// old enough: a decision names a run that was there before it.
    pub fn fate<'a>(&self, runs: &'a BTreeMap<String, String>) -> Fate<'a> {
        match (runs.get(&self.run_uid), self.word) {
            (None, _) | (Some(_), Open::Yes) => Fate::Goes,
            (Some(_), Open::WayBack) => Fate::Stays,
            (Some(name), Open::No) => Fate::IsOf(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decision::Verb;
    use serde_json::{Value, json};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn word(verb: &str, state: &str, meta: Value) -> CutoverDecision {
        let mut decision = json!({
            "apiVersion": "cutover.dev/v1alpha1", "kind": "CutoverDecision",
            "metadata": {
                "name": "word", "namespace": "a", "uid": "d", "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"cutover": "web", "runUID": "r", "decision": verb, "by": "jane"},
            "status": {"state": state},
        });
        for (key, value) in meta.as_object().into_iter().flatten() {
            decision["metadata"][key] = value.clone();
        }
        serde_json::from_value(decision).expect("a decision")
    }

    fn after(hours: u64) -> Timestamp {
        let begin: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        begin + Duration::from_secs(hours * 3600)
    }

    fn owned_by(kind: &str, uid: &str) -> Value {
        json!({"ownerReferences": [{"apiVersion": "x/v1", "kind": kind, "name": "n", "uid": uid}]})
    }

    fn is_stray(decision: &CutoverDecision, hours: u64) -> bool {
        stray(decision, after(hours), DAY).is_some()
    }

    fn fate(verb: &str, state: &str, runs: &[(&str, &str)]) -> String {
        let runs = runs.iter().map(|(uid, name)| ((*uid).to_owned(), (*name).to_owned())).collect();
        let stray = stray(&word(verb, state, json!({})), after(24), DAY).expect("nobody has it");
        format!("{:?}", stray.fate(&runs))
    }

    #[test]
    fn what_a_run_has_goes_with_it_and_nothing_is_touched_within_a_day() {
        for state in ["Open", "Answered"] {
            let mine = word("Approve", state, json!({}));
            assert!(!is_stray(&mine, 23) && is_stray(&mine, 24), "{state}");
        }
        let owned = |uid: &str, kind: &str, state: &str| is_stray(&word("Approve", state, owned_by(kind, uid)), 24);
        assert!(!owned("r", "CutoverRun", "Answered"));
        assert!(owned("r", "CutoverRun", "Open"), "an owner that was forged keeps nothing");
        assert!(owned("other", "CutoverRun", "Answered") && owned("r", "ConfigMap", "Answered"));
        let going = json!({"deletionTimestamp": "2026-01-01T01:00:00Z", "finalizers": ["somebody/s"]});
        assert!(!is_stray(&word("Approve", "Open", going), 24), "it is going");
        assert!(!is_stray(&word("Approve", "Open", json!({"creationTimestamp": "2026-01-03T00:00:00Z"})), 24));
    }

    #[test]
    fn what_was_never_answered_goes_but_a_rollback_and_an_abort_while_their_run_is_there() {
        let there = [("r", "web-1"), ("s", "web-2")];
        let all = [
            Verb::Approve,
            Verb::Reject,
            Verb::Abort,
            Verb::Rollback,
            Verb::Retry,
            Verb::Resolve,
            Verb::Suspend,
            Verb::Resume,
            Verb::Revalidate,
        ];
        for verb in all {
            let (waits, verb) = (matches!(verb, Verb::Abort | Verb::Rollback), format!("{verb:?}"));
            assert_eq!(fate(&verb, "Open", &there), if waits { "Stays" } else { "Goes" }, "{verb}");
            assert_eq!(fate(&verb, "Open", &[("s", "web-2")]), "Goes", "{verb}: its run is gone");
            assert_eq!(fate(&verb, "Answered", &there), "IsOf(\"web-1\")", "{verb}: answered before there were owners");
            assert_eq!(fate(&verb, "Answered", &[]), "Goes", "{verb}: answered, and no run has it");
        }
    }

    #[test]
    fn it_is_done_hourly_and_sooner_where_there_were_more() {
        let minutes = |d: Duration| d.as_secs() / 60;
        assert_eq!((minutes(first(DAY)), minutes(again(DAY, 0)), minutes(again(DAY, MOST))), (10, 60, 1));
        assert!(again(LEAST, MOST) < SOON && !first(LEAST).is_zero());
    }
}
