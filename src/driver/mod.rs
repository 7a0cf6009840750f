//! One task per active run: hears, decides, claims, acts, records. What takes long runs in child tasks that answer into
//! the mailbox; the driver itself awaits only API calls of at most 2 s.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::act::Actor;
use crate::api::run::{CutoverRun, RunState, RunStatus};
use crate::decide::{Decision, Note, Write, decide};
use crate::effect::{Effect, EffectKey, Outcome};
use crate::journal;
use crate::observe::{Observer, Scope};
use crate::plan::Plan;
use crate::world::{Seen, World};

pub mod claim;
mod form;
mod hands;
mod mailbox;
pub mod manager;
pub mod meter;
pub mod publish;
mod rescue;
pub mod traces;
mod wake;

use claim::{Put, Record, Written};
use form::Form;
use mailbox::{Mail, Mailbox, Post};
use meter::Meter;
use publish::{About, Publisher};
use traces::Traces;
use wake::Wake;

/// How long an ending operator waits for what is under way.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Pause after a decision that panicked.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// What drivers share.
pub struct Context {
    /// The operator's own client.
    pub client: kube::Client,
    /// Carries out effects.
    pub actor: Actor,
    /// Reads.
    pub observer: Observer,
    /// Tells notes.
    pub publisher: Publisher,
    /// Counts.
    pub meter: Meter,
    /// Takes the traces of closed runs.
    pub traces: Traces,
}

/// How a driver ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The run is closed and its finalizer gone.
    Closed,
    /// The run does not exist any more.
    Gone,
    /// The operator stops.
    Stopped,
}

/// The driver of one run.
struct Driver {
    cx: Arc<Context>,
    stop: CancellationToken,
    record: Record,
    about: About,
    plan: Plan,
    form: Form,
    /// In bytes; it does not change.
    plan_size: usize,
    /// The journal as decided; ahead of the record until it is written.
    journal: RunStatus,
    /// Whether what is ahead must be written before anything else happens.
    urgent: bool,
    /// The journal up to which everything has been measured.
    measured: RunStatus,
    /// Told once the journal is written.
    notes: Vec<Note>,
    /// Outcomes taken into the journal that is not written yet: put back if it never will be.
    consumed: Vec<(EffectKey, Seen<Outcome>)>,
    /// Since when a restore waits for its record.
    restore_wanted: Option<tokio::time::Instant>,
    world: World,
    mailbox: Mailbox,
    post: Post,
    tasks: JoinSet<()>,
    reads: hands::Reads,
    wake: Wake,
    /// The last complaint, so that a repeated one is told once.
    complaint: Option<String>,
}

/// Drives a run until it is closed, gone, or the operator stops.
pub async fn drive(cx: Arc<Context>, namespace: &str, name: &str, uid: &str, stop: CancellationToken) -> End {
    let mut pause = Duration::from_millis(100);
    let record = loop {
        match Record::open(cx.client.clone(), namespace, name, uid).await {
            Ok(Some(record)) => break record,
            Ok(None) => return End::Gone,
            Err(e) => tracing::warn!(error = %e, "the run cannot be read"),
        }
        tokio::select! {
            () = stop.cancelled() => return End::Stopped,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(1)),
        }
    };
    let (plan, form) = match form::plan_of(record.run()) {
        Ok(found) => found,
        Err(why) => {
            let about = about(record.run(), namespace);
            cx.publisher.publish(&about, &form::unreadable(&why));
            // Nothing can be known of a plan that does not even name its Services: a newer operator may.
            stop.cancelled().await;
            return End::Stopped;
        }
    };
    Driver::new(cx, stop, record, namespace, plan, form).run().await
}

fn about(run: &CutoverRun, namespace: &str) -> About {
    About {
        namespace: namespace.into(),
        cutover: run.spec.cutover.clone(),
        cutover_uid: run.spec.cutover_uid.clone(),
        run: Some((run.metadata.name.clone().unwrap_or_default(), run.metadata.uid.clone().unwrap_or_default())),
        ..About::default()
    }
}

