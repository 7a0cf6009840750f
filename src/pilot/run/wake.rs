//! When a pilot looks again although nothing is heard. Pauses are counted in ticks of a clock that never jumps; deadlines
//! themselves stand in the journal as absolute times.

use std::time::Duration;

use jiff::Timestamp;

use super::orders::Now;

/// The state of trials is written within 10 s; this leaves room for a failed write.
const SOON: Duration = Duration::from_secs(8);
/// Everything is read live at least this often, whatever the watches say.
const REFRESH: Duration = Duration::from_secs(25);
/// A refresh that failed is repeated after this.
const REFRESH_AGAIN: Duration = Duration::from_secs(2);
/// How long a run that rests sleeps at a time: no timer counts months.
const REST: Duration = Duration::from_secs(12 * 3600);
/// A decision that wants to be woken at once is woken after this.
const SHORTEST: Duration = Duration::from_millis(5);
/// Pauses between writes of the journal that fail.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How often everything is read live though nobody asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The pause between two such readings.
    pub refresh: Duration,
}

impl Pace {
    /// As operators do: runs are spread over 5 s by their uid.
    pub fn of(uid: &str) -> Self {
        let sum: u64 = uid.bytes().map(u64::from).sum();
        Self { refresh: REFRESH + Duration::from_millis(sum % 5000) }
    }
}

/// The alarms of one pilot, in ticks.
#[derive(Clone, Debug)]
pub(super) struct Wake {
    decided: Option<Duration>,
    soon: Option<Duration>,
    retry: Option<Duration>,
    rescue: Option<Duration>,
    pause: Duration,
    refresh: Duration,
    resting: bool,
    pace: Pace,
}

impl Wake {
    /// A refresh is due at once.
    pub(super) fn new(now: Duration, pace: Pace) -> Self {
        Self {
            decided: None,
            soon: None,
            retry: None,
            rescue: None,
            pause: RETRY.0,
            refresh: now,
            resting: false,
            pace,
        }
    }

    /// What the last decision asked for.
    pub(super) fn decided(&mut self, wake: Option<Timestamp>, now: Now) {
        self.rescue = None;
        self.decided = wake.map(|at| {
            let left = at.duration_since(now.wall);
            now.ticks.saturating_add(Duration::try_from(left).unwrap_or_default().max(SHORTEST))
        });
    }

    /// Something is to be written within 10 s.
    pub(super) fn soon(&mut self, now: Duration) {
        self.soon.get_or_insert(now + SOON);
    }

    /// Whether what was to be written soon is due.
    pub(super) fn soon_is_due(&self, now: Duration) -> bool {
        self.soon.is_some_and(|at| at <= now)
    }

    /// Everything is written.
    pub(super) fn written(&mut self) {
        self.soon = None;
        self.retry = None;
        self.pause = RETRY.0;
    }

    /// A write failed: the next one after a pause that doubles up to a second.
    pub(super) fn retry(&mut self, now: Duration) {
        self.retry = Some(now + self.pause);
        self.pause = (self.pause * 2).min(RETRY.1);
    }

    /// A restore that waits for its record is looked at again.
    pub(super) fn rescue_in(&mut self, now: Duration, pause: Duration) {
        self.rescue = Some(now + pause.max(SHORTEST));
    }

    /// Not before this pause.
    pub(super) fn retry_after(&mut self, now: Duration, pause: Duration) {
        self.retry = Some(now + pause);
    }

    /// Whether a write may be tried.
    pub(super) fn may_write(&self, now: Duration) -> bool {
        self.retry.is_none_or(|at| at <= now)
    }

    /// Whether nothing at all is under way before the next due time, so that the watches suffice: a completed run whose
    /// follow-up is due tomorrow costs no request until then.
    pub(super) fn rest(&mut self, resting: bool) {
        self.resting = resting;
    }

    /// Whether everything is to be read live again; the next time is then set.
    pub(super) fn refresh_is_due(&mut self, now: Duration) -> bool {
        let due = !self.resting && self.refresh <= now;
        if due {
            self.refresh = now.saturating_add(self.pace.refresh);
        }
        due
    }

