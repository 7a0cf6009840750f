//! What the controller remembers between looks: little for each Cutover, more for active runs only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::ResourceExt;

use super::accepted::TemplateKey;
use super::asked::Asked;
use super::digest::Digest;
use super::queue::Key;
use crate::api::cutover::Cutover;
use crate::api::run::CutoverRun;
use crate::api::template::TemplateKind;

/// A Cutover, as far as others need to know it.
struct Entry {
    uid: Box<str>,
    created: Option<Timestamp>,
    services: Box<[Box<str>]>,
    templates: Box<[(TemplateKind, Box<str>)]>,
    /// The generation that was checked last, with the templates as they are.
    checked: Option<i64>,
    /// The watch that showed it, and the list of that watch which did so last.
    seen: (usize, u32),
}

/// What a sight of a Cutover says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing about it needs a look.
    Quiet,
    /// It is as we wrote it last, which says nothing new.
    Ours,
    /// It needs a look.
    Some,
}

#[derive(Default)]
struct Inner {
    cutovers: HashMap<Key, Entry>,
    /// By watch: lists begun.
    lists: Vec<u32>,
    /// By uid of the run.
    active: HashMap<String, Arc<CutoverRun>>,
    /// The resourceVersion of our last write.
    written: HashMap<Key, String>,
    /// Decisions without an answer.
    asked: Asked,
}

impl Inner {
    fn list_of(&self, watch: usize) -> u32 {
        self.lists.get(watch).copied().unwrap_or_default()
    }
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

    /// A Cutover was seen.
    pub fn cutover(&self, watch: usize, key: &Key, digest: Digest) -> News {
        let Digest { metadata, services, templates, quiet } = digest;
        let mut inner = self.lock();
        let checked = inner.cutovers.get(key).and_then(|known| known.checked);
        let entry = Entry {
            seen: (watch, inner.list_of(watch)),
            uid: metadata.uid.unwrap_or_default().into(),
            created: metadata.creation_timestamp.map(|t| t.0),
            services: services.into_iter().map(Into::into).collect(),
            templates: templates.into_iter().map(|(kind, name)| (kind, name.into())).collect(),
            checked,
        };
        inner.cutovers.insert(key.clone(), entry);
        if quiet {
            inner.written.remove(key);
            return News::Quiet;
        }
        let ours = inner.written.get(key).is_some_and(|rv| metadata.resource_version.as_ref() == Some(rv));
        if ours { News::Ours } else { News::Some }
    }

    /// Whether this generation was checked with the templates as they are.
    pub fn is_checked(&self, key: &Key, generation: Option<i64>) -> bool {
        self.lock().cutovers.get(key).is_some_and(|known| known.checked.is_some() && known.checked == generation)
    }

    /// This generation is checked.
    pub fn checked(&self, key: &Key, generation: Option<i64>) {
        if let Some(known) = self.lock().cutovers.get_mut(key) {
            known.checked = generation;
        }
    }

    /// What was checked has to be checked again.
    pub fn check_again(&self, key: &Key) {
        self.checked(key, None);
    }

    /// A template came, changed or went: the Cutovers that use it, all of which have to be checked again.
    pub fn users_of(&self, (kind, namespace, name): &TemplateKey) -> Vec<Key> {
        let mut users = vec![];
        for (key, known) in &mut self.lock().cutovers {
            let there = namespace.as_ref().is_none_or(|ns| *ns == key.namespace);
            if there && known.templates.iter().any(|(k, n)| k == kind && **n == **name) {
                known.checked = None;
                users.push(key.clone());
            }
        }
        users
    }

    /// A Cutover is gone.
    pub fn cutover_gone(&self, key: &Key) {
        let mut inner = self.lock();
        inner.cutovers.remove(key);
        inner.written.remove(key);
    }

    /// A watch lists all of its Cutovers anew.
    pub fn list_begins(&self, watch: usize) {
        let mut inner = self.lock();
        if inner.lists.len() <= watch {
            inner.lists.resize(watch + 1, 0);
        }
        if let Some(list) = inner.lists.get_mut(watch) {
            *list = list.wrapping_add(1);
        }
    }

