//! Writes of a run that are tried with the user's own rights, as dry runs: the API server and its webhooks are asked, and
//! nothing is stored. What the Cutover's account may do is for `check` to say.

use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::model::{DryRun, Foreseen};
use crate::act::by_hand::MANAGER;
use crate::cli::check::facts::Facts;
use crate::cli::cluster::Cluster;
use crate::cli::exit::Failure;
use crate::cli::rights::Right;
use crate::endpoints::whole_selector;
use crate::plan::Plan;

pub(super) const SERVICES: Right = Right::wish("patch", "", "services");

/// Tries to point every Service to the target.
pub(super) async fn services(
    cluster: &Cluster,
    plan: &Plan,
    facts: &Facts,
    foreseen: &mut Foreseen,
) -> Result<(), Failure> {
    let params = PatchParams { dry_run: true, field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    if facts.services.known().is_none() {
        foreseen.hidden.push("the switch was not tried: you may not list services".to_owned());
        return Ok(());
    }
    for name in &plan.services {
        let what = format!("point Service {name} to {}", plan.target.name);
        let Some(service) = facts.service(name) else {
            foreseen.dry_runs.push(DryRun { what, refused: Some("it does not exist".to_owned()) });
            continue;
        };
        let selector = service.spec.as_ref().and_then(|s| s.selector.clone()).unwrap_or_default();
        let patch = Patch::Merge(json!({"spec": {"selector": whole_selector(&selector, &plan.target.selector)}}));
        match cluster.patch::<Service>(&cluster.namespace, name, &params, &patch).await {
            Ok(_) => foreseen.dry_runs.push(DryRun { what, refused: None }),
            Err(failure) if failure.missing.is_some() => {
                foreseen.hidden.push("the switch was not tried: you may not patch services".to_owned());
                return Ok(());
            }
            Err(failure) => foreseen.dry_runs.push(DryRun { what, refused: Some(failure.says) }),
        }
    }
    Ok(())
}
