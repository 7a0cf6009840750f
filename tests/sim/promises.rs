//! The promises of the design (DESIGN §8), checked at every status write, at every write to a user's object and after
//! every tick. A broken one is put into [`Cluster::broken`] with its number.
//!
//! Here: P1 to P7, P10, P12 to P14, and the order of a rollback (§5). Not here: P8 and P9 (they need a real API server).

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use cutover::api::Duration;
use cutover::api::decision::Verb;
use cutover::api::notices::Notice;
use cutover::api::phase::Phase;
use cutover::api::run::{RunState, RunStatus, Selector, StepRecord, StepState, SwitchState};
use cutover::api::step::{Approval, OnFailure};
use cutover::effect::{Attempt, Change, Effect};
use cutover::endpoints::{carries, matches};
use cutover::journal;
use cutover::plan::after::{CLOSE, PlanFollowUp};
use cutover::plan::{Action, Plan, Stage, undo_name};

use super::cluster::{Cluster, Who, Wrote};

fn record<'a>(status: &'a RunStatus, name: &str) -> Option<&'a StepRecord> {
    status.steps.iter().find(|r| r.name == name)
}

fn over(state: StepState) -> bool {
    matches!(state, StepState::Succeeded | StepState::Failed | StepState::Skipped)
}

fn open(state: SwitchState) -> bool {
    matches!(state, SwitchState::Claimed | SwitchState::Switched)
}

/// Checks a status write against the one before it.
pub fn at_status(cluster: &mut Cluster, before: &RunStatus) {
    let mut broken = vec![];
    let (plan, after) = (&cluster.plan, &cluster.status);
    if before.state == RunState::Closed {
        broken.push("P7: a closed run wrote its status".to_owned());
    }
    if before.phase.is_over() && after.phase != before.phase {
        broken.push(format!("what is over stays over: {} became {}", before.phase, after.phase));
    }
    if after.state == RunState::Closed
        && let Some(switch) = &after.switch
        && after.phase.is_over()
        && switch.services.iter().any(|s| open(s.state))
        && cluster.cutover.as_ref().is_some_and(|c| !c.namespace_going)
    {
        broken.push("P11: the run closed with a Service that may still be switched".to_owned());
    }
    cluster.words_count_once(&mut broken);
    let anew = begun_anew(before, after);
    for old in &before.steps {
        if anew && of_preflight(plan, &old.name) {
            started_over(after, old, &mut broken);
            continue;
        }
        match record(after, &old.name) {
            None => broken.push(format!("P2: the record of {} vanished", old.name)),
            Some(new) if old.state == StepState::Succeeded && new.state != StepState::Succeeded => {
                broken.push(format!("P2: {} had succeeded and is now {:?}", old.name, new.state));
            }
            Some(new) if new.attempt < old.attempt => broken.push(format!("P2: the attempt of {} fell", old.name)),
            Some(new) if old.attempt == new.attempt => {
                let lost = |a: &Option<_>, b: &Option<_>| a.is_some() && a != b;
                if let (Some(a), b) = (&old.job, new.job.as_ref())
                    && b.is_none_or(|b| b.name != a.name || lost(&a.uid, &b.uid))
                {
                    broken.push(format!("P1: the recorded Job of {} was forgotten", old.name));
                }
            }
            Some(_) => {}
        }
    }
    let begun: Vec<&StepRecord> = after.steps.iter().filter(|r| record(before, &r.name).is_none()).collect();
    for new in begun {
        match new.name.strip_prefix("undo/") {
            Some(step) => undo_in_order(plan, after, step, &mut broken),
            None => step_in_order(cluster, new, &mut broken),
        }
    }
    for (old, new) in before.switch.iter().zip(&after.switch).flat_map(|(a, b)| a.services.iter().zip(&b.services)) {
        if matches!(old.state, SwitchState::Restored | SwitchState::Refused) && old.state != new.state {
            broken.push(format!("P4: Service {} was {:?} and is now {:?}", old.name, old.state, new.state));
        }
        if old.resource_version != new.resource_version && old.unanswered {
            broken.push(format!("P4: Service {} is claimed anew, and a patch of its is unanswered", old.name));
        }
        if (&old.uid, &old.from, &old.to, old.wanted) != (&new.uid, &new.from, &new.to, new.wanted) {
            broken.push(format!("P4: what was claimed of Service {} has changed", old.name));
        }
    }
    if let (None, Some(switch)) = (&before.switch, &after.switch) {
        for s in switch.services.iter().filter(|_| !cluster.touched) {
            let wanted = wanted(cluster, &s.to);
            if s.wanted != wanted {
                broken.push(format!("P5: Service {} is claimed for {} pods, it wants {wanted}", s.name, s.wanted));
            }
        }
    }
    for step in &plan.steps {
        let passed = |s: &RunStatus| record(s, &step.name).is_some_and(|r| r.state == StepState::Succeeded);
        if let Action::Approval(approval) = &step.action
            && passed(after)
            && !passed(before)
        {
            quorum(cluster, &step.name, approval, &mut broken);
        }
    }
    cluster.broken.append(&mut broken);
}

