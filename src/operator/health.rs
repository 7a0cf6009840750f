//! Whether the operator is ready, and whether it is alive: a watch that fails while live reads succeed is its own fault.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::driver::manager::Watched;
use crate::observe::health::WatchHealth;

/// The watches that must have spoken before the operator is ready.
const KINDS: [&str; 3] = ["runs", "cutovers", "decisions"];
/// A watch that failed and has not failed again for this long is connected: it is tried every 2 s, and a connection
/// that cannot be made fails within 5 s.
const RECOVERED: Duration = Duration::from_secs(15);
/// Failures further apart than this do not belong together: a watch lasts 60 s.
const TOGETHER: Duration = Duration::from_secs(75);
/// A watch that fails this long while live reads succeed will not recover by itself.
const DEAD: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Kind {
    heard: bool,
    failing_since: Option<Instant>,
    failed: Option<Instant>,
    why: String,
}

#[derive(Default)]
struct Inner {
    kinds: HashMap<&'static str, Kind>,
    stopping: bool,
    /// The last live read that succeeded, and the last that failed.
    read_ok: Option<Instant>,
    read_failed: Option<Instant>,
}

/// The health of the operator.
#[derive(Default)]
pub struct Health {
    inner: Mutex<Inner>,
    /// The watches of single runs.
    of_runs: WatchHealth,
}

impl Health {
    /// Nothing heard yet; `of_runs` tells how the watches of single runs fare.
    pub fn new(of_runs: WatchHealth) -> Self {
        Self { inner: Mutex::default(), of_runs }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process is about to end.
    pub fn stopping(&self) {
        self.lock().stopping = true;
    }

    /// A live read ended.
    pub fn read(&self, ok: bool) {
        let mut inner = self.lock();
        let slot = if ok { &mut inner.read_ok } else { &mut inner.read_failed };
        *slot = Some(Instant::now());
    }

    /// Why the operator is not ready, if it is not.
    pub fn not_ready(&self) -> Option<String> {
        let inner = self.lock();
        if inner.stopping {
            return Some("stopping".into());
        }
        for name in KINDS {
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
        // While the API server does not answer at all, a new process would do no better.
        let reads_work = match (inner.read_ok, inner.read_failed) {
            (Some(ok), Some(failed)) => ok > failed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if !reads_work {
            return None;
        }
        if let Some(time) = self.of_runs.failing_for().filter(|t| *t >= DEAD) {
            return Some(format!("watches of single runs have failed for {} s", time.as_secs()));
        }
        inner.kinds.iter().find_map(|(name, kind)| {
            let (since, last) = (kind.failing_since?, kind.failed?);
            (last.elapsed() < TOGETHER && since.elapsed() >= DEAD)
                .then(|| format!("the watch of {name} has failed for {} s: {}", since.elapsed().as_secs(), kind.why))
        })
    }
}

impl Watched for Health {
    fn alive(&self, kind: &'static str) {
        let mut inner = self.lock();
        let kind = inner.kinds.entry(kind).or_default();
        kind.heard = true;
        kind.failing_since = None;
        kind.failed = None;
    }

    fn failed(&self, kind: &'static str, why: &str) {
        let mut inner = self.lock();
        let kind = inner.kinds.entry(kind).or_default();
        let now = Instant::now();
        if kind.failed.is_none_or(|at| at.elapsed() > TOGETHER) {
            kind.failing_since = Some(now);
        }
        kind.failed = Some(now);
        kind.why = why.chars().take(200).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ready_fails_at_once_and_live_only_when_reads_work() {
        let health = Health::default();
        assert!(health.not_ready().is_some_and(|w| w.contains("not listed")));
        for kind in KINDS {
            health.alive(kind);
        }
        assert_eq!(health.not_ready(), None);
        health.failed("runs", "410");
        assert!(health.not_ready().is_some_and(|w| w.contains("410")));
        for _ in 0..70 {
            tokio::time::advance(Duration::from_secs(2)).await;
            health.failed("runs", "410");
        }
        assert_eq!(health.dead(), None, "nothing says that the API server answers");
        health.read(true);
        assert!(health.dead().is_some());
        health.read(false);
        tokio::time::advance(Duration::from_secs(1)).await;
        // One lock at a time: a second one in the same expression would wait for the first for ever.
        let (ok, failed) = {
            let state = health.lock();
            (state.read_ok, state.read_failed)
        };
        assert_eq!(health.dead().is_some(), ok > failed);
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
