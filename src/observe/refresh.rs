//! Everything read live and at once, past every watch and cache.

use std::collections::BTreeMap;

use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DynamicObject, ListParams};
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt};

use super::{Observer, RunScope, convert, ours, scope};
use crate::api::step::WorkloadRef;
use crate::api::{Cutover, CutoverDecision};
use crate::net::call::answered;
use crate::plan::Plan;
use crate::world::Sighting;

/// Sightings of one part, or what could not be read and why.
type Part = Result<Vec<Sighting>, String>;

/// One call within its time.
async fn call<T>(what: &str, future: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    answered(future).await.map_err(|error| format!("{what}: {error}"))
}

pub(super) async fn refresh(
    observer: &Observer,
    scope: &RunScope,
    plan: &Plan,
    known_jobs: &[String],
) -> Vec<Sighting> {
    let began = Timestamp::now();
    let live = Live { observer, scope };
    let mut parts: Vec<BoxFuture<'_, Part>> = vec![
        Box::pin(live.cutover(&plan.cutover)),
        Box::pin(live.decisions()),
        Box::pin(live.pods(plan)),
        Box::pin(live.jobs(known_jobs)),
    ];
    for service in &plan.services {
        parts.push(Box::pin(live.service(service)));
        parts.push(Box::pin(live.endpoints(service)));
    }
    for workload in scope::workloads(plan) {
        parts.push(Box::pin(live.workload(workload)));
    }
    let mut unread = None;
    let mut sightings = vec![];
    for part in join_all(parts).await {
        match part {
            Ok(seen) => sightings.extend(seen),
            Err(error) => {
                tracing::warn!(error, "a live reading failed");
                unread.get_or_insert(error);
            }
        }
    }
    sightings.push(unread.map_or(Sighting::Refreshed(began), Sighting::Unread));
    sightings
}

#[derive(Clone, Copy)]
struct Live<'a> {
    observer: &'a Observer,
    scope: &'a RunScope,
}

impl Live<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.observer.client.clone(), &self.scope.namespace)
    }

    async fn cutover(self, name: &str) -> Part {
        let found = call("Cutover", self.api::<DeserializeGuard<Cutover>>().get_opt(name)).await?;
        if let Some(found) = &found {
            let version = found.resource_version();
            self.observer.ours.read_live(&self.scope.namespace, name, version.as_deref());
        }
        let view = match found {
            None => None,
            Some(DeserializeGuard(Err(error))) if error.metadata.deletion_timestamp.is_some() => None,
            Some(DeserializeGuard(Err(error))) => return Err(format!("Cutover {name} cannot be read: {error}")),
            Some(DeserializeGuard(Ok(object))) => {
                let deleting = object.metadata.deletion_timestamp.is_some();
                let going = deleting && ours::going(&self.observer.client, &self.scope.namespace).await?;
                Some(convert::cutover(&object, going))
            }
        };
        Ok(vec![Sighting::Cutover(view)])
    }

    /// Where there are more than a list may hold, those that lead back are listed apart: no number of others hides one.
    async fn decisions(self) -> Part {
        let api = self.api::<DeserializeGuard<CutoverDecision>>();
        let list = async |fields: &str| api.list(&ListParams::default().fields(fields).limit(scope::MANY)).await;
        let run = &self.scope.run_uid;
        let all = async {
            match list(&scope::decisions(run, false)).await {
                // Definitions of an older version cannot select by that.
                Err(kube::Error::Api(status)) if status.code == 400 => list(&scope::decisions(run, true)).await,
                other => other,
            }
        };
        let all = call("decisions", all).await?;
        let more = all.metadata.continue_.as_deref().is_some_and(|token| !token.is_empty());
        let mut items = all.items;
        for verb in scope::BACK.into_iter().filter(|_| more) {
            items.extend(call("decisions", list(&scope::decisions_of(run, verb))).await?.items);
        }
        let views = items.into_iter().filter_map(ours::readable).map(|view| (view.uid.clone(), view));
        let mut views: Vec<_> = views.collect::<BTreeMap<_, _>>().into_values().collect();
        convert::order(&mut views);
        Ok(vec![Sighting::Decisions(views)])
    }

    async fn pods(self, plan: &Plan) -> Part {
        let wanted = scope::PodsOfRun::of(plan);
        let list = call("pods", self.api::<Pod>().list(&ListParams::default())).await?;
        Ok(vec![Sighting::Pods(list.items.iter().map(convert::pod).filter(|pod| wanted.has(pod)).collect())])
    }

    async fn service(self, name: &str) -> Part {
        let found = call(name, self.api::<Service>().get_opt(name)).await?;
        Ok(vec![Sighting::Service(name.to_owned(), found.as_ref().map(convert::service))])
    }

    async fn endpoints(self, service: &str) -> Part {
        let params = ListParams::default().labels(&scope::slices(service));
        let list = call("EndpointSlices", self.api::<EndpointSlice>().list(&params)).await?;
        Ok(vec![Sighting::Endpoints(service.to_owned(), convert::endpoints(&list.items))])
    }

    async fn workload(self, workload: WorkloadRef) -> Part {
        let resource = scope::resource(workload.kind);
        let client = self.observer.client.clone();
        let api = Api::<DynamicObject>::namespaced_with(client, &self.scope.namespace, &resource);
        let found = call(&workload.name, api.get_opt(&workload.name)).await?;
        Ok(vec![Sighting::Workload(workload, found.as_ref().map(convert::workload))])
    }

    /// Jobs by label; those known and not among them by name, since a label can be taken away.
    async fn jobs(self, known: &[String]) -> Part {
        let params = ListParams::default().labels(&scope::jobs(&self.scope.run_uid));
        let (jobs, pods) = (self.api::<Job>(), self.api::<Pod>());
        // Jobs first: a pod made in between belongs to a Job that is listed or to none of ours.
        let list = call("Jobs", jobs.list(&params)).await?;
        let pods = call("pods of Jobs", pods.list(&params)).await?.items;
        let mut found: BTreeMap<String, Option<Job>> =
            list.items.into_iter().map(|job| (job.name_any(), Some(job))).collect();
        let missing = known.iter().filter(|name| !found.contains_key(*name));
        let looked = missing.map(async |name| {
            let job = call("Job", jobs.get_opt(name)).await?;
            Ok::<_, String>((name.clone(), job))
        });
        for one in join_all(looked).await {
            let (name, job) = one?;
            found.insert(name, job);
        }
        let now = Timestamp::now();
        let waits = &self.observer.waits;
        pods.iter().for_each(|pod| waits.see(pod, now));
        let view = |job: Job| convert::job(&job, &pods, |uid| waits.since(uid, now));
        Ok(found.into_iter().map(|(name, job)| Sighting::Job(name, job.map(view))).collect())
    }
}
