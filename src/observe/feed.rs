//! What one run hears of the shared watches: which of its objects have changed since it last asked, and their latest state
//! when it asks. Nothing queues: ten thousand changes of an object are one sighting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::RunScope;
use super::ours::Ours;
use super::scope::{self, PodsOfRun};
use super::space::Space;
use crate::api::step::WorkloadRef;
use crate::plan::Plan;
use crate::world::{NodeView, Sighting};

/// A part of a run's world.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Cutover,
    Decisions,
    Pods,
    Service(String),
    Endpoints(String),
    Workload(WorkloadRef),
    /// What the watch shows of a Job.
    Job(String),
    /// A live reading has found no such Job.
    NoJob(String),
}

impl Slot {
    /// The parts that a sighting tells of.
    fn of(sighting: &Sighting) -> Vec<Self> {
        match sighting {
            Sighting::Cutover(_) => vec![Self::Cutover],
            Sighting::Decisions(_) => vec![Self::Decisions],
            Sighting::Pods(_) => vec![Self::Pods],
            Sighting::Service(name, _) => vec![Self::Service(name.clone())],
            Sighting::Endpoints(name, _) => vec![Self::Endpoints(name.clone())],
            Sighting::Workload(name, _) => vec![Self::Workload(name.clone())],
            Sighting::Job(name, _) => vec![Self::Job(name.clone()), Self::NoJob(name.clone())],
            Sighting::Nodes(_) | Sighting::Refreshed(_) | Sighting::Unread(_) => vec![],
        }
    }
}

/// What a run looks at.
#[derive(Clone, Debug, Default)]
pub(super) struct Wants {
    pub namespace: String,
    pub run_uid: String,
    pub cutover: String,
    pub services: BTreeSet<String>,
    pub workloads: BTreeSet<WorkloadRef>,
    /// It may create Jobs.
    pub jobs: bool,
    pub pods: PodsOfRun,
}

impl Wants {
    /// What a run of this plan looks at.
    pub fn of(scope: &RunScope, plan: &Plan) -> Self {
        Self {
            namespace: scope.namespace.clone(),
            run_uid: scope.run_uid.clone(),
            cutover: plan.cutover.clone(),
            services: plan.services.iter().cloned().collect(),
            workloads: scope::workloads(plan),
            jobs: scope::makes_jobs(plan),
            pods: PodsOfRun::of(plan),
        }
    }
}

/// A run, as the shared watches know it.
pub(super) struct Subscriber {
    pub wants: Wants,
    /// What has changed, and when that was last seen.
    dirty: Mutex<BTreeMap<Slot, Timestamp>>,
    bell: Notify,
}

impl Subscriber {
    /// One to whom nothing has been told.
    pub fn new(wants: Wants) -> Arc<Self> {
        Arc::new(Self { wants, dirty: Mutex::default(), bell: Notify::new() })
    }

    fn dirty(&self) -> MutexGuard<'_, BTreeMap<Slot, Timestamp>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This has changed.
    pub fn mark(&self, slot: Slot, at: Timestamp) {
        self.dirty().insert(slot, at);
        self.bell.notify_one();
    }

    /// What has changed since the last time.
    pub fn take(&self) -> BTreeMap<Slot, Timestamp> {
        std::mem::take(&mut *self.dirty())
    }
}

/// All runs that hear of something.
#[derive(Default)]
pub(super) struct Subscribers(Vec<Weak<Subscriber>>);

impl Subscribers {
    /// One more. Those that are gone are forgotten.
    pub fn add(&mut self, subscriber: &Arc<Subscriber>) {
        self.0.retain(|s| s.strong_count() > 0);
        self.0.push(Arc::downgrade(subscriber));
    }

    /// Those that are still there.
    pub fn each(&self) -> impl Iterator<Item = Arc<Subscriber>> + '_ {
        self.0.iter().filter_map(Weak::upgrade)
    }

    /// Marks what has changed for each of them.
    pub fn mark(&self, at: Timestamp, slots: impl Fn(&Wants) -> Vec<Slot>) {
        for subscriber in self.each() {
            for slot in slots(&subscriber.wants) {
                subscriber.mark(slot, at);
            }
        }
    }
}

/// What a run hears. The watches of its namespace go on as long as somebody has one of theirs.
///
/// A shared watch was there before the run, and may be behind: what it shows may be older than what made the run begin. So
/// nothing of it is told before the run's first live reading has been answered, and nothing of the Cutover, which alone says
/// whether the run is still wanted, before that was read.
pub(crate) struct Feed {
    me: Arc<Subscriber>,
    /// A live reading has been answered.
    open: bool,
    /// One that told of the Cutover.
    cutover_read: bool,
    space: Arc<Space>,
    ours: Ours,
    nodes: watch::Receiver<Arc<BTreeMap<String, NodeView>>>,
}

impl Feed {
    pub(super) fn new(
        me: Arc<Subscriber>,
        space: Arc<Space>,
        ours: Ours,
        mut nodes: watch::Receiver<Arc<BTreeMap<String, NodeView>>>,
    ) -> Self {
        nodes.mark_changed();
        Self { me, open: false, cutover_read: false, space, ours, nodes }
    }

    /// Waits until there is something to be taken. Nothing is lost when the wait is given up.
    pub async fn changed(&mut self) {
        loop {
            if self.open && !self.me.dirty().is_empty() || self.nodes.has_changed().unwrap_or(false) {
                return;
            }
            tokio::select! {
                () = self.me.bell.notified() => {}
                Ok(()) = self.nodes.changed() => self.nodes.mark_changed(),
            }
        }
    }

    /// The latest state of all that has changed since the last time.
    pub fn take(&mut self) -> Vec<Sighting> {
        let mut all = vec![];
        if self.nodes.has_changed().unwrap_or(false) {
            all.push(Sighting::Nodes(self.nodes.borrow_and_update().clone()));
        }
        if !self.open {
            return all;
        }
        for slot in self.me.take().into_keys() {
            let sighting = match &slot {
                Slot::Cutover if !self.cutover_read => None,
                Slot::Cutover | Slot::Decisions => self.ours.show(&self.me.wants, &slot),
                _ => self.space.show(&self.me.wants, &slot),
            };
            all.extend(sighting);
        }
        all
    }

    /// What was read live since `began` is younger than what a watch had shown before.
    pub fn read_live(&mut self, began: Timestamp, sightings: &[Sighting]) {
        self.open = true;
        self.cutover_read |= sightings.iter().any(|s| matches!(s, Sighting::Cutover(_)));
        let mut dirty = self.me.dirty();
        for slot in sightings.iter().flat_map(Slot::of) {
            if dirty.get(&slot).is_some_and(|at| *at < began) {
                dirty.remove(&slot);
            }
        }
    }
}

#[cfg(test)]
impl Feed {
    /// One that no watch feeds, and what makes it tell of pods. There are none.
    pub(crate) fn for_tests() -> (Self, impl Fn()) {
        let me = Subscriber::new(Wants::default());
        let space = Arc::new(Space::default());
        let none = kube::runtime::watcher::Event::InitDone;
        space.state().pod(none, &super::waits::Waits::default(), Timestamp::MIN);
        let (shared, marked) = (watch::Sender::default(), me.clone());
        let mut feed = Self::new(me, space, Ours::default(), shared.subscribe());
        // Of nodes nothing is told.
        feed.nodes.mark_unchanged();
        feed.read_live(Timestamp::MIN, &[]);
        (feed, move || marked.mark(Slot::Pods, Timestamp::MIN))
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
