//! PURE. What is seen of a Cutover: its newest run, or what stands in the way of one, in its status.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::intent::{self, Live};
use super::look::{AGAIN, live};
use super::order::Request;
use super::replay::{Replay, Stop};
use super::{accepted, retired};
use crate::api::condition::{reasons, types};
use crate::api::cutover::{Cutover, CutoverStatus, RunRef};
use crate::api::phase::Phase;
use crate::api::run::{CutoverRun, SwitchState};
use crate::decide::Note;
use crate::plan::{Plan, same_release};
use crate::status::{Facts, project, without_version};

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

/// Where the Services point by a run's journal; what is not known there is kept as it was.
pub(crate) fn live_of(cutover: &Cutover, run: &CutoverRun) -> Option<String> {
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
        Some(without_version(&before).to_owned())
    }
}

/// Whether a run is the one of what was started last: where the side that was live is wanted again, it is not.
pub(crate) fn is_of(run: &CutoverRun, status: &CutoverStatus) -> bool {
    let (Some(started), Ok(plan)) = (&status.started, serde_json::from_value::<Plan>(run.spec.plan.clone())) else {
        return true;
    };
    started.activate == plan.target.name && same_release(&started.release.clone().unwrap_or_default(), &plan.release)
}

/// The wanted side is live: remembered, so that the next change starts a run.
pub fn idle(look: &mut Replay<'_>, cutover: &Cutover, live: &Live) -> Result<Option<Duration>, Stop> {
    let old = cutover.status.clone().unwrap_or_default();
    let mut releases = old.releases.clone();
    let side = cutover.spec.activate.clone();
    // At first sight, and where a side went back together with its release, that release is what runs there.
    let reverted = old.started.as_ref().is_some_and(|s| {
        let said = |release: &Option<_>| release.clone().unwrap_or_default();
        same_release(&said(&s.release), &said(&cutover.spec.release))
    });
    if !reverted && let Some(label) = intent::label(cutover.spec.release.as_ref()) {
        releases.insert(side, label);
    }
    let base = CutoverStatus { started: Some(intent::wanted(&cutover.spec)), run: settled_run(&old), releases, ..old };
    let facts = Facts { live: side_of(live), problem: None };
    let next = projected(cutover, base, None, &facts, look.now());
    write_status(look, cutover, next)?;
    Ok(None)
}

/// A run that was claimed and never created is not wanted any more.
fn settled_run(status: &CutoverStatus) -> Option<RunRef> {
    status.run.clone().filter(|r| r.uid.is_some())
}

/// Nothing is wanted and nothing is under way: a status that still speaks of something else is put right.
pub fn settle(look: &mut Replay<'_>, cutover: &Cutover, status: &CutoverStatus) -> Result<(), Stop> {
    let troubled = status.conditions.iter().any(|c| {
        c.status == "True"
            && (c.type_ == types::SERVICE_CONFLICT || c.type_ == types::SELECTOR_DRIFT || c.type_ == types::STALLED)
    });
    if status.observed_generation == cutover.metadata.generation && !troubled && !look.seen().adrift {
        return Ok(());
    }
    let live = live(look, cutover)?;
    let run = match &status.run {
        Some(reference) => look.run_opt(&reference.name)?.filter(|r| r.uid() == reference.uid && is_of(r, status)),
        None => None,
    };
    let mut facts = Facts { live: side_of(&live), problem: None };
    // A lost run stays lost until the intent changes.
    if let Some(c) = status.conditions.iter().find(|c| c.type_ == types::STALLED && c.reason == reasons::RUN_LOST) {
        facts.problem = Some((c.type_.clone(), c.reason.clone(), c.message.clone()));
    } else if let Some(text) = drift(cutover, status, run, live) {
        facts.problem = Some((types::SELECTOR_DRIFT.into(), reasons::SELECTOR_DRIFT.into(), text));
    }
    show(look, cutover, run, facts).map(drop)
}

