//! PURE. `permissions`: the dry runs that every run begins with.

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::WorkloadRef;
use crate::plan::Plan;

use super::Planned;

/// No manifest gives it.
pub(super) struct Permissions;

impl Planned for Permissions {
    // Before the switch alone: it asks about what is then still to be done.
    fn only_reads(&self) -> bool {
        false
    }

    fn workloads(&self) -> Vec<WorkloadRef> {
        vec![]
    }

    fn changes(&self, _plan: &Plan) -> Vec<ObjectRef> {
        vec![]
    }

    fn time(&self, _attempts: u32, _every: Duration) -> Duration {
        Duration::from_mins(1)
    }
}
