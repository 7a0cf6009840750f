//! One driver, as `cutover::driver` is: take in, decide, claim, act. It awaits nothing; the caller decides when its
//! requests arrive, when they are answered and what becomes of them.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use cutover::api::phase::Phase;
use cutover::api::run::{RunState, RunStatus, SwitchState};
use cutover::decide::{Decision, Note, Write, decide};
use cutover::effect::{Effect, EffectKey, Outcome, Read, ReadKey};
use cutover::journal::durable;
use cutover::plan::Plan;
use cutover::world::{Reading, Seen, Sighting, World};

use super::cluster::{Cluster, PutError, RUN};
use super::promises;

/// How long the state of trials may stay unwritten.
const SOON: SignedDuration = SignedDuration::from_secs(8);
/// Everything is read live this often.
const REFRESH: SignedDuration = SignedDuration::from_secs(25);
/// A wake-up is never nearer than this.
const SHORTEST: SignedDuration = SignedDuration::from_millis(5);
/// A due restore waits this long for its record to be written (DESIGN §5.1).
const PATIENCE: SignedDuration = SignedDuration::from_secs(2);

/// The memory of a driver: lost in a crash.
#[derive(Clone, Debug)]
pub struct Operator {
    pub world: World,
    /// The journal as decided; ahead of the record until it is written.
    pub journal: RunStatus,
    /// The run as it was last read or written.
    record: RunStatus,
    version: u64,
    /// The journal of a write whose answer never came.
    unanswered: Option<RunStatus>,
    urgent: bool,
    notes: Vec<Note>,
    consumed: Vec<(EffectKey, Seen<Outcome>)>,
    /// Since when a restore waits for its record.
    restore_wanted: Option<Timestamp>,
    /// Reads under way.
    pub reading: BTreeSet<ReadKey>,
    decided: Option<Timestamp>,
    soon: Option<Timestamp>,
    retry: Option<Timestamp>,
    rescue: Option<Timestamp>,
    pause_ms: i64,
    /// The next refresh that nobody asked for; none where the caller sees to what is known.
    pub refresh: Option<Timestamp>,
}

/// What one pass leads to.
#[derive(Debug, Default)]
pub struct Turn {
    /// To be sent to the API server.
    pub effects: Vec<Effect>,
    /// To be looked at; a refresh that nobody asked for has no key.
    pub reads: Vec<(ReadKey, Read)>,
    /// Told after the write.
    pub notes: Vec<Note>,
}

enum Settled {
    Written,
    Standing,
    Waiting,
    Again,
}

impl Operator {
    /// A driver that has just started: it knows the stored status and nothing else.
    pub fn start(cluster: &Cluster) -> Self {
        Self {
            world: World::new(cluster.now, RUN),
            journal: cluster.status.clone(),
            record: cluster.status.clone(),
            version: cluster.status_version,
            unanswered: None,
            urgent: false,
            notes: vec![],
            consumed: vec![],
            restore_wanted: None,
            reading: BTreeSet::new(),
            decided: None,
            soon: None,
            retry: None,
            rescue: None,
            pause_ms: 100,
            refresh: Some(cluster.now),
        }
    }

    /// When to look again though nothing is heard.
    pub fn wake(&self) -> Option<Timestamp> {
        if self.record.state == RunState::Closed {
            return None;
        }
        let soon = self.soon.map(|at| self.retry.map_or(at, |r| at.max(r)));
        [self.decided, soon, self.retry, self.rescue, self.refresh].into_iter().flatten().min()
    }

    /// One pass: decide, claim, hand out. After a conflict it begins again with the journal as it now stands.
    pub fn turn(&mut self, plan: &Plan, cluster: &mut Cluster) -> Turn {
        let mut turn = Turn::default();
        if self.record.state == RunState::Closed {
            return turn; // the driver has ended
        }
        self.world.now = cluster.now;
        for _ in 0..4 {
            if self.refresh.is_some_and(|at| at <= cluster.now) {
                self.refresh = Some(cluster.now + REFRESH);
                turn.reads.push((String::new(), Read::Refresh));
            }
            let decision = decide(plan, &self.journal, &self.world);
            self.rescue = None;
            self.decided = decision.wake.map(|at| at.max(cluster.now + SHORTEST));
            self.adopt(&decision, cluster.now);
            match self.settle(&decision, cluster, &mut turn) {
                Settled::Written => {
                    self.tell(&mut turn);
                    self.start_reads(&decision, true, &mut turn);
                    self.hand_out(cluster, decision.effects, &mut turn);
                    return turn;
                }
                Settled::Standing => {
                    self.tell(&mut turn);
                    self.start_reads(&decision, true, &mut turn);
                    self.rescue(&decision, cluster, &mut turn);
                    let rest = decision.effects.into_iter().filter(|e| !is_restore(e)).collect();
                    self.hand_out(cluster, rest, &mut turn);
                    return turn;
                }
                Settled::Waiting => {
                    self.start_reads(&decision, false, &mut turn);
                    self.rescue(&decision, cluster, &mut turn);
                    return turn;
                }
                Settled::Again => {}
            }
        }
        self.retry_later(cluster.now);
        turn
    }

