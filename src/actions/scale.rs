//! PURE. `scale`: changes replicas and waits for the rollout. The previous counts are journaled first; the automatic
//! undo puts them back if the present ones are still the run's.

use serde_json::json;

use super::rollout::{State, judge, workloads};
use super::{Cx, Out, Verdict};
use crate::api::duration::Duration;
use crate::api::run::{Before, StepRecord};
use crate::api::step::Scale;
use crate::effect::{Effect, Outcome, Read};

/// Pause between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// Takes the attempt one move further.
pub fn advance(cx: &Cx, scale: &Scale, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let list = workloads(cx, scale.side, &scale.workloads);
    if record.before.is_empty() && !list.is_empty() {
        for w in list {
            let Some(view) = cx.world.workloads.get(w).and_then(|s| s.value.as_ref()) else {
                return Some(Verdict::fail(format!("{:?} {} does not exist; apply it", w.kind, w.name)));
            };
            record.before.push(Before {
                workload: w.clone(),
                uid: view.uid.clone(),
                replicas: view.wanted,
                done: false,
            });
        }
    }
    let unless_live = if scale.allow_downtime { vec![] } else { cx.plan.services.clone() };
    if let Some(verdict) = change(cx, record, |_| Some(scale.replicas), &unless_live, out) {
        return Some(verdict);
    }
    if record.before.iter().any(|b| !b.done) {
        return None;
    }
    for w in list {
        let Some(view) = cx.world.workloads.get(w).and_then(|s| s.value.as_ref()) else {
            out.reads.insert(format!("{}#refresh", record.name), Read::Refresh);
            return None;
        };
        if view.wanted != scale.replicas {
            record.message = Some(format!("{:?} {}: has {} replicas", w.kind, w.name, view.wanted));
            return None;
        }
        match judge(cx, w, view) {
            State::Ready => {}
            State::Waiting(why) => {
                record.message = Some(format!("{:?} {}: {why}", w.kind, w.name));
                return None;
            }
            State::Stuck(why) => return Some(Verdict::fail(format!("{:?} {}: {why}", w.kind, w.name))),
        }
    }
    let before: serde_json::Map<_, _> =
        record.before.iter().map(|b| (b.workload.name.clone(), json!(b.replicas))).collect();
    Some(Verdict::pass(Some(json!({"before": before, "after": scale.replicas}))))
}

/// The automatic undo of the `scale` step `of`.
pub fn undo(cx: &Cx, of: &str, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let Some(done) = crate::journal::record(cx.journal, of) else { return Some(Verdict::pass(None)) };
    let ours = cx.plan.step(of).and_then(|s| match &s.action {
        crate::plan::Action::Scale(scale) => Some(scale.replicas),
        _ => None,
    });
    if record.before.is_empty() {
        for b in &done.before {
            let Some(view) = cx.world.workloads.get(&b.workload).and_then(|s| s.value.as_ref()) else { continue };
            // Somebody else's count is left alone: it is not ours to put back.
            if Some(view.wanted) == ours && view.uid == b.uid && view.wanted != b.replicas {
                record.before.push(Before { replicas: view.wanted, done: false, ..b.clone() });
            }
        }
    }
    let back = |b: &Before| done.before.iter().find(|x| x.workload == b.workload).map(|x| x.replicas);
    if let Some(verdict) = change(cx, record, back, &cx.plan.services, out) {
        return Some(verdict);
    }
    if record.before.iter().any(|b| !b.done) {
        return None;
    }
    Some(Verdict::pass(Some(json!({"restored": record.before.len()}))))
}

/// Wants each workload changed from its journaled count, and takes in what came of it.
fn change(
    cx: &Cx,
    record: &mut StepRecord,
    to: impl Fn(&Before) -> Option<u32>,
    unless_live: &[String],
    out: &mut Out,
) -> Option<Verdict> {
    let why = record.name.clone();
    for b in record.before.iter_mut().filter(|b| !b.done) {
        let Some(to) = to(b) else {
            b.done = true;
            continue;
        };
        let effect = Effect::Scale {
            why: why.clone(),
            workload: b.workload.clone(),
            uid: b.uid.clone(),
            from: b.replicas,
            to,
            unless_live: unless_live.to_vec(),
        };
        let what = format!("{:?} {}", b.workload.kind, b.workload.name);
        match super::take(cx, &effect.key(), out) {
            Some(Outcome::Done) => {
                b.done = true;
                continue;
            }
            Some(Outcome::NotFound) => return Some(Verdict::fail(format!("{what} does not exist any more"))),
            Some(Outcome::Conflict(why) | Outcome::Refused { why, .. }) => {
                return Some(Verdict::fail(format!("{what}: {why}")));
            }
            Some(Outcome::Guarded { .. }) => {
                return Some(Verdict::fail(format!(
                    "{what} serves users: a live side is never shrunk (allowDowntime)"
                )));
            }
            Some(_) | None => {}
        }
        if b.replicas == to {
            b.done = true;
            continue;
        }
        super::want(cx, effect, AGAIN, out);
    }
    None
}
