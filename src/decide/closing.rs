//! PURE. Connections follow (DESIGN §5.7): a selector moves new connections only, so the pods of the side that was left are
//! ended. Claimed, once for each side in a run, never repeated and never fought.
//!
//! After a rollback the target's Deployments go to 0 and the pods of its StatefulSets are deleted. After a planned switch
//! the old side's pods are deleted in batches, since a rollback may need them any moment.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::actions::rights::remedy;
use crate::api::condition::reasons;
use crate::api::duration::Duration;
use crate::api::phase::Phase;
use crate::api::restore::Connections;
use crate::api::run::{ClosedPod, ClosedWorkload, Closing, ObjectKind, ObjectRef, ServiceSwitch, SwitchState};
use crate::api::step::WorkloadKind;
use crate::decide::draft::Draft;
use crate::effect::{Change, Effect, EffectKey, Outcome};
use crate::endpoints::way_back::before_run;
use crate::endpoints::{matches, ready};
use crate::journal::{self, closing, later};
use crate::plan::PlanSide;
use crate::plan::after::{CLOSE, RETIRE};
use crate::route::Route;
use crate::world::PodView;

/// Clients that notice the restore by themselves have this long.
const GRACE: Duration = Duration::from_secs(30);
/// Pause between two tries.
const PACE: Duration = Duration::from_secs(1);
/// After this long what is not written is left as it is.
const GIVE_UP: Duration = Duration::from_mins(5);
/// After this long without a pod that may be deleted the rest of the old side's pods is left alone.
const STALLED: Duration = Duration::from_mins(10);

/// Ends the target's connections after a restore. True when that is over, or is not to be done.
pub fn after_restore(d: &mut Draft) -> bool {
    let side = &d.plan.target;
    if closing(&d.journal, &side.name).is_none() {
        let Some(due) = due(d) else { return true };
        if d.now() < due {
            d.out.wake_at(due);
            d.journal.waiting = Some(format!("connections to {} are ended at {due:.0}", side.name));
            return false;
        }
        if d.world.stopping || !begin(d, side, false) {
            return false;
        }
    }
    carry_on(d, &side.name)
}

/// A person has the target stopped, though the selectors still point there.
pub fn stop_target(d: &mut Draft) -> bool {
    let side = &d.plan.target;
    closing(&d.journal, &side.name).is_none() && begin(d, side, true)
}

/// Takes the end of the target's connections further, once it is claimed.
pub fn go_on(d: &mut Draft) {
    let side = &d.plan.target.name;
    if closing(&d.journal, side).is_some() {
        carry_on(d, side);
    }
}

/// When the target's connections are to be ended; none where they are kept: it was said so, or not this run has put every
/// selector back, or nobody is left to scale the target up again.
fn due(d: &Draft) -> Option<Timestamp> {
    let ending = d.journal.ending.as_ref()?;
    let switch = d.journal.switch.as_ref()?;
    let restored = switch.restored_at?;
    let close = d.plan.rollback.as_ref().is_some_and(|r| r.connections == Connections::Close);
    let adopted = [reasons::ADOPTED, reasons::DELETED].contains(&ending.reason.as_str());
    let cutover = d.world.cutover.as_ref().and_then(|seen| seen.value.as_ref()).is_some_and(|view| !view.deleting);
    let own = |s: &ServiceSwitch| s.state == SwitchState::Restored && !s.adopted;
    let ours = switch.services.iter().all(|s| own(s) || s.state == SwitchState::Refused);
    if !close || adopted || !cutover || !ours || !switch.services.iter().any(own) {
        return None;
    }
    let empty = d.plan.services.iter().all(|s| d.world.ready_on(s, &d.plan.target) == Some(0));
    Some(if empty { restored } else { later(restored, GRACE) })
}