    /// Takes a decision into memory. Nothing of it happens until it is written.
    fn adopt(&mut self, decision: &Decision, now: Timestamp) {
        self.notes.extend(decision.notes.iter().cloned());
        for key in &decision.consumed {
            if let Some(outcome) = self.world.outcomes.remove(key) {
                self.consumed.push((key.clone(), outcome));
            }
        }
        self.world.said = decision.said.clone();
        self.journal = decision.journal.clone();
        self.urgent |= decision.write == Write::Now;
        if decision.write == Write::Soon {
            self.soon.get_or_insert(now + SOON);
        }
    }

    fn settle(&mut self, decision: &Decision, cluster: &mut Cluster, turn: &mut Turn) -> Settled {
        let now = cluster.now;
        let ahead = self.record != self.journal;
        let acts = decision.effects.iter().any(|e| !is_restore(e)) || !self.consumed.is_empty();
        let soon = self.soon.is_some_and(|at| at <= now);
        if !(self.urgent || ahead && (acts || soon)) {
            if durable(&self.record) == durable(&self.journal) {
                return Settled::Standing;
            }
            self.urgent = true;
        }
        if decision.effects.iter().any(is_restore) {
            let since = *self.restore_wanted.get_or_insert(now);
            if now.duration_since(since) >= PATIENCE || restore_claimed(&self.record) {
                self.rescue(decision, cluster, turn);
            }
        }
        if self.retry.is_some_and(|at| at > now) {
            return Settled::Waiting;
        }
        match cluster.put_status(self.version, &self.journal) {
            Ok(version) => {
                self.version = version;
                self.record = self.journal.clone();
                self.unanswered = None;
                Settled::Written
            }
            Err(PutError::Conflict) => self.read_again(cluster),
            Err(PutError::Transient) => {
                self.unanswered = Some(self.journal.clone());
                self.retry_later(now);
                Settled::Waiting
            }
        }
    }

    fn read_again(&mut self, cluster: &Cluster) -> Settled {
        let same = cluster.status_version == self.version;
        let ours = self.unanswered.take().is_some_and(|tried| tried == cluster.status);
        self.version = cluster.status_version;
        self.record = cluster.status.clone();
        if !(same || ours) {
            self.world.outcomes.extend(self.consumed.drain(..));
            self.notes.clear();
            self.world.said.refused.clear();
            self.journal = self.record.clone();
            self.urgent = false;
        }
        Settled::Again
    }

    fn retry_later(&mut self, now: Timestamp) {
        self.retry = Some(now + SignedDuration::from_millis(self.pause_ms));
        self.pause_ms = (self.pause_ms * 2).min(1000);
    }

    fn tell(&mut self, turn: &mut Turn) {
        turn.notes.append(&mut self.notes);
        if self.record == self.journal {
            self.consumed.clear();
            self.urgent = false;
            self.soon = None;
            self.retry = None;
            self.pause_ms = 100;
        }
        self.restore_wanted = None;
    }

    /// Restores whose own record is not written, by the claim of the switch (DESIGN §5.1).
    fn rescue(&mut self, decision: &Decision, cluster: &mut Cluster, turn: &mut Turn) {
        let restores: Vec<Effect> = decision.effects.iter().filter(|e| is_restore(e)).cloned().collect();
        if restores.is_empty() {
            return;
        }
        let since = *self.restore_wanted.get_or_insert(cluster.now);
        if cluster.now.duration_since(since) < PATIENCE && !restore_claimed(&self.record) {
            self.rescue = Some((since + PATIENCE).max(cluster.now + SHORTEST));
            return;
        }
        let live = &cluster.status;
        let allowed = !live.phase.is_over() && live.state != RunState::Closed;
        let open = |name: &str| {
            let state = live.switch.iter().flat_map(|s| &s.services).find(|s| s.name == name).map(|s| s.state);
            matches!(state, Some(SwitchState::Claimed | SwitchState::Switched | SwitchState::Gone))
        };
        let authorised = restores
            .into_iter()
            .filter(|e| matches!(e, Effect::Restore { route, .. } if allowed && open(&route.name)))
            .collect();
        self.hand_out(cluster, authorised, turn);
    }

