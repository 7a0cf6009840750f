//! PURE. Whether a pod's memory grows towards its limit: a robust slope of the last `for`, over few points that the journal
//! keeps. A garbage collector's sawtooth, a start that warms up, one jump and an idle pod do not grow in this sense.

use jiff::Timestamp;

use crate::actions::span;
use crate::api::duration::Duration;
use crate::api::run::Growth;

/// Growth that would need longer to the limit is none.
pub(super) const HORIZON: Duration = Duration::from_secs(24 * 3600);
/// Points of a pod in the time that growth must last.
const POINTS: u64 = 16;
/// The time is cut into so many parts; the lowest point of each must be above that of the one before.
const PARTS: usize = 4;
/// Each of these steps is at least so much of their mean: what flattens is no growth.
const STEADY: f64 = 0.6;
/// With a limit: a rise of less than this part of what was used first is noise.
const NOISE: f64 = 0.02;
/// Without a limit: a rise must be more than this part of what was used first.
const MUCH: f64 = 0.1;

/// How memory grows.
#[derive(Debug, PartialEq)]
pub(super) struct Grows {
    /// Bytes per hour.
    pub per_hour: u64,
    /// For so long.
    pub lasts: Duration,
    /// In how long it reaches its limit, where it has one.
    pub reached_in: Option<Duration>,
}

/// Takes in a sample; what was seen of the pod before, if anything. At most [`POINTS`] and two more are kept.
pub(super) fn take_in(known: Option<Growth>, at: Timestamp, bytes: u64, lasts: Duration) -> Growth {
    let fresh = || Growth { since: at, last_at: at, ..Growth::default() };
    // Points that do not belong together are none: somebody has changed them.
    let mut growth = known.filter(|g| g.seconds.len() == g.kibibytes.len()).unwrap_or_else(fresh);
    growth.last_at = growth.last_at.max(at);
    let now = seconds(&growth, at);
    let apart = (lasts.as_millis() / 1000).div_ceil(POINTS).max(1);
    let due = growth.seconds.last().is_none_or(|last| u64::from(now.saturating_sub(*last)) >= apart);
    if due {
        growth.seconds.push(now);
        growth.kibibytes.push(bytes >> 10);
    }
    // Of those that are older than the time, the newest shows what was there when it began.
    let old = growth.seconds.iter().filter(|s| u64::from(now.saturating_sub(**s)) * 1000 >= lasts.as_millis()).count();
    let surplus = old.saturating_sub(1).max(growth.seconds.len().saturating_sub(POINTS as usize + 2));
    growth.seconds.drain(..surplus);
    growth.kibibytes.drain(..surplus);
    growth
}

/// Whether it grows, with the last sample and the limit, in bytes.
pub(super) fn judge(growth: &Growth, at: Timestamp, bytes: u64, lasts: Duration, limit: Option<u64>) -> Option<Grows> {
    let mut points: Vec<(f64, f64)> =
        growth.seconds.iter().zip(&growth.kibibytes).map(|(s, k)| (f64::from(*s), *k as f64)).collect();
    let now = (f64::from(seconds(growth, at)), (bytes >> 10) as f64);
    if points.last().is_some_and(|last| last.0 < now.0) {
        points.push(now);
    }
    let (first, last) = (*points.first()?, *points.last()?);
    let time = last.0 - first.0;
    if time * 1000.0 < lasts.as_millis() as f64 {
        return None;
    }
    let floors = floors(&points, first.0, time)?;
    let mean = (floors[PARTS - 1] - floors[0]) / (PARTS - 1) as f64;
    let steady = mean > 0.0 && floors.windows(2).all(|pair| pair[1] - pair[0] >= STEADY * mean);
    let slope = slope(&points);
    let enough = floors[0] * if limit.is_some() { NOISE } else { MUCH };
    if !steady || slope <= 0.0 || slope * time <= enough {
        return None;
    }
    let reached_in =
        limit.map(|limit| Duration::from_secs((((limit >> 10) as f64 - last.1).max(0.0) / slope).round() as u64));
    let soon = reached_in.is_none_or(|time| time <= HORIZON);
    let per_hour = (slope * 3600.0).round() as u64 * 1024;
    soon.then(|| Grows { per_hour, lasts: span(since(growth, first.0), at), reached_in })
}

fn seconds(growth: &Growth, at: Timestamp) -> u32 {
    u32::try_from(span(growth.since, at).as_millis() / 1000).unwrap_or(u32::MAX)
}

fn since(growth: &Growth, seconds: f64) -> Timestamp {
    crate::journal::later(growth.since, Duration::from_secs(seconds as u64))
}

/// The lowest point of each part of the time; none where a part has no point.
fn floors(points: &[(f64, f64)], from: f64, time: f64) -> Option<[f64; PARTS]> {
    let mut floors = [f64::INFINITY; PARTS];
    for (at, used) in points {
        let part = (((at - from) / time * PARTS as f64) as usize).min(PARTS - 1);
        floors[part] = floors[part].min(*used);
    }
    floors.iter().all(|floor| floor.is_finite()).then_some(floors)
}

