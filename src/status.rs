//! PURE. What people see of a run: its conditions, from journal and world, and (`project`) the columns of its Cutover and
//! a message that ends with the next command. Reads no clock, writes nothing.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::condition::{reasons, set, types, unset};
use crate::api::phase::Phase;
use crate::api::run::{Ending, RunStatus, StepRecord, StepState, SwitchState, TrialVerdict};
use crate::api::trigger::{Trigger, Until};
use crate::endpoints::way_back::{OldSide, stopped_by};
use crate::journal;
use crate::plan::Plan;
use crate::plan::after::RETIRE;
use crate::route::{Names, RouteView};
pub(crate) use crate::view::release_name;
use crate::world::{Reading, World};

mod project;

pub use project::project;
pub(crate) use project::{Facts, without_version};

/// Services of the run whose selector is neither side's.
pub(crate) fn drifted(plan: &Plan, world: &World) -> Vec<String> {
    let foreign = |name: &&String| {
        world.service(name).is_some_and(|v| RouteView::from(v).names(&plan.old, &plan.target) == Names::Foreign)
    };
    plan.services.iter().filter(foreign).cloned().collect()
}

/// Sets or clears `RollbackBlocked`.
pub fn block(journal: &mut RunStatus, blocked: Option<(&str, &str)>, now: Timestamp) {
    match blocked {
        Some((reason, why)) => set(&mut journal.conditions, types::ROLLBACK_BLOCKED, true, reason, why, now),
        None => unset(&mut journal.conditions, types::ROLLBACK_BLOCKED),
    }
}

/// Computes the run's conditions; transition times move only with the status.
pub fn conditions(plan: &Plan, journal: &mut RunStatus, world: &World) {
    let now = world.now;
    let mut list = std::mem::take(&mut journal.conditions);
    kstatus(journal, &mut list, now);

    let flag = |list: &mut Vec<Condition>, type_: &str, reason: &str, why: Option<String>| match why {
        Some(why) => set(list, type_, true, reason, &why, now),
        None => unset(list, type_),
    };
    let over = journal.phase.is_over();
    let drift = drifted(plan, world);
    let why = (!drift.is_empty() && !over).then(|| {
        format!(
            "Service {} has a selector that is neither side's; point it to {} or {} again",
            drift.join(", "),
            plan.old.name,
            plan.target.name
        )
    });
    flag(&mut list, types::SELECTOR_DRIFT, reasons::SELECTOR_DRIFT, why);

    let unknown = journal.steps.iter().find(|r| r.state == StepState::Unknown).filter(|_| !over);
    let why = unknown.map(|r| {
        let what = r.message.as_deref().unwrap_or("its result was lost");
        format!("step {}: {what}; find out what it did, then decide Resolve with outcome Succeeded or Failed", r.name)
    });
    flag(&mut list, types::OUTCOME_UNKNOWN, reasons::OUTCOME_UNKNOWN, why);

    let why = journal.question.as_ref().map(|q| match q.until {
        Some(until) => {
            let default = match (q.subject.as_str(), q.default_rollback) {
                ("restore", true) => "the undos run first",
                ("restore", false) => "the undos go on waiting",
                (_, true) => "rolls back",
                (_, false) => "goes on",
            };
            format!("{}; {default} by itself at {until:.0}", q.text)
        }
        None => q.text.clone(),
    });
    let gate = journal.steps.iter().find(|r| r.state == StepState::Running && r.gate.is_some()).filter(|_| !over);
    let why = why.or_else(|| gate.map(|r| format!("gate {}: {}", r.name, r.message.as_deref().unwrap_or_default())));
    flag(&mut list, types::AWAITING_DECISION, reasons::DECISION, why);

    // What is not looked at any more says nothing about today; what a lost node silences is said there.
    let is_armed = |t: &&Trigger| journal::is_armed(journal, t.until.unwrap_or_default());
    let armed = || plan.observe.triggers.iter().filter(is_armed);
    let judges = journal::is_armed(journal, Until::Completed) || armed().next().is_some();
    let why = journal.nodes_lost.as_ref().filter(|_| judges).map(|lost| lost.message.clone());
    flag(&mut list, types::NODE_LOST, types::NODE_LOST, why);
    let silent = armed()
        .filter_map(|t| journal::trigger(journal, &t.name))
        .filter(|_| journal.ending.is_none() && journal.nodes_lost.is_none())
        .find(|t| t.last == Some(TrialVerdict::Inconclusive) && !t.dismissed);
    let why = silent.map(|t| format!("trigger {} gives no verdict: {}", t.name, t.saw.as_deref().unwrap_or("no data")));
    flag(&mut list, types::METRICS_INCONCLUSIVE, types::METRICS_INCONCLUSIVE, why);

    let by_field = world.cutover.as_ref().and_then(|c| c.value.as_ref()).is_some_and(|c| c.suspend);
    let why = (by_field || journal.suspended.is_some()).then(|| {
        let by = if by_field { "spec.suspend is true" } else { "by a decision; decide Resume to go on" };
        format!("steps and observation stand still ({by}); triggers and rollback do not")
    });
    flag(&mut list, types::SUSPENDED, types::SUSPENDED, why.filter(|_| !over));

    flag(&mut list, types::NOTIFICATIONS_FAILING, reasons::NOT_DELIVERED, failing(journal));

    can_roll_back(plan, journal, world, &mut list);
    journal.conditions = list;
}

