//! PURE. What a metric's query and bound may have beside them.

use crate::api::duration::Duration;
use crate::api::trigger::MetricTrigger;
use crate::plan::metrics;
use crate::plan::refuse::Refusals;
use crate::plan::resolving::Cx;

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

/// `relativeTo` and `factor`.
pub(super) fn check_baseline(metric: &MetricTrigger, at: &str, cx: &mut Cx) {
    let (name, factor) = match (&metric.relative_to, &metric.factor) {
        (None, None) => return,
        (None, Some(_)) => {
            let remedy = "name a capture of an earlier step in relativeTo, or leave factor out";
            return cx.refusals.add(format!("{at}.factor"), "there is no baseline to multiply", remedy);
        }
        (Some(name), factor) => (name, factor),
    };
    let field = format!("{at}.relativeTo");
    if cx.scope.captures.contains(name) {
        cx.refusals.require(
            cx.before_switch.contains(name),
            &field,
            format!("{name} is captured after the switch: the new side would be compared with itself"),
            "capture it in preflight, prepare or verify",
        );
    } else {
        let message = format!("{name} is not captured by an earlier step");
        cx.refusals.add(&field, message, "capture it before the switch, such as with captureAs of a metric step");
    }
    cx.refusals.require(
        !(metric.above.is_some() && metric.below.is_some()),
        at,
        "beside relativeTo, above looks for more than the baseline and below for less",
        "keep one of above and below, or neither to look for more",
    );
    let Some(factor) = factor else {
        let remedy = "give factor, such as \"2\" for twice the baseline";
        return cx.refusals.add(&field, "it is not said how much more than the baseline is bad", remedy);
    };
    cx.refusals.require(
        factor.parse::<f64>().is_ok_and(|f| f.is_finite() && f > 0.0),
        format!("{at}.factor"),
        format!("{factor:?} is not a decimal number above 0"),
        "write for example \"2\"",
    );
}

/// `guardQuery`.
pub(super) fn check_guard(metric: &MetricTrigger, at: &str, cx: &mut Cx) {
    let Some(guard) = &metric.guard_query else { return };
    metrics::check_query(guard, &format!("{at}.guardQuery"), &cx.scope, cx.refusals);
    cx.refusals.require(
        metric.query.as_ref() != Some(guard),
        format!("{at}.guardQuery"),
        "this is the query itself: it would be inconclusive whenever it is not 0",
        "ask for what is at fault when the release is not, such as a dependency that is down",
    );
}
