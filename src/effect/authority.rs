//! What authorises a restore without a record or a Lease of its own: the claim of the switch, in the run's journal.

use crate::api::run::{RunState, RunStatus, Selector, SwitchState};

/// Whether a journal says that this run switched the Service so, or may have, and the run is neither over nor closed.
pub fn allows(journal: &RunStatus, service: &str, from: &Selector, to: &Selector) -> bool {
    let Some(switch) = journal.switch.as_ref() else { return false };
    if journal.phase.is_over() || journal.state == RunState::Closed {
        return false;
    }
    switch.services.iter().any(|s| {
        s.name == service
            && s.from == *from
            && s.to == *to
            && matches!(s.state, SwitchState::Claimed | SwitchState::Switched | SwitchState::Gone)
    })
}
