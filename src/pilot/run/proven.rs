//! What follows a journal that is written: effects, reads, and in the end the finalizer.

use super::orders::{Now, Order, Then};
use super::rescue::AfterRescue;
use super::{Flow, Ground, Pilot, Stage};
use crate::decide::Decision;
use crate::effect::{Claimed, Effect, Read, ReadKey};

impl Pilot {
    /// The journal is written, or stands as it is: what it claims is done.
    pub(super) fn proven(
        &mut self,
        decision: Box<Decision>,
        ground: Ground,
        now: Now,
        orders: &mut Vec<Order>,
    ) -> Flow {
        self.tell(ground, orders);
        self.start_reads(&decision, true, orders);
        if ground == Ground::Written {
            self.act_on(decision.effects.into_iter(), ground, orders);
            return self.rest_or_release(now);
        }
        // Without a write nothing has shown that this operator is not a frozen one that just woke up: the tests of all
        // other effects would stop it, a restore reads the run live first.
        self.rescue(decision, AfterRescue::Act, now)
    }

    /// Has effects carried out, unless they are under way.
    pub(super) fn act_on(&mut self, effects: impl Iterator<Item = Effect>, ground: Ground, orders: &mut Vec<Order>) {
        for effect in effects {
            let key = effect.key();
            if self.world.in_flight.insert(key.clone()) {
                self.world.outcomes.remove(&key);
                self.world.not_begun.remove(&key);
                orders.push(Order::Act(Claimed::written(effect), ground));
            }
        }
    }

    /// Starts the reads that a decision names and forgets those that it does not. While its journal is not written
    /// (`recorded` is false) only those begin that belong to no step (P2), so that triggers are watched all the same.
    pub(super) fn start_reads(&mut self, decision: &Decision, recorded: bool, orders: &mut Vec<Order>) {
        self.world.readings.retain(|key, _| decision.reads.contains_key(key));
        self.reading.retain(|key| {
            let wanted = decision.reads.contains_key(key);
            if !wanted {
                orders.push(Order::Drop(key.clone()));
            }
            wanted
        });
        for (key, read) in &decision.reads {
            let known = self.reading.contains(key) || self.world.readings.contains_key(key);
            if known || (!recorded && key.is_of_a_step()) {
                continue;
            }
            // What is read live already is not read beside it.
            if *key == ReadKey::Refresh && self.refreshing {
                continue;
            }
            self.reading.insert(key.clone());
            orders.push(match read {
                Read::Refresh => Order::Refresh { key: Some(key.clone()), jobs: self.known_jobs() },
                _ => Order::Read(key.clone(), self.clock.asked(read)),
            });
        }
    }

    pub(super) fn rest_or_release(&mut self, now: Now) -> Flow {
        if self.closed() { Flow::Stop(Stage::AwaitsRelease, Then::Release) } else { self.rest(now) }
    }
}
