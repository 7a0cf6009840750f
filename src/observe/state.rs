//! PURE. What the shared watches have shown of one namespace, and whom a change of it concerns. Views of everything that is
//! small; of workloads, whose templates are not, only of those that a run names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;

use super::feed::{Slot, Subscriber, Subscribers, Wants};
use super::kept::{All, Asked, Changed, Told, by_ref, map};
use super::scope::LABEL_SERVICE;
use super::waits::Waits;
use crate::api::LABEL_RUN;
use crate::api::step::{WorkloadKind, WorkloadRef};
use crate::net::endpoints::Shown;
use crate::world::{PodView, ServiceView, Sighting, WorkloadView, convert};

/// One namespace.
#[derive(Default)]
pub(super) struct State {
    subscribers: Subscribers,
    pods: All<PodView>,
    /// Pods of Jobs, whole: the view of a Job is made of them.
    job_pods: All<Pod>,
    jobs: All<Job>,
    /// Runs and names of Jobs that have gone from the watch, and that nobody has looked for yet.
    missed: BTreeSet<(String, String)>,
    services: All<ServiceView>,
    slices: All<EndpointSlice>,
    workloads: BTreeMap<WorkloadKind, Asked<WorkloadView>>,
}

fn run_of(object: &impl ResourceExt) -> Option<&String> {
    object.labels().get(LABEL_RUN)
}

impl State {
    /// A run hears of it from now on, first of what is known.
    pub fn subscribe(&mut self, subscriber: &Arc<Subscriber>) {
        self.subscribers.add(subscriber);
        let wants = &subscriber.wants;
        // Any live reading is younger.
        let mark = |slot| subscriber.mark(slot, Timestamp::MIN);
        mark(Slot::Pods);
        wants.services.iter().for_each(|name| {
            mark(Slot::Service(name.clone()));
            mark(Slot::Endpoints(name.clone()));
        });
        wants.workloads.iter().for_each(|name| mark(Slot::Workload(name.clone())));
        let jobs = self.jobs.known().into_iter().flatten();
        jobs.filter(|(_, job)| run_of(*job) == Some(&wants.run_uid))
            .for_each(|(name, _)| mark(Slot::Job(name.clone())));
    }

    /// The latest of what is known; `None`: nothing is.
    pub fn show(&self, wants: &Wants, slot: &Slot, waits: &Waits, now: Timestamp) -> Option<Sighting> {
        Some(match slot {
            Slot::Pods => Sighting::Pods(self.pods.known()?.values().filter(|p| wants.pods.has(p)).cloned().collect()),
            Slot::Service(name) => Sighting::Service(name.clone(), self.services.known()?.get(name).cloned()),
            Slot::Endpoints(name) => {
                let slices = self.slices.known()?.values();
                let of = slices.filter(|slice| slice.labels().get(LABEL_SERVICE) == Some(name));
                Sighting::Endpoints(name.clone(), convert::endpoints(of))
            }
            Slot::Workload(name) => {
                let known = self.workloads.get(&name.kind)?.known(&name.name)?;
                Sighting::Workload(name.clone(), known.clone())
            }
            Slot::Job(name) => {
                let job = self.jobs.any().get(name).filter(|job| run_of(*job) == Some(&wants.run_uid))?;
                let view = convert::job(job, self.job_pods.any().values(), |uid| waits.since(uid, now));
                Sighting::Job(name.clone(), Some(view))
            }
            // It may be back.
            Slot::NoJob(name) if self.jobs.any().contains_key(name) => return None,
            Slot::NoJob(name) => Sighting::Job(name.clone(), None),
            Slot::Cutover | Slot::Decisions => return None,
        })
    }

    /// Where a Service leads, with the addresses of the pods that its slices name; `None`: not everything is known.
    pub fn behind(&self, service: &str) -> Option<Shown> {
        let slices = self.slices.known()?.values();
        let of_service = slices.filter(|slice| slice.labels().get(LABEL_SERVICE).is_some_and(|name| name == service));
        let slices: Vec<EndpointSlice> = of_service.cloned().collect();
        let known = self.pods.known()?;
        let named = slices
            .iter()
            .flat_map(|s| s.endpoints.iter().flatten())
            .filter_map(|e| e.target_ref.as_ref()?.name.as_ref());
        let address = |name: &String| Some((name.clone(), known.get(name)?.ip.as_ref()?.parse().ok()?));
        let pods = named.filter_map(address).collect();
        Some(Shown { slices, pods })
    }

    /// Takes an event of a pod in: of a side, of a Job, or of neither.
    pub fn pod(&mut self, event: Event<Pod>, waits: &Waits, at: Timestamp) {
        if let Event::InitApply(pod) | Event::Apply(pod) = &event
            && run_of(pod).is_some()
        {
            waits.see(pod, at);
        }
        let of_a_job = |pod: &Pod| {
            let kept = run_of(pod).is_some().then(|| {
                let mut pod = pod.clone();
                pod.metadata.managed_fields = None;
                pod
            });
            (pod.name_any(), kept)
        };
        match self.job_pods.take_in(by_ref(&event), of_a_job) {
            Changed::Nothing => {}
            Changed::All(before) => {
                let now = self.job_pods.any();
                before.values().filter(|pod| !now.contains_key(&pod.name_any())).for_each(|pod| waits.forget(pod));
                self.mark_jobs(at, |_| true);
            }
            Changed::One(name, before) => {
                let now = self.job_pods.any().get(&name);
                if let (Some(gone), None) = (&before, now) {
                    waits.forget(gone);
                }
                let pods: Vec<&Pod> = before.iter().chain(now).collect();
                self.mark_jobs(at, |job| pods.iter().any(|pod| convert::is_of(pod, &job.metadata)));
            }
        }
        match self.pods.take_in(event, |pod| (pod.name_any(), Some(convert::pod(&pod)))) {
            Changed::Nothing => {}
            Changed::All(_) => self.subscribers.mark(at, |_| vec![Slot::Pods]),
            Changed::One(name, before) => {
                let now = self.pods.any().get(&name);
                self.subscribers.mark(at, |wants| {
                    let concerns = before.iter().chain(now).any(|pod| wants.pods.has(pod));
                    if concerns { vec![Slot::Pods] } else { vec![] }
                });
            }
        }
    }