/// Whether Preflight has begun anew, since the target changed.
fn begun_anew(before: &RunStatus, after: &RunStatus) -> bool {
    let of = |status: &RunStatus| status.start_over.as_ref().map_or((0, false), |s| (s.times, s.pending));
    let ((times, pending), (now, open)) = (of(before), of(after));
    !open && (now > times || pending)
}

fn of_preflight(plan: &Plan, name: &str) -> bool {
    plan.stage(Stage::Preflight).any(|step| step.name == name || step.parts().iter().any(|part| part.name == name))
}

/// P1: what a step did before Preflight began anew is not forgotten, and no later attempt is named like an earlier one.
fn started_over(after: &RunStatus, old: &StepRecord, broken: &mut Vec<String>) {
    let known: BTreeSet<&str> = journal::jobs(after).map(|job| job.name.as_str()).collect();
    if old.job.iter().chain(&old.former_jobs).any(|job| !known.contains(job.name.as_str())) {
        broken.push(format!("P1: a Job of {} was forgotten when preflight started over", old.name));
    }
    let former = after.start_over.iter().flat_map(|over| &over.steps).find(|f| f.name == old.name).map(|f| f.attempt);
    let now = record(after, &old.name).map(|r| if r.attempts_before >= old.attempt { r.attempts_before } else { 0 });
    if former.or(now).unwrap_or(0) < old.attempt {
        broken.push(format!("P1: the attempts of {} were forgotten when preflight started over", old.name));
    }
}

/// P6: counted from what people said, not from what the journal says of it.
fn quorum(cluster: &Cluster, gate: &str, approval: &Approval, broken: &mut Vec<String>) {
    let on_gate = |verb: Verb| {
        let words =
            cluster.decisions.iter().filter(move |d| d.spec.decision == verb && d.spec.gate.as_deref() == Some(gate));
        words.filter(|d| d.spec.run_uid == cluster.run.1)
    };
    for role in &approval.roles {
        let people: BTreeSet<_> = on_gate(Verb::Approve)
            .filter(|d| d.spec.role.as_ref() == Some(&role.name) && d.spec.token.is_some())
            .map(|d| &d.spec.by)
            .collect();
        if people.len() < role.count.unwrap_or(1) as usize {
            broken.push(format!("P6: gate {gate} passed with {} of {:?} for {}", people.len(), role.count, role.name));
        }
    }
    let people: BTreeSet<_> = on_gate(Verb::Approve).map(|d| &d.spec.by).collect();
    let wanted: u32 = approval.roles.iter().map(|r| r.count.unwrap_or(1)).sum();
    if approval.distinct && people.len() < wanted as usize {
        broken.push(format!("P6: gate {gate} passed by {} people, {wanted} were asked for", people.len()));
    }
}

