//! PURE. The table of changes (DESIGN §4): what a change of the Cutover, of a template or of a Service leads to.

use crate::api::condition::{reasons, types};
use crate::api::cutover::DriftPolicy;
use crate::api::phase::Phase;
use crate::api::run::{Before, ObjectRef, RunState, RunStatus, StepRecord, StepState, SwitchState};
use crate::decide::after;
use crate::decide::draft::Draft;
use crate::journal::question::Subject;
use crate::journal::{self, transition};
use crate::plan::PlanSide;
use crate::route::{Names, Seen};
use crate::world::World;

/// Applies the table, row by row; the first row that ends the run wins.
pub fn apply(d: &mut Draft) {
    cutover(d);
    if d.journal.state == RunState::Closed || d.journal.phase.is_over() || journal::is_reopened(&d.journal) {
        return;
    }
    templates(d);
    services(d);
}

/// Rows: deletion, reverted `activate`, new release.
fn cutover(d: &mut Draft) {
    let Some(seen) = &d.world.cutover else { return };
    let before_switch = d.journal.switch.is_none();
    let Some(view) = &seen.value else {
        deleted(d);
        return;
    };
    if view.namespace_going {
        // Nothing can be created in it any more and everything goes with it: release at once.
        transition::close(&mut d.journal);
        d.note(true, reasons::DELETED, "namespace", "the namespace is being deleted; the run is released");
        return;
    }
    if view.deleting {
        deleted(d);
    } else if d.journal.phase == Phase::Completed {
        after::new_intent(d, view);
    } else if view.activate != d.plan.target.name {
        let message = format!("spec.activate went back to {}", view.activate);
        d.end(Phase::Aborted, reasons::REVERTED, &message, None);
    } else if before_switch && view.release != d.plan.release {
        let version = view.release.version.as_deref().unwrap_or("another release");
        d.end(Phase::Superseded, reasons::SUPERSEDED, &format!("{version} takes its place"), None);
    }
}

fn deleted(d: &mut Draft) {
    if d.journal.phase == Phase::Completed {
        after::call_off(d, reasons::DELETED, "the Cutover was deleted");
    } else {
        d.end(Phase::Aborted, reasons::DELETED, "the Cutover was deleted", None);
    }
}

/// Rows: the target's or the old side's pod template changed.
fn templates(d: &mut Draft) {
    if d.journal.templates.is_empty() || d.journal.ending.is_some() || d.journal.phase == Phase::Completed {
        return;
    }
    let Some(now) = d.world.templates(d.plan) else { return };
    let (target, live) = (d.plan.target.name.clone(), d.plan.old.name.clone());
    let changed = |side: &PlanSide| by_others(&d.journal, d.world, side);
    let (target_changed, live_changed) = (changed(&d.plan.target), changed(&d.plan.old));
    if target_changed {
        let text = format!("the pod template of {target}, the side being activated, changed during the run");
        if d.journal.switch.is_none() {
            d.end(Phase::Failed, reasons::TARGET_CHANGED, &text, None);
        } else {
            d.ask(&Subject::Template, &text, Some(crate::api::Duration::from_mins(15)), true);
        }
    }
    if live_changed && d.journal.switch.is_some() {
        let text = format!("the pod template of {live} changed: a rollback would go to another version");
        d.note(true, reasons::ROLLBACK_TARGET_CHANGED, &live, text);
        // Noted once; a restore still goes there.
        if let Some(hash) = now.get(&live) {
            d.journal.templates.insert(live, hash.clone());
        }
    }
}

/// Whether somebody else has changed a pod template of a side since the templates were journaled. The run's own changes
/// are told apart by the hashes that stand in their records; one that is being made is not judged before its hash is known.
fn by_others(journal: &RunStatus, world: &World, side: &PlanSide) -> bool {
    let Some(journaled) = journal.templates.get(&side.name) else { return false };
    let mut journaled = journaled.split('+');
    side.workloads.iter().any(|w| {
        let (Some(was), Some(view)) = (journaled.next(), world.workloads.get(w).and_then(|s| s.value.as_ref())) else {
            return false;
        };
        let object = ObjectRef::from(w);
        let own =
            || journal.steps.iter().flat_map(|r| r.before.iter().filter(|b| b.object == object).map(move |b| (r, b)));
        let under_way =
            |(r, b): (&StepRecord, &Before)| r.state == StepState::Running && !b.done && b.template.is_some();
        if own().any(under_way) {
            return false;
        }
        // Back from the present hash through the run's own changes, each of which counts once.
        let mut hash = view.template_hash.as_str();
        for _ in 0..=own().count() {
            if hash == was {
                return false;
            }
            let made = own()
                .filter_map(|(_, b)| b.template.as_ref())
                .find(|t| t.to.as_deref() == Some(hash) && t.from != hash);
            match made {
                Some(change) => hash = &change.from,
                None => return true,
            }
        }
        true
    })
}

/// Rows: a Service recorded as switched is found back on the old side, gone, re-created, or foreign.
fn services(d: &mut Draft) {
    if d.journal.ending.is_some() || !d.journal.phase.after_switch() {
        return;
    }
    let Some(switch) = d.journal.switch.clone() else { return };
    for service in switch.services.iter().filter(|s| s.state == SwitchState::Switched) {
        let Some(seen) = d.world.services.get(&service.name) else { continue };
        let subject = service.name.as_str();
        let Some(view) = &seen.value else {
            let text = format!("Service {subject} was deleted after the switch");
            d.end(Phase::RolledBack, reasons::SERVICE_REPLACED, &text, None);
            return;
        };
        if view.uid != service.uid {
            let text = format!("Service {subject} was deleted and created again after the switch");
            d.end(Phase::RolledBack, reasons::SERVICE_REPLACED, &text, None);
            return;
        }
        if !Seen::from(view).newer(&service.resource_version) {
            continue; // seen before our own patch
        }
        match Seen::from(view).names(&d.plan.old, &d.plan.target) {
            Names::Target => {}
            Names::Old => {
                let text = format!("Service {subject} was put back on {} by somebody else", d.plan.old.name);
                d.end(Phase::RolledBack, reasons::ADOPTED, &text, None);
                return;
            }
            Names::Foreign => {
                let text = format!("Service {subject} has a selector that is neither side's: {:?}", view.selector);
                d.tell_once(types::SELECTOR_DRIFT, reasons::SELECTOR_DRIFT, subject, &text);
                if d.plan.drift_policy == DriftPolicy::Rollback {
                    d.end(Phase::RolledBack, reasons::SELECTOR_DRIFT, &text, None);
                    return;
                }
            }
        }
    }
}
