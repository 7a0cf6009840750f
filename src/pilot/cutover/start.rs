//! PURE. Starts a run: the intent is written to the Cutover's status first, then the run is created under the name that was
//! written. A crash in between creates it again under the same name; what was created is never created twice.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use super::order::{Class, Failure, Order, Reply, Request};
use super::replay::{Replay, Stop, another_kind};
use super::show::{Trouble, write_status};
use super::{accepted, access, finalizer, intent, retired};
use crate::api::condition::{reasons, types};
use crate::api::cutover::{Cutover, CutoverStatus, Retried, RunRef};
use crate::api::decision::CutoverDecision;
use crate::api::run::{CutoverRun, CutoverRunSpec};
use crate::api::{FINALIZER, LABEL_CUTOVER, RUN_FINALIZER};
use crate::plan::{Kept, PLAN_VERSION, Plan, keep};

/// Retries remembered in the Cutover's status.
const RETRIES: usize = 8;

/// What came of starting.
pub(crate) enum Started {
    Run,
    /// It waits, or a person is needed: (condition type, reason, message).
    Problem(Trouble),
}

fn problem(type_: &str, reason: &str, message: impl Into<String>, again: bool) -> Started {
    Started::Problem(Trouble { type_: type_.into(), reason: reason.into(), message: message.into(), again })
}

/// Starts a run from `live`, or goes on with one that was claimed and never created.
/// `retry`: the decision that wants it, which is recorded by the write that claims the run.
pub fn start(
    look: &mut Replay<'_>,
    cutover: Cutover,
    live: &str,
    retry: Option<&CutoverDecision>,
) -> Result<(Cutover, Started), Stop> {
    // One start at a time in a namespace: the reading of active runs below then misses none.
    look.ask(Request::Turn)?;
    let started = started(look, cutover, live, retry)?;
    look.orders.push(Order::EndTurn);
    Ok(started)
}

fn started(
    look: &mut Replay<'_>,
    cutover: Cutover,
    live: &str,
    retry: Option<&CutoverDecision>,
) -> Result<(Cutover, Started), Stop> {
    if let Some(conflict) = conflict(look, &cutover)? {
        return Ok((cutover, problem(types::SERVICE_CONFLICT, reasons::SERVICE_CONFLICT, conflict, true)));
    }
    let mut plan = match accepted::planned(look, &cutover.spec, live)? {
        Ok(plan) => plan,
        // A template that comes or changes is heard of.
        Err(list) => {
            return Ok((cutover, problem(types::STALLED, reasons::INVALID_SPEC, accepted::shown(&list), false)));
        }
    };
    retired::scale_up(look, &cutover, &mut plan)?;
    if let Some(why) = access::missing(look, &cutover.spec.service_account_name)? {
        return Ok((cutover, problem(types::STALLED, reasons::PERMISSION_MISSING, why, true)));
    }
    let cutover = hold(look, cutover)?;
    let cutover = claim(look, cutover, retry)?;
    plan.kept = kept(look, &cutover, &plan)?;
    create(look, cutover, &plan)
}

