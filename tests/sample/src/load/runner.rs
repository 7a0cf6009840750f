//! Schedule, marks and end of a run.

use super::{
    LoadConfig, Report,
    client::{Client, Outcome},
    lasting::{Lasting, PROTOCOLS, Tally as Lasted},
    tally::{Sample, Tally, text},
};
use jiff::Timestamp;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// More marks than this are ignored, for bounded memory.
const MAX_MARKS: usize = 1000;

/// Starts load as a task of the running tokio runtime.
pub struct Load;

/// A run of load. Clones speak of the same run; dropping them does not end it.
#[derive(Clone)]
pub struct LoadHandle {
    shared: Arc<Shared>,
}

struct Shared {
    config: LoadConfig,
    pools: Vec<Pool>,
    lasting: Option<Arc<Lasting>>,
    state: Mutex<State>,
    stop: watch::Sender<bool>,
    finished: watch::Sender<bool>,
}

struct Pool {
    name: &'static str,
    rate: f64,
    client: Client,
}

struct Window {
    name: String,
    from: Timestamp,
    tally: Tally,
}

struct State {
    started: Timestamp,
    ended: Option<Timestamp>,
    ended_by: Option<&'static str>,
    begun: u64,
    in_flight: u64,
    // In the order of `Shared::pools`.
    pools: Vec<Tally>,
    windows: Vec<Window>,
}

impl Load {
    /// Starts the load at once.
    pub fn start(config: LoadConfig) -> LoadHandle {
        let pools = [("fresh", config.fresh_rate, false), ("keepalive", config.keepalive_rate, true)];
        let pools: Vec<_> = pools
            .into_iter()
            .filter(|(_, rate, _)| rate.is_finite() && *rate > 0.0)
            .map(|(name, rate, keepalive)| Pool { name, rate, client: Client::new(config.clone(), keepalive) })
            .collect();
        let started = Timestamp::now();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                started,
                ended: None,
                ended_by: None,
                begun: 0,
                in_flight: 0,
                pools: pools.iter().map(|_| Tally::new()).collect(),
                windows: vec![Window { name: "start".to_owned(), from: started, tally: Tally::new() }],
            }),
            lasting: (config.lasting > 0).then(|| Arc::new(Lasting::new(&config))),
            config,
            pools,
            stop: watch::Sender::new(false),
            finished: watch::Sender::new(false),
        });
        tokio::spawn(run(shared.clone()));
        LoadHandle { shared }
    }
}

impl LoadHandle {
    /// Ends the present window and opens one called `name`.
    ///
    /// A request belongs to the window in which it starts. Returns whether the mark
    /// was taken: the run is not over, and there are not too many marks.
    pub fn mark(&self, name: &str) -> bool {
        let mut state = self.shared.lock();
        let taken = state.ended.is_none() && state.windows.len() < MAX_MARKS;
        if taken {
            let (name, from) = (name.to_owned(), Timestamp::now());
            state.windows.push(Window { name, from, tally: Tally::new() });
        }
        taken
    }

    /// Lets the clients connect that keep their connections, where they wait for it; says whether there are any.
    pub fn connect(&self) -> bool {
        let lasting = self.shared.lasting.as_ref().filter(|_| self.shared.lock().ended.is_none());
        lasting.inspect(|lasting| lasting.connect()).is_some()
    }

    /// The numbers so far.
    pub fn snapshot(&self) -> Report {
        self.shared.report()
    }

    /// Starts no more requests; returns the report once all are accounted for.
    pub async fn stop(&self) -> Report {
        self.shared.end("stop");
        self.wait().await
    }

    /// Waits for the end of the run.
    pub async fn wait(&self) -> Report {
        // An error would mean that the sender is gone, but `self` holds it.
        let _ = self.shared.finished.subscribe().wait_for(|finished| *finished).await;
        self.snapshot()
    }
}

async fn run(shared: Arc<Shared>) {
    let start = Instant::now();
    let mut schedules = JoinSet::new();
    for pool in 0..shared.pools.len() {
        schedules.spawn(schedule(shared.clone(), pool, start));
    }
    if let Some(lasting) = shared.lasting.clone() {
        let shared = shared.clone();
        schedules.spawn(async move {
            let (length, reason) = bound(&shared.config);
            if lasting.run(shared.config.clone(), shared.stop.subscribe(), start + length).await {
                shared.end(reason);
            }
        });
    }
    if schedules.is_empty() {
        shared.end("stop");
    }
    while schedules.join_next().await.is_some() {}
    shared.finished.send_replace(true);
}