/// Where Services lead although nothing is under way, if that is not where the last run has left them.
fn drift(cutover: &Cutover, status: &CutoverStatus, run: Option<&CutoverRun>, live: Live) -> Option<String> {
    let services = || cutover.spec.services.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
    let wanted = &cutover.spec.activate;
    let rests = match status.phase {
        Some(Phase::Idle | Phase::Completed) => Some(wanted.clone()),
        // What did not go live, or went back, left users on the old side.
        Some(Phase::RolledBack | Phase::Failed | Phase::Aborted) => run.and_then(old_side),
        _ => None,
    };
    match live {
        Live::Unclear(text) => Some(text),
        Live::Missing(gone) => Some(format!("Service {} does not exist any more: create it again", gone.join(", "))),
        Live::Side(side) if rests.as_ref().is_none_or(|rests| side == *rests) => None,
        Live::Side(side) if side != *wanted => Some(format!(
            "somebody else has pointed Service {} to {side}, and {wanted} is to be live: point it back, or set spec.activate to {side}",
            services(),
        )),
        Live::Side(side) => Some(format!(
            "somebody else has pointed Service {} to {side}, and the last run left it on {}: point it back, or release again \
             from there",
            services(),
            rests.unwrap_or_default()
        )),
    }
}

/// The side that users were on before a run.
fn old_side(run: &CutoverRun) -> Option<String> {
    serde_json::from_value::<Plan>(run.spec.plan.clone()).ok().map(|plan| plan.old.name)
}

fn side_of(live: &Live) -> Option<String> {
    match live {
        Live::Side(side) => Some(side.clone()),
        Live::Missing(_) | Live::Unclear(_) => None,
    }
}

pub(crate) fn stuck(
    look: &mut Replay<'_>,
    cutover: &Cutover,
    run: Option<&CutoverRun>,
    live: &Live,
    trouble: Trouble,
) -> Result<Option<Duration>, Stop> {
    let told = cutover.status.as_ref().is_some_and(|s| s.message.as_deref() == Some(trouble.message.as_str()));
    let facts = Facts {
        live: side_of(live),
        problem: Some((trouble.type_.clone(), trouble.reason.clone(), trouble.message.clone())),
    };
    show(look, cutover, run, facts)?;
    if !told {
        let note = Note { warning: true, reason: trouble.reason, subject: trouble.type_, message: trouble.message };
        look.tell(cutover.uid(), note);
    }
    Ok(trouble.again.then_some(AGAIN))
}

/// Writes what is seen of the newest run, if it changed.
pub fn show(look: &mut Replay<'_>, cutover: &Cutover, run: Option<&CutoverRun>, facts: Facts) -> Result<Cutover, Stop> {
    let mut base = cutover.status.clone().unwrap_or_default();
    let plan = run.and_then(|run| serde_json::from_value::<Plan>(run.spec.plan.clone()).ok());
    if let (Some(plan), Some(journal)) = (&plan, run.and_then(|r| r.status.as_ref())) {
        retired::remember(&mut base.retired, plan, journal, facts.live.as_deref());
    }
    // From the switch on the release is what is known to run on its side.
    if let Some(plan) = plan
        && facts.live.as_ref() == Some(&plan.target.name)
        && let Some(label) = intent::label(Some(&plan.release))
    {
        base.releases.insert(plan.target.name, label);
    }
    let next = projected(cutover, base, run, &facts, look.now());
    write_status(look, cutover, next)
}

/// The status from a base that holds what only the controller knows.
pub(crate) fn projected(
    cutover: &Cutover,
    base: CutoverStatus,
    run: Option<&CutoverRun>,
    facts: &Facts,
    now: Timestamp,
) -> CutoverStatus {
    let mut cutover = cutover.clone();
    cutover.status = Some(base);
    project(&cutover, run, facts, now)
}

/// Writes the status with the resourceVersion that was read, with what a check has said meanwhile, if it is not what stands
/// there.
pub(crate) fn write_status(
    look: &mut Replay<'_>,
    cutover: &Cutover,
    mut status: CutoverStatus,
) -> Result<Cutover, Stop> {
    if let Some(accepted) = &look.accepted {
        accepted::put(accepted, &mut status);
    }
    let stands = look.stands().unwrap_or(cutover);
    let mut next = cutover.clone();
    next.metadata.managed_fields = None;
    let same = stands.status.as_ref() == Some(&status);
    next.status = Some(status);
    if same {
        look.accepted = None;
        return Ok(next);
    }
    let written = look.cutover(Request::WriteStatus(Box::new(next)))?;
    look.accepted = None;
    look.wrote(written);
    Ok(written.clone())
}