impl Driver {
    fn new(cx: Arc<Context>, stop: CancellationToken, record: Record, namespace: &str, plan: Plan, form: Form) -> Self {
        let uid = record.run().metadata.uid.clone().unwrap_or_default();
        let (post, mailbox) = mailbox::mailbox();
        Self {
            about: about(record.run(), namespace),
            journal: record.journal(),
            measured: record.journal(),
            plan_size: serde_json::to_vec(&record.run().spec).map_or(0, |v| v.len()),
            world: World::new(Timestamp::now(), &uid),
            wake: Wake::new(&uid),
            urgent: false,
            notes: vec![],
            consumed: vec![],
            restore_wanted: None,
            tasks: JoinSet::new(),
            reads: hands::Reads::default(),
            complaint: None,
            cx,
            stop,
            record,
            plan,
            form,
            mailbox,
            post,
        }
    }

    fn uid(&self) -> String {
        self.about.run.as_ref().map(|(_, uid)| uid.clone()).unwrap_or_default()
    }

    /// Whose eyes and hands: the account is read live from the Cutover; where metrics come from stands in the plan.
    fn scope(&self) -> Scope {
        let cutover = self.world.cutover.as_ref().and_then(|c| c.value.as_ref());
        let (run, run_uid) = self.about.run.clone().unwrap_or_default();
        Scope {
            namespace: self.about.namespace.clone(),
            service_account: cutover.map_or(&self.plan.service_account, |c| &c.service_account).clone(),
            prometheus: self.plan.prometheus.clone(),
            run,
            run_uid,
        }
    }