/// P2: every step before a new one is recorded as over.
fn step_in_order(cluster: &Cluster, new: &StepRecord, broken: &mut Vec<String>) {
    let (plan, after) = (&*cluster.plan, &cluster.status);
    let Some(position) = plan.steps.iter().position(|s| s.name == new.name) else { return };
    let rollback = Stage::is_way_back;
    let Some(stage) = plan.steps.get(position).map(|s| s.stage) else { return };
    for former in plan.steps.iter().take(position).filter(|s| rollback(s.stage) == rollback(stage)) {
        // Follow-ups are due by the clock: one does not wait for another about which people are asked.
        let together = |f: &PlanFollowUp| f.run.contains(&former.name) && f.run.contains(&new.name);
        if former.stage == Stage::FollowUp && !plan.follow_up.iter().any(together) {
            continue;
        }
        // What comes before the restore has its time, and does not run for every one.
        let first = former.stage == Stage::BeforeRestore && stage != Stage::BeforeRestore;
        if record(after, &former.name).is_none_or(|r| !over(r.state) && r.state != StepState::Unknown)
            && !(first && record(after, &former.name).is_none())
        {
            broken.push(format!("P2: {} began before {} was over", new.name, former.name));
        }
    }
    if stage == Stage::BeforeRestore {
        let services = after.switch.iter().flat_map(|s| &s.services);
        let begun = after.ending.as_ref().is_none_or(|e| e.prepared_at.is_some());
        if new.state == StepState::Running && (begun || !services.into_iter().any(|s| open(s.state))) {
            broken.push(format!("§5.8: {} began though nothing is to be restored after it", new.name));
        }
    } else if rollback(stage) {
        restored_first(after, &new.name, broken);
        for step in plan.steps.iter().filter(|s| s.undo.is_some()) {
            if record(after, &undo_name(&step.name)).is_some_and(|r| r.state == StepState::Running) {
                broken.push(format!("§5.3: {} began while the undo of {} ran", new.name, step.name));
            }
        }
    } else if after.ending.is_some() && new.state == StepState::Running && !cluster.unwritten {
        broken.push(format!("§4: {} began although the run is ending", new.name));
    }
}

/// §5: undos run after the restore, in reverse order, one after another.
fn undo_in_order(plan: &Plan, after: &RunStatus, step: &str, broken: &mut Vec<String>) {
    let position = |name: &str| plan.steps.iter().position(|s| s.name == name);
    let alone = plan.step(step).is_some_and(|s| s.on_failure == OnFailure::UndoStep);
    if record(after, step).is_none() {
        broken.push(format!("§5.3: {step} is undone though it was never begun"));
    }
    if after.ending.is_none() {
        if !alone {
            broken.push(format!("§5.3: {step} is undone though the run is not ending"));
        }
        return;
    }
    let before = |name: &str| plan.step(name).and_then(|s| s.undo.as_ref()).is_some_and(|undo| undo.before_restore);
    if !before(step) || after.ending.as_ref().is_some_and(|e| e.prepared_at.is_some()) {
        restored_first(after, &undo_name(step), broken);
    }
    let uses = plan.step(step).and_then(|s| s.undo.as_ref()).is_some_and(|undo| plan.uses_target(&undo.action));
    if !uses && after.closings.iter().any(|c| c.ended.is_none() && !c.stop) {
        broken.push(format!("§5.7: {step} is undone before the target's connections are ended"));
    }
    for other in after.steps.iter().filter(|r| r.name != undo_name(step)) {
        let Some(name) = other.name.strip_prefix("undo/") else { continue };
        let own = plan.step(name).is_some_and(|s| s.on_failure == OnFailure::UndoStep);
        if !own && !before(name) && position(name) < position(step) {
            broken.push(format!("§5.3: {name} was undone before {step}"));
        }
        if other.state == StepState::Running {
            broken.push(format!("§5.3: {step} is undone while the undo of {name} runs"));
        }
    }
}

/// §5.1: nothing comes before the restore, unless it was decided that undos do (§5.6).
fn restored_first(after: &RunStatus, what: &str, broken: &mut Vec<String>) {
    let undo_first = after.ending.as_ref().is_some_and(|e| e.undo_first == Some(true));
    if !undo_first && after.switch.iter().flat_map(|s| &s.services).any(|s| open(s.state)) {
        broken.push(format!("§5.1: {what} began before the selectors were back"));
    }
}

