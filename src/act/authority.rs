//! Asks the run, read live, whether the claim of its switch authorises a restore ([`allows`]).

use kube::{Api, Client};

use super::call::{Class, call};
use crate::api::run::{CutoverRun, Selector};
use crate::effect::authority::allows;
use crate::observe::Scope;

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
