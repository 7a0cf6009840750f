//! A world of the search: the pilot of a run on a small simulated cluster.

use cutover::plan::Plan;

use super::reached::Reached;
use super::sim::cluster::Cluster;
use super::sim::search::{Class, Ends, Limit, World as Searched, search};
use super::sim::{promises, timeline};
use super::state::{Event, Scope, State};
use super::{World, night};

/// A search gives up beyond this many states: the world is then not small any more.
const MOST: usize = 400_000;

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
        (scope.budget, scope.only, scope.free_triggers) = (2, &[], true);
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
        state.step(event, &self.scope)
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
