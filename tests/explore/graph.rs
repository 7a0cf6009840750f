//! The graph of states that a search finds, and what must hold of it.

use std::collections::{HashMap, VecDeque};

use cutover::plan::Plan;

use super::World;
use super::reached::Reached;
use super::sim::cluster::Cluster;
use super::sim::{promises, timeline};
use super::state::{Class, Scope, State};

/// A search gives up beyond this many states: the world is then not small any more.
const MOST: usize = 400_000;
/// The same for the long searches.
const MOST_AT_NIGHT: usize = 4_000_000;

#[derive(Default)]
struct Graph {
    ids: HashMap<u128, u32>,
    /// By state: the state it was first reached from, and by which event.
    parents: Vec<(u32, u16)>,
    /// From, to, and whether a person or named condition must act for it.
    edges: Vec<(u32, u32, Class)>,
    closed: Vec<bool>,
    /// Closed, or waiting for somebody by name.
    named: Vec<bool>,
}

/// Searches a world and checks it.
pub fn explore(world: World) {
    let night = std::env::var("EXPLORE").is_ok_and(|v| v == "night");
    let World { name, plan, mut scope, states, reaches } = world;
    let (plan, mut most) = (&plan, MOST);
    if night {
        (scope.budget, scope.only, scope.free_triggers, most) = (2, &[], true, MOST_AT_NIGHT);
    }
    let began = std::time::Instant::now();
    let mut reached = Reached::default();
    let root = State::new(Cluster::new(plan, 2, timeline::EPOCH), &scope);
    reached.take_in(&root.cluster.status);
    let mut graph = Graph::default();
    let mut queue = VecDeque::new();
    graph.add(&root, root.fingerprint(), (0, 0));
    queue.push_back((0u32, root));
    while let Some((id, state)) = queue.pop_front() {
        for (i, event) in state.events(&scope).iter().enumerate() {
            let next = state.step(event, &scope);
            let print = next.fingerprint();
            let known = graph.ids.get(&print).copied();
            let to = known.unwrap_or_else(|| graph.add(&next, print, (id, i as u16)));
            graph.edges.push((id, to, event.class));
            assert!(
                next.cluster.broken.is_empty(),
                "{name}: {:#?}\nafter\n{}",
                next.cluster.broken,
                graph.path(plan, &scope, id, Some(i)),
            );
            if known.is_none() {
                reached.take_in(&next.cluster.status);
                queue.push_back((to, next));
            }
        }
        if graph.parents.len().is_multiple_of(20_000) {
            eprintln!("{name}: {} states, {} waiting", graph.parents.len(), queue.len());
        }
        assert!(graph.parents.len() < most, "{name}: more than {most} states: make the world smaller");
    }
    let (count, seconds) = (graph.parents.len(), began.elapsed().as_secs());
    println!("{name}: explored {count} states, {} transitions in {seconds} s", graph.edges.len());
    graph.ends(name, plan, &scope);
    let missing = reached.missing(reaches);
    assert!(missing.is_empty(), "{name}: never met: {missing:?}; met: {:?}", reached.all());
    assert!(count >= states, "{name}: only {count} states where there were {states}: has an event lost its name?");
}

impl Graph {
    fn add(&mut self, state: &State, print: u128, from: (u32, u16)) -> u32 {
        let id = self.parents.len() as u32;
        self.ids.insert(print, id);
        self.parents.push(from);
        self.closed.push(state.closed());
        self.named.push(state.closed() || promises::waits_for(&state.cluster).is_some());
        id
    }

    /// P10: without further misfortune every state leads to the end or to a wait with a name; and where those waited for
    /// do their part, to the end.
    fn ends(&self, name: &str, plan: &Plan, scope: &Scope) {
        let free = self.reach(&self.named, |c| c == Class::Free);
        let awaited = self.reach(&self.closed, |c| c != Class::Misfortune);
        for (what, reached) in [("by itself", free), ("with everybody's help", awaited)] {
            if let Some(lost) = reached.iter().position(|r| !r) {
                let count = reached.iter().filter(|r| !**r).count();
                panic!(
                    "{name}: P10: {count} states have no end in reach {what}, first:\n{}",
                    self.path(plan, scope, lost as u32, None)
                );
            }
        }
        assert!(self.closed.iter().any(|c| *c), "{name}: no end was found at all");
    }

    /// Which states lead to a goal, by these edges.
    fn reach(&self, goal: &[bool], by: impl Fn(Class) -> bool) -> Vec<bool> {
        let mut into: Vec<Vec<u32>> = vec![vec![]; goal.len()];
        for (from, to, class) in &self.edges {
            if by(*class) {
                into[*to as usize].push(*from);
            }
        }
        let mut reached = goal.to_vec();
        let mut stack: Vec<u32> = (0..goal.len() as u32).filter(|i| goal[*i as usize]).collect();
        while let Some(to) = stack.pop() {
            for &from in &into[to as usize] {
                if !std::mem::replace(&mut reached[from as usize], true) {
                    stack.push(from);
                }
            }
        }
        reached
    }

    /// How a state is reached, event by event.
    fn path(&self, plan: &Plan, scope: &Scope, id: u32, then: Option<usize>) -> String {
        let mut events = vec![];
        events.extend(then);
        let mut at = id;
        while at != 0 {
            let (parent, event) = self.parents[at as usize];
            events.push(event as usize);
            at = parent;
        }
        let mut state = State::new(Cluster::new(plan, 2, timeline::EPOCH), scope);
        let mut text = String::new();
        for i in events.into_iter().rev() {
            let event = &state.events(scope)[i];
            state = state.step(event, scope);
            let seconds = state.cluster.now.duration_since(timeline::EPOCH).as_secs_f64();
            text.push_str(&format!("  {seconds:>7.2} {:<60} {}\n", event.name, state.cluster.status.phase));
        }
        let open: Vec<_> =
            state.events(scope).into_iter().filter(|e| e.class != Class::Misfortune).map(|e| e.name).collect();
        text.push_str(&format!("  may happen: {open:?}\n  wake: {:?}\n", state.wake()));
        let mut status = state.cluster.status.clone();
        status.timeline.clear();
        status.conditions.retain(|c| c.status == "True");
        text.push_str(&serde_json::to_string_pretty(&status).unwrap_or_default());
        text
    }
}
