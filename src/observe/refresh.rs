//! Everything read live and at once, past every watch and cache that was there before.

use std::collections::BTreeMap;

use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DynamicObject, ListParams};
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt};

use super::feed::{Slot, Wants};
use super::{Observer, RunScope, convert, ours, scope};
use crate::api::step::WorkloadRef;
use crate::api::{Cutover, CutoverDecision, LABEL_RUN};
use crate::net::call::answered;
use crate::plan::Plan;
use crate::world::Sighting;

/// Sightings of one part, or what could not be read and why.
type Part = Result<Vec<Sighting>, String>;

/// One call within its time.
async fn call<T>(what: &str, future: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    answered(future).await.map_err(|error| format!("{what}: {error}"))
}

/// Everything, and since when it is known to have been so. What the watches list anyway because this run has joined them is
/// not read beside that.
pub(super) async fn refresh(
    observer: &Observer,
    scope: &RunScope,
    plan: &Plan,
    known_jobs: &[String],
) -> (Timestamp, Vec<Sighting>) {
    let now = Timestamp::now();
    let wants = Wants::of(scope, plan);
    let first = observer.spaces.first(&scope.namespace, &scope.run_uid);
    let began = first.as_ref().map_or(now, |first| first.began.min(now));
    let live = Live { observer, scope };
    let shared = async {
        let first = match first {
            Some(first) => Some(first.come().await),
            None => None,
        };
        let shown = |slot: Slot| first.as_ref().and_then(|first| first.show(&wants, &slot));
        let mut parts: Vec<BoxFuture<'_, Part>> = vec![Box::pin(live.pods(&wants, known_jobs, shown(Slot::Pods)))];
        for service in &plan.services {
            parts.push(or(shown(Slot::Service(service.clone())), live.service(service)));
            parts.push(or(shown(Slot::Endpoints(service.clone())), live.endpoints(service)));
        }
        for workload in &wants.workloads {
            parts.push(or(shown(Slot::Workload(workload.clone())), live.workload(workload.clone())));
        }
        join_all(parts).await
    };
    let (shared, cutover, decisions) = tokio::join!(shared, live.cutover(&plan.cutover), live.decisions());
    let mut unread = None;
    let mut sightings = vec![];
    for part in shared.into_iter().chain([cutover, decisions]) {
        match part {
            Ok(seen) => sightings.extend(seen),
            Err(error) => {
                tracing::warn!(error, "a live reading failed");
                unread.get_or_insert(error);
            }
        }
    }
    sightings.push(unread.map_or(Sighting::Refreshed(began), Sighting::Unread));
    (began, sightings)
}

/// What is known already, or a reading.
fn or<'a>(shown: Option<Sighting>, reading: impl Future<Output = Part> + Send + 'a) -> BoxFuture<'a, Part> {
    match shown {
        Some(sighting) => Box::pin(std::future::ready(Ok(vec![sighting]))),
        None => Box::pin(reading),
    }
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

    /// Pods, and the Jobs whose pods are among them.
    async fn pods(self, wants: &Wants, known_jobs: &[String], shown: Option<Sighting>) -> Part {
        // Jobs first: a pod made in between belongs to a Job that is listed or to none of ours.
        let jobs = if wants.jobs || !known_jobs.is_empty() { Some(self.jobs(known_jobs).await?) } else { None };
        if let (None, Some(shown)) = (&jobs, shown) {
            return Ok(vec![shown]);
        }
        let list = call("pods", self.api::<Pod>().list(&ListParams::default())).await?.items;
        let mut seen = vec![Sighting::Pods(list.iter().map(convert::pod).filter(|pod| wants.pods.has(pod)).collect())];
        if let Some(jobs) = jobs {
            let of_run = |pod: &Pod| pod.labels().get(LABEL_RUN) == Some(&wants.run_uid);
            let pods: Vec<Pod> = list.into_iter().filter(of_run).collect();
            let (now, waits) = (Timestamp::now(), &self.observer.waits);
            pods.iter().for_each(|pod| waits.see(pod, now));
            let view = |job: Job| convert::job(&job, &pods, |uid| waits.since(uid, now));
            seen.extend(jobs.into_iter().map(|(name, job)| Sighting::Job(name, job.map(view))));
        }
        Ok(seen)
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
    async fn jobs(self, known: &[String]) -> Result<BTreeMap<String, Option<Job>>, String> {
        let params = ListParams::default().labels(&scope::jobs(&self.scope.run_uid));
        let jobs = self.api::<Job>();
        let list = call("Jobs", jobs.list(&params)).await?;
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
        Ok(found)
    }
}
