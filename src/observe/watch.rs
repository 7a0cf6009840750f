//! The watches of one run. Each goes on by itself whatever becomes of the others; none is needed for a rollback, since
//! everything is read live as well (`refresh`). A deleted Job is only reported once a live read has found none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DynamicObject, ListParams};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Instrument;

use super::nodes::Nodes;
use super::waits::Waits;
use super::{RunScope, convert, scope};
use crate::api::step::WorkloadRef;
use crate::api::{Cutover, CutoverDecision};
use crate::net;
use crate::net::call::answered;
use crate::net::watch::Named;
use crate::plan::Plan;
use crate::world::Sighting;

const PAGE: u32 = 500;
/// Pause before a question that was not answered is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Events taken together.
const BATCH: usize = 256;

/// What the watches of a run share.
#[derive(Clone)]
pub(super) struct Watches {
    pub(super) client: Client,
    pub(super) scope: RunScope,
    pub(super) waits: Waits,
    pub(super) board: net::watches::Watches,
    pub(super) nodes: Nodes,
    pub(super) tx: mpsc::Sender<Sighting>,
}

/// Nobody listens any more.
struct Closed;

impl Watches {
    /// Starts them all.
    pub(super) fn start(self, plan: &Plan) -> JoinSet<()> {
        let mut set = JoinSet::new();
        let mut spawn = |task: futures::future::BoxFuture<'static, Result<(), Closed>>| {
            // Ends only when nobody listens.
            let task = async move {
                if let Err(Closed) = task.await {
                    tracing::debug!("a watch ends: nobody listens");
                }
            };
            set.spawn(task.in_current_span());
        };
        spawn(Box::pin(self.clone().cutover(plan.cutover.clone())));
        spawn(Box::pin(self.clone().decisions()));
        spawn(Box::pin(self.clone().pods(scope::PodsOfRun::of(plan))));
        spawn(Box::pin(self.clone().jobs()));
        spawn(Box::pin(self.clone().nodes()));
        for service in &plan.services {
            spawn(Box::pin(self.clone().service(service.clone())));
            spawn(Box::pin(self.clone().endpoints(service.clone())));
        }
        for workload in scope::workloads(plan) {
            spawn(Box::pin(self.clone().workload(workload)));
        }
        set
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.scope.namespace)
    }

    async fn send(&self, sighting: Sighting) -> Result<(), Closed> {
        self.tx.send(sighting).await.map_err(|_| Closed)
    }

    /// Batches of events; failures are told, and end nothing.
    fn follow<K>(&self, api: Api<K>, config: watcher::Config) -> impl Stream<Item = Vec<Event<K>>> + use<K>
    where
        K: kube::Resource + Clone + Debug + Send + DeserializeOwned + 'static,
        K::DynamicType: Clone,
    {
        let what = api.resource_url().to_owned();
        let resource = net::watches::resource(&what).unwrap_or(&what);
        let named = Named::needed(format!("{resource} for run {}/{}", self.scope.namespace, self.scope.run));
        net::watch::watch(&self.board, api, config.page_size(PAGE), &named)
            .filter_map(move |event| {
                let event = match event {
                    Ok(event) => Some(event),
                    Err(error) => {
                        tracing::warn!(what, %error, "a watch failed; it is tried again");
                        None
                    }
                };
                std::future::ready(event)
            })
            .ready_chunks(BATCH)
    }

    /// One object by name: the last state of each batch.
    async fn one<K, F>(self, api: Api<K>, name: &str, tell: impl Fn(Option<K>) -> F) -> Result<(), Closed>
    where
        K: kube::Resource + Clone + Debug + Send + DeserializeOwned + 'static,
        K::DynamicType: Clone,
        F: Future<Output = Option<Sighting>>,
    {
        let mut batches = Box::pin(self.follow(api, watcher::Config::default().fields(&scope::name(name))));
        let mut listed = false;
        while let Some(batch) = batches.next().await {
            let mut last = None;
            for event in batch {
                match event {
                    Event::Init => listed = false,
                    Event::InitApply(object) => {
                        listed = true;
                        last = Some(Some(object));
                    }
                    Event::InitDone if listed => {}
                    Event::InitDone | Event::Delete(_) => last = Some(None),
                    Event::Apply(object) => last = Some(Some(object)),
                }
            }
            if let Some(object) = last
                && let Some(sighting) = tell(object).await
            {
                self.send(sighting).await?;
            }
        }
        Ok(())
    }

    async fn cutover(self, name: String) -> Result<(), Closed> {
        let api = self.api::<DeserializeGuard<Cutover>>();
        let (client, namespace) = (self.client.clone(), self.scope.namespace.clone());
        self.one(api, &name, async |object| match object {
            None => Some(Sighting::Cutover(None)),
            Some(DeserializeGuard(Ok(object))) => {
                let going = object.metadata.deletion_timestamp.is_some() && going(&client, &namespace).await.ok()?;
                Some(Sighting::Cutover(Some(convert::cutover(&object, going))))
            }
            // Whatever it says: it is going.
            Some(DeserializeGuard(Err(error))) if error.metadata.deletion_timestamp.is_some() => {
                Some(Sighting::Cutover(None))
            }
            Some(DeserializeGuard(Err(error))) => {
                tracing::warn!(%error, "the Cutover cannot be read; its last readable state holds");
                None
            }
        })
        .await
    }

    async fn service(self, name: String) -> Result<(), Closed> {
        let api = self.api::<Service>();
        self.one(api, &name, async |object| {
            Some(Sighting::Service(name.clone(), object.as_ref().map(convert::service)))
        })
        .await
    }

    async fn workload(self, workload: WorkloadRef) -> Result<(), Closed> {
        let resource = scope::resource(workload.kind);
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.scope.namespace, &resource);
        self.one(api, &workload.name, async |object| {
            Some(Sighting::Workload(workload.clone(), object.as_ref().map(convert::workload)))
        })
        .await
    }

    /// A list: sent whole, once for each batch that changed it.
    async fn list<K, V>(
        self,
        api: Api<K>,
        config: watcher::Config,
        view: impl Fn(K) -> Option<V>,
        tell: impl Fn(&BTreeMap<String, V>) -> Sighting,
    ) -> Result<(), Closed>
    where
        K: kube::Resource + Clone + Debug + Send + DeserializeOwned + 'static,
        K::DynamicType: Clone,
        V: Clone + PartialEq,
    {
        let mut batches = Box::pin(self.follow(api, config));
        let (mut all, mut coming) = (BTreeMap::new(), BTreeMap::new());
        // Half a list says that the other half is not there: nothing is told before the first is whole.
        let mut whole = false;
        while let Some(batch) = batches.next().await {
            let mut changed = false;
            for event in batch {
                match event {
                    Event::Init => coming = BTreeMap::new(),
                    Event::InitApply(object) => {
                        let name = object.name_any();
                        if let Some(view) = view(object) {
                            coming.insert(name, view);
                        }
                    }
                    Event::InitDone => {
                        all = std::mem::take(&mut coming);
                        (whole, changed) = (true, true);
                    }
                    Event::Apply(object) => {
                        let name = object.name_any();
                        // What is not looked at changes nothing.
                        changed |= match view(object) {
                            Some(view) => all.insert(name, view.clone()).as_ref() != Some(&view),
                            None => all.remove(&name).is_some(),
                        };
                    }
                    Event::Delete(object) => changed |= all.remove(&object.name_any()).is_some(),
                }
            }
            if whole && changed {
                self.send(tell(&all)).await?;
            }
        }
        Ok(())
    }

    async fn pods(self, wanted: scope::PodsOfRun) -> Result<(), Closed> {
        let api = self.api::<Pod>();
        let tell = |all: &BTreeMap<_, _>| Sighting::Pods(all.values().cloned().collect());
        self.list(api, watcher::Config::default(), |pod| wanted.keep(convert::pod(&pod)), tell).await
    }

    /// Nodes, as the operator's one watch of them shows them.
    async fn nodes(self) -> Result<(), Closed> {
        let mut nodes = self.nodes.follow();
        loop {
            let now = nodes.borrow_and_update().clone();
            self.send(Sighting::Nodes(now)).await?;
            if nodes.changed().await.is_err() {
                // The operator's watch has ended with the operator.
                return std::future::pending().await;
            }
        }
    }

    async fn endpoints(self, service: String) -> Result<(), Closed> {
        let api = self.api::<EndpointSlice>();
        let config = watcher::Config::default().labels(&scope::slices(&service));
        let tell = |all: &BTreeMap<String, EndpointSlice>| {
            Sighting::Endpoints(service.clone(), convert::endpoints(all.values()))
        };
        self.list(api, config, Some, tell).await
    }

    async fn decisions(self) -> Result<(), Closed> {
        let api = self.api::<DeserializeGuard<CutoverDecision>>();
        let answered = !self.selects_open(&api).await;
        let config = watcher::Config::default().fields(&scope::decisions(&self.scope.run_uid, answered));
        let tell = |all: &BTreeMap<_, _>| {
            let mut list: Vec<_> = all.values().cloned().collect();
            convert::order(&mut list);
            Sighting::Decisions(list)
        };
        self.list(api, config, readable, tell).await
    }

    /// Whether the API server can leave out decisions that have been answered: definitions of an older version cannot.
    async fn selects_open(&self, api: &Api<DeserializeGuard<CutoverDecision>>) -> bool {
        let params = ListParams::default().fields(&scope::decisions(&self.scope.run_uid, false)).limit(1);
        loop {
            match answered(api.list(&params)).await {
                Ok(_) => return true,
                Err(error) if error.code() == Some(400) => return false,
                Err(_) => tokio::time::sleep(ASK_AGAIN).await,
            }
        }
    }

    /// Jobs and their pods in one task, since a Job's view shows both.
    async fn jobs(self) -> Result<(), Closed> {
        let config = watcher::Config::default().labels(&scope::jobs(&self.scope.run_uid));
        let jobs = self.follow(self.api::<Job>(), config.clone()).map(Change::Jobs);
        let pods = self.follow(self.api::<Pod>(), config).map(Change::Pods);
        let mut changes = Box::pin(futures::stream::select(jobs, pods));
        let mut known = Known::default();
        while let Some(change) = changes.next().await {
            let now = Timestamp::now();
            match change {
                Change::Jobs(batch) => batch.into_iter().for_each(|event| known.job(event)),
                Change::Pods(batch) => batch.into_iter().for_each(|event| known.pod(event, &self.waits, now)),
            }
            for name in std::mem::take(&mut known.changed) {
                if let Some(job) = known.jobs.get(&name) {
                    let view = convert::job(job, known.pods.values(), |uid| self.waits.since(uid, now));
                    self.send(Sighting::Job(name, Some(view))).await?;
                }
            }
            for name in std::mem::take(&mut known.missed) {
                // Still there without its label, or not to be read now: the next live reading will tell.
                if let Ok(None) = answered(self.api::<Job>().get_opt(&name)).await {
                    self.send(Sighting::Job(name, None)).await?;
                }
            }
        }
        Ok(())
    }
}

