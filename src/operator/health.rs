//! Whether the operator is ready, and whether it is alive: a watch that fails while live reads succeed is its own fault.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::net::watches::Watches;

/// What must have been listed before the operator is ready.
const KINDS: [&str; 3] = ["runs", "cutovers", "decisions"];
/// A watch that is dead for so long while live reads succeed will not recover by itself: it is tried every few seconds.
const DEAD: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Inner {
    stopping: bool,
    /// Since when live reads succeed; `None` while they do not.
    reads_work: Option<Instant>,
    /// What must have been listed beside [`KINDS`].
    more: Vec<&'static str>,
    /// What the start checks found.
    amiss: Option<String>,
}

/// The health of the operator.
#[derive(Default)]
pub struct Health {
    inner: Mutex<Inner>,
    watches: Watches,
}

impl Health {
    /// Nothing heard yet; `watches` tells how the watches fare.
    pub(crate) fn new(watches: Watches) -> Self {
        Self { inner: Mutex::default(), watches }
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
        let missing = |name: &&str| Some(format!("{name} are not listed yet {}", self.watches.not_listed(name)?));
        let unlisted = KINDS.iter().chain(&inner.more).find_map(missing);
        unlisted.or_else(|| Some(self.watches.trouble()?.0))
    }

    /// Why the process should be replaced, if it should.
    pub fn dead(&self) -> Option<String> {
        // While the API server does not answer at all, a new process would do no better.
        let reads_work = self.lock().reads_work?.elapsed();
        let (why, dead) = self.watches.trouble()?;
        (reads_work.min(dead) >= DEAD)
            .then(|| format!("{why}, for {} s in which other requests succeed", DEAD.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::watches::Wanted;

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    fn want(watches: &Watches, name: &str) -> Wanted {
        watches.want(&format!("/api/v1/{name}"), None, None, name, false)
    }

    /// Everything is listed.
    fn ready() -> (Health, Watches, Vec<Wanted>) {
        let watches = Watches::default();
        let wanted: Vec<Wanted> = KINDS.iter().map(|kind| want(&watches, kind)).collect();
        wanted.iter().for_each(Wanted::listed);
        (Health::new(watches.clone()), watches, wanted)
    }

    /// The API server takes and ends the watches; all but those that fail.
    fn renew(watches: &Watches, names: &[&str]) {
        for name in names {
            let asked = watches.asked(&format!("/api/v1/{name}?watch=true").parse().expect("a path"));
            asked.expect("a watch").taken();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ready_once_everything_is_listed() {
        let watches = Watches::default();
        let health = Health::new(watches.clone());
        health.needs("the Lease");
        assert_eq!(health.not_ready().as_deref(), Some("runs are not listed yet "));
        let wanted: Vec<Wanted> = KINDS.iter().chain(&["the Lease"]).map(|kind| want(&watches, kind)).collect();
        wanted.iter().take(3).for_each(Wanted::listed);
        wanted[3].failed("forbidden", true);
        assert_eq!(health.not_ready().as_deref(), Some("the Lease are not listed yet forbidden"));
        wanted[3].listed();
        assert_eq!(health.not_ready().as_deref(), Some("the watch of the Lease fails: forbidden"));
    }

    #[tokio::test(start_paused = true)]
    async fn ready_fails_at_once_and_live_after_two_minutes_in_which_reads_work() {
        let (health, watches, wanted) = ready();
        assert_eq!(health.not_ready(), None);
        // Neither reads nor watches work: the API server is away.
        for _ in 0..20 {
            wanted[0].failed("refused", false);
            assert_eq!(health.not_ready().as_deref(), Some("the watch of runs fails: refused"));
            renew(&watches, &["cutovers", "decisions"]);
            pass(10).await;
        }
        assert_eq!(health.dead(), None, "nothing says that the API server answers");
        health.read(true);
        for _ in 0..12 {
            assert_eq!(health.dead(), None);
            renew(&watches, &["cutovers", "decisions"]);
            health.read(true);
            pass(10).await;
        }
        assert!(
            health.dead().is_some_and(|why| why.contains("the watch of runs fails: refused")),
            "{:?}",
            health.dead()
        );
        health.read(false);
        assert_eq!(health.dead(), None, "the API server is away again: a new process would do no better");
        health.read(true);
        renew(&watches, &KINDS);
        assert_eq!((health.not_ready(), health.dead()), (None, None), "it recovers by itself");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_open_and_silent_is_found() {
        let (health, watches, _wanted) = ready();
        let pods = want(&watches, "pods");
        renew(&watches, &["pods"]);
        let mut dead = vec![];
        for second in (0..=200).step_by(10) {
            health.read(true);
            renew(&watches, &KINDS);
            match (health.not_ready(), health.dead()) {
                (None, None) => {}
                (Some(why), None) => assert!(second >= 70 && why.contains("pods"), "{second}: {why}"),
                (_, Some(_)) => dead.push(second),
            }
            pass(10).await;
        }
        assert_eq!(dead, [190, 200], "two minutes after it was silent for too long");
        drop(pods);
        assert_eq!(health.dead(), None, "the run is over: its pods are not watched any more");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_reset_now_and_then_is_not_dead() {
        let (health, watches, wanted) = ready();
        for _ in 0..20 {
            health.read(true);
            wanted[1].failed("reset", false);
            assert!(health.not_ready().is_some());
            renew(&watches, &KINDS);
            assert_eq!((health.not_ready(), health.dead()), (None, None));
            pass(30).await;
        }
        health.stopping();
        assert_eq!(health.not_ready().as_deref(), Some("stopping"));
    }
}
