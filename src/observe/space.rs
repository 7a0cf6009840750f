//! One namespace, as one set of watches shows it to all runs that are driven there. Each watch goes on by itself, whether or
//! not the others do, begins with the first run that needs its kind, and ends with the last run of the namespace. None
//! is needed for a rollback, since everything is read live as well (`refresh`).

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::feed::{Slot, Subscriber, Wants};
use super::scope;
use super::state::State;
use super::waits::Waits;
use crate::api::LABEL_RUN;
use crate::api::step::WorkloadKind;
use crate::net::call::{CALL_LIMIT, answered};
use crate::net::endpoints::{Shown, Watched};
use crate::net::watch::{Named, watch as watch_for_ever};
use crate::net::watches::Watches;
use crate::world::Sighting;

/// Events taken together.
const BATCH: usize = 256;
/// Pause before a watch that ended by a defect is begun anew.
const AGAIN: Duration = Duration::from_secs(1);

/// What all watches of an operator need.
#[derive(Clone)]
pub(super) struct Source {
    pub client: Client,
    pub board: Watches,
    pub waits: Waits,
}

impl Source {
    /// Batches of events; failures are told, and end nothing.
    pub fn follow<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        named: &Named,
    ) -> impl Stream<Item = Vec<Event<K>>> + use<K>
    where
        K: kube::Resource + Clone + Debug + Send + DeserializeOwned + 'static,
        K::DynamicType: Clone,
    {
        let name = named.name.clone();
        watch_for_ever(&self.board, api, config, named)
            .filter_map(move |event| {
                let event =
                    event.inspect_err(|error| tracing::warn!(what = name, %error, "a watch failed; it is tried again"));
                std::future::ready(event.ok())
            })
            .ready_chunks(BATCH)
    }
}

/// Runs a task that is not to end; one that breaks begins anew.
pub(super) async fn for_ever<F: Future<Output = ()>>(what: &str, begin: impl Fn() -> F) {
    loop {
        let broke = AssertUnwindSafe(begin()).catch_unwind().await.is_err();
        tracing::error!(what, broke, "a watch ended; it begins anew");
        tokio::time::sleep(AGAIN).await;
    }
}

/// The namespaces in which runs are driven.
#[derive(Clone, Default)]
pub(super) struct Spaces(Arc<Mutex<HashMap<String, Weak<Space>>>>);

impl Spaces {
    /// What the watches of a namespace list since this run joined them, and because of it: asked for once.
    pub fn first(&self, namespace: &str, run_uid: &str) -> Option<First> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let space = all.get(namespace).and_then(Weak::upgrade)?;
        drop(all);
        let (began, kinds) = lock(&space.joined).remove(run_uid)?;
        Some(First { space, began, kinds })
    }

    /// The watches that a run shares; those that it needs are begun.
    pub fn join(&self, source: &Source, subscriber: &Arc<Subscriber>) -> Arc<Space> {
        let wants = &subscriber.wants;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, space| space.strong_count() > 0);
        let known = all.get(&wants.namespace).and_then(Weak::upgrade);
        let space = known.unwrap_or_else(|| {
            let space = Arc::new(Space { waits: source.waits.clone(), ..Space::default() });
            all.insert(wants.namespace.clone(), Arc::downgrade(&space));
            space
        });
        drop(all);
        // Before anything is watched or read, so that nothing passes it by.
        space.state().subscribe(subscriber);
        space.begin(source, wants);
        space
    }
}

impl Watched for Spaces {
    fn shown(&self, namespace: &str, service: &str) -> Option<Shown> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let space = all.get(namespace).and_then(Weak::upgrade)?;
        drop(all);
        space.state().behind(service)
    }
}

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Pods,
    Jobs,
    Services,
    Slices,
    Workloads(WorkloadKind),
}

/// One namespace. Its watches end when this is dropped.
#[derive(Default)]
pub(super) struct Space {
    state: Arc<Mutex<State>>,
    waits: Waits,
    watches: Mutex<(BTreeSet<Kind>, JoinSet<()>)>,
    /// By the uid of a run: when it joined, and the watches that were begun for it. They list after that.
    joined: Mutex<HashMap<String, (Timestamp, BTreeSet<Kind>)>>,
    /// The kinds of which all is known.
    listed: Arc<Listed>,
}

type Listed = tokio::sync::watch::Sender<BTreeSet<Kind>>;

/// The lists with which the watches began that were begun for a run: as live as a reading that began when it joined, and
/// nothing that would have to be read again for it.
pub(super) struct First {
    space: Arc<Space>,
    pub began: Timestamp,
    kinds: BTreeSet<Kind>,
}

impl First {
    /// Waits for the lists, within the time of an API call. Those that did not come are read by the run itself.
    pub async fn come(mut self) -> Self {
        let mut listed = self.space.listed.subscribe();
        let whole = listed.wait_for(|listed| self.kinds.is_subset(listed));
        if tokio::time::timeout(CALL_LIMIT, whole).await.is_err() {
            let listed = self.space.listed.borrow();
            self.kinds.retain(|kind| listed.contains(kind));
        }
        self
    }