/// The longest time of a run, and what its end is called then.
fn bound(config: &LoadConfig) -> (Duration, &'static str) {
    match config.duration {
        Some(duration) if duration <= config.max_duration => (duration, "duration"),
        _ => (config.max_duration, "max-duration"),
    }
}

/// Starts the requests of one pool at their times and waits for all of them.
async fn schedule(shared: Arc<Shared>, pool: usize, start: Instant) {
    let config = &shared.config;
    let rate = shared.pools[pool].rate;
    let (length, reason) = bound(config);
    let mut stop = shared.stop.subscribe();
    let mut requests = JoinSet::new();
    for number in 0_u64.. {
        // Each time is reckoned from the start, so that no error adds up, and a late
        // request is still measured from the time at which it should have left.
        let after = Duration::from_secs_f64(number as f64 / rate);
        let due = start + after.min(length);
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            () = sleep_until(due) => {}
        }
        if after >= length {
            shared.end(reason);
            break;
        }
        match shared.begin(pool, due) {
            Begin::Request(window) => {
                requests.spawn(request(shared.clone(), pool, window, due));
            }
            Begin::Skip => {}
            Begin::Over => {
                shared.end("max-requests");
                break;
            }
        }
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

async fn request(shared: Arc<Shared>, pool: usize, window: usize, due: Instant) {
    let (began, start) = (Timestamp::now(), Instant::now());
    let outcome = shared.pools[pool].client.request().await;
    let (latency, took) = (due.elapsed(), start.elapsed());
    let ended = Timestamp::now();
    let mut state = shared.lock();
    let State { windows, pools, .. } = &mut *state;
    let Window { name, tally, .. } = &mut windows[window];
    let sample = Sample { began, ended, latency, took, mark: name, outcome: &outcome };
    tally.end(&sample);
    pools[pool].end(&sample);
    state.in_flight -= 1;
    if matches!(outcome, Outcome::NotSent) {
        state.begun -= 1;
    }
}

enum Begin {
    Request(usize),
    Skip,
    Over,
}

impl Shared {
    fn begin(&self, pool: usize, due: Instant) -> Begin {
        let delay = due.elapsed();
        let mut state = self.lock();
        if state.begun >= self.config.max_requests {
            return Begin::Over;
        }
        let window = state.windows.len() - 1;
        if state.in_flight >= self.config.max_in_flight {
            state.pools[pool].not_sent += 1;
            state.windows[window].tally.not_sent += 1;
            return Begin::Skip;
        }
        state.begun += 1;
        state.in_flight += 1;
        state.pools[pool].begin(delay);
        state.windows[window].tally.begin(delay);
        Begin::Request(window)
    }

    /// Ends the run; the first reason counts.
    fn end(&self, reason: &'static str) {
        let mut state = self.lock();
        if state.ended.is_none() {
            state.ended = Some(Timestamp::now());
            state.ended_by = Some(reason);
        }
        drop(state);
        self.stop.send_replace(true);
    }

    fn report(&self) -> Report {
        let finished = *self.finished.borrow();
        let mut state = self.lock();
        for (pool, tally) in self.pools.iter().zip(&mut state.pools) {
            tally.connections = pool.client.connections.load(Ordering::Relaxed);
            tally.reopened = pool.client.reopened.load(Ordering::Relaxed);
        }
        let pools = self.pools.iter().zip(&state.pools);
        let pools = pools.map(|(pool, tally)| (pool.name.to_owned(), tally.pool(pool.rate)));
        let ends = state.windows.iter().skip(1).map(|next| Some(next.from));
        let windows = state.windows.iter().zip(ends.chain([state.ended]));
        let marks = windows.map(|(window, until)| window.tally.window(&window.name, window.from, until));
        let lasting = self.lasting.iter().flat_map(|lasting| {
            let names = PROTOCOLS.iter().map(|(name, _)| (*name).to_owned());
            names.zip(lasting.tallies(Lasted::report))
        });
        let sum = |field: fn(&Tally) -> u64| state.pools.iter().map(field).sum();
        Report {
            url: self.config.url.clone(),
            started: text(state.started),
            ended: state.ended.map(text),
            finished,
            ended_by: state.ended_by.map(str::to_owned),
            sent: sum(|tally| tally.sent),
            ok: sum(|tally| tally.ok),
            app_errors: sum(|tally| tally.app_errors),
            answered_4xx: sum(|tally| tally.answered_4xx),
            lost: sum(|tally| tally.lost),
            not_sent: sum(|tally| tally.not_sent),
            in_flight: sum(Tally::in_flight),
            pools: pools.collect(),
            marks: marks.collect(),
            lasting: lasting.collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