/// An effect that the operator is about to send: its intent must be in the stored status.
pub fn at_dispatch(cluster: &mut Cluster, effect: &Effect) {
    let status = &cluster.status;
    if status.state == RunState::Closed {
        cluster.broken.push(format!("P7: a closed run sends {}", effect.key()));
        return;
    }
    let job = |name: &str| status.steps.iter().filter_map(|s| s.job.as_ref()).find(|j| j.name == name);
    let switch = |name: &str| status.switch.iter().flat_map(|s| &s.services).find(|s| s.name == name);
    let claimed = match effect {
        Effect::CreateJob { name, .. } => job(name).is_some_and(|j| j.uid.is_none()),
        Effect::StartJob { name, uid } => job(name).is_some_and(|j| j.uid.as_ref() == Some(uid) && !j.killed),
        Effect::DeleteJob { name, uid, .. } => job(name).is_some_and(|j| j.uid.as_ref() == Some(uid)),
        // Jobs of former attempts are handed over, too.
        Effect::OwnJob { name, uid } => journal::jobs(status).any(|j| j.name == *name && j.uid.as_ref() == Some(uid)),
        Effect::Answer { uid, result, accepted, .. } => cluster.answer_is_recorded(uid, result, *accepted),
        Effect::Keep { key, .. } => {
            status.steps.iter().any(|s| Attempt::of(&s.name, s.attempt) == *key && s.state == StepState::Running)
        }
        Effect::OwnSecret { .. } => !status.secret_owned && status.closing_since.is_some(),
        // Says nothing of what comes of it.
        Effect::TakeUp { .. } => true,
        Effect::Send { key, .. } => status
            .steps
            .iter()
            .any(|s| Attempt::of(&s.name, s.attempt) == *key && s.sent.is_some() && s.state == StepState::Running),
        // In order: nothing that happened before it is still to be told to that receiver.
        Effect::Notify { receiver, letter, .. } => {
            let waits = |n: &&Notice| n.to.as_ref().is_some_and(|to| to.contains(&receiver.name));
            status.notices.pending.iter().find(waits).is_some_and(|first| first.id == letter.id)
        }
        Effect::Switch { route, uid, resource_version, .. } => {
            status.phase == Phase::Switching
                && status.ending.is_none()
                && switch(&route.name).is_some_and(|s| {
                    s.state == SwitchState::Claimed && s.uid == *uid && s.resource_version == *resource_version
                })
        }
        // A Service that was gone may be back, pointing to the target.
        Effect::Restore { route, .. } => {
            !status.phase.is_over()
                && switch(&route.name).is_some_and(|s| open(s.state) || s.state == SwitchState::Gone)
        }
        Effect::DeletePod { uid, .. } => {
            status.closings.iter().flat_map(|c| &c.pods).any(|pod| pod.uid == *uid && !pod.done)
        }
        Effect::Change { why, object, change, .. } => {
            // What is kept for an undo is dropped when none is to come; everything else is sent before it is done.
            let forgets = matches!(change, Change::ForgetEnv { .. });
            let over = status.phase == Phase::Completed || status.phase.is_over();
            let of_step = status.steps.iter().filter(|s| s.name == *why);
            let mut all = of_step.flat_map(|s| &s.before).filter(|b| b.object == *object && !b.forgotten);
            let before = all.any(|b| b.done == forgets && (!forgets || over));
            let ended = status.closings.iter().flat_map(|c| &c.workloads).any(|w| w.workload == *object && !w.done);
            before
                || (why == CLOSE && ended)
                || (why == "restore" && status.ending.as_ref().is_some_and(|e| e.scaled_at.is_some()))
        }
    };
    if !claimed {
        cluster.broken.push(format!("§8: {} is sent, but its intent is not written", effect.key()));
    }
}

