//! PURE. What the watches show, and which Cutovers are to be looked at for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt;

use super::Digest;
use super::known::{Key, Known, News, Selector, TemplateKey};
use crate::api::decision::CutoverDecision;
use crate::api::run::CutoverRun;

/// Something that a watch shows. Watches of one kind are told apart by number: each knows its own part of the cluster.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// A Cutover, new or changed.
    Cutover(usize, Box<Digest>),
    /// A Cutover is gone.
    CutoverGone(Key),
    /// A watch of Cutovers lists all of them anew.
    CutoversBegin(usize),
    /// It has listed all of them.
    CutoversEnd(usize),
    /// A decision, new or changed.
    Decision(usize, Box<CutoverDecision>),
    /// A decision is gone, or does not wait for an answer any more; its uid.
    DecisionGone(String),
    /// A watch of decisions lists all open ones anew.
    DecisionsBegin(usize),
    /// It has listed all of them.
    DecisionsEnd(usize),
    /// A run that is not closed.
    Active(Arc<CutoverRun>),
    /// A run that was closed or is gone.
    Left(Arc<CutoverRun>),
    /// A template came, changed or went.
    Template(TemplateKey),
    /// A Service came or changed (with what it asks of pods now), or went; its namespace and name.
    Service(String, String, Option<Selector>),
}

/// What follows for a Cutover.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// It is to be looked at now.
    Now(Key),
    /// It was seen with this version and is to be looked at now. A look under way that has written it since knows of that
    /// ([`Known::is_known`]).
    Changed(Key, String),
    /// It is to be looked at to show what its run does: soon, and not for each move of the run.
    Soon(Key),
    /// It need not be looked at any more, where it was to be.
    Never(Key),
}

impl Known {
    /// Takes in what a watch shows. One that does not lead remembers all the same, so that it can lead at once.
    pub fn see(&mut self, sight: WatchEvent, leads: bool) -> Vec<Due> {
        match sight {
            WatchEvent::Cutover(watch, digest) => {
                let key = key_of(digest.as_ref());
                let version = digest.metadata.resource_version.clone().unwrap_or_default();
                match self.cutover(watch, &key, *digest) {
                    News::Some => {
                        let mut due = self.woken(&key.namespace, None);
                        due.retain(|woken| *woken != key);
                        std::iter::once(Due::Changed(key, version)).chain(due.into_iter().map(Due::Now)).collect()
                    }
                    // The leader has looked.
                    News::Quiet if self.is_adrift(&key) => vec![Due::Now(key)],
                    News::Quiet if !leads && !self.asked.is_asked(&key) => vec![Due::Never(key)],
                    News::Quiet | News::Ours => vec![],
                }
            }
            WatchEvent::CutoverGone(key) => {
                self.cutover_gone(&key);
                let woken = self.woken(&key.namespace, None);
                std::iter::once(self.without(key)).chain(woken.into_iter().map(Due::Now)).collect()
            }
            WatchEvent::CutoversBegin(watch) => {
                self.list_begins(watch);
                vec![]
            }
            WatchEvent::CutoversEnd(watch) => {
                let gone = self.list_ended(watch);
                gone.into_iter().map(|key| self.without(key)).collect()
            }
            WatchEvent::Decision(watch, decision) => {
                self.asked.seen(watch, &decision).into_iter().map(Due::Now).collect()
            }
            WatchEvent::DecisionGone(uid) => {
                self.asked.answered(&uid);
                vec![]
            }
            WatchEvent::DecisionsBegin(watch) => {
                self.asked.list_begins(watch);
                vec![]
            }
            WatchEvent::DecisionsEnd(watch) => {
                self.asked.list_ended(watch);
                vec![]
            }
            WatchEvent::Active(run) => {
                let key = cutover_of(&run);
                if self.active(run) { vec![Due::Soon(key)] } else { vec![] }
            }
            WatchEvent::Left(run) => {
                self.left(&run);
                // Decisions that its driver has not answered, whichever Cutover they name.
                let mut keys = self.asked.about(&run.uid().unwrap_or_default());
                keys.insert(cutover_of(&run));
                keys.into_iter().map(Due::Now).collect()
            }
            WatchEvent::Service(namespace, name, asks) => {
                let mut due: BTreeSet<Key> = self.woken(&namespace, Some(&name)).into_iter().collect();
                due.extend(self.service(&namespace, &name, asks));
                due.into_iter().map(Due::Now).collect()
            }
            WatchEvent::Template(template) => self.users_of(&template).into_iter().map(Due::Now).collect(),
        }
    }

    /// What follows for a Cutover that is gone: decisions that name it are still to be answered.
    fn without(&self, key: Key) -> Due {
        if self.asked.is_asked(&key) { Due::Now(key) } else { Due::Never(key) }
    }
}

fn cutover_of(run: &CutoverRun) -> Key {
    Key { namespace: run.namespace().unwrap_or_default(), name: run.spec.cutover.clone() }
}

