//! A completed run that is closed already is opened again when a person wants its checks made again (`Revalidate`). The
//! driver takes the decision in, makes the checks, and closes it; nothing else of it goes on.

use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::intent;
use super::reconcile::Look;
use crate::act::call::{CallError, call};
use crate::api::cutover::Cutover;
use crate::api::phase::Phase;
use crate::api::run::CutoverRun;
use crate::api::{FIELD_MANAGER, RUN_FINALIZER};
use crate::journal;

/// Opens the newest run, which is closed, if that is asked for. True when it is open now.
///
/// # Errors
/// When something could not be written; the next look tries again.
pub async fn reopen(look: &Look<'_>, cutover: &Cutover, run: &CutoverRun) -> Result<bool, CallError> {
    let uid = run.uid().unwrap_or_default();
    let journal = run.status.clone().unwrap_or_default();
    let taken_in = |decision: &str| journal.decisions.iter().any(|r| r.uid == decision);
    if !look.cx.known.is_still_asked_again(&uid, taken_in) {
        return Ok(false);
    }
    let status = cutover.status.as_ref();
    let wanted = status.and_then(|s| s.started.as_ref()) == Some(&intent::wanted(&cutover.spec));
    if journal.phase != Phase::Completed || !wanted || cutover.metadata.deletion_timestamp.is_some() {
        look.cx.known.drop_wish(&uid);
        return Ok(false);
    }
    // In this order, so that whatever is deleted meanwhile waits for the checks.
    super::start::hold(look, cutover.clone()).await?;
    let mut run = held(look, run).await?;
    let mut journal = run.status.take().unwrap_or_default();
    journal::reopen(&mut journal);
    run.status = Some(journal);
    run.metadata.managed_fields = None;
    let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
    call(look.runs().replace_status(&run.name_any(), &params, &run)).await?;
    // Met, whatever its driver makes of it: one that is never taken in, such as a decision deleted meanwhile, opens the run
    // once and not for ever.
    look.cx.known.drop_wish(&uid);
    Ok(true)
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