/// Writes the intent down, with what is still on the side. False while that is not known.
fn begin(d: &mut Draft, side: &PlanSide, stop: bool) -> bool {
    let Some(pods) = &d.world.pods else { return false };
    let of_side = |p: &&PodView| p.workload.as_ref().is_some_and(|w| side.workloads.contains(w)) && !p.ended;
    let had: Vec<&PodView> = pods.value.iter().filter(of_side).collect();
    let mut record = empty_record(d, side, had.len(), stop);
    for w in &side.workloads {
        let Some(view) = d.world.workloads.get(w).and_then(|seen| seen.value.as_ref()) else { continue };
        let workload = ObjectRef::from(w);
        match w.kind {
            WorkloadKind::StatefulSet if !stop => {
                let own = had.iter().filter(|p| p.workload.as_ref() == Some(w) && p.gone_by.is_none());
                record.pods.extend(own.map(|p| doomed(p, &workload)));
            }
            WorkloadKind::Deployment | WorkloadKind::StatefulSet if view.wanted > 0 => {
                let remembered = before_run(d.plan, &d.journal, &workload).unwrap_or(view.wanted);
                let (uid, from) = (view.uid.clone(), view.wanted);
                record.workloads.push(ClosedWorkload { workload, uid, from, remembered, done: false, left: None });
            }
            WorkloadKind::Deployment | WorkloadKind::StatefulSet => {}
        }
    }
    let what = if stop { "is stopped" } else { "is left: its connections are ended" };
    if !(record.workloads.is_empty() && record.pods.is_empty()) {
        told(d, &record, what);
    }
    d.journal.closings.push(record);
    true
}

fn doomed(pod: &PodView, workload: &ObjectRef) -> ClosedPod {
    ClosedPod { name: pod.name.clone(), uid: pod.uid.clone(), workload: workload.clone(), done: false }
}

fn empty_record(d: &Draft, side: &PlanSide, had: usize, stop: bool) -> Closing {
    let endpoints = d.plan.services.iter().filter_map(|s| Some((s.clone(), d.world.ready_on(s, side)?)));
    Closing {
        side: side.name.clone(),
        at: d.now(),
        stop,
        had: u32::try_from(had).unwrap_or(u32::MAX),
        endpoints: endpoints.collect(),
        workloads: vec![],
        pods: vec![],
        gone: 0,
        moved_at: None,
        ended: None,
        left: None,
    }
}

fn told(d: &mut Draft, record: &Closing, what: &str) {
    let endpoints = record.endpoints.iter().map(|(service, n)| format!("{n} ready behind Service {service}"));
    let endpoints: String = endpoints.map(|text| format!(", {text}")).collect();
    let pods = if record.had == 1 { "pod" } else { "pods" };
    let text = format!("{} {what}; it has {} {pods}{endpoints}", record.side, record.had);
    d.note(record.stop, reasons::PROGRESS, "connections", text);
}

/// Takes what was claimed further. True when everything is written, or left as it is.
fn carry_on(d: &mut Draft, side: &str) -> bool {
    let Some(mut record) = closing(&d.journal, side).cloned() else { return true };
    if record.ended.is_some() {
        return true;
    }
    let late = d.now() >= later(record.at, GIVE_UP);
    let stop = record.stop;
    for w in record.workloads.iter_mut().filter(|w| !w.done && w.left.is_none()) {
        let effect = Effect::Change {
            why: CLOSE.into(),
            object: w.workload.clone(),
            uid: w.uid.clone(),
            change: Change::Scale { from: w.from, to: 0 },
            // A stop is meant to take the side away from its users.
            unless_live: if stop { vec![] } else { d.plan.services.clone() },
        };
        match written(d, effect, late, "patch", plural(w.workload.kind)) {
            None => {}
            Some(Ok(())) => w.done = true,
            Some(Err(why)) => w.left = Some(why),
        }
    }
    let mut left = None;
    for pod in record.pods.iter_mut().filter(|pod| !pod.done) {
        match delete(d, pod, late) {
            None => {}
            Some(Ok(())) => pod.done = true,
            Some(Err(why)) => left = Some(why),
        }
    }
    if let Some(why) = left {
        record.pods.retain(|pod| pod.done);
        record.left.get_or_insert(why);
    }
    let all_written = record.workloads.iter().all(|w| w.done || w.left.is_some()) && record.pods.iter().all(|p| p.done);
    if all_written {
        record.gone = u32::try_from(record.pods.len()).unwrap_or(u32::MAX);
        record.pods.clear();
        let left = record.workloads.iter().find_map(|w| w.left.clone()).or(record.left.take());
        end(d, &mut record, left);
    } else {
        d.journal.waiting = Some(format!("{side} is scaled down"));
        d.out.wake_at(later(record.at, GIVE_UP));
    }
    put(d, record);
    all_written
}

fn end(d: &mut Draft, record: &mut Closing, left: Option<String>) {
    record.ended = Some(d.now());
    if let Some(why) = left {
        let why = journal::short(&why, 512);
        let text = format!("connections to {} are kept: {why}", record.side);
        d.note(true, reasons::CONNECTIONS_KEPT, "connections", text);
        record.left = Some(why);
    }
}

