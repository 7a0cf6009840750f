//! PURE. `rollout`: workloads available at the wanted count, of the current template, carrying the release's label.

use serde_json::json;

use super::{Cx, Out, Verdict};
use crate::api::run::StepRecord;
use crate::api::step::{Rollout, SideRef, WorkloadRef};
use crate::effect::Read;
use crate::world::WorkloadView;

/// Passes when all workloads are rolled out; fails at once when one is stuck.
pub fn advance(cx: &Cx, rollout: &Rollout, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let workloads = workloads(cx, rollout.side, &rollout.workloads);
    let wanted = match (rollout.replicas, rollout.side) {
        (Some(n), _) => Some(n),
        (None, Some(SideRef::Target)) => cx.world.wanted(&cx.plan.live),
        (None, _) => None,
    };
    let mut available = 0;
    let mut templates = serde_json::Map::new();
    for w in workloads {
        let name = format!("{:?} {}", w.kind, w.name);
        let view = match cx.world.workloads.get(w).map(|s| &s.value) {
            None => {
                out.reads.insert(format!("{}#refresh", record.name), Read::Refresh);
                record.message = Some(format!("{name} is being looked up"));
                return None;
            }
            Some(None) => return Some(Verdict::fail(format!("{name} does not exist; apply it"))),
            Some(Some(view)) => view,
        };
        match judge(cx, w, view) {
            State::Ready => {}
            State::Waiting(why) => {
                record.message = Some(format!("{name}: {why}"));
                return None;
            }
            State::Stuck(why) => return Some(Verdict::fail(format!("{name}: {why}"))),
        }
        available += view.available;
        templates.insert(w.name.clone(), json!(view.template_hash));
    }
    if let Some(wanted) = wanted
        && available < wanted
    {
        record.message =
            Some(format!("{available} available, wanted {wanted} (as many as the live side has); scale it"));
        return None;
    }
    Some(Verdict::pass(Some(json!({"available": available, "templates": templates}))))
}

/// The workloads a step is about.
pub fn workloads<'a>(cx: &'a Cx, side: Option<SideRef>, named: &'a [WorkloadRef]) -> &'a [WorkloadRef] {
    match side {
        Some(side) => &cx.plan.side(side).workloads,
        None => named,
    }
}

/// Where the rollout of one workload stands.
pub enum State {
    /// Done.
    Ready,
    /// Going on.
    Waiting(String),
    /// It will not get better by waiting.
    Stuck(String),
}

/// Judges one workload by its own count.
pub fn judge(cx: &Cx, w: &WorkloadRef, view: &WorkloadView) -> State {
    if let Some(label) = &cx.plan.release.pod_label
        && cx.plan.target.workloads.contains(w)
        && let Some(version) = &cx.plan.release.version
        && view.pod_labels.get(label) != Some(version)
    {
        let has = view.pod_labels.get(label).map_or("none", String::as_str);
        return State::Waiting(format!("its pod template has {label}={has}, release {version} is wanted; deploy it"));
    }
    if view.observed_generation < view.generation {
        return State::Waiting("its controller has not seen the last change".into());
    }
    if let Some(why) = &view.stuck {
        return State::Stuck(why.clone());
    }
    if view.updated < view.wanted || view.available < view.wanted || view.replicas > view.updated {
        return State::Waiting(format!("{} of {} available, {} updated", view.available, view.wanted, view.updated));
    }
    State::Ready
}
