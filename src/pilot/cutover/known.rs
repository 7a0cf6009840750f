//! PURE. What a process remembers between looks: little for each Cutover, more for active runs only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::asked::{Asked, Questions, Said};
use super::digest::Digest;
use super::look::AGAIN;
use super::order::Class;
use crate::api::cutover::{Cutover, CutoverSpec};
use crate::api::run::CutoverRun;
use crate::api::template::TemplateKind;
use crate::journal;
use crate::status::{Facts, project};

/// Pauses after looks that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Longest pause after a look at a Cutover that is stuck: what it waits for wakes it, where a watch shows that.
const STUCK: Duration = Duration::from_secs(300);
/// Pause after a look that found the Cutover written by somebody else.
const CHANGED: Duration = Duration::from_millis(50);

/// A Cutover by namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

/// What a Service asks of pods.
pub type Selector = BTreeMap<String, String>;

/// A template by its kind, its namespace (none for one of the whole cluster) and its name.
pub(crate) type TemplateKey = (TemplateKind, Option<String>, String);

/// What a look has to know from the watches and from the looks before it.
#[derive(Clone, Debug, Default)]
pub struct Background {
    /// The generation that was checked last with the templates as they are.
    pub(super) checked: Option<i64>,
    /// The generation and the number of runs at which all receivers were last found right.
    pub(super) receivers: Option<(i64, i64)>,
    /// Active runs of the namespace.
    pub(super) active: Vec<Arc<CutoverRun>>,
    /// Decisions that name the Cutover.
    pub(super) questions: Questions,
    /// A Service of it leads elsewhere than it shows, though nothing is under way.
    pub(super) adrift: bool,
}

/// What a look wants to be remembered.
#[derive(Clone, Debug, PartialEq)]
pub enum Memo {
    /// We wrote the Cutover; its resourceVersion since then.
    Wrote(Option<String>),
    /// This generation is checked, or none: it is to be checked again.
    Checked(Option<i64>),
    /// All receivers are right, at this generation and with so many runs.
    Receivers(i64, i64),
    /// This is said about a decision.
    Said(String, Said),
    /// The answer stands on the decision, or it is gone.
    Answered(String),
    /// The answer of a decision cannot be written.
    GaveUp(String),
    /// A run is opened again for a decision.
    Opened(String),
    /// No answer of another process can arrive on a decision any more.
    TakenUp(String),
    /// A decision waits, since then at the latest, for the proof that it is nobody else's.
    Waits(String, Timestamp),
    /// A refusal was told.
    Told(Timestamp),
}

/// A Cutover, as far as others need to know it.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    uid: Box<str>,
    created: Option<Timestamp>,
    services: Box<[Box<str>]>,
    templates: Box<[(TemplateKind, Box<str>)]>,
    /// Of one at rest, what its Services ask of pods as long as nobody else writes them; nothing where that is not known.
    rests_on: Option<Labels>,
    /// The generation that was checked last, with the templates as they are.
    checked: Option<i64>,
    /// See [`Background::receivers`].
    receivers: Option<(i64, i64)>,
    /// The watch that showed it, and the list of that watch which did so last.
    seen: (usize, u32),
}

/// A selector, as it is kept: there may be thousands.
type Labels = Box<[(Box<str>, Box<str>)]>;

impl Entry {
    /// Whether it is at rest, and a Service that asks for these labels (`None`: that is gone) does not lead to the side that it
    /// shows as live.
    fn is_adrift(&self, asks: Option<&Labels>) -> bool {
        let leads = |live: &Labels| !live.is_empty() && asks.is_some_and(|asks| live.iter().all(|l| asks.contains(l)));
        self.rests_on.as_ref().is_some_and(|live| !leads(live))
    }
}

/// What a sight of a Cutover says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing about it needs a look.
    Quiet,
    /// It is as we wrote it last, or older, which says nothing new.
    Ours,
    /// It needs a look.
    Some,
}