fn put(d: &mut Draft, record: Closing) {
    if let Some(slot) = d.journal.closings.iter_mut().find(|c| c.side == record.side) {
        *slot = record;
    }
}

fn delete(d: &mut Draft, pod: &ClosedPod, late: bool) -> Option<Result<(), String>> {
    let effect = Effect::DeletePod {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        workload: pod.workload.clone(),
        unless_live: d.plan.services.clone(),
    };
    written(d, effect, late, "delete", "pods")
}

/// What came of a write, if that is known; wants it otherwise. What others have changed, or forbid, is left as it is.
fn written(d: &mut Draft, effect: Effect, late: bool, verb: &str, resource: &str) -> Option<Result<(), String>> {
    let key = effect.key();
    let why = match d.outcome(&key).map(|(_, outcome)| outcome) {
        Some(Outcome::Done | Outcome::Changed { .. } | Outcome::Created { .. }) => return Some(Ok(())),
        Some(Outcome::NotFound) => return Some(Err("it does not exist any more".into())),
        Some(Outcome::Conflict(why)) => return Some(Err(format!("changed by somebody else: {why}"))),
        Some(Outcome::Refused { why, forbidden: true }) => {
            // The remedy first: a long message is cut at its end.
            return Some(Err(format!("{}; {why}", remedy(&d.cx(), verb, resource))));
        }
        Some(Outcome::Refused { why, forbidden: false }) => return Some(Err(why)),
        Some(Outcome::NotSent(why) | Outcome::Transient(why)) => why,
        Some(Outcome::Blocked { why, .. } | Outcome::NameCollision(why)) => why,
        Some(Outcome::Answered(_) | Outcome::Told(_) | Outcome::Guarded { .. }) | None => {
            "the API server does not answer".into()
        }
    };
    if late && !d.world.in_flight.contains(&key) {
        return Some(Err(format!("not written for {GIVE_UP}: {why}")));
    }
    d.out.wake_at(later(d.now(), PACE));
    d.want(effect, PACE);
    None
}

fn plural(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Deployment => "deployments.apps",
        ObjectKind::StatefulSet => "statefulsets.apps",
        ObjectKind::CronJob => "cronjobs.batch",
    }
}

/// Ends the old side's connections after a planned switch, where that is wanted: its pods are deleted in batches that keep
/// `rollback.minReady`, so that a rollback stays possible all the while.
pub fn after_switch(d: &mut Draft) {
    let side = &d.plan.old;
    let Some(switch) = d.journal.switch.as_ref().filter(|s| s.converged_at.is_some()).cloned() else { return };
    let watched = matches!(d.journal.phase, Phase::Confirming | Phase::Observing | Phase::Finishing | Phase::Completed);
    if d.plan.switch.connections == Connections::Keep || !watched {
        return;
    }
    let known = closing(&d.journal, &side.name).cloned();
    if known.as_ref().is_some_and(|record| record.ended.is_some())
        || (d.paused() || d.world.stopping) && known.is_none()
    {
        return;
    }
    let Some(pods) = d.world.pods.as_ref().map(|seen| seen.value.as_slice()) else { return };
    let mut record = match known {
        Some(record) => record,
        None => {
            let served = |p: &&PodView| !p.terminating && switch.services.iter().any(|s| selects(s, p));
            let listed = |p: &PodView| p.workload.clone().filter(|w| side.workloads.contains(w));
            let all: Vec<(&PodView, ObjectRef)> =
                pods.iter().filter(served).filter_map(|p| Some((p, ObjectRef::from(&listed(p)?)))).collect();
            let mut record = empty_record(d, side, all.len(), false);
            record.pods = all.iter().map(|(p, w)| doomed(p, w)).collect();
            told(d, &record, "is left: its pods are deleted in batches");
            d.journal.closings.push(record.clone());
            record
        }
    };
    let called_off = d.journal.after.as_ref().is_some_and(|a| a.called_off.is_some());
    let retires = journal::record(&d.journal, RETIRE).is_some();
    let why = if called_off || retires {
        Some("nothing more is done to the old side by itself".to_owned())
    } else {
        in_batches(d, &switch.services, &mut record)
    };
    if record.pods.is_empty() || why.is_some() {
        end(d, &mut record, why);
        record.pods.clear();
    }
    put(d, record);
}

