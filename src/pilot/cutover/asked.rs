//! PURE. Decisions that have no answer yet, as the watch shows them, and what this process has said about them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::known::Key;
use crate::api::decision::CutoverDecision;

/// Refusals of a Cutover are told with one Event in this time.
const TELL: SignedDuration = SignedDuration::from_secs(60);

/// What came of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// In words.
    pub result: String,
    /// When it was first seen.
    pub at: Timestamp,
    /// The run on which it took effect.
    pub run: Option<String>,
    /// The run that it names, by name, if there is one: it goes with that one.
    pub owner: Option<String>,
}

/// An open decision.
#[derive(Clone, Debug, PartialEq)]
struct Open {
    watch: usize,
    key: Key,
    run_uid: String,
    /// It was there before this process began to watch, and is not taken up yet.
    inherited: bool,
}

/// What a look is told of the decisions that name its Cutover.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Questions {
    /// One of them waits for an answer.
    pub asked: bool,
    /// What was said about them before.
    pub said: BTreeMap<String, Said>,
    /// Those whose answer the API server would not have.
    pub(crate) given_up: BTreeSet<String>,
    /// Those for which a run has been opened again.
    pub opened: BTreeSet<String>,
    /// Those that another process may have answered already, so that its answer may still arrive.
    pub inherited: BTreeSet<String>,
    /// Those that wait for the proof that they are nobody else's, and since when.
    pub unproven: BTreeMap<String, Timestamp>,
    /// When a refusal was last told.
    pub told: Option<Timestamp>,
    /// That answers cannot be written was told before.
    pub mute: bool,
}

/// What is open, by uid.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Asked {
    open: BTreeMap<String, Open>,
    /// Their uids by the Cutover and by the run that they name: what is asked about one costs no more where another one is
    /// flooded with decisions.
    of_cutover: BTreeMap<Key, BTreeSet<String>>,
    of_run: BTreeMap<String, BTreeSet<String>>,
    /// By watch: what its list under way has named so far.
    listed: BTreeMap<usize, BTreeSet<String>>,
    /// What was said about open ones, until it stands on them.
    said: BTreeMap<String, Said>,
    /// Those whose answer the API server would not have.
    given_up: BTreeSet<String>,
    /// Those for which a run has been opened again.
    opened: BTreeSet<String>,
    /// Those that wait for the proof that they are nobody else's, and since when.
    unproven: BTreeMap<String, Timestamp>,
    /// When a refusal was last told.
    told: BTreeMap<Key, Timestamp>,
    mute: bool,
}

/// Takes a uid out of an index.
fn leave<K: Ord>(index: &mut BTreeMap<K, BTreeSet<String>>, key: &K, uid: &str) {
    if let Some(uids) = index.get_mut(key) {
        uids.remove(uid);
        if uids.is_empty() {
            index.remove(key);
        }
    }
}

impl Asked {
    /// A decision was seen. Returns the Cutover that it names, if it has no answer yet.
    pub fn seen(&mut self, watch: usize, decision: &CutoverDecision) -> Option<Key> {
        let uid = decision.uid().unwrap_or_default();
        if !decision.is_open() {
            self.answered(&uid);
            return None;
        }
        let listed = self.listed.get_mut(&watch);
        let inherited = self.open.get(&uid).map_or(listed.is_some(), |known| known.inherited);
        if let Some(listed) = listed {
            listed.insert(uid.clone());
        }
        let key = Key { namespace: decision.namespace().unwrap_or_default(), name: decision.spec.cutover.clone() };
        let run_uid = decision.spec.run_uid.clone();
        self.close(&uid);
        self.of_cutover.entry(key.clone()).or_default().insert(uid.clone());
        self.of_run.entry(run_uid.clone()).or_default().insert(uid.clone());
        self.open.insert(uid, Open { watch, key: key.clone(), run_uid, inherited });
        Some(key)
    }

    /// It is not open any more.
    fn close(&mut self, uid: &str) {
        let Some(Open { key, run_uid, .. }) = self.open.remove(uid) else { return };
        leave(&mut self.of_cutover, &key, uid);
        leave(&mut self.of_run, &run_uid, uid);
    }

    /// The open decisions that name this Cutover.
    fn on(&self, key: &Key) -> impl Iterator<Item = &String> {
        self.of_cutover.get(key).into_iter().flatten()
    }

    /// A watch lists all open decisions anew.
    pub(crate) fn list_begins(&mut self, watch: usize) {
        self.listed.insert(watch, BTreeSet::new());
    }

    /// All have been listed: those that were not are gone, or answered.
    pub(crate) fn list_ended(&mut self, watch: usize) {
        let listed = self.listed.remove(&watch).unwrap_or_default();
        let stale = |(uid, open): &(&String, &Open)| open.watch == watch && !listed.contains(*uid);
        let gone: Vec<String> = self.open.iter().filter(stale).map(|(uid, _)| uid.clone()).collect();
        gone.iter().for_each(|uid| self.answered(uid));
    }

    /// It is answered, or gone.
    pub fn answered(&mut self, uid: &str) {
        self.close(uid);
        self.said.remove(uid);
        self.given_up.remove(uid);
        self.opened.remove(uid);
        self.unproven.remove(uid);
    }

    /// Whether a decision that names this Cutover waits for an answer.
    pub(crate) fn is_asked(&self, key: &Key) -> bool {
        self.on(key).any(|uid| !self.given_up.contains(uid))
    }

    /// The Cutovers that open decisions about a run name.
    pub fn about(&self, run_uid: &str) -> BTreeSet<Key> {
        let uids = self.of_run.get(run_uid).into_iter().flatten();
        uids.filter_map(|uid| self.open.get(uid)).map(|open| open.key.clone()).collect()
    }

