//! An exhaustive search of a small world: one Cutover, what people say of it, what becomes of its runs, and a process that
//! stops, loses answers or meets conflicts, in every order. In every state the invariants of [`Server::check`] hold; from
//! every state the controller comes to rest by itself; and where it rests, everything that was said has an answer and what
//! is wanted is under way, live, or waits for a reason with a name.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use cutover::api::condition::types;
use cutover::api::phase::Phase;
use cutover::pilot::cutover::Key;
use kube::ResourceExt;

use crate::api_server::{Server, is_active, spec};
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
    /// Somebody else writes the Cutover.
    Annotate,
}

impl Event {
    /// Whether it happens by itself, sooner or later.
    fn is_free(&self) -> bool {
        matches!(self, Self::Begin(_) | Self::Serve(_, Fate::Served) | Self::Shown | Self::Later(_))
    }
}

#[derive(Clone)]
struct State {
    server: Server,
    process: Process,
    left: Left,
}

/// What a Cutover is made to want, one after the other.
const WANTED: [(&str, &str); 3] = [("green", "2"), ("blue", "1"), ("green", "3")];

impl State {
    fn new(left: Left) -> Self {
        let mut server = Server::new();
        server.apply("web", spec("blue", "1"));
        let process = Process::start(&server);
        Self { server, process, left }
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
                next.process = Process::start(&next.server);
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
            && self.process.later.values().all(|pause| *pause >= Duration::from_secs(15))
            && !(world.lagging && self.process.is_behind(&self.server))
    }

    /// What is wrong with a state in which the controller rests.
    fn wrong_at_rest(&self) -> Option<String> {
        for decision in self.server.decisions.values().filter(|d| d.is_open()) {
            // The driver of the run answers.
            let driven =
                self.server.runs.values().any(|r| is_active(r) && r.uid().as_deref() == Some(&decision.spec.run_uid));
            if !driven {
                return Some(format!("decision {} has no answer", decision.name_any()));
            }
        }
        let cutover = self.server.cutovers.get("web")?;
        let uid = cutover.uid().unwrap_or_default();
        let mut runs = self.server.runs.values().filter(|r| r.spec.cutover_uid == uid);
        let active = runs.any(is_active);
        let held = !cutover.finalizers().is_empty();
        let status = cutover.status.clone().unwrap_or_default();
        let true_ = |type_: &str| status.conditions.iter().any(|c| c.type_ == type_ && c.status == "True");
        let waits = [types::STALLED, types::SERVICE_CONFLICT, types::SELECTOR_DRIFT].into_iter().any(true_);
        if cutover.metadata.deletion_timestamp.is_some() {
            return (!active).then(|| "the deleted Cutover stays although no run of it is active".into());
        }
        if held && !active {
            return Some("the finalizer stays although no run is active".into());
        }
        if active {
            return None;
        }
        let wanted = (&cutover.spec.activate, &cutover.spec.release);
        let started = status.started.as_ref().map(|s| (&s.activate, &s.release));
        let on = self.server.services.get("web").and_then(|s| s.get("version"));
        if started != Some(wanted) && !waits {
            return Some(format!("{wanted:?} is wanted, {started:?} was started, and nothing says why"));
        }
        if on != Some(&cutover.spec.activate) && !waits {
            return Some(format!("{on:?} is live, {} is wanted, and nothing says why", cutover.spec.activate));
        }
        None
    }

    /// What tells states apart: versions and uids by their order, not by their number.
    fn fingerprint(&self) -> u128 {
        let mut text = format!("{:?}", self.left);
        self.server.cutovers.values().for_each(|c| text.push_str(&words::whole_cutover(c)));
        self.server.runs.values().for_each(|r| text.push_str(&words::whole_run(r)));
        for d in self.server.decisions.values() {
            text.push_str(&format!("{:?}{:?}{:?}", d.uid(), d.resource_version(), d.status));
        }
        let names: BTreeSet<_> = self.server.created.iter().collect();
        text.push_str(&format!("{:?}{names:?}", self.server.services));
        let p = &self.process;
        text.push_str(&format!("{:?}{:?}{:?}{:?}{:?}", p.due, p.later, p.again, p.known, p.shown));
        for (key, running) in &p.looks {
            text.push_str(&format!("{key:?}{:?}", running.trail));
        }
        let text = ranked(&text);
        let half = |seed: u64| {
            use std::hash::{Hash, Hasher};
            let mut hasher = std::collections::hash_map::DefaultHasher::new();
            seed.hash(&mut hasher);
            text.hash(&mut hasher);
            hasher.finish()
        };
        (u128::from(half(1)) << 64) | u128::from(half(2))
    }
}

