//! The triggers of a run: what they saw last, and how far that is from their limits.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::duration::Duration;
use crate::api::run::{RunStatus, TrialVerdict, TriggerRecord};
use crate::api::trail::TrialRecord;
use crate::api::trigger::{self, Severity, Until, Watched};
use crate::evidence::{self, Standing};
use crate::plan::Plan;
use crate::plan::bound::{self, Bound};

/// A trigger that was armed.
#[derive(Clone, Debug)]
pub struct Trigger<'a> {
    pub name: &'a str,
    /// What it leads to; none for one of the operator's own, or where the plan cannot be read.
    pub severity: Option<Severity>,
    /// When it was armed.
    pub armed: Option<Timestamp>,
    /// Trials judged so far.
    pub trials: u64,
    /// When the last one was due.
    pub last: Option<Timestamp>,
    /// How often one is due; none where samples and states of pods are looked at as they come.
    pub every: Option<Duration>,
    /// Until when it is looked at.
    pub until: Until,
    /// How it was judged.
    pub verdict: Option<TrialVerdict>,
    pub saw: Option<&'a str>,
    /// What a value is measured by, where it is one.
    pub limit: Option<Limit>,
    /// What it takes to fire.
    pub takes: Takes,
    /// What the default rule has seen.
    pub standing: Option<Standing>,
    /// Bad trials without a good one between.
    pub bad_in_a_row: u32,
    /// Bad trials within the time that they are counted in.
    pub bad_within: usize,
    /// Bad without a good trial between since then.
    pub bad_since: Option<Timestamp>,
    /// When it fired.
    pub fired: Option<Timestamp>,
    /// The run goes on in spite of it.
    pub dismissed: bool,
    /// Trials that were bad, or judged otherwise than the one before.
    pub history: &'a [TrialRecord],
}

/// What a trigger takes to fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// One bad trial.
    Once,
    /// So many in a row.
    InARow(u32),
    /// So many within a time.
    Within(u32, Duration),
    /// Bad for so long without a good one between.
    For(Duration),
    /// So much evidence that the share of bad requests is above the limit.
    Evidence,
}

impl Takes {
    fn of(trigger: &trigger::Trigger) -> Self {
        let longest = |all: [Option<Duration>; 2]| all.into_iter().flatten().max();
        let lasting = match trigger.watches.one() {
            Ok(Watched::Metric(metric)) if metric.total.is_some() => return Self::Evidence,
            Ok(Watched::Metric(metric)) => match (metric.count, metric.within) {
                (Some(times), Some(within)) => return Self::Within(times, within),
                _ => metric.sustained,
            },
            Ok(Watched::Probe(probe)) => match (probe.failing_for, probe.failing) {
                (Some(lasting), _) => Some(lasting),
                (None, Some(times)) => return Self::InARow(times),
                (None, None) => None,
            },
            Ok(Watched::Suite(suite)) => return Self::InARow(suite.failing.unwrap_or(3)),
            Ok(Watched::Pods(pods)) => {
                let sustained = |above: &Option<trigger::Above>| above.as_ref().and_then(|a| a.sustained);
                longest([sustained(&pods.memory), sustained(&pods.cpu)])
            }
            _ => None,
        };
        lasting.map_or(Self::Once, Self::For)
    }
}

/// What values are measured by.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// In words.
    pub text: String,
    /// Values above are bad, or those below.
    pub above: bool,
    /// As a number, once it is known.
    pub bound: Option<f64>,
}

impl Limit {
    /// The limit of a trigger that measures a value, with what the run has captured.
    pub fn of(trigger: &trigger::Trigger, captures: &BTreeMap<String, Value>) -> Option<Self> {
        let Ok(Watched::Metric(metric)) = trigger.watches.one() else { return None };
        if let Some(text) = &metric.limit {
            return Some(Self { text: text.clone(), above: true, bound: Some(text.parse().ok()?) });
        }
        match Bound::of(metric, captures) {
            Ok(Bound { text, above, value }) => Some(Self { text, above, bound: Some(value) }),
            Err(_) => Some(Self { text: bound::planned(metric)?, above: bound::is_above(metric), bound: None }),
        }
    }

