//! PURE. One model of a run, from the CutoverRun alone: its plan and its journal, put side by side. Whatever shows a run
//! (status, trace, Events, a follower, a report) reads this and nothing else of the journal, so that all of them tell the
//! same. Words belong to whoever shows it; no cluster is looked at.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Deserialize;

use crate::api::condition::types;
use crate::api::cutover::Release;
use crate::api::decision::Verb;
use crate::api::duration::Duration;
use crate::api::phase::Phase;
use crate::api::run::{
    Closing, CutoverRun, DecisionRecord, Ending, GateRecord, GateRole, Moment, ObservationClock, Question, RunState,
    RunStatus, ServiceSwitch, StepState, SwitchRecord, TrialVerdict,
};
use crate::api::trail::{ImageRecord, Outbox};
use crate::api::trigger::Until;
use crate::journal::{ACCEPTED, REHEARSE_EVERY, later};
use crate::plan::{Plan, PlanSide};

mod after;
mod does;
pub mod evidence;
mod phases;
mod steps;
mod subject;
mod triggers;

pub use after::{Checks, FollowUp, Retirement};
pub use phases::Stretch;
pub use steps::{Branch, Node, Step};
pub use subject::step_of;
pub use triggers::{Limit, Takes, Trigger, of as triggers_of};

/// Trials that change nothing else are written down at most so often (DESIGN §6).
const WRITTEN: Duration = Duration::from_secs(10);
const REHEARSAL: Duration = Duration::from_secs(REHEARSE_EVERY.unsigned_abs());

/// A run.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    pub uid: &'a str,
    /// The Cutover.
    pub cutover: &'a str,
    /// The Cutover's uid.
    pub cutover_uid: &'a str,
    /// When it was created.
    pub created: Option<Timestamp>,
    pub phase: Phase,
    /// Since when.
    pub since: Option<Timestamp>,
    /// It writes nothing more.
    pub closed: bool,
    /// What was released where.
    pub release: Releases<'a>,
    /// The release as it was asked for; none where the plan cannot be read.
    pub asked: Option<&'a Release>,
    /// The account that everything is done as.
    pub account: Option<&'a str>,
    /// The side that was live at the start; none where the plan cannot be read.
    pub old: Option<Side<'a>>,
    /// The side being activated.
    pub target: Option<Side<'a>>,
    /// The phases that it was in, in order.
    pub phases: Vec<Stretch<'a>>,
    /// Everything that was begun, in the order of the starts.
    pub executions: Vec<Step<'a>>,
    /// Everything that was planned, with what has become of it: a tree.
    pub stages: Vec<Branch<'a>>,
    /// How many steps of the way to Completed are over, and of how many; none where the plan cannot be read.
    pub progress: Option<Progress>,
    /// The switch, from its claim on.
    pub switch: Option<Switch<'a>>,
    /// The observation, from its beginning on.
    pub observation: Option<Observation>,
    /// The triggers that were armed.
    pub triggers: Vec<Trigger<'a>>,
    /// Why it does not complete.
    pub ending: Option<&'a Ending>,
    /// The gate that waits for people.
    pub gate: Option<Gate<'a>>,
    /// The open question to people.
    pub question: Option<&'a Question>,
    /// What the phase waits for, in words.
    pub waiting: Option<&'a str>,
    /// Since when a person's `Suspend` holds.
    pub suspended: Option<Timestamp>,
    pub conditions: &'a [Condition],
    /// The follow-ups that are planned.
    pub follow_ups: Vec<FollowUp<'a>>,
    /// Checks that were made again.
    pub checks: Vec<Checks<'a>>,
    /// What becomes of the old side.
    pub retirement: Option<Retirement<'a>>,
    /// The ends of a side's connections, from their claims on.
    pub closings: &'a [Closing],
    /// Why follow-ups and retirement do not come any more.
    pub called_off: Option<&'a str>,
    /// Decisions that counted.
    pub decisions: &'a [DecisionRecord],
    /// Transitions, oldest first; of a very long run not the first ones.
    pub timeline: &'a [Moment],
    /// What people are still to hear of.
    pub outbox: &'a Outbox,
}

