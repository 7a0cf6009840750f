//! Virtual time: everything that takes a while is an event on an agenda. Without a seed all delays are fixed; with one
//! they are random, and with them the order of replies, answers and watch events.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use cutover::api::phase::Phase;
use cutover::api::run::RunStatus;
use cutover::api::step::WorkloadRef;
use cutover::effect::{Effect, EffectKey, Outcome, ReadKey};
use cutover::world::Sighting;

use super::actor;
use super::cluster::Cluster;
use super::faults::On;
use super::knife::Cut;
use super::log::{Log, mask};
use super::promises;
use super::rng::Rng;
use super::script::Scenario;
use super::shell::{Look, Shell};

/// Everything is read live this often.
const REFRESH: Duration = Duration::from_secs(25);

/// How long after a phase was entered its journal is still kept.
const KEPT_FOR: SignedDuration = SignedDuration::from_secs(20);

/// When every simulation begins.
pub const EPOCH: Timestamp = Timestamp::constant(1_795_000_000, 0);

/// Something that will happen.
#[derive(Clone, Debug)]
enum Event {
    Start,
    Apply(u32, Box<Effect>),
    Reply(u32, EffectKey, Box<Outcome>),
    Look(u32, Box<Look>),
    Refreshed(u32, Option<ReadKey>, Vec<String>, Timestamp, Option<Vec<Sighting>>),
    Watch(u32, Box<Sighting>),
    Converge(String),
    PodReady(String),
    JobEnds(String),
    RolledOut(WorkloadRef),
    Cue(usize),
    Thaw,
    Wake(u64),
}

/// A scenario under way.
pub struct Timeline {
    pub scenario: Scenario,
    pub cluster: Cluster,
    pub operator: Option<Shell>,
    pub log: Log,
    /// When each cue was carried out, and when the Services last came to point where they do.
    pub cued: BTreeMap<String, Timestamp>,
    pub pointed: BTreeMap<String, (String, Timestamp)>,
    pub clock: promises::Clock,
    /// The journal in each phase that the run was in, some seconds after it was entered.
    pub phases: BTreeMap<Phase, RunStatus>,
    /// It ends once this holds of the journal.
    pub until: Option<fn(&RunStatus) -> bool>,
    generation: u32,
    agenda: BTreeMap<(Timestamp, u64), Event>,
    sequence: u64,
    wake: u64,
    idle_turns: u32,
    rng: Option<Rng>,
    announced: BTreeMap<String, Sighting>,
    delivered: BTreeMap<String, Timestamp>,
    pub(super) frozen: BTreeMap<String, Timestamp>,
    underway: BTreeMap<String, ()>,
    cues_set: Vec<bool>,
}

impl Timeline {
    pub fn new(scenario: Scenario, cluster: Cluster, seed: Option<u64>) -> Self {
        let cues = scenario.script.len();
        let mut line = Self {
            scenario,
            cluster,
            operator: None,
            log: Log::new(EPOCH),
            cued: BTreeMap::new(),
            pointed: BTreeMap::new(),
            clock: promises::Clock::default(),
            phases: BTreeMap::new(),
            until: None,
            generation: 0,
            agenda: BTreeMap::new(),
            sequence: 0,
            wake: 0,
            idle_turns: 0,
            rng: seed.map(Rng::new),
            announced: BTreeMap::new(),
            delivered: BTreeMap::new(),
            frozen: BTreeMap::new(),
            underway: BTreeMap::new(),
            cues_set: vec![false; cues],
        };
        line.plan_in(0, Event::Start);
        line
    }

    fn keep_phase(&mut self, at: Timestamp) {
        let status = &self.cluster.status;
        let early = status.phase_since.is_some_and(|since| at <= since + KEPT_FOR);
        if early && self.phases.get(&status.phase) != Some(status) {
            self.phases.insert(status.phase, status.clone());
        }
    }

    /// Runs until nothing is left to happen, the run is closed, or the limit is reached.
    pub fn run(&mut self) {
        let limit = EPOCH + self.scenario.limit.signed();
        while let Some(((at, _), event)) = self.agenda.pop_first() {
            if at > limit {
                break;
            }
            self.cluster.now = at;
            if self.handle(event) {
                self.turns();
            }
            self.world_moves();
            promises::after_tick(&mut self.cluster);
            self.clock.tick(&self.cluster);
            self.keep_phase(at);
            if self.until.is_some_and(|until| until(&self.cluster.status)) {
                return;
            }
            if !self.cluster.broken.is_empty() {
                let broken = std::mem::take(&mut self.cluster.broken);
                for b in &broken {
                    self.log.line(at, "BROKEN", b);
                }
                self.cluster.broken = broken;
                return;
            }
        }
    }

