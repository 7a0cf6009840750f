//! PURE. The switch: claimed with uid, resourceVersion and whole selectors (P4), sent only onto enough ready
//! endpoints (P5), followed until the EndpointSlices converge.

use crate::api::before::ObjectRef;
use crate::api::condition::reasons;
use crate::api::duration::Duration;
use crate::api::phase::Phase;
use crate::api::run::{ServiceSwitch, SwitchRecord, SwitchState};
use crate::api::step::WorkloadRef;
use crate::decide::draft::Draft;
use crate::decide::steps::window_is_open;
use crate::decide::{people, unread};
use crate::effect::{Effect, EffectKey, Outcome, Read, ReadKey};
use crate::endpoints::{check, why};
use crate::journal::later;
use crate::journal::transition::SwitchEvent;
use crate::route::{self, Names, Route, RouteView};

/// How old the reading may be that a switch is claimed on.
const CLAIM_ON: Duration = Duration::from_secs(1);
/// Pause between two tries of a patch that was guarded, in conflict or unanswered.
const PACE: Duration = Duration::from_millis(250);

/// Runs the phase.
pub fn run(d: &mut Draft) {
    if d.journal.switch.is_none() {
        claim(d);
    } else {
        follow(d);
    }
}

/// Writes the intent, once a live reading made in this phase shows everything in its place.
fn claim(d: &mut Draft) {
    let since = d.journal.phase_since.unwrap_or(d.now());
    let fresh = d.world.refreshed.is_some_and(|at| at >= since);
    if d.suspended() || d.world.stopping {
        return;
    }
    let deadline = later(since, d.plan.switch.timeout);
    if !fresh {
        // Nothing is claimed on the word of a watch: an abort or a new release may be younger.
        d.out.reads.insert(ReadKey::BeforeClaim, Read::Refresh);
        if let Some(why) = unread::why(d) {
            // An operator that has just begun has its own time to read everything.
            let began = d.world.unread.as_ref().map_or(since, |unread| unread.since.max(since));
            give_up_at(d, later(began, d.plan.switch.timeout), reasons::CLUSTER_UNREADABLE, &why);
        }
        return;
    }
    if !window_is_open(d) {
        return;
    }
    // Of the whole side: a workload that no Service selects is awaited as well.
    if d.world.wanted(&d.plan.target).is_none() || d.world.pods.is_none() {
        return give_up_at(d, deadline, reasons::TARGET_NOT_READY, "a workload of the target is not known");
    }
    let mut services = vec![];
    for route in route::all(d.plan) {
        let Some(seen) = route.seen(d.world) else {
            let text = format!("{route} was deleted before the switch");
            return d.end(Phase::Failed, reasons::SERVICE_REPLACED, &text, None);
        };
        match seen.names(&d.plan.old, &d.plan.target) {
            Names::Old => {}
            Names::Foreign => return, // drift: reported by the conditions, never a way past a gate (P12)
            Names::Target => {
                let by = seen.pointed.map_or_else(|| "somebody else's hand".into(), |by| format!("the hand of {by}"));
                let text = format!("{route} points to {} already, by {by}", d.plan.target.name);
                return give_up_at(d, deadline, reasons::SELECTOR_DRIFT, &text);
            }
        }
        let wanted = match claimable(d, &route) {
            Ok(wanted) => wanted,
            Err(text) => {
                let cause = why::first(d.world, &d.plan.target.workloads).map(|cause| format!("; {cause}"));
                let text = format!("{text}{}", cause.unwrap_or_default());
                return give_up_at(d, deadline, reasons::TARGET_NOT_READY, &text);
            }
        };
        let claim = route.claim(&seen, &d.plan.target);
        services.push(ServiceSwitch { wanted, old_wanted: old_wanted(d, &route.name), ..claim });
    }
    if !read_right_now(d, deadline) || people::may_hold(d) {
        return;
    }
    let replicas = [&d.plan.old, &d.plan.target].into_iter().flat_map(|s| &s.workloads);
    d.journal.replicas = replicas
        .filter_map(|w| {
            let wanted = d.world.workloads.get(w)?.value.as_ref()?.wanted;
            Some((format!("{:?}/{}", w.kind, w.name), wanted.max(before_run(d, w))))
        })
        .collect();
    d.journal.switch =
        Some(SwitchRecord { claimed_at: d.now(), converged_at: None, restored_at: None, services: services.clone() });
    for s in &services {
        send(d, s);
    }
}

