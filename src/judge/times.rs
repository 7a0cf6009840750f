//! PURE. `count` and `within` of a metric: bad so many times within a time. The trials of a window are those of a number of
//! intervals, so that the windows of a restarted operator are the same. What is good or unknown between takes nothing away.

use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::trigger::MetricTrigger;

use super::clock;
use super::trial::Trials;

/// How often within which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    count: usize,
    pub within: Duration,
}

impl Times {
    /// Those of a trigger that counts.
    pub fn of(metric: &MetricTrigger) -> Option<Self> {
        let count = usize::try_from(metric.count?.max(1)).ok()?;
        Some(Self { count, within: metric.within.unwrap_or_default() })
    }

    /// Takes the verdict of trial `record.trials` in, and says how often it was bad once that is often enough. Bad trials
    /// are kept by their numbers, as many as it takes at most.
    pub fn take(self, trials: Trials, verdict: TrialVerdict, record: &mut TriggerRecord) -> Option<String> {
        let n = record.trials;
        // So many trials lie within the time: those of half a minute, every 10 s, are three.
        let reach = trials.within(self.within).max(1);
        record.bad_trials.retain(|bad| n.saturating_sub(*bad) < reach);
        if verdict != TrialVerdict::Bad {
            return None;
        }
        record.bad_trials.push(n);
        let more = record.bad_trials.len().saturating_sub(self.count);
        record.bad_trials.drain(..more);
        let first = record.bad_trials.first().filter(|_| record.bad_trials.len() >= self.count)?;
        let since = clock(trials.due(*first));
        Some(match self.count {
            1 => format!("at {since}"),
            count => format!("for the {} time within {} (since {since})", ordinal(count), self.within),
        })
    }
}

/// `3rd`.
fn ordinal(n: usize) -> String {
    let end = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{end}")
}
