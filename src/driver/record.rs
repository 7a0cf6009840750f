//! A run as it was last read or written: the only writer of its status while it is open.

use std::time::Duration;

use kube::api::PostParams;
use kube::{Api, Client};

use crate::act::call::{CALL_LIMIT, CallError, Class, call, call_within};
use crate::api::run::{CutoverRun, RunStatus};
use crate::api::{FIELD_MANAGER, RUN_FINALIZER};
use crate::effect::protocol::JsonPatch;
use crate::pilot::run::{Put, Reread};

/// A run as it was last read or written.
pub struct Record {
    api: Api<CutoverRun>,
    name: String,
    uid: String,
    run: CutoverRun,
}

impl Record {
    /// Reads a run live. `None`: it does not exist any more.
    pub async fn open(client: Client, namespace: &str, name: &str, uid: &str) -> Result<Option<Self>, CallError> {
        let api: Api<CutoverRun> = Api::namespaced(client, namespace);
        match call(api.get(name)).await {
            Ok(run) if run.metadata.uid.as_deref() == Some(uid) => {
                Ok(Some(Self { api, name: name.into(), uid: uid.into(), run }))
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

    /// Writes the journal with the resourceVersion of the last reading.
    pub async fn put(&mut self, journal: RunStatus, within: Option<Duration>) -> Put {
        let mut next = self.run.clone();
        next.metadata.managed_fields = None;
        next.status = Some(journal);
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
        match call_within(within.unwrap_or(CALL_LIMIT), self.api.replace_status(&self.name, &params, &next)).await {
            Ok(answer) => {
                self.run.metadata = answer.metadata;
                self.run.status = next.status;
                Put::Written
            }
            Err(e) if e.class == Class::Conflict => Put::Conflict,
            Err(e) if e.class == Class::NotFound => Put::Gone,
            Err(e) => Put::Failed { why: e.to_string(), unanswered: e.class == Class::Transient },
        }
    }

    /// Reads the run again, live, and writes upon that from now on.
    pub async fn read(&mut self) -> Reread {
        match self.live().await {
            Ok(Some(run)) => {
                let same = run.metadata.resource_version == self.run.metadata.resource_version;
                self.run = run;
                Reread::Found { journal: Box::new(self.run.status.clone().unwrap_or_default()), same }
            }
            Ok(None) => Reread::Gone,
            Err(e) => Reread::Failed(e.to_string()),
        }
    }

    /// Reads the run live and leaves the record as it is, so that a later write still notices what somebody else wrote.
    pub async fn look(&self) -> Reread {
        match self.live().await {
            Ok(Some(run)) => {
                let same = run.metadata.resource_version == self.run.metadata.resource_version;
                Reread::Found { journal: Box::new(run.status.unwrap_or_default()), same }
            }
            Ok(None) => Reread::Gone,
            Err(e) => Reread::Failed(e.to_string()),
        }
    }

    /// The run, unless it does not exist any more.
    async fn live(&self) -> Result<Option<CutoverRun>, CallError> {
        match call(self.api.get(&self.name)).await {
            Ok(run) if run.metadata.uid.as_deref() == Some(&self.uid) => Ok(Some(run)),
            Ok(_) => Ok(None),
            Err(e) if e.class == Class::NotFound => Ok(None),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_finalizer_is_removed_by_a_patch_that_tests_its_place() {
        let list = vec!["other".to_owned(), RUN_FINALIZER.to_owned()];
        let patch = without_finalizer(Some(&list), RUN_FINALIZER);
        assert_eq!(patch.as_ref().map(|p| p.operations()[1]["path"].clone()), Some(json!("/metadata/finalizers/1")));
        assert_eq!(without_finalizer(Some(&list[..1]), RUN_FINALIZER), None);
    }
}