/// A decision that can be read and has no answer yet.
pub(super) fn readable(decision: DeserializeGuard<CutoverDecision>) -> Option<crate::world::DecisionView> {
    match decision.0 {
        Ok(decision) => decision.is_open().then(|| convert::decision(&decision)),
        Err(error) => {
            tracing::warn!(decision = error.metadata.name, %error, "a decision cannot be read and does not count");
            None
        }
    }
}

/// Whether the namespace is being deleted.
pub(super) async fn going(client: &Client, namespace: &str) -> Result<bool, String> {
    let api = Api::<Namespace>::all(client.clone());
    match answered(api.get_opt(namespace)).await {
        Ok(found) => Ok(found.is_none_or(|n| n.metadata.deletion_timestamp.is_some())),
        Err(error) => Err(format!("Namespace {namespace}: {error}")),
    }
}

enum Change {
    Jobs(Vec<Event<Job>>),
    Pods(Vec<Event<Pod>>),
}

/// Jobs of the run, as the two watches have shown them.
#[derive(Default)]
struct Known {
    jobs: BTreeMap<String, Job>,
    pods: BTreeMap<String, Pod>,
    coming: BTreeSet<String>,
    coming_pods: BTreeSet<String>,
    changed: BTreeSet<String>,
    missed: BTreeSet<String>,
}

