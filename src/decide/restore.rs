//! PURE. The restore (DESIGN §5.1, 5.2, 5.4): selectors first, never onto an empty side.

use jiff::Timestamp;

use crate::actions::rights::remedy;
use crate::api::condition::{reasons, types};
use crate::api::duration::Duration;
use crate::api::run::{BlockCause, RestoreBlock, Selector, ServiceSwitch, SwitchState};
use crate::decide::draft::Draft;
use crate::effect::change::Kind;
use crate::effect::{Change, Effect, EffectKey, Outcome, RestoreGuard};
use crate::endpoints::lost_nodes;
use crate::endpoints::way_back::{OldSide, count_key, stopped_by};
use crate::journal;
use crate::journal::later;
use crate::journal::question::Subject;
use crate::journal::transition::SwitchEvent;
use crate::plan::after::RETIRE;
use crate::route::{Names, Route};

/// Pause between two tries of a due restore.
const PACE: Duration = Duration::from_millis(250);
/// Pause while only a person can help (a right is missing, a foreign selector).
const SLOW: Duration = Duration::from_secs(1);
/// What a try beside a long one has: with the pause after it the restore is made within 2 s of what makes it possible.
const BESIDE: Duration = Duration::from_millis(1500);
/// An old side with some ready endpoints, but too few, is given this long to scale up.
const SCALE_UP: Duration = Duration::from_secs(5);
/// How often an old side with too few is told to scale up.
const SCALE_EVERY: Duration = Duration::from_secs(10);
/// Who scales it.
const SCALED_BY: &str = "restore";

/// Moves the restore on. True when every selector is back, or nothing can be switched any more.
pub fn run(d: &mut Draft) -> bool {
    let Some(mut switch) = d.journal.switch.clone() else { return true };
    let Some(ending) = d.journal.ending.clone() else { return true };
    if d.scaling(RETIRE) {
        return false; // one call long: the old side must not shrink after it was counted
    }
    let patience = if d.plan.rollback.is_some() { SCALE_UP } else { d.plan.switch.timeout };
    let any = d.now() >= later(ending.at, patience);
    for s in &mut switch.services {
        if matches!(s.state, SwitchState::Gone) && reappeared(d, s) {
            d.switch_event(s, SwitchEvent::Reappeared);
        }
        if journal::may_be_switched(s) {
            restore_one(d, s, any);
        }
        if !journal::may_be_switched(s) {
            s.blocked = None;
        }
    }
    let empty = |s: &ServiceSwitch| {
        s.blocked
            .as_ref()
            .filter(|b| matches!(b.cause, BlockCause::OldSideEmpty | BlockCause::BothSidesEmpty))
            .map(|b| b.since)
    };
    let empty_since = switch.services.iter().filter_map(empty).min();
    if let Some(ending) = d.journal.ending.as_mut() {
        ending.empty_since = empty_since;
    }
    let stands = switch.services.iter().find_map(|s| told(d, s));
    block(d, stands.as_ref().map(|(reason, why)| (*reason, why.as_str())));
    let done = !switch.services.iter().any(journal::may_be_switched);
    if done && switch.restored_at.is_none() {
        switch.restored_at = Some(d.now());
        let text = format!("{} is live again", d.plan.old.name);
        d.note(false, reasons::PROGRESS, "restore", text);
    }
    if done && Subject::Restore.is_of(d.journal.question.as_ref()) {
        d.journal.question = None;
    }
    if !done {
        d.journal.waiting = Some(format!("the selectors go back to {}", d.plan.old.name));
    }
    d.journal.switch = Some(switch);
    done
}

/// Sets or clears `RollbackBlocked`; tells it once.
pub fn block(d: &mut Draft, stands: Option<(&str, &str)>) {
    if let Some((reason, why)) = stands {
        d.tell_once(types::ROLLBACK_BLOCKED, reason, "restore", why);
    }
    let now = d.now();
    crate::status::block(&mut d.journal, stands, now);
}

fn restore_one(d: &mut Draft, s: &mut ServiceSwitch, any: bool) {
    let old = OldSide::of(d.plan, &d.journal, d.world, s);
    for beside in [false, true] {
        let key = EffectKey::Restore { route: s.name.clone(), beside };
        if let Some((at, outcome)) = d.outcome(&key)
            && ended(d, s, &old, (at, outcome), beside)
        {
            return;
        }
    }
    if adopted(d, s) {
        d.switch_event(s, SwitchEvent::Restored);
        // Our own write is often seen before its answer is heard, and after a crash no answer comes.
        s.adopted = Route::of(s).seen(d.world).is_none_or(|seen| seen.fence != Some(&d.world.run_uid));
        s.restored_at = Some(d.now());
        return;
    }
    let pace = match s.blocked.as_ref().map(|b| b.cause) {
        Some(BlockCause::Permission | BlockCause::SelectorDrift) => SLOW,
        _ => PACE,
    };
    d.out.wake_at(later(d.now(), pace));
    let slow = s.blocked.as_ref().map_or(0, |b| b.slow);
    let effect = |limit, beside| Effect::Restore {
        route: Route::of(s),
        from: s.from.clone(),
        to: s.to.clone(),
        guard: RestoreGuard { min_ready: old.min_ready, any },
        limit,
        beside,
        fence: d.world.run_uid.clone(),
    };
    let (long, short) = (effect(write_limit(slow), false), effect(BESIDE, true));
    d.want(long, pace);
    if slow > 0 {
        d.want(short, pace);
    }
}

