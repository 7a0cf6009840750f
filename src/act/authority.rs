//! What authorises a restore without a record or a Lease of its own: the claim of the switch, in the run's journal.

use kube::{Api, Client};

use super::call::{Class, call};
use crate::api::run::{CutoverRun, RunState, RunStatus, Selector, SwitchState};
use crate::observe::Scope;

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

/// Asks the run itself.
///
/// # Errors
/// Why the restore is not authorised, or that the run cannot be read.
pub async fn live(client: &Client, scope: &Scope, service: &str, from: &Selector, to: &Selector) -> Result<(), String> {
    let api: Api<CutoverRun> = Api::namespaced(client.clone(), &scope.namespace);
    match call(api.get(&scope.run)).await {
        Ok(run) if run.metadata.uid.as_deref() == Some(scope.run_uid.as_str()) => {
            if allows(&run.status.unwrap_or_default(), service, from, to) {
                Ok(())
            } else {
                Err(format!(
                    "this operator may not write, and run {} has no switch of {service} to take back any more",
                    scope.run
                ))
            }
        }
        Ok(_) => Err(format!("this operator may not write, and run {} is not the one that was driven", scope.run)),
        Err(e) if e.class == Class::NotFound => {
            Err(format!("this operator may not write, and run {} is gone", scope.run))
        }
        Err(e) => Err(format!("this operator may not write, and run {} cannot be read: {e}", scope.run)),
    }
}
