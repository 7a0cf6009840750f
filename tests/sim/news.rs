//! What a watch would tell somebody who knows a world: whatever is not as he knows it. Only that is copied.

use std::sync::Arc;

use cutover::world::{Seen, Sighting, World};

use super::cluster::Cluster;

impl Cluster {
    /// Everything that differs from what a world holds. Jobs that are gone are told by `known`, as in
    /// [`Cluster::sightings`].
    pub fn news(&self, world: &World, known: Vec<String>) -> Vec<Sighting> {
        let mut news = vec![];
        if !is_known(world.cutover.as_ref(), &self.cutover) {
            news.push(Sighting::Cutover(self.cutover.clone()));
        }
        let open = self.open_decisions();
        if world.decisions != open {
            news.push(Sighting::Decisions(open));
        }
        for name in &self.plan.services {
            let view = self.services.get(name).map(|s| &s.view);
            if world.services.get(name).is_none_or(|seen| seen.value.as_ref() != view) {
                news.push(Sighting::Service(name.clone(), view.cloned()));
            }
            let slices = self.endpoints.get(name).map(Vec::as_slice).unwrap_or_default();
            if world.endpoints.get(name).is_none_or(|seen| seen.value != slices) {
                news.push(Sighting::Endpoints(name.clone(), slices.to_vec()));
            }
        }
        for w in [&self.plan.old, &self.plan.target].into_iter().flat_map(|side| &side.workloads) {
            let view = self.workloads.get(w);
            if world.workloads.get(w).is_none_or(|seen| seen.value.as_ref() != view) {
                news.push(Sighting::Workload(w.clone(), view.cloned()));
            }
        }
        if *world.nodes != *self.nodes {
            news.push(Sighting::Nodes(Arc::new((*self.nodes).clone())));
        }
        let pods = self.pods.values().map(|(_, pod)| pod);
        if !world.pods.as_ref().is_some_and(|seen| seen.value.iter().eq(pods.clone())) {
            news.push(Sighting::Pods(pods.cloned().collect()));
        }
        for (name, job) in &self.jobs {
            if world.jobs.get(name).is_none_or(|seen| seen.value.as_ref() != Some(&job.view)) {
                news.push(Sighting::Job(name.clone(), Some(job.view.clone())));
            }
        }
        for name in known.into_iter().filter(|name| !self.jobs.contains_key(name)) {
            if world.jobs.get(&name).is_none_or(|seen| seen.value.is_some()) {
                news.push(Sighting::Job(name, None));
            }
        }
        news
    }
}

fn is_known<T: PartialEq>(seen: Option<&Seen<T>>, value: &T) -> bool {
    seen.is_some_and(|seen| seen.value == *value)
}
