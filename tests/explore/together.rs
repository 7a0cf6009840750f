//! The Cutover's pilot and the run's pilot in one process, on one simulated cluster: the one starts the run, projects its
//! journal and holds the finalizers, the other drives it. People take the intent back, want another release or delete the
//! Cutover; requests of either fail or lose their answers; pods die; and the process stops at any point. In every state the
//! promises of both hold, and where all comes to rest, what one wrote is what the other shows.
//!
//! The two simulated API servers hold different objects: that of the controller Cutovers and runs, the cluster of the run
//! Services, workloads and pods. After every event each takes over what the other's part wrote.

#[path = "../sim/cutover.rs"]
mod api_server;
#[path = "../sim/cutover_process.rs"]
mod process;
#[path = "../sim/cutover_words.rs"]
mod words;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cutover::api::RUN_FINALIZER;
use cutover::api::phase::Phase;
use cutover::pilot::cutover::Key;
use cutover::world::convert;
use kube::ResourceExt;

use super::night;
use super::sim::cluster::Cluster;
use super::sim::search::{Class, Ends, Limit, World, hash, search};
use super::sim::{promises, small, timeline};
use super::state::{self, Scope, State, What};
use api_server::{Server, is_active};
use process::{Fate, Process};

/// The search gives up beyond this many states.
const MOST: usize = 100_000;

/// With a misfortune the search ends there by day: each of its states is costly.
const BY_DAY: usize = 4_000;
/// So many events are told of what follows where a search fails.
const FOLLOWED: usize = 40;

/// What people may do, each once, while they have words left.
const WORDS: [Event; 3] = [Event::Revert, Event::Release, Event::Delete];

struct Together {
    words: u8,
    scope: Scope,
    met: BTreeSet<String>,
}

#[derive(Clone)]
struct Both {
    server: Server,
    process: Process,
    /// Services, pods, the journal of the run that was begun last, and its driver while there is one.
    run: State,
    /// The name of that run, and its resourceVersion as its driver knows it.
    driven: Option<(String, Option<String>)>,
    /// What people did; how much more they may.
    said: Vec<usize>,
    words: u8,
}

#[derive(Clone, Debug)]
enum Event {
    Begin(Key),
    Serve(Key, Fate),
    Later(Key),
    Run(state::Event),
    Revert,
    Release,
    Delete,
    Stop,
}

impl Both {
    /// A Cutover that has been idle, and now wants its next release.
    fn new(together: &Together) -> Self {
        let mut server = Server::new();
        let mut spec = api_server::spec("blue", "1");
        spec["observe"] = serde_json::json!({"for": "2s", "every": "1s", "timeout": "6s"});
        spec["switch"] = serde_json::json!({"timeout": "2s", "drain": "0s"});
        server.apply("web", spec);
        let cluster = Cluster::new(&small::plan(&["web"], vec![], vec![]), 2, timeline::EPOCH);
        let run = State { cluster, ops: vec![], sent: vec![], budget: together.scope.budget };
        let process = Process::start(&server);
        let mut both = Self { server, process, run, driven: None, said: vec![], words: together.words };
        both.exchange();
        while let Some(event) = both.looks().into_iter().next() {
            both.happen(&event, &together.scope);
        }
        both.server.want("web", "green", "2");
        both.exchange();
        both
    }

    /// What the process does about Cutovers by itself.
    fn looks(&self) -> Vec<Event> {
        let begin = self.process.due.iter().cloned().map(Event::Begin);
        begin.chain(self.process.ready().into_iter().map(|key| Event::Serve(key, Fate::Served))).collect()
    }

