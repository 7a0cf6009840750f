//! The pilot of one run: hears, decides, has the journal written, and only then has things done.
//!
//! One pass: take in what was heard, decide, settle (write the journal where it must be written now), act. After a
//! conflict the pass begins again with the journal as it now stands. A restore that is due does not wait for its record
//! ([`rescue`]).
//!
//! This is the only place that makes a [`Claimed`]: after [`Put::Written`], for a journal that already stands, or for a
//! restore that a live reading of the run allows.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::api::condition::reasons;
use crate::api::run::{CutoverRun, RunStatus};
use crate::decide::{Decision, Note, Write, decide};
use crate::effect::{Effect, EffectKey, Outcome, ReadKey, RunScope};
use crate::journal;
use crate::plan::Plan;
use crate::world::{Seen, World};

mod clock;
mod form;
mod heard;
mod merge;
mod orders;
mod proven;
mod rescue;
mod settle;
mod tell;
mod wake;

pub use crate::journal::outbox::Sink;
pub(crate) use form::unreadable_run;
pub(crate) use orders::{Delivery, Ground, Telling};
pub use orders::{End, Heard, Next, Now, Order, Progress, Put, Reread, Then};
pub(crate) use tell::panic_text;
pub use wake::Pace;

use clock::Clock;
use form::Form;
use rescue::AfterRescue;
use wake::Wake;

/// How long an ending operator waits for what is under way.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Pause after a decision that panicked.
const AFTER_PANIC: Duration = Duration::from_secs(5);
/// Passes without a pause in between: each follows a write by somebody else.
const TRIES: u8 = 4;

/// The pilot of one run.
#[derive(Clone, Debug)]
pub struct Pilot {
    plan: Arc<Plan>,
    form: Form,
    /// The spec of the run, in bytes; it does not change.
    spec_size: usize,
    clock: Clock,
    /// Namespace, run and uid; account and source of metrics are filled in when asked for.
    scope: RunScope,
    world: World,
    /// The journal as decided; ahead of the record until it is written.
    journal: RunStatus,
    /// The run's status as it was last read or written.
    record: Option<RunStatus>,
    /// Hashes of the journals of writes whose answers never came, since the last write that is known: the API server may have
    /// applied any one of them, and then no other. If it is found written, it was ours.
    unanswered: VecDeque<String>,
    /// Whether what is ahead must be written before anything else happens.
    urgent: bool,
    /// The journal up to which everything has been measured.
    measured: RunStatus,
    /// Told once the journal is written.
    notes: Vec<Note>,
    /// What the shell has been handed to tell, and has not failed to.
    told: BTreeSet<Delivery>,
    /// What was received, with the time, or was not: noted in the journal with the next write.
    receipts: Vec<(Delivery, Option<jiff::Timestamp>)>,
    /// Outcomes taken into the journal that is not written yet: put back if it never will be.
    consumed: Vec<(EffectKey, Seen<Outcome>)>,
    /// Since when a restore waits for its record, in ticks.
    restore_wanted: Option<Duration>,
    /// Reads under way.
    reading: BTreeSet<ReadKey>,
    /// A refresh that no decision asked for is under way.
    refreshing: bool,
    wake: Wake,
    /// The last complaint, so that a repeated one is told once.
    complaint: Option<String>,
    /// Heard, and not taken in yet.
    mail: Vec<(Now, Heard)>,
    /// Orders for the next call.
    outgoing: Vec<Order>,
    stage: Stage,
    /// Passes since the last pause.
    tries: u8,
    /// The operator stops: nothing is waited for beyond these ticks.
    stopping: Option<Duration>,
}