/// The median of the slopes of all pairs (Theil and Sen), in KiB per second: up to a quarter of the points may be anything.
fn slope(points: &[(f64, f64)]) -> f64 {
    let pairs = points.iter().enumerate().flat_map(|(i, a)| points[i + 1..].iter().map(move |b| (a, b)));
    let mut slopes: Vec<f64> = pairs.filter(|(a, b)| b.0 > a.0).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)).collect();
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MI: f64 = 1_048_576.0;
    const TIME: Duration = Duration::from_secs(20 * 60);

    /// The minute in which a pod fires that uses so many MiB at each minute, sampled every 15 s for three hours.
    fn fires(limit: Option<u64>, used: impl Fn(f64) -> f64) -> Option<(u32, Grows)> {
        let mut growth = None;
        for n in 0..720 {
            let at = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(15 * n);
            let minute = n as f64 / 4.0;
            let bytes = (used(minute) * MI) as u64;
            let known = take_in(growth, at, bytes, TIME);
            assert!(known.seconds.len() <= 18, "{}", known.seconds.len());
            if let Some(grows) = judge(&known, at, bytes, TIME, limit.map(|mi| mi << 20)) {
                return Some((minute as u32, grows));
            }
            growth = Some(known);
        }
        None
    }

    #[test]
    fn a_leak_is_found_after_its_time_with_the_slope_and_when_it_ends() {
        let (minute, grows) = fires(Some(1024), |m| 300.0 + m).expect("a leak of 60Mi per hour");
        assert_eq!(minute, 20);
        assert_eq!((grows.per_hour as f64 / MI).round(), 60.0);
        // 704Mi are left, at one each minute.
        assert_eq!(grows.reached_in, Some(Duration::from_secs(704 * 60)));
        assert_eq!(grows.lasts, TIME);
    }

    #[test]
    fn a_leak_that_begins_later_and_one_below_a_sawtooth_are_found() {
        let later = fires(Some(1024), |m| 300.0 + (m - 60.0).max(0.0));
        // A first part that is a little flatter is still steady growth.
        assert!(later.as_ref().is_some_and(|(minute, _)| (75..82).contains(minute)), "{later:?}");
        let teeth = fires(Some(1024), |m| 300.0 + 2.0 * m + 20.0 * (m / 3.0).fract());
        assert!(teeth.is_some(), "{teeth:?}");
    }

    #[test]
    fn what_is_no_leak_does_not_fire() {
        let noise = |m: f64| ((m * 4.0) as u32 * 7919 % 13) as f64 / 13.0;
        let shapes: [(&str, &dyn Fn(f64) -> f64); 8] = [
            ("idle", &|_| 300.0),
            ("idle, with noise", &|m| 300.0 + 8.0 * noise(m)),
            ("a garbage collector, soon", &|m| 300.0 + 100.0 * (m / 3.0).fract()),
            ("a garbage collector, late", &|m| 300.0 + 100.0 * (m / 14.0).fract()),
            ("it warms up", &|m| 300.0 + 200.0 * (1.0 - (-m / 8.0_f64).exp())),
            ("it warms up, with noise", &|m| 300.0 + 200.0 * (1.0 - (-m / 5.0_f64).exp()) + 4.0 * noise(m)),
            ("one jump", &|m| if m < 31.0 { 300.0 } else { 700.0 }),
            ("it shrinks", &|m| 900.0 - 2.0 * m),
        ];
        for (name, shape) in shapes {
            assert_eq!(fires(Some(1024), shape), None, "{name}");
            assert_eq!(fires(None, shape), None, "{name}, without a limit");
        }
    }

    #[test]
    fn a_limit_that_is_days_away_is_no_reason_and_without_one_a_tenth_is() {
        // 20Mi per hour: 43 hours and more to the one limit, 12 to the other.
        assert_eq!(fires(Some(1024), |m| 100.0 + m / 3.0), None);
        assert!(fires(Some(350), |m| 100.0 + m / 3.0).is_some());
        assert_eq!(fires(None, |m| 300.0 + m), None, "20 of 300Mi");
        let grows = fires(None, |m| 300.0 + 2.0 * m);
        assert!(grows.as_ref().is_some_and(|(_, g)| g.reached_in.is_none()), "{grows:?}");
    }

    #[test]
    fn the_same_sample_again_is_no_point_and_a_part_without_a_point_says_nothing() {
        let at = Timestamp::UNIX_EPOCH;
        let once = take_in(None, at, 1 << 30, TIME);
        assert_eq!(take_in(Some(once.clone()), at, 1 << 30, TIME), once);
        let later = at + jiff::SignedDuration::from_mins(20);
        let two = take_in(Some(once), later, 2 << 30, TIME);
        assert_eq!(judge(&two, later, 2 << 30, TIME, None), None);
    }

    #[test]
    fn one_sample_that_is_far_off_changes_little() {
        let odd = |m: f64| if (10.0..11.0).contains(&m) { 2000.0 } else { 300.0 + m };
        let (minute, grows) = fires(Some(1024), odd).expect("a leak");
        assert!(minute <= 22 && (55.0..70.0).contains(&(grows.per_hour as f64 / MI)), "{minute} {grows:?}");
    }
}
