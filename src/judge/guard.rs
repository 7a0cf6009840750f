//! PURE. `guardQuery`: while it is not zero (a dependency is down, say), what is measured says nothing of the release. It is
//! asked for the time of the trial that it guards.

use crate::actions::{Cx, Out};
use crate::api::duration::Duration;
use crate::api::run::TrialVerdict;
use crate::api::trigger::{MetricTrigger, Trigger};
use crate::effect::{Read, ReadKey};
use crate::world::{QueryAnswer, Reading};

use super::no_data;
use super::trial::Trials;

/// What the guard says of a trial.
#[derive(Clone, Debug, PartialEq)]
pub enum Guard {
    /// The trial counts; so it does without a guard.
    Open,
    /// It is inconclusive, whatever was measured, and why.
    Closed(String),
    /// The guard has no value, and why: as if the trial had none.
    Unknown(String),
}

impl Guard {
    /// What a guarded trial is instead of what was measured, and what it saw.
    pub fn instead(&self, trigger: &Trigger) -> Option<(TrialVerdict, &str)> {
        match self {
            Self::Open => None,
            Self::Closed(why) => Some((TrialVerdict::Inconclusive, why)),
            Self::Unknown(why) => Some((no_data::verdict(trigger), why)),
        }
    }
}

/// What the guard of the trial of this number says; none while it is awaited.
pub fn look(cx: &Cx, trigger: &Trigger, metric: &MetricTrigger, n: u64) -> Option<Guard> {
    if metric.guard_query.is_none() {
        return Some(Guard::Open);
    }
    let Some(Reading::Query(answer)) = cx.world.readings.get(&key(trigger, n)) else { return None };
    Some(match answer {
        QueryAnswer::Value(value) if *value == 0.0 => Guard::Open,
        QueryAnswer::Value(value) => Guard::Closed(format!("guardQuery is {value}")),
        QueryAnswer::Inconclusive(why) => Guard::Unknown(format!("guardQuery has no value: {why}")),
        QueryAnswer::Invalid(why) => Guard::Unknown(format!("guardQuery is not valid: {why}")),
    })
}

/// Asks the guard for the time of the trial of this number.
pub fn ask(trigger: &Trigger, metric: &MetricTrigger, trials: Trials, n: u64, timeout: Duration, out: &mut Out) {
    if let Some(query) = &metric.guard_query {
        let read = Read::Query { query: query.clone(), at: Some(trials.due(n)), timeout };
        out.reads.insert(key(trigger, n), read);
    }
}

fn key(trigger: &Trigger, n: u64) -> ReadKey {
    ReadKey::PartOfTrial(trigger.name.clone(), n, "guard".into())
}
