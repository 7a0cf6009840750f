//! A state of the search, and what may happen in it.

#[path = "event.rs"]
mod event;
#[path = "fingerprint.rs"]
mod fingerprint;
#[path = "happen.rs"]
mod happen;

use event::Fate;
pub use event::{Event, What};

use cutover::api::decision::{Resolution, Verb};
use cutover::api::phase::Phase;
use cutover::api::run::{RunState, StepState};
use cutover::effect::{Effect, Read, ReadKey};
use cutover::endpoints::carries;
use cutover::world::{QueryAnswer, Sighting};
use jiff::SignedDuration;

use crate::sim::cluster::Cluster;
use crate::sim::faults::{Kind, On};
use crate::sim::promises;
use crate::sim::search::Class;
use crate::sim::shell::{self, Look, Shell};

/// What may go wrong in a search.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// How many misfortunes and words of people in one run.
    pub budget: u8,
    /// Only these kinds of them; all where empty.
    pub only: &'static [&'static str],
    /// Kinds whose watches tell nothing by themselves: what changed is told by an event of its own, or by a live read.
    pub lagging: &'static [&'static str],
    /// A trigger that fires costs nothing of the budget, so that misfortune meets the way back. Dear in large worlds: there
    /// it is left to the night.
    pub free_triggers: bool,
    /// A second operator may start while the first one lives, as if there were no Lease.
    pub two_operators: bool,
    /// Reads may fail.
    pub reads: bool,
}

/// All kinds that are watched.
pub const ALL_KINDS: &[&str] = &["Cutover", "Decisions", "Service", "Workload", "Pods", "Endpoints", "Job"];

/// A state.
#[derive(Clone)]
pub struct State {
    pub cluster: Cluster,
    /// The operators that live.
    pub ops: Vec<Operator>,
    /// Sent, and not applied yet.
    pub sent: Vec<Sent>,
    pub budget: u8,
}

/// An operator, and the queries that it has under way.
#[derive(Clone)]
pub struct Operator {
    pub shell: Shell,
    pub queries: Vec<ReadKey>,
    /// Readings of everything that failed, and that somebody waits for.
    pub again: Vec<Look>,
}

/// An operator reads everything live so often, whatever the watches say. It does so with the alarm that rings next, at which
/// nothing else has happened meanwhile, so that the time left tells no states apart.
const READS_EVERYTHING: SignedDuration = SignedDuration::from_secs(25);

impl Operator {
    /// Whether it reads everything live by then.
    fn reads_by(&self, then: jiff::Timestamp) -> bool {
        self.shell.pilot.world().refreshed.is_some_and(|at| then.duration_since(at) > READS_EVERYTHING)
    }
}

/// A request under way.
#[derive(Clone)]
pub struct Sent {
    pub effect: Effect,
    /// Who waits for the answer; nobody, where its sender is dead.
    pub by: Option<usize>,
}

impl State {
    /// The state in which the operator has just started.
    pub fn new(mut cluster: Cluster, scope: &Scope) -> Self {
        cluster.audit.clear();
        let ops = vec![started(&cluster)];
        let mut state = Self { cluster, ops, sent: vec![], budget: scope.budget };
        state.see(&[]);
        state.settle();
        state
    }

    /// Whether the run is closed.
    pub fn closed(&self) -> bool {
        self.cluster.status.state == RunState::Closed
    }

    /// The watches tell everything, but for those that lag.
    pub fn see(&mut self, lagging: &[&str]) {
        for op in &mut self.ops {
            let pilot = &op.shell.pilot;
            for sighting in self.cluster.news(pilot.world(), pilot.known_jobs()) {
                // A watch cannot tell of a Job that it never told of.
                let known = &op.shell.pilot.world().jobs;
                let absent = matches!(&sighting, Sighting::Job(name, None) if !known.contains_key(name));
                if !absent && !lagging.contains(&kind(&sighting)) {
                    op.shell.watched(sighting, &self.cluster);
                }
            }
        }
    }

