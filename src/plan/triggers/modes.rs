//! PURE. What a metric's query and bound may have beside them.

use crate::api::duration::Duration;
use crate::api::trigger::MetricTrigger;
use crate::plan::refuse::Refusals;

/// Most bad trials that are counted: all are kept in the journal.
const MOST: u32 = 100;

/// `count` and `within`.
pub(super) fn check_count(metric: &MetricTrigger, every: Duration, at: &str, refusals: &mut Refusals) {
    let (count, within) = match (metric.count, metric.within) {
        (None, None) => return,
        (None, Some(_)) => {
            let remedy = "give count, or sustained instead of within";
            return refusals.add(format!("{at}.within"), "within is the time of count, and there is none", remedy);
        }
        (Some(_), None) => {
            let remedy = "give within, such as 10m";
            return refusals.add(format!("{at}.count"), "it is not said within which time", remedy);
        }
        (Some(count), Some(within)) => (count, within),
    };
    refusals.require(
        metric.sustained.is_none(),
        format!("{at}.count"),
        "a trigger is either bad for a time (sustained) or so many times within one (count)",
        "keep one, or write two triggers",
    );
    refusals.require(
        (1..=MOST).contains(&count),
        format!("{at}.count"),
        format!("{count} times are not possible"),
        format!("give 1 to {MOST}"),
    );
    let every = every.as_millis().max(1);
    let trials = within.as_millis().div_ceil(every);
    refusals.require(
        within.is_zero() || u64::from(count) <= trials,
        format!("{at}.within"),
        format!(
            "within {within} there are {trials} trials, one every {}, so that {count} of them are never bad",
            Duration::from_millis(every)
        ),
        format!("give {} or more, or a lower count", Duration::from_millis(every.saturating_mul(u64::from(count)))),
    );
    refusals.require(!within.is_zero(), format!("{at}.within"), "nothing happens within no time", "give some time");
}