/// Checks what an effect wrote: everything in the audit from `from` on.
pub fn at_write(cluster: &mut Cluster, effect: &Effect, from: usize) {
    let news: Vec<_> = cluster.audit.iter().skip(from).filter(|a| a.who == Who::Us).map(|a| a.what.clone()).collect();
    for what in news {
        match what {
            Wrote::Selector { service, uid, from, to } => selector(cluster, effect, &service, &uid, &from, &to),
            Wrote::JobStarted { job, .. } => {
                let step = cluster
                    .jobs
                    .get(&job)
                    .and_then(|j| j.view.step.as_ref())
                    .map_or(job.clone(), |step| step.to_string());
                once(cluster, "P1: start", &step);
            }
            Wrote::Answered { decision } => once(cluster, "P14: answer to", &decision),
            Wrote::Sent { key } => once(cluster, "P1: request of", &key),
            Wrote::PodDeleted { pod, uid, labels } => {
                once(cluster, "P13: deletion of", &uid);
                if cluster.services.values().any(|s| matches(&labels, &s.view.selector)) {
                    cluster.broken.push(format!("P13: pod {pod} was deleted while a Service selects it"));
                }
            }
            Wrote::Scaled { workload, from, to } if to < from => {
                let labels = cluster.workloads.get(&workload).map(|w| w.pod_labels.clone()).unwrap_or_default();
                let selected = cluster.services.values().any(|s| matches(&labels, &s.view.selector));
                let side = cluster.side_of(&(&workload).into());
                let live = selected || side.is_some_and(|side| cluster.is_live(side, &cluster.plan.services));
                if live && !downtime_allowed(cluster, effect) {
                    cluster.broken.push(format!("P13: {} was shrunk while a Service selects it", workload.name));
                }
            }
            _ => {}
        }
    }
}

fn selector(cluster: &mut Cluster, effect: &Effect, service: &str, uid: &str, from: &Selector, to: &Selector) {
    let names = |s: &Selector| {
        [&cluster.plan.old, &cluster.plan.target].into_iter().filter(|side| carries(s, &side.selector)).count() == 1
    };
    if !names(to) {
        let text = format!("P3: Service {service} got a selector that is neither side's: {to:?}");
        cluster.broken.push(text);
    } else if !names(from) {
        cluster.broken.push(format!("P12: a foreign selector of Service {service} was fought"));
    }
    match effect {
        Effect::Switch { .. } => {
            let ready = cluster.ready(service, to);
            let claims = cluster.status.switch.iter().flat_map(|s| &s.services);
            let wanted = claims.filter(|s| s.name == service).map(|s| s.wanted).next().unwrap_or(u32::MAX);
            let needed = cluster.plan.switch.min_ready.of(wanted);
            if ready == 0 || ready < needed {
                cluster.broken.push(format!("P5: Service {service} was switched with {ready} of {needed} ready"));
            }
            once(cluster, "P4: switch of", &format!("{service}/{uid}"));
        }
        Effect::Restore { guard, .. } => {
            let target = cluster.plan.target.selector.clone();
            let ready = cluster.ready(service, to);
            let other = cluster.ready(service, &cutover::endpoints::whole_selector(to, &target));
            if !guard.allows(ready, Some(other)) || ready == 0 {
                cluster.broken.push(format!("§5.2: Service {service} was restored onto {ready} (target {other})"));
            }
            once(cluster, "P4: restore of", &format!("{service}/{uid}"));
        }
        _ => cluster.broken.push(format!("P3: {} wrote a selector", effect.key())),
    }
}

/// Replicas of the target's workloads whose pods a selector selects.
fn wanted(cluster: &Cluster, selector: &Selector) -> u32 {
    let views = cluster.plan.target.workloads.iter().filter_map(|w| cluster.workloads.get(w));
    views.filter(|v| matches(&v.pod_labels, selector)).map(|v| v.wanted).sum::<u32>().max(1)
}

fn once(cluster: &mut Cluster, what: &str, of: &str) {
    let n = cluster.counts.entry(format!("{what} {of}")).or_insert(0);
    *n = n.saturating_add(1);
    if *n > 1 {
        let n = *n;
        cluster.broken.push(format!("{what} {of} happened {n} times"));
    }
}

fn downtime_allowed(cluster: &Cluster, effect: &Effect) -> bool {
    let plan = &cluster.plan;
    let Effect::Change { why, .. } = effect else { return false };
    if why == CLOSE {
        // A person has the target stopped.
        return cluster.status.closings.iter().any(|c| c.stop);
    }
    plan.step(why).is_some_and(|s| matches!(&s.action, Action::Scale(scale) if scale.allow_downtime))
}