/// Takes in how a try ended. True when there is nothing more to be restored.
fn ended(
    d: &mut Draft,
    s: &mut ServiceSwitch,
    old: &OldSide,
    (at, outcome): (Timestamp, Outcome),
    beside: bool,
) -> bool {
    match outcome {
        Outcome::Done => {
            d.switch_event(s, SwitchEvent::Restored);
            s.restored_at = Some(at);
            return true;
        }
        Outcome::NotFound => {
            d.switch_event(s, SwitchEvent::Vanished);
            s.message = Some("it does not exist any more".into());
            return true;
        }
        Outcome::Guarded { foreign: Some(selector), .. } => {
            failed(s, at, BlockCause::SelectorDrift, format!("its selector is neither side's: {selector:?}"), false);
        }
        Outcome::Guarded { ready, other, foreign: None } => {
            guarded(d, s, at, old, ready, other);
            scale_old_side(d);
        }
        // How much time a write needs is for the long one to find out.
        Outcome::Blocked { slow: true, .. } if beside => {}
        Outcome::Blocked { cause, why, slow } => failed(s, at, cause, why, slow),
        Outcome::Refused { why, .. } => failed(s, at, BlockCause::Refused, why, false),
        Outcome::Conflict(why) => failed(s, at, BlockCause::Conflict, why, false),
        Outcome::NotSent(why) | Outcome::Transient(why) => failed(s, at, BlockCause::Unreachable, why, false),
        Outcome::Created { .. }
        | Outcome::Changed { .. }
        | Outcome::NameCollision(_)
        | Outcome::Answered(_)
        | Outcome::Told(_) => {}
    }
    false
}

/// How long the write of a try may take: after ones that were not answered in time, though reads were, ever longer. An
/// admission webhook may take 30 s.
fn write_limit(slow: u32) -> Duration {
    Duration::from_secs(2u64.saturating_pow(slow.saturating_add(1)).min(30))
}

/// Takes in a try that failed.
fn failed(s: &mut ServiceSwitch, at: Timestamp, cause: BlockCause, message: String, slow: bool) {
    let former = s.blocked.take();
    // Which webhook it is was told by an answer; that the next one has none says nothing else.
    let (cause, message) = match former.as_ref().filter(|b| slow && b.cause == BlockCause::Admission) {
        Some(known) => (known.cause, known.message.clone()),
        None => (cause, journal::short(&message, 300)),
    };
    let same = former.as_ref().filter(|b| b.cause == cause);
    let known = former.as_ref().map_or(0, |b| b.slow);
    let slow = match cause {
        _ if slow => known.saturating_add(1).min(4),
        // The API server gives up on a webhook before the write does: the next one may need the same time.
        BlockCause::Admission => known,
        _ => 0,
    };
    s.blocked = Some(RestoreBlock {
        cause,
        since: same.map_or(at, |b| b.since),
        failures: former.as_ref().map_or(1, |b| b.failures.saturating_add(1).min(2)),
        slow,
        message,
    });
}

/// Takes in that the old side has too few ready endpoints.
fn guarded(d: &Draft, s: &mut ServiceSwitch, at: Timestamp, old: &OldSide, ready: u32, other: Option<u32>) {
    let (live, target) = (&d.plan.old.name, &d.plan.target.name);
    if ready > 0 {
        // It has the few seconds that scaling up is given; nothing is blocked yet.
        s.blocked = None;
        s.message = Some(format!("{live} has {ready} ready endpoints; for {SCALE_UP} {} are awaited", old.min_ready));
        return;
    }
    s.message = None;
    let cause = if other == Some(0) { BlockCause::BothSidesEmpty } else { BlockCause::OldSideEmpty };
    let target = match other {
        Some(other) => format!("{target} has {other}"),
        None => format!("those of {target} cannot be counted"),
    };
    let nodes = lost_nodes(d.world, &d.plan.old);
    let why = match stopped_by(d.plan, &d.journal, None) {
        Some(step) => format!("; step {step} stopped it, and it is being scaled up"),
        None if nodes.is_empty() => String::new(),
        None => format!("; node {} is not ready", nodes.join(", ")),
    };
    failed(s, at, cause, format!("{live} has 0 of {} ready endpoints, {target}{why}", old.wanted), false);
}

