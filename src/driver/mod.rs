//! One task for each run that is not closed: the shell around the run's pilot ([`crate::pilot::run`]). It hears, asks what is
//! to be done, and carries that out. What takes long runs in child tasks that answer into the mailbox; the driver itself
//! awaits only API calls of at most 2 s, and its pilot, which thinks on the threads of its namespace
//! ([`crate::threads`]). It decides nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::act::Actor;
use crate::api::run::CutoverRun;
use crate::effect::ReadKey;
use crate::observe::Observer;
use crate::pilot::run::{End, Ground, Heard, Now, Order, Pace, Pilot, Put, Sink, Telling, Then};

use crate::meter::{Meter, Whose};
use crate::publish::{About, Publisher, Receipt, say};
use crate::threads::Threads;
use crate::traces::Traces;

mod mailbox;
pub mod manager;
pub mod record;
mod tasks;
pub(crate) mod told;

use mailbox::{Mailbox, Post};
use record::Record;

/// Pauses between readings of a run that cannot be read.
const OPEN_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What drivers share.
pub struct Context {
    /// The operator's own client.
    pub client: kube::Client,
    /// Carries out effects.
    pub actor: Actor,
    /// Reads.
    pub(crate) observer: Observer,
    /// Tells notes.
    pub(crate) publisher: Publisher,
    /// Counts.
    pub meter: Meter,
    /// Takes the traces of closed runs.
    pub traces: Traces,
    /// Where pilots decide.
    pub threads: Threads,
}

/// The clocks of this process.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> Now {
        Now { wall: Timestamp::now(), ticks: self.0.elapsed() }
    }
}

/// The driver of one run.
struct Driver {
    cx: Arc<Context>,
    stop: CancellationToken,
    clock: Clock,
    record: Record,
    about: About,
    mailbox: Mailbox,
    post: Post,
    tasks: JoinSet<()>,
    /// Reads under way.
    reads: HashMap<ReadKey, AbortHandle>,
}

/// Drives a run until it is closed, gone, or the operator stops. `seen`: as the watch has shown it.
pub async fn drive(cx: Arc<Context>, seen: &CutoverRun, stop: CancellationToken) -> End {
    let (namespace, name) = (&*seen.namespace().unwrap_or_default(), &*seen.name_any());
    let uid = &*seen.uid().unwrap_or_default();
    let mut pause = OPEN_AGAIN.0;
    let mut found = Record::unwritten(cx.client.clone(), seen);
    let record = loop {
        if let Some(record) = found.take() {
            break record;
        }
        match Record::open(cx.client.clone(), namespace, name, uid).await {
            Ok(Some(record)) => break record,
            Ok(None) => return End::Gone,
            Err(e) => tracing::warn!(error = %e, "the run cannot be read"),
        }
        tokio::select! {
            () = stop.cancelled() => return End::Stopped,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(OPEN_AGAIN.1),
        }
    };
    let clock = Clock(Instant::now());
    let about = about(record.run(), namespace);
    let (run, pace) = (record.run().clone(), Pace::of(uid));
    let opened = cx.threads.run(namespace, move || Pilot::open(&run, clock.now(), pace).map(Box::new)).await;
    match opened {
        Ok(pilot) => Driver::new(cx, stop, clock, record, about, &pilot).run(pilot).await,
        Err(unreadable) => {
            cx.publisher.publish(&about, &unreadable);
            stop.cancelled().await;
            End::Stopped
        }
    }
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
    fn new(
        cx: Arc<Context>,
        stop: CancellationToken,
        clock: Clock,
        record: Record,
        about: About,
        pilot: &Pilot,
    ) -> Self {
        // Before anything is read: what changes from then on is heard.
        let (post, mailbox) = mailbox::mailbox(cx.observer.feed(&pilot.scope(), pilot.plan()));
        Self { cx, stop, clock, record, about, mailbox, post, tasks: JoinSet::new(), reads: HashMap::new() }
    }

    async fn run(mut self, mut pilot: Box<Pilot>) -> End {
        let mut stopping = false;
        let mut heard = vec![];
        loop {
            let letters = self.mailbox.take();
            letters.iter().for_each(|letter| self.take_off(letter));
            let (clock, now, mail) = (self.clock, self.clock.now(), std::mem::take(&mut heard));
            let think = move || {
                mail.into_iter().chain(letters).for_each(|heard| pilot.hear(heard, now));
                let next = pilot.next(clock.now());
                (pilot, next)
            };
            let next;
            (pilot, next) = self.cx.threads.run(&self.about.namespace, think).await;
            next.orders.into_iter().for_each(|order| self.carry_out(&pilot, order));
            match next.then {
                Then::Put { journal, within } => {
                    let put = self.record.put(*journal, within).await;
                    self.count(&put);
                    heard.push(Heard::Put(put));
                }
                Then::Reread => heard.push(Heard::Read(self.record.read().await)),
                Then::Authorise => heard.push(Heard::Authority(self.record.look().await)),
                Then::Release => heard.push(Heard::Released(self.record.release().await.is_ok())),
                Then::End(end) => return end,
                Then::Sleep(alarm) => {
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled(), if !stopping => {
                            stopping = true;
                            heard.push(Heard::Stopping);
                        }
                        () = self.mailbox.wait() => {}
                        Some(_) = self.tasks.join_next() => {}
                        () = tokio::time::sleep_until(self.clock.0 + alarm) => {}
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, pilot: &Pilot, order: Order) {
        match order {
            Order::Act(effect, ground) => {
                if ground == Ground::Switch {
                    tracing::info!(effect = %effect.get().key(), "restoring by the claim of the switch");
                }
                self.act(pilot.scope(), effect);
            }
            Order::Read(key, read) => self.read(pilot.scope(), key, read),
            Order::Refresh { key, jobs } => self.refresh(pilot, key, jobs),
            Order::Drop(key) => {
                if let Some(task) = self.reads.remove(&key) {
                    task.abort();
                }
            }
            Order::Tell(telling) => self.tell(&telling),
            Order::Measure(progress) => {
                let uid = self.about.run.as_ref().map_or("", |(_, uid)| uid);
                let whose = Whose { namespace: &self.about.namespace, cutover: &self.about.cutover };
                self.cx.meter.journal(uid, whose, &progress.plan, &progress.before, &progress.after);
                if progress.closed {
                    self.cx.traces.send(|| crate::spans::of(self.record.run(), &progress.plan, &progress.after));
                }
            }
            Order::Panicked => self.cx.meter.panicked(),
            Order::Cut => tracing::warn!("the journal is full: evidence of the oldest steps is dropped"),
        }
    }

    fn tell(&self, telling: &Telling) {
        let entry = telling.delivery.as_ref().map(|delivery| delivery.entry.clone());
        let about = About { step: telling.step.clone(), entry, ..self.about.clone() };
        if !telling.again {
            say(&about, &telling.note);
        }
        let receipt = telling.delivery.clone().map(|delivery| -> Receipt {
            let post = self.post.letters.clone();
            // Without room it is not heard: the entry stays open, and the next process tells it again under the same name.
            Box::new(move |received| drop(post.try_send(Heard::Told { delivery, received })))
        });
        match telling.delivery.as_ref().map_or(Sink::Events, |delivery| delivery.sink) {
            Sink::Events => self.cx.publisher.send(&about, &telling.note, receipt),
        }
    }

    fn count(&self, put: &Put) {
        self.cx.meter.claim(match put {
            Put::Written => "written",
            Put::Conflict => "conflict",
            Put::Failed { .. } => "failed",
            Put::Gone => return,
        });
    }
}
