//! The child tasks of a driver: effects, reads, refreshes. Each answers into the mailbox, whatever happens to it.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use tokio::task::AbortHandle;
use tracing::Instrument;

use super::Driver;
use super::mailbox::{self, Mail};
use super::meter::labels;
use crate::act::Claimed;
use crate::decide::Decision;
use crate::effect::{Effect, EffectKey, Outcome, Read, ReadKey};
use crate::world::{HttpAnswer, HttpError, Reading, Seen, Sighting};

/// Pause before a refresh that was asked for is tried again, and after a task that panicked.
const AGAIN: Duration = Duration::from_millis(500);
/// Pause after a read that panicked.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// Reads under way.
#[derive(Default)]
pub struct Reads {
    running: HashMap<ReadKey, AbortHandle>,
    refreshing: bool,
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

/// Whether a read belongs to a step (`step#attempt`): such a one begins only after the step before it is recorded (P2).
fn of_a_step(key: &str) -> bool {
    key.contains('#')
}

impl Driver {
    /// Acts on a claimed effect, unless it is under way.
    pub(super) fn act(&mut self, effect: Claimed<Effect>) {
        let key = effect.get().key();
        if !self.world.in_flight.insert(key.clone()) {
            return;
        }
        self.world.outcomes.remove(&key);
        let (cx, scope, post) = (self.cx.clone(), self.scope(), self.post.letters.clone());
        self.tasks.spawn(
            async move {
                let outcome = match AssertUnwindSafe(cx.actor.act(&scope, &effect)).catch_unwind().await {
                    Ok(outcome) => outcome,
                    Err(panic) => {
                        cx.meter.panicked();
                        let why = format!("a defect while acting: {}", panic_text(panic.as_ref()));
                        tracing::error!(effect = key, "{why}");
                        broken(effect.get(), why)
                    }
                };
                cx.meter.effect(effect.get(), &outcome);
                // Not what was answered: a response may hold what belongs in no log.
                tracing::debug!(effect = key, outcome = labels::outcome(&outcome), "effect ended");
                // The driver may have ended meanwhile; then nobody waits for the outcome.
                post.send(Mail::Ended(key, outcome)).await.ok();
            }
            .in_current_span(),
        );
    }

    /// An effect ended.
    pub(super) fn ended(&mut self, key: EffectKey, at: Timestamp, outcome: Outcome) {
        self.world.in_flight.remove(&key);
        match &outcome {
            Outcome::Created { .. } | Outcome::Done | Outcome::Changed { .. } | Outcome::Answered(_) => {
                self.world.tried.remove(&key)
            }
            Outcome::Transient(_)
            | Outcome::NotSent(_)
            | Outcome::Guarded { .. }
            | Outcome::Blocked { .. }
            | Outcome::Conflict(_)
            | Outcome::Refused { .. }
            | Outcome::NotFound
            | Outcome::NameCollision(_) => self.world.tried.insert(key.clone(), at),
        };
        self.world.outcomes.insert(key, Seen { at, value: outcome });
    }

    /// Starts the reads that a decision names and forgets those that it does not. While its journal is not written
    /// (`recorded` is false) only those begin that belong to no step, so that triggers are watched all the same.
    pub(super) fn start_reads(&mut self, decision: &Decision, recorded: bool) {
        self.world.readings.retain(|key, _| decision.reads.contains_key(key));
        self.reads.running.retain(|key, task| {
            let wanted = decision.reads.contains_key(key);
            if !wanted {
                task.abort();
            }
            wanted
        });
        for (key, read) in &decision.reads {
            let known = self.reads.running.contains_key(key) || self.world.readings.contains_key(key);
            if known || (!recorded && of_a_step(key)) {
                continue;
            }
            let task = match read {
                Read::Refresh => self.refresh(Some(key.clone())),
                _ => self.read(key.clone(), read.clone()),
            };
            if let Some(task) = task {
                self.reads.running.insert(key.clone(), task);
            }
        }
    }

    fn read(&mut self, key: ReadKey, read: Read) -> Option<AbortHandle> {
        let (cx, scope, post) = (self.cx.clone(), self.scope(), self.post.letters.clone());
        Some(
            self.tasks.spawn(
                async move {
                    let mail = match AssertUnwindSafe(cx.observer.read(&scope, &read)).catch_unwind().await {
                        Ok(reading) => Mail::Answer(key, reading),
                        Err(panic) => {
                            cx.meter.panicked();
                            tracing::error!(read = key, "a defect while reading: {}", panic_text(panic.as_ref()));
                            tokio::time::sleep(AFTER_PANIC).await;
                            Mail::Broken(key)
                        }
                    };
                    post.send(mail).await.ok();
                }
                .in_current_span(),
            ),
        )
    }

    pub(super) fn answered(&mut self, key: ReadKey, reading: Reading) {
        // One that was dropped meanwhile is not answered any more.
        if self.reads.running.remove(&key).is_some() {
            self.world.readings.insert(key, reading);
        }
    }

    pub(super) fn broken(&mut self, key: &str) {
        self.reads.running.remove(key);
    }

    /// Reads everything live. One that a decision asked for is repeated until it is complete.
    pub(super) fn refresh(&mut self, key: Option<ReadKey>) -> Option<AbortHandle> {
        if key.is_none() && std::mem::replace(&mut self.reads.refreshing, true) {
            return None;
        }
        let (cx, scope, plan, post) = (self.cx.clone(), self.scope(), self.plan.clone(), self.post.letters.clone());
        // From the journal: after a restart nothing else knows of a Job that has been deleted meanwhile.
        let recorded = self.journal.steps.iter().filter_map(|r| r.job.as_ref()).filter(|j| j.uid.is_some() && !j.owned);
        let jobs: Vec<String> = recorded.map(|j| j.name.clone()).collect();
        Some(
            self.tasks.spawn(
                async move {
                    loop {
                        let began = Timestamp::now();
                        let sightings = match AssertUnwindSafe(cx.observer.refresh(&scope, &plan, &jobs))
                            .catch_unwind()
                            .await
                        {
                            Ok(sightings) => sightings,
                            Err(panic) => {
                                cx.meter.panicked();
                                tracing::error!("a defect while reading everything: {}", panic_text(panic.as_ref()));
                                vec![]
                            }
                        };
                        let complete = is_complete(&sightings);
                        let mail = Mail::Refreshed { key: key.clone(), began, sightings };
                        if post.send(mail).await.is_err() || complete || key.is_none() {
                            return;
                        }
                        tokio::time::sleep(AGAIN).await;
                    }
                }
                .in_current_span(),
            ),
        )
    }

    pub(super) fn refreshed(&mut self, key: Option<ReadKey>, began: Timestamp, sightings: Vec<Sighting>) {
        let complete = is_complete(&sightings);
        mailbox::take_in_refresh(&mut self.world, began, sightings);
        match key {
            None => {
                self.reads.refreshing = false;
                if !complete {
                    self.wake.refresh_failed();
                }
            }
            Some(key) if complete => self.answered(key, Reading::Refreshed),
            Some(_) => {}
        }
    }
}

fn is_complete(sightings: &[Sighting]) -> bool {
    sightings.iter().any(|s| matches!(s, Sighting::Refreshed(_)))
}

/// What is known of an effect that broke: nothing. A request may have gone out.
fn broken(effect: &Effect, why: String) -> Outcome {
    match effect {
        Effect::Send { .. } => {
            Outcome::Answered(vec![HttpAnswer { from: "operator".into(), result: Err(HttpError::Lost(why)) }])
        }
        _ => Outcome::Transient(why),
    }
}