    async fn run(mut self) -> End {
        if self.form == Form::Other {
            self.cx.publisher.publish(&self.about, &form::other());
        }
        // A process that ended between writing a transition and telling it leaves that to the next one. The Event's name
        // is the transition's, so one that was told already is not told twice.
        let last = self.journal.timeline.last().map(|m| m.at);
        for moment in self.journal.timeline.iter().filter(|m| Some(m.at) == last) {
            self.cx.publisher.tell_again(&self.about, moment);
        }
        // What stands in its way stood there before this process, too.
        self.cx.meter.journal(&self.uid(), &self.plan, &self.measured, &self.measured);
        let mut watches = self.cx.observer.watch(&self.scope(), &self.plan, self.post.sightings.clone());
        loop {
            if let Some(end) = self.pass().await {
                return end;
            }
            let alarm = self.wake.next();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return self.last_words().await,
                () = self.mailbox.wait() => {}
                Some(_) = self.tasks.join_next() => {}
                Some(ended) = watches.join_next() => {
                    tracing::warn!(?ended, "a watch ended; all of the run's start anew");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    watches = self.cx.observer.watch(&self.scope(), &self.plan, self.post.sightings.clone());
                }
                () = tokio::time::sleep_until(alarm) => {}
            }
        }
    }

    /// One pass: take in, decide, claim, act. After a conflict it begins again with the journal as it now stands.
    async fn pass(&mut self) -> Option<End> {
        for _ in 0..4 {
            self.take_mail();
            if self.wake.refresh_is_due() {
                self.refresh(None);
            }
            let decision = self.decide()?;
            if self.form == Form::Other {
                self.rescue(&decision).await;
                return None;
            }
            self.adopt(&decision);
            match self.settle(&decision).await {
                Settled::Written(proof) => {
                    self.tell();
                    self.start_reads(&decision, true);
                    for effect in decision.effects {
                        self.act(proof.claim(effect));
                    }
                    if self.record.run().status.as_ref().is_some_and(|s| s.state == RunState::Closed) {
                        return self.close().await;
                    }
                    return None;
                }
                Settled::Standing(proof) => {
                    self.tell();
                    self.start_reads(&decision, true);
                    // Without a write nothing has shown that this operator is not a frozen one that just woke up: the
                    // tests of all other effects would stop it, a restore reads the run live first.
                    self.rescue(&decision).await;
                    for effect in decision.effects.into_iter().filter(|e| !is_restore(e)) {
                        self.act(proof.claim(effect));
                    }
                    if self.record.run().status.as_ref().is_some_and(|s| s.state == RunState::Closed) {
                        return self.close().await;
                    }
                    return None;
                }
                Settled::Waiting => {
                    self.start_reads(&decision, false);
                    self.rescue(&decision).await;
                    return None;
                }
                Settled::Gone => return Some(End::Gone),
                Settled::Again => {}
            }
        }
        self.wake.retry();
        None
    }

    fn take_mail(&mut self) {
        let now = Timestamp::now();
        for mail in self.mailbox.take() {
            match mail {
                Mail::Seen(sighting) => mailbox::take_in_watched(&mut self.world, now, sighting),
                Mail::Refreshed { key, began, sightings } => self.refreshed(key, began, sightings),
                Mail::Broken(key) => self.broken(&key),
                Mail::Answer(key, reading) => self.answered(key, reading),
                Mail::Ended(key, outcome) => self.ended(key, now, outcome),
            }
        }
        self.world.now = now;
    }

    /// Decides; a panic is a defect of this run alone.
    fn decide(&mut self) -> Option<Decision> {
        let (plan, journal, world) = (&self.plan, &self.journal, &self.world);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| decide(plan, journal, world))) {
            Ok(decision) => {
                self.wake.decided(decision.wake, self.world.now);
                self.wake.rest(decision.rests());
                Some(decision)
            }
            Err(panic) => {
                self.cx.meter.panicked();
                self.complain("Defect", &format!("deciding failed: {}", hands::panic_text(panic.as_ref())));
                self.wake.decided(None, self.world.now);
                self.wake.retry_after(AFTER_PANIC);
                None
            }
        }
    }

    /// Takes a decision into memory. Nothing of it happens until it is written.
    fn adopt(&mut self, decision: &Decision) {
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
            self.wake.soon();
        }
    }

    /// Writes the journal where it must be written now.
    async fn settle(&mut self, decision: &Decision) -> Settled {
        let wants_restore = decision.effects.iter().any(is_restore);
        let ahead = self.record.run().status.as_ref() != Some(&self.journal);
        let acts = decision.effects.iter().any(|e| !is_restore(e)) || !self.consumed.is_empty();
        if !(self.urgent || ahead && (acts || self.wake.soon_is_due())) {
            if let Some(proof) = self.record.standing(&self.journal) {
                return Settled::Standing(proof);
            }
            self.urgent = true;
        }
        let mut limit = crate::act::call::CALL_LIMIT;
        if wants_restore {
            let since = *self.restore_wanted.get_or_insert_with(tokio::time::Instant::now);
            limit = rescue::PATIENCE.saturating_sub(since.elapsed()).clamp(rescue::SHORT_WRITE, limit);
            // A restore that was claimed by an earlier write does not wait for this one.
            if rescue::is_due(since) || rescue::is_claimed(&self.record.journal()) {
                self.rescue(decision).await;
            }
        }
        if !self.wake.may_write() {
            return Settled::Waiting;
        }
        if claim::fit(&mut self.journal, self.plan_size) {
            tracing::warn!("the journal is full: evidence of the oldest steps is dropped");
        }
        match self.record.put(&self.journal, limit).await {
            Put::Written(proof) => {
                self.cx.meter.claim("written");
                Settled::Written(proof)
            }
            Put::Conflict => {
                self.cx.meter.claim("conflict");
                self.read_again().await
            }
            Put::Gone => Settled::Gone,
            Put::Failed(e) => {
                self.cx.meter.claim("failed");
                self.complain("JournalNotWritten", &format!("the journal cannot be written: {e}"));
                self.wake.retry();
                Settled::Waiting
            }
        }
    }

    /// After a conflict: the record decides. What was decided on the old one is dropped, its outcomes are not.
    async fn read_again(&mut self) -> Settled {
        match self.record.read().await {
            Ok(claim::Seen::Gone) => Settled::Gone,
            // Our own write, whose answer was lost, or only metadata changed: what was decided still stands.
            Ok(claim::Seen::Ours | claim::Seen::Same) => Settled::Again,
            Ok(claim::Seen::Other) => {
                self.world.outcomes.extend(self.consumed.drain(..));
                self.notes.clear();
                self.world.said.refused.clear();
                self.journal = self.record.journal();
                // Measured by whoever wrote it.
                self.measured = self.record.journal();
                self.urgent = false;
                // Who wrote may have done so for ever: patience with conflicts is not renewed by them.
                Settled::Again
            }
            Err(_) => {
                self.wake.retry();
                Settled::Waiting
            }
        }
    }

    /// What follows a write: everything up to it is told and done with.
    fn tell(&mut self) {
        let ahead = self.record.run().status.as_ref() != Some(&self.journal);
        self.measure();
        for note in self.notes.drain(..) {
            let moment = crate::journal::moment(&self.measured, &note.subject, &note.reason, &note.message);
            let about = About {
                step: self.plan.action(&note.subject).map(|_| note.subject.clone()),
                transition: moment.map(|m| m.at),
                ..self.about.clone()
            };
            self.cx.publisher.publish(&about, &note);
        }
        if !ahead {
            self.consumed.clear();
            self.urgent = false;
            self.complaint = None;
            self.wake.written();
        }
        self.restore_wanted = None;
    }

    /// Counts and times what the last write has added to the journal.
    fn measure(&mut self) {
        let Some(written) = self.record.run().status.as_ref().filter(|s| **s != self.measured) else { return };
        self.cx.meter.journal(&self.uid(), &self.plan, &self.measured, written);
        let ended = self.measured.state == RunState::Active && written.state == RunState::Closed;
        if ended && !journal::is_reopened(written) {
            self.cx.traces.send(|| crate::spans::of(self.record.run(), &self.plan, written));
        }
        self.measured = written.clone();
    }

    /// Tells a trouble of the driver itself, once until it is over.
    fn complain(&mut self, reason: &str, message: &str) {
        if self.complaint.as_deref() != Some(message) {
            self.complaint = Some(message.to_owned());
            let note =
                Note { warning: true, reason: reason.into(), subject: "journal".into(), message: message.to_owned() };
            self.cx.publisher.publish(&self.about, &note);
        }
    }

    /// The run is closed: its finalizer goes, then the driver.
    async fn close(&mut self) -> Option<End> {
        match self.record.release().await {
            Ok(()) => Some(End::Closed),
            Err(_) => {
                // The list of finalizers may have changed; the next pass reads it anew.
                match self.record.read().await {
                    Ok(claim::Seen::Gone) => return Some(End::Closed),
                    Ok(_) => self.wake.retry_after(Duration::from_millis(200)),
                    Err(_) => self.wake.retry(),
                }
                None
            }
        }
    }

    /// The operator stops: answers to requests under way are still recorded, nothing new is begun.
    async fn last_words(mut self) -> End {
        let until = tokio::time::Instant::now() + LAST_WORDS;
        while !self.world.in_flight.is_empty() {
            if tokio::time::timeout_at(until, self.mailbox.wait()).await.is_err() {
                break;
            }
            self.take_mail();
        }
        if let Some(decision) = self.decide().filter(|_| self.form != Form::Other) {
            self.adopt(&decision);
            let ahead = self.record.run().status.as_ref() != Some(&self.journal);
            if ahead
                && let Put::Written(Written { .. }) = self.record.put(&self.journal, crate::act::call::CALL_LIMIT).await
            {
                self.tell();
            }
        }
        End::Stopped
    }
}

fn is_restore(effect: &Effect) -> bool {
    matches!(effect, Effect::Restore { .. })
}

/// Where a decision stands after an attempt to write it.
enum Settled {
    /// Written just now.
    Written(Written),
    /// Nothing durable changed since the last write.
    Standing(Written),
    /// Not known to be written; another try later.
    Waiting,
    /// The record changed: decide again.
    Again,
    /// The run does not exist any more.
    Gone,
}