    fn plan_at(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        // A seed shuffles what happens at the same time, too.
        let order = match &mut self.rng {
            Some(rng) => (rng.below(1 << 20) << 40) | self.sequence,
            None => self.sequence,
        };
        self.agenda.insert((at, order), event);
    }

    fn plan_in(&mut self, ms: u64, event: Event) {
        let at = self.cluster.now + self.delay(ms);
        self.plan_at(at, event);
    }

    /// A delay: as given, or with a seed anything up to four times that, one in twenty much more.
    fn delay(&mut self, ms: u64) -> SignedDuration {
        let ms = match &mut self.rng {
            None => ms,
            Some(rng) => {
                let slow = ms > 0 && rng.below(20) == 0;
                rng.below(ms * 4 + 1) + if slow { rng.below(900) } else { 0 }
            }
        };
        SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    /// Lets an event happen. True when the operator heard something.
    fn handle(&mut self, event: Event) -> bool {
        let now = self.cluster.now;
        match event {
            Event::Start => {
                self.operator = Some(Shell::start(&self.cluster, REFRESH));
                self.announced.clear();
                self.delivered.clear();
                if self.generation > 0 {
                    self.log.line(now, "operator", "starts again");
                }
            }
            Event::Apply(generation, effect) => {
                self.apply(generation, &effect);
                return false;
            }
            Event::Reply(generation, key, outcome) => {
                if generation == self.generation
                    && let Some(op) = &mut self.operator
                {
                    op.reply(&key, *outcome, &self.cluster);
                }
            }
            Event::Look(generation, look) => self.look(generation, *look),
            Event::Refreshed(generation, key, jobs, began, seen) => {
                if generation == self.generation
                    && let Some(op) = &mut self.operator
                {
                    // One that was asked for is repeated until it is complete, as long as somebody wants it.
                    let again = key.clone().filter(|k| seen.is_none() && op.pilot.reading().contains(k));
                    op.refreshed(key, began, seen, &self.cluster);
                    if again.is_some() {
                        self.plan_in(500, Event::Look(generation, Box::new(Look::Refresh(again, jobs))));
                    }
                }
            }
            Event::Watch(generation, sighting) => {
                if generation == self.generation
                    && let Some(op) = &mut self.operator
                {
                    op.watched(*sighting, &self.cluster);
                }
            }
            Event::Converge(name) => {
                self.underway.remove(&format!("slices/{name}"));
                self.cluster.converge(&name);
                return false;
            }
            Event::PodReady(name) => {
                self.cluster.pod_ready(&name);
                return false;
            }
            Event::JobEnds(name) => {
                self.job_ends(&name);
                return false;
            }
            Event::RolledOut(w) => {
                self.underway.remove(&format!("rollout/{}", w.name));
                self.cluster.rolled_out(&w);
                return false;
            }
            Event::Cue(i) => {
                self.cue(i);
                return false;
            }
            Event::Thaw => return false,
            Event::Wake(n) => return n == self.wake,
        }
        self.idle_turns = 0;
        self.operator.is_some()
    }

    /// An effect arrives at the API server.
    fn apply(&mut self, generation: u32, effect: &Effect) {
        let cut = self.cluster.knife.strike();
        let count = self.cluster.knife.count;
        if cut != Some(Cut::Before) {
            let outcome = if self.cluster.knife.refuse == Some(count) {
                Outcome::Refused { why: "denied by a policy".into(), forbidden: false }
            } else {
                actor::act(&mut self.cluster, effect)
            };
            self.log.effect(&self.cluster, effect, &outcome);
            let ms = if self.cluster.knife.slow == Some(count) { 700 } else { 5 };
            self.plan_in(ms, Event::Reply(generation, effect.key(), Box::new(outcome)));
        }
        self.cut_down();
    }

    /// Kills the operator if the knife has fallen.
    fn cut_down(&mut self) {
        if std::mem::take(&mut self.cluster.knife.fell) {
            self.log.line(self.cluster.now, "operator", "dies");
            self.crash(1000);
        }
    }

    fn look(&mut self, generation: u32, look: Look) {
        let now = self.cluster.now;
        if generation != self.generation {
            return;
        }
        match look {
            Look::Refresh(key, jobs) => {
                let seen = match self.cluster.faults.strike(On::Refresh, "", now) {
                    None => Some(self.cluster.sightings(&mut jobs.clone().into_iter())),
                    Some(_) => None,
                };
                // It takes a while to arrive; what it says is of now.
                self.plan_in(5, Event::Refreshed(generation, key, jobs, now, seen));
            }
            Look::Read(key, read) => {
                let reading = self.cluster.answer(&read);
                if let Some(op) = &mut self.operator {
                    op.answered(&key, reading, &self.cluster);
                }
            }
        }
    }

    /// The operator's loop, until nothing moves any more.
    fn turns(&mut self) {
        let Some(mut op) = self.operator.take() else { return };
        let generation = self.generation;
        let phase = self.cluster.status.phase;
        let turn = op.turn(&mut self.cluster);
        if self.cluster.status.phase != phase {
            self.cues_of_phase();
        }
        if self.cluster.knife.fell {
            self.cut_down();
            self.cues_of_steps();
            return;
        }
        for note in &turn.notes {
            let mark = if note.warning { "!" } else { " " };
            let text = format!("{mark} {} {}: {}", note.reason, note.subject, mask(&self.cluster, &note.message));
            self.log.line(self.cluster.now, "run", text);
            if note.reason == "Defect" {
                self.cluster.broken.push(format!("a defect was told: {}", note.message));
            }
        }
        let moved = !turn.effects.is_empty() || !turn.looks.is_empty() || !turn.notes.is_empty();
        for effect in turn.effects {
            self.plan_in(5, Event::Apply(generation, Box::new(effect)));
        }
        for look in turn.looks {
            self.plan_in(10, Event::Look(generation, Box::new(look)));
        }
        self.idle_turns = if moved { 0 } else { self.idle_turns + 1 };
        if self.idle_turns > 5000 {
            self.cluster.broken.push("P10: woken again and again for nothing".into());
        }
        self.wake += 1;
        if let Some(wake) = op.wake() {
            let n = self.wake;
            self.plan_at(wake.max(self.cluster.now), Event::Wake(n));
        }
        self.operator = Some(op);
        self.cues_of_steps();
    }

    /// The kubelet and the watches react to whatever has happened.
    fn world_moves(&mut self) {
        let now = self.cluster.now;
        for w in self.cluster.workloads.keys().cloned().collect::<Vec<_>>() {
            for pod in self.cluster.make_pods(&w) {
                self.plan_in(3000, Event::PodReady(pod));
            }
        }
        let ending = self.cluster.pods.values().filter_map(|(_, pod)| Some((pod.uid.clone(), pod.gone_by?)));
        for (uid, by) in ending.collect::<Vec<_>>() {
            if self.underway.insert(format!("ends/{uid}"), ()).is_none() {
                self.plan_at(by, Event::Thaw);
            }
        }
        for w in self.cluster.rolling.clone() {
            if self.underway.insert(format!("rollout/{}", w.name), ()).is_none() {
                self.plan_in(3000, Event::RolledOut(w));
            }
        }
        for name in self.cluster.behind() {
            if self.underway.insert(format!("slices/{name}"), ()).is_none() {
                self.plan_in(100, Event::Converge(name));
            }
        }
        let running: Vec<String> = self
            .cluster
            .jobs
            .iter()
            .filter(|(_, j)| !j.view.suspended && j.view.end.is_none())
            .map(|(n, _)| n.clone())
            .collect();
        for name in running {
            let Some(uid) = self.cluster.jobs.get(&name).map(|j| j.view.uid.clone()) else { continue };
            if self.underway.insert(format!("job/{uid}"), ()).is_none() {
                let script = self.behaviour(&name);
                self.cluster.begin_job(&name, &script);
                let deadline = self.cluster.jobs.get(&name).and_then(|j| j.deadline).map(|s| s * 1000);
                let runs = script.runs.map_or(10_000, cutover::api::Duration::as_millis);
                let ends = if script.hangs { deadline } else { Some(runs.min(deadline.unwrap_or(u64::MAX))) };
                if let Some(ms) = ends.filter(|_| !script.stuck) {
                    let at = now + SignedDuration::from_millis(i64::try_from(ms).unwrap_or(0));
                    self.plan_at(at, Event::JobEnds(name));
                }
            }
        }
        for name in self.cluster.plan.services.clone() {
            let side = self.cluster.points_to(&name).unwrap_or("?").to_owned();
            if self.pointed.get(&name).map(|(s, _)| s) != Some(&side) {
                self.pointed.insert(name, (side, now));
            }
        }
        self.watches();
    }

    fn watches(&mut self) {
        let now = self.cluster.now;
        let known: Vec<String> =
            self.announced.keys().filter_map(|k| k.strip_prefix("Job/").map(str::to_owned)).collect();
        for sighting in self.cluster.sightings(&mut known.into_iter()) {
            let (kind, key) = key(&sighting);
            if self.announced.get(&key) == Some(&sighting) || self.frozen.get(kind).is_some_and(|until| *until > now) {
                continue;
            }
            self.announced.insert(key.clone(), sighting.clone());
            // Events of one object arrive in their order.
            let earliest = self.delivered.get(&key).copied().unwrap_or(now);
            let at = (now + self.delay(20)).max(earliest + SignedDuration::from_nanos(1));
            self.delivered.insert(key, at);
            let generation = self.generation;
            self.plan_at(at, Event::Watch(generation, Box::new(sighting)));
        }
    }

    /// Plans the cues whose time has come to be known.
    fn set_cue(&mut self, i: usize) {
        let Some(cue) = self.scenario.script.get(i) else { return };
        let after = cue.after.map_or(SignedDuration::ZERO, |d| d.signed());
        if let Some(done) = self.cues_set.get_mut(i)
            && !std::mem::replace(done, true)
        {
            let at = self.cluster.now + after;
            self.plan_at(at, Event::Cue(i));
        }
    }

    fn cues_of_phase(&mut self) {
        let phase: Phase = self.cluster.status.phase;
        for i in 0..self.scenario.script.len() {
            if self.scenario.script.get(i).is_some_and(|c| c.phase == Some(phase)) {
                self.set_cue(i);
            }
        }
    }

    fn cues_of_steps(&mut self) {
        for i in 0..self.scenario.script.len() {
            let Some(cue) = self.scenario.script.get(i) else { continue };
            let records = &self.cluster.status.steps;
            let begun = cue.step.as_ref().is_some_and(|s| records.iter().any(|r| &r.name == s));
            let done = cue.done.as_ref().is_some_and(|s| records.iter().any(|r| &r.name == s && r.ended.is_some()));
            if begun || done {
                self.set_cue(i);
            }
        }
    }

    /// Cues at a fixed time; called once before [`Timeline::run`].
    pub fn set_clock_cues(&mut self) {
        for i in 0..self.scenario.script.len() {
            if let Some(at) = self.scenario.script.get(i).and_then(|c| c.at) {
                if let Some(done) = self.cues_set.get_mut(i) {
                    *done = true;
                }
                self.plan_at(EPOCH + at.signed(), Event::Cue(i));
            }
        }
    }

    /// The operator dies, and another starts after `ms`.
    pub(super) fn crash(&mut self, ms: u64) {
        self.operator = None;
        self.generation += 1;
        self.wake += 1;
        self.plan_in(ms, Event::Start);
    }

    /// A frozen watch speaks again at `at`.
    pub(super) fn thaw_at(&mut self, at: Timestamp) {
        self.plan_at(at, Event::Thaw);
    }
}

/// What a sighting is about: its kind, and kind and name.
pub fn key(sighting: &Sighting) -> (&'static str, String) {
    match sighting {
        Sighting::Cutover(_) => ("Cutover", "Cutover".into()),
        Sighting::Decisions(_) => ("Decisions", "Decisions".into()),
        Sighting::Service(name, _) => ("Service", format!("Service/{name}")),
        Sighting::Workload(w, _) => ("Workload", format!("Workload/{}", w.name)),
        Sighting::Pods(_) => ("Pods", "Pods".into()),
        Sighting::Nodes(_) => ("Nodes", "Nodes".into()),
        Sighting::Endpoints(name, _) => ("Endpoints", format!("Endpoints/{name}")),
        Sighting::Job(name, _) => ("Job", format!("Job/{name}")),
        Sighting::Refreshed(_) => ("Refreshed", "Refreshed".into()),
        Sighting::Unread(_) => ("Unread", "Unread".into()),
    }
}