    fn events(&self, scope: &Scope) -> Vec<Event> {
        let mut events = self.looks();
        events.extend(self.process.later.keys().cloned().map(Event::Later));
        if self.run.budget > 0 {
            for key in self.process.ready() {
                if self.process.looks.get(&key).is_some_and(|running| running.request.is_write()) {
                    events.push(Event::Serve(key.clone(), Fate::Lost));
                }
                events.push(Event::Serve(key, Fate::Down));
            }
            events.push(Event::Stop);
        }
        if !self.run.ops.is_empty() || !self.run.sent.is_empty() {
            events.extend(self.run.events(scope).into_iter().filter(is_of_the_run).map(Event::Run));
        }
        let cutover = self.server.cutovers.get("web");
        if self.words > 0 && cutover.is_some_and(|c| c.metadata.deletion_timestamp.is_none()) {
            events.extend((0..WORDS.len()).filter(|i| !self.said.contains(i)).map(|i| WORDS[i].clone()));
        }
        events
    }

    fn happen(&mut self, event: &Event, scope: &Scope) {
        match event {
            Event::Begin(key) => self.process.begin(&self.server, key),
            Event::Serve(key, fate) => {
                self.run.budget -= u8::from(*fate != Fate::Served);
                self.process.step(&mut self.server, key, *fate);
            }
            Event::Later(key) => {
                self.process.later.remove(key);
                self.process.due.insert(key.clone());
            }
            Event::Run(event) => self.run = self.run.step(event, scope),
            Event::Revert => self.server.want("web", "blue", "1"),
            Event::Release => self.server.want("web", "green", "3"),
            Event::Delete => self.server.delete("web"),
            Event::Stop => {
                self.run.budget -= 1;
                self.run.ops.clear();
                self.run.sent.iter_mut().for_each(|sent| sent.by = None);
                self.process = Process::start(&self.server);
            }
        }
        if let Some(word) = WORDS.iter().position(|w| std::mem::discriminant(w) == std::mem::discriminant(event)) {
            self.said.push(word);
            self.words -= 1;
        }
        self.exchange();
        self.server.check();
    }

    /// Each part takes over what the other wrote, and the watches show it.
    fn exchange(&mut self) {
        self.publish();
        self.take_over();
        self.run.see(&[]);
        self.run.settle();
        self.publish();
    }

    /// What the driver wrote, in the controller's API server.
    fn publish(&mut self) {
        self.server.now = self.run.cluster.now;
        let selectors = self.run.cluster.services.iter().map(|(name, s)| (name.clone(), s.view.selector.clone()));
        self.server.services = selectors.collect();
        if let Some((name, known)) = &mut self.driven {
            let (journal, next) = (&self.run.cluster.status, self.server.next_version());
            let released = self.run.ops.iter().any(|op| op.shell.released);
            if let Some(run) = self.server.runs.get_mut(name) {
                let held = run.finalizers().iter().any(|f| f == RUN_FINALIZER);
                if run.status.clone().unwrap_or_default() != *journal || (released && held) {
                    run.status = Some(journal.clone());
                    run.metadata.resource_version = Some(next);
                    run.finalizers_mut().retain(|f| !released || f != RUN_FINALIZER);
                    *known = run.resource_version();
                }
                if run.metadata.deletion_timestamp.is_some() && run.finalizers().is_empty() {
                    self.server.runs.remove(name);
                }
            }
        }
        self.process.watch(&self.server);
    }

    /// What the controller and people wrote, in the cluster of the run; a run that the watches show gets its driver.
    fn take_over(&mut self) {
        let (cluster, ops) = (&mut self.run.cluster, &mut self.run.ops);
        cluster.cutover = self.server.cutovers.get("web").map(|c| convert::cutover(c, false));
        ops.retain(|op| !op.shell.released);
        if let Some((name, known)) = &mut self.driven {
            match self.server.runs.get(name) {
                // Its next write meets a conflict.
                Some(run) if run.resource_version() != *known => {
                    cluster.status_version += 1;
                    *known = run.resource_version();
                }
                Some(_) => {}
                None => ops.clear(),
            }
        }
        let shown = self.server.runs.values().find(|r| is_active(r) && self.process.knows(r));
        if let Some(run) = shown.filter(|_| ops.is_empty()) {
            let name = run.name_any();
            if self.driven.as_ref().is_none_or(|(driven, _)| *driven != name) {
                cluster.plan = Arc::new(serde_json::from_value(run.spec.plan.clone()).expect("a plan"));
                cluster.run = (name.clone(), run.uid().unwrap_or_default());
                cluster.status = run.status.clone().unwrap_or_default();
                cluster.counts.clear();
                cluster.decisions.clear();
            }
            self.driven = Some((name, run.resource_version()));
            ops.push(state::started(cluster));
        }
    }

