//! PURE. What the watches have told, kept as it is now.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use kube::runtime::watcher;

use super::choose::{Choice, Pick, choose};
use crate::api::cutover::Cutover;
use crate::api::run::CutoverRun;
use crate::cli::cluster::Seen;
use crate::cli::find::{Found, number};
use crate::cli::rights::Right;
use crate::cli::status::read::Reading;

/// What is watched, each over a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Cutover,
    Runs,
    Deployments,
    StatefulSets,
    Pods,
    Events,
}

/// Something that was told.
pub(crate) enum Told {
    Cutover(watcher::Event<Cutover>),
    Run(watcher::Event<CutoverRun>),
    Deployment(watcher::Event<Deployment>),
    StatefulSet(watcher::Event<StatefulSet>),
    Pod(watcher::Event<Pod>),
    Event(watcher::Event<Event>),
}

impl Told {
    fn part(&self) -> Part {
        match self {
            Self::Cutover(_) => Part::Cutover,
            Self::Run(_) => Part::Runs,
            Self::Deployment(_) => Part::Deployments,
            Self::StatefulSet(_) => Part::StatefulSets,
            Self::Pod(_) => Part::Pods,
            Self::Event(_) => Part::Events,
        }
    }
}

/// What a watch said.
pub(crate) enum Heard {
    Told(Box<Told>),
    /// The connection is lost; the watch tries again by itself.
    Lost(Part, String),
    /// The user has no right to it; the watch has ended.
    Denied(Part, Right),
}

/// A connection that is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// When it failed first.
    pub since: Timestamp,
    pub why: String,
}

/// The objects of a kind.
struct Set<K> {
    all: BTreeMap<String, K>,
    /// A list under way, which replaces the objects once it is whole.
    list: BTreeMap<String, K>,
}

impl<K> Default for Set<K> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), list: BTreeMap::new() }
    }
}

impl<K: ResourceExt + Clone> Set<K> {
    /// Takes it in; true once everything there is has been told.
    fn hear(&mut self, event: watcher::Event<K>) -> bool {
        match event.modify(|object| object.managed_fields_mut().clear()) {
            watcher::Event::Init => self.list.clear(),
            watcher::Event::InitApply(object) => {
                self.list.insert(object.name_any(), object);
            }
            watcher::Event::InitDone => {
                self.all = std::mem::take(&mut self.list);
                return true;
            }
            watcher::Event::Apply(object) => {
                self.all.insert(object.name_any(), object);
                return true;
            }
            watcher::Event::Delete(object) => {
                self.all.remove(&object.name_any());
                return true;
            }
        }
        false
    }

    fn objects(&self) -> Vec<K> {
        self.all.values().cloned().collect()
    }
}

/// All that is known.
#[derive(Default)]
pub(crate) struct Store {
    cutover: Set<Cutover>,
    runs: Set<CutoverRun>,
    deployments: Set<Deployment>,
    stateful_sets: Set<StatefulSet>,
    pods: Set<Pod>,
    events: Set<Event>,
    listed: Vec<Part>,
    denied: BTreeMap<Part, Right>,
    lost: BTreeMap<Part, Lost>,
    /// The uid of the Cutover that was seen first: another one of the same name is another one.
    uid: Option<String>,
}

impl Store {
    /// Takes in what a watch said.
    pub(crate) fn hear(&mut self, heard: Heard, now: Timestamp) {
        match heard {
            Heard::Told(told) => self.told(*told),
            Heard::Lost(part, why) => {
                let since = self.lost.get(&part).map_or(now, |l| l.since);
                self.lost.insert(part, Lost { since, why });
            }
            Heard::Denied(part, right) => {
                self.denied.insert(part, right);
            }
        }
    }

    fn told(&mut self, told: Told) {
        let part = told.part();
        let whole = match told {
            Told::Cutover(event) => self.cutover.hear(event),
            Told::Run(event) => self.runs.hear(event),
            Told::Deployment(event) => self.deployments.hear(event),
            Told::StatefulSet(event) => self.stateful_sets.hear(event),
            Told::Pod(event) => self.pods.hear(event),
            Told::Event(event) => self.events.hear(event),
        };
        if whole {
            self.lost.remove(&part);
            if !self.listed.contains(&part) {
                self.listed.push(part);
            }
        }
        if self.uid.is_none() {
            self.uid = self.cutover.all.values().next().and_then(ResourceExt::uid);
        }
    }

    /// Whether all of these are known, or cannot be.
    pub(crate) fn knows(&self, parts: &[Part]) -> bool {
        parts.iter().all(|part| self.listed.contains(part) || self.denied.contains_key(part))
    }

    /// The right that is missing for a part.
    pub(crate) fn denied(&self, part: Part) -> Option<Right> {
        self.denied.get(&part).copied()
    }

    /// The connection that has been lost for the longest time: what is shown is as old as that.
    pub(crate) fn lost(&self) -> Option<&Lost> {
        self.lost.values().min_by_key(|l| l.since)
    }

    /// The Cutover; none once it is deleted.
    pub(crate) fn cutover(&self) -> Option<&Cutover> {
        self.cutover.all.values().next().filter(|c| c.uid() == self.uid)
    }

    /// The runs of the Cutover, the newest last.
    pub(crate) fn runs(&self) -> Vec<CutoverRun> {
        let (Some(uid), Some(cutover)) = (&self.uid, self.cutover.all.values().next()) else { return vec![] };
        let name = cutover.name_any();
        let own = |r: &&CutoverRun| r.spec.cutover == name && r.spec.cutover_uid == *uid;
        let mut runs: Vec<CutoverRun> = self.runs.all.values().filter(own).cloned().collect();
        runs.sort_by_key(number);
        runs
    }

    /// What `status` would have read now.
    pub(crate) fn reading(&self, pick: &Pick) -> Option<Reading> {
        let cutover = self.cutover()?.clone();
        let runs = self.runs();
        let run = match choose(&cutover, &runs, pick) {
            Choice::Run(run) => Some(run.clone()),
            Choice::AtRest(_) | Choice::Refused(_) | Choice::Wait(_) => None,
        };
        fn seen<K: ResourceExt + Clone>(set: &Set<K>, denied: Option<Right>) -> Seen<Vec<K>> {
            denied.map_or_else(|| Seen::Known(set.objects()), Seen::Hidden)
        }
        Some(Reading {
            found: Found { cutover, runs, run },
            deployments: seen(&self.deployments, self.denied(Part::Deployments)),
            stateful_sets: seen(&self.stateful_sets, self.denied(Part::StatefulSets)),
            pods: seen(&self.pods, self.denied(Part::Pods)),
        })
    }

    /// Events about the Cutover and, where they name one, about this run; the newest first.
    pub(crate) fn events(&self, run: Option<&str>) -> Vec<&Event> {
        let about = |e: &&Event| e.related.as_ref().and_then(|r| r.name.as_deref()).is_none_or(|r| Some(r) == run);
        let mut events: Vec<&Event> = self.events.all.values().filter(about).collect();
        events.sort_by_key(|e| std::cmp::Reverse(event_time(e)));
        events
    }
}

/// When an Event happened last.
pub(crate) fn event_time(event: &Event) -> Option<Timestamp> {
    let last = event.last_timestamp.as_ref().map(|t| t.0);
    last.or(event.event_time.as_ref().map(|t| t.0)).or(event.metadata.creation_timestamp.as_ref().map(|t| t.0))
}
