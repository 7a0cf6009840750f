//! PURE. The table of changes (DESIGN §4): what a change of the Cutover, of a template or of a Service leads to.

use crate::api::condition::{reasons, types};
use crate::api::cutover::DriftPolicy;
use crate::api::phase::Phase;
use crate::api::run::{RunState, SwitchState};
use crate::decide::draft::Draft;
use crate::decide::{after, answers, templates};
use crate::journal::{self, transition};
use crate::plan::same_release;
use crate::route::{Names, RouteView};
use crate::world::Field;

/// Applies the table, row by row; the first row that ends the run wins.
pub fn apply(d: &mut Draft) {
    cutover(d);
    if d.journal.state == RunState::Closed || d.journal.phase.is_over() || journal::is_reopened(&d.journal) {
        return;
    }
    templates::changed(d);
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
    } else if before_switch && !same_release(&view.release, &d.plan.release) {
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
        if !RouteView::from(view).newer(&service.resource_version) {
            continue; // seen before our own patch
        }
        match RouteView::from(view).names(&d.plan.old, &d.plan.target) {
            Names::Target => {}
            // Whoever has said so before is the cause, not whoever wrote the selector.
            Names::Old if answers::way_back_is_to_be_heard(d) => return,
            Names::Old => {
                let by =
                    view.kept.last(Field::Selector).map_or_else(|| "somebody else".to_owned(), ToString::to_string);
                let text = format!("Service {subject} was put back on {} by {by}", d.plan.old.name);
                d.end(Phase::RolledBack, reasons::ADOPTED, &text, None);
                return;
            }
            Names::Foreign => {
                let by = view.kept.last(Field::Selector).map(|by| format!(", written by {by}")).unwrap_or_default();
                let text = format!("Service {subject} has a selector that is neither side's: {:?}{by}", view.selector);
                d.tell_once(types::SELECTOR_DRIFT, reasons::SELECTOR_DRIFT, subject, &text);
                if d.plan.drift_policy == DriftPolicy::Rollback {
                    d.end(Phase::RolledBack, reasons::SELECTOR_DRIFT, &text, None);
                    return;
                }
            }
        }
    }
}
