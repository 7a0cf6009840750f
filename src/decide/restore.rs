//! PURE. The restore (DESIGN §5.1, 5.2, 5.4): selectors first, never onto an empty side if the other has an endpoint.

use crate::api::condition::{reasons, types};
use crate::api::duration::Duration;
use crate::api::run::{ServiceSwitch, SwitchState};
use crate::decide::after;
use crate::decide::changes::newer;
use crate::decide::draft::Draft;
use crate::effect::{Change, Effect, Outcome, RestoreGuard};
use crate::endpoints::{Names, names};
use crate::journal;
use crate::journal::later;
use crate::plan::after::RETIRE;

/// Pause between two tries of a due restore.
const PACE: Duration = Duration::from_millis(250);
/// Pause while only a person can help (a right is missing, a foreign selector).
const SLOW: Duration = Duration::from_secs(1);
/// How often an empty old side is told to scale up.
const SCALE_EVERY: Duration = Duration::from_secs(10);

/// Moves the restore on. True when every selector is back, or nothing can be switched any more.
pub fn run(d: &mut Draft) -> bool {
    let Some(mut switch) = d.journal.switch.clone() else { return true };
    let Some(ending) = d.journal.ending.clone() else { return true };
    if after::scaling(d, RETIRE) {
        return false; // one call long: the old side must not shrink after it was counted
    }
    let late = d.now() >= later(ending.at, d.plan.switch.timeout);
    let wanted = wanted_on_old(d);
    let guard = RestoreGuard { min_ready: d.plan.switch.min_ready.of(wanted), any: late };
    let mut blocked: Option<(String, String)> = None;
    for s in &mut switch.services {
        if matches!(s.state, SwitchState::Gone) && reappeared(d, s) {
            s.state = SwitchState::Switched;
        }
        if journal::may_be_switched(s) {
            restore_one(d, s, &guard, &mut blocked);
        }
    }
    if let Some((reason, why)) = &blocked {
        d.tell_once(types::ROLLBACK_BLOCKED, reason, "restore", why);
    }
    let now = d.now();
    crate::status::block(&mut d.journal, blocked.as_ref(), now);
    let done = !switch.services.iter().any(journal::may_be_switched);
    if done && switch.restored_at.is_none() {
        switch.restored_at = Some(d.now());
        let text = format!("{} is live again", d.plan.live.name);
        d.note(false, reasons::PROGRESS, "restore", text);
    }
    d.journal.switch = Some(switch);
    done
}

fn restore_one(d: &mut Draft, s: &mut ServiceSwitch, guard: &RestoreGuard, blocked: &mut Option<(String, String)>) {
    let effect = Effect::Restore {
        service: s.name.clone(),
        from: s.from.clone(),
        to: s.to.clone(),
        guard: guard.clone(),
        fence: d.world.run_uid.clone(),
    };
    let mut pace = PACE;
    match d.outcome(&effect.key()) {
        Some((at, Outcome::Done)) => {
            s.state = SwitchState::Restored;
            s.restored_at = Some(at);
            s.message = None;
            return;
        }
        Some((_, Outcome::NotFound)) => {
            s.state = SwitchState::Gone;
            s.message = Some("it does not exist any more".into());
            return;
        }
        Some((_, Outcome::Guarded { foreign: Some(selector), .. })) => {
            s.message = Some(format!("its selector is neither side's: {selector:?}; it is left alone"));
        }
        Some((_, Outcome::Guarded { ready, other, foreign: None })) => {
            s.message = Some(format!(
                "{} has {ready} ready endpoints (wanted {}), {} has {other}",
                d.plan.live.name, guard.min_ready, d.plan.target.name
            ));
            scale_old_side(d);
        }
        Some((_, Outcome::Refused { why, .. })) => s.message = Some(why),
        Some((_, Outcome::Conflict(why) | Outcome::NotSent(why) | Outcome::Transient(why))) => s.message = Some(why),
        Some((
            _,
            Outcome::Created { .. } | Outcome::Changed { .. } | Outcome::NameCollision(_) | Outcome::Answered(_),
        ))
        | None => {}
    }
    if adopted(d, s) {
        s.state = SwitchState::Restored;
        s.restored_at = Some(d.now());
        return;
    }
    if let Some(why) = &s.message {
        let forbidden = why.contains("forbidden") || why.contains("cannot");
        let foreign = why.contains("neither side's");
        if forbidden || foreign {
            pace = SLOW;
        }
        let reason = if forbidden {
            reasons::PERMISSION_MISSING
        } else if foreign {
            reasons::SELECTOR_DRIFT
        } else if why.contains("ready endpoints") {
            reasons::BOTH_SIDES_EMPTY
        } else {
            reasons::PROGRESS
        };
        if reason != reasons::PROGRESS {
            *blocked = Some((reason.into(), format!("Service {}: {why}", s.name)));
        }
    }
    d.out.wake_at(later(d.now(), pace));
    d.want(effect, pace);
}

/// Put back by somebody else: recorded as switched by us, so no patch of ours is in flight, and seen on the old side
/// in a version younger than our patch.
fn adopted(d: &Draft, s: &ServiceSwitch) -> bool {
    s.state == SwitchState::Switched
        && d.world.service(&s.name).is_some_and(|view| {
            view.uid == s.uid
                && newer(view, &s.resource_version)
                && names(&view.selector, &d.plan.live, &d.plan.target) == Names::Old
        })
}

/// A Service that was gone exists again and points to the target: it is restored under its new uid.
fn reappeared(d: &Draft, s: &ServiceSwitch) -> bool {
    d.world.service(&s.name).is_some_and(|view| names(&view.selector, &d.plan.live, &d.plan.target) == Names::Target)
}

/// Wanted replicas of the old side: as journaled at the claim, since it may have been shrunk since.
fn wanted_on_old(d: &Draft) -> u32 {
    let journaled: u32 = d.plan.live.workloads.iter().filter_map(|w| d.journal.replicas.get(&key(w))).sum();
    if journaled > 0 { journaled } else { d.world.wanted(&d.plan.live).unwrap_or(1) }
}

fn key(w: &crate::api::step::WorkloadRef) -> String {
    format!("{:?}/{}", w.kind, w.name)
}

/// Scales the old side to its journaled counts, repeated while the restore is due.
fn scale_old_side(d: &mut Draft) {
    let now = d.now();
    let Some(ending) = d.journal.ending.as_mut() else { return };
    if ending.scaled_at.is_some_and(|at| later(at, SCALE_EVERY) > now) {
        return;
    }
    ending.scaled_at = Some(now);
    let plan = d.plan;
    for w in &plan.live.workloads {
        let (Some(view), Some(&count)) =
            (d.world.workloads.get(w).and_then(|s| s.value.as_ref()), d.journal.replicas.get(&key(w)))
        else {
            continue;
        };
        if view.wanted < count {
            let effect = Effect::Change {
                why: "restore".into(),
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
