//! The child tasks of a driver: effects, reads, refreshes. Each answers into the mailbox, whatever happens to it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use tracing::Instrument;

use super::Driver;
use crate::effect::{Claimed, Effect, Outcome, Read, ReadKey, RunScope};
use crate::meter::labels;
use crate::pilot::run::{Heard, Pilot, panic_text};
use crate::world::{HttpAnswer, HttpError, Sighting};

/// Pause before a refresh that was asked for is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// Pause after a read that panicked.
const AFTER_PANIC: Duration = Duration::from_secs(5);

impl Driver {
    /// Carries out a claimed effect.
    pub(super) fn act(&mut self, scope: RunScope, effect: Claimed<Effect>) {
        let key = effect.get().key();
        let (cx, post) = (self.cx.clone(), self.post.letters.clone());
        self.tasks.spawn(
            async move {
                let outcome = match AssertUnwindSafe(cx.actor.act(&scope, &effect)).catch_unwind().await {
                    Ok(outcome) => outcome,
                    Err(panic) => {
                        cx.meter.panicked();
                        let why = format!("a defect while acting: {}", panic_text(panic.as_ref()));
                        tracing::error!(effect = %key, "{why}");
                        broken(effect.get(), why)
                    }
                };
                cx.meter.effect(effect.get(), &outcome);
                // Not what was answered: a response may hold what belongs in no log.
                tracing::debug!(effect = %key, outcome = labels::outcome(&outcome), "effect ended");
                // The driver may have ended meanwhile; then nobody waits for the outcome.
                post.send(Heard::Ended(key, outcome)).await.ok();
            }
            .in_current_span(),
        );
    }

    /// Reads.
    pub(super) fn read(&mut self, scope: RunScope, key: ReadKey, read: Read) {
        let (cx, post) = (self.cx.clone(), self.post.letters.clone());
        let of = key.clone();
        let task = async move {
            let heard = match AssertUnwindSafe(cx.observer.read(&scope, &read)).catch_unwind().await {
                Ok(reading) => Heard::Answer(of, reading),
                Err(panic) => {
                    cx.meter.panicked();
                    tracing::error!(read = %of, "a defect while reading: {}", panic_text(panic.as_ref()));
                    tokio::time::sleep(AFTER_PANIC).await;
                    Heard::Broken(of)
                }
            };
            post.send(heard).await.ok();
        };
        let task = self.tasks.spawn(task.in_current_span());
        self.reads.insert(key, task);
    }

    /// Reads everything live. One with a key is repeated until it is complete.
    pub(super) fn refresh(&mut self, pilot: &Pilot, key: Option<ReadKey>, jobs: Vec<String>) {
        let (cx, scope, post) = (self.cx.clone(), pilot.scope(), self.post.letters.clone());
        let (of, plan) = (key.clone(), pilot.plan().clone());
        let task = async move {
            loop {
                let began = Timestamp::now();
                let read = AssertUnwindSafe(cx.observer.refresh(&scope, &plan, &jobs)).catch_unwind().await;
                let (began, sightings) = read.unwrap_or_else(|panic| {
                    cx.meter.panicked();
                    tracing::error!("a defect while reading everything: {}", panic_text(panic.as_ref()));
                    (began, vec![])
                });
                let complete = sightings.iter().any(|s| matches!(s, Sighting::Refreshed(_)));
                let heard = Heard::Refreshed { key: of.clone(), began, sightings };
                if post.send(heard).await.is_err() || complete || of.is_none() {
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        let task = self.tasks.spawn(task.in_current_span());
        if let Some(key) = key {
            self.reads.insert(key, task);
        }
    }

    /// A read that is answered is not under way any more.
    pub(super) fn take_off(&mut self, heard: &Heard) {
        let complete = |sightings: &[Sighting]| sightings.iter().any(|s| matches!(s, Sighting::Refreshed(_)));
        match heard {
            Heard::Answer(key, _) | Heard::Broken(key) => drop(self.reads.remove(key)),
            Heard::Refreshed { key: Some(key), sightings, .. } if complete(sightings) => drop(self.reads.remove(key)),
            _ => {}
        }
    }
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