    /// The operators' loops until nothing moves; reads but queries are answered at once.
    pub fn settle(&mut self) {
        for round in 0.. {
            let mut heard = false;
            for by in 0..self.ops.len() {
                let turn = self.ops[by].shell.turn(&mut self.cluster);
                for note in turn.notes.iter().filter(|n| n.reason == "Defect") {
                    self.cluster.broken.push(format!("a defect was told: {}", note.message));
                }
                self.sent.extend(turn.effects.into_iter().map(|effect| Sent { effect, by: Some(by) }));
                for look in turn.looks {
                    heard |= self.look(by, look);
                }
                let op = &mut self.ops[by];
                op.queries.retain(|key| op.shell.pilot.reading().contains(key));
                let wanted = |key: &ReadKey| op.shell.pilot.reading().contains(key);
                op.again.retain(|look| matches!(look, Look::Refresh(Some(key), _) if wanted(key)));
            }
            // The shortest of sleeps: nothing else happens meanwhile.
            let shortest = self.cluster.now + SignedDuration::from_millis(5);
            if !heard && self.wake().is_none_or(|at| at > shortest) {
                break;
            }
            if round > 40 {
                self.cluster.broken.push("P10: the loop goes round and round without time passing".into());
                break;
            }
        }
        promises::after_tick(&mut self.cluster);
        self.cluster.audit.clear();
    }

    /// When the first of the operators looks again though nothing is heard.
    pub fn wake(&self) -> Option<jiff::Timestamp> {
        self.ops.iter().filter_map(|op| op.shell.wake()).min()
    }

    /// Answers a read at once, but for a query. True when it is answered.
    fn look(&mut self, by: usize, look: Look) -> bool {
        let op = &mut self.ops[by];
        match look {
            Look::Refresh(key, jobs) if self.cluster.faults.strike(On::Refresh, "", self.cluster.now).is_some() => {
                op.shell.refreshed(key.clone(), self.cluster.now, None, &self.cluster);
                // One that was asked for is made again until it is complete; any other the pilot itself asks for again.
                op.again.extend(key.map(|key| Look::Refresh(Some(key), jobs)));
                true
            }
            Look::Refresh(key, jobs) => {
                let seen = self.cluster.sightings(&mut jobs.into_iter());
                op.shell.refreshed(key, self.cluster.now, Some(seen), &self.cluster);
                true
            }
            Look::Read(key, Read::Query { .. } | Read::Numbers { .. }) => {
                op.queries.push(key);
                false
            }
            Look::Read(key, other) => {
                let reading = self.cluster.answer(&other);
                op.shell.answered(&key, reading, &self.cluster);
                true
            }
        }
    }

    /// Everything that may happen next.
    pub fn events(&self, scope: &Scope) -> Vec<Event> {
        let mut all = vec![];
        if self.closed() {
            // What was sent before may still arrive.
            for (i, sent) in self.sent.iter().enumerate() {
                push(
                    &mut all,
                    format!("the late {} arrives", sent.effect.key()),
                    Class::Free,
                    What::Reply(i, Fate::Applied),
                );
            }
            return all;
        }
        self.replies(scope, &mut all);
        self.environment(&mut all);
        self.people(&mut all);
        if !scope.lagging.is_empty() && self.behind() {
            push(&mut all, "the watches tell", Class::Free, What::Tell);
        }
        if scope.two_operators && self.ops.len() == 1 {
            push(&mut all, "a second operator starts", Class::Misfortune, What::Second);
        }
        let waiting = self.sent.iter().any(|s| s.by.is_some()) || self.ops.iter().any(|op| !op.queries.is_empty());
        if !waiting && self.wake().is_some() {
            push(&mut all, "time passes", Class::Free, What::Time);
            // A question may stand open for longer than the times told apart: the operator may also sleep till its end.
            if self.cluster.status.question.as_ref().is_some_and(|q| q.until.is_some()) {
                push(&mut all, "nobody answers", Class::Free, What::Long);
            }
        }
        all.retain(|e| {
            let wanted = scope.only.is_empty() || scope.only.iter().any(|o| e.name.contains(o));
            e.class != Class::Misfortune || (self.budget > 0 && wanted)
        });
        all
    }

