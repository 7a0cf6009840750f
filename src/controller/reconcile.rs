//! One look at one Cutover: reads it live, projects its newest run, starts the next one, lets go of what is over.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::Controller;
use super::hear::{self, Wish};
use super::intent::{self, Live, Verdict};
use super::queue::Key;
use super::start::{self, Started};
use crate::act::call::{CallError, Class, call};
use crate::api::condition::{reasons, types};
use crate::api::cutover::{Cutover, CutoverStatus, RunRef};
use crate::api::phase::Phase;
use crate::api::run::{CutoverRun, RunState, Selector, SwitchState};
use crate::api::{FIELD_MANAGER, FINALIZER};
use crate::decide::Note;
use crate::driver::record::{release, take_finalizer};
use crate::plan::Plan;
use crate::publish::About;
use crate::status::{Facts, project};

/// What waits for somebody else is looked at again after this.
const AGAIN: Duration = Duration::from_secs(15);

/// What stands in the way of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Condition type.
    pub type_: String,
    /// Reason.
    pub reason: String,
    /// What, and the remedy.
    pub message: String,
    /// Whether it may pass without a change of the Cutover.
    pub again: bool,
}

/// A look under way.
pub struct Look<'a> {
    pub cx: &'a Controller,
    pub key: Key,
}

