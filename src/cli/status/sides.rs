//! PURE. Both sides with their workloads and pods.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::read::Reading;
use crate::api::run::{ClosedWorkload, Closing, ObjectRef};
use crate::api::step::{WorkloadKind, WorkloadRef};
use crate::endpoints::why;
use crate::status::without_version;
use crate::view;
use crate::world::convert;

/// A side.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Side {
    pub name: String,
    /// The Services point to it.
    pub live: bool,
    /// What is released on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    pub workloads: Vec<Workload>,
}

/// A workload of a side.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Workload {
    pub kind: WorkloadKind,
    pub name: String,
    /// It exists; none where that cannot be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    pub ready: u32,
    pub wanted: u32,
    /// Why it stands at 0, where a run has scaled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaled: Option<String>,
    /// What its containers run.
    pub images: Vec<String>,
    pub pods: Vec<SidePod>,
}

/// A pod of a workload.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SidePod {
    pub name: String,
    pub ready: bool,
    pub restarts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<jiff::Timestamp>,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The sides of the Cutover as it is now.
pub(crate) fn of(reading: &Reading, run: Option<&view::Run>) -> Vec<Side> {
    let cutover = &reading.found.cutover;
    let status = cutover.status.as_ref();
    let live = status.and_then(|s| s.live.as_deref()).map(without_version);
    let releases = status.map(|s| &s.releases);
    let scaled = |side: &str, named: &WorkloadRef| {
        let run = run?;
        let closing = run.closings.iter().find(|c| c.side == side)?;
        let closed = closing.workloads.iter().find(|w| w.workload == ObjectRef::from(named))?;
        closed.done.then(|| said(run.name, closing, closed))
    };
    let of = |side: &crate::api::cutover::Side| {
        let running = run.and_then(|r| r.target.as_ref().filter(|t| t.name == side.name).and(r.release.new));
        let known = releases.and_then(|r| r.get(&side.name)).filter(|v| !v.is_empty());
        Side {
            live: live == Some(side.name.as_str()),
            release: running.map(str::to_owned).or_else(|| known.cloned()),
            workloads: side.workloads.iter().map(|w| workload(reading, w, scaled(&side.name, w))).collect(),
            name: side.name.clone(),
        }
    };
    cutover.spec.sides.iter().map(of).collect()
}

/// What a run says of a workload that it has scaled to 0.
fn said(run: &str, closing: &Closing, closed: &ClosedWorkload) -> String {
    let why = if closing.stop { "as somebody decided" } else { "to end its connections" };
    let at = closing.at.strftime("%Y-%m-%d %H:%M:%SZ");
    let again = if closed.remembered > 0 {
        format!("; the next run gives it {} again", closed.remembered)
    } else {
        String::new()
    };
    format!("scaled from {} to 0 by run {run} at {at}, {why}{again}", closed.from)
}

impl Side {
    /// What is wrong with the live side, where nobody can be served there: that it has no ready pod.
    pub(crate) fn cannot_serve(&self) -> Option<String> {
        let known = !self.workloads.is_empty() && self.workloads.iter().all(|w| w.exists.is_some());
        if !self.live || !known || self.workloads.iter().any(|w| w.ready > 0) {
            return None;
        }
        let each = self.workloads.iter().map(|w| match w.exists {
            Some(false) => format!("{:?} {} does not exist", w.kind, w.name),
            _ => format!("{:?} {} has {} of {} ready", w.kind, w.name, w.ready, w.wanted),
        });
        Some(format!("{} is live and has no ready pod: {}", self.name, each.collect::<Vec<_>>().join(", ")))
    }
}

fn workload(reading: &Reading, named: &WorkloadRef, scaled: Option<String>) -> Workload {
    let found = match named.kind {
        WorkloadKind::Deployment => reading.deployments.known().map(|all| {
            let found = all.iter().find(|d| d.name_any() == named.name);
            let spec = found.and_then(|d| d.spec.as_ref());
            let ready = found.and_then(|d| d.status.as_ref()?.ready_replicas);
            (found.is_some(), ready, spec.map(|s| (s.replicas, &s.template)))
        }),
        WorkloadKind::StatefulSet => reading.stateful_sets.known().map(|all| {
            let found = all.iter().find(|s| s.name_any() == named.name);
            let spec = found.and_then(|s| s.spec.as_ref());
            let ready = found.and_then(|s| s.status.as_ref()?.ready_replicas);
            (found.is_some(), ready, spec.map(|s| (s.replicas, &s.template)))
        }),
    };
    let (exists, ready, spec) = found.map_or((None, None, None), |(exists, ready, spec)| (Some(exists), ready, spec));
    let count = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let pods = reading.pods.known().map(Vec::as_slice).unwrap_or_default();
    Workload {
        kind: named.kind,
        name: named.name.clone(),
        exists,
        ready: count(ready),
        wanted: count(spec.map(|(replicas, _)| replicas.unwrap_or(1))),
        // Whoever has scaled it up since knows.
        scaled: scaled.filter(|_| spec.is_none_or(|(replicas, _)| replicas == Some(0))),
        images: spec.and_then(|(_, template)| template.spec.as_ref()).map(images).unwrap_or_default(),
        pods: pods.iter().filter_map(|p| pod(p, named)).collect(),
    }
}

fn images(spec: &k8s_openapi::api::core::v1::PodSpec) -> Vec<String> {
    spec.containers.iter().filter_map(|c| c.image.clone()).collect()
}

fn pod(pod: &Pod, of: &WorkloadRef) -> Option<SidePod> {
    let view = convert::pod(pod);
    (view.workload.as_ref() == Some(of) && !view.ended).then(|| SidePod {
        ready: view.ready && !view.terminating,
        restarts: view.containers.iter().map(|c| c.restarts).sum(),
        created: pod.creation_timestamp().map(|t| t.0),
        why: match view.terminating {
            true => Some("it is being deleted".to_owned()),
            false => why::not_ready(&view).map(|cause| cause.text.replacen(&format!("pod {}: ", view.name), "", 1)),
        },
        name: view.name,
    })
}
