//! PURE. `wait`: a pause.

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{Wait, WorkloadRef};
use crate::plan::Plan;
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;

use super::{Action, ActionPlace, Given, Part, Planned, plus};

/// What a pause may take beyond itself.
const MARGIN: Duration = Duration::from_mins(1);

impl Given for Wait {
    fn texts(&self, _at: &str) -> Vec<Usage> {
        vec![]
    }

    fn resolve(&self, cx: &mut Cx, place: &ActionPlace, _at: &str) -> Action {
        if let (Some(timeout), Part::Step(_) | Part::Suite) = (place.timeout, place.part) {
            cx.refusals.require(
                timeout >= self.for_,
                format!("{}.timeout", place.field),
                format!("the timeout {timeout} is shorter than the pause of {}", self.for_),
                "leave the timeout out",
            );
        }
        Action::Wait(self.clone())
    }
}

impl Planned for Wait {
    // It looks at nothing: to repeat it would prove nothing.
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
        plus(self.for_, MARGIN)
    }
}