/// How far a pass has come.
#[derive(Clone, Debug)]
enum Stage {
    /// The next call begins a pass.
    Resting,
    /// The journal of this decision is written, or does not need to be.
    Proven(Box<Decision>, Ground),
    /// The journal of this decision is to be written, as soon as writes may be tried.
    Writing(Box<Decision>),
    /// The journal of this decision cannot be written now.
    Waiting(Box<Decision>),
    /// Somebody else wrote.
    Rereading(Box<Decision>),
    /// The finalizer could not be taken away: its list may have changed.
    RereadingToRelease,
    /// [`Then::Put`] is not answered yet.
    AwaitsPut(Box<Decision>),
    /// [`Then::Reread`] is not answered yet; the decision that met a conflict, or none for a finalizer.
    AwaitsRead(Option<Box<Decision>>),
    /// [`Then::Authorise`] is not answered yet.
    AwaitsAuthority(Box<Decision>, Vec<Effect>, AfterRescue),
    /// What follows a rescue.
    Rescued(Box<Decision>, AfterRescue),
    /// [`Then::Release`] is not answered yet.
    AwaitsRelease,
    /// The last write of an operator that stops is not answered yet.
    AwaitsLastPut,
    /// The last write succeeded.
    LastWritten,
    /// The pass is over.
    Pausing,
    /// Nothing follows.
    Over(End),
}

/// Where a pass goes on: in another stage at once, or after the shell has done something.
enum Flow {
    Go(Stage),
    Stop(Stage, Then),
}

impl Pilot {
    /// The pilot of a run that has just been read, knowing its status and nothing else.
    ///
    /// # Errors
    /// A note for people: the plan cannot be read, not even its sides. Nothing can be known of such a run; a newer
    /// operator may.
    pub fn open(run: &CutoverRun, now: Now, pace: Pace) -> Result<Self, Note> {
        let (plan, form) = form::plan_of(run).map_err(|why| form::unreadable(&why))?;
        let uid = run.metadata.uid.clone().unwrap_or_default();
        let journal = run.status.clone().unwrap_or_default();
        let mut clock = Clock::open(now, &journal);
        let now = clock.read(now);
        let scope = RunScope {
            namespace: run.metadata.namespace.clone().unwrap_or_default(),
            service_account: plan.service_account.clone(),
            prometheus: plan.prometheus.clone(),
            run: run.metadata.name.clone().unwrap_or_default(),
            run_uid: uid.clone(),
        };
        let mut world = World::new(now.wall, &uid);
        world.begun_before = journal::under_way(&journal);
        let mut pilot = Self {
            spec_size: serde_json::to_vec(&run.spec).map_or(0, |v| v.len()),
            world,
            record: run.status.clone(),
            measured: journal.clone(),
            plan: Arc::new(plan),
            wake: Wake::new(now.ticks, pace),
            journal,
            clock,
            form,
            scope,
            unanswered: VecDeque::new(),
            urgent: false,
            notes: vec![],
            told: BTreeSet::new(),
            receipts: vec![],
            consumed: vec![],
            restore_wanted: None,
            reading: BTreeSet::new(),
            refreshing: false,
            complaint: None,
            mail: vec![],
            outgoing: vec![],
            stage: Stage::Resting,
            tries: 0,
            stopping: None,
        };
        if form == Form::Other {
            let note = form::other();
            pilot.outgoing.push(Order::Tell(Telling { note, step: None, delivery: None, again: false }));
        }
        pilot.tell_what_stands_open();
        Ok(pilot)
    }

    /// The plan that is driven.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What is known of the cluster.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The journal as decided; what of it is written, the run itself says.
    pub fn journal(&self) -> &RunStatus {
        &self.journal
    }

    /// Reads that are not answered yet.
    pub fn reading(&self) -> &BTreeSet<ReadKey> {
        &self.reading
    }

    /// The account that effects and reads use, and the source of metrics. Both come from the plan and do not follow later
    /// changes of the Cutover: the plan is what people have approved (DESIGN §7).
    pub fn scope(&self) -> RunScope {
        self.scope.clone()
    }

    /// Jobs that are looked for by name in a live reading: recorded, and not handed over yet. After a restart nothing else
    /// knows of a Job that has been deleted meanwhile.
    pub fn known_jobs(&self) -> Vec<String> {
        let recorded = self.journal.steps.iter().filter_map(|r| r.job.as_ref()).filter(|j| j.uid.is_some() && !j.owned);
        recorded.map(|j| j.name.clone()).collect()
    }