impl Known {
    fn job(&mut self, event: Event<Job>) {
        match event {
            Event::Init => self.coming.clear(),
            Event::InitApply(mut job) | Event::Apply(mut job) => {
                job.metadata.managed_fields = None;
                let name = job.name_any();
                self.coming.insert(name.clone());
                self.missed.remove(&name);
                self.changed.insert(name.clone());
                self.jobs.insert(name, job);
            }
            Event::InitDone => {
                let coming = std::mem::take(&mut self.coming);
                self.missed.extend(self.jobs.keys().filter(|name| !coming.contains(*name)).cloned());
                self.jobs.retain(|name, _| coming.contains(name));
            }
            Event::Delete(job) => {
                let name = job.name_any();
                self.jobs.remove(&name);
                self.changed.remove(&name);
                self.missed.insert(name);
            }
        }
    }

    fn pod(&mut self, event: Event<Pod>, waits: &Waits, now: Timestamp) {
        match event {
            Event::Init => self.coming_pods.clear(),
            Event::InitApply(mut pod) | Event::Apply(mut pod) => {
                pod.metadata.managed_fields = None;
                waits.see(&pod, now);
                self.touch(&pod);
                self.coming_pods.insert(pod.name_any());
                self.pods.insert(pod.name_any(), pod);
            }
            Event::InitDone => {
                let coming = std::mem::take(&mut self.coming_pods);
                let (still, gone) = std::mem::take(&mut self.pods).into_iter().partition(|(n, _)| coming.contains(n));
                self.pods = still;
                for pod in BTreeMap::<String, Pod>::into_values(gone) {
                    waits.forget(&pod);
                    self.touch(&pod);
                }
            }
            Event::Delete(pod) => {
                waits.forget(&pod);
                self.touch(&pod);
                self.pods.remove(&pod.name_any());
            }
        }
    }

    /// The view of the Job that a pod belongs to has changed.
    fn touch(&mut self, pod: &Pod) {
        let owners = self.jobs.iter().filter(|(_, job)| convert::is_of(pod, &job.metadata));
        self.changed.extend(owners.map(|(name, _)| name.clone()));
    }
}
