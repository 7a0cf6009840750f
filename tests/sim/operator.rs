//! One driver, as `cutover::driver` is: decide, claim, act, take in. It awaits nothing; the caller decides when its
//! effects arrive, when they are answered and what becomes of them.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use cutover::api::run::{RunStatus, SwitchState};
use cutover::decide::{Note, Write, decide};
use cutover::effect::{Effect, EffectKey, Outcome, Read, ReadKey};
use cutover::plan::Plan;
use cutover::world::{Reading, Seen, Sighting, World};

use super::cluster::{Cluster, PutError, RUN};
use super::promises;

/// How long the state of trials may stay unwritten.
const SOON: SignedDuration = SignedDuration::from_secs(10);
/// Pause after a claim that was not written.
const PUT_PACE: SignedDuration = SignedDuration::from_millis(100);
/// A due restore waits this long for its record to be written (DESIGN §5.1).
const RECORD_FIRST: SignedDuration = SignedDuration::from_secs(2);

/// The memory of a driver: lost in a crash.
#[derive(Clone, Debug)]
pub struct Operator {
    pub world: World,
    /// The journal as it stands in memory: what is stored, and perhaps a younger state of trials.
    pub journal: RunStatus,
    /// The stored one, as last read or written.
    stored: RunStatus,
    version: u64,
    /// Reads under way.
    pub reading: BTreeSet<ReadKey>,
    /// When to decide again though nothing is heard.
    pub wake: Option<Timestamp>,
    unsaved_since: Option<Timestamp>,
    unwritten_since: Option<Timestamp>,
}

/// What one turn of the loop leads to.
#[derive(Debug, Default)]
pub struct Turn {
    /// To be sent to the API server.
    pub effects: Vec<Effect>,
    /// To be looked at.
    pub reads: Vec<(ReadKey, Read)>,
    /// Told after the write.
    pub notes: Vec<Note>,
    /// The status was written.
    pub wrote: bool,
}

impl Turn {
    /// Whether something happened, so that the loop goes round again.
    pub fn moved(&self) -> bool {
        self.wrote || !self.effects.is_empty() || !self.reads.is_empty()
    }
}

impl Operator {
    /// A driver that has just started: it knows the stored status and nothing else.
    pub fn start(cluster: &Cluster) -> Self {
        Self {
            world: World::new(cluster.now, RUN),
            journal: cluster.status.clone(),
            stored: cluster.status.clone(),
            version: cluster.status_version,
            reading: BTreeSet::new(),
            wake: None,
            unsaved_since: None,
            unwritten_since: None,
        }
    }

    /// One turn: decide, claim, hand out.
    pub fn turn(&mut self, plan: &Plan, cluster: &mut Cluster) -> Turn {
        self.world.now = cluster.now;
        let decision = decide(plan, &self.journal, &self.world);
        self.wake = decision.wake;
        let due = self.unsaved_since.is_some_and(|at| cluster.now.duration_since(at) >= SOON);
        let mut turn = Turn::default();
        let mut effects = decision.effects;
        if decision.write == Write::Now || due {
            match self.claim(cluster, &decision.journal) {
                true => {
                    turn.wrote = true;
                    self.unwritten_since = None;
                    self.unsaved_since = None;
                }
                false => {
                    let since = *self.unwritten_since.get_or_insert(cluster.now);
                    let again = cluster.now + PUT_PACE;
                    self.wake = Some(self.wake.map_or(again, |w| w.min(again)));
                    let restore_first = cluster.now.duration_since(since) >= RECORD_FIRST && self.may_restore();
                    effects.retain(|e| restore_first && matches!(e, Effect::Restore { .. }));
                    self.hand_out(cluster, effects, &mut turn);
                    return turn;
                }
            }
        } else if decision.write == Write::Soon {
            let since = *self.unsaved_since.get_or_insert(cluster.now);
            let due = since + SOON;
            self.wake = Some(self.wake.map_or(due, |w| w.min(due)));
        }
        self.journal = decision.journal;
        turn.notes = decision.notes;
        for key in &decision.consumed {
            self.world.outcomes.remove(key);
        }
        self.world.readings.retain(|key, _| decision.reads.contains_key(key));
        self.reading.retain(|key| decision.reads.contains_key(key));
        for (key, read) in decision.reads {
            if !self.world.readings.contains_key(&key) && self.reading.insert(key.clone()) {
                turn.reads.push((key, read));
            }
        }
        self.hand_out(cluster, effects, &mut turn);
        turn
    }

    fn hand_out(&mut self, cluster: &mut Cluster, effects: Vec<Effect>, turn: &mut Turn) {
        for effect in effects {
            if self.world.in_flight.insert(effect.key()) {
                promises::at_dispatch(cluster, &effect);
                turn.effects.push(effect);
            }
        }
    }

    /// Writes the status. After any failure the stored one is read again: if it is what was to be written, it is
    /// written; if somebody else wrote, everything is dropped.
    fn claim(&mut self, cluster: &mut Cluster, journal: &RunStatus) -> bool {
        match cluster.put_status(self.version, journal) {
            Ok(version) => self.version = version,
            Err(PutError::Conflict | PutError::Transient) if cluster.status == *journal => {
                self.version = cluster.status_version;
            }
            Err(_) => {
                if cluster.status != self.stored {
                    let wake = self.wake;
                    *self = Self::start(cluster);
                    self.wake = wake;
                }
                self.version = cluster.status_version;
                return false;
            }
        }
        self.stored = journal.clone();
        true
    }

    /// Whether the stored status shows a switch that a restore may take back.
    fn may_restore(&self) -> bool {
        let open = |s: SwitchState| matches!(s, SwitchState::Claimed | SwitchState::Switched);
        !self.stored.phase.is_over()
            && self.stored.switch.iter().flat_map(|s| &s.services).any(|s| open(s.state))
    }

    /// The result of an effect arrives.
    pub fn reply(&mut self, key: &EffectKey, outcome: Outcome, now: Timestamp) {
        if !self.world.in_flight.remove(key) {
            return;
        }
        if !matches!(outcome, Outcome::Done | Outcome::Created { .. } | Outcome::Answered(_)) {
            self.world.tried.insert(key.clone(), now);
        }
        self.world.outcomes.insert(key.clone(), Seen { at: now, value: outcome });
    }

    /// The answer to a read arrives, unless nobody wants it any more.
    pub fn answered(&mut self, key: &ReadKey, reading: Reading) {
        if self.reading.remove(key) {
            self.world.readings.insert(key.clone(), reading);
        }
    }

    /// A live read of everything that began at `began` arrives; `None` when not all could be read.
    pub fn refreshed(&mut self, key: &ReadKey, began: Timestamp, now: Timestamp, seen: Option<Vec<Sighting>>) {
        self.reading.remove(key);
        let Some(seen) = seen else { return };
        for sighting in seen {
            self.world.take_in(now, sighting);
        }
        self.world.take_in(now, Sighting::Refreshed(began));
    }

    /// Job names this driver has heard of: of the status and of watches.
    pub fn known_jobs(&self) -> Vec<String> {
        let recorded = self.journal.steps.iter().filter_map(|s| Some(s.job.as_ref()?.name.clone()));
        recorded.chain(self.world.jobs.keys().cloned()).collect()
    }
}