    fn replies(&self, scope: &Scope, all: &mut Vec<Event>) {
        for (i, sent) in self.sent.iter().enumerate() {
            let key = sent.effect.key();
            if sent.by.is_none() {
                push(all, format!("the dead operator's {key} arrives"), Class::Free, What::Reply(i, Fate::Applied));
                push(all, format!("the dead operator's {key} is lost"), Class::Free, What::Reply(i, Fate::NotApplied));
                continue;
            }
            push(all, format!("{key} is answered"), Class::Free, What::Reply(i, Fate::Applied));
            push(all, format!("reply to {key} lost"), Class::Misfortune, What::Reply(i, Fate::ReplyLost));
            push(all, format!("503 to {key}"), Class::Misfortune, What::Reply(i, Fate::NotApplied));
            push(all, format!("403 to {key}"), Class::Misfortune, What::Reply(i, Fate::Refused));
        }
        for (by, op) in self.ops.iter().enumerate() {
            for i in 0..op.queries.len() {
                let bad = if scope.free_triggers { Class::Free } else { Class::Misfortune };
                push(all, "metric good", Class::Free, What::Query(by, i, QueryAnswer::Value(0.0)));
                push(all, "metric bad", bad, What::Query(by, i, QueryAnswer::Value(1.0)));
                let nothing = QueryAnswer::Inconclusive("no data".into());
                push(all, "metric inconclusive", Class::Misfortune, What::Query(by, i, nothing));
            }
        }
        for by in (0..self.ops.len()).filter(|by| !self.ops[*by].again.is_empty()) {
            push(all, "everything is read again", Class::Free, What::Again(by));
        }
        if scope.reads && self.cluster.faults.0.is_empty() {
            push(all, "next read fails", Class::Misfortune, What::Unread(On::Read));
            push(all, "next read of everything fails", Class::Misfortune, What::Unread(On::Refresh));
        }
        for (on, name) in [(Kind::Transient, "503"), (Kind::Lost, "reply lost"), (Kind::Conflict, "409")] {
            if self.cluster.faults.0.is_empty() {
                push(all, format!("next claim: {name}"), Class::Misfortune, What::Claim(on));
            }
        }
        push(all, "operator crashes", Class::Misfortune, What::Crash);
    }

    fn environment(&self, all: &mut Vec<Event>) {
        for (name, job) in &self.cluster.jobs {
            if !job.view.suspended && job.view.end.is_none() {
                push(all, format!("Job {name} ends well"), Class::Free, What::JobEnds(name.clone(), true));
                push(all, format!("Job {name} fails"), Class::Misfortune, What::JobEnds(name.clone(), false));
            }
            push(all, format!("Job {name} is deleted"), Class::Misfortune, What::JobGone(name.clone()));
        }
        for name in self.cluster.behind() {
            push(all, format!("slices of {name} follow"), Class::Free, What::Converge(name));
        }
        for (target, side) in [(true, &self.cluster.plan.target), (false, &self.cluster.plan.old)] {
            let sick = side.workloads.iter().any(|w| self.cluster.sick.contains(w));
            if sick {
                push(all, format!("pods of {} return", side.name), Class::Awaited, What::Health(target, true));
            } else {
                push(all, format!("pods of {} die", side.name), Class::Misfortune, What::Health(target, false));
            }
        }
        let missing = self.cluster.workloads.iter().any(|(w, view)| {
            let pods = self.cluster.pods.values().filter(|(o, _)| o == w);
            pods.clone().count() as u32 != view.wanted
                || (!self.cluster.sick.contains(w) && pods.clone().any(|(_, p)| !p.ready))
        });
        if missing {
            push(all, "the kubelet makes pods", Class::Free, What::Pods);
        }
        for name in &self.cluster.plan.services {
            self.service(name, all);
        }
    }

    fn service(&self, name: &str, all: &mut Vec<Event>) {
        let Some(service) = self.cluster.services.get(name) else {
            push(
                all,
                format!("{name} is created on the old side"),
                Class::Awaited,
                What::CreateService(name.into(), false),
            );
            push(
                all,
                format!("{name} is created on the target"),
                Class::Misfortune,
                What::CreateService(name.into(), true),
            );
            return;
        };
        let on = |side: &cutover::plan::PlanSide| carries(&service.view.selector, &side.selector);
        let plan = &self.cluster.plan;
        if !on(&plan.old) {
            // A run that has not begun waits for that.
            let begun = !matches!(self.cluster.status.phase, Phase::Idle | Phase::Pending);
            let class = if begun && on(&plan.target) { Class::Misfortune } else { Class::Awaited };
            push(all, format!("somebody points {name} to the old side"), class, What::Point(name.into(), false));
        }
        if !on(&plan.target) {
            push(
                all,
                format!("somebody points {name} to the target"),
                Class::Misfortune,
                What::Point(name.into(), true),
            );
        }
        if on(&plan.old) || on(&plan.target) {
            push(
                all,
                format!("somebody gives {name} a foreign selector"),
                Class::Misfortune,
                What::Foreign(name.into()),
            );
        }
        if self.cluster.status.phase == Phase::Switching {
            push(all, format!("others write an annotation of {name}"), Class::Misfortune, What::Annotate(name.into()));
        }
        push(all, format!("somebody deletes {name}"), Class::Misfortune, What::DeleteService(name.into()));
    }

