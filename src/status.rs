//! PURE. Journal → conditions, columns and a message that ends with the next command. Reads no clock, writes nothing.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::condition::{reasons, set, types, unset};
use crate::api::cutover::{Cutover, CutoverStatus, GateStatus, Release};
use crate::api::phase::Phase;
use crate::api::run::{CutoverRun, RunState, RunStatus, StepRecord, StepState, SwitchState, TrialVerdict};
use crate::api::trigger::{Trigger, Until};
use crate::endpoints::way_back::{OldSide, stopped_by};
use crate::journal;
use crate::plan::after::RETIRE;
use crate::plan::{PLAN_VERSION, Plan, Stage, unknown_form};
use crate::route::{Names, Seen};
use crate::world::{Reading, World};

/// Longest part of the refusals that stands in other places than `Accepted`, in characters.
const SHORT: usize = 512;

/// Prefix of the read that rehearses a restore.
pub const REHEARSAL: &str = "rehearse-restore@";

/// Services of the run whose selector is neither side's.
pub fn drifted(plan: &Plan, world: &World) -> Vec<String> {
    let foreign = |name: &&String| {
        world.service(name).is_some_and(|v| Seen::from(v).names(&plan.old, &plan.target) == Names::Foreign)
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

    can_roll_back(plan, journal, world, &mut list);
    journal.conditions = list;
}

/// Ready, Reconciling and Stalled, as kstatus reads them (DESIGN §4).
fn kstatus(journal: &RunStatus, list: &mut Vec<Condition>, now: Timestamp) {
    let phase = journal.phase;
    let (reason, message) = kstatus_of(journal);
    let (reason, message) = (reason.as_str(), message.as_str());
    let ready = matches!(phase, Phase::Idle | Phase::Completed);
    let stalled = phase.is_over();
    set(list, types::READY, ready, reason, message, now);
    set(list, types::RECONCILING, !ready && !stalled, reason, message, now);
    set(list, types::STALLED, stalled, reason, message, now);
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
    let refusal = world.readings.iter().filter(|(k, _)| k.starts_with(REHEARSAL)).find_map(|(_, r)| match r {
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
pub fn go_back_anew(plan: &Plan) -> String {
    format!(
        "{side} is retired (scaled down), so this run cannot go back; set spec.activate to {side}: a new run scales it up, \
         checks it, then switches",
        side = plan.old.name
    )
}

/// What the controller knows about a Cutover besides its newest run.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The side that all Services point to, where that is one of the two.
    pub live: Option<String>,
    /// What stands in the way of starting a run, as (condition type, reason, message).
    pub problem: Option<(String, String, String)>,
}

/// The Cutover's status from its newest run (`None`: there is none, or it is of no interest any more).
/// Fields that only the controller may write (`started`, `runs`, `run`, `releases`) are kept as they are.
pub fn project(cutover: &Cutover, run: Option<&CutoverRun>, facts: &Facts, now: Timestamp) -> CutoverStatus {
    let old = cutover.status.clone().unwrap_or_default();
    let mut conditions = old.conditions.clone();
    for type_ in [
        types::AWAITING_DECISION,
        types::CAN_ROLL_BACK,
        types::ROLLBACK_BLOCKED,
        types::SELECTOR_DRIFT,
        types::SERVICE_CONFLICT,
        types::OUTCOME_UNKNOWN,
        types::NODE_LOST,
        types::METRICS_INCONCLUSIVE,
        types::SUSPENDED,
    ] {
        // Nothing takes a closed run back, whatever its last look at the old side was.
        let stands =
            |j: &&RunStatus| j.state != RunState::Closed || type_ != types::CAN_ROLL_BACK || journal::is_retired(j);
        let journal = run.and_then(|r| r.status.as_ref()).filter(stands);
        let in_run = journal.and_then(|j| j.conditions.iter().find(|c| c.type_ == type_));
        match in_run {
            Some(c) => set(&mut conditions, type_, c.status == "True", &c.reason, &c.message, now),
            None => unset(&mut conditions, type_),
        }
    }
    let live = facts.live.as_ref().map(|side| at_version(side, old.releases.get(side).map(String::as_str)));
    let mut status = CutoverStatus {
        observed_generation: cutover.metadata.generation,
        live,
        conditions: vec![],
        target: None,
        step: None,
        gate: None,
        progress: None,
        message: None,
        phase: Some(Phase::Idle),
        since: old.since,
        ..old.clone()
    };
    let journal = run.and_then(|r| r.status.as_ref());
    let (reason, message) = match (run, journal, &facts.problem) {
        (Some(run), Some(journal), _) => {
            columns(cutover, run, journal, &mut status);
            kstatus_of(journal)
        }
        (_, _, Some((_, reason, message))) => (reason.clone(), message.clone()),
        _ => (reasons::IDLE.to_owned(), String::new()),
    };
    if let Some((type_, reason, message)) = &facts.problem {
        set(&mut conditions, type_, true, reason, message, now);
        status.message = Some(message.clone());
    }
    let phase = status.phase.unwrap_or_default();
    // What cannot be carried out as it is written is Stalled, a run of what was written before or not.
    let refused = conditions.iter().find(|c| c.type_ == types::ACCEPTED && c.status == "False");
    let refused = refused.map(|c| (c.reason.clone(), c.message.chars().take(SHORT).collect::<String>()));
    // Nor can the steps of a run whose plan another operator wrote.
    let open = |r: &&CutoverRun| r.status.as_ref().is_none_or(|s| s.state != RunState::Closed);
    let foreign = run.filter(open).filter(|r| r.spec.plan_version != PLAN_VERSION);
    let foreign = foreign.map(|_| (reasons::PLAN_VERSION.to_owned(), unknown_form()));
    if let Some((_, message)) = &foreign {
        status.message = Some(message.clone());
    }
    let refused = foreign.or(refused);
    let blocked = facts.problem.is_some() && journal.is_none_or(|j| j.phase.is_over() || j.phase == Phase::Completed);
    let at_rest = matches!(phase, Phase::Idle | Phase::Completed);
    let over = phase.is_over() || blocked;
    let (reason, message) = match (&facts.problem, &refused) {
        (Some((_, reason, message)), _) if blocked => (reason.clone(), message.clone()),
        (_, Some(refused)) if at_rest || over => refused.clone(),
        _ => (reason, message),
    };
    if refused.is_some() && facts.problem.is_none() && (at_rest || over) {
        status.message = Some(message.clone());
    }
    let ready = at_rest && !over && refused.is_none();
    set(&mut conditions, types::READY, ready, &reason, &message, now);
    set(&mut conditions, types::RECONCILING, !at_rest && !over, &reason, &message, now);
    let (reason, message) = refused.clone().filter(|_| !over).unwrap_or((reason, message));
    set(&mut conditions, types::STALLED, over || refused.is_some(), &reason, &message, now);
    // What was checked is of the generation that was checked.
    for c in conditions.iter_mut().filter(|c| c.type_ != types::ACCEPTED) {
        c.observed_generation = cutover.metadata.generation;
    }
    if status.phase != old.phase && journal.is_none() {
        status.since = Some(now);
    }
    status.conditions = conditions;
    status
}

/// Reason and message: why the run ends, else what it waits for, else what the step under way says of itself.
fn kstatus_of(journal: &RunStatus) -> (String, String) {
    if let Some(e) = &journal.ending {
        let waits = journal.waiting.iter().filter(|_| !journal.phase.is_over());
        return (e.reason.clone(), waits.fold(e.message.clone(), |text, why| format!("{text}; {why}")));
    }
    let step = || {
        let running = journal.steps.iter().find(|r| r.state == StepState::Running && r.message.is_some());
        running.map(|r| format!("{}: {}", r.name, r.message.as_deref().unwrap_or_default()))
    };
    let message = journal.waiting.clone().or_else(step).unwrap_or_default();
    (journal.phase.as_str().to_owned(), message)
}

/// `green@2.4.0`, or the side alone where the release has no version.
fn at_version(side: &str, version: Option<&str>) -> String {
    match version {
        Some(v) if !v.is_empty() => format!("{side}@{v}"),
        _ => side.to_owned(),
    }
}

/// The name of a release: version, else tag, else revision.
pub fn release_name(release: &Release) -> Option<&str> {
    release.version.as_deref().or(release.tag.as_deref()).or(release.revision.as_deref())
}

fn columns(cutover: &Cutover, run: &CutoverRun, journal: &RunStatus, status: &mut CutoverStatus) {
    status.phase = Some(journal.phase);
    status.since = journal.phase_since;
    let plan = serde_json::from_value::<Plan>(run.spec.plan.clone()).ok();
    let target = plan.as_ref().map_or(cutover.spec.activate.as_str(), |p| p.target.name.as_str());
    let version = plan.as_ref().map(|p| p.release.clone()).or_else(|| cutover.spec.release.clone());
    status.target = Some(at_version(target, version.as_ref().and_then(release_name)));
    if !journal.phase.is_over() {
        let running: Vec<&str> = journal
            .steps
            .iter()
            .filter(|r| matches!(r.state, StepState::Running | StepState::Unknown))
            .map(|r| r.name.as_str())
            .take(3)
            .collect();
        status.step = (!running.is_empty()).then(|| running.join(","));
    }
    if let Some(plan) = &plan {
        // Up to Completed: what comes after it is told in the message.
        let forward = |s: Stage| !matches!(s, Stage::Rollback | Stage::RollbackVerify) && !s.after_completed();
        let all = plan.steps.iter().filter(|s| forward(s.stage)).count();
        let done = plan
            .steps
            .iter()
            .filter(|s| forward(s.stage))
            .filter(|s| journal.steps.iter().any(|r| r.name == s.name && crate::journal::is_done(r.state)))
            .count();
        status.progress = Some(format!("{done}/{all}"));
    }
    status.gate = plan.as_ref().and_then(|plan| gate(plan, journal));
    status.message = Some(message(cutover, run, journal, plan.as_ref()));
}

/// The gate that waits for people, if one does.
fn gate(plan: &Plan, journal: &RunStatus) -> Option<GateStatus> {
    let record = journal.steps.iter().find(|r| r.state == StepState::Running && r.gate.is_some())?;
    let (open, approval) = (record.gate.clone()?, plan.gate(&record.name)?);
    Some(GateStatus {
        name: record.name.clone(),
        token: open.token,
        until: open.until,
        roles: open.roles,
        instructions: approval.instructions.clone(),
        checklist: approval.checklist.clone(),
    })
}

/// What goes on, in one line; where a person is needed it ends with the next command.
fn message(cutover: &Cutover, run: &CutoverRun, journal: &RunStatus, plan: Option<&Plan>) -> String {
    let name = run.metadata.name.as_deref().unwrap_or_default();
    let namespace = cutover.metadata.namespace.as_deref().unwrap_or_default();
    let look = format!("kubectl describe cutoverrun {name} -n {namespace}");
    let raised = [
        types::ROLLBACK_BLOCKED,
        types::OUTCOME_UNKNOWN,
        types::AWAITING_DECISION,
        types::NODE_LOST,
        types::SELECTOR_DRIFT,
        types::SUSPENDED,
        types::METRICS_INCONCLUSIVE,
    ]
    .into_iter()
    .find_map(|t| journal.conditions.iter().find(|c| c.type_ == t && c.status == "True"));
    if let Some(c) = raised.filter(|_| !journal.phase.is_over()) {
        return format!("{}: {}; next: {look}", c.type_, c.message);
    }
    if let Some(e) = &journal.ending {
        if journal.phase.is_over() {
            let trouble = if e.incomplete { " (an undo or rollback step failed)" } else { "" };
            return format!("{}{trouble}; next: {look}", e.message);
        }
        let restored = journal.switch.as_ref().is_none_or(|s| s.restored_at.is_some());
        let doing = match (&journal.waiting, restored) {
            (Some(why), _) => why.as_str(),
            (None, true) => "undoing what was done",
            (None, false) => "the selectors go back",
        };
        return format!("{}; {doing}", e.message);
    }
    if let Some(why) = &journal.waiting {
        return format!("waits: {why}");
    }
    match journal.phase {
        Phase::Observing => {
            let (Some(plan), Some(o)) = (plan, &journal.observation) else { return "observing".into() };
            format!("observed {}s of {}", o.conclusive_ms / 1000, plan.observe.for_)
        }
        Phase::Completed => "done".into(),
        _ => journal
            .steps
            .iter()
            .find(|r| r.state == StepState::Running)
            .and_then(|r| r.message.as_ref().map(|m| format!("{}: {m}", r.name)))
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
