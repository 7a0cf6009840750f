//! A state of the search, and what may happen in it.

#[path = "event.rs"]
mod event;
#[path = "fingerprint.rs"]
mod fingerprint;

pub use event::{Class, Event};
use event::{Fate, What};

use cutover::api::decision::{Resolution, Verb};
use cutover::api::run::{RunState, StepState};
use cutover::effect::{Effect, Outcome, Read, ReadKey};
use cutover::endpoints::carries;
use cutover::world::{JobEnd, JobResult, QueryAnswer, Reading, Sighting, World};

use crate::sim::actor;
use crate::sim::cluster::{Cluster, Who};
use crate::sim::faults::{Fault, Kind, On};
use crate::sim::operator::Operator;
use crate::sim::promises;

/// What may go wrong in a search.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// How many misfortunes and words of people in one run.
    pub budget: u8,
    /// Only these kinds of them; all where empty.
    pub only: &'static [&'static str],
    /// Watches tell nothing by themselves: what changed is told by an event of its own, or by a live read.
    pub lagging: bool,
}

/// A state.
#[derive(Clone)]
pub struct State {
    pub cluster: Cluster,
    pub op: Operator,
    /// Sent, and not applied yet; an orphan's sender is dead.
    pub sent: Vec<Sent>,
    /// Queries under way.
    pub queries: Vec<ReadKey>,
    pub budget: u8,
}

/// A request under way.
#[derive(Clone)]
pub struct Sent {
    pub effect: Effect,
    pub orphan: bool,
}

impl State {
    /// The state in which the operator has just started.
    pub fn new(mut cluster: Cluster, budget: u8) -> Self {
        cluster.audit.clear();
        let op = started(&cluster);
        let mut state = Self { cluster, op, sent: vec![], queries: vec![], budget };
        state.see();
        state.settle();
        state
    }

    /// Whether the run is closed.
    pub fn closed(&self) -> bool {
        self.cluster.status.state == RunState::Closed
    }

    /// The watches tell everything.
    fn see(&mut self) {
        let now = self.cluster.now;
        for sighting in self.cluster.sightings(&mut self.op.known_jobs().into_iter()) {
            // A watch cannot tell of a Job that it never told of.
            let absent = matches!(&sighting, Sighting::Job(name, None) if !self.op.world.jobs.contains_key(name));
            if !absent && !same(&self.op.world, &sighting) {
                self.op.world.take_in(now, sighting);
            }
        }
    }

