//! Whether watches work, for the liveness of the process: they fail alone when live reads still succeed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A watch that fails is tried again within this time, so after it a failure counts as over.
const OVER: Duration = Duration::from_secs(20);

/// Failures of all watches together.
#[derive(Clone, Default)]
pub(crate) struct WatchHealth(Arc<Mutex<Option<(Instant, Instant)>>>);

impl WatchHealth {
    /// A watch failed.
    pub fn failed(&self) {
        let now = Instant::now();
        let mut spell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *spell = match *spell {
            Some((first, last)) if now - last < OVER => Some((first, now)),
            _ => Some((now, now)),
        };
    }

    /// For how long some watch has failed again and again; `None` while all work.
    pub(crate) fn failing_for(&self) -> Option<Duration> {
        let (first, last) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        (last.elapsed() < OVER).then(|| last - first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_spell_of_failures_lasts_until_they_stop() {
        let health = WatchHealth::default();
        assert_eq!(health.failing_for(), None);
        for _ in 0..30 {
            health.failed();
            tokio::time::advance(Duration::from_secs(5)).await;
        }
        assert_eq!(health.failing_for(), Some(Duration::from_secs(145)));
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(health.failing_for(), None);
        health.failed();
        assert_eq!(health.failing_for(), Some(Duration::ZERO));
    }
}