/// What a process knows from its watches and from its looks.
#[derive(Clone, Debug, Default)]
pub struct Known {
    cutovers: BTreeMap<Key, Entry>,
    /// What Services ask of pods.
    services: BTreeMap<Key, Labels>,
    /// By watch: lists begun.
    lists: Vec<u32>,
    /// By uid of the run.
    active: BTreeMap<String, Arc<CutoverRun>>,
    /// The resourceVersion of our last write.
    written: BTreeMap<Key, String>,
    /// Decisions without an answer.
    pub(super) asked: Asked,
    /// Looks that failed in a row.
    failures: BTreeMap<Key, u32>,
    /// Those whose Service was seen to lead elsewhere than they show, and whether a look that knows it is under way.
    adrift: BTreeMap<Key, bool>,
    /// Cutovers that cannot go on as things are, and how many looks in a row found them so.
    stuck: BTreeMap<Key, u32>,
}

/// Whether a version is what we wrote last, or what that write was based on.
fn is_known(seen: &str, wrote: &str) -> bool {
    match (seen.parse::<u64>(), wrote.parse::<u64>()) {
        (Ok(seen), Ok(wrote)) => seen <= wrote,
        _ => seen == wrote,
    }
}

/// Whether a Cutover shows of both the same: a run that is only observed writes its journal every few seconds.
fn shows_the_same(before: &CutoverRun, now: &CutoverRun) -> bool {
    let durable = |run: &CutoverRun| run.status.as_ref().map(journal::durable);
    let cutover = Cutover::new(&now.spec.cutover, CutoverSpec::default());
    let shown = |run| project(&cutover, Some(run), &Facts::default(), Timestamp::UNIX_EPOCH);
    durable(before) == durable(now) && shown(before) == shown(now)
}

impl Background {
    /// Whether a run of the namespace is active.
    pub(super) fn is_active(&self, run_uid: &str) -> bool {
        self.active.iter().any(|run| run.metadata.uid.as_deref() == Some(run_uid))
    }

    /// The newest active run of a Cutover.
    pub(super) fn active_of(&self, uid: &str) -> Option<&CutoverRun> {
        let of = self.active.iter().filter(|r| r.spec.cutover_uid == uid);
        of.max_by_key(|r| r.creation_timestamp().map(|t| t.0)).map(AsRef::as_ref)
    }
}

impl Known {
    fn list_of(&self, watch: usize) -> u32 {
        self.lists.get(watch).copied().unwrap_or_default()
    }

    /// All of it but how often a stuck Cutover was looked at, which lengthens a pause and nothing else. For searches of what
    /// may follow.
    pub fn memory(&self) -> String {
        let stuck = self.stuck.keys().map(|key| (key.clone(), 0)).collect();
        format!("{:?}", Self { stuck, ..self.clone() })
    }

    /// What a look at this Cutover has to know, which begins now.
    pub fn seen(&mut self, key: &Key) -> Background {
        let adrift = self.adrift.get_mut(key).map(|looks| *looks = true).is_some();
        let here = |run: &&Arc<CutoverRun>| run.namespace().as_deref() == Some(key.namespace.as_str());
        Background {
            checked: self.cutovers.get(key).and_then(|known| known.checked),
            receivers: self.cutovers.get(key).and_then(|known| known.receivers),
            active: self.active.values().filter(here).cloned().collect(),
            questions: self.asked.about_cutover(key),
            adrift,
        }
    }

