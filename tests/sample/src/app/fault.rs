//! Faults that a test asks the application to have.

use super::AppConfig;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// A change of the faults, as posted to the control port.
///
/// A field that is left out keeps its value, except `only_after_live`: somebody
/// who posts a fault means "from now on" unless they say otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultChange {
    /// Share of requests answered with 500.
    pub error_rate: Option<f64>,
    /// Milliseconds added to each answer.
    pub latency_ms: Option<u64>,
    /// Whether `/ready` may answer 200.
    pub ready: Option<bool>,
    /// Exit with code 1 at once.
    #[serde(default)]
    pub crash: bool,
    /// Wait for the first live request.
    #[serde(default)]
    pub only_after_live: bool,
}

/// The faults as they stand, as shown on the control port.
#[derive(Clone, Debug, Serialize)]
pub struct FaultView {
    /// Share of requests answered with 500.
    pub error_rate: f64,
    /// Milliseconds added to each answer.
    pub latency_ms: u64,
    /// Whether `/ready` may answer 200.
    pub ready: bool,
    /// Whether the faults wait for live traffic.
    pub only_after_live: bool,
    /// Whether live traffic has been seen.
    pub live_seen: bool,
    /// Whether the faults apply at present.
    pub effective: bool,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Time to wait before the answer.
    pub latency: Duration,
    /// Answer with 500.
    pub fail: bool,
}

struct Settings {
    error_rate: f64,
    latency: Duration,
    ready: bool,
    only_after_live: bool,
    // Grows by the error rate with each request; one error falls due at each whole
    // number. Short tests thus see exactly the rate they asked for, without luck.
    debt: f64,
}

/// The faults of one process.
pub struct Faults {
    settings: Mutex<Settings>,
    live_seen: AtomicBool,
    first_served: watch::Sender<Option<Instant>>,
    unready_after_live: Option<Duration>,
}

impl Faults {
    /// The faults with which the process starts.
    pub fn new(config: &AppConfig) -> Self {
        Self {
            settings: Mutex::new(Settings {
                error_rate: config.error_rate,
                latency: config.latency,
                ready: true,
                only_after_live: config.only_after_live,
                debt: 0.0,
            }),
            live_seen: AtomicBool::new(false),
            first_served: watch::Sender::new(None),
            unready_after_live: config.unready_after_live,
        }
    }

    /// Decides over one request. The first live request already meets the faults.
    pub fn decide(&self, live: bool) -> Decision {
        if live {
            self.live_seen.store(true, Ordering::Relaxed);
        }
        let mut settings = self.lock();
        if !self.effective(&settings) {
            return Decision { latency: Duration::ZERO, fail: false };
        }
        settings.debt += settings.error_rate;
        // The tolerance makes ten times 0.1 a whole number again.
        let fail = settings.debt >= 1.0 - 1e-9;
        if fail {
            settings.debt -= 1.0;
        }
        Decision { latency: settings.latency, fail }
    }

    /// Whether faults apply at present.
    pub fn apply(&self) -> bool {
        self.effective(&self.lock())
    }

    /// Notes that a live request has been answered; only the first one counts.
    pub fn live_served(&self) {
        self.first_served.send_if_modified(|first| {
            let new = first.is_none();
            if new {
                *first = Some(Instant::now());
            }
            new
        });
    }

    /// Waits for the first answered live request.
    pub async fn first_live(&self) {
        // An error would mean that the sender is gone, but `self` holds it.
        let _ = self.first_served.subscribe().wait_for(Option::is_some).await;
    }

    /// Whether the faults allow `/ready` to answer 200.
    pub fn allows_ready(&self) -> bool {
        let expired = match (self.unready_after_live, *self.first_served.borrow()) {
            (Some(after), Some(first)) => first.elapsed() >= after,
            _ => false,
        };
        let settings = self.lock();
        !expired && (settings.ready || !self.effective(&settings))
    }

    /// Applies a change, or says what is wrong with it.
    pub fn change(&self, change: &FaultChange) -> Result<(), String> {
        if let Some(rate) = change.error_rate
            && !(0.0..=1.0).contains(&rate)
        {
            return Err(format!("error_rate must be between 0 and 1, not {rate}"));
        }
        let mut settings = self.lock();
        if let Some(rate) = change.error_rate {
            settings.error_rate = rate;
            settings.debt = 0.0;
        }
        if let Some(latency) = change.latency_ms {
            settings.latency = Duration::from_millis(latency);
        }
        if let Some(ready) = change.ready {
            settings.ready = ready;
        }
        settings.only_after_live = change.only_after_live;
        Ok(())
    }

    /// The faults as they stand.
    pub fn view(&self) -> FaultView {
        let settings = self.lock();
        FaultView {
            error_rate: settings.error_rate,
            latency_ms: u64::try_from(settings.latency.as_millis()).unwrap_or(u64::MAX),
            ready: settings.ready,
            only_after_live: settings.only_after_live,
            live_seen: self.live_seen.load(Ordering::Relaxed),
            effective: self.effective(&settings),
        }
    }

    fn effective(&self, settings: &Settings) -> bool {
        !settings.only_after_live || self.live_seen.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(vars: &'static [(&str, &str)]) -> Faults {
        let lookup = |key: &str| {
            let found = vars.iter().find(|(name, _)| *name == key);
            found.map(|(_, value)| (*value).to_owned())
        };
        Faults::new(&AppConfig::from_lookup(lookup).unwrap())
    }

    #[test]
    fn faults_wait_for_live_traffic_and_then_meet_everybody() {
        let faults = faults(&[("FAULT_ERROR_RATE", "1"), ("FAULT_ONLY_AFTER_LIVE", "1")]);
        assert!((0..50).all(|_| !faults.decide(false).fail));
        assert!(faults.decide(true).fail);
        assert!(faults.decide(false).fail);
    }

    #[test]
    fn the_error_rate_is_exact() {
        let faults = faults(&[("FAULT_ERROR_RATE", "0.1")]);
        let errors: Vec<_> = (1..=100).filter(|_| faults.decide(false).fail).collect();
        assert_eq!(errors, (1..=10).map(|n| n * 10).collect::<Vec<_>>());
    }

    #[test]
    fn a_posted_fault_counts_at_once_unless_it_says_otherwise() {
        let faults = faults(&[("FAULT_ONLY_AFTER_LIVE", "1")]);
        let mut change = FaultChange { ready: Some(false), ..Default::default() };
        change.only_after_live = true;
        faults.change(&change).unwrap();
        assert!(faults.allows_ready());
        change.only_after_live = false;
        faults.change(&change).unwrap();
        assert!(!faults.allows_ready());
        change.error_rate = Some(2.0);
        assert!(faults.change(&change).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_ends_some_time_after_the_first_live_answer() {
        let faults = faults(&[("FAULT_UNREADY_AFTER_LIVE_MS", "1000")]);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(faults.allows_ready());
        faults.live_served();
        tokio::time::advance(Duration::from_millis(999)).await;
        faults.live_served();
        assert!(faults.allows_ready());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!faults.allows_ready());
    }
}