/// The name of what is released on each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Releases<'a> {
    /// On the side that was live at the start.
    pub old: Option<&'a str>,
    /// On the target.
    pub new: Option<&'a str>,
}

/// A side.
#[derive(Clone, Debug)]
pub struct Side<'a> {
    pub name: &'a str,
    /// Its workloads, as `Kind/name`.
    pub workloads: Vec<String>,
    /// The hash of its pod templates when it was checked.
    pub template: Option<&'a str>,
    /// What its containers ran.
    pub images: Vec<&'a ImageRecord>,
}

/// Steps over, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Over.
    pub done: usize,
    /// All.
    pub all: usize,
}

/// The switch of all Services.
#[derive(Clone, Copy, Debug)]
pub struct Switch<'a> {
    /// When it was claimed.
    pub claimed: Timestamp,
    /// When the last selector was written.
    pub patched: Option<Timestamp>,
    /// When the endpoints had followed.
    pub converged: Option<Timestamp>,
    /// When every selector was back.
    pub restored: Option<Timestamp>,
    /// Each Service.
    pub services: &'a [ServiceSwitch],
}

impl<'a> Switch<'a> {
    fn of(record: &'a SwitchRecord) -> Self {
        Self {
            claimed: record.claimed_at,
            patched: record.services.iter().filter_map(|s| s.switched_at).max(),
            converged: record.converged_at,
            restored: record.restored_at,
            services: &record.services,
        }
    }
}

/// How far the observation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When it began.
    pub since: Timestamp,
    /// Observed so far.
    pub seen: Duration,
    /// To be observed; none where the plan cannot be read.
    pub wanted: Option<Duration>,
    /// What the present time counts as.
    pub clock: ObservationClock,
    /// When the operator has looked last.
    pub looked: Timestamp,
    /// How often it looks; none where the plan cannot be read.
    pub every: Option<Duration>,
}

/// A gate that waits for people.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    /// The step, or `approve/STEP` before its undo.
    pub name: &'a str,
    /// What an approval is given for, until when, and by whom.
    pub open: &'a GateRecord,
    /// Who has asked for the release and may not approve.
    pub excluded: Option<&'a str>,
    /// What the people are to know.
    pub instructions: Option<&'a str>,
    /// What they are to have looked at.
    pub checklist: &'a [String],
}

/// The plan of a run, as far as it can be read, whatever its version says.
pub fn plan_of(run: &CutoverRun) -> Option<Plan> {
    Plan::deserialize(&run.spec.plan).ok()
}

/// The command that shows a run to whoever has no other than kubectl.
pub fn look(run: &str, namespace: &str) -> String {
    format!("kubectl describe cutoverrun {run} -n {namespace}")
}

/// The name of a release: version, else tag, else revision.
pub fn release_name(release: &Release) -> Option<&str> {
    release.version.as_deref().or(release.tag.as_deref()).or(release.revision.as_deref())
}

impl<'a> Run<'a> {
    /// The model of a run; none before its journal is begun. `plan` is [`plan_of`] it.
    pub fn of(run: &'a CutoverRun, plan: Option<&'a Plan>) -> Option<Self> {
        run.status.as_ref().map(|journal| Self::with(run, journal, plan))
    }