/// The run goes back: what is left of the old side's pods is wanted.
pub fn call_off(d: &mut Draft) {
    let known = closing(&d.journal, &d.plan.old.name).cloned();
    if let Some(mut record) = known.filter(|record| record.ended.is_none()) {
        end(d, &mut record, Some("the run goes back".into()));
        record.pods.clear();
        put(d, record);
    }
}

/// Whether the Service sent users to this pod before the switch.
fn selects(s: &ServiceSwitch, pod: &PodView) -> bool {
    matches(&pod.labels, &Route::of(s).pods(&s.from))
}

/// Deletes as many pods as may go now. Says why the rest is left alone, once that is so.
fn in_batches(d: &mut Draft, services: &[ServiceSwitch], record: &mut Closing) -> Option<String> {
    let now = d.now();
    let pods = d.world.pods.as_ref().map(|seen| seen.value.clone()).unwrap_or_default();
    let there = |uid: &str| pods.iter().find(|p| p.uid == uid);
    // What is not seen any more is gone.
    let before = record.pods.len();
    record.pods.retain(|pod| there(&pod.uid).is_some());
    record.gone = record.gone.saturating_add(u32::try_from(before - record.pods.len()).unwrap_or(0));
    for pod in record.pods.iter_mut().filter(|pod| !pod.done) {
        let key = EffectKey::DeletePod { name: pod.name.clone(), uid: pod.uid.clone() };
        if !d.world.outcomes.contains_key(&key) && !d.world.in_flight.contains(&key) {
            continue;
        }
        match delete(d, pod, false) {
            None => {}
            Some(Ok(())) => pod.done = true,
            Some(Err(why)) => return Some(why),
        }
    }
    let leaving = |uid: &str, record: &Closing| {
        let key = |pod: &ClosedPod| EffectKey::DeletePod { name: pod.name.clone(), uid: uid.to_owned() };
        let deleted = |pod: &ClosedPod| pod.uid == uid && (pod.done || d.world.in_flight.contains(&key(pod)));
        record.pods.iter().any(deleted)
    };
    let mut spare: BTreeMap<&str, i64> = BTreeMap::new();
    let mut settled = true;
    for s in services {
        let selector = Route::of(s).pods(&s.from);
        let ports = d.world.service(&s.name).map(|view| view.ports.clone()).unwrap_or_default();
        let stays = ready(&pods, &selector, &ports).filter(|p| !leaving(&p.uid, record)).count();
        let stays = i64::try_from(stays).unwrap_or(i64::MAX);
        let kept = d.plan.restore_min_ready(s.old_wanted);
        settled &= stays >= i64::from(s.old_wanted);
        spare.insert(&s.name, stays - i64::from(kept));
    }
    let mut chosen = vec![];
    for pod in record.pods.iter().filter(|pod| !pod.done && !leaving(&pod.uid, record)) {
        let Some(seen) = there(&pod.uid) else { continue };
        let behind: Vec<&str> = services.iter().filter(|s| selects(s, seen)).map(|s| s.name.as_str()).collect();
        let counts = seen.ready && !seen.terminating;
        if counts && behind.iter().any(|s| spare.get(s).is_none_or(|n| *n < 1)) {
            continue;
        }
        if counts {
            behind.iter().for_each(|s| {
                spare.entry(s).and_modify(|n| *n -= 1);
            });
        }
        chosen.push(pod.clone());
    }
    if d.paused() {
        return None;
    }
    let open = record.pods.iter().filter(|pod| !pod.done).count();
    if chosen.is_empty() && open > 0 {
        let stalled = later(record.moved_at.unwrap_or(record.at), STALLED);
        let nothing_moves = !record.pods.iter().any(|pod| leaving(&pod.uid, record));
        // Every pod is ready, and yet none may go.
        if (settled && nothing_moves) || now >= stalled {
            return Some(format!("{open} of its pods: without them it would have fewer ready than rollback.minReady"));
        }
        d.out.wake_at(stalled);
    }
    if !chosen.is_empty() {
        record.moved_at = Some(now);
    }
    for pod in chosen {
        if let Some(Err(why)) = delete(d, &pod, false) {
            return Some(why);
        }
    }
    None
}

/// Whether pods of the old side are still to be deleted.
pub fn is_under_way(d: &Draft) -> bool {
    closing(&d.journal, &d.plan.old.name).is_some_and(|record| record.ended.is_none())
}

#[cfg(test)]
#[path = "closing_tests.rs"]
mod tests;
