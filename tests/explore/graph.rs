//! A world of the search: the pilot of a run on a small simulated cluster.

use cutover::plan::Plan;
use jiff::SignedDuration;

use super::reached::Reached;
use super::sim::cluster::Cluster;
use super::sim::search::{Class, Ends, Limit, World as Searched, search};
use super::sim::{promises, timeline};
use super::state::{Event, Scope, State};
use super::{World, night};

/// A search gives up beyond this many states: the world is then not small any more.
const MOST: usize = 400_000;
/// Longer than anything that a small world waits for.
const LEAP: SignedDuration = SignedDuration::from_mins(16);

struct Search {
    name: &'static str,
    plan: Plan,
    scope: Scope,
    reached: Reached,
}

/// Searches a world and checks it.
pub fn explore(world: World) {
    let World { name, plan, mut scope, states, reaches } = world;
    let limit = night::limit();
    if limit.is_some() {
        (scope.budget, scope.only, scope.free_triggers, scope.reads) = (2, &[], true, true);
    }
    let mut world = Search { name, plan, scope, reached: Reached::default() };
    let found = search(&mut world, limit.unwrap_or(Limit::Small(MOST)));
    if found.left > 0 {
        return;
    }
    let (count, reached) = (found.states, world.reached);
    let missing = reached.missing(reaches);
    assert!(missing.is_empty(), "{name}: never met: {missing:?}; met: {:?}", reached.all());
    assert!(count >= states, "{name}: only {count} states where there were {states}: has an event lost its name?");
}

impl Search {
    /// A fingerprint caps distances of time, so that time may lead a state back to itself although a minute, five or
    /// fifteen are being waited for. Then time goes on until something does change, if it does within [`LEAP`]: what is bounded by
    /// more than the cap is met like anything else. What else may happen meanwhile happens at the first of these moments.
    fn leap(&self, state: &State, next: State) -> State {
        let print = next.fingerprint();
        let mut later = next.clone();
        while later.cluster.now.duration_since(state.cluster.now) < LEAP && later.cluster.broken.is_empty() {
            let Some(time) = later.events(&self.scope).into_iter().find(Event::is_time) else { break };
            later = later.step(&time, &self.scope);
            if later.fingerprint() != print {
                return later;
            }
        }
        if later.cluster.broken.is_empty() { next } else { later }
    }
}

impl Searched for Search {
    type State = State;
    type Event = Event;

    fn name(&self) -> &str {
        self.name
    }

    fn root(&self) -> State {
        State::new(Cluster::new(&self.plan, 2, timeline::EPOCH), &self.scope)
    }

    fn events(&self, state: &State) -> Vec<Event> {
        state.events(&self.scope)
    }

    fn step(&self, state: &State, event: &Event) -> State {
        let next = state.step(event, &self.scope);
        if event.is_time() && next.fingerprint() == state.fingerprint() { self.leap(state, next) } else { next }
    }

    fn class(&self, event: &Event) -> Class {
        event.class
    }

    fn fingerprint(&self, state: &State) -> u128 {
        state.fingerprint()
    }

    fn ends(&self, state: &State) -> Ends {
        let closed = state.closed();
        Ends { free: closed || promises::waits_for(&state.cluster).is_some(), awaited: closed }
    }

    fn wrong(&self, state: &State) -> Option<String> {
        let broken = &state.cluster.broken;
        (!broken.is_empty()).then(|| format!("{broken:#?}"))
    }

    fn take_in(&mut self, state: &State) {
        self.reached.take_in(&state.cluster.status);
    }

    fn line(&self, _: &State, event: &Event, after: &State) -> String {
        let seconds = after.cluster.now.duration_since(timeline::EPOCH).as_secs_f64();
        format!("{seconds:>7.2} {:<60} {}", event.name, after.cluster.status.phase)
    }

    fn describe(&self, state: &State) -> String {
        let all = state.events(&self.scope).into_iter();
        let open: Vec<_> = all.filter(|e| e.class != Class::Misfortune).map(|e| e.name).collect();
        let mut status = state.cluster.status.clone();
        status.timeline.clear();
        status.conditions.retain(|c| c.status == "True");
        let status = serde_json::to_string_pretty(&status).unwrap_or_default();
        format!("  may happen: {open:?}\n  wake: {:?}\n{status}", state.wake())
    }
}
