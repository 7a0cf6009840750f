//! A completed run that is closed already is opened again when a person wants its checks made again (`Revalidate`). The
//! driver takes the decision in, makes the checks, and closes it; nothing else of it goes on.

use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::reconcile::Look;
use crate::act::call::{CallError, call};
use crate::api::cutover::Cutover;
use crate::api::run::CutoverRun;
use crate::api::{FIELD_MANAGER, RUN_FINALIZER};
use crate::journal;

/// Opens the newest run, which is closed, for a decision that may be met.
///
/// # Errors
/// When something could not be written; the next look tries again.
pub async fn reopen(look: &Look<'_>, cutover: &Cutover, run: &CutoverRun, decision: &str) -> Result<(), CallError> {
    // In this order, so that whatever is deleted meanwhile waits for the checks.
    super::start::hold(look, cutover.clone()).await?;
    let mut run = held(look, run).await?;
    let mut journal = run.status.take().unwrap_or_default();
    journal::reopen(&mut journal);
    run.status = Some(journal);
    run.metadata.managed_fields = None;
    let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
    call(look.runs().replace_status(&run.name_any(), &params, &run)).await?;
    // Whatever its driver makes of it: one that is never taken in opens the run once and not for ever.
    look.cx.known.asked(|a| a.open_for(decision));
    Ok(())
}

async fn held(look: &Look<'_>, run: &CutoverRun) -> Result<CutoverRun, CallError> {
    if run.finalizers().iter().any(|f| f == RUN_FINALIZER) {
        return Ok(run.clone());
    }
    let (path, value): (_, Value) = match run.finalizers() {
        [] => ("/metadata/finalizers", json!([RUN_FINALIZER])),
        _ => ("/metadata/finalizers/-", json!(RUN_FINALIZER)),
    };
    let operations = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": run.metadata.resource_version},
        {"op": "add", "path": path, "value": value},
    ]);
    let patch: Patch<()> =
        serde_json::from_value(operations).map(Patch::Json).map_err(|e| CallError::invalid(e.to_string()))?;
    call(look.runs().patch(&run.name_any(), &PatchParams::default(), &patch)).await
}