/// Receivers that have not taken what they were sent, more than once in a row.
fn failing(journal: &RunStatus) -> Option<String> {
    let notices = &journal.notices;
    let waits = |name: &String| notices.pending.iter().filter(|n| n.to.iter().flatten().any(|to| to == name)).count();
    let failing = notices.receivers.iter().filter(|(_, r)| r.failed > 1);
    let said = failing.map(|(name, r)| {
        let (tries, why) = (r.failed, r.why.as_deref().unwrap_or("no answer"));
        match waits(name) {
            // The last thing that it was to hear of has been given up.
            0 => format!("{name}: {why}"),
            n => format!("{name}: {why} ({tries} tries, {n} to be told)"),
        }
    });
    let all: Vec<String> = said.collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Ready, Reconciling and Stalled, as kstatus reads them (DESIGN §4).
fn kstatus(journal: &RunStatus, list: &mut Vec<Condition>, now: Timestamp) {
    let phase = journal.phase;
    let running = journal.steps.iter().filter(|r| r.state == StepState::Running);
    let says = running.filter_map(|r| Some((r.name.as_str(), r.message.as_deref()?))).next();
    let (reason, message) = why(phase, journal.ending.as_ref(), journal.waiting.as_deref(), says);
    let (reason, message) = (reason.as_str(), message.as_str());
    let ready = matches!(phase, Phase::Idle | Phase::Completed);
    let stalled = phase.is_over();
    set(list, types::READY, ready, reason, message, now);
    set(list, types::RECONCILING, !ready && !stalled, reason, message, now);
    set(list, types::STALLED, stalled, reason, message, now);
}

/// Reason and message: why the run ends, else what it waits for, else what the step under way says of itself.
fn why(phase: Phase, ending: Option<&Ending>, waiting: Option<&str>, says: Option<(&str, &str)>) -> (String, String) {
    if let Some(e) = ending {
        let waits = waiting.iter().filter(|_| !phase.is_over());
        return (e.reason.clone(), waits.fold(e.message.clone(), |text, why| format!("{text}; {why}")));
    }
    let step = || says.map(|(name, what)| format!("{name}: {what}"));
    let message = waiting.map(str::to_owned).or_else(step).unwrap_or_default();
    (phase.as_str().to_owned(), message)
}

/// Whether a rollback would work now: the dry run of the restore, and the old side's endpoints (DESIGN §5.5).
fn can_roll_back(plan: &Plan, journal: &RunStatus, world: &World, list: &mut Vec<Condition>) {
    if journal.switch.is_none() {
        return live_side_lost(plan, journal, world, list);
    }
    let Some(switch) = journal.switch.as_ref().filter(|_| journal.phase.after_switch() && journal.ending.is_none())
    else {
        unset(list, types::CAN_ROLL_BACK);
        return;
    };
    // One that was given up left the side as it was.
    let retires = |state: StepState| matches!(state, StepState::Running | StepState::Succeeded);
    if journal::record(journal, RETIRE).is_some_and(|r| retires(r.state)) {
        set(list, types::CAN_ROLL_BACK, false, reasons::RETIRED, &go_back_anew(plan), world.now);
        return;
    }
    if journal::is_reopened(journal) {
        unset(list, types::CAN_ROLL_BACK);
        return;
    }
    let refusal = world.readings.iter().filter(|(k, _)| k.is_rehearsal()).find_map(|(_, r)| match r {
        Reading::DryRun(refusals) => refusals.iter().find(|r| !r.transient).map(|r| (r.forbidden, r.why.clone())),
        _ => None,
    });
    if let Some((forbidden, why)) = refusal {
        let reason = if forbidden { reasons::PERMISSION_MISSING } else { reasons::SWITCH_FAILED };
        set(list, types::CAN_ROLL_BACK, false, reason, &why, world.now);
        return;
    }
    let switched = switch.services.iter().filter(|s| s.state == SwitchState::Switched);
    let known = switched.filter_map(|s| {
        let old = OldSide::of(plan, journal, world, s);
        Some((old.ready?, old, &s.name))
    });
    // The Service that is worst off stands for all.
    let Some((ready, old, service)) = known.min_by_key(|(ready, old, _)| (*ready >= old.min_ready, *ready)) else {
        return;
    };
    let live = &plan.old.name;
    let mut message = format!("{live} {ready}/{}", old.wanted);
    if switch.services.len() > 1 && ready < old.min_ready {
        message.push_str(&format!(" for Service {service}"));
    }
    let (can, reason) = match &old.stopped_by {
        _ if ready >= old.min_ready => (true, "OldSide"),
        Some(step) => {
            message.push_str(&format!("; stopped by step {step}, scaled up first"));
            (true, reasons::SCALED_UP_FIRST)
        }
        None if ready > 0 => {
            message.push_str(&format!(
                "; fewer than {}: a rollback scales {live} up and goes back to it after a few seconds",
                old.min_ready
            ));
            (true, "OldSide")
        }
        None => {
            message.push_str("; a rollback waits until it has a ready endpoint");
            (false, reasons::OLD_SIDE_EMPTY)
        }
    };
    set(list, types::CAN_ROLL_BACK, can, reason, &message, world.now);
}

/// Before the switch users are on the live side: that it has lost all of its endpoints, in a step that changes something
/// for example, is said at once, since a rollback would find the same.
fn live_side_lost(plan: &Plan, journal: &RunStatus, world: &World, list: &mut Vec<Condition>) {
    let changing = matches!(journal.phase, Phase::Preparing | Phase::Verifying | Phase::Switching);
    let lost = plan.services.iter().find(|name| world.ready_on(name, &plan.old) == Some(0));
    let Some(name) = lost.filter(|_| changing && journal.ending.is_none()) else {
        unset(list, types::CAN_ROLL_BACK);
        return;
    };
    let live = &plan.old.name;
    if let Some(step) = stopped_by(plan, journal, Some(world)) {
        let text = format!("{live} 0/0; stopped by step {step}, scaled up first");
        set(list, types::CAN_ROLL_BACK, true, reasons::SCALED_UP_FIRST, &text, world.now);
        return;
    }
    let known = list.iter().find(|c| c.type_ == types::CAN_ROLL_BACK && c.status == "False");
    let since = known.map_or(world.now, |c| c.last_transition_time.0);
    // The step under way at that moment, or the last one before it.
    let began = |r: &&StepRecord| r.started.is_some_and(|at| at <= since);
    let after =
        journal.steps.iter().filter(began).max_by_key(|r| r.started).map(|r| format!(", since step {}", r.name));
    let text = format!(
        "{live}, which is live, has no ready endpoint for Service {name} since {since:.0}{}; next: kubectl get pods -n {} -l {}",
        after.unwrap_or_default(),
        plan.namespace,
        plan.old.selector.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
    );
    set(list, types::CAN_ROLL_BACK, false, reasons::OLD_SIDE_EMPTY, &text, world.now);
}

/// What to do where the old side is retired.
pub(crate) fn go_back_anew(plan: &Plan) -> String {
    format!(
        "{side} is retired (scaled down), so this run cannot go back; set spec.activate to {side}: a new run scales it up, \
         checks it, then switches",
        side = plan.old.name
    )
}

#[cfg(test)]
mod tests;