    fn people(&self, all: &mut Vec<Event>) {
        let status = &self.cluster.status;
        let seen = |uid: &str| self.ops.iter().any(|op| op.shell.pilot.world().decisions.iter().any(|d| d.uid == uid));
        let unseen: Vec<_> = self.cluster.open_decisions().into_iter().filter(|d| !seen(&d.uid)).collect();
        // While no operator sees a word, as the watch lags, it is said once more, and not without end.
        let may_say = |what: &What| unseen.iter().filter(|d| what.says(&d.spec)).count() < 2;
        let said = |v: Verb| self.cluster.decisions.iter().any(|d| d.spec.decision == v);
        for verb in [Verb::Abort, Verb::Rollback, Verb::Suspend] {
            if !said(verb) {
                push(all, format!("decision {verb:?}"), Class::Misfortune, What::Decide(verb, None));
            }
        }
        let resume = What::Decide(Verb::Resume, None);
        if status.suspended.is_some() && may_say(&resume) {
            push(all, "decision Resume", Class::Awaited, resume);
        }
        for gate in status.steps.iter().filter(|s| s.state == StepState::Running && s.gate.is_some()) {
            for verb in [Verb::Approve, Verb::Reject] {
                let class = if verb == Verb::Approve { Class::Free } else { Class::Misfortune };
                let what = What::Gate(verb, gate.name.clone());
                if may_say(&what) {
                    push(all, format!("decision {verb:?} {}", gate.name), class, what);
                }
            }
        }
        let asked = status.question.as_ref().map(|_| "decision".to_owned());
        let unknown = status.steps.iter().filter(|s| s.state == StepState::Unknown).map(|s| s.name.clone());
        for about in asked.into_iter().chain(unknown) {
            for outcome in [Resolution::Succeeded, Resolution::Failed] {
                let what = What::Decide(Verb::Resolve, Some((about.clone(), outcome)));
                if may_say(&what) {
                    push(all, format!("decision Resolve {about} {outcome:?}"), Class::Awaited, what);
                }
            }
        }
        let Some(cutover) = &self.cluster.cutover else { return };
        if cutover.suspend {
            push(all, "spec.suspend is lifted", Class::Awaited, What::Suspend(false));
        } else {
            push(all, "spec.suspend is set", Class::Misfortune, What::Suspend(true));
        }
        if !cutover.deleting {
            push(all, "Cutover deleted", Class::Misfortune, What::DeleteCutover);
        }
        if cutover.activate == self.cluster.plan.target.name {
            push(all, "activate reverted", Class::Misfortune, What::Revert);
        }
        if cutover.release == self.cluster.plan.release {
            push(all, "new release", Class::Misfortune, What::NewRelease);
        }
        for target in [true, false] {
            let side = if target { &self.cluster.plan.target } else { &self.cluster.plan.old };
            let changed =
                side.workloads.iter().any(|w| self.cluster.workloads.get(w).is_some_and(|v| v.generation > 1));
            if !changed {
                push(all, format!("template of {} changes", side.name), Class::Misfortune, What::Template(target));
            }
        }
    }

    /// Whether an operator's world differs from the cluster.
    fn behind(&self) -> bool {
        self.ops.iter().any(|op| {
            let world = op.shell.pilot.world();
            !self.cluster.news(world, world.jobs.keys().cloned().collect()).is_empty()
        })
    }

    /// Lets an event happen.
    pub fn step(&self, event: &Event, scope: &Scope) -> Self {
        let mut s = self.clone();
        if event.class == Class::Misfortune {
            s.budget -= 1;
        }
        s.happen(&event.what);
        s.see(if event.what == What::Tell { &[] } else { scope.lagging });
        s.settle();
        s
    }
}

/// A driver that has just started; what it knows is told by the search, not by a clock.
pub fn started(cluster: &Cluster) -> Operator {
    Operator { shell: Shell::start(cluster, std::time::Duration::MAX), queries: vec![], again: vec![] }
}

/// The kind that a sighting is about.
fn kind(sighting: &Sighting) -> &'static str {
    crate::sim::timeline::key(sighting).0
}

fn push(all: &mut Vec<Event>, name: impl Into<String>, class: Class, what: What) {
    all.push(Event { name: name.into(), class, what });
}