    /// What of its memory is neither [`world`](Self::world) nor [`journal`](Self::journal), with times as distances from
    /// `now`: two pilots that agree in all three do the same from here on. For searches of what they may do.
    pub fn memory(&self, now: Now) -> String {
        let keys: Vec<&EffectKey> = self.consumed.iter().map(|(k, _)| k).collect();
        let wanted = self.restore_wanted.map(|since| now.ticks.saturating_sub(since));
        let (urgent, unanswered) = (self.urgent, self.unanswered.len());
        format!("{urgent}{unanswered}{keys:?}{wanted:?}{}{:?}", self.wake.memory(now.ticks), self.stopping.is_some())
    }

    /// Takes something in.
    pub fn hear(&mut self, heard: Heard, now: Now) {
        let now = self.clock.read(now);
        match heard {
            Heard::Put(put) => self.put(put, now),
            Heard::Read(read) => self.read_again(read, now),
            Heard::Authority(read) => self.authorised(read, now),
            Heard::Released(done) => {
                if let Stage::AwaitsRelease = self.stage {
                    self.stage = if done { Stage::Over(End::Closed) } else { Stage::RereadingToRelease };
                }
            }
            Heard::Stopping => {
                self.stopping.get_or_insert(now.ticks + LAST_WORDS);
            }
            Heard::Seen(_)
            | Heard::Refreshed { .. }
            | Heard::Answer(..)
            | Heard::Broken(_)
            | Heard::Ended(..)
            | Heard::Told { .. } => {
                // Taken in when the next pass begins: what a decision rests on does not change while it is carried out.
                self.mail.push((now, self.clock.heard(heard)));
            }
        }
    }

    /// What is to be done now.
    pub fn next(&mut self, now: Now) -> Next {
        let now = self.clock.read(now);
        if let Some(jump) = self.clock.jumped() {
            let note =
                Note { warning: true, reason: reasons::CLOCK_JUMPED.into(), subject: "clock".into(), message: jump };
            self.outgoing.push(Order::Tell(Telling { note, step: None, delivery: None, again: false }));
        }
        let mut orders = std::mem::take(&mut self.outgoing);
        loop {
            let flow = match std::mem::replace(&mut self.stage, Stage::Resting) {
                Stage::Resting => self.pass(now, &mut orders),
                Stage::Proven(decision, ground) => self.proven(decision, ground, now, &mut orders),
                Stage::Writing(decision) => self.write(decision, now, &mut orders),
                Stage::Waiting(decision) => {
                    self.start_reads(&decision, false, &mut orders);
                    self.rescue(decision, AfterRescue::Rest, now)
                }
                Stage::Rescued(decision, AfterRescue::Write) => Flow::Go(Stage::Writing(decision)),
                Stage::Rescued(decision, AfterRescue::Act) => {
                    self.act_on(decision.effects.into_iter().filter(|e| !is_restore(e)), Ground::Standing, &mut orders);
                    self.rest_or_release(now)
                }
                Stage::Rescued(_, AfterRescue::Rest) => self.rest(now),
                Stage::Rereading(decision) => Flow::Stop(Stage::AwaitsRead(Some(decision)), Then::Reread),
                Stage::RereadingToRelease => Flow::Stop(Stage::AwaitsRead(None), Then::Reread),
                Stage::LastWritten => {
                    self.tell(Ground::Written, &mut orders);
                    Flow::Go(Stage::Over(End::Stopped))
                }
                Stage::Pausing => self.rest(now),
                Stage::Over(end) => Flow::Stop(Stage::Over(end), Then::End(end)),
                awaits @ (Stage::AwaitsPut(_)
                | Stage::AwaitsRead(_)
                | Stage::AwaitsAuthority(..)
                | Stage::AwaitsRelease
                | Stage::AwaitsLastPut) => {
                    let alarm = self.wake.next(now.ticks);
                    Flow::Stop(awaits, Then::Sleep(alarm))
                }
            };
            orders.append(&mut self.outgoing);
            match flow {
                Flow::Go(stage) => self.stage = stage,
                Flow::Stop(stage, then) => {
                    self.stage = stage;
                    return Next { orders, then };
                }
            }
        }
    }