/// P3: outside Switching and RollingBack all Services of the run agree, unless others had their hands in it.
pub fn after_tick(cluster: &mut Cluster) {
    if cluster.touched || matches!(cluster.status.phase, Phase::Switching | Phase::RollingBack) {
        return;
    }
    let mut sides: Vec<_> = cluster.plan.services.iter().map(|s| cluster.points_to(s).map(str::to_owned)).collect();
    sides.dedup();
    if sides.len() > 1 {
        cluster.broken.push(format!("P3: in {} the Services point to {sides:?}", cluster.status.phase));
    }
}

/// P10: what a run that has not closed waits for, if that is a person or a condition with a name.
pub fn waits_for(cluster: &Cluster) -> Option<String> {
    let status = &cluster.status;
    if let Some(q) = &status.question
        && q.until.is_none()
    {
        return Some(format!("a person's answer about {}", q.subject));
    }
    if let Some(step) = status.steps.iter().find(|s| s.state == StepState::Unknown) {
        return Some(format!("a person's word about {}", step.name));
    }
    if status.suspended.is_some() || cluster.cutover.as_ref().is_some_and(|c| c.suspend) {
        return Some("resume".into());
    }
    // It stays, and says why (DESIGN §4).
    if let (Phase::Pending, Some(why)) = (status.phase, &status.waiting) {
        return Some(why.clone());
    }
    let named = ["RollbackBlocked", "SelectorDrift", "ServiceConflict"];
    if let Some(c) = status.conditions.iter().find(|c| named.contains(&c.type_.as_str()) && c.status == "True") {
        return Some(format!("condition {}: {}", c.type_, c.reason));
    }
    None
}

/// P10: how long a run takes, without the time in which it waits for a person or a condition with a name.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    last: Option<Timestamp>,
    counts: bool,
    took: SignedDuration,
}

impl Clock {
    /// Counts the time since the tick before, as what the run was doing then.
    pub fn tick(&mut self, cluster: &Cluster) {
        if let Some(last) = self.last.replace(cluster.now)
            && self.counts
        {
            self.took += cluster.now.duration_since(last);
        }
        self.counts = cluster.status.state == RunState::Active && waits_for(cluster).is_none();
    }

    /// What is wrong with it.
    pub fn check(&self, plan: &Plan, begun: Timestamp) -> Option<String> {
        let longest = longest(plan, begun);
        (self.took > longest).then(|| format!("P10: the run took {:#}, its timeouts add up to {longest:#}", self.took))
    }
}

/// The sum of the plan's timeouts, and a little for what has none: requests, watches, pods that end.
fn longest(plan: &Plan, begun: Timestamp) -> SignedDuration {
    let mut all = SignedDuration::from_mins(5);
    let mut add = |d: Duration| all = all.saturating_add(d.signed());
    for step in &plan.steps {
        // Preflight starts over three times at most.
        (0..if step.stage == Stage::Preflight { 4 } else { 1 }).for_each(|_| add(step.timeout));
        step.undo.iter().for_each(|undo| add(undo.timeout));
        // Jobs that are killed, or do not end: their pods have a minute, and are looked at live every half.
        add(Duration::from_mins(2));
    }
    // Everything that asks people and takes its default after a while.
    plan.observe.triggers.iter().filter_map(|t| t.within).for_each(&mut add);
    plan.observe.built_in.iter().for_each(|_| add(ASKED));
    add(ASKED);
    plan.rollback.iter().for_each(|rollback| add(rollback.within));
    add(plan.switch.timeout);
    add(plan.switch.timeout);
    add(plan.switch.drain);
    add(plan.observe.timeout);
    for follow_up in &plan.follow_up {
        let last = follow_up.due(begun, follow_up.rounds()).duration_since(begun);
        all = all.saturating_add(last);
    }
    plan.retire.iter().for_each(|retire| all = all.saturating_add(retire.after.signed()));
    plan.window.iter().for_each(|window| all = all.saturating_add(window.end.duration_since(begun)));
    all
}

/// How long people are asked about a trigger that names no time itself.
const ASKED: Duration = Duration::from_mins(15);