/// Whether everything has just been read live, run, Cutover and decisions included: a switch is claimed on nothing older
/// (DESIGN §4). Asks for it if not, until the deadline.
fn read_right_now(d: &mut Draft, deadline: jiff::Timestamp) -> bool {
    let young = d.world.refreshed.is_some_and(|at| later(at, CLAIM_ON) >= d.now());
    if young {
        return true;
    }
    if d.world.readings.contains_key(&ReadKey::BeforeClaim) {
        // An answer that is too old by now is dropped, so that the next one can be asked for.
        let text = format!("the API server takes longer than {CLAIM_ON} to answer");
        d.out.wake_at(d.now());
        give_up_at(d, deadline, reasons::CLUSTER_UNREADABLE, &text);
    } else {
        d.out.reads.insert(ReadKey::BeforeClaim, Read::Refresh);
    }
    false
}

/// How many ready endpoints a route wants of the target, if enough of them are there.
fn claimable(d: &Draft, route: &Route) -> Result<u32, String> {
    let (target, service) = (&d.plan.target, route.name.as_str());
    let selected = d.world.selected(service, target).unwrap_or_default();
    let (Some(wanted), false) = (d.world.wanted_of(service, target), selected.is_empty()) else {
        return Err(format!("{route} would select no workload that is listed under {}", target.name));
    };
    let min_ready = d.plan.switch.min_ready.of(wanted);
    let ready = d.world.ready_on(service, target).unwrap_or(0);
    if ready >= min_ready {
        return Ok(wanted);
    }
    let pods = d.world.pods.iter().flat_map(|seen| &seen.value).cloned().collect::<Vec<_>>();
    let gated = route.seen(d.world).map(|seen| check::gated(&pods, &seen.pods_on(target))).unwrap_or_default();
    let why = gated.first().map(|why| format!("; {why}")).unwrap_or_default();
    Err(format!("{} has {ready} ready endpoints for {route}, wanted {min_ready}{why}", target.name))
}

/// Ready endpoints that the switch of a Service asks for: counted at its claim, so that scaling does not move the goal.
fn min_ready(d: &Draft, s: &ServiceSwitch) -> u32 {
    let recorded = Some(s.wanted).filter(|wanted| *wanted > 0);
    let wanted = recorded.or_else(|| d.world.wanted_of(&s.name, &d.plan.target));
    d.plan.switch.min_ready.of(wanted.unwrap_or(u32::MAX))
}

/// Replicas of a workload before a step of this run changed them; 0 where none did. A step may have stopped the old side,
/// and a restore needs it as it was.
fn before_run(d: &Draft, workload: &WorkloadRef) -> u32 {
    let before = d.journal.steps.iter().flat_map(|step| &step.before);
    let object = ObjectRef::from(workload);
    before.filter(|before| before.object == object).filter_map(|before| before.replicas).max().unwrap_or(0)
}

/// How many ready endpoints of the old side a Service has when nothing of it is stopped or scaled down by this run.
fn old_wanted(d: &Draft, service: &str) -> u32 {
    let selected = d.world.selected(service, &d.plan.old).unwrap_or_default();
    let counts = selected.into_iter().filter_map(|w| {
        let now = d.world.workloads.get(w)?.value.as_ref()?.wanted;
        Some(now.max(before_run(d, w)))
    });
    counts.sum()
}

fn give_up_at(d: &mut Draft, deadline: jiff::Timestamp, reason: &str, text: &str) {
    if d.now() >= deadline {
        d.end(Phase::Failed, reason, text, None);
    } else {
        d.journal.waiting = Some(text.into());
        d.out.wake_at(deadline);
    }
}