    /// Takes in, decides, settles.
    fn pass(&mut self, now: Now, orders: &mut Vec<Order>) -> Flow {
        if self.tries >= TRIES {
            self.wake.retry(now.ticks);
            return self.rest(now);
        }
        self.tries += 1;
        self.take_mail(now);
        if let Some(until) = self.stopping {
            return self.last_words(until, now, orders);
        }
        if self.wake.refresh_is_due(now.ticks) && !std::mem::replace(&mut self.refreshing, true) {
            orders.push(Order::Refresh { key: None, jobs: self.known_jobs() });
        }
        let Some(decision) = self.decide(now, orders) else { return self.rest(now) };
        if self.form == Form::Other {
            return self.rescue(decision, AfterRescue::Rest, now);
        }
        self.adopt(&decision, now);
        self.settle(decision, now)
    }

    /// Decides; a panic is a defect of this run alone.
    fn decide(&mut self, now: Now, orders: &mut Vec<Order>) -> Option<Box<Decision>> {
        let (plan, journal, world) = (&*self.plan, &self.journal, &self.world);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| decide(plan, journal, world))) {
            Ok(decision) => {
                self.wake.decided(decision.wake, now);
                self.wake.rest(decision.rests());
                Some(Box::new(decision))
            }
            Err(panic) => {
                orders.push(Order::Panicked);
                self.complain(reasons::DEFECT, &format!("deciding failed: {}", panic_text(panic.as_ref())));
                self.wake.decided(None, now);
                self.wake.retry_after(now.ticks, AFTER_PANIC);
                None
            }
        }
    }

    /// Takes a decision into memory. Nothing of it happens until it is written.
    fn adopt(&mut self, decision: &Decision, now: Now) {
        self.notes.extend(decision.notes.iter().cloned());
        for key in &decision.consumed {
            if let Some(outcome) = self.world.outcomes.remove(key) {
                self.consumed.push((key.clone(), outcome));
            }
        }
        let claimed = decision.effects.iter().filter(|e| !is_restore(e)).map(Effect::key);
        self.world.not_begun.extend(claimed.filter(|key| !self.world.in_flight.contains(key)));
        self.world.said = decision.said.clone();
        self.journal = decision.journal.clone();
        let recorded = self.record.as_ref().is_some_and(|r| r.ending.is_some());
        if recorded || self.journal.ending.is_none() {
            self.world.unrecorded = None;
        } else {
            self.world.unrecorded.get_or_insert(self.world.now);
        }
        self.urgent |= decision.write == Write::Now;
        if decision.write == Write::Soon {
            self.wake.soon(now.ticks);
        }
    }

    /// The pass is over.
    fn rest(&mut self, now: Now) -> Flow {
        self.tries = 0;
        Flow::Stop(Stage::Resting, Then::Sleep(self.wake.next(now.ticks)))
    }

    /// The operator stops: answers to requests under way are still recorded, nothing new is begun.
    fn last_words(&mut self, until: Duration, now: Now, orders: &mut Vec<Order>) -> Flow {
        self.tries = 0;
        if !self.world.in_flight.is_empty() && now.ticks < until {
            return Flow::Stop(Stage::Resting, Then::Sleep(until));
        }
        self.world.stopping = true;
        if !self.world.not_begun.is_empty() {
            // Claimed in memory alone: written now, it would be taken for something that was begun.
            self.begin_anew();
        }
        if self.form != Form::Other
            && let Some(decision) = self.decide(now, orders)
        {
            self.adopt(&decision, now);
            if self.ahead() {
                let journal = Box::new(self.journal.clone());
                return Flow::Stop(Stage::AwaitsLastPut, Then::Put { journal, within: None });
            }
        }
        Flow::Go(Stage::Over(End::Stopped))
    }
}

fn is_restore(effect: &Effect) -> bool {
    matches!(effect, Effect::Restore { .. })
}

#[cfg(test)]
mod tests;
