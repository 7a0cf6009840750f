//! PURE. How the old side of a switched Service stands: the one function that a restore's guard and `CanRollBack` share.

use crate::api::run::{Before, ObjectRef, RunStatus, ServiceSwitch, StepRecord};
use crate::plan::after::RETIRE;
use crate::plan::{Action, Plan};
use crate::world::World;

/// The old side behind one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OldSide {
    /// Its ready endpoints; `None` while they are not known.
    pub ready: Option<u32>,
    /// What it had at the switch.
    pub wanted: u32,
    /// With so many it is restored at once.
    pub min_ready: u32,
    /// The step of the run that stopped it: it is scaled up first.
    pub(crate) stopped_by: Option<String>,
}

impl OldSide {
    /// The old side of a Service that was claimed.
    pub fn of(plan: &Plan, journal: &RunStatus, world: &World, service: &ServiceSwitch) -> Self {
        // A run of an earlier version has recorded the counts of the workloads alone.
        let recorded = match service.old_wanted {
            0 => plan.old.workloads.iter().filter_map(|w| journal.replicas.get(&count_key(w))).sum(),
            wanted => wanted,
        };
        let wanted = match recorded {
            0 => world.wanted_of(&service.name, &plan.old).unwrap_or(1),
            recorded => recorded,
        };
        Self {
            ready: world.ready_on(&service.name, &plan.old),
            wanted,
            min_ready: plan.restore_min_ready(wanted),
            stopped_by: stopped_by(plan, journal, Some(world)),
        }
    }
}

/// The name under which the replicas of a workload are journaled.
pub(crate) fn count_key(workload: &crate::api::step::WorkloadRef) -> String {
    format!("{:?}/{}", workload.kind, workload.name)
}

/// How many replicas a workload had before a step of the run's way forward changed that; none where none did. What a former
/// run had scaled down, and this one gave back first, had what it was given.
pub fn before_run(plan: &Plan, journal: &RunStatus, object: &ObjectRef) -> Option<u32> {
    let given: Vec<&str> = plan.scaled_up().map(|(step, ..)| step).collect();
    let forward = |r: &&StepRecord| {
        let step = plan.step(&r.name).filter(|_| !r.name.contains('/') && !given.contains(&r.name.as_str()));
        step.is_some_and(|s| matches!(s.action, Action::Scale(_)) && s.name != RETIRE && !s.stage.is_way_back())
    };
    let mut steps = journal.steps.iter().filter(forward).flat_map(|r| &r.before);
    steps.find(|b| b.object == *object && b.done)?.replicas
}

/// The step of the run that scaled the live side down: a single writer that must stop before the new one starts. `now`: only
/// while a workload has fewer replicas than before that step.
pub(crate) fn stopped_by(plan: &Plan, journal: &RunStatus, now: Option<&World>) -> Option<String> {
    let stopped = |b: &Before| {
        let workload = plan.old.workloads.iter().find(|w| ObjectRef::from(*w) == b.object)?;
        let before = b.replicas.filter(|_| b.done)?;
        let Some(world) = now else { return Some(()) };
        let view = world.workloads.get(workload)?.value.as_ref()?;
        (view.wanted < before).then_some(())
    };
    let forward =
        |r: &&StepRecord| plan.step(&r.name).is_some_and(|s| matches!(s.action, Action::Scale(_))) && r.name != RETIRE;
    let mut steps = journal.steps.iter().rev().filter(|r| !r.name.contains('/')).filter(forward);
    steps.find(|r| r.before.iter().any(|b| stopped(b).is_some())).map(|r| r.name.clone())
}