    /// Its sign and text, such as `> 0.05`.
    pub fn shown(&self) -> String {
        format!("{} {}", if self.above { '>' } else { '<' }, self.text)
    }

    /// Said as what is bad, such as `above 0.05 is bad`.
    pub fn said(&self) -> String {
        format!("{} {} is bad", if self.above { "above" } else { "below" }, self.text)
    }
}

impl<'a> Trigger<'a> {
    fn of(
        record: &'a TriggerRecord,
        planned: Option<&'a trigger::Trigger>,
        every: Option<Duration>,
        captures: &BTreeMap<String, Value>,
        standing: Option<Standing>,
    ) -> Self {
        let of_pods = planned.is_none_or(|t| matches!(t.watches.one(), Ok(Watched::Pods(_))));
        Self {
            every: planned.and_then(|t| t.every).or(every).filter(|_| !of_pods),
            until: planned.and_then(|t| t.until).unwrap_or_default(),
            name: &record.name,
            severity: planned.map(|t| t.severity.unwrap_or_default()),
            armed: record.armed_at,
            trials: record.trials,
            last: record.last_at,
            verdict: record.last,
            saw: record.saw.as_deref(),
            limit: planned.and_then(|t| Limit::of(t, captures)),
            takes: planned.map_or(Takes::Once, Takes::of),
            standing,
            bad_in_a_row: record.bad_in_a_row,
            bad_within: record.bad_trials.len(),
            bad_since: record.bad_since,
            fired: record.fired_at,
            dismissed: record.dismissed,
            history: &record.history,
        }
    }

    /// The value that it saw last, where it is one.
    pub fn value(&self) -> Option<f64> {
        self.limit.as_ref()?;
        self.standing.map(|standing| standing.share).or_else(|| self.saw?.parse().ok())
    }

    /// How much of what it takes to fire it has seen: 0 nothing, 1 all of it.
    pub fn evidence(&self) -> f64 {
        if self.fired.is_some() {
            return 1.0;
        }
        let bad = self.verdict == Some(TrialVerdict::Bad);
        let share = match self.takes {
            Takes::Once => f64::from(u8::from(bad)),
            Takes::InARow(times) => f64::from(self.bad_in_a_row) / f64::from(times.max(1)),
            Takes::Within(times, _) => self.bad_within as f64 / f64::from(times.max(1)),
            Takes::Evidence => self.standing.map_or(0.0, |standing| standing.weight),
            Takes::For(lasting) => match (self.bad_since, self.last) {
                (Some(since), Some(last)) => last.duration_since(since).as_secs_f64() / lasting.std().as_secs_f64(),
                _ => 0.0,
            },
        };
        // A time of nothing divided by nothing is no number, and none is more than enough.
        if share.is_nan() { 1.0 } else { share.clamp(0.0, 1.0) }
    }

    /// How far the value is from the limit; below zero where it is past it.
    pub fn distance(&self) -> Option<f64> {
        let (limit, value) = (self.limit.as_ref()?, self.value()?);
        let bound = limit.bound?;
        Some(if limit.above { bound - value } else { value - bound })
    }
}

/// The triggers of a journal.
pub fn of<'a>(journal: &'a RunStatus, plan: Option<&'a Plan>) -> Vec<Trigger<'a>> {
    let planned = |name: &str| plan?.observe.triggers.iter().find(|t| t.name == name);
    journal
        .triggers
        .iter()
        .map(|record| {
            let known = planned(&record.name);
            let standing = plan.zip(known).and_then(|(p, t)| evidence::standing(t, record, &p.observe, journal));
            Trigger::of(record, known, plan.map(|p| p.observe.every), &journal.captures, standing)
        })
        .collect()
}
