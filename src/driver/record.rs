//! A run as it was last read or written: the only writer of its status while it is open.

use std::time::Duration;

use kube::api::PostParams;
use kube::{Api, Client};

use crate::act::call::{CALL_LIMIT, CallError, Class, call, call_within, insist};
use crate::api::run::{CutoverRun, RunStatus};
use crate::api::{FIELD_MANAGER, RUN_FINALIZER};
use crate::effect::protocol::JsonPatch;
use crate::net::room::urgent;
use crate::pilot::run::{Put, Reread};

/// A run as it was last read or written.
pub(crate) struct Record {
    api: Api<CutoverRun>,
    /// The same for what a restore waits for.
    at_once: Api<CutoverRun>,
    name: String,
    uid: String,
    run: CutoverRun,
}

impl Record {
    /// A run that a watch has shown, and that nobody has written since it was created: were that not so any more, the first
    /// write would meet a conflict, and nothing is done before it.
    pub fn unwritten(client: Client, run: &CutoverRun) -> Option<Self> {
        let (namespace, name, uid) =
            (run.metadata.namespace.as_deref()?, run.metadata.name.clone()?, run.metadata.uid.clone()?);
        run.status.is_none().then(|| Self::with(client, namespace, name, uid, run.clone()))
    }

    fn with(client: Client, namespace: &str, name: String, uid: String, run: CutoverRun) -> Self {
        let at_once = Api::namespaced(urgent(client.clone()), namespace);
        Self { api: Api::namespaced(client, namespace), at_once, name, uid, run }
    }

    /// Reads a run live. `None`: it does not exist any more.
    pub async fn open(client: Client, namespace: &str, name: &str, uid: &str) -> Result<Option<Self>, CallError> {
        let api: Api<CutoverRun> = Api::namespaced(client.clone(), namespace);
        match call(api.get(name)).await {
            Ok(run) if run.metadata.uid.as_deref() == Some(uid) => {
                Ok(Some(Self::with(client, namespace, name.into(), uid.into(), run)))
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

    /// Writes the journal with the resourceVersion of the last reading. `within`: a restore waits for it, for so long.
    pub async fn put(&mut self, journal: RunStatus, within: Option<Duration>) -> Put {
        let mut next = self.run.clone();
        next.metadata.managed_fields = None;
        next.status = Some(journal);
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
        let api = if within.is_some() { &self.at_once } else { &self.api };
        match call_within(within.unwrap_or(CALL_LIMIT), api.replace_status(&self.name, &params, &next)).await {
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

    /// Reads the run again, live, and writes on top of that from now on.
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
        // A restore waits for it.
        match self.ours(insist(CALL_LIMIT, || self.at_once.get(&self.name)).await) {
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
        self.ours(call(self.api.get(&self.name)).await)
    }

    fn ours(&self, found: Result<CutoverRun, CallError>) -> Result<Option<CutoverRun>, CallError> {
        match found {
            Ok(run) if run.metadata.uid.as_deref() == Some(&self.uid) => Ok(Some(run)),
            Ok(_) => Ok(None),
            Err(e) if e.class == Class::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Takes the run's finalizer away, if it has it.
    ///
    /// # Errors
    /// What the API server says. A list that changed since the run was read is no error where the finalizer is gone from it.
    pub async fn release(&self) -> Result<(), CallError> {
        let Some(patch) = JsonPatch::without_finalizer(&self.run.metadata, RUN_FINALIZER) else { return Ok(()) };
        match call(self.api.patch(&self.name, &kube::api::PatchParams::default(), &patch.body()?)).await {
            Ok(_) => Ok(()),
            Err(e) if e.class == Class::NotFound => Ok(()),
            Err(e) if e.class == Class::Invalid => match self.live().await? {
                Some(now) if now.metadata.finalizers.iter().flatten().any(|f| f == RUN_FINALIZER) => Err(e),
                _ => Ok(()),
            },
            Err(e) => Err(e),
        }
    }
}