    /// A refresh failed: soon again.
    pub(super) fn refresh_failed(&mut self, now: Duration) {
        self.refresh = self.refresh.min(now + REFRESH_AGAIN);
    }

    pub(super) fn next(&self, now: Duration) -> Duration {
        // An alarm for a retry in the past has rung already.
        let retry = self.retry.filter(|at| *at > now);
        let soon = self.soon.map(|at| retry.map_or(at, |r| at.max(r)));
        let refresh = if self.resting { now + REST } else { self.refresh };
        [self.decided, soon, retry, self.rescue].into_iter().flatten().fold(refresh, Duration::min)
    }

    /// The alarms as distances from now, but for the one that the world's own times decide.
    pub(super) fn memory(&self, now: Duration) -> String {
        let left = |at: Option<Duration>| at.map(|at| at.saturating_sub(now));
        format!("{:?}{:?}{:?}{:?}", left(self.soon), left(self.retry), left(self.rescue), self.pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn at(n: u64) -> Now {
        let wall = Timestamp::from_second(100 + i64::try_from(n).unwrap_or_default()).expect("a time");
        Now { wall, ticks: seconds(n) }
    }

    #[test]
    fn failed_writes_are_paced_and_forgotten_once_written() {
        let mut wake = Wake::new(seconds(0), Pace::of("uid"));
        assert!(wake.refresh_is_due(seconds(0)) && !wake.refresh_is_due(seconds(0)));
        let (mut now, mut waited) = (seconds(0), vec![]);
        for _ in 0..6 {
            wake.retry(now);
            assert!(!wake.may_write(now));
            let next = wake.next(now);
            waited.push((next - now).as_millis());
            now = next;
            assert!(wake.may_write(now));
        }
        assert_eq!(waited, [100, 200, 400, 800, 1000, 1000]);
        wake.written();
        assert!(wake.next(now) > now + seconds(15));
    }

    #[test]
    fn a_run_that_rests_reads_nothing_until_its_due_time() {
        let mut wake = Wake::new(seconds(0), Pace::of("uid"));
        assert!(wake.refresh_is_due(seconds(0)));
        wake.decided(Timestamp::from_second(100 + 7200).ok(), at(0));
        wake.rest(true);
        assert_eq!(wake.next(seconds(0)), seconds(7200), "one wake, at the due time");
        assert!(!wake.refresh_is_due(seconds(7200)));
        wake.rest(false);
        assert!(wake.refresh_is_due(seconds(7200)), "what happened meanwhile is read before anything is done");
    }

    #[test]
    fn a_wake_in_the_past_does_not_spin() {
        let mut wake = Wake::new(seconds(0), Pace::of("uid"));
        assert!(wake.refresh_is_due(seconds(0)));
        wake.decided(Some(Timestamp::UNIX_EPOCH), at(0));
        assert_eq!(wake.next(seconds(0)), SHORTEST);
    }

    #[test]
    fn trials_are_written_before_ten_seconds_have_passed() {
        let mut wake = Wake::new(seconds(0), Pace::of("uid"));
        assert!(wake.refresh_is_due(seconds(0)));
        wake.soon(seconds(0));
        wake.soon(seconds(5));
        let next = wake.next(seconds(5));
        assert!(next < seconds(10) && wake.soon_is_due(next) && !wake.soon_is_due(seconds(7)));
    }

    #[test]
    fn a_clock_on_the_wall_that_jumps_moves_no_pause_between_writes() {
        let mut wake = Wake::new(seconds(0), Pace::of("uid"));
        assert!(wake.refresh_is_due(seconds(0)));
        wake.retry(seconds(1));
        let jumped = Now { wall: Timestamp::UNIX_EPOCH, ticks: seconds(1) };
        wake.decided(Timestamp::from_second(3600).ok(), jumped);
        assert_eq!(wake.next(seconds(1)), seconds(1) + RETRY.0);
    }
}