/// The key of an object.
pub(crate) fn key_of(object: &impl ResourceExt) -> Key {
    Key { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_at_rest_is_looked_at_when_its_service_leads_elsewhere() {
        let mut known = Known::default();
        let digest = |name: &str, live: serde_json::Value| -> Digest {
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "a", "uid": name, "generation": 1},
                "spec": {"services": [{"name": name}], "activate": "blue",
                    "sides": [{"name": "blue", "selector": {"side": "blue"}}, {"name": "green", "selector": {"side": "green"}}]},
                "status": {"observedGeneration": 1, "started": {"activate": "blue"}, "live": live},
            }))
            .expect("a digest")
        };
        for (name, live) in [("web", json!("blue")), ("lost", json!(null)), ("going", json!("blue"))] {
            known.see(WatchEvent::Cutover(0, Box::new(digest(name, live))), true);
        }
        let mut going = digest("going", json!("blue"));
        going.quiet = false;
        known.see(WatchEvent::Cutover(0, Box::new(going)), true);
        let mut due = |name: &str, side: Option<&str>| {
            let asks = side.map(|side| Selector::from([("app".into(), name.into()), ("side".into(), side.into())]));
            known.see(WatchEvent::Service("a".into(), name.into(), asks), true).len()
        };
        assert_eq!((due("web", Some("blue")), due("other", Some("green"))), (0, 0), "it is as it should be");
        assert_eq!((due("web", Some("green")), due("web", Some("purple")), due("web", None)), (1, 1, 1));
        assert_eq!(due("lost", Some("blue")), 1, "it may be found again");
        assert_eq!(due("going", Some("green")), 0, "its run has watches of its own");
        // The run is over, and the Service was moved before that was seen.
        let over = known.see(WatchEvent::Cutover(0, Box::new(digest("going", json!("blue")))), true);
        assert_eq!(over.len(), 1, "{over:?}");
        let as_it_should_be = Selector::from([("side".into(), "blue".into())]);
        known.see(WatchEvent::Service("a".into(), "going".into(), Some(as_it_should_be)), true);
        assert!(known.see(WatchEvent::Cutover(0, Box::new(digest("going", json!("blue")))), true).is_empty());
    }

    #[test]
    fn a_run_that_is_only_observed_leads_to_a_look_where_its_cutover_shows_it() {
        let mut known = Known::default();
        let mut sees = |status: serde_json::Value| {
            let side = |name: &str| json!({"name": name, "selector": {"side": name}, "workloads": []});
            let plan = json!({
                "cutover": "web", "namespace": "a", "serviceAccount": "cutover", "services": ["web"],
                "target": side("green"), "old": side("blue"), "steps": [],
                "switch": {"minReady": {"percent": 100}, "drain": "0s", "timeout": "60s"},
                "observe": {"for": "12h", "every": "15s", "timeout": "24h", "triggers": []},
            });
            let run = json!({"apiVersion": "cutover.dev/v1alpha1", "kind": "CutoverRun",
                "metadata": {"name": "web-1", "namespace": "a", "uid": "r"}, "status": status,
                "spec": {"cutover": "web", "cutoverUID": "u", "planVersion": 2, "plan": plan}});
            !known.see(WatchEvent::Active(Arc::new(serde_json::from_value(run).expect("a run"))), true).is_empty()
        };
        let observed = |seconds: u64| {
            let at = "2026-01-01T00:00:00Z";
            json!({"phase": "Observing", "observation": {"since": at, "conclusiveMs": seconds * 1000, "countedTo": at}})
        };
        assert!(sees(json!({"phase": "Switching"})) && sees(observed(0)));
        assert!(!sees(observed(8)) && !sees(observed(59)), "it shows minutes");
        assert!(sees(observed(61)));
        let mut waits = observed(61);
        waits["waiting"] = json!("a query has no answer");
        assert!(sees(waits.clone()) && !sees(waits));
        assert!(sees(json!({"phase": "RollingBack"})));
    }

    #[test]
    fn a_decision_is_answered_although_its_cutover_is_gone() {
        let mut known = Known::default();
        let key = Key { namespace: "a".into(), name: "web".into() };
        let gone = |known: &mut Known| known.see(WatchEvent::CutoverGone(key.clone()), true);
        assert_eq!(gone(&mut known), [Due::Never(key.clone())]);
        let decision = serde_json::from_value(json!({
            "apiVersion": "cutover.dev/v1alpha1", "kind": "CutoverDecision",
            "metadata": {"name": "d", "namespace": "a", "uid": "d"},
            "spec": {"cutover": "web", "runUID": "r", "decision": "Retry", "by": "sre"},
        }))
        .expect("a decision");
        known.see(WatchEvent::Decision(0, Box::new(decision)), true);
        assert_eq!(gone(&mut known), [Due::Now(key.clone())]);
    }
}
