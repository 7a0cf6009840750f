//! An exhaustive search of a small world: one Cutover, what people say of it, what becomes of its runs, and a process that
//! stops, loses answers or meets conflicts, in every order. In every state the invariants of [`Server::check`] hold; from
//! every state the controller comes to rest by itself; and where it rests, everything that was said has an answer and what
//! is wanted is under way, live, or waits for a reason with a name.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover::api::phase::Phase;
use cutover::pilot::cutover::{Answer, Key, Request};
use kube::ResourceExt;

use crate::api_server::{Server, is_active, spec};
use crate::breadth::{self, Class, Ends, Limit};
use crate::process::{Fate, Process};
use crate::words;

/// How often each thing may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    /// The spec changes.
    specs: u8,
    /// A person decides Retry.
    retries: u8,
    /// A run ends.
    ends: u8,
    /// A run is destroyed.
    destroyed: u8,
    /// The Cutover is deleted.
    deleted: u8,
    /// The process stops, an answer is lost, 503, somebody else writes.
    misfortunes: u8,
}

/// A world of the search.
struct World {
    name: &'static str,
    left: Left,
    /// Watches show what changed by an event of its own.
    lagging: bool,
    /// At least so many states are known to be there: a search that no longer finds them has lost an event.
    at_least: usize,
    /// Reasons and results that have to be met.
    met: &'static [&'static str],
}

/// What may happen in a state.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Begin(Key),
    Serve(Key, Fate),
    /// The watches show what changed.
    Shown,
    /// A pause is over.
    Later(Key),
    Spec,
    Retry,
    End(String, Phase),
    Destroy(String),
    Delete,
    Stop,
    /// An answer arrives whose process has stopped.
    Late(usize),
    /// Somebody else writes the Cutover.
    Annotate,
}

impl Event {
    /// Whether it happens by itself, sooner or later.
    fn is_free(&self) -> bool {
        matches!(self, Self::Begin(_) | Self::Serve(_, Fate::Served) | Self::Shown | Self::Later(_) | Self::Late(_))
    }
}

#[derive(Clone)]
struct State {
    server: Server,
    process: Process,
    /// Answers that were under way when their process stopped.
    late: Vec<Answer>,
    left: Left,
}

/// What a Cutover is made to want, one after the other.
const WANTED: [(&str, &str); 3] = [("green", "2"), ("blue", "1"), ("green", "3")];

impl State {
    fn new(left: Left) -> Self {
        let mut server = Server::new();
        server.apply("web", spec("blue", "1"));
        let process = Process::start(&server);
        Self { server, process, late: vec![], left }
    }

    fn events(&self, world: &World) -> Vec<Event> {
        let mut events = vec![];
        events.extend(self.process.due.iter().map(|key| Event::Begin(key.clone())));
        for key in self.process.ready() {
            events.push(Event::Serve(key.clone(), Fate::Served));
            let write = self.process.looks.get(&key).is_some_and(|running| running.request.is_write());
            if self.left.misfortunes > 0 {
                if write {
                    events.push(Event::Serve(key.clone(), Fate::Lost));
                }
                events.push(Event::Serve(key, Fate::Down));
            }
        }
        if world.lagging && self.process.is_behind(&self.server) {
            events.push(Event::Shown);
        }
        events.extend(self.process.later.keys().map(|key| Event::Later(key.clone())));
        events.extend((0..self.late.len()).map(Event::Late));
        let cutover = self.server.cutovers.get("web");
        let going = cutover.is_none_or(|c| c.metadata.deletion_timestamp.is_some());
        if self.left.specs > 0 && !going {
            events.push(Event::Spec);
        }
        let shown = cutover.and_then(|c| c.status.as_ref()?.run.as_ref()?.uid.clone());
        if self.left.retries > 0 && shown.is_some() {
            events.push(Event::Retry);
        }
        let active = self.server.runs.values().filter(|r| is_active(r) && self.process.knows(r));
        let active: Vec<String> = active.map(ResourceExt::name_any).collect();
        for run in active {
            if self.left.ends > 0 {
                events.push(Event::End(run.clone(), Phase::RolledBack));
                events.push(Event::End(run.clone(), Phase::Completed));
            }
            // One of which no uid was recorded leaves no trace when it is destroyed: it is created again.
            if self.left.destroyed > 0 && self.server.runs.get(&run).and_then(ResourceExt::uid) == shown {
                events.push(Event::Destroy(run));
            }
        }
        if self.left.deleted > 0 && !going {
            events.push(Event::Delete);
        }
        if self.left.misfortunes > 0 {
            events.push(Event::Stop);
            if cutover.is_some() && !self.process.looks.is_empty() {
                events.push(Event::Annotate);
            }
        }
        events
    }

