//! PURE. Which run is meant. Right after `kubectl apply` the newest run is still the one before: a pipeline that takes its
//! end for the end of the new release goes on too early.

use kube::ResourceExt;

use crate::api::condition::{reasons, types};
use crate::api::cutover::{Cutover, Intent};
use crate::api::run::{CutoverRun, RunState};
use crate::plan::same_release;
use crate::status::without_version;
use crate::view;

/// What is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// The run of what the Cutover asks for now.
    Wanted,
    /// The newest one, whatever for.
    Newest,
    /// The one of this name.
    Named(String),
    /// The run of this release, once the Cutover asks for it.
    Release(String),
}

/// What came of choosing.
#[derive(Clone, Debug)]
pub(crate) enum Choice<'a> {
    Run(&'a CutoverRun),
    /// What is wanted is live, and no run was needed for it.
    AtRest(String),
    /// No run will start.
    Refused(String),
    /// Nothing can be said yet.
    Wait(String),
}

/// Chooses. `runs`: those of the Cutover, the newest last.
pub(crate) fn choose<'a>(cutover: &Cutover, runs: &'a [CutoverRun], pick: &Pick) -> Choice<'a> {
    match pick {
        Pick::Wanted => wanted(cutover, runs),
        Pick::Newest => runs.last().map_or_else(|| Choice::Wait(waiting(cutover)), Choice::Run),
        Pick::Named(name) => match runs.iter().find(|r| r.name_any() == *name) {
            Some(run) => Choice::Run(run),
            None => Choice::Wait(format!("run {name} is not there yet")),
        },
        Pick::Release(version) => release(cutover, runs, version),
    }
}

fn release<'a>(cutover: &Cutover, runs: &'a [CutoverRun], version: &str) -> Choice<'a> {
    let asked = cutover.spec.release.as_ref().and_then(view::release_name);
    if asked == Some(version) {
        return wanted(cutover, runs);
    }
    let of =
        |run: &&CutoverRun| view::plan_of(run).is_some_and(|plan| view::release_name(&plan.release) == Some(version));
    let last = runs.iter().rev().find(of);
    if let Some(run) = last.filter(|run| run.status.as_ref().is_none_or(|s| s.state != RunState::Closed)) {
        return Choice::Run(run);
    }
    let asked = asked.unwrap_or("no named release");
    let before = last.map(|r| format!("; run {} of {version} is over", r.name_any())).unwrap_or_default();
    Choice::Wait(format!("the Cutover asks for {asked}, not for {version}{before}"))
}

fn wanted<'a>(cutover: &Cutover, runs: &'a [CutoverRun]) -> Choice<'a> {
    let status = cutover.status.clone().unwrap_or_default();
    let (generation, observed) = (cutover.metadata.generation, status.observed_generation);
    if observed < generation {
        return Choice::Wait("the operator has not looked at the last change of the Cutover yet".to_owned());
    }
    let standing = |type_: &str, state: &str| status.conditions.iter().find(|c| c.type_ == type_ && c.status == state);
    if let Some(refused) = standing(types::ACCEPTED, "False") {
        return Choice::Refused(refused.message.clone());
    }
    // What passes by itself, such as another Cutover's run, is waited for.
    let for_good = [reasons::INVALID_SPEC, reasons::TARGET_IS_LIVE, reasons::RUN_LOST];
    if let Some(c) = standing(types::STALLED, "True").filter(|c| for_good.contains(&c.reason.as_str())) {
        return Choice::Refused(c.message.clone());
    }
    let wanted = Intent { activate: cutover.spec.activate.clone(), release: cutover.spec.release.clone() };
    if status.started.as_ref() != Some(&wanted) {
        return Choice::Wait(waiting(cutover));
    }
    let Some(named) = &status.run else { return at_rest(cutover) };
    let found = runs.iter().find(|r| r.name_any() == named.name && (named.uid.is_none() || named.uid == r.uid()));
    match found {
        Some(run) if is_for(run, &wanted) => Choice::Run(run),
        Some(_) => at_rest(cutover),
        None => Choice::Wait(format!("run {} is being created", named.name)),
    }
}

/// Whether a run was started for this. Where the side that was live is wanted again, the last one was not.
fn is_for(run: &CutoverRun, intent: &Intent) -> bool {
    let Some(plan) = view::plan_of(run) else { return true };
    plan.target.name == intent.activate && same_release(&plan.release, &intent.release.clone().unwrap_or_default())
}

fn at_rest<'a>(cutover: &Cutover) -> Choice<'a> {
    let live = cutover.status.as_ref().and_then(|s| s.live.as_deref());
    match live {
        Some(live) if without_version(live) == cutover.spec.activate => {
            Choice::AtRest(format!("{live} is live, as the Cutover asks: there is nothing to switch"))
        }
        Some(_) | None => Choice::Wait(waiting(cutover)),
    }
}

fn waiting(cutover: &Cutover) -> String {
    let message = cutover.status.as_ref().and_then(|s| s.message.clone()).filter(|m| !m.is_empty());
    message.unwrap_or_else(|| "no run has been started yet".to_owned())
}