/// What the plan keeps of the run before it (`keepOnRetry`).
fn kept(look: &mut Replay<'_>, cutover: &Cutover, plan: &Plan) -> Result<BTreeMap<String, Kept>, Stop> {
    let keepers = keep::keepers(&cutover.spec);
    if keepers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let claimed = cutover.status.as_ref().and_then(|s| s.run.as_ref()).map(|r| r.name.as_str());
    let ours = |run: &&CutoverRun| {
        Some(&run.spec.cutover_uid) == cutover.metadata.uid.as_ref() && Some(run.name_any().as_str()) != claimed
    };
    let all = look.runs(Request::Runs)?;
    let Some(last) = all.iter().filter(ours).max_by_key(|r| (r.creation_timestamp(), r.name_any().len(), r.name_any()))
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
fn conflict(look: &mut Replay<'_>, cutover: &Cutover) -> Result<Option<String>, Stop> {
    let mine: Vec<&str> = cutover.spec.services.iter().map(|s| s.name.as_str()).collect();
    for run in look.runs(Request::ActiveRuns)? {
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
    match look.ask(Request::OlderHolder(Box::new(cutover.clone())))? {
        Reply::Holder(holder) => Ok(holder.as_ref().map(|(service, other)| {
            format!(
                "Service {service} belongs to the older Cutover {other}: remove it from spec.services of one of the two"
            )
        })),
        _ => Err(another_kind()),
    }
}

/// Adds the finalizer, before there is anything that deleting the Cutover would have to wait for.
pub fn hold(look: &mut Replay<'_>, cutover: Cutover) -> Result<Cutover, Stop> {
    if finalizer::has(&cutover, FINALIZER) {
        return Ok(cutover);
    }
    let patched = look.cutover(Request::PatchCutover(finalizer::with(&cutover, FINALIZER)))?;
    look.wrote(patched);
    Ok(patched.clone())
}

/// Writes the intent: which run is to exist, and what for.
fn claim(look: &mut Replay<'_>, cutover: Cutover, retry: Option<&CutoverDecision>) -> Result<Cutover, Stop> {
    let old = cutover.status.clone().unwrap_or_default();
    let intent = intent::wanted(&cutover.spec);
    let standing = old.run.as_ref().is_some_and(|r| r.uid.is_none());
    if standing && intent::is_started(&old, &intent) {
        return Ok(cutover);
    }
    let (runs, name) = if standing {
        (old.runs, old.run.map(|r| r.name).unwrap_or_default())
    } else {
        (old.runs + 1, format!("{}-{}", look.key().name, old.runs + 1))
    };
    let mut retries = old.retries;
    if let Some(decision) = retry.and_then(ResourceExt::uid) {
        retries.push(Retried { decision, run: name.clone() });
        retries.drain(..retries.len().saturating_sub(RETRIES));
    }
    let run = Some(RunRef { name, uid: None });
    let base = CutoverStatus { runs, started: Some(intent), run, retries, ..old };
    write_status(look, &cutover, base)
}

/// Creates the claimed run. Its uid is recorded by the look that shows it.
fn create(look: &mut Replay<'_>, cutover: Cutover, plan: &Plan) -> Result<(Cutover, Started), Stop> {
    let status = cutover.status.clone().unwrap_or_default();
    let name = status.run.as_ref().map(|r| r.name.clone()).unwrap_or_default();
    let run = manifest(&cutover, &name, plan)?;
    match look.run(Request::CreateRun(Box::new(run))) {
        Ok(_) => {}
        Err(Stop::Fails(failure)) if failure.class == Class::Conflict => {
            let found = look.run(Request::Run(name.clone()))?;
            if Some(&found.spec.cutover_uid) != cutover.metadata.uid.as_ref() {
                // Of a former Cutover of this name: the next number is free, or the one after it.
                let base = CutoverStatus {
                    runs: status.runs + 1,
                    run: Some(RunRef { name: format!("{}-{}", look.key().name, status.runs + 1), uid: None }),
                    ..status
                };
                write_status(look, &cutover, base)?;
                return Err(Failure::new(Class::Transient, format!("a run {name} of another Cutover exists")).into());
            }
        }
        Err(Stop::Fails(failure)) if failure.class == Class::Invalid => {
            let why = format!("the run cannot be created: {failure}");
            return Ok((cutover, problem(types::STALLED, reasons::INVALID_SPEC, why, true)));
        }
        Err(stop) => return Err(stop),
    }
    Ok((cutover, Started::Run))
}

fn manifest(cutover: &Cutover, name: &str, plan: &Plan) -> Result<CutoverRun, Failure> {
    let uid = cutover.uid().unwrap_or_default();
    let plan = serde_json::to_value(plan)
        .map_err(|e| Failure::new(Class::Invalid, format!("the plan cannot be written: {e}")))?;
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