fn send(d: &mut Draft, s: &ServiceSwitch) {
    let effect = Effect::Switch {
        route: Route::of(s),
        uid: s.uid.clone(),
        resource_version: s.resource_version.clone(),
        from: s.from.clone(),
        to: s.to.clone(),
        min_ready: min_ready(d, s),
    };
    d.want(effect, PACE);
}

/// Records results, tries again what may be, and goes on when everything has converged.
fn follow(d: &mut Draft) {
    let Some(mut switch) = d.journal.switch.clone() else { return };
    let deadline = later(switch.claimed_at, d.plan.switch.timeout);
    let mut refused = None;
    for s in &mut switch.services {
        let mut may_arrive = false;
        if s.state == SwitchState::Claimed {
            may_arrive = find_out(d, s);
        }
        if s.state == SwitchState::Refused || may_arrive {
            let route = Route::of(s);
            let same = route.seen(d.world).is_some_and(|seen| seen.uid == s.uid);
            let reason = if same { reasons::SWITCH_FAILED } else { reasons::SERVICE_REPLACED };
            refused = Some((reason, format!("{route}: {}", s.message.clone().unwrap_or_default())));
        }
    }
    d.journal.switch = Some(switch.clone());
    if let Some((reason, why)) = refused {
        return d.end(Phase::RolledBack, reason, &format!("the switch was refused: {why}"), None);
    }
    let all_switched = switch.services.iter().all(|s| s.state == SwitchState::Switched);
    let behind = switch
        .services
        .iter()
        .find_map(|s| d.world.converged(&s.name, &Route::of(s).pods(&s.to), min_ready(d, s)).err());
    if all_switched && switch.converged_at.is_none() && behind.is_none() {
        switch.converged_at = Some(d.now());
        d.journal.switch = Some(switch.clone());
    }
    match switch.converged_at {
        Some(at) => {
            let drained = later(at, d.plan.switch.drain);
            if d.paused() {
                return;
            }
            if d.now() >= drained {
                let text = format!("{} is live", d.plan.target.name);
                d.enter(Phase::Confirming, reasons::PROGRESS, &text);
            } else {
                d.out.wake_at(drained);
            }
        }
        None if d.now() >= deadline => {
            let open = switch.services.iter().find(|s| s.state == SwitchState::Claimed);
            let why = match open {
                Some(s) => {
                    let why = s.message.as_deref().unwrap_or("its patch is not answered");
                    format!("{}: {why}", Route::of(s))
                }
                None => behind.unwrap_or_else(|| "the endpoints have not converged".into()),
            };
            let text = format!("the switch took longer than {}: {why}", d.plan.switch.timeout);
            d.end(Phase::RolledBack, reasons::SWITCH_FAILED, &text, None);
        }
        None => {
            d.journal.waiting = behind.filter(|_| all_switched);
            d.out.wake_at(deadline);
        }
    }
}

