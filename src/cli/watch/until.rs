//! PURE. When a pipeline may go on, and with which exit code: the code says where the run is.

use super::args::Goal;
use crate::api::phase::Phase;
use crate::cli::exit::Exit;
use crate::view;

/// Where the wait ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Until {
    pub goal: Goal,
    /// End as soon as a person is waited for.
    pub when_waiting: bool,
}

impl Until {
    /// The exit code; none while it is to be waited on.
    pub(crate) fn judge(self, run: &view::Run) -> Option<Exit> {
        let waits = self.when_waiting || self.goal == Goal::Waiting;
        match run.phase {
            Phase::Completed => Some(Exit::Done),
            Phase::RolledBack => Some(Exit::RolledBack),
            Phase::Failed | Phase::Aborted | Phase::Superseded => Some(Exit::Failed),
            _ if self.goal == Goal::Switched && is_switched(run) => Some(Exit::Done),
            Phase::Idle
            | Phase::Pending
            | Phase::Preflight
            | Phase::Preparing
            | Phase::Verifying
            | Phase::Switching
            | Phase::Confirming
            | Phase::Observing
            | Phase::Finishing
            | Phase::RollingBack => (waits && run.needs_people()).then_some(Exit::Waits),
        }
    }
}

/// Whether users are on the new side, and stay there as far as is known.
fn is_switched(run: &view::Run) -> bool {
    run.ending.is_none() && run.phase.after_switch() && run.switch.is_some_and(|s| s.converged.is_some())
}
