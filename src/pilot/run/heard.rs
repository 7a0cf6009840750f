//! What was heard is taken into the world, when a pass begins.

use jiff::Timestamp;

use super::orders::{Heard, Now};
use super::{Pilot, merge};
use crate::effect::{EffectKey, Outcome, ReadKey};
use crate::world::{Reading, Seen, Sighting};

impl Pilot {
    pub(super) fn take_mail(&mut self, now: Now) {
        for (at, heard) in std::mem::take(&mut self.mail) {
            match heard {
                Heard::Seen(sighting) => merge::watched(&mut self.world, at.wall, sighting),
                Heard::Refreshed { key, began, sightings } => self.refreshed(key, began, sightings, at),
                Heard::Answer(key, reading) => self.answered(key, reading),
                Heard::Broken(key) => drop(self.reading.remove(&key)),
                Heard::Ended(key, outcome) => self.ended(key, outcome, at),
                Heard::Told { delivery, received } => {
                    if !received {
                        self.told.remove(&delivery);
                    }
                    self.receipts.push((delivery, received.then_some(at.wall)));
                }
                // Taken in at once by `hear`.
                Heard::Put(_) | Heard::Read(_) | Heard::Authority(_) | Heard::Released(_) | Heard::Stopping => {}
            }
        }
        self.world.now = now.wall;
        self.world.ahead = self.clock.ahead();
    }

    fn refreshed(&mut self, key: Option<ReadKey>, began: Timestamp, sightings: Vec<Sighting>, at: Now) {
        let complete = sightings.iter().any(|s| matches!(s, Sighting::Refreshed(_)));
        merge::refreshed(&mut self.world, began, sightings);
        match key {
            None => {
                self.refreshing = false;
                if !complete {
                    self.wake.refresh_failed(at.ticks);
                }
            }
            Some(key) if complete => self.answered(key, Reading::Refreshed),
            Some(_) => {}
        }
    }

    fn answered(&mut self, key: ReadKey, reading: Reading) {
        // One that was dropped meanwhile is not answered any more.
        if self.reading.remove(&key) {
            self.world.readings.insert(key, reading);
        }
    }

    fn ended(&mut self, key: EffectKey, outcome: Outcome, at: Now) {
        self.world.in_flight.remove(&key);
        match &outcome {
            // When a notification may be tried again is for its journal to say.
            Outcome::Created { .. }
            | Outcome::Done
            | Outcome::Changed { .. }
            | Outcome::Answered(_)
            | Outcome::Told(_) => self.world.tried.remove(&key),
            Outcome::Transient(_)
            | Outcome::NotSent(_)
            | Outcome::Guarded { .. }
            | Outcome::Blocked { .. }
            | Outcome::Conflict(_)
            | Outcome::Refused { .. }
            | Outcome::NotFound
            | Outcome::NameCollision(_) => self.world.tried.insert(key.clone(), at.wall),
        };
        self.world.outcomes.insert(key, Seen { at: at.wall, value: outcome });
    }
}
