//! The shell of the Cutover kind: watches, remembers what they show, and carries out what each look orders
//! ([`crate::pilot::cutover`]). Decides nothing. An idle Cutover costs no request: it is looked at only when something about
//! it changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{BoxStream, select_all};
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::api::decision::CutoverDecision;
use crate::api::template::{ClusterCutoverTemplate, CutoverTemplate, TemplateKind};
use crate::driver::manager::{Namespaces, RunSeen, watched};
use crate::driver::told::Told;
use crate::meter::Meter;
use crate::net::identity::Identity;
use crate::net::watch::{Named, watch as watch_for_ever};
use crate::observe::Observer;
use crate::pilot::cutover::{
    Class, Digest, Due, Failure, Key, Known, Look, Order, Reply, Request, Selector, Setup, WatchEvent, key_of,
};
use crate::publish::{About, Publisher};
use crate::threads::Threads;

mod carry;
mod queue;
pub(crate) mod sweep;
mod templates;

pub(crate) use carry::operator_name;
use queue::Queue;
use templates::Templates;

/// Looks under way at the same time.
const AT_ONCE: usize = 16;

/// What all looks share.
pub struct Controller {
    client: kube::Client,
    identity: Identity,
    publisher: Publisher,
    meter: Meter,
    observer: Observer,
    setup: Arc<Setup>,
    /// Where looks think.
    threads: Threads,
    known: Mutex<Known>,
    /// By namespace: whose turn it is to start a run.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Controller {
    /// With the operator's own client. `observer`: what reads for runs, and finds the same.
    pub fn new(
        client: kube::Client,
        identity: Identity,
        publisher: Publisher,
        meter: Meter,
        observer: Observer,
        setup: Setup,
        threads: Threads,
    ) -> Self {
        let (setup, known, turns) = (Arc::new(setup), Mutex::default(), Mutex::default());
        Self { client, identity, publisher, meter, observer, setup, threads, known, turns }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns_in(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(namespace.to_owned()).or_default().clone()
    }
}

enum WatchResult {
    Cutover(usize, Box<watcher::Result<Event<Digest>>>),
    Decision(usize, Box<watcher::Result<Event<DeserializeGuard<CutoverDecision>>>>),
    Service(Box<watcher::Result<Event<Service>>>),
    Template(Box<watcher::Result<Event<PartialObjectMeta<CutoverTemplate>>>>),
    ClusterTemplate(Box<watcher::Result<Event<PartialObjectMeta<ClusterCutoverTemplate>>>>),
}

/// Watches until `stop`, and looks while `leads` says so. One that follows knows all the same what there is to be looked at.
pub async fn run(
    cx: Arc<Controller>,
    namespaces: Namespaces,
    mut runs: Told,
    mut leads: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let (config, board) = (watched(), cx.meter.watches());
    let mut watches: Vec<BoxStream<'static, WatchResult>> = vec![];
    for (index, api) in namespaces.apis::<Digest>(&cx.client).into_iter().enumerate() {
        let watch = watch_for_ever(board, api, config.clone(), &Named::needed("cutovers"));
        watches.push(watch.map(move |event| WatchResult::Cutover(index, Box::new(event))).boxed());
    }
    let cutover_lists = watches.len();
    // Answered ones are of no interest, and there may be many of them.
    let open = config.fields("status.state!=Answered");
    for (index, api) in namespaces.apis::<DeserializeGuard<CutoverDecision>>(&cx.client).into_iter().enumerate() {
        let watch = watch_for_ever(board, api, open.clone(), &Named::needed("decisions"));
        watches.push(watch.map(move |event| WatchResult::Decision(index, Box::new(event))).boxed());
    }
    let decision_lists = watches.len() - cutover_lists;
    // No look waits for these: without the right to watch a kind, its changes are seen by the next change of a Cutover, or by
    // the next look at one that is stuck.
    for api in namespaces.apis::<PartialObjectMeta<CutoverTemplate>>(&cx.client) {
        let watch = watch_for_ever(board, api, watched(), &Named::optional("templates"));
        watches.push(watch.map(|event| WatchResult::Template(Box::new(event))).boxed());
    }
    let api: Api<PartialObjectMeta<ClusterCutoverTemplate>> = Api::all(cx.client.clone());
    let watch = watch_for_ever(board, api, watched(), &Named::optional("cluster templates"));
    watches.push(watch.map(|event| WatchResult::ClusterTemplate(Box::new(event))).boxed());
    for api in namespaces.apis::<Service>(&cx.client) {
        let watch = watch_for_ever(board, api, watched(), &Named::optional("Services"));
        watches.push(watch.map(|event| WatchResult::Service(Box::new(event))).boxed());
    }
    let mut templates = Templates::default();
    // Nothing is looked at before all Cutovers, decisions and active runs are known.
    let mut lists_missing = (cutover_lists, decision_lists, true);
    let mut watches = select_all(watches);
    let mut queue = Queue::default();
    let mut looks: JoinSet<(Key, Option<Duration>)> = JoinSet::new();
    loop {
        let may_look = lists_missing == (0, 0, false) && *leads.borrow();
        while may_look && looks.len() < AT_ONCE {
            let Some(key) = queue.take() else { break };
            let span = tracing::error_span!("look", namespace = %key.namespace, cutover = %key.name);
            looks.spawn(guarded(cx.clone(), key).instrument(span));
        }
        let alarm = queue.next().filter(|_| may_look && looks.len() < AT_ONCE);
        tokio::select! {
            () = stop.cancelled() => break,
            Ok(()) = leads.changed() => {
                if !*leads.borrow() {
                    looks = JoinSet::new();
                    queue.broken_off();
                }
            }
            Some(ended) = looks.join_next() => {
                let Ok((key, again)) = ended else { continue };
                let known = cx.known();
                queue.done(key.clone(), again, |version| known.is_known(&key, version));
            }
            all = runs.next() => for seen in all {
                match seen {
                    RunSeen::Active(run) => see(&cx, WatchEvent::Active(run), &mut queue, &leads),
                    RunSeen::Left(run) => see(&cx, WatchEvent::Left(run), &mut queue, &leads),
                    RunSeen::Listed => lists_missing.2 = false,
                }
            },
            Some(heard) = watches.next() => match heard {
                WatchResult::Cutover(watch, event) => match *event {
                    Ok(event) => {
                        if matches!(event, Event::InitDone) {
                            lists_missing.0 = lists_missing.0.saturating_sub(1);
                        }
                        see(&cx, of_cutover(watch, event), &mut queue, &leads);
                    }
                    Err(e) => tracing::warn!(error = %e, "the watch of Cutovers failed"),
                },
                WatchResult::Decision(watch, event) => match *event {
                    Ok(event) => {
                        if matches!(event, Event::InitDone) {
                            lists_missing.1 = lists_missing.1.saturating_sub(1);
                        }
                        if let Some(sight) = of_decision(watch, event) {
                            see(&cx, sight, &mut queue, &leads);
                        }
                    }
                    Err(e) => tracing::warn!(error = %e, "the watch of decisions failed"),
                },
                WatchResult::Service(event) => match *event {
                    Ok(Event::Apply(service) | Event::InitApply(service)) => {
                        let asks = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
                        see(&cx, of_service(&service, Some(asks)), &mut queue, &leads);
                    }
                    Ok(Event::Delete(service)) => see(&cx, of_service(&service, None), &mut queue, &leads),
                    Ok(Event::Init | Event::InitDone) => {}
                    Err(e) => tracing::warn!(error = %e, "the watch of Services failed"),
                },
                WatchResult::Template(event) => match *event {
                    Ok(event) => templates
                        .changed(TemplateKind::CutoverTemplate, event)
                        .into_iter()
                        .for_each(|key| see(&cx, WatchEvent::Template(key), &mut queue, &leads)),
                    Err(e) => tracing::warn!(error = %e, "the watch of templates failed"),
                },
                WatchResult::ClusterTemplate(event) => match *event {
                    Ok(event) => templates
                        .changed(TemplateKind::ClusterCutoverTemplate, event)
                        .into_iter()
                        .for_each(|key| see(&cx, WatchEvent::Template(key), &mut queue, &leads)),
                    Err(e) => tracing::warn!(error = %e, "the watch of cluster templates failed"),
                },
            },
            () = until(alarm) => {}
        }
    }
    // A look is a few calls of at most 2 s; each leaves a state from which the next one goes on.
    let end = tokio::time::Instant::now() + Duration::from_secs(5);
    while let Ok(Some(_)) = tokio::time::timeout_at(end, looks.join_next()).await {}
}

async fn until(alarm: Option<tokio::time::Instant>) {
    match alarm {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A look whose panic is an error of that Cutover alone. When to look again although nothing is heard.
async fn guarded(cx: Arc<Controller>, key: Key) -> (Key, Option<Duration>) {
    let look = std::panic::AssertUnwindSafe(look(&cx, &key)).catch_unwind().await;
    let result = look.unwrap_or_else(|_| {
        cx.meter.panicked();
        Err(Failure::new(Class::Invalid, "a defect: looking at the Cutover panicked"))
    });
    let again = cx.known().ended(&key, result.as_ref().map(|again| *again).map_err(|failure| failure.class));
    if let Err(failure) = result.as_ref()
        && failure.class != Class::Conflict
    {
        tracing::warn!(namespace = %key.namespace, cutover = %key.name, error = %failure, pause = ?again.unwrap_or_default(), "a look failed");
    }
    (key, again)
}

/// Carries out what a look orders, until it is over.
async fn look(cx: &Controller, key: &Key) -> Result<Option<Duration>, Failure> {
    let seen = cx.known().seen(key);
    let mut look = Look::begin(cx.setup.clone(), key.clone(), seen);
    let mut turn: Option<tokio::sync::OwnedMutexGuard<()>> = None;
    loop {
        let think = move || {
            let orders = look.next(Timestamp::now());
            (look, orders)
        };
        let orders;
        (look, orders) = cx.threads.run(&key.namespace, think).await;
        for order in orders {
            match order {
                Order::Remember(memo) => cx.known().remember(key, memo),
                Order::Tell { uid, note } => {
                    let (namespace, cutover) = (key.namespace.clone(), key.name.clone());
                    let cutover_uid = uid.unwrap_or_default();
                    cx.publisher.publish(&About { namespace, cutover, cutover_uid, ..About::default() }, &note);
                }
                Order::EndTurn => drop(turn.take()),
                Order::Do(Request::Turn) => {
                    turn = Some(cx.turns_in(&key.namespace).lock_owned().await);
                    look.hear(Ok(Reply::Done));
                }
                Order::Do(request) => {
                    let reply = carry::carry(cx, key, request).await;
                    look.hear(reply);
                }
                Order::Done(result) => return result,
            }
        }
    }
}

fn of_service(service: &Service, asks: Option<Selector>) -> WatchEvent {
    WatchEvent::Service(service.namespace().unwrap_or_default(), service.name_any(), asks)
}

/// Takes in what a watch shows.
fn see(cx: &Controller, sight: WatchEvent, queue: &mut Queue, leads: &watch::Receiver<bool>) {
    for due in cx.known().see(sight, *leads.borrow()) {
        match due {
            Due::Now(key) => queue.now(key),
            Due::Changed(key, version) => queue.changed(key, version),
            Due::Soon(key) => queue.soon(key),
            Due::Never(key) => queue.forget(&key),
        }
    }
}

fn of_cutover(watch: usize, event: Event<Digest>) -> WatchEvent {
    match event {
        Event::Apply(digest) | Event::InitApply(digest) => WatchEvent::Cutover(watch, Box::new(digest)),
        Event::Delete(digest) => WatchEvent::CutoverGone(key_of(&digest)),
        Event::Init => WatchEvent::CutoversBegin(watch),
        Event::InitDone => WatchEvent::CutoversEnd(watch),
    }
}

/// None of a decision that cannot be read.
fn of_decision(watch: usize, event: Event<DeserializeGuard<CutoverDecision>>) -> Option<WatchEvent> {
    Some(match event {
        Event::Apply(guard) | Event::InitApply(guard) => WatchEvent::Decision(watch, Box::new(guard.0.ok()?)),
        // Gone, or answered.
        Event::Delete(guard) => {
            let uid = match guard.0 {
                Ok(decision) => decision.uid(),
                Err(unreadable) => unreadable.metadata.uid,
            };
            WatchEvent::DecisionGone(uid.unwrap_or_default())
        }
        Event::Init => WatchEvent::DecisionsBegin(watch),
        Event::InitDone => WatchEvent::DecisionsEnd(watch),
    })
}
