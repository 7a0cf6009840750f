//! Starts a run: the intent is written to the Cutover's status first, then the run is created under the name that was
//! written. A crash in between creates it again under the same name; what was created is never created twice.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ListParams, PostParams};
use kube::{Api, Resource, ResourceExt};

use super::reconcile::{Look, Trouble, write_status};
use crate::act::call::{CallError, Class, call};
use crate::api::condition::{reasons, types};
use crate::api::cutover::{Cutover, CutoverStatus, Retried, RunRef};
use crate::api::decision::CutoverDecision;
use crate::api::run::{CutoverRun, CutoverRunSpec};
use crate::api::{FIELD_MANAGER, FINALIZER, LABEL_CUTOVER, RUN_FINALIZER};
use crate::controller::{accepted, intent, templates};
use crate::plan::{Kept, PLAN_VERSION, Plan, keep, resolve};
use crate::status::Facts;

/// Retries remembered in the Cutover's status.
const RETRIES: usize = 8;

/// What came of starting.
pub enum Started {
    /// The run exists.
    Run,
    /// It waits, or a person is needed: (condition type, reason, message).
    Problem(Trouble),
}

fn problem(type_: &str, reason: &str, message: impl Into<String>, again: bool) -> Started {
    Started::Problem(Trouble { type_: type_.into(), reason: reason.into(), message: message.into(), again })
}

/// Starts a run from `live`, or goes on with one that was claimed and never created.
/// `retry`: the decision that wants it, which is recorded by the write that claims the run.
pub async fn start(
    look: &Look<'_>,
    cutover: Cutover,
    live: &str,
    retry: Option<&CutoverDecision>,
) -> Result<(Cutover, Started), CallError> {
    // One start at a time in a namespace: the reading of active runs below then misses none.
    let lock = look.cx.start_lock(&look.key.namespace);
    let _one = lock.lock().await;
    if let Some(conflict) = conflict(look, &cutover).await? {
        return Ok((cutover, problem(types::SERVICE_CONFLICT, reasons::SERVICE_CONFLICT, conflict, true)));
    }
    let (name, namespace) = (&look.key.name, &look.key.namespace);
    let plan = match templates::expanded(&look.cx.client, namespace, &cutover.spec).await? {
        Ok(whole) => resolve(name, namespace, &whole.spec, live, &look.cx.offered)
            .map(|plan| Plan { templates: whole.used.clone(), ..plan })
            .map_err(|list| list.into_iter().map(|r| whole.explain(r)).collect()),
        Err(list) => Err(list),
    };
    let mut plan = match plan {
        Ok(plan) => plan,
        // A template that comes or changes is heard of.
        Err(list) => {
            return Ok((cutover, problem(types::STALLED, reasons::INVALID_SPEC, accepted::shown(&list), false)));
        }
    };
    super::retired::scale_up(look, &cutover, &mut plan).await?;
    let missing = super::access::missing(
        &look.cx.client,
        &look.cx.identity,
        &look.cx.operator,
        namespace,
        &cutover.spec.service_account_name,
    );
    if let Some(why) = missing.await? {
        return Ok((cutover, problem(types::STALLED, reasons::PERMISSION_MISSING, why, true)));
    }
    let cutover = hold(look, cutover).await?;
    let cutover = claim(look, cutover, retry).await?;
    plan.kept = kept(look, &cutover, &plan).await?;
    create(look, cutover, &plan).await
}

/// What the plan keeps of the run before it (`keepOnRetry`).
async fn kept(look: &Look<'_>, cutover: &Cutover, plan: &Plan) -> Result<BTreeMap<String, Kept>, CallError> {
    let keepers = keep::keepers(&cutover.spec);
    if keepers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let claimed = cutover.status.as_ref().and_then(|s| s.run.as_ref()).map(|r| r.name.as_str());
    let runs: Api<CutoverRun> = Api::namespaced(look.cx.client.clone(), &look.key.namespace);
    let label = format!("{LABEL_CUTOVER}={}", look.key.name);
    let all = call(runs.list(&ListParams::default().labels(&label))).await?;
    let ours = |run: &&CutoverRun| {
        Some(&run.spec.cutover_uid) == cutover.metadata.uid.as_ref() && Some(run.name_any().as_str()) != claimed
    };
    let Some(last) =
        all.items.iter().filter(ours).max_by_key(|r| (r.creation_timestamp(), r.name_any().len(), r.name_any()))
    else {
        return Ok(BTreeMap::new());
    };
    // A plan of another form is not compared: everything is done anew.
    let (Ok(former), Some(journal)) = (Plan::from_value(last.spec.plan_version, &last.spec.plan), &last.status) else {
        return Ok(BTreeMap::new());
    };
    Ok(keep::kept(plan, &keepers, &last.name_any(), &former, journal))
}