    /// A look at this Cutover wants this to be remembered.
    pub fn remember(&mut self, key: &Key, memo: Memo) {
        match memo {
            Memo::Wrote(Some(version)) => drop(self.written.insert(key.clone(), version)),
            Memo::Wrote(None) => {}
            Memo::Checked(generation) => self.checked(key, generation),
            Memo::Receivers(generation, runs) => {
                if let Some(known) = self.cutovers.get_mut(key) {
                    known.receivers = Some((generation, runs));
                }
            }
            Memo::Said(uid, said) => self.asked.say(&uid, said),
            Memo::Answered(uid) => self.asked.answered(&uid),
            Memo::GaveUp(uid) => self.asked.give_up(&uid),
            Memo::Opened(uid) => self.asked.open_for(&uid),
            Memo::TakenUp(uid) => self.asked.take_up(&uid),
            Memo::Waits(uid, at) => self.asked.wait(&uid, at),
            Memo::Told(at) => self.asked.told(key, at),
        }
    }

    /// A look is over: when the next one is due although nothing is heard.
    pub fn ended(&mut self, key: &Key, result: Result<Option<Duration>, Class>) -> Option<Duration> {
        // One that was seen adrift during this look is to be looked at once more.
        if let Some(looks) = self.adrift.get_mut(key)
            && std::mem::replace(looks, false)
            && result.is_ok()
        {
            self.adrift.remove(key);
        }
        match result {
            Ok(again) => {
                self.failures.remove(key);
                if again != Some(AGAIN) {
                    self.stuck.remove(key);
                    return again;
                }
                let count = self.stuck.entry(key.clone()).or_default();
                *count = count.saturating_add(1);
                Some(AGAIN.saturating_mul(2u32.saturating_pow((*count - 1).min(8))).min(STUCK))
            }
            // Somebody else wrote: look again with what stands there now.
            Err(Class::Conflict) => Some(CHANGED),
            Err(_) => {
                let count = self.failures.entry(key.clone()).or_default();
                *count = count.saturating_add(1);
                Some(RETRY.0.saturating_mul(2u32.saturating_pow((*count - 1).min(8))).min(RETRY.1))
            }
        }
    }

    /// Those of a namespace that are stuck, and may go on now that something there has changed: a Service of this name, or
    /// another Cutover where none is named.
    pub(super) fn woken(&mut self, namespace: &str, service: Option<&str>) -> Vec<Key> {
        let names = |key: &Key| {
            let known = self.cutovers.get(key);
            service.is_none_or(|name| known.is_some_and(|known| known.services.iter().any(|s| **s == *name)))
        };
        let woken: Vec<Key> =
            self.stuck.keys().filter(|key| key.namespace == namespace && names(key)).cloned().collect();
        for key in &woken {
            self.stuck.remove(key);
        }
        woken
    }

    /// A Service was seen, as it is now; `None`: it is gone. Those at rest that show another side as live than it leads to:
    /// somebody else has written it, or deleted it.
    pub(super) fn service(&mut self, namespace: &str, service: &str, asks: Option<Selector>) -> Vec<Key> {
        let key = Key { namespace: namespace.to_owned(), name: service.to_owned() };
        let known = match asks {
            Some(asks) => {
                self.services.insert(key.clone(), asks.into_iter().map(|(k, v)| (k.into(), v.into())).collect());
                self.services.get(&key)
            }
            None => {
                self.services.remove(&key);
                None
            }
        };
        let from = Key { namespace: namespace.to_owned(), name: String::new() };
        let here = self.cutovers.range(from..).take_while(|(key, _)| key.namespace == namespace);
        let adrift: Vec<Key> = here
            .filter(|(_, cutover)| cutover.services.iter().any(|s| **s == *service) && cutover.is_adrift(known))
            .map(|(key, _)| key.clone())
            .collect();
        self.adrift.extend(adrift.iter().map(|key| (key.clone(), false)));
        adrift
    }

    /// Whether a Service leads elsewhere, which was seen before this Cutover was seen at rest.
    pub(super) fn is_adrift(&mut self, key: &Key) -> bool {
        let Some(cutover) = self.cutovers.get(key) else { return false };
        let adrift = cutover.services.iter().any(|name| {
            let service = Key { namespace: key.namespace.clone(), name: name.to_string() };
            self.services.get(&service).is_some_and(|known| cutover.is_adrift(Some(known)))
        });
        if adrift {
            self.adrift.insert(key.clone(), false);
        }
        adrift
    }

