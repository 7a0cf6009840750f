//! The only writer of a run's status, and the only maker of [`Claimed`]: an intent is written before it is carried out.

use std::time::Duration;

use kube::api::PostParams;
use kube::{Api, Client};

use crate::act::Claimed;
use crate::act::call::{CallError, Class, call, call_within};
use crate::api::run::{CutoverRun, RunStatus};
use crate::api::{FIELD_MANAGER, RUN_FINALIZER};
use crate::effect::Effect;
use crate::effect::protocol::JsonPatch;
use crate::route::authorises;

/// A run may not grow beyond this in etcd (DESIGN §3).
const MAX_RUN: usize = 512 * 1024;

/// A run as it was last read or written.
pub struct Record {
    api: Api<CutoverRun>,
    name: String,
    uid: String,
    run: CutoverRun,
    /// The journal of a write whose answer never came: if it is found written, it was ours.
    unanswered: Option<RunStatus>,
}

/// What came of writing the journal.
#[derive(Debug)]
pub enum Put {
    /// It is written.
    Written(Written),
    /// Somebody else wrote in between.
    Conflict,
    /// The run does not exist any more.
    Gone,
    /// It is not known to be written.
    Failed(CallError),
}

/// The proof that the journal was written.
#[derive(Clone, Copy, Debug)]
pub struct Written(());

impl Written {
    /// Effects of a decision whose journal is written may be acted on.
    pub fn claim(self, effect: Effect) -> Claimed<Effect> {
        Claimed::written(effect)
    }
}

/// What a reading of the run showed.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is as we know it.
    Same,
    /// It holds the journal that we last tried to write.
    Ours,
    /// Somebody else wrote.
    Other,
    /// It does not exist any more.
    Gone,
}

