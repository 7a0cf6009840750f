//! Threads for what tenants let the operator compute: decisions with their expressions, plans, patterns over logs, answers of
//! metrics, authorities. None of it runs on the threads that send, receive and keep time, so that nothing that one tenant writes
//! delays another's restore (P15). Decides nothing.
//!
//! A tenant is a namespace. It has at most one piece under way, and its pieces are done in the order in which they came;
//! namespaces take turns. One that has lately used more than its share of a processor works in the slow lane, on threads of
//! their own with a lower priority, until it has rested: the others' pieces then wait for no long one, and the kernel lets
//! them run first.
//!
//! A thread cannot be ended from outside. So every piece ends by itself: what it works on is bounded in size, and expressions,
//! patterns and paths are bounded in steps (`plan`). What waits is bounded as well, since each caller waits for its piece.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

mod processor;

/// Threads of each lane: more than a machine has processors to give, so that the kernel, not the queue, shares them out.
const THREADS: usize = 4;
/// Processor time that a namespace may use beyond its share before it goes into the slow lane.
const DEBT: Duration = Duration::from_millis(100);
/// A namespace pays back one part in so many of the time that passes: this is its share of a processor.
const SHARE: u32 = 5;
/// The most that a namespace can owe: after this long times [`SHARE`] without work it owes nothing.
const MOST: Duration = Duration::from_secs(2);
/// Namespaces that are remembered before those are forgotten that owe nothing.
const REMEMBERED: usize = 64;
/// Of the slow lane, as `nice` counts.
const NICE: i32 = 10;

/// What is to be done; it tells its caller itself.
type Piece = Box<dyn FnOnce() + Send>;