/// Finds out what became of a claimed patch: from its result, or, after a crash, from the Service itself. True where it is
/// refused although one before it was not answered and may still arrive: the run ends, and the claim stays open for the
/// restore, whose fence makes that one fail (P4).
fn find_out(d: &mut Draft, s: &mut ServiceSwitch) -> bool {
    let route = Route::of(s);
    let key = route.switch_key(&s.resource_version);
    // A claim of which this process knows nothing was made by another one, whose patch may have been sent.
    let known =
        d.world.outcomes.contains_key(&key) || d.world.tried.contains_key(&key) || d.world.not_begun.contains(&key);
    s.unanswered |= !known && !d.world.in_flight.contains(&key);
    match d.outcome(&key) {
        Some((at, Outcome::Done)) => {
            d.switch_event(s, SwitchEvent::Switched);
            s.switched_at = Some(at);
            s.message = None;
            return false;
        }
        Some((_, Outcome::Guarded { ready, .. })) => {
            let wanted = min_ready(d, s);
            s.message = Some(format!("{ready} ready endpoints, wanted {wanted}; nothing was sent"));
        }
        Some((_, Outcome::Refused { why, .. })) => {
            s.message = Some(why);
            if !s.unanswered {
                d.switch_event(s, SwitchEvent::Refused);
            }
            return s.unanswered;
        }
        Some((_, Outcome::NotFound)) => {
            d.switch_event(s, SwitchEvent::Refused);
            s.message = Some("it does not exist any more".into());
            return false;
        }
        Some((at, Outcome::Conflict(why))) => {
            s.message = Some(why);
            // Nothing can be said before the Service has been read again.
            if d.world.services.get(&s.name).is_none_or(|seen| seen.at < at) {
                d.out.reads.insert(ReadKey::After(key.clone()), Read::Refresh);
            }
        }
        Some((_, Outcome::NotSent(why))) => s.message = Some(why),
        Some((_, Outcome::Transient(why))) => {
            s.unanswered = true;
            s.message = Some(why);
        }
        Some((
            _,
            Outcome::Created { .. }
            | Outcome::Changed { .. }
            | Outcome::NameCollision(_)
            | Outcome::Answered(_)
            | Outcome::Told(_)
            | Outcome::Blocked { .. },
        ))
        | None => {}
    }
    if d.world.in_flight.contains(&key) {
        return false;
    }
    let Some(seen) = d.world.services.get(&s.name) else {
        d.out.reads.insert(ReadKey::After(key.clone()), Read::Refresh);
        return false;
    };
    let at = seen.at;
    let Some(view) = route.seen(d.world) else {
        d.switch_event(s, SwitchEvent::Refused);
        s.message = Some("it does not exist any more".into());
        return false;
    };
    if view.uid != s.uid {
        d.switch_event(s, SwitchEvent::Refused);
        s.message = Some("it was deleted and created again".into());
    } else if !view.newer(&s.resource_version) {
        // Not written since the claim: the same patch may be sent (again); its tests let it succeed once.
        send(d, s);
    } else if *view.at == s.to {
        d.switch_event(s, SwitchEvent::Switched);
        s.switched_at = Some(at);
        s.message = None;
    } else if view.names(&d.plan.old, &d.plan.target) == Names::Old {
        written_by_others(d, s, view, &key);
    } else {
        d.switch_event(s, SwitchEvent::Refused);
        s.message = Some("its selector is neither side's".into());
    }
    false
}

/// Somebody else wrote the Service after the claim, so the claimed patch can never succeed any more.
fn written_by_others(d: &mut Draft, s: &mut ServiceSwitch, view: RouteView<'_>, key: &EffectKey) {
    let by = view.writer.unwrap_or("somebody else");
    if s.unanswered {
        // Whether the patch took effect before, and was put back, cannot be known: nothing is switched over a person's
        // hand, and never twice (P4).
        d.switch_event(s, SwitchEvent::Refused);
        s.message = Some(format!(
            "{by} wrote it after the claim, and whether the patch before took effect is not known, since it was not \
             answered; release again once the Service is settled"
        ));
        return;
    }
    if *view.at != s.from {
        d.switch_event(s, SwitchEvent::Refused);
        s.message = Some(format!("{by} changed its selector after the claim; release again once it is settled"));
        return;
    }
    // Every patch of this claim was answered and did nothing, and what the claim is about is as it was, such as after an
    // annotation: claimed anew, on a live reading of everything, since an abort may be younger than the claim.
    s.message = Some(format!("{by} writes it between claim and patch"));
    let due = d.world.tried.get(key).map_or(d.now(), |at| later(*at, PACE));
    if d.now() < due {
        d.out.wake_at(due);
    } else if d.world.refreshed.is_none_or(|at| at < due) {
        d.out.reads.insert(ReadKey::After(key.clone()), Read::Refresh);
    } else {
        s.resource_version = view.resource_version.to_owned();
        send(d, s);
    }
}

#[cfg(test)]
#[path = "switch_tests.rs"]
mod tests;