    /// The views of these Jobs have changed.
    fn mark_jobs(&self, at: Timestamp, which: impl Fn(&Job) -> bool) {
        let jobs: Vec<(&String, Option<&String>)> =
            self.jobs.any().iter().filter(|(_, job)| which(job)).map(|(name, job)| (name, run_of(job))).collect();
        self.subscribers.mark(at, |wants| {
            let own = jobs.iter().filter(|(_, run)| *run == Some(&wants.run_uid));
            own.map(|(name, _)| Slot::Job((*name).clone())).collect()
        });
    }

    /// Takes an event of a Job in.
    pub fn job(&mut self, event: Event<Job>, at: Timestamp) {
        let changed = self.jobs.take_in(event, |mut job| {
            job.metadata.managed_fields = None;
            (job.name_any(), Some(job))
        });
        match changed {
            Changed::Nothing => {}
            Changed::All(before) => {
                before.into_iter().for_each(|(name, job)| self.left(&name, &job));
                self.mark_jobs(at, |_| true);
            }
            Changed::One(name, before) => {
                if let Some(before) = before {
                    self.left(&name, &before);
                }
                self.mark_jobs(at, |job| job.name_any() == name);
            }
        }
    }

    /// A Job was there. Whether it still is will be looked at live, if the watch does not show it for the same run.
    fn left(&mut self, name: &str, job: &Job) {
        let Some(run) = run_of(job) else { return };
        if self.jobs.any().get(name).is_some_and(|now| run_of(now) == Some(run)) {
            return;
        }
        // Nobody asks for those of a run that is closed.
        if self.subscribers.each().any(|s| s.wants.run_uid == *run) {
            self.missed.insert((run.clone(), name.to_owned()));
        }
    }

    /// Those to be looked for now.
    pub fn missed(&mut self) -> BTreeSet<(String, String)> {
        std::mem::take(&mut self.missed)
    }

    /// A live reading has found none.
    pub fn no_job(&mut self, run: &str, name: String, at: Timestamp) {
        self.subscribers.mark(at, |wants| if wants.run_uid == run { vec![Slot::NoJob(name.clone())] } else { vec![] });
    }

    /// Takes an event of a Service in.
    pub fn service(&mut self, event: Event<Service>, at: Timestamp) {
        match self.services.take_in(event, |service| (service.name_any(), Some(convert::service(&service)))) {
            Changed::Nothing => {}
            Changed::All(_) => {
                self.subscribers.mark(at, |wants| wants.services.iter().cloned().map(Slot::Service).collect());
            }
            Changed::One(name, _) => self.subscribers.mark(at, |wants| {
                if wants.services.contains(&name) { vec![Slot::Service(name.clone())] } else { vec![] }
            }),
        }
    }

    /// Takes an event of an EndpointSlice in.
    pub fn slice(&mut self, event: Event<EndpointSlice>, at: Timestamp) {
        let changed = self.slices.take_in(event, |mut slice| {
            slice.metadata.managed_fields = None;
            let of_a_service = slice.labels().contains_key(LABEL_SERVICE);
            (slice.name_any(), of_a_service.then_some(slice))
        });
        match changed {
            Changed::Nothing => {}
            Changed::All(_) => {
                self.subscribers.mark(at, |wants| wants.services.iter().cloned().map(Slot::Endpoints).collect());
            }
            Changed::One(name, before) => {
                let now = self.slices.any().get(&name);
                let services: BTreeSet<&String> =
                    before.iter().chain(now).filter_map(|slice| slice.labels().get(LABEL_SERVICE)).collect();
                self.subscribers.mark(at, |wants| {
                    let concerned = services.iter().filter(|name| wants.services.contains(**name));
                    concerned.map(|name| Slot::Endpoints((*name).clone())).collect()
                });
            }
        }
    }

    /// Takes an event of a workload in.
    pub fn workload(&mut self, kind: WorkloadKind, event: Event<DynamicObject>, at: Timestamp) {
        let asked: BTreeSet<String> = self
            .subscribers
            .each()
            .flat_map(|s| {
                s.wants.workloads.iter().filter(|w| w.kind == kind).map(|w| w.name.clone()).collect::<Vec<_>>()
            })
            .collect();
        let event = map(event, |object: DynamicObject| {
            let name = object.name_any();
            // The template of one that nobody asked for is not even looked at.
            let told = if asked.contains(&name) { Told::Is(convert::workload(&object)) } else { Told::Gone };
            (name, told)
        });
        for name in self.workloads.entry(kind).or_default().take_in(event, &asked) {
            let slot = WorkloadRef { kind, name };
            self.subscribers.mark(at, |wants| {
                if wants.workloads.contains(&slot) { vec![Slot::Workload(slot.clone())] } else { vec![] }
            });
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