    /// What they show of this; `None`: they do not.
    pub fn show(&self, wants: &Wants, slot: &Slot) -> Option<Sighting> {
        let kind = match slot {
            Slot::Pods => Kind::Pods,
            Slot::Service(_) => Kind::Services,
            Slot::Endpoints(_) => Kind::Slices,
            Slot::Workload(workload) => Kind::Workloads(workload.kind),
            Slot::Job(_) | Slot::NoJob(_) | Slot::Cutover | Slot::Decisions => return None,
        };
        self.kinds.contains(&kind).then(|| self.space.show(wants, slot)).flatten()
    }
}

impl Space {
    /// What the watches have shown.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The latest of what the watches have shown.
    pub fn show(&self, wants: &Wants, slot: &Slot) -> Option<Sighting> {
        self.state().show(wants, slot, &self.waits, Timestamp::now())
    }

    fn begin(&self, source: &Source, wants: &Wants) {
        let kinds = [Kind::Pods, Kind::Services, Kind::Slices];
        let workloads = wants.workloads.iter().map(|w| Kind::Workloads(w.kind));
        let jobs = wants.jobs.then_some(Kind::Jobs);
        let (joined, mut new) = (Timestamp::now(), BTreeSet::new());
        let mut watches = lock(&self.watches);
        let (begun, tasks) = &mut *watches;
        for kind in kinds.into_iter().chain(jobs).chain(workloads) {
            if begun.insert(kind) {
                new.insert(kind);
                let watch = Watch {
                    source: source.clone(),
                    namespace: wants.namespace.clone(),
                    state: self.state.clone(),
                    listed: self.listed.clone(),
                };
                tasks.spawn(async move { for_ever("a namespace", || watch.clone().run(kind)).await });
            }
        }
        // Before a namespace has other watches, a run has asked for these or is gone.
        let mut waiting = lock(&self.joined);
        if new.is_empty() {
            waiting.remove(&wants.run_uid)
        } else {
            waiting.insert(wants.run_uid.clone(), (joined, new))
        };
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One watch of a namespace.
#[derive(Clone)]
struct Watch {
    source: Source,
    namespace: String,
    state: Arc<Mutex<State>>,
    listed: Arc<Listed>,
}

impl Watch {
    async fn run(self, kind: Kind) {
        match kind {
            Kind::Pods => {
                let waits = self.source.waits.clone();
                self.each(kind, self.api::<Pod>(), move |state, event, at| state.pod(event, &waits, at)).await;
            }
            Kind::Services => self.each(kind, self.api::<Service>(), State::service).await,
            Kind::Slices => self.each(kind, self.api::<EndpointSlice>(), State::slice).await,
            Kind::Workloads(of) => {
                let resource = scope::resource(of);
                let client = self.source.client.clone();
                let api = Api::<DynamicObject>::namespaced_with(client, &self.namespace, &resource);
                self.each(kind, api, move |state, event, at| state.workload(of, event, at)).await;
            }
            Kind::Jobs => self.jobs().await,
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.source.client.clone(), &self.namespace)
    }

    fn follow<K>(&self, api: Api<K>, config: watcher::Config) -> impl Stream<Item = Vec<Event<K>>> + use<K>
    where
        K: kube::Resource + Clone + Debug + Send + DeserializeOwned + 'static,
        K::DynamicType: Clone,
    {
        let url = api.resource_url().to_owned();
        let resource = crate::net::watches::resource(&url).unwrap_or(&url);
        let named = Named::needed(format!("{resource} in namespace {}", self.namespace));
        self.source.follow(api, config, &named)
    }

    async fn each<K>(&self, kind: Kind, api: Api<K>, take_in: impl Fn(&mut State, Event<K>, Timestamp))
    where
        K: kube::Resource + Clone + Debug + Send + DeserializeOwned + 'static,
        K::DynamicType: Clone,
    {
        let mut batches = Box::pin(self.follow(api, watcher::Config::default()));
        while let Some(batch) = batches.next().await {
            let at = Timestamp::now();
            let whole = batch.iter().any(|event| matches!(event, Event::InitDone));
            let mut state = lock(&self.state);
            batch.into_iter().for_each(|event| take_in(&mut state, event, at));
            drop(state);
            if whole {
                self.listed.send_if_modified(|listed| listed.insert(kind));
            }
        }
    }

    /// Jobs of runs. A deleted one is only reported once a live reading has found none.
    async fn jobs(&self) {
        let api = self.api::<Job>();
        let mut batches = Box::pin(self.follow(api.clone(), watcher::Config::default().labels(LABEL_RUN)));
        let mut looks = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(batch) = batches.next() => {
                    let at = Timestamp::now();
                    let mut state = lock(&self.state);
                    batch.into_iter().for_each(|event| state.job(event, at));
                    for (run, name) in state.missed() {
                        let api = &api;
                        looks.push(async move {
                            let found = answered(api.get_opt(&name)).await;
                            (run, name, found)
                        });
                    }
                }
                Some((run, name, found)) = looks.next() => {
                    // Still there without its label, or not to be read now: the next live reading will tell.
                    if let Ok(None) = found {
                        lock(&self.state).no_job(&run, name, Timestamp::now());
                    }
                }
                else => return,
            }
        }
    }
}

#[cfg(test)]
#[path = "space_tests.rs"]
mod tests;