    /// The operator's loop until nothing moves; reads but queries are answered at once.
    fn settle(&mut self) {
        let plan = self.cluster.plan.clone();
        for round in 0.. {
            let turn = self.op.turn(&plan, &mut self.cluster);
            for note in turn.notes.iter().filter(|n| n.reason == "Defect") {
                self.cluster.broken.push(format!("a defect was told: {}", note.message));
            }
            let mut heard = false;
            self.sent.extend(turn.effects.into_iter().map(|effect| Sent { effect, orphan: false }));
            for (key, read) in turn.reads {
                heard |= self.read(key, &read);
            }
            let reading = &self.op.reading;
            self.queries.retain(|key| reading.contains(key));
            // The shortest of sleeps: nothing else happens meanwhile.
            let shortest = self.cluster.now + jiff::SignedDuration::from_millis(5);
            if !heard && self.op.wake().is_none_or(|at| at > shortest) {
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

    /// Answers a read at once, but for a query. True when it is answered.
    fn read(&mut self, key: ReadKey, read: &Read) -> bool {
        match read {
            Read::Refresh => {
                let now = self.cluster.now;
                let seen = self.cluster.sightings(&mut self.op.known_jobs().into_iter());
                self.op.refreshed(&key, now, seen);
                true
            }
            Read::Query { .. } => {
                self.queries.push(key);
                false
            }
            other => {
                let reading = self.cluster.answer(other);
                self.op.answered(&key, reading);
                true
            }
        }
    }

    /// Everything that may happen next.
    pub fn events(&self, scope: &Scope) -> Vec<Event> {
        let mut all = vec![];
        if self.closed() {
            return all;
        }
        self.replies(&mut all);
        self.environment(&mut all);
        self.people(&mut all);
        if scope.lagging && self.behind() {
            push(&mut all, "the watches tell", Class::Free, What::Tell);
        }
        let waiting = self.sent.iter().any(|s| !s.orphan) || !self.queries.is_empty();
        if !waiting && self.op.wake().is_some() {
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

    fn replies(&self, all: &mut Vec<Event>) {
        for (i, sent) in self.sent.iter().enumerate() {
            let key = sent.effect.key();
            if sent.orphan {
                push(all, format!("the dead operator's {key} arrives"), Class::Free, What::Reply(i, Fate::Applied));
                push(all, format!("the dead operator's {key} is lost"), Class::Free, What::Reply(i, Fate::NotApplied));
                continue;
            }
            push(all, format!("{key} is answered"), Class::Free, What::Reply(i, Fate::Applied));
            push(all, format!("reply to {key} lost"), Class::Misfortune, What::Reply(i, Fate::ReplyLost));
            push(all, format!("503 to {key}"), Class::Misfortune, What::Reply(i, Fate::NotApplied));
            push(all, format!("403 to {key}"), Class::Misfortune, What::Reply(i, Fate::Refused));
        }
        for i in 0..self.queries.len() {
            push(all, "metric good", Class::Free, What::Query(i, QueryAnswer::Value(0.0)));
            push(all, "metric bad", Class::Misfortune, What::Query(i, QueryAnswer::Value(1.0)));
            let nothing = QueryAnswer::Inconclusive("no data".into());
            push(all, "metric inconclusive", Class::Misfortune, What::Query(i, nothing));
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
            let class = if on(&plan.target) { Class::Misfortune } else { Class::Awaited };
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
        if self.cluster.status.phase == cutover::api::phase::Phase::Switching {
            push(all, format!("others write an annotation of {name}"), Class::Misfortune, What::Annotate(name.into()));
        }
        push(all, format!("somebody deletes {name}"), Class::Misfortune, What::DeleteService(name.into()));
    }

    fn people(&self, all: &mut Vec<Event>) {
        let status = &self.cluster.status;
        let said = |v: Verb| self.cluster.decisions.iter().any(|d| d.spec.decision == v);
        for verb in [Verb::Abort, Verb::Rollback, Verb::Suspend] {
            if !said(verb) {
                push(all, format!("decision {verb:?}"), Class::Misfortune, What::Decide(verb, None));
            }
        }
        if status.suspended.is_some() {
            push(all, "decision Resume", Class::Awaited, What::Decide(Verb::Resume, None));
        }
        let asked = status.question.as_ref().map(|_| "decision".to_owned());
        let unknown = status.steps.iter().filter(|s| s.state == StepState::Unknown).map(|s| s.name.clone());
        for about in asked.into_iter().chain(unknown) {
            for outcome in [Resolution::Succeeded, Resolution::Failed] {
                let what = What::Decide(Verb::Resolve, Some((about.clone(), outcome)));
                push(all, format!("decision Resolve {about} {outcome:?}"), Class::Awaited, what);
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

    /// Whether the operator's world differs from the cluster.
    fn behind(&self) -> bool {
        let known: Vec<String> = self.op.world.jobs.keys().cloned().collect();
        self.cluster.sightings(&mut known.into_iter()).iter().any(|s| !same(&self.op.world, s))
    }

    /// Lets an event happen.
    pub fn step(&self, event: &Event, scope: &Scope) -> Self {
        let mut s = self.clone();
        if event.class == Class::Misfortune {
            s.budget -= 1;
        }
        s.happen(&event.what);
        if !scope.lagging || event.what == What::Tell {
            s.see();
        }
        s.settle();
        s
    }

    fn happen(&mut self, what: &What) {
        let now = self.cluster.now;
        match what {
            What::Reply(i, fate) => self.reply(*i, *fate),
            What::Query(i, answer) => {
                let key = self.queries.remove(*i);
                self.op.answered(&key, Reading::Query(answer.clone()));
            }
            What::JobEnds(name, well) => {
                let (end, code) = match well {
                    true => (JobEnd::Complete, 0),
                    false => (JobEnd::Failed { reason: "BackoffLimitExceeded".into(), message: "it failed".into() }, 1),
                };
                self.cluster.end_job(name, end, JobResult { exit_code: Some(code), ..JobResult::default() });
            }
            What::JobGone(name) => self.cluster.remove_job(name, Who::Others),
            What::Converge(name) => self.cluster.converge(name),
            What::Pods => self.pods(),
            What::Health(target, healthy) => {
                let side = self.side(*target);
                self.cluster.set_health(&side, *healthy);
            }
            What::Point(name, target) => {
                let side = self.side(*target);
                self.cluster.point_by_others(name, &side);
            }
            What::Foreign(name) => {
                let selector = [("app".to_owned(), "else".to_owned()), ("version".to_owned(), "red".to_owned())].into();
                self.cluster.write_selector(name, selector);
            }
            What::Annotate(name) => self.cluster.annotate(name, "kubectl-annotate"),
            What::DeleteService(name) => self.cluster.delete_service(name),
            What::CreateService(name, target) => {
                let side = if *target { self.cluster.plan.target.clone() } else { self.cluster.plan.old.clone() };
                self.cluster.create_service(name, &side);
            }
            What::Decide(verb, about) => self.decide(*verb, about.clone()),
            What::DeleteCutover => self.cutover(|c| c.deleting = true),
            What::Revert => {
                let live = self.cluster.plan.old.name.clone();
                self.cutover(|c| c.activate = live);
            }
            What::NewRelease => self.cutover(|c| c.release.version = Some("3.0.0".into())),
            What::Suspend(on) => self.cutover(|c| c.suspend = *on),
            What::Template(target) => {
                let side = self.side(*target);
                self.cluster.change_template(&side);
            }
            What::Claim(kind) => {
                let fault = Fault { on: On::Status, kind: *kind, name: None, times: Some(1), until: None };
                self.cluster.faults.0.push(fault);
            }
            What::Crash => {
                self.sent.iter_mut().for_each(|s| s.orphan = true);
                self.queries.clear();
                self.op = started(&self.cluster);
                self.see();
            }
            What::Tell => {}
            What::Long => {
                let until = self.cluster.status.question.as_ref().and_then(|q| q.until);
                self.cluster.now = until.unwrap_or(now).max(now);
            }
            What::Time => {
                let wake = self.op.wake().unwrap_or(now);
                self.cluster.now = wake.max(now);
            }
        }
    }

    fn side(&self, target: bool) -> String {
        if target { self.cluster.plan.target.name.clone() } else { self.cluster.plan.old.name.clone() }
    }

    fn cutover(&mut self, change: impl FnOnce(&mut cutover::world::CutoverView)) {
        if let Some(c) = &mut self.cluster.cutover {
            change(c);
        }
    }

    fn pods(&mut self) {
        for w in self.cluster.workloads.keys().cloned().collect::<Vec<_>>() {
            self.cluster.make_pods(&w);
        }
        for name in self.cluster.pods.keys().cloned().collect::<Vec<_>>() {
            self.cluster.pod_ready(&name);
        }
    }

    fn decide(&mut self, verb: Verb, about: Option<(String, Resolution)>) {
        let (step, outcome) = about.unzip();
        let spec = cutover::api::CutoverDecisionSpec {
            cutover: self.cluster.plan.cutover.clone(),
            run_uid: crate::sim::cluster::RUN.into(),
            decision: verb,
            gate: None,
            role: None,
            token: None,
            step,
            outcome,
            comment: None,
            by: "jane".into(),
        };
        self.cluster.decided(spec);
    }

    fn reply(&mut self, i: usize, fate: Fate) {
        let now = self.cluster.now;
        let Sent { effect, orphan } = self.sent.remove(i);
        let outcome = match fate {
            Fate::Applied => actor::real(&mut self.cluster, &effect),
            Fate::ReplyLost => {
                actor::real(&mut self.cluster, &effect);
                Outcome::Transient("the reply was lost".into())
            }
            Fate::NotApplied => Outcome::Transient("503".into()),
            Fate::Refused => Outcome::Refused { why: "forbidden: it cannot do this".into(), forbidden: true },
        };
        if !orphan {
            self.op.reply(&effect.key(), outcome, now);
        }
    }
}

/// A driver that has just started; what it knows is told by the search, not by a clock.
fn started(cluster: &Cluster) -> Operator {
    let mut op = Operator::start(cluster);
    op.refresh = None;
    op
}

fn push(all: &mut Vec<Event>, name: impl Into<String>, class: Class, what: What) {
    all.push(Event { name: name.into(), class, what });
}

/// Whether a world holds what a sighting tells.
fn same(world: &World, sighting: &Sighting) -> bool {
    match sighting {
        Sighting::Cutover(v) => world.cutover.as_ref().is_some_and(|s| &s.value == v),
        Sighting::Decisions(v) => &world.decisions == v,
        Sighting::Service(n, v) => world.services.get(n).is_some_and(|s| &s.value == v),
        Sighting::Workload(n, v) => world.workloads.get(n).is_some_and(|s| &s.value == v),
        Sighting::Pods(v) => world.pods.as_ref().is_some_and(|s| &s.value == v),
        Sighting::Nodes(v) => &world.nodes == v,
        Sighting::Endpoints(n, v) => world.endpoints.get(n).is_some_and(|s| &s.value == v),
        Sighting::Job(n, v) => world.jobs.get(n).is_some_and(|s| &s.value == v),
        Sighting::Refreshed(_) => true,
    }
}
