//! Breadth-first search of a small world: every order of what may happen, and a graph of the states that it leads to.
//!
//! In every state the promises hold; and from every state the ends that a world names are in reach. A world that is too
//! large is searched up to a number of states, breadth first: what was found is then all that a shortest path leads to, and
//! what lies beyond is counted and said, and may lead anywhere.

#![allow(dead_code)] // not every world waits for somebody

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The way of things.
    Free,
    /// A person or a named condition does what is waited for.
    Awaited,
    /// Costs one of the budget.
    Misfortune,
}

/// The ends that a state is one of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    /// What every state leads to by itself: the end, or a wait for somebody by name.
    pub free: bool,
    /// What every state leads to where those waited for do their part.
    pub awaited: bool,
}

/// What is searched.
pub trait World {
    /// A state of it.
    type State;
    /// What may happen in a state. The same state has the same events, in the same order.
    type Event;

    /// What it is called.
    fn name(&self) -> &str;
    /// Where the search begins.
    fn root(&self) -> Self::State;
    /// Everything that may happen next.
    fn events(&self, state: &Self::State) -> Vec<Self::Event>;
    /// Lets an event happen.
    fn step(&self, state: &Self::State, event: &Self::Event) -> Self::State;
    /// What an event costs.
    fn class(&self, event: &Self::Event) -> Class;
    /// Two states of one fingerprint do the same from here on.
    fn fingerprint(&self, state: &Self::State) -> u128;
    /// The ends that a state is one of.
    fn ends(&self, state: &Self::State) -> Ends;
    /// What is wrong with a state, whatever may follow.
    fn wrong(&self, state: &Self::State) -> Option<String>;
    /// Takes in a state that was not known before.
    fn take_in(&mut self, state: &Self::State);
    /// An event, on the way to the state that it led to.
    fn line(&self, before: &Self::State, event: &Self::Event, after: &Self::State) -> String;
    /// A state at the end of a path.
    fn describe(&self, state: &Self::State) -> String;
}

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// The world is small: a search that finds more states fails.
    Small(usize),
    /// It ends there, and says what it left.
    Bound(usize),
}

/// What a search found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub states: usize,
    /// States that were found and not looked at further.
    pub left: usize,
}

struct Graph {
    ids: HashMap<u128, u32>,
    /// By state: the state it was first reached from, and by which event.
    parents: Vec<(u32, u16)>,
    /// By state: how many events lead there.
    depths: Vec<u16>,
    edges: Vec<(u32, u32, Class)>,
    ends: Vec<Ends>,
}

/// Searches a world and checks it. Panics with the path to whatever is wrong.
pub fn search<W: World>(world: &mut W, limit: Limit) -> Found {
    let began = std::time::Instant::now();
    let name = world.name().to_owned();
    let root = world.root();
    let mut graph = Graph { ids: HashMap::new(), parents: vec![], depths: vec![], edges: vec![], ends: vec![] };
    graph.add(world, &root, (0, 0));
    let mut queue = VecDeque::from([(0u32, root)]);
    while let Some((id, state)) = queue.pop_front() {
        if let Limit::Bound(most) = limit
            && graph.parents.len() >= most
        {
            queue.push_front((id, state));
            break;
        }
        for (i, event) in world.events(&state).iter().enumerate() {
            let next = world.step(&state, event);
            let print = world.fingerprint(&next);
            let known = graph.ids.get(&print).copied();
            if let Some(wrong) = world.wrong(&next) {
                panic!("{name}: {wrong}\nafter\n{}", graph.path(world, id, Some(i)));
            }
            let to = known.unwrap_or_else(|| graph.insert(world, &next, print, (id, i as u16)));
            graph.edges.push((id, to, world.class(event)));
            if known.is_none() {
                queue.push_back((to, next));
            }
        }
        let count = graph.parents.len();
        if count.is_multiple_of(20_000) {
            eprintln!("{name}: {count} states, {} waiting, depth {}", queue.len(), graph.depths[id as usize]);
        }
        if let Limit::Small(most) = limit {
            assert!(count < most, "{name}: more than {most} states: make the world smaller");
        }
    }
    let (states, left) = (graph.parents.len(), queue.len());
    let seconds = began.elapsed().as_secs_f64();
    println!("{name}: explored {states} states, {} transitions in {seconds:.1} s", graph.edges.len());
    if let Some((first, _)) = queue.front() {
        let depth = graph.depths[*first as usize];
        println!(
            "{name}: left unexplored: what follows {left} of these states; all paths of {depth} events are explored"
        );
    }
    let mut ends = graph.ends.clone();
    // What was not looked at may lead anywhere.
    queue.iter().for_each(|(id, _)| ends[*id as usize] = Ends { free: true, awaited: true });
    graph.check(world, &ends);
    Found { states, left }
}

impl Graph {
    fn add<W: World>(&mut self, world: &mut W, state: &W::State, from: (u32, u16)) -> u32 {
        let print = world.fingerprint(state);
        self.insert(world, state, print, from)
    }

    fn insert<W: World>(&mut self, world: &mut W, state: &W::State, print: u128, from: (u32, u16)) -> u32 {
        let id = self.parents.len() as u32;
        self.ids.insert(print, id);
        self.parents.push(from);
        self.depths.push(if id == 0 { 0 } else { self.depths[from.0 as usize].saturating_add(1) });
        self.ends.push(world.ends(state));
        world.take_in(state);
        id
    }

    /// P10: without further misfortune every state leads to an end or to a wait with a name; and where those waited for do
    /// their part, to the end.
    fn check<W: World>(&self, world: &W, ends: &[Ends]) {
        let name = world.name();
        let free = self.reach(ends.iter().map(|e| e.free).collect(), |c| c == Class::Free);
        let awaited = self.reach(ends.iter().map(|e| e.awaited).collect(), |c| c != Class::Misfortune);
        for (what, reached) in [("by itself", free), ("with everybody's help", awaited)] {
            if let Some(lost) = reached.iter().position(|r| !r) {
                let count = reached.iter().filter(|r| !**r).count();
                let path = self.path(world, lost as u32, None);
                panic!("{name}: P10: {count} states have no end in reach {what}, first:\n{path}");
            }
        }
        assert!(ends.iter().any(|e| e.awaited), "{name}: no end was found at all");
    }

    /// Which states lead to a goal, by these edges.
    fn reach(&self, goal: Vec<bool>, by: impl Fn(Class) -> bool) -> Vec<bool> {
        let mut into: Vec<Vec<u32>> = vec![vec![]; goal.len()];
        for (from, to, class) in &self.edges {
            if by(*class) {
                into[*to as usize].push(*from);
            }
        }
        let mut stack: Vec<u32> = (0..goal.len() as u32).filter(|i| goal[*i as usize]).collect();
        let mut reached = goal;
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
    fn path<W: World>(&self, world: &W, id: u32, then: Option<usize>) -> String {
        let mut events: Vec<usize> = then.into_iter().collect();
        let mut at = id;
        while at != 0 {
            let (parent, event) = self.parents[at as usize];
            events.push(event.into());
            at = parent;
        }
        let mut state = world.root();
        let mut text = String::new();
        for i in events.into_iter().rev() {
            let event = &world.events(&state)[i];
            let next = world.step(&state, event);
            text.push_str(&format!("  {}\n", world.line(&state, event, &next)));
            state = next;
        }
        text + &world.describe(&state)
    }
}

/// A hash of 128 bits.
pub fn hash(text: &str) -> u128 {
    let half = |salt: u64| {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(salt);
        hasher.write(text.as_bytes());
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}