/// The text with each resourceVersion replaced by its rank among all of them.
fn ranked(text: &str) -> String {
    let mut versions = BTreeMap::new();
    let parts: Vec<&str> = text.split("rv").collect();
    let number = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    for part in parts.iter().skip(1) {
        if let Ok(version) = number(part).parse::<u32>() {
            versions.insert(version, 0);
        }
    }
    versions.values_mut().enumerate().for_each(|(i, rank)| *rank = i);
    let mut out = String::with_capacity(text.len());
    for (i, part) in parts.iter().enumerate() {
        if i == 0 {
            out.push_str(part);
            continue;
        }
        let digits = number(part);
        match digits.parse::<u32>().ok().and_then(|v| versions.get(&v)) {
            Some(rank) => out.push_str(&format!("v#{rank}{}", &part[digits.len()..])),
            None => out.push_str(&format!("rv{part}")),
        }
    }
    out
}

/// A search gives up beyond this many states.
const MOST: usize = 3_000_000;

struct Graph<'a> {
    world: &'a World,
    ids: HashMap<u128, u32>,
    /// By state: the state it was first reached from, and by which event.
    parents: Vec<(u32, u16)>,
    free: Vec<(u32, u32)>,
    rests: Vec<bool>,
    transitions: usize,
    met: BTreeSet<String>,
}

impl Graph<'_> {
    fn add(&mut self, state: &State, print: u128, from: (u32, u16)) -> u32 {
        let id = self.parents.len() as u32;
        self.ids.insert(print, id);
        self.parents.push(from);
        let rests = state.rests(self.world);
        self.rests.push(rests);
        for cutover in state.server.cutovers.values() {
            let conditions = cutover.status.iter().flat_map(|s| &s.conditions).filter(|c| c.status == "True");
            self.met.extend(conditions.map(|c| c.reason.clone()));
        }
        for decision in state.server.decisions.values() {
            self.met.extend(decision.status.as_ref().and_then(|s| s.result.clone()));
        }
        self.met.extend(state.process.failures.iter().cloned());
        if let Some(wrong) = state.wrong_at_rest().filter(|_| rests) {
            panic!("{}: {wrong}, after\n{}", self.world.name, self.path(id, None));
        }
        id
    }

    /// How a state is reached, event by event.
    fn path(&self, id: u32, then: Option<usize>) -> String {
        let mut events: Vec<usize> = then.into_iter().collect();
        let mut at = id;
        while at != 0 {
            let (parent, event) = self.parents[at as usize];
            events.push(event.into());
            at = parent;
        }
        let mut state = State::new(self.world.left);
        let mut text = String::new();
        for i in events.into_iter().rev() {
            let event = state.events(self.world)[i].clone();
            let request = match &event {
                Event::Serve(key, _) => state.process.looks.get(key).map(|r| words::request(&r.request)),
                _ => None,
            };
            state = state.step(&event, self.world);
            text.push_str(&format!("  {event:?} {}\n", request.unwrap_or_default()));
        }
        text + &words::end(&state.server)
    }

    /// From every state the controller comes to rest by itself.
    fn all_come_to_rest(&self) {
        let mut into: Vec<Vec<u32>> = vec![vec![]; self.rests.len()];
        for (from, to) in &self.free {
            into[*to as usize].push(*from);
        }
        let mut reached = self.rests.clone();
        let mut stack: Vec<u32> = (0..self.rests.len() as u32).filter(|i| self.rests[*i as usize]).collect();
        while let Some(to) = stack.pop() {
            for &from in &into[to as usize] {
                if !std::mem::replace(&mut reached[from as usize], true) {
                    stack.push(from);
                }
            }
        }
        if let Some(lost) = reached.iter().position(|r| !r) {
            panic!("{}: a state that never comes to rest:\n{}", self.world.name, self.path(lost as u32, None));
        }
    }
}