    /// The same with a journal that is not written yet.
    pub fn with(run: &'a CutoverRun, journal: &'a RunStatus, plan: Option<&'a Plan>) -> Self {
        let text = |part: &'a Option<String>| part.as_deref().unwrap_or_default();
        let created = run.metadata.creation_timestamp.as_ref().map(|at| at.0);
        let phases = phases::of(journal, created);
        let executions = steps::executions(journal, plan, &phases);
        let side = |of: &'a PlanSide| Side::of(of, journal);
        Self {
            name: text(&run.metadata.name),
            namespace: plan.map_or(text(&run.metadata.namespace), |p| &p.namespace),
            uid: text(&run.metadata.uid),
            cutover: &run.spec.cutover,
            cutover_uid: &run.spec.cutover_uid,
            created,
            phase: journal.phase,
            since: journal.phase_since,
            closed: journal.state == RunState::Closed,
            release: Releases { old: journal.old_release.as_deref(), new: plan.and_then(|p| release_name(&p.release)) },
            asked: plan.map(|p| &p.release),
            account: plan.map(|p| p.service_account.as_str()),
            old: plan.map(|p| side(&p.old)),
            target: plan.map(|p| side(&p.target)),
            stages: plan.map(|p| steps::tree(p, &executions)).unwrap_or_default(),
            progress: plan.map(|p| steps::progress(p, journal)),
            switch: journal.switch.as_ref().map(Switch::of),
            observation: journal.observation.as_ref().map(|o| Observation {
                since: o.since,
                seen: Duration::from_millis(o.conclusive_ms),
                wanted: plan.map(|p| p.observe.for_),
                clock: o.clock,
                looked: o.counted_to,
                every: plan.map(|p| match o.clock {
                    ObservationClock::Counting | ObservationClock::Inconclusive => p.observe.every.min(REHEARSAL),
                    ObservationClock::Stopped => REHEARSAL,
                }),
            }),
            triggers: triggers::of(journal, plan),
            ending: journal.ending.as_ref(),
            gate: plan.and_then(|p| gate(journal, p)),
            question: journal.question.as_ref(),
            waiting: journal.waiting.as_deref(),
            suspended: journal.suspended,
            conditions: &journal.conditions,
            follow_ups: after::follow_ups(journal, plan, &executions),
            checks: after::checks(journal, &executions),
            retirement: plan.and_then(|p| after::retirement(journal, p, &executions)),
            closings: &journal.closings,
            called_off: journal.after.as_ref().and_then(|a| a.called_off.as_deref()),
            decisions: &journal.decisions,
            timeline: &journal.timeline,
            outbox: &journal.outbox,
            phases,
            executions,
        }
    }

    /// Whether the old side was scaled down for good.
    pub fn is_retired(&self) -> bool {
        self.execution(crate::plan::after::RETIRE).is_some_and(|s| s.state == Some(StepState::Succeeded))
    }