/// Another Cutover that holds one of the Services: by an active run, or by being the older one.
async fn conflict(look: &Look<'_>, cutover: &Cutover) -> Result<Option<String>, CallError> {
    let mine: Vec<&str> = cutover.spec.services.iter().map(|s| s.name.as_str()).collect();
    let runs: Api<CutoverRun> = Api::namespaced(look.cx.client.clone(), &look.key.namespace);
    let active = call(runs.list(&ListParams::default().fields("status.state!=Closed"))).await?;
    for run in &active.items {
        if Some(&run.spec.cutover_uid) == cutover.metadata.uid.as_ref() {
            continue;
        }
        let services: Vec<String> =
            run.spec.plan.get("services").and_then(|s| serde_json::from_value(s.clone()).ok()).unwrap_or_default();
        if let Some(shared) = services.iter().find(|s| mine.contains(&s.as_str())) {
            return Ok(Some(format!(
                "Service {shared} is being switched by run {} of Cutover {}: this one waits for its end",
                run.name_any(),
                run.spec.cutover
            )));
        }
    }
    Ok(look.cx.known.older_holder(&look.key, cutover).map(|(service, other)| {
        format!(
            "Service {service} belongs to the older Cutover {other}: remove it from spec.services of one of the two"
        )
    }))
}

/// Adds the finalizer, before there is anything that deleting the Cutover would have to wait for.
pub(super) async fn hold(look: &Look<'_>, cutover: Cutover) -> Result<Cutover, CallError> {
    if cutover.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(cutover);
    }
    let add = if cutover.finalizers().is_empty() {
        serde_json::json!({"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]})
    } else {
        serde_json::json!({"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER})
    };
    let test = serde_json::json!({"op": "test", "path": "/metadata/resourceVersion", "value": cutover.metadata.resource_version});
    look.patch(serde_json::json!([test, add])).await
}

/// Writes the intent: which run is to exist, and what for.
async fn claim(look: &Look<'_>, cutover: Cutover, retry: Option<&CutoverDecision>) -> Result<Cutover, CallError> {
    let old = cutover.status.clone().unwrap_or_default();
    let intent = intent::wanted(&cutover.spec);
    let standing = old.run.as_ref().is_some_and(|r| r.uid.is_none());
    if standing && old.started.as_ref() == Some(&intent) {
        return Ok(cutover);
    }
    let (runs, name) = if standing {
        (old.runs, old.run.map(|r| r.name).unwrap_or_default())
    } else {
        (old.runs + 1, format!("{}-{}", look.key.name, old.runs + 1))
    };
    let mut retries = old.retries;
    if let Some(decision) = retry.and_then(ResourceExt::uid) {
        retries.push(Retried { decision, run: name.clone() });
        retries.drain(..retries.len().saturating_sub(RETRIES));
    }
    let run = Some(RunRef { name, uid: None });
    let base = CutoverStatus { runs, started: Some(intent), run, retries, ..old };
    write_status(look, &cutover, base).await
}

/// Creates the claimed run and records its uid.
async fn create(look: &Look<'_>, cutover: Cutover, plan: &Plan) -> Result<(Cutover, Started), CallError> {
    let status = cutover.status.clone().unwrap_or_default();
    let name = status.run.as_ref().map(|r| r.name.clone()).unwrap_or_default();
    let run = manifest(&cutover, &name, plan)?;
    let api: Api<CutoverRun> = Api::namespaced(look.cx.client.clone(), &look.key.namespace);
    let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
    let run = match call(api.create(&params, &run)).await {
        Ok(run) => run,
        Err(e) if e.class == Class::Conflict => match call(api.get(&name)).await? {
            found if Some(&found.spec.cutover_uid) == cutover.metadata.uid.as_ref() => found,
            // Of a former Cutover of this name: the next number is free, or the one after it.
            _ => {
                let base = CutoverStatus {
                    runs: status.runs + 1,
                    run: Some(RunRef { name: format!("{}-{}", look.key.name, status.runs + 1), uid: None }),
                    ..status
                };
                write_status(look, &cutover, base).await?;
                return Err(CallError::transient(format!("a run {name} of another Cutover exists")));
            }
        },
        Err(e) if e.class == Class::Invalid => {
            let why = format!("the run cannot be created: {e}");
            return Ok((cutover, problem(types::STALLED, reasons::INVALID_SPEC, why, true)));
        }
        Err(e) => return Err(e),
    };
    let base = CutoverStatus { run: Some(RunRef { name, uid: run.uid() }), ..status };
    let projected = super::reconcile::projected(&cutover, base, Some(&run), &Facts::default());
    let cutover = write_status(look, &cutover, projected).await?;
    Ok((cutover, Started::Run))
}

fn manifest(cutover: &Cutover, name: &str, plan: &Plan) -> Result<CutoverRun, CallError> {
    let uid = cutover.uid().unwrap_or_default();
    let plan =
        serde_json::to_value(plan).map_err(|e| CallError::invalid(format!("the plan cannot be written: {e}")))?;
    let spec =
        CutoverRunSpec { cutover: cutover.name_any(), cutover_uid: uid.clone(), plan_version: PLAN_VERSION, plan };
    let mut run = CutoverRun::new(name, spec);
    run.metadata.namespace = cutover.namespace();
    run.metadata.labels = Some([(LABEL_CUTOVER.to_owned(), cutover.name_any())].into());
    run.metadata.finalizers = Some(vec![RUN_FINALIZER.into()]);
    run.metadata.owner_references = Some(vec![OwnerReference {
        api_version: Cutover::api_version(&()).into_owned(),
        kind: Cutover::kind(&()).into_owned(),
        name: cutover.name_any(),
        uid,
        controller: Some(true),
        block_owner_deletion: Some(true),
    }]);
    Ok(run)
}