/// The condition that what stands in the way of a Service amounts to, with reason, what was answered, and what to do. One
/// failed try may be chance.
fn told(d: &Draft, s: &ServiceSwitch) -> Option<(&'static str, String)> {
    let b = s.blocked.as_ref().filter(|b| b.failures >= 2)?;
    let (name, ns, route) = (&s.name, &d.plan.namespace, Route::of(s));
    let (live, target) = (&d.plan.old.name, &d.plan.target.name);
    let selector = |of: &Selector| of.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
    // One that a step of the run has stopped takes its time to start: nobody is called for that.
    let stopped = stopped_by(d.plan, &d.journal, None);
    let empty = matches!(b.cause, BlockCause::OldSideEmpty | BlockCause::BothSidesEmpty);
    if empty && stopped.is_some() && d.now() < later(b.since, d.plan.switch.timeout) {
        return None;
    }
    let (reason, next) = match b.cause {
        BlockCause::Permission => (reasons::PERMISSION_MISSING, remedy(&d.cx(), "patch", "services")),
        BlockCause::Admission => (
            reasons::ADMISSION,
            format!(
                "let it admit the update of Service {name}, or remove it: kubectl get validatingwebhookconfigurations,\
                 mutatingwebhookconfigurations,validatingadmissionpolicies"
            ),
        ),
        BlockCause::Throttled | BlockCause::Unreachable => (
            if b.cause == BlockCause::Throttled { reasons::THROTTLED } else { reasons::UNREACHABLE },
            if b.slow > 0 {
                "reads are answered, so an admission webhook may hold the write up; it is tried on with more time. See \
                 which one: kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations"
                    .into()
            } else {
                "the restore is tried on by itself; see why the API server does not serve it: kubectl get --raw /readyz?verbose".into()
            },
        ),
        BlockCause::Conflict => (
            reasons::CONFLICT,
            format!(
                "stop whoever writes the Service: kubectl get service {name} -n {ns} -o yaml --show-managed-fields"
            ),
        ),
        BlockCause::Refused => (reasons::REFUSED, format!("kubectl get service {name} -n {ns} -o yaml")),
        BlockCause::OldSideEmpty => {
            (reasons::OLD_SIDE_EMPTY, format!("kubectl get pods -n {ns} -l {}", selector(&route.pods(&s.from))))
        }
        BlockCause::BothSidesEmpty => (
            reasons::BOTH_SIDES_EMPTY,
            format!(
                "bring either side back: kubectl get pods -n {ns} -l '{}'",
                either(&route.pods(&s.from), &route.pods(&s.to))
            ),
        ),
        BlockCause::ServiceGone => (reasons::SERVICE_GONE, format!("kubectl get service {name} -n {ns}")),
        BlockCause::SelectorDrift => {
            (reasons::SELECTOR_DRIFT, format!("point it to {live} or {target}: kubectl edit service {name} -n {ns}"))
        }
    };
    let text = format!("{route} is not back on {live} since {:.0}: {}. Next: {next}", b.since, b.message);
    Some((reason, text))
}

/// A label selector that matches the pods of both sides.
fn either(from: &Selector, to: &Selector) -> String {
    let terms = from.iter().map(|(k, v)| match to.get(k) {
        Some(other) if other != v => format!("{k} in ({v},{other})"),
        _ => format!("{k}={v}"),
    });
    terms.collect::<Vec<_>>().join(",")
}

/// Put back by somebody else: recorded as switched by us, so no patch of ours is in flight, and seen on the old side
/// in a version younger than our patch.
pub fn adopted(d: &Draft, s: &ServiceSwitch) -> bool {
    s.state == SwitchState::Switched
        && Route::of(s).seen(d.world).is_some_and(|seen| {
            seen.uid == s.uid
                && seen.newer(&s.resource_version)
                && seen.names(&d.plan.old, &d.plan.target) == Names::Old
        })
}

/// A Service that was gone exists again and points to the target: it is restored under its new uid.
fn reappeared(d: &Draft, s: &ServiceSwitch) -> bool {
    Route::of(s).seen(d.world).is_some_and(|seen| seen.names(&d.plan.old, &d.plan.target) == Names::Target)
}

/// Scales the old side to its journaled counts, repeated while the restore is due.
fn scale_old_side(d: &mut Draft) {
    let now = d.now();
    let Some(ending) = d.journal.ending.as_mut() else { return };
    // What could not be claimed in writing was not done, and is wanted again at once.
    let own = |key: &EffectKey| matches!(key, EffectKey::Change { change: Kind::Scale, why, .. } if why == SCALED_BY);
    let held = d.world.not_begun.iter().any(own);
    if !held && ending.scaled_at.is_some_and(|at| later(at, SCALE_EVERY) > now) {
        return;
    }
    ending.scaled_at = Some(now);
    let plan = d.plan;
    for w in &plan.old.workloads {
        let (Some(view), Some(&count)) =
            (d.world.workloads.get(w).and_then(|s| s.value.as_ref()), d.journal.replicas.get(&count_key(w)))
        else {
            continue;
        };
        if view.wanted < count {
            let effect = Effect::Change {
                why: SCALED_BY.into(),
                object: w.into(),
                uid: view.uid.clone(),
                change: Change::Scale { from: view.wanted, to: count },
                unless_live: vec![],
            };
            // Its result is of no use: the pods will show it.
            let old = effect.key();
            let _ = d.outcome(&old);
            d.want(effect, PACE);
        }
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