    fn step(&self, event: &Event, world: &World) -> Self {
        let mut next = self.clone();
        let left = &mut next.left;
        match event {
            Event::Begin(key) => next.process.begin(&next.server, key),
            Event::Serve(key, fate) => {
                left.misfortunes -= u8::from(*fate != Fate::Served);
                next.process.step(&mut next.server, key, *fate);
            }
            Event::Shown => next.process.watch(&next.server),
            Event::Later(key) => {
                next.process.later.remove(key);
                next.process.due.insert(key.clone());
            }
            Event::Spec => {
                let (activate, version) = WANTED[usize::from(world.left.specs - left.specs)];
                left.specs -= 1;
                next.server.want("web", activate, version);
            }
            Event::Retry => {
                left.retries -= 1;
                let name = format!("retry{}", left.retries);
                next.server.decide(&name, "web", None, "Retry");
            }
            Event::End(run, phase) => {
                left.ends -= 1;
                next.server.close(run, *phase);
            }
            Event::Destroy(run) => {
                left.destroyed -= 1;
                next.server.destroy_run(run);
            }
            Event::Delete => {
                left.deleted -= 1;
                next.server.delete("web");
            }
            Event::Stop => {
                left.misfortunes -= 1;
                for running in next.process.looks.values() {
                    if let Request::Answer(answers) = &running.request {
                        next.late.extend(answers.iter().cloned());
                    }
                }
                next.process = Process::start(&next.server);
            }
            Event::Late(i) => {
                let answer = next.late.remove(*i);
                next.server.answer(&answer);
            }
            Event::Annotate => {
                left.misfortunes -= 1;
                next.server.annotate("web");
            }
        }
        if !world.lagging {
            next.process.watch(&next.server);
        }
        next.server.check();
        next
    }

    /// Nothing is left to do but to look again after a while.
    fn rests(&self, world: &World) -> bool {
        self.process.due.is_empty()
            && self.process.looks.is_empty()
            && self.process.later.values().all(|pause| *pause >= LONG)
            && !(world.lagging && self.process.is_behind(&self.server))
    }

    /// What tells states apart: versions and uids by their order, not by their number.
    fn fingerprint(&self) -> u128 {
        let mut text = format!("{:?}", self.left);
        self.server.cutovers.values().for_each(|c| text.push_str(&words::whole_cutover(c)));
        self.server.runs.values().for_each(|r| text.push_str(&words::whole_run(r)));
        for d in self.server.decisions.values() {
            text.push_str(&format!("{:?}{:?}{:?}", d.uid(), d.resource_version(), d.status));
        }
        for answer in &self.late {
            text.push_str(&format!("{}{:?}{}", answer.uid, answer.resource_version, answer.said.result));
        }
        let names: BTreeSet<_> = self.server.created.iter().collect();
        text.push_str(&format!("{:?}{names:?}", self.server.services));
        let p = &self.process;
        // A look that is due later comes in any order with everything else: how much later says nothing.
        let later: Vec<_> = p.later.iter().map(|(key, pause)| (key, pause.min(&LONG))).collect();
        text.push_str(&format!("{:?}{later:?}{:?}{}{:?}", p.due, p.again, p.known.memory(), p.shown));
        for (key, running) in &p.looks {
            text.push_str(&format!("{key:?}{:?}", running.trail));
        }
        breadth::hash(&words::ranked(&text))
    }
}

/// What is looked at again after so long is at rest.
const LONG: Duration = Duration::from_secs(15);
/// A search gives up beyond this many states.
const MOST: usize = 200_000;
/// The search of a night ends there, unless `EXPLORE_STATES` says another number.
const AT_NIGHT: usize = 150_000;

/// A world, and what was met in it.
struct Search<'a> {
    world: &'a World,
    met: BTreeSet<String>,
}