impl Look<'_> {
    fn api(&self) -> Api<Cutover> {
        Api::namespaced(self.cx.client.clone(), &self.key.namespace)
    }

    pub fn runs(&self) -> Api<CutoverRun> {
        Api::namespaced(self.cx.client.clone(), &self.key.namespace)
    }

    /// Patches the Cutover's metadata.
    pub async fn patch(&self, operations: Value) -> Result<Cutover, CallError> {
        let patch: Patch<()> =
            serde_json::from_value(operations).map(Patch::Json).map_err(|e| CallError::invalid(e.to_string()))?;
        let patched: Cutover = call(self.api().patch(&self.key.name, &PatchParams::default(), &patch)).await?;
        self.cx.known.wrote(&self.key, patched.metadata.resource_version.as_deref());
        Ok(patched)
    }

    /// The run by name, if it exists.
    async fn run(&self, name: &str) -> Result<Option<CutoverRun>, CallError> {
        match call(self.runs().get(name)).await {
            Ok(run) => Ok(Some(run)),
            Err(e) if e.class == Class::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn live(&self, cutover: &Cutover) -> Result<Live, CallError> {
        let api: Api<Service> = Api::namespaced(self.cx.client.clone(), &self.key.namespace);
        let mut selectors: BTreeMap<String, Option<Selector>> = BTreeMap::new();
        for service in &cutover.spec.services {
            let selector = match call(api.get(&service.name)).await {
                Ok(found) => Some(found.spec.and_then(|s| s.selector).unwrap_or_default()),
                Err(e) if e.class == Class::NotFound => None,
                Err(e) => return Err(e),
            };
            selectors.insert(service.name.clone(), selector);
        }
        Ok(intent::live(&cutover.spec, &selectors))
    }

    async fn namespace_is_going(&self) -> Result<bool, CallError> {
        let api: Api<Namespace> = Api::all(self.cx.client.clone());
        match call(api.get(&self.key.namespace)).await {
            Ok(ns) => Ok(ns.metadata.deletion_timestamp.is_some()),
            Err(e) if e.class == Class::NotFound => Ok(true),
            // Without the right to read namespaces nothing is released early.
            Err(e) if e.class == Class::Forbidden => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// Looks once. Returns when to look again although nothing is heard.
pub async fn look(cx: &Controller, key: Key) -> Result<Option<Duration>, CallError> {
    let look = Look { cx, key };
    let guarded: Api<DeserializeGuard<Cutover>> = Api::namespaced(cx.client.clone(), &look.key.namespace);
    let cutover = match call(guarded.get(&look.key.name)).await {
        Ok(DeserializeGuard(Ok(cutover))) => cutover,
        Ok(DeserializeGuard(Err(e))) => {
            unreadable(&look, &e);
            return Ok(None);
        }
        Err(e) if e.class == Class::NotFound => return Ok(hear::hear(&look, None).await?.again),
        Err(e) => return Err(e),
    };
    let heard = hear::hear(&look, Some(&cutover)).await?;
    let again = if cutover.metadata.deletion_timestamp.is_some() {
        going(&look, &cutover).await?
    } else {
        staying(&look, cutover, heard.wish).await?
    };
    Ok(again.into_iter().chain(heard.again).min())
}

fn unreadable(look: &Look<'_>, error: &kube::core::error_boundary::InvalidObject) {
    let about = About {
        namespace: look.key.namespace.clone(),
        cutover: look.key.name.clone(),
        cutover_uid: error.metadata.uid.clone().unwrap_or_default(),
        ..About::default()
    };
    let note = Note {
        warning: true,
        reason: reasons::INVALID_SPEC.into(),
        subject: "spec".into(),
        message: format!("the Cutover cannot be read: {}; apply the CRDs of this operator's version", error.error),
    };
    look.cx.publisher.publish(&about, &note);
}

/// A Cutover that is being deleted: its runs decide when it may go, unless the namespace goes too.
async fn going(look: &Look<'_>, cutover: &Cutover) -> Result<Option<Duration>, CallError> {
    let namespace_goes = look.namespace_is_going().await?;
    let uid = cutover.uid().unwrap_or_default();
    let params = super::runs_of(&look.key.name);
    let runs = call(look.runs().list(&params)).await?;
    let mut active = 0;
    for run in runs.items.iter().filter(|r| r.spec.cutover_uid == uid) {
        let closed = run.status.as_ref().is_some_and(|s| s.state == RunState::Closed);
        if closed || namespace_goes {
            release(&look.runs(), run).await?;
        } else {
            active += 1;
        }
    }
    if active == 0 || namespace_goes {
        take_finalizer(&look.api(), cutover, FINALIZER).await?;
        return Ok(None);
    }
    Ok(Some(AGAIN))
}

async fn staying(look: &Look<'_>, cutover: Cutover, wish: Option<Wish>) -> Result<Option<Duration>, CallError> {
    let mut cutover = super::accepted::check(look, cutover).await?;
    let status = cutover.status.clone().unwrap_or_default();
    let uid = cutover.uid().unwrap_or_default();
    // 1. The newest run: one under way is shown, and nothing else happens.
    let mut unborn = false;
    let mut newest = None;
    if let Some(reference) = &status.run {
        let found = match look.cx.known.active_of(&uid) {
            Some(run) if run.name_any() == reference.name && reference.uid == run.uid() => Some((*run).clone()),
            _ if finished(&cutover, &status) && wish.is_none() => None,
            _ => look.run(&reference.name).await?.filter(|r| r.spec.cutover_uid == uid),
        };
        match (found, &reference.uid) {
            (Some(run), known) if known.is_none() || *known == run.uid() => {
                if known.is_none() {
                    let run = Some(RunRef { name: run.name_any(), uid: run.uid() });
                    cutover = write_status(look, &cutover, CutoverStatus { run, ..status.clone() }).await?;
                }
                if run.status.as_ref().is_none_or(|s| s.state != RunState::Closed) {
                    show(look, &cutover, Some(&run), Facts { live: live_of(&cutover, &run), problem: None }).await?;
                    return Ok(None);
                }
                newest = Some(run);
            }
            (None, None) => unborn = true,
            _ if finished(&cutover, &status) || is_over(status.phase) => {}
            _ => return lost(look, &cutover, &reference.name).await,
        }
    }
    // 2. It is closed: it is opened again for its checks, or lets go of what it held.
    if let (Some(run), Some(Wish::Revalidate(decision))) = (&newest, &wish) {
        super::reopen::reopen(look, &cutover, run, &decision.uid().unwrap_or_default()).await?;
        return Ok(None);
    }
    if let Some(run) = &newest {
        release(&look.runs(), run).await?;
        let facts = Facts { live: live_of(&cutover, run), problem: None };
        cutover = show(look, &cutover, Some(run), facts).await?;
        super::prune::prune(look, &cutover).await?;
    }
    // 3. The next one, if it is wanted.
    let status = cutover.status.clone().unwrap_or_default();
    let wanted = intent::wanted(&cutover.spec);
    let retry = match (&newest, wish) {
        (Some(_), Some(Wish::Retry(decision))) => Some(decision),
        _ => None,
    };
    if status.started.as_ref() == Some(&wanted) && retry.is_none() && !unborn {
        cutover = unheld(look, cutover).await?;
        if newest.is_none() {
            settle(look, &cutover, &status).await?;
        }
        return Ok(None);
    }
    let live = look.live(&cutover).await?;
    let trouble = match intent::judge(&cutover.spec, &status, &live) {
        Verdict::Start(side) => match start::start(look, cutover.clone(), &side, retry.as_deref()).await? {
            // A Retry is answered by the next look, which finds it carried out: that it is said at once matters little.
            (_, Started::Run) => return Ok(retry.map(|_| Duration::ZERO)),
            (now, Started::Problem(trouble)) => {
                cutover = now;
                trouble
            }
        },
        Verdict::Idle => {
            cutover = unheld(look, cutover).await?;
            if let Some(decision) = retry {
                let why = format!("{} is live already, so there is nothing to switch", cutover.spec.activate);
                hear::refuse(look, *decision, &why).await;
            }
            return idle(look, &cutover, &live).await;
        }
        Verdict::TargetIsLive => Trouble {
            type_: types::STALLED.into(),
            reason: reasons::TARGET_IS_LIVE.into(),
            message: format!(
                "the release changed while {} is already live, so there is nothing to switch: set spec.activate to the \
                 other side, on which the new release runs",
                cutover.spec.activate
            ),
            again: false,
        },
        Verdict::Missing(list) => Trouble {
            type_: types::STALLED.into(),
            reason: reasons::SERVICE_NOT_FOUND.into(),
            message: format!(
                "spec.services: Service {} does not exist in namespace {}: create it, or correct the name",
                list.join(", "),
                look.key.namespace
            ),
            again: true,
        },
        Verdict::Drift(text) => Trouble {
            type_: types::SELECTOR_DRIFT.into(),
            reason: reasons::SELECTOR_DRIFT.into(),
            message: text,
            again: true,
        },
    };
    // What was claimed and could not be created yet holds on; anything else lets go while it waits.
    let claimed = cutover.status.as_ref().and_then(|s| s.run.as_ref()).is_some_and(|r| r.uid.is_none());
    if !claimed {
        cutover = unheld(look, cutover).await?;
    }
    // It counts now or never: a release that was bad does not go out again once the obstacle is gone and nobody looks. One
    // whose run is claimed has counted.
    let counted = |uid: Option<String>| {
        let retries = cutover.status.iter().flat_map(|s| &s.retries);
        uid.is_some_and(|uid| retries.into_iter().any(|r| r.decision == uid))
    };
    if let Some(decision) = retry.filter(|d| !counted(d.uid())) {
        hear::refuse(look, *decision, &format!("no run can be started now: {}", trouble.message)).await;
        return Ok(Some(Duration::ZERO));
    }
    stuck(look, &cutover, newest.as_ref(), &live, trouble).await
}

/// The Cutover without its finalizer.
async fn unheld(look: &Look<'_>, cutover: Cutover) -> Result<Cutover, CallError> {
    match take_finalizer(&look.api(), &cutover, FINALIZER).await? {
        // The answer carries whatever the spec is by now. What this look has judged is another one: recorded as started, a
        // release applied in between would never be.
        Some(after) if after.metadata.generation != cutover.metadata.generation => {
            Err(CallError::new(Class::Conflict, "the Cutover was changed meanwhile"))
        }
        Some(after) => {
            look.cx.known.wrote(&look.key, after.metadata.resource_version.as_deref());
            Ok(after)
        }
        None => Ok(cutover),
    }
}

/// Whether the newest run is known to be over and let go: then nothing about it needs to be read.
fn finished(cutover: &Cutover, status: &CutoverStatus) -> bool {
    let held = cutover.finalizers().iter().any(|f| f == FINALIZER);
    status.run.as_ref().is_some_and(|r| r.uid.is_some()) && !held
}

fn is_over(phase: Option<Phase>) -> bool {
    phase.is_some_and(|p| p.is_over() || p == Phase::Completed || p == Phase::Idle)
}

/// Where the Services point by a run's journal; what is not known there is kept as it was.
fn live_of(cutover: &Cutover, run: &CutoverRun) -> Option<String> {
    let plan = serde_json::from_value::<Plan>(run.spec.plan.clone()).ok()?;
    let journal = run.status.clone().unwrap_or_default();
    let Some(switch) = &journal.switch else { return Some(plan.old.name) };
    let all = |state: SwitchState| switch.services.iter().all(|s| s.state == state);
    if all(SwitchState::Switched) {
        Some(plan.target.name)
    } else if switch.services.iter().all(|s| matches!(s.state, SwitchState::Restored | SwitchState::Refused)) {
        Some(plan.old.name)
    } else {
        // Under way: shown as it was before.
        let before = cutover.status.as_ref().and_then(|s| s.live.clone())?;
        Some(before.split('@').next().unwrap_or_default().to_owned())
    }
}

/// The wanted side is live: remembered, so that the next change starts a run.
async fn idle(look: &Look<'_>, cutover: &Cutover, live: &Live) -> Result<Option<Duration>, CallError> {
    let old = cutover.status.clone().unwrap_or_default();
    let mut releases = old.releases.clone();
    let side = cutover.spec.activate.clone();
    // At first sight, and where a side went back together with its release, that release is what runs there.
    let reverted = old.started.as_ref().is_some_and(|s| s.release == cutover.spec.release);
    if !reverted && let Some(label) = intent::label(cutover.spec.release.as_ref()) {
        releases.insert(side, label);
    }
    let base = CutoverStatus { started: Some(intent::wanted(&cutover.spec)), run: settled_run(&old), releases, ..old };
    let facts = Facts { live: side_of(live), problem: None };
    let next = projected(cutover, base, None, &facts);
    write_status(look, cutover, next).await?;
    Ok(None)
}

/// A run that was claimed and never created is not wanted any more.
fn settled_run(status: &CutoverStatus) -> Option<RunRef> {
    status.run.clone().filter(|r| r.uid.is_some())
}

/// Nothing is wanted and nothing is under way: a status that still speaks of something else is put right.
async fn settle(look: &Look<'_>, cutover: &Cutover, status: &CutoverStatus) -> Result<(), CallError> {
    let troubled = status.conditions.iter().any(|c| {
        c.status == "True"
            && (c.type_ == types::SERVICE_CONFLICT || c.type_ == types::SELECTOR_DRIFT || c.type_ == types::STALLED)
    });
    if status.observed_generation == cutover.metadata.generation && !troubled {
        return Ok(());
    }
    let live = look.live(cutover).await?;
    let run = match &status.run {
        Some(reference) => look.run(&reference.name).await?.filter(|r| r.uid() == reference.uid),
        None => None,
    };
    let mut facts = Facts { live: side_of(&live), problem: None };
    // A lost run stays lost until the intent changes.
    if let Some(c) = status.conditions.iter().find(|c| c.type_ == types::STALLED && c.reason == reasons::RUN_LOST) {
        facts.problem = Some((c.type_.clone(), c.reason.clone(), c.message.clone()));
    } else if let Live::Unclear(text) = live {
        facts.problem = Some((types::SELECTOR_DRIFT.into(), reasons::SELECTOR_DRIFT.into(), text));
    }
    show(look, cutover, run.as_ref(), facts).await.map(drop)
}

fn side_of(live: &Live) -> Option<String> {
    match live {
        Live::Side(side) => Some(side.clone()),
        Live::Missing(_) | Live::Unclear(_) => None,
    }
}

/// The journal of a run is gone before it was closed: told, and never repeated.
async fn lost(look: &Look<'_>, cutover: &Cutover, name: &str) -> Result<Option<Duration>, CallError> {
    let message = format!(
        "run {name} is gone before its end, and with it what it had done: check the Services' selectors, then change \
         spec.release.attempt to start again"
    );
    take_finalizer(&look.api(), cutover, FINALIZER).await?;
    let live = look.live(cutover).await?;
    let trouble = Trouble { type_: types::STALLED.into(), reason: reasons::RUN_LOST.into(), message, again: false };
    let held = call(look.api().get(&look.key.name)).await?;
    stuck(look, &held, None, &live, trouble).await
}

async fn stuck(
    look: &Look<'_>,
    cutover: &Cutover,
    run: Option<&CutoverRun>,
    live: &Live,
    trouble: Trouble,
) -> Result<Option<Duration>, CallError> {
    let told = cutover.status.as_ref().is_some_and(|s| s.message.as_deref() == Some(trouble.message.as_str()));
    let facts = Facts {
        live: side_of(live),
        problem: Some((trouble.type_.clone(), trouble.reason.clone(), trouble.message.clone())),
    };
    show(look, cutover, run, facts).await?;
    if !told {
        let note = Note { warning: true, reason: trouble.reason, subject: trouble.type_, message: trouble.message };
        look.cx.publisher.publish(&about(cutover), &note);
    }
    Ok(trouble.again.then_some(AGAIN))
}

fn about(cutover: &Cutover) -> About {
    About {
        namespace: cutover.namespace().unwrap_or_default(),
        cutover: cutover.name_any(),
        cutover_uid: cutover.uid().unwrap_or_default(),
        ..About::default()
    }
}

/// Writes what is seen of the newest run, if it changed.
async fn show(
    look: &Look<'_>,
    cutover: &Cutover,
    run: Option<&CutoverRun>,
    facts: Facts,
) -> Result<Cutover, CallError> {
    let mut base = cutover.status.clone().unwrap_or_default();
    let plan = run.and_then(|run| serde_json::from_value::<Plan>(run.spec.plan.clone()).ok());
    if let (Some(plan), Some(journal)) = (&plan, run.and_then(|r| r.status.as_ref())) {
        super::retired::remember(&mut base.retired, plan, journal, facts.live.as_deref());
    }
    // From the switch on the release is what is known to run on its side.
    if let Some(plan) = plan
        && facts.live.as_ref() == Some(&plan.target.name)
        && let Some(label) = intent::label(Some(&plan.release))
    {
        base.releases.insert(plan.target.name, label);
    }
    let next = projected(cutover, base, run, &facts);
    write_status(look, cutover, next).await
}

/// The status from a base that holds what only the controller knows.
pub fn projected(cutover: &Cutover, base: CutoverStatus, run: Option<&CutoverRun>, facts: &Facts) -> CutoverStatus {
    let mut cutover = cutover.clone();
    cutover.status = Some(base);
    project(&cutover, run, facts, Timestamp::now())
}

/// Writes the status with the resourceVersion that was read, if it changed.
pub async fn write_status(look: &Look<'_>, cutover: &Cutover, status: CutoverStatus) -> Result<Cutover, CallError> {
    if cutover.status.as_ref() == Some(&status) {
        return Ok(cutover.clone());
    }
    let mut next = cutover.clone();
    next.metadata.managed_fields = None;
    next.status = Some(status);
    let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
    let written = call(look.api().replace_status(&look.key.name, &params, &next)).await?;
    look.cx.known.wrote(&look.key, written.metadata.resource_version.as_deref());
    Ok(written)
}
