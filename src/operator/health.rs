//! Whether the operator is ready, and whether it is alive: a watch that fails while live reads succeed is its own fault.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::driver::manager::Watched;
use crate::meter::watches::Watches;
use crate::observe::health::WatchHealth;

/// The watches that must have spoken before the operator is ready.
const KINDS: [&str; 3] = ["runs", "cutovers", "decisions"];
/// A watch that failed and has not failed again for this long is connected: it is tried every 2 s, and a connection
/// that cannot be made fails within 5 s.
const RECOVERED: Duration = Duration::from_secs(15);
/// A watch that hears nothing for this long while live reads succeed, be it refused or open and silent, will not recover
/// by itself: the API server speaks in each at least once a minute.
const DEAD: Duration = Duration::from_secs(120);
/// After an outage of the API server watches are back within this time.
const SETTLED: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Kind {
    heard: bool,
    failed: Option<Instant>,
    why: String,
}

#[derive(Default)]
struct Inner {
    kinds: HashMap<&'static str, Kind>,
    stopping: bool,
    /// Since when live reads succeed; `None` while they do not.
    reads_work: Option<Instant>,
    /// Watches beside [`KINDS`].
    more: Vec<&'static str>,
    /// What the start checks found.
    amiss: Option<String>,
}

/// The health of the operator.
#[derive(Default)]
pub struct Health {
    inner: Mutex<Inner>,
    /// The watches of single runs.
    of_runs: WatchHealth,
    /// When each watch last heard something.
    watches: Watches,
}

impl Health {
    /// Nothing heard yet; `of_runs` tells how the watches of single runs fare, `watches` when each was last heard.
    pub fn new(of_runs: WatchHealth, watches: Watches) -> Self {
        Self { inner: Mutex::default(), of_runs, watches }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more watch must have spoken before the operator is ready.
    pub fn needs(&self, watch: &'static str) {
        self.lock().more.push(watch);
    }

    /// What stands in the way of being ready, beside the watches.
    pub(crate) fn amiss(&self, why: Option<String>) {
        self.lock().amiss = why;
    }

    /// The process is about to end.
    pub(crate) fn stopping(&self) {
        self.lock().stopping = true;
    }

    /// A live read ended.
    pub fn read(&self, ok: bool) {
        let mut inner = self.lock();
        inner.reads_work = if ok { inner.reads_work.or_else(|| Some(Instant::now())) } else { None };
    }

    /// Why the operator is not ready, if it is not.
    pub fn not_ready(&self) -> Option<String> {
        let inner = self.lock();
        if inner.stopping {
            return Some("stopping".into());
        }
        if inner.amiss.is_some() {
            return inner.amiss.clone();
        }
        for name in KINDS.iter().chain(&inner.more) {
            let Some(kind) = inner.kinds.get(name).filter(|k| k.heard) else {
                let why = inner.kinds.get(name).map_or("", |k| k.why.as_str());
                return Some(format!("{name} are not listed yet {why}"));
            };
            if kind.failed.is_some_and(|at| at.elapsed() < RECOVERED) {
                return Some(format!("the watch of {name} fails: {}", kind.why));
            }
        }
        self.of_runs.failing_for().map(|_| "watches of single runs fail".into())
    }

    /// Why the process should be replaced, if it should.
    pub fn dead(&self) -> Option<String> {
        let inner = self.lock();
        // While the API server does not answer at all, a new process would do no better; when it is back, watches get
        // the time to connect.
        if inner.reads_work.is_none_or(|since| since.elapsed() < SETTLED) {
            return None;
        }
        let silent = self.watches.ages().into_iter().max_by_key(|(_, age)| *age)?;
        let (resource, age) = Some(silent).filter(|(_, age)| *age >= DEAD)?;
        Some(format!("the watch of {resource} has heard nothing for {} s", age.as_secs()))
    }
}

impl Watched for Health {
    fn alive(&self, kind: &'static str) {
        let mut inner = self.lock();
        let kind = inner.kinds.entry(kind).or_default();
        kind.heard = true;
        kind.failed = None;
    }

    fn failed(&self, kind: &'static str, why: &str) {
        let mut inner = self.lock();
        let kind = inner.kinds.entry(kind).or_default();
        kind.failed = Some(Instant::now());
        kind.why = why.chars().take(200).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    /// Fails as a watch of the operator does: asked for again and again, never answered.
    async fn fails_for(health: &Health, seconds: u64) {
        for _ in 0..seconds / 2 {
            health.failed("runs", "410");
            drop(health.watches.begin("cutoverruns"));
            pass(2).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ready_fails_at_once_and_live_after_two_minutes_in_which_reads_work() {
        let health = Health::default();
        assert!(health.not_ready().is_some_and(|w| w.contains("not listed")));
        for kind in KINDS {
            health.alive(kind);
        }
        assert_eq!(health.not_ready(), None);
        health.failed("runs", "410");
        assert!(health.not_ready().is_some_and(|w| w.contains("410")));
        fails_for(&health, 130).await;
        assert_eq!(health.dead(), None, "nothing says that the API server answers");
        health.read(true);
        assert_eq!(health.dead(), None, "it is back this moment");
        fails_for(&health, 30).await;
        assert!(health.dead().is_some_and(|w| w.contains("cutoverruns")), "{:?}", health.dead());
        pass(1).await;
        health.read(false);
        assert_eq!(health.dead(), None, "the API server is away: a new process would do no better");
        health.read(true);
        fails_for(&health, 30).await;
        assert!(health.dead().is_some());
        // It works again.
        let watch = health.watches.begin("cutoverruns");
        watch.heard();
        assert_eq!(health.dead(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn failing_for_less_than_two_minutes_or_now_and_then_is_not_dead() {
        let health = Health::default();
        health.read(true);
        fails_for(&health, 118).await;
        assert_eq!(health.dead(), None);
        // Reset every half minute for ten minutes, and connected in between.
        for _ in 0..20 {
            let watch = health.watches.begin("cutoverruns");
            watch.heard();
            pass(30).await;
            health.failed("runs", "reset");
            health.read(true);
        }
        assert_eq!(health.dead(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_of_a_run_that_is_open_but_silent_is_found() {
        let health = Health::default();
        for kind in KINDS {
            health.alive(kind);
        }
        let (pods, services) = (health.watches.begin("pods"), health.watches.begin("services"));
        pods.heard();
        for _ in 0..12 {
            services.heard();
            assert_eq!(health.dead(), None);
            pass(10).await;
            health.read(true);
        }
        assert!(health.dead().is_some_and(|w| w.contains("pods")), "{:?}", health.dead());
        drop(pods);
        assert_eq!(health.dead(), Some("the watch of pods has heard nothing for 120 s".into()), "it ended just now");
        pass(20).await;
        services.heard();
        assert_eq!(health.dead(), None, "the run is over: its pods are not watched any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_watch_of_a_run_makes_it_unready() {
        let of_runs = WatchHealth::default();
        let health = Health::new(of_runs.clone(), Watches::default());
        for kind in KINDS {
            health.alive(kind);
        }
        assert_eq!(health.not_ready(), None);
        of_runs.failed();
        assert!(health.not_ready().is_some_and(|w| w.contains("single runs")));
        pass(21).await;
        assert_eq!(health.not_ready(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_stopped_failing_is_connected() {
        let health = Health::default();
        for kind in KINDS {
            health.alive(kind);
        }
        health.failed("cutovers", "503");
        tokio::time::advance(RECOVERED).await;
        assert_eq!(health.not_ready(), None);
        health.stopping();
        assert_eq!(health.not_ready().as_deref(), Some("stopping"));
    }
}