fn explore(world: &World) {
    let root = State::new(world.left);
    let (ids, parents, free, rests, met) = (HashMap::new(), vec![], vec![], vec![], BTreeSet::new());
    let mut graph = Graph { world, ids, parents, free, rests, transitions: 0, met };
    graph.add(&root, root.fingerprint(), (0, 0));
    let mut queue = VecDeque::from([(0u32, root)]);
    while let Some((id, state)) = queue.pop_front() {
        for (i, event) in state.events(world).iter().enumerate() {
            let next = state.step(event, world);
            let broken = &next.server.broken;
            assert!(broken.is_empty(), "{}: {broken:#?}, after\n{}", world.name, graph.path(id, Some(i)));
            let print = next.fingerprint();
            let known = graph.ids.get(&print).copied();
            let to = known.unwrap_or_else(|| graph.add(&next, print, (id, i as u16)));
            graph.transitions += 1;
            if event.is_free() {
                graph.free.push((id, to));
            }
            if known.is_none() {
                queue.push_back((to, next));
            }
        }
        let count = graph.parents.len();
        assert!(count < MOST, "{}: more than {MOST} states: make the world smaller", world.name);
        if count.is_multiple_of(10_000) {
            eprintln!("{}: {count} states, {} waiting", world.name, queue.len());
        }
    }
    graph.all_come_to_rest();
    let count = graph.parents.len();
    println!("{}: {count} states, {} transitions", world.name, graph.transitions);
    let missed: Vec<_> = world.met.iter().filter(|m| !graph.met.iter().any(|met| met.contains(**m))).collect();
    assert!(missed.is_empty(), "{}: never met {missed:?}; met {:#?}", world.name, graph.met);
    assert!(count >= world.at_least, "{}: {count} states only: an event is lost", world.name);
}

const NOTHING: Left = Left { specs: 0, retries: 0, ends: 0, destroyed: 0, deleted: 0, misfortunes: 0 };

#[test]
fn intents_and_ends_with_a_misfortune() {
    explore(&World {
        name: "intents and ends",
        left: Left { specs: 2, ends: 2, misfortunes: 1, ..NOTHING },
        lagging: false,
        at_least: 15_000,
        met: &["RolledBack", "Completed", "the object has been modified", "the Cutover was changed meanwhile"],
    });
}

#[test]
fn retries_with_a_misfortune() {
    explore(&World {
        name: "retries",
        left: Left { specs: 1, retries: 1, ends: 2, misfortunes: 1, ..NOTHING },
        lagging: false,
        at_least: 12_000,
        met: &["accepted: run web-2 is started", "has completed", "the run is under way"],
    });
}

#[test]
fn deletion_and_loss_with_a_misfortune() {
    explore(&World {
        name: "deletion and loss",
        left: Left { specs: 1, retries: 1, ends: 1, destroyed: 1, deleted: 1, misfortunes: 1 },
        lagging: false,
        at_least: 40_000,
        met: &["RunLost", "is being deleted", "there is no Cutover web"],
    });
}

#[test]
fn watches_that_lag() {
    explore(&World {
        name: "lagging watches",
        left: Left { specs: 1, ends: 1, misfortunes: 1, ..NOTHING },
        lagging: true,
        at_least: 6_000,
        met: &["the object has been modified", "RolledBack", "Completed"],
    });
}

/// For a night.
#[test]
#[ignore = "takes long: cargo test --test steer -- --ignored"]
fn everything_with_two_misfortunes() {
    explore(&World {
        name: "everything",
        left: Left { specs: 2, retries: 1, ends: 2, destroyed: 1, deleted: 1, misfortunes: 2 },
        lagging: false,
        at_least: 100_000,
        met: &["RunLost", "accepted: run web-2 is started"],
    });
}
