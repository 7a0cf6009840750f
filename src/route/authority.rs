//! PURE. What authorises a restore without a record or a Lease of its own: the claim of the switch, in the run's journal.

use super::{Position, Route};
use crate::api::run::{RunState, RunStatus, SwitchState};

/// Whether a journal says that this run switched the route so, or may have, and the run is neither over nor closed.
pub(crate) fn authorises(journal: &RunStatus, route: &Route, from: &Position, to: &Position) -> bool {
    let Some(switch) = journal.switch.as_ref() else { return false };
    if journal.phase.is_over() || journal.state == RunState::Closed {
        return false;
    }
    switch.services.iter().any(|s| {
        Route::of(s) == *route
            && s.from == *from
            && s.to == *to
            && matches!(s.state, SwitchState::Claimed | SwitchState::Switched | SwitchState::Gone)
    })
}