/// The threads. Cheap to clone; they end with the last clone.
#[derive(Clone)]
pub struct Threads(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closed = true;
        state.idle.iter().flatten().for_each(|thread| thread.notify_one());
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody does the next piece of a lane: the thread that has waited for the shortest time, or a new one.
    fn wake(self: &Arc<Self>, state: &mut State, lane: Lane) {
        if let Some(thread) = state.idle[lane.index()].pop() {
            thread.notify_one();
        } else if state.started[lane.index()] < THREADS
            && let Err(error) = self.start(state, lane)
        {
            // Those that there are do it later.
            tracing::warn!(%error, ?lane, "the system gives no further thread");
        }
    }

    fn start(self: &Arc<Self>, state: &mut State, lane: Lane) -> std::io::Result<()> {
        let shared = self.clone();
        std::thread::Builder::new().name(format!("{lane:?}").to_lowercase()).spawn(move || serve(&shared, lane))?;
        state.started[lane.index()] += 1;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Prompt,
    Slow,
}

impl Lane {
    const fn index(self) -> usize {
        match self {
            Self::Prompt => 0,
            Self::Slow => 1,
        }
    }
}

#[derive(Default)]
struct State {
    tenants: HashMap<String, Tenant>,
    /// Whose turn it is, in each lane: namespaces that have a piece waiting and none under way.
    turns: [VecDeque<String>; 2],
    /// The threads of each lane that wait, the last one last. Each has memory of its own, so that it is always the last
    /// that goes on, and none begins before it is needed: an operator at rest has one.
    idle: [Vec<Arc<Condvar>>; 2],
    /// How many each lane has.
    started: [usize; 2],
    closed: bool,
}

/// What is known of a namespace.
struct Tenant {
    waiting: VecDeque<Piece>,
    busy: bool,
    /// Processor time used beyond its share, at that moment.
    debt: Duration,
    at: Instant,
}

impl Tenant {
    fn owes(&self, now: Instant) -> Duration {
        self.debt.saturating_sub(now.saturating_duration_since(self.at) / SHARE)
    }
}

impl State {
    /// A piece to wait for its turn; the lane whose turn list has become longer.
    fn add(&mut self, namespace: &str, piece: Piece, now: Instant) -> Option<Lane> {
        if self.tenants.len() >= REMEMBERED {
            self.tenants.retain(|_, tenant| tenant.busy || !tenant.waiting.is_empty() || !tenant.owes(now).is_zero());
        }
        let tenant = self.tenants.entry(namespace.to_owned()).or_insert_with(|| Tenant {
            waiting: VecDeque::new(),
            busy: false,
            debt: Duration::ZERO,
            at: now,
        });
        let waits = tenant.busy || !tenant.waiting.is_empty();
        tenant.waiting.push_back(piece);
        if waits { None } else { Some(self.turn(namespace, now)) }
    }

    fn turn(&mut self, namespace: &str, now: Instant) -> Lane {
        let owes = self.tenants.get(namespace).map_or(Duration::ZERO, |tenant| tenant.owes(now));
        let lane = if owes > DEBT { Lane::Slow } else { Lane::Prompt };
        self.turns[lane.index()].push_back(namespace.to_owned());
        lane
    }

    /// The next piece of a lane, and whose it is.
    fn take(&mut self, lane: Lane) -> Option<(String, Piece)> {
        loop {
            let namespace = self.turns[lane.index()].pop_front()?;
            let Some(tenant) = self.tenants.get_mut(&namespace) else { continue };
            let Some(piece) = tenant.waiting.pop_front() else { continue };
            tenant.busy = true;
            return Some((namespace, piece));
        }
    }

    /// A piece is done and has used that much; the lane whose turn list has become longer.
    fn done(&mut self, namespace: &str, used: Duration, now: Instant) -> Option<Lane> {
        let tenant = self.tenants.get_mut(namespace)?;
        tenant.debt = (tenant.owes(now) + used).min(MOST);
        (tenant.at, tenant.busy) = (now, false);
        (!tenant.waiting.is_empty()).then(|| self.turn(namespace, now))
    }
}

impl Threads {
    /// Starts one for each lane; the others follow when there is work for them.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start() -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        for lane in [Lane::Prompt, Lane::Slow] {
            shared.start(&mut shared.state(), lane)?;
        }
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Does this piece of a namespace's work on its thread, when its turn has come, and waits for it. A panic goes on in the
    /// caller. A piece whose caller waits no more is not begun.
    pub async fn run<T: Send + 'static>(&self, namespace: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = oneshot::channel::<Result<T, Box<dyn Any + Send>>>();
        let piece = Box::new(move || {
            if !tell.is_closed() {
                // Nobody waits any more: nothing is left to do with it.
                drop(tell.send(catch_unwind(AssertUnwindSafe(work))));
            }
        });
        {
            let mut state = self.0.0.state();
            if let Some(lane) = state.add(namespace, piece, Instant::now()) {
                self.0.0.wake(&mut state, lane);
            }
        }
        match told.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            // The threads live as long as `self`, and each piece tells. Should it not, the caller breaks and does not wait forever.
            Err(_) => resume_unwind(Box::new("a piece of work was lost")),
        }
    }
}

/// One thread, until nobody can give it anything more.
fn serve(shared: &Arc<Shared>, lane: Lane) {
    if lane == Lane::Slow {
        processor::give_way(NICE);
    }
    let work = Arc::new(Condvar::new());
    let mut state = shared.state();
    loop {
        if let Some((namespace, piece)) = state.take(lane) {
            drop(state);
            let begun = processor::used();
            // It tells of its own panics; what is left is the destructor of a result that nobody wanted.
            let _ = catch_unwind(AssertUnwindSafe(piece));
            let used = processor::used().saturating_sub(begun);
            state = shared.state();
            if let Some(other) = state.done(&namespace, used, Instant::now()).filter(|other| *other != lane) {
                shared.wake(&mut state, other);
            }
        } else if state.closed {
            return;
        } else {
            state.idle[lane.index()].push(work.clone());
            state = work.wait(state).unwrap_or_else(PoisonError::into_inner);
            // It may wake by itself.
            state.idle[lane.index()].retain(|other| !Arc::ptr_eq(other, &work));
        }
    }
}

#[cfg(test)]
mod tests;