    /// A Cutover was seen.
    pub(super) fn cutover(&mut self, watch: usize, key: &Key, digest: Digest) -> News {
        let Digest { metadata, services, templates, quiet, rests_on, unusable } = digest;
        let uid: Box<str> = metadata.uid.unwrap_or_default().into();
        // What was checked of a former Cutover of this name says nothing about this one.
        let before = self.cutovers.get(key).filter(|known| known.uid == uid);
        let (checked, receivers) = before.map_or((None, None), |known| (known.checked, known.receivers));
        let entry = Entry {
            seen: (watch, self.list_of(watch)),
            uid,
            created: metadata.creation_timestamp.map(|t| t.0),
            services: services.into_iter().map(Into::into).collect(),
            templates: templates.into_iter().map(|(kind, name)| (kind, name.into())).collect(),
            rests_on: quiet.then(|| rests_on.into_iter().map(|(key, value)| (key.into(), value.into())).collect()),
            checked,
            receivers,
        };
        self.cutovers.insert(key.clone(), entry);
        if quiet {
            self.written.remove(key);
            // What it says of its receivers is looked at again, also after a restart.
            return if unusable { News::Some } else { News::Quiet };
        }
        let seen = metadata.resource_version.unwrap_or_default();
        let ours = self.written.get(key).is_some_and(|wrote| is_known(&seen, wrote));
        if ours { News::Ours } else { News::Some }
    }

    /// Whether what was seen of a Cutover in this version says nothing that the look just over did not know: that has written
    /// it since, or nothing about it needs a look any more.
    pub fn is_known(&self, key: &Key, version: &str) -> bool {
        self.written.get(key).is_some_and(|wrote| is_known(version, wrote))
            || self.cutovers.get(key).is_some_and(|known| known.rests_on.is_some())
    }

    fn checked(&mut self, key: &Key, generation: Option<i64>) {
        if let Some(known) = self.cutovers.get_mut(key) {
            known.checked = generation;
        }
    }

    /// A template came, changed or went: the Cutovers that use it, all of which have to be checked again.
    pub(super) fn users_of(&mut self, (kind, namespace, name): &TemplateKey) -> Vec<Key> {
        let mut users = vec![];
        for (key, known) in &mut self.cutovers {
            let there = namespace.as_ref().is_none_or(|ns| *ns == key.namespace);
            if there && known.templates.iter().any(|(k, n)| k == kind && **n == **name) {
                known.checked = None;
                users.push(key.clone());
            }
        }
        users
    }

    /// A Cutover is gone.
    pub(super) fn cutover_gone(&mut self, key: &Key) {
        self.stuck.remove(key);
        self.adrift.remove(key);
        self.cutovers.remove(key);
        self.written.remove(key);
        self.failures.remove(key);
    }

    /// A watch lists all of its Cutovers anew.
    pub(super) fn list_begins(&mut self, watch: usize) {
        if self.lists.len() <= watch {
            self.lists.resize(watch + 1, 0);
        }
        if let Some(list) = self.lists.get_mut(watch) {
            *list = list.wrapping_add(1);
        }
    }

    /// All have been listed: those of this watch that were not are gone, and are returned.
    pub(super) fn list_ended(&mut self, watch: usize) -> Vec<Key> {
        let list = self.list_of(watch);
        let stale = |entry: &Entry| entry.seen.0 == watch && entry.seen.1 != list;
        let gone: Vec<Key> = self.cutovers.iter().filter(|(_, e)| stale(e)).map(|(key, _)| key.clone()).collect();
        for key in &gone {
            self.cutover_gone(key);
        }
        gone
    }