    /// All have been listed: those of this watch that were not are gone, and are returned.
    pub fn list_ended(&self, watch: usize) -> Vec<Key> {
        let mut inner = self.lock();
        let list = inner.list_of(watch);
        let stale = |entry: &Entry| entry.seen.0 == watch && entry.seen.1 != list;
        let gone: Vec<Key> = inner.cutovers.iter().filter(|(_, e)| stale(e)).map(|(key, _)| key.clone()).collect();
        for key in &gone {
            inner.cutovers.remove(key);
            inner.written.remove(key);
        }
        gone
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

    /// Whether a run of this namespace is active.
    pub fn is_active(&self, namespace: &str, run_uid: &str) -> bool {
        self.lock().active.get(run_uid).is_some_and(|r| r.namespace().as_deref() == Some(namespace))
    }

    /// Works on what is known of decisions.
    pub fn asked<T>(&self, work: impl FnOnce(&mut Asked) -> T) -> T {
        work(&mut self.lock().asked)
    }

    /// The newest active run of a Cutover.
    pub fn active_of(&self, uid: &str) -> Option<Arc<CutoverRun>> {
        let inner = self.lock();
        let of = inner.active.values().filter(|r| r.spec.cutover_uid == uid);
        of.max_by_key(|r| r.creation_timestamp().map(|t| t.0)).cloned()
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn digest(name: &str, version: &str, generation: i64) -> Digest {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": version, "generation": generation},
            "spec": {"services": [{"name": "web"}], "activate": "blue"},
            "status": {"observedGeneration": 1, "started": {"activate": "blue"}},
        }))
        .expect("a digest")
    }

    fn key(name: &str) -> Key {
        Key { namespace: "a".into(), name: name.into() }
    }

    #[test]
    fn what_a_new_list_does_not_name_is_forgotten() {
        let known = Known::default();
        for (watch, name) in [(0, "web"), (0, "api"), (1, "other")] {
            known.list_begins(watch);
            known.cutover(watch, &key(name), digest(name, "1", 1));
        }
        // The second Cutover of watch 0 came with a list of its own.
        assert_eq!(known.list_ended(0), [key("web")]);
        known.cutover(0, &key("web"), digest("web", "2", 1));
        assert_eq!(
            (known.list_ended(0), known.list_ended(1)),
            (vec![], vec![]),
            "an event between lists belongs to the last"
        );
    }

    #[test]
    fn a_template_makes_the_check_of_its_users_due_again() {
        let known = Known::default();
        let mut using = digest("web", "1", 1);
        using.templates = vec![(TemplateKind::CutoverTemplate, "smoke".into())];
        known.cutover(0, &key("web"), using.clone());
        known.cutover(0, &key("api"), digest("api", "1", 1));
        known.checked(&key("web"), Some(1));
        known.cutover(0, &key("web"), using);
        assert!(known.is_checked(&key("web"), Some(1)) && !known.is_checked(&key("web"), Some(2)));
        let template = |ns: &str| (TemplateKind::CutoverTemplate, Some(ns.to_owned()), "smoke".to_owned());
        assert_eq!(known.users_of(&template("b")), []);
        assert_eq!(known.users_of(&template("a")), [key("web")]);
        assert!(!known.is_checked(&key("web"), Some(1)));
    }

    #[test]
    fn our_own_write_needs_no_look_and_is_forgotten_once_all_is_quiet() {
        let known = Known::default();
        known.wrote(&key("web"), Some("7"));
        assert_eq!(known.cutover(0, &key("web"), digest("web", "7", 2)), News::Ours);
        assert_eq!(known.cutover(0, &key("web"), digest("web", "8", 2)), News::Some, "somebody else's");
        assert_eq!(known.cutover(0, &key("web"), digest("web", "9", 1)), News::Quiet);
        assert!(known.lock().written.is_empty());
    }
}