    fn active(&self) -> bool {
        self.server.runs.values().any(is_active)
    }

    /// Nothing is left to do but to look again after a while, or for somebody by name.
    fn rests(&self) -> bool {
        let process = &self.process;
        process.due.is_empty()
            && process.looks.is_empty()
            && process.later.values().all(|pause| *pause >= Duration::from_secs(15))
            && self.run.sent.is_empty()
            && (!self.active() || promises::waits_for(&self.run.cluster).is_some())
    }

    /// What is wrong with a state in which both rest.
    fn wrong_at_rest(&self) -> Option<String> {
        let cluster = &self.run.cluster;
        let (journal, live) = (&cluster.status, cluster.points_to("web"));
        if !self.active() && self.driven.is_some() && !cluster.touched {
            let side = if journal.phase == Phase::Completed { &cluster.plan.target } else { &cluster.plan.old };
            if live != Some(&side.name) {
                return Some(format!("the last run is {}, and {live:?} is live", journal.phase));
            }
        }
        let Some(cutover) = self.server.cutovers.get("web") else {
            let left: Vec<String> = self.server.runs.keys().cloned().collect();
            return (!left.is_empty()).then(|| format!("the Cutover is gone, and {left:?} are left"));
        };
        let status = cutover.status.clone().unwrap_or_default();
        let shown = status.run.as_ref().and_then(|r| r.uid.as_ref()) == Some(&cluster.run.1);
        let phase = status.phase.unwrap_or(Phase::Idle);
        if shown && phase != journal.phase && phase != Phase::Idle {
            return Some(format!("the run is {}, and its Cutover shows {phase}", journal.phase));
        }
        let named = status.live.as_deref().and_then(|live| live.split('@').next());
        if !self.active() && named != live {
            return Some(format!("{live:?} is live, and the Cutover shows {named:?}"));
        }
        words::wrong_at_rest(&self.server)
    }

    /// Without times: those that the run goes by are in its own fingerprint, and the controller goes by none but pauses.
    fn fingerprint(&self) -> u128 {
        let mut text = format!("{:?}{}{:?}", self.said, self.words, self.driven.as_ref().map(|(name, _)| name));
        self.server.cutovers.values().for_each(|c| text.push_str(&words::whole_cutover(c)));
        self.server.runs.values().for_each(|r| text.push_str(&words::whole_run(r)));
        text.push_str(&format!("{:?}", self.server.created));
        let p = &self.process;
        // What it knows of runs is what the watches show, which here is all there is.
        // How much later a look is due that is due later says nothing: it comes in any order with everything else.
        let later: Vec<_> = p.later.keys().collect();
        text.push_str(&format!("{:?}{later:?}{:?}{}", p.due, p.again, p.known.memory()));
        for (key, running) in &p.looks {
            text.push_str(&format!("{key:?}{:?}", running.trail));
        }
        text.push_str(&format!("{:x}", self.run.fingerprint()));
        hash(&words::ranked(&words::without_times(&text)))
    }
}

/// Events that people and the process have in this world's own way are left out.
fn is_of_the_run(event: &state::Event) -> bool {
    match event.what {
        What::DeleteCutover | What::Revert | What::NewRelease | What::Suspend(_) | What::Template(_) => false,
        What::Gate(..) | What::Crash | What::Second | What::Tell => false,
        What::Decide(..) => event.class == Class::Awaited,
        _ => true,
    }
}

impl World for Together {
    type State = Both;
    type Event = Event;

    fn name(&self) -> &str {
        "the controller and the driver together"
    }

    fn root(&self) -> Both {
        Both::new(self)
    }

    fn events(&self, state: &Both) -> Vec<Event> {
        state.events(&self.scope)
    }

    fn step(&self, state: &Both, event: &Event) -> Both {
        let mut next = state.clone();
        next.happen(event, &self.scope);
        next
    }

