//! PURE. What actions that name workloads share: where changes may stand, and whose workloads are meant.

use std::collections::BTreeSet;

use crate::api::step::{SideRef, WorkloadRef};

use super::refuse::Refusals;
use super::resolving::{ActionPlace, Cx, Part};
use super::{Plan, Stage};

/// Changes stand only where changes may stand.
pub(super) fn stands(cx: &mut Cx, place: &ActionPlace, at: &str) {
    let changes =
        matches!(place.stage, Stage::Prepare | Stage::Confirm | Stage::Finish | Stage::BeforeRestore | Stage::Rollback);
    let in_suite = matches!(place.part, Part::Suite);
    cx.refusals.require(
        (changes || matches!(place.part, Part::Undo)) && !in_suite,
        at,
        if in_suite {
            "nothing is changed in a suite".to_owned()
        } else {
            format!("nothing is changed in {}", place.stage.field())
        },
        "move the step to prepare, confirm, finish, beforeRestore or rollback",
    );
}

/// Either a side or workloads are named, and each workload once.
pub(super) fn either(side: Option<SideRef>, workloads: &[WorkloadRef], at: &str, refusals: &mut Refusals) {
    refusals.require(
        side.is_some() == workloads.is_empty(),
        at,
        "exactly one of side and workloads says what is meant",
        "give one of them",
    );
    let unique: BTreeSet<_> = workloads.iter().collect();
    refusals.require(
        unique.len() == workloads.len(),
        format!("{at}.workloads"),
        "a workload is named twice",
        "name it once",
    );
}

/// Remembers the workloads whose pod template a step or an undo changes.
pub(super) fn template_changed(cx: &mut Cx, side: Option<SideRef>, named: &[WorkloadRef]) {
    let all = match side {
        Some(SideRef::Target) => cx.target,
        Some(SideRef::Old) => cx.old,
        None => named,
    };
    cx.changed.extend(all.iter().cloned());
}

impl Plan {
    /// The workloads that an action names, by their side or one by one.
    pub fn named(&self, side: Option<SideRef>, workloads: &[WorkloadRef]) -> Vec<WorkloadRef> {
        match side {
            Some(side) => self.side(side).workloads.clone(),
            None => workloads.to_vec(),
        }
    }
}
