//! PURE. The loop of the rules that look at one trial after another: a trial that is due is asked for until there is an
//! answer, or until nobody waits for it any more. What differs is what a [`TrialRule`] says.
//!
//! `metric` has a loop of its own (`threshold`): a query can be asked for a time that has passed, so that its trials are
//! asked several at a time, and none is missed.

use jiff::Timestamp;

use crate::actions::{Cx, Out, span};
use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::trigger::Trigger;
use crate::effect::{Read, ReadKey};
use crate::journal::later;
use crate::world::Reading;

use super::judged;

/// What is watched trial by trial.
pub trait TrialRule {
    /// What answers a trial.
    type Answer<'w>;

    /// What becomes of trials that nobody looked at in time.
    const MISSED: Missed;

    /// After this nobody waits for the answer of a trial.
    fn patience(&self, trials: Trials) -> Duration;

    /// What is read for a trial.
    ///
    /// # Errors
    /// Why nothing is.
    fn ask<'w>(&self, cx: &Cx<'w>, trial: &Trial) -> Result<Read, NotAsked<Self::Answer<'w>>>;

    /// The reading, if it is of the kind that was asked for.
    fn answer<'w>(&self, reading: &'w Reading) -> Option<Self::Answer<'w>>;

    /// Takes the answer of a trial into the record, and returns why the trigger fires, once it does.
    fn judge(
        &self,
        cx: &Cx,
        trigger: &Trigger,
        trial: &Trial,
        answer: Self::Answer<'_>,
        record: &mut TriggerRecord,
    ) -> Option<String>;
}

/// What becomes of trials that nobody looked at in time, after a restart for example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// The last of them is looked at now in place of all.
    AskLast,
    /// None is looked at any more; the next one is awaited. An answer that is there counts however late it is.
    AwaitNext,
}

/// Why nothing is read for a trial.
pub(crate) enum NotAsked<A> {
    /// It cannot be asked yet, which is inconclusive from then on.
    Cannot(Timestamp, String),
    /// The answer is known.
    Known(A),
}

/// A trial that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    /// Since when.
    pub due: Timestamp,
    /// Those of its trigger.
    pub trials: Trials,
}

/// Takes a trigger one move further; see [`super::advance`].
pub fn advance<R: TrialRule>(
    cx: &Cx,
    trigger: &Trigger,
    rule: &R,
    record: &mut TriggerRecord,
    out: &mut Out,
) -> Option<String> {
    let now = cx.world.now;
    let trials = Trials::arm(cx, trigger, record);
    let mut n = record.trials + 1;
    if trials.due(n) > now {
        out.wake_at(trials.due(n));
        return None;
    }
    let patience = rule.patience(trials);
    let missed = later(trials.due(n), patience) < now;
    if missed && R::MISSED == Missed::AskLast {
        n = trials.latest(now);
        record.trials = n - 1;
    }
    let trial = Trial { due: trials.due(n), trials };
    let nobody_waits = later(later(trial.due, patience), Duration::from_millis(1));
    let key = key(trigger, n);
    let answer = match cx.world.readings.get(&key).and_then(|reading| rule.answer(reading)) {
        Some(answer) => answer,
        None if missed && R::MISSED == Missed::AwaitNext => {
            record.trials = trials.latest(now);
            judged(record, trial.due, TrialVerdict::Inconclusive, "not looked at for a while");
            out.wake_at(trials.due(record.trials + 1));
            return None;
        }
        None => match rule.ask(cx, &trial) {
            Err(NotAsked::Known(answer)) => answer,
            Ok(read) => {
                out.reads.insert(key, read);
                out.wake_at(nobody_waits);
                return None;
            }
            Err(NotAsked::Cannot(at, why)) => {
                judged(record, at, TrialVerdict::Inconclusive, &why);
                out.wake_at(nobody_waits);
                return None;
            }
        },
    };
    record.trials = trials.latest(now).max(n);
    out.wake_at(trials.due(record.trials + 1));
    rule.judge(cx, trigger, &trial, answer, record)
}

/// The key of the read of a trial.
pub fn key(trigger: &Trigger, n: u64) -> ReadKey {
    ReadKey::Trial(trigger.name.clone(), n)
}

/// When the trials of a trigger are due: trial n at `armed` + n × `every`, from n = 1. What is seen at the very moment of
/// the switch says nothing about the side switched to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trials {
    armed: Timestamp,
    every: Duration,
}

impl Trials {
    /// Those of a trigger, which is armed now if it was not.
    pub fn arm(cx: &Cx, trigger: &Trigger, record: &mut TriggerRecord) -> Self {
        let every = trigger.every.unwrap_or(cx.plan.observe.every).max(Duration::from_millis(1));
        Self { armed: *record.armed_at.get_or_insert(cx.world.now), every }
    }

    /// The same from the next whole second on.
    pub fn on_whole_seconds(self) -> Self {
        let up = jiff::TimestampRound::new().smallest(jiff::Unit::Second).mode(jiff::RoundMode::Ceil);
        Self { armed: self.armed.round(up).unwrap_or(self.armed), ..self }
    }

    /// Since when the trigger is armed.
    pub fn armed(self) -> Timestamp {
        self.armed
    }

    /// When the trial of this number is due.
    pub fn due(self, n: u64) -> Timestamp {
        later(self.armed, self.times(n))
    }

    /// The last trial that is due by now; 0 when none is.
    pub fn latest(self, now: Timestamp) -> u64 {
        span(self.armed, now).as_millis() / self.every.as_millis()
    }

    /// As long as so many intervals.
    pub fn times(self, n: u64) -> Duration {
        Duration::from_millis(self.every.as_millis().saturating_mul(n))
    }

    /// How many intervals `d` has, rounded up.
    pub fn within(self, d: Duration) -> u64 {
        d.as_millis().div_ceil(self.every.as_millis())
    }
}