    /// An active run was seen. Whether its Cutover shows something else of it than before.
    pub(super) fn active(&mut self, run: Arc<CutoverRun>) -> bool {
        let before = self.active.insert(run.uid().unwrap_or_default(), run.clone());
        before.is_none_or(|before| !shows_the_same(&before, &run))
    }

    /// A run is not active any more.
    pub(super) fn left(&mut self, run: &CutoverRun) {
        self.active.remove(&run.uid().unwrap_or_default());
    }

    /// A Service of the Cutover and the name of the older Cutover of the namespace that names it too.
    pub fn older_holder(&self, key: &Key, cutover: &Cutover) -> Option<(String, String)> {
        let mine = (cutover.creation_timestamp().map(|t| t.0), cutover.uid().unwrap_or_default());
        self.cutovers.iter().filter(|(k, _)| k.namespace == key.namespace && *k != key).find_map(|(k, other)| {
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
    fn a_stuck_cutover_is_looked_at_ever_less_often_until_something_changes() {
        let mut known = Known::default();
        let key = Key { namespace: "prod".into(), name: "web".into() };
        let mut pauses = vec![];
        for _ in 0..7 {
            pauses.push(known.ended(&key, Ok(Some(AGAIN))).map(|pause| pause.as_secs()));
        }
        assert_eq!(pauses, [15, 30, 60, 120, 240, 300, 300].map(Some));
        assert_eq!(known.woken("test", None), []);
        assert_eq!(known.woken("prod", Some("api")), [], "it does not name that Service");
        assert_eq!(known.woken("prod", None), std::slice::from_ref(&key));
        assert_eq!(known.ended(&key, Ok(Some(AGAIN))), Some(AGAIN), "from the start");
        assert_eq!(known.ended(&key, Ok(None)), None);
        assert_eq!(known.woken("prod", None), [], "it is not stuck any more");
    }

    #[test]
    fn what_a_new_list_does_not_name_is_forgotten() {
        let mut known = Known::default();
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
        let mut known = Known::default();
        let mut using = digest("web", "1", 1);
        using.templates = vec![(TemplateKind::CutoverTemplate, "smoke".into())];
        known.cutover(0, &key("web"), using.clone());
        known.cutover(0, &key("api"), digest("api", "1", 1));
        known.remember(&key("web"), Memo::Checked(Some(1)));
        known.cutover(0, &key("web"), using);
        assert_eq!(known.seen(&key("web")).checked, Some(1));
        let template = |ns: &str| (TemplateKind::CutoverTemplate, Some(ns.to_owned()), "smoke".to_owned());
        assert_eq!(known.users_of(&template("b")), []);
        assert_eq!(known.users_of(&template("a")), [key("web")]);
        assert_eq!(known.seen(&key("web")).checked, None);
    }

    #[test]
    fn another_cutover_of_the_same_name_was_not_checked() {
        let mut known = Known::default();
        known.cutover(0, &key("web"), digest("web", "1", 1));
        known.remember(&key("web"), Memo::Checked(Some(1)));
        let mut other = digest("web", "2", 1);
        other.metadata.uid = Some("other".into());
        known.cutover(0, &key("web"), other);
        assert_eq!(known.seen(&key("web")).checked, None);
    }

    #[test]
    fn our_own_write_needs_no_look_and_is_forgotten_once_all_is_quiet() {
        let mut known = Known::default();
        known.remember(&key("web"), Memo::Wrote(Some("7".into())));
        assert_eq!(known.cutover(0, &key("web"), digest("web", "7", 2)), News::Ours);
        assert_eq!(known.cutover(0, &key("web"), digest("web", "6", 2)), News::Ours, "the write before it");
        assert_eq!(known.cutover(0, &key("web"), digest("web", "8", 2)), News::Some, "somebody else's");
        assert_eq!(known.cutover(0, &key("web"), digest("web", "9", 1)), News::Quiet);
        assert!(known.written.is_empty());
    }
}