    fn start_reads(&mut self, decision: &Decision, recorded: bool, turn: &mut Turn) {
        self.world.readings.retain(|key, _| decision.reads.contains_key(key));
        self.reading.retain(|key| decision.reads.contains_key(key));
        for (key, read) in &decision.reads {
            let known = self.reading.contains(key) || self.world.readings.contains_key(key);
            if known || (!recorded && key.contains('#')) {
                continue;
            }
            self.reading.insert(key.clone());
            turn.reads.push((key.clone(), read.clone()));
        }
    }

    fn hand_out(&mut self, cluster: &mut Cluster, effects: Vec<Effect>, turn: &mut Turn) {
        for effect in effects {
            let key = effect.key();
            if self.world.in_flight.insert(key.clone()) {
                self.world.outcomes.remove(&key);
                promises::at_dispatch(cluster, &effect);
                turn.effects.push(effect);
            }
        }
    }

    /// What of the memory is neither world nor journal.
    pub fn memory(&self) -> String {
        let keys: Vec<&EffectKey> = self.consumed.iter().map(|(k, _)| k).collect();
        let times = [self.restore_wanted, self.soon, self.retry, self.rescue];
        format!("{}{keys:?}{times:?}{}{}", self.urgent, self.unanswered.is_some(), self.pause_ms)
    }

    /// The result of an effect arrives.
    pub fn reply(&mut self, key: &EffectKey, outcome: Outcome, now: Timestamp) {
        self.world.in_flight.remove(key);
        match &outcome {
            Outcome::Created { .. } | Outcome::Done | Outcome::Changed { .. } | Outcome::Answered(_) => {
                self.world.tried.remove(key)
            }
            _ => self.world.tried.insert(key.clone(), now),
        };
        self.world.outcomes.insert(key.clone(), Seen { at: now, value: outcome });
    }

    /// The answer to a read arrives, unless nobody wants it any more.
    pub fn answered(&mut self, key: &ReadKey, reading: Reading) {
        if self.reading.remove(key) {
            self.world.readings.insert(key.clone(), reading);
        }
    }

    /// A live read of everything that began at `began` arrives. What a watch has shown since is believed instead.
    pub fn refreshed(&mut self, key: &ReadKey, began: Timestamp, seen: Vec<Sighting>) {
        for sighting in seen {
            let at = match &sighting {
                Sighting::Service(n, _) => self.world.services.get(n).map(|s| s.at),
                Sighting::Workload(n, _) => self.world.workloads.get(n).map(|s| s.at),
                Sighting::Job(n, _) => self.world.jobs.get(n).map(|s| s.at),
                Sighting::Endpoints(n, _) => self.world.endpoints.get(n).map(|s| s.at),
                Sighting::Pods(_) => self.world.pods.as_ref().map(|s| s.at),
                Sighting::Cutover(_) => self.world.cutover.as_ref().map(|s| s.at),
                Sighting::Nodes(_) | Sighting::Decisions(_) | Sighting::Refreshed(_) => None,
            };
            if at.is_none_or(|at| at <= began) {
                self.watched(began, sighting);
            }
        }
        self.world.take_in(began, Sighting::Refreshed(began));
        self.answered(key, Reading::Refreshed);
    }

    /// A watch tells something, unless something younger is known.
    pub fn watched(&mut self, at: Timestamp, sighting: Sighting) {
        let number = |v: &str| v.parse::<u64>().unwrap_or(0);
        let old = match &sighting {
            Sighting::Service(n, Some(new)) => {
                let known = self.world.service(n).map(|k| number(&k.resource_version));
                known.is_some_and(|k| k > number(&new.resource_version))
            }
            Sighting::Job(n, Some(new)) => {
                let known = self.world.jobs.get(n).and_then(|s| s.value.as_ref()).map(|k| number(&k.resource_version));
                known.is_some_and(|k| k > number(&new.resource_version))
            }
            _ => false,
        };
        if !old {
            self.world.take_in(at, sighting);
        }
    }

    /// Jobs this driver would look for in a live read: those recorded and not yet handed over.
    pub fn known_jobs(&self) -> Vec<String> {
        let recorded = self.journal.steps.iter().filter_map(|s| s.job.as_ref());
        recorded.filter(|j| j.uid.is_some() && !j.owned).map(|j| j.name.clone()).collect()
    }
}

fn is_restore(effect: &Effect) -> bool {
    matches!(effect, Effect::Restore { .. })
}

/// Whether an earlier write has already recorded that selectors go back.
fn restore_claimed(record: &RunStatus) -> bool {
    record.phase == Phase::RollingBack && record.ending.is_some()
}
