//! When a driver looks again although nothing is heard. Deadlines themselves stand in the journal as absolute times.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// The state of trials is written within 10 s; this leaves room for a failed write.
const SOON: Duration = Duration::from_secs(8);
/// Everything is read live at least this often, whatever the watches say.
const REFRESH: Duration = Duration::from_secs(25);
/// How long a run that rests sleeps at a time: no timer counts months.
const REST: Duration = Duration::from_secs(12 * 3600);
/// A decision that wants to be woken at once is woken after this.
const SHORTEST: Duration = Duration::from_millis(5);
/// Pauses between writes of the journal that fail.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The alarms of one driver.
#[derive(Debug)]
pub struct Wake {
    decided: Option<Instant>,
    soon: Option<Instant>,
    retry: Option<Instant>,
    rescue: Option<Instant>,
    pause: Duration,
    refresh: Instant,
    resting: bool,
    spread: Duration,
}

impl Wake {
    /// A refresh is due at once; later ones are spread over 5 s by the run's uid.
    pub fn new(uid: &str) -> Self {
        let sum: u64 = uid.bytes().map(u64::from).sum();
        Self {
            decided: None,
            soon: None,
            retry: None,
            rescue: None,
            pause: RETRY.0,
            refresh: Instant::now(),
            resting: false,
            spread: Duration::from_millis(sum % 5000),
        }
    }

    /// What the last decision asked for.
    pub fn decided(&mut self, wake: Option<Timestamp>, now: Timestamp) {
        self.rescue = None;
        self.decided = wake.map(|at| {
            let left = at.duration_since(now);
            Instant::now() + Duration::try_from(left).unwrap_or_default().max(SHORTEST)
        });
    }

    /// Something is to be written within 10 s.
    pub fn soon(&mut self) {
        self.soon.get_or_insert_with(|| Instant::now() + SOON);
    }

    /// Whether what was to be written soon is due.
    pub fn soon_is_due(&self) -> bool {
        self.soon.is_some_and(|at| at <= Instant::now())
    }

    /// Everything is written.
    pub fn written(&mut self) {
        self.soon = None;
        self.retry = None;
        self.pause = RETRY.0;
    }

    /// A write failed: the next one after a pause that doubles up to a second.
    pub fn retry(&mut self) {
        self.retry = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(RETRY.1);
    }

    /// A restore that waits for its record is looked at again.
    pub fn rescue_in(&mut self, pause: Duration) {
        self.rescue = Some(Instant::now() + pause.max(SHORTEST));
    }

    /// Not before this pause.
    pub fn retry_after(&mut self, pause: Duration) {
        self.retry = Some(Instant::now() + pause);
    }

    /// Whether a write may be tried.
    pub fn may_write(&self) -> bool {
        self.retry.is_none_or(|at| at <= Instant::now())
    }

    /// Whether nothing at all is under way before the next due time, so that the watches suffice: a completed run whose
    /// follow-up is due tomorrow costs no request until then.
    pub fn rest(&mut self, resting: bool) {
        self.resting = resting;
    }

    /// Whether everything is to be read live again; the next time is then set.
    pub fn refresh_is_due(&mut self) -> bool {
        let due = !self.resting && self.refresh <= Instant::now();
        if due {
            self.refresh = Instant::now() + REFRESH + self.spread;
        }
        due
    }

    /// A refresh failed: soon again.
    pub fn refresh_failed(&mut self) {
        self.refresh = self.refresh.min(Instant::now() + Duration::from_secs(2));
    }

    /// The next alarm.
    pub fn next(&self) -> Instant {
        // An alarm for a retry in the past has rung already.
        let retry = self.retry.filter(|at| *at > Instant::now());
        let soon = self.soon.map(|at| retry.map_or(at, |r| at.max(r)));
        let refresh = if self.resting { Instant::now() + REST } else { self.refresh };
        [self.decided, soon, retry, self.rescue].into_iter().flatten().fold(refresh, Instant::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failed_writes_are_paced_and_forgotten_once_written() {
        let mut wake = Wake::new("uid");
        assert!(wake.refresh_is_due() && !wake.refresh_is_due());
        let mut waited = vec![];
        for _ in 0..6 {
            wake.retry();
            assert!(!wake.may_write());
            let began = Instant::now();
            tokio::time::sleep_until(wake.next()).await;
            assert!(wake.may_write());
            waited.push(began.elapsed().as_millis());
        }
        assert_eq!(waited, [100, 200, 400, 800, 1000, 1000]);
        wake.written();
        assert!(wake.next() > Instant::now() + Duration::from_secs(15));
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_rests_reads_nothing_until_its_due_time() {
        let mut wake = Wake::new("uid");
        assert!(wake.refresh_is_due());
        let now = Timestamp::from_second(100).expect("a time");
        wake.decided(Timestamp::from_second(100 + 7200).ok(), now);
        wake.rest(true);
        let began = Instant::now();
        tokio::time::sleep_until(wake.next()).await;
        assert_eq!(began.elapsed().as_secs(), 7200, "one wake, at the due time");
        assert!(!wake.refresh_is_due());
        wake.rest(false);
        assert!(wake.refresh_is_due(), "what happened meanwhile is read before anything is done");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_in_the_past_does_not_spin() {
        let mut wake = Wake::new("uid");
        assert!(wake.refresh_is_due());
        let now = Timestamp::from_second(100).expect("a time");
        wake.decided(Some(Timestamp::UNIX_EPOCH), now);
        assert_eq!(wake.next() - Instant::now(), SHORTEST);
    }

    #[tokio::test(start_paused = true)]
    async fn trials_are_written_before_ten_seconds_have_passed() {
        let mut wake = Wake::new("uid");
        assert!(wake.refresh_is_due());
        wake.soon();
        tokio::time::advance(Duration::from_secs(5)).await;
        wake.soon();
        tokio::time::sleep_until(wake.next()).await;
        assert!(wake.soon_is_due());
    }
}