    /// An execution by its name.
    pub fn execution(&self, name: &str) -> Option<&Step<'a>> {
        self.executions.iter().find(|s| s.name == name)
    }

    /// The first execution under way that says what it is doing.
    pub fn under_way(&self) -> Option<(&Step<'a>, &'a str)> {
        self.executions.iter().filter(|s| s.is_running()).find_map(|s| Some((s, s.message?)))
    }

    /// The condition that stands, the most pressing first.
    pub fn raised(&self) -> Option<&'a Condition> {
        let order = [
            types::ROLLBACK_BLOCKED,
            types::OUTCOME_UNKNOWN,
            types::AWAITING_DECISION,
            types::NODE_LOST,
            types::SELECTOR_DRIFT,
            types::SUSPENDED,
            types::METRICS_INCONCLUSIVE,
            types::NOTIFICATIONS_FAILING,
        ];
        order.into_iter().find_map(|t| self.conditions.iter().find(|c| c.type_ == t && c.status == "True"))
    }

    /// Whether people are waited for. A suspended run waits for somebody to resume it.
    pub fn needs_people(&self) -> bool {
        let unknown = self.executions.iter().any(|s| s.state == Some(StepState::Unknown));
        let held = self.is_suspended() && self.ending.is_none() && !self.closed;
        !self.phase.is_over() && (self.question.is_some() || self.gate.is_some() || unknown || held)
    }

    /// The last time that the operator has looked at the triggers, where that is too long ago: each trial, and the count of
    /// the observation, is overdue by more than two others, and by more than the time that it may take until one is written
    /// down. Triggers on pods have no trials: the observation alone tells of them.
    pub fn unwatched_since(&self, now: Timestamp) -> Option<Timestamp> {
        let watches = self.phase.after_switch() && self.phase != Phase::Completed && self.ending.is_none();
        let looked_at = |t: &&Trigger| {
            t.fired.is_none() && !t.dismissed && t.verdict.is_some_and(|v| v != TrialVerdict::Inconclusive)
        };
        let trials =
            self.triggers.iter().filter(|_| watches).filter(looked_at).filter_map(|t| Some((t.last?, t.every?)));
        let counts = watches && self.phase == Phase::Observing;
        let count = self.observation.filter(|_| counts).and_then(|o| Some((o.looked, o.every?)));
        let mut last = None;
        for (at, every) in trials.chain(count) {
            let late = Duration::from_millis(every.as_millis().max(WRITTEN.as_millis()).saturating_mul(3));
            if later(at, late) >= now {
                return None;
            }
            last = last.max(Some(at));
        }
        last
    }

    /// Who has approved a gate in a role: also while the run is suspended, in which no gate counts them yet.
    pub fn approved<'r>(&'r self, gate: &'r Gate, role: &'r GateRole) -> Vec<&'r str> {
        let counts = |d: &&DecisionRecord| {
            d.decision == Verb::Approve
                && d.result == ACCEPTED
                && d.gate.as_deref() == Some(gate.name)
                && d.role.as_ref() == Some(&role.name)
                && d.token.as_ref() == Some(&gate.open.token)
        };
        let mut by: Vec<&str> = role.by.iter().map(String::as_str).collect();
        for d in self.decisions.iter().filter(counts) {
            if !by.contains(&d.by.as_str()) {
                by.push(&d.by);
            }
        }
        by
    }

    /// Whether steps and observation are held, by a person or by the Cutover.
    pub fn is_suspended(&self) -> bool {
        let held = |c: &Condition| c.type_ == types::SUSPENDED && c.status == "True";
        self.suspended.is_some() || self.conditions.iter().any(held)
    }

    /// Whether the trials of a trigger are over.
    pub fn is_disarmed(&self, trigger: &Trigger) -> bool {
        match self.phase {
            Phase::Completed => self.closed || trigger.until != Until::Retired || self.is_retired(),
            phase => phase.is_over() || self.ending.is_some(),
        }
    }

    /// The command that shows the run.
    pub fn look(&self) -> String {
        look(self.name, self.namespace)
    }

    /// The latest time that it names: of an execution, the switch, or a transition.
    pub fn last_word(&self) -> Option<Timestamp> {
        let steps = self.executions.iter().flat_map(|s| [s.started, s.ended]);
        let switch = self.switch.iter().flat_map(|s| [s.converged, s.restored]);
        let timeline = self.timeline.iter().map(|m| Some(m.at));
        steps.chain(switch).chain(timeline).chain([self.since]).flatten().max()
    }

    /// How long it took, or has taken up to its last word.
    pub fn took(&self) -> Option<SignedDuration> {
        let from = self.created.or(self.timeline.first().map(|m| m.at))?;
        Some(self.last_word()?.duration_since(from).max(SignedDuration::ZERO))
    }
}

impl<'a> Side<'a> {
    fn of(side: &'a PlanSide, journal: &'a RunStatus) -> Self {
        Self {
            name: &side.name,
            workloads: side.workloads.iter().map(|w| format!("{:?}/{}", w.kind, w.name)).collect(),
            template: journal.templates.get(&side.name).map(String::as_str),
            images: journal.images.iter().filter(|i| i.side == side.name).collect(),
        }
    }
}

fn gate<'a>(journal: &'a RunStatus, plan: &'a Plan) -> Option<Gate<'a>> {
    let record = journal.steps.iter().find(|r| r.state == StepState::Running && r.gate.is_some())?;
    let (open, approval) = (record.gate.as_ref()?, plan.gate(&record.name)?);
    Some(Gate {
        name: &record.name,
        open,
        excluded: plan.release.requested_by.as_deref().filter(|_| approval.exclude_requester),
        instructions: approval.instructions.as_deref(),
        checklist: &approval.checklist,
    })
}

#[cfg(test)]
mod tests;