    fn class(&self, event: &Event) -> Class {
        match event {
            Event::Begin(_) | Event::Serve(_, Fate::Served) | Event::Later(_) => Class::Free,
            Event::Run(event) => event.class,
            Event::Revert | Event::Release | Event::Delete | Event::Serve(..) | Event::Stop => Class::Misfortune,
        }
    }

    fn fingerprint(&self, state: &Both) -> u128 {
        state.fingerprint()
    }

    fn ends(&self, state: &Both) -> Ends {
        let rests = state.rests();
        Ends { free: rests, awaited: rests && !state.active() }
    }

    fn wrong(&self, state: &Both) -> Option<String> {
        let broken: Vec<&String> = state.server.broken.iter().chain(&state.run.cluster.broken).collect();
        if !broken.is_empty() {
            return Some(format!("{broken:#?}"));
        }
        if state.rests() { state.wrong_at_rest() } else { None }
    }

    fn take_in(&mut self, state: &Both) {
        self.met.insert(format!("phase {}", state.run.cluster.status.phase));
        self.met.extend(state.server.created.iter().map(|(name, _)| format!("created {name}")));
        if state.server.cutovers.is_empty() {
            self.met.insert("deleted".into());
        }
        self.met.extend(state.process.failures.iter().cloned());
    }

    fn line(&self, before: &Both, event: &Event, after: &Both) -> String {
        let request = match event {
            Event::Serve(key, _) => before.process.looks.get(key).map(|r| words::request(&r.request)),
            _ => None,
        };
        let what = match event {
            Event::Run(event) => event.name.clone(),
            Event::Serve(_, fate) => format!("{fate:?}: {}", request.unwrap_or_default()),
            other => format!("{other:?}"),
        };
        let seconds = after.run.cluster.now.duration_since(timeline::EPOCH).as_secs_f64();
        format!("{seconds:>7.2} {what} [{}]", after.run.cluster.status.phase)
    }

    fn describe(&self, state: &Both) -> String {
        let journal = serde_json::to_string_pretty(&state.run.cluster.status).unwrap_or_default();
        let mut text = format!("{}\n{journal}\nand what follows by itself:\n", words::end(&state.server));
        let mut now = state.clone();
        for _ in 0..FOLLOWED {
            let free = self.events(&now).into_iter().find(|event| self.class(event) == Class::Free);
            let Some(event) = free.filter(|_| !now.rests()) else { break };
            let next = self.step(&now, &event);
            text.push_str(&format!("  {}\n", self.line(&now, &event, &next)));
            now = next;
        }
        text
    }
}

fn explore(words: u8, misfortunes: &'static [&'static str], budget: u8, at_least: usize, reaches: &[&str]) {
    let scope =
        Scope { budget, only: misfortunes, lagging: &[], free_triggers: true, two_operators: false, reads: false };
    let mut world = Together { words, scope, met: BTreeSet::new() };
    let by_day = if budget == 0 { Limit::Small(MOST) } else { Limit::Bound(BY_DAY) };
    let found = search(&mut world, night::limit().unwrap_or(by_day));
    let missing: Vec<_> = reaches.iter().filter(|what| !world.met.contains(**what)).collect();
    assert!(missing.is_empty(), "never met: {missing:?}; met: {:#?}", world.met);
    assert!(found.states >= at_least, "only {} states where there were {at_least}", found.states);
}

#[test]
fn the_controller_and_the_driver_and_what_people_say() {
    let reaches =
        ["phase Completed", "phase RolledBack", "phase Aborted", "phase Superseded", "created web-2", "deleted"];
    explore(1, &[], 0, 8_500, &reaches);
}

#[test]
fn the_controller_and_the_driver_and_a_misfortune() {
    let reaches = ["503", "no answer"];
    explore(0, &["die"], 1, 1, &reaches);
}

/// For a night.
#[test]
fn the_controller_and_the_driver_and_everything() {
    if night::limit().is_some() {
        explore(2, &[], 2, 1, &[]);
    }
}