impl Record {
    /// Reads a run live. `None`: it does not exist any more.
    pub async fn open(client: Client, namespace: &str, name: &str, uid: &str) -> Result<Option<Self>, CallError> {
        let api: Api<CutoverRun> = Api::namespaced(client, namespace);
        match call(api.get(name)).await {
            Ok(run) if run.metadata.uid.as_deref() == Some(uid) => {
                Ok(Some(Self { api, name: name.into(), uid: uid.into(), run, unanswered: None }))
            }
            Ok(_) => Ok(None),
            Err(e) if e.class == Class::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The run as it was last read or written.
    pub fn run(&self) -> &CutoverRun {
        &self.run
    }

    /// The journal as it was last read or written.
    pub fn journal(&self) -> RunStatus {
        self.run.status.clone().unwrap_or_default()
    }

    /// The proof for a journal that is already written.
    pub fn standing(&self, journal: &RunStatus) -> Option<Written> {
        let written = self.run.status.as_ref()?;
        (crate::journal::durable(written) == crate::journal::durable(journal)).then_some(Written(()))
    }

    /// Writes the journal with the resourceVersion of the last reading.
    pub async fn put(&mut self, journal: &RunStatus, limit: Duration) -> Put {
        let mut next = self.run.clone();
        next.metadata.managed_fields = None;
        next.status = Some(journal.clone());
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
        match call_within(limit, self.api.replace_status(&self.name, &params, &next)).await {
            Ok(answer) => {
                self.run.metadata = answer.metadata;
                self.run.status = Some(journal.clone());
                self.unanswered = None;
                Put::Written(Written(()))
            }
            Err(e) if e.class == Class::Conflict => Put::Conflict,
            Err(e) if e.class == Class::NotFound => Put::Gone,
            Err(e) => {
                if e.class == Class::Transient {
                    self.unanswered = Some(journal.clone());
                }
                Put::Failed(e)
            }
        }
    }

    /// Reads the run again, live.
    pub async fn read(&mut self) -> Result<Seen, CallError> {
        let run = match call(self.api.get(&self.name)).await {
            Ok(run) if run.metadata.uid.as_deref() == Some(&self.uid) => run,
            Ok(_) => return Ok(Seen::Gone),
            Err(e) if e.class == Class::NotFound => return Ok(Seen::Gone),
            Err(e) => return Err(e),
        };
        let same = run.metadata.resource_version == self.run.metadata.resource_version;
        let ours = self.unanswered.take().is_some_and(|tried| same_on_the_wire(&tried, run.status.as_ref()));
        self.run = run;
        Ok(match (same, ours) {
            (true, _) => Seen::Same,
            (false, true) => Seen::Ours,
            (false, false) => Seen::Other,
        })
    }

    /// Restores that the switch's own claim authorises (DESIGN §5.1), by a live reading of the run: only where that says
    /// that this run switched the Service, and is neither over nor closed. The record itself is left as it is, so that
    /// a later write still notices what somebody else wrote.
    pub async fn authorise(&self, effects: &[Effect]) -> Result<Vec<Claimed<Effect>>, CallError> {
        match call(self.api.get(&self.name)).await {
            Ok(run) if run.metadata.uid.as_deref() == Some(&self.uid) => {
                let journal = run.status.unwrap_or_default();
                Ok(restores_allowed(&journal, effects).into_iter().map(Claimed::written).collect())
            }
            Ok(_) => Ok(vec![]),
            Err(e) if e.class == Class::NotFound => Ok(vec![]),
            Err(e) => Err(e),
        }
    }

    /// Takes the run's finalizer away, once it is closed.
    pub async fn release(&mut self) -> Result<(), CallError> {
        release(&self.api, &self.run).await
    }
}

/// Takes a run's finalizer away, if it has it.
pub async fn release(api: &Api<CutoverRun>, run: &CutoverRun) -> Result<(), CallError> {
    take_finalizer(api, run, RUN_FINALIZER).await.map(drop)
}

/// Takes a finalizer away, and answers with the object as it is then; `None` where there was nothing to take away, or
/// somebody else has.
///
/// # Errors
/// What the API server says. A list that changed since `object` was read is no error where the finalizer is gone from it.
pub async fn take_finalizer<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<Option<K>, CallError>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let Some(patch) = without_finalizer(object.meta().finalizers.as_deref(), finalizer) else { return Ok(None) };
    let patch = patch.body()?;
    let name = object.meta().name.as_deref().unwrap_or_default();
    match call(api.patch(name, &kube::api::PatchParams::default(), &patch)).await {
        Ok(after) => Ok(Some(after)),
        Err(e) if e.class == Class::NotFound => Ok(None),
        Err(e) if e.class == Class::Invalid => match call(api.get_opt(name)).await? {
            Some(now) if now.meta().finalizers.iter().flatten().any(|f| f == finalizer) => Err(e),
            _ => Ok(None),
        },
        Err(e) => Err(e),
    }
}

/// The patch that takes a finalizer away; `None` where it is not there.
fn without_finalizer(list: Option<&[String]>, finalizer: &str) -> Option<JsonPatch> {
    let list = list?;
    let at = list.iter().position(|f| f == finalizer)?;
    let path = format!("/metadata/finalizers/{at}");
    Some(JsonPatch::default().test(&path, finalizer).remove(&path))
}

fn restores_allowed(journal: &RunStatus, effects: &[Effect]) -> Vec<Effect> {
    let claimed = |effect: &&Effect| match effect {
        Effect::Restore { route, from, to, .. } => authorises(journal, route, from, to),
        _ => false,
    };
    effects.iter().filter(claimed).cloned().collect()
}

fn same_on_the_wire(tried: &RunStatus, found: Option<&RunStatus>) -> bool {
    match (serde_json::to_value(tried), found.map(serde_json::to_value)) {
        (Ok(a), Some(Ok(b))) => a == b,
        _ => false,
    }
}

/// Makes a journal fit: evidence of executions that ended goes first, oldest first. What is left is never cut, since a
/// rollback must always find room.
pub fn fit(journal: &mut RunStatus, spec: usize) -> bool {
    let size = |j: &RunStatus| serde_json::to_vec(j).map_or(0, |v| v.len()) + spec;
    let mut cut = false;
    while size(journal) > MAX_RUN {
        let Some(step) = journal.steps.iter_mut().find(|s| s.ended.is_some() && s.evidence.is_some()) else { break };
        step.evidence = None;
        cut = true;
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::phase::Phase;
    use crate::api::run::{RunState, ServiceSwitch, StepRecord, SwitchRecord, SwitchState};
    use crate::effect::RestoreGuard;
    use jiff::Timestamp;
    use serde_json::json;

    fn journal(phase: Phase, state: SwitchState) -> RunStatus {
        let service = ServiceSwitch {
            name: "web".into(),
            uid: "u".into(),
            resource_version: "1".into(),
            from: [("side".to_owned(), "blue".to_owned())].into(),
            to: [("side".to_owned(), "green".to_owned())].into(),
            wanted: 0,
            old_wanted: 0,
            unanswered: false,
            state,
            switched_at: None,
            restored_at: None,
            message: None,
            blocked: None,
        };
        let switch = SwitchRecord {
            claimed_at: Timestamp::UNIX_EPOCH,
            converged_at: None,
            restored_at: None,
            services: vec![service],
        };
        RunStatus { phase, switch: Some(switch), ..RunStatus::default() }
    }

    fn restore(service: &str, from: &str) -> Effect {
        Effect::Restore {
            route: crate::route::Route::service(service),
            from: [("side".to_owned(), from.to_owned())].into(),
            to: [("side".to_owned(), "green".to_owned())].into(),
            guard: RestoreGuard { min_ready: 1, any: false },
            limit: crate::api::Duration::from_secs(2),
            fence: "f".into(),
        }
    }

    #[test]
    fn the_switchs_claim_authorises_its_own_restore_and_nothing_else() {
        let wanted = [restore("web", "blue"), Effect::StartJob { name: "j".into(), uid: "u".into() }];
        for state in [SwitchState::Claimed, SwitchState::Switched] {
            assert_eq!(restores_allowed(&journal(Phase::Observing, state), &wanted), vec![wanted[0].clone()]);
        }
        assert!(restores_allowed(&journal(Phase::Observing, SwitchState::Restored), &wanted).is_empty());
        assert!(restores_allowed(&journal(Phase::RolledBack, SwitchState::Switched), &wanted).is_empty());
        let other = [restore("web", "red"), restore("api", "blue")];
        assert!(restores_allowed(&journal(Phase::Observing, SwitchState::Switched), &other).is_empty());
        assert!(restores_allowed(&RunStatus::default(), &wanted).is_empty());
        let mut closed = journal(Phase::Completed, SwitchState::Switched);
        closed.state = RunState::Closed;
        assert!(restores_allowed(&closed, &wanted).is_empty());
    }

    #[test]
    fn only_evidence_of_what_ended_is_cut() {
        let step = |name: &str, ended: bool| StepRecord {
            name: name.into(),
            ended: ended.then_some(Timestamp::UNIX_EPOCH),
            evidence: Some(json!({"x": "y".repeat(300 * 1024)})),
            ..StepRecord::default()
        };
        let mut j =
            RunStatus { steps: vec![step("a", true), step("b", true), step("c", false)], ..RunStatus::default() };
        assert!(fit(&mut j, 1000));
        let left: Vec<bool> = j.steps.iter().map(|s| s.evidence.is_some()).collect();
        assert_eq!(left, [false, false, true]);
        assert!(!fit(&mut j, 1000));
    }

    #[test]
    fn a_finalizer_is_removed_by_a_patch_that_tests_its_place() {
        let list = vec!["other".to_owned(), RUN_FINALIZER.to_owned()];
        let patch = without_finalizer(Some(&list), RUN_FINALIZER);
        assert_eq!(patch.as_ref().map(|p| p.operations()[1]["path"].clone()), Some(json!("/metadata/finalizers/1")));
        assert_eq!(without_finalizer(Some(&list[..1]), RUN_FINALIZER), None);
    }
}