    /// What a look at a Cutover has to know.
    pub(crate) fn about_cutover(&self, key: &Key) -> Questions {
        let among = |set: &BTreeSet<String>| self.on(key).filter(|uid| set.contains(*uid)).cloned().collect();
        Questions {
            asked: self.is_asked(key),
            said: self.on(key).filter_map(|uid| Some((uid.clone(), self.said.get(uid)?.clone()))).collect(),
            given_up: among(&self.given_up),
            opened: among(&self.opened),
            inherited: self
                .on(key)
                .filter(|uid| self.open.get(*uid).is_some_and(|open| open.inherited))
                .cloned()
                .collect(),
            unproven: self.on(key).filter_map(|uid| Some((uid.clone(), *self.unproven.get(uid)?))).collect(),
            told: self.told.get(key).copied(),
            mute: self.mute,
        }
    }

    /// Nobody else's answer can arrive on it any more.
    pub(crate) fn take_up(&mut self, uid: &str) {
        if let Some(open) = self.open.get_mut(uid) {
            open.inherited = false;
        }
    }

    /// This is said about it now.
    pub fn say(&mut self, uid: &str, said: Said) {
        self.said.insert(uid.to_owned(), said);
    }

    /// Its answer cannot be written.
    pub(crate) fn give_up(&mut self, uid: &str) {
        self.given_up.insert(uid.to_owned());
        self.mute = true;
    }

    /// A run is opened again for it.
    pub(crate) fn open_for(&mut self, uid: &str) {
        self.opened.insert(uid.to_owned());
    }

    /// It waits since now, or since earlier, for the proof that it is nobody else's.
    pub(crate) fn wait(&mut self, uid: &str, now: Timestamp) {
        if self.open.contains_key(uid) {
            self.unproven.entry(uid.to_owned()).or_insert(now);
        }
    }

    /// A refusal about this Cutover was told.
    pub fn told(&mut self, key: &Key, now: Timestamp) {
        self.told.retain(|_, at| !may_tell(Some(*at), now));
        self.told.insert(key.clone(), now);
    }
}

/// Whether a refusal may be told with an Event, where one was told at that time.
pub(crate) fn may_tell(told: Option<Timestamp>, now: Timestamp) -> bool {
    told.is_none_or(|at| !(SignedDuration::ZERO..TELL).contains(&now.duration_since(at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decision(uid: &str, cutover: &str, status: serde_json::Value) -> CutoverDecision {
        serde_json::from_value(json!({
            "apiVersion": "cutover.dev/v1alpha1", "kind": "CutoverDecision",
            "metadata": {"name": uid, "namespace": "a", "uid": uid},
            "spec": {"cutover": cutover, "runUID": "r", "decision": "Retry", "by": "sre"}, "status": status,
        }))
        .expect("a decision")
    }

    fn key(name: &str) -> Key {
        Key { namespace: "a".into(), name: name.into() }
    }

    #[test]
    fn only_what_has_no_answer_is_asked() {
        let mut asked = Asked::default();
        assert_eq!(asked.seen(0, &decision("1", "web", json!(null))), Some(key("web")));
        assert_eq!(asked.seen(0, &decision("2", "api", json!({"state": "Answered"}))), None);
        assert!(asked.is_asked(&key("web")) && !asked.is_asked(&key("api")));
        assert_eq!(asked.about("r"), [key("web")].into());
        asked.give_up("1");
        assert!(asked.about_cutover(&key("web")).mute, "told once");
        assert!(!asked.is_asked(&key("web")), "not tried again and again");
        assert_eq!(asked.seen(0, &decision("1", "web", json!({"state": "Answered"}))), None);
        assert!(asked.given_up.is_empty() && asked.about("r").is_empty());
        assert!(asked.of_cutover.is_empty() && asked.of_run.is_empty(), "nothing is left of what is answered");
    }

    #[test]
    fn what_a_new_list_does_not_name_is_answered() {
        let mut asked = Asked::default();
        asked.seen(0, &decision("1", "web", json!(null)));
        asked.seen(1, &decision("2", "api", json!(null)));
        asked.list_begins(0);
        asked.seen(0, &decision("3", "shop", json!(null)));
        asked.list_ended(0);
        let open: Vec<bool> = ["web", "api", "shop"].map(|name| asked.is_asked(&key(name))).into();
        assert_eq!(open, [false, true, true]);
        // One that comes to name another Cutover is asked of that one alone.
        asked.seen(1, &decision("2", "web", json!(null)));
        let open: Vec<bool> = ["web", "api", "shop"].map(|name| asked.is_asked(&key(name))).into();
        assert_eq!((open, asked.about("r").len()), (vec![true, false, true], 2));
    }

    #[test]
    fn a_look_knows_what_was_said_and_told_about_its_own_cutover_alone() {
        let mut asked = Asked::default();
        asked.seen(0, &decision("1", "web", json!(null)));
        let said = Said { result: "refused: x".into(), at: Timestamp::UNIX_EPOCH, run: None, owner: None };
        asked.say("1", said.clone());
        asked.told(&key("web"), Timestamp::UNIX_EPOCH);
        let (own, other) = (asked.about_cutover(&key("web")), asked.about_cutover(&key("api")));
        assert_eq!(own.said, [("1".to_owned(), said)].into());
        assert!(other.said.is_empty() && !other.asked);
        let at = |second| Timestamp::from_second(second).expect("a time");
        assert!(!may_tell(own.told, at(59)) && may_tell(own.told, at(60)) && may_tell(other.told, at(0)));
        assert!(may_tell(own.told, at(-1)), "a clock that went back mutes nothing");
    }
}
