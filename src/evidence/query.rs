//! PURE. The PromQL of the default rule: how many requests there were in an interval, and how many of them were bad, in one
//! query, so that all numbers are of one evaluation, and one number for each, however many series there are.

use crate::api::duration::Duration;
use crate::api::trigger::MetricTrigger;
use crate::effect::OF;
use crate::plan::{Counters, counters};

/// How many counters had a value in the interval.
pub const SAMPLES: &str = "samples";
/// Requests.
pub const TOTAL: &str = "total";
/// Failed ones.
pub const ERRORS: &str = "errors";
/// Too slow ones.
pub const SLOW: &str = "slow";
/// Series of the guard that are not zero.
pub const GUARD: &str = "guard";
/// Series of the guard that have a value.
pub const GUARDED: &str = "guarded";
/// How far is looked back for how many requests there are.
const LATELY: u64 = 300;

/// What a counter had before an interval is its last value in this time: one that has none begins from 0.
const BEFORE: &str = "1h";

/// The query for an interval of this length, which ends at the time of the evaluation. None without a total.
pub fn query(metric: &MetricTrigger, interval: Duration) -> Option<String> {
    let seconds = (interval.as_millis() / 1000).max(1);
    let total = metric.total.as_ref()?;
    let mut parts = vec![
        named(&format!("count({})", at_the_end(total, seconds)), SAMPLES),
        named(&increase(total, seconds), TOTAL),
    ];
    for (of, name) in [(&metric.errors, ERRORS), (&metric.slow, SLOW)] {
        parts.extend(of.as_ref().map(|of| named(&increase(of, seconds), name)));
    }
    if let Some(guard) = &metric.guard_query {
        let step = seconds.div_ceil(60);
        let most = format!("max_over_time(abs({guard}\n)[{seconds}s:{step}s])");
        parts.extend([named(&format!("count({most})"), GUARDED), named(&format!("count({most} > 0)"), GUARD)]);
    }
    Some(parts.join(" or "))
}

/// The query for how many requests there were per second of late.
pub fn rate(total: &str) -> String {
    format!("{} / {LATELY}", increase(total, LATELY))
}

fn named(number: &str, name: &str) -> String {
    format!("label_replace({number}, \"{OF}\", \"{name}\", \"\", \"\")")
}

/// What all counters together grow by. One that had no value before grows from 0, and so does one that has less than
/// before: it began anew. The millionth is for expressions, whose values are rounded.
fn increase(of: &str, seconds: u64) -> String {
    let (end, begin) = (at_the_end(of, seconds), before(of, seconds));
    format!("sum(({end} - {begin} > -0.000001 * {begin}) or {end})")
}

/// The last value of each counter in the interval; a counter without one has grown by nothing that is known.
fn at_the_end(of: &str, seconds: u64) -> String {
    match counters(of) {
        Ok(Counters::Selector) => format!("last_over_time({}[{seconds}s])", of.trim()),
        _ => format!("last_over_time(({of}\n)[{}s:1s])", seconds.min(60)),
    }
}

/// The last value of each counter when the interval began. An expression has values at whole seconds, where intervals
/// begin and end; one that had none in five minutes has its last one to the minute.
fn before(of: &str, seconds: u64) -> String {
    match counters(of) {
        Ok(Counters::Selector) => format!("last_over_time({}[{BEFORE}] offset {seconds}s)", of.trim()),
        _ => format!(
            "(last_over_time(({of}\n)[5m:1s] offset {seconds}s) or last_over_time(({of}\n)[{BEFORE}:1m] offset {seconds}s))"
        ),
    }
}
