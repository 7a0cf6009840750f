//! What the controller remembers between looks: little for each Cutover, more for active runs only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::ResourceExt;

use super::digest::Digest;
use super::queue::Key;
use crate::api::cutover::Cutover;
use crate::api::decision::{CutoverDecision, Verb};
use crate::api::run::CutoverRun;

/// A Cutover, as far as others need to know it.
struct Entry {
    uid: Box<str>,
    created: Option<Timestamp>,
    services: Box<[Box<str>]>,
}

#[derive(Default)]
struct Inner {
    cutovers: HashMap<Key, Entry>,
    /// By uid of the run.
    active: HashMap<String, Arc<CutoverRun>>,
    /// The resourceVersion of our last write.
    written: HashMap<Key, String>,
    /// By uid of the run that is to be tried again: who said so.
    retries: HashMap<String, String>,
}

/// Shared by all looks.
#[derive(Default)]
pub struct Known {
    inner: Mutex<Inner>,
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A Cutover was seen. Returns whether it may be left alone: it is quiet, or what is seen is our own last write, which
    /// says nothing new.
    pub fn cutover(&self, key: &Key, digest: Digest) -> bool {
        let Digest { metadata, services, quiet } = digest;
        let entry = Entry {
            uid: metadata.uid.unwrap_or_default().into(),
            created: metadata.creation_timestamp.map(|t| t.0),
            services: services.into_iter().map(Into::into).collect(),
        };
        let mut inner = self.lock();
        inner.cutovers.insert(key.clone(), entry);
        if quiet {
            inner.written.remove(key);
            return true;
        }
        inner.written.get(key).is_some_and(|rv| metadata.resource_version.as_ref() == Some(rv))
    }

    /// A Cutover is gone.
    pub fn cutover_gone(&self, key: &Key) {
        let mut inner = self.lock();
        inner.cutovers.remove(key);
        inner.written.remove(key);
    }

    /// We wrote a Cutover's status.
    pub fn wrote(&self, key: &Key, resource_version: Option<&str>) {
        if let Some(rv) = resource_version {
            self.lock().written.insert(key.clone(), rv.to_owned());
        }
    }

    /// An active run was seen.
    pub fn active(&self, run: Arc<CutoverRun>) {
        self.lock().active.insert(run.uid().unwrap_or_default(), run);
    }

    /// A run is not active any more.
    pub fn left(&self, run: &CutoverRun) {
        self.lock().active.remove(&run.uid().unwrap_or_default());
    }

    /// The newest active run of a Cutover.
    pub fn active_of(&self, uid: &str) -> Option<Arc<CutoverRun>> {
        let inner = self.lock();
        let of = inner.active.values().filter(|r| r.spec.cutover_uid == uid);
        of.max_by_key(|r| r.creation_timestamp().map(|t| t.0)).cloned()
    }

    /// A person's word that concerns the controller: `Retry`. Returns the Cutover it is about.
    pub fn decision(&self, decision: &CutoverDecision) -> Option<Key> {
        if decision.spec.decision != Verb::Retry {
            return None;
        }
        self.lock().retries.insert(decision.spec.run_uid.clone(), decision.spec.by.clone());
        Some(Key { namespace: decision.namespace().unwrap_or_default(), name: decision.spec.cutover.clone() })
    }

    /// Who wants this run to be tried again.
    pub fn retry_of(&self, run_uid: &str) -> Option<String> {
        self.lock().retries.get(run_uid).cloned()
    }

    /// A Service of the Cutover and the name of the older Cutover of the namespace that names it too.
    pub fn older_holder(&self, key: &Key, cutover: &Cutover) -> Option<(String, String)> {
        let mine = (cutover.creation_timestamp().map(|t| t.0), cutover.uid().unwrap_or_default());
        let inner = self.lock();
        inner.cutovers.iter().filter(|(k, _)| k.namespace == key.namespace && *k != key).find_map(|(k, other)| {
            let older = (other.created, &*other.uid) < (mine.0, mine.1.as_str());
            let shared = cutover.spec.services.iter().find(|s| other.services.iter().any(|o| **o == *s.name))?;
            older.then(|| (shared.name.clone(), k.name.clone()))
        })
    }
}