impl breadth::World for Search<'_> {
    type State = State;
    type Event = Event;

    fn name(&self) -> &str {
        self.world.name
    }

    fn root(&self) -> State {
        State::new(self.world.left)
    }

    fn events(&self, state: &State) -> Vec<Event> {
        state.events(self.world)
    }

    fn step(&self, state: &State, event: &Event) -> State {
        state.step(event, self.world)
    }

    fn class(&self, event: &Event) -> Class {
        if event.is_free() { Class::Free } else { Class::Misfortune }
    }

    fn fingerprint(&self, state: &State) -> u128 {
        state.fingerprint()
    }

    fn ends(&self, state: &State) -> Ends {
        let rests = state.rests(self.world);
        Ends { free: rests, awaited: rests }
    }

    fn wrong(&self, state: &State) -> Option<String> {
        let broken = &state.server.broken;
        if !broken.is_empty() {
            return Some(format!("{broken:#?}"));
        }
        if state.rests(self.world) { words::wrong_at_rest(&state.server) } else { None }
    }

    fn take_in(&mut self, state: &State) {
        for cutover in state.server.cutovers.values() {
            let conditions = cutover.status.iter().flat_map(|s| &s.conditions).filter(|c| c.status == "True");
            self.met.extend(conditions.map(|c| c.reason.clone()));
        }
        for decision in state.server.decisions.values() {
            self.met.extend(decision.status.as_ref().and_then(|s| s.result.clone()));
        }
        self.met.extend(state.process.failures.iter().cloned());
    }

    fn line(&self, before: &State, event: &Event, _: &State) -> String {
        let request = match event {
            Event::Serve(key, _) => before.process.looks.get(key).map(|r| words::request(&r.request)),
            _ => None,
        };
        format!("{event:?} {}", request.unwrap_or_default())
    }

    fn describe(&self, state: &State) -> String {
        words::end(&state.server)
    }
}

fn explore(world: &World, limit: Limit) {
    let mut search = Search { world, met: BTreeSet::new() };
    let found = breadth::search(&mut search, limit);
    if found.left > 0 {
        return;
    }
    let missed: Vec<_> = world.met.iter().filter(|m| !search.met.iter().any(|met| met.contains(**m))).collect();
    assert!(missed.is_empty(), "{}: never met {missed:?}; met {:#?}", world.name, search.met);
    assert!(found.states >= world.at_least, "{}: {} states only: an event is lost", world.name, found.states);
}

const NOTHING: Left = Left { specs: 0, retries: 0, ends: 0, destroyed: 0, deleted: 0, misfortunes: 0 };

#[test]
fn intents_and_ends_with_a_misfortune() {
    explore(
        &World {
            name: "intents and ends",
            left: Left { specs: 2, ends: 2, misfortunes: 1, ..NOTHING },
            lagging: false,
            at_least: 9_500,
            met: &["RolledBack", "Completed", "the object has been modified", "the Cutover was changed meanwhile"],
        },
        Limit::Small(MOST),
    );
}

#[test]
fn retries_with_a_misfortune() {
    explore(
        &World {
            name: "retries",
            left: Left { specs: 1, retries: 1, ends: 2, misfortunes: 1, ..NOTHING },
            lagging: false,
            at_least: 10_000,
            met: &["accepted: run web-2 is started", "has completed", "the run is under way"],
        },
        Limit::Small(MOST),
    );
}

#[test]
fn deletion_and_loss_with_a_misfortune() {
    explore(
        &World {
            name: "deletion and loss",
            left: Left { specs: 1, retries: 1, ends: 1, destroyed: 1, deleted: 1, misfortunes: 1 },
            lagging: false,
            at_least: 36_000,
            met: &["RunLost", "is being deleted", "there is no Cutover web"],
        },
        Limit::Small(MOST),
    );
}

#[test]
fn watches_that_lag() {
    explore(
        &World {
            name: "lagging watches",
            left: Left { specs: 1, ends: 1, misfortunes: 1, ..NOTHING },
            lagging: true,
            at_least: 4_200,
            met: &["the object has been modified", "RolledBack", "Completed"],
        },
        Limit::Small(MOST),
    );
}

/// For a night.
#[test]
#[ignore = "takes long: cargo test --test steer -- --ignored"]
fn everything_with_two_misfortunes() {
    let states = std::env::var("EXPLORE_STATES").ok().and_then(|n| n.parse().ok()).unwrap_or(AT_NIGHT);
    explore(
        &World {
            name: "everything",
            left: Left { specs: 2, retries: 1, ends: 2, destroyed: 1, deleted: 1, misfortunes: 2 },
            lagging: false,
            at_least: 100_000,
            met: &["RunLost", "accepted: run web-2 is started"],
        },
        Limit::Bound(states),
    );
}
