//! The Cutover kind: starts runs, projects the newest one to the Cutover's status, holds finalizers, prunes history.
//! Never touches a Service. An idle Cutover costs no request: it is looked at only when something about it changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{BoxStream, select_all};
use futures::{FutureExt, StreamExt};
use kube::api::{ListParams, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::act::call::{CallError, Class};
use crate::api::LABEL_CUTOVER;
use crate::api::decision::CutoverDecision;
use crate::api::template::{ClusterCutoverTemplate, CutoverTemplate, TemplateKind};
use crate::driver::manager::{Namespaces, RunSeen, Watched, is_whole, paced, watched};
use crate::meter::Meter;
use crate::net::identity::Identity;
use crate::plan::Offered;
use crate::publish::Publisher;

mod accepted;
mod access;
mod asked;
mod digest;
mod hear;
mod intent;
mod known;
mod prune;
mod queue;
mod reconcile;
mod reopen;
mod retired;
mod start;
mod templates;
mod words;

pub use access::operator_name;
use digest::Digest;
use known::{Known, News};
use queue::{Key, Queue};

/// Looks under way at the same time.
const AT_ONCE: usize = 16;
/// Pauses after looks that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// What all looks share.
pub struct Controller {
    client: kube::Client,
    identity: Identity,
    publisher: Publisher,
    meter: Meter,
    /// The operator's own user name.
    operator: String,
    /// Sources of metrics of the operator's configuration.
    offered: Offered,
    known: Known,
    starts: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Controller {
    /// With the operator's own client.
    pub fn new(
        client: kube::Client,
        identity: Identity,
        publisher: Publisher,
        meter: Meter,
        operator: String,
        offered: Offered,
    ) -> Self {
        let (known, starts) = (Known::default(), Mutex::default());
        Self { client, identity, publisher, meter, operator, offered, known, starts }
    }

    fn start_lock(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        locks.entry(namespace.to_owned()).or_default().clone()
    }
}

/// Selects the runs of a Cutover.
fn runs_of(cutover: &str) -> ListParams {
    ListParams::default().labels(&format!("{LABEL_CUTOVER}={cutover}"))
}

enum Heard {
    Cutover(usize, Box<watcher::Result<Event<Digest>>>),
    Decision(usize, Box<watcher::Result<Event<DeserializeGuard<CutoverDecision>>>>),
    Template(Box<watcher::Result<Event<PartialObjectMeta<CutoverTemplate>>>>),
    ClusterTemplate(Box<watcher::Result<Event<PartialObjectMeta<ClusterCutoverTemplate>>>>),
}

/// Watches until `stop`, and looks while `leads` says so. One that follows knows all the same what there is to be looked at.
pub async fn run(
    cx: Arc<Controller>,
    namespaces: Namespaces,
    health: Arc<dyn Watched>,
    mut runs: mpsc::Receiver<RunSeen>,
    mut leads: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let config = watched();
    let mut watches: Vec<BoxStream<'static, Heard>> = vec![];
    for (index, api) in namespaces.apis::<Digest>(&cx.client).into_iter().enumerate() {
        let watch = paced(watcher(api, config.clone()));
        watches.push(watch.map(move |event| Heard::Cutover(index, Box::new(event))).boxed());
    }
    let cutover_lists = watches.len();
    // Answered ones are of no interest, and there may be many of them.
    let open = config.fields("status.state!=Answered");
    for (index, api) in namespaces.apis::<DeserializeGuard<CutoverDecision>>(&cx.client).into_iter().enumerate() {
        let watch = paced(watcher(api, open.clone()));
        watches.push(watch.map(move |event| Heard::Decision(index, Box::new(event))).boxed());
    }
    let decision_lists = watches.len() - cutover_lists;
    // No look waits for these: without the right to watch a kind, its changes are seen by the next change of a Cutover.
    for api in namespaces.apis::<PartialObjectMeta<CutoverTemplate>>(&cx.client) {
        let watch = paced(watcher(api, watched()));
        watches.push(watch.map(|event| Heard::Template(Box::new(event))).boxed());
    }
    let api: Api<PartialObjectMeta<ClusterCutoverTemplate>> = Api::all(cx.client.clone());
    let watch = paced(watcher(api, watched()));
    watches.push(watch.map(|event| Heard::ClusterTemplate(Box::new(event))).boxed());
    let mut templates = accepted::Templates::default();
    // Nothing is looked at before all Cutovers, decisions and active runs are known.
    let mut lists_missing = (cutover_lists, decision_lists, true);
    let mut watches = select_all(watches);
    let mut queue = Queue::default();
    let mut looks: JoinSet<(Key, Result<Option<Duration>, CallError>)> = JoinSet::new();
    let mut failures: HashMap<Key, u32> = HashMap::new();
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
                let Ok((key, result)) = ended else { continue };
                let pause = after(&key, result, &mut failures);
                queue.done(key, pause);
            }
            Some(seen) = runs.recv() => match seen {
                RunSeen::Active(run) => {
                    let key = Key { namespace: run.namespace().unwrap_or_default(), name: run.spec.cutover.clone() };
                    cx.known.active(run);
                    queue.now(key);
                }
                RunSeen::Left(run) => {
                    cx.known.left(&run);
                    // Decisions that its driver has not answered, whichever Cutover they name.
                    cx.known.asked(|a| a.about(&run.uid().unwrap_or_default())).into_iter().for_each(|key| queue.now(key));
                    queue.now(Key { namespace: run.namespace().unwrap_or_default(), name: run.spec.cutover.clone() });
                }
                RunSeen::Listed => lists_missing.2 = false,
            },
            Some(heard) = watches.next() => match heard {
                Heard::Cutover(watch, event) => match *event {
                    Ok(event) => {
                        if is_whole(&event) {
                            health.alive("cutovers");
                        }
                        if matches!(event, Event::InitDone) {
                            lists_missing.0 = lists_missing.0.saturating_sub(1);
                        }
                        cutover_seen(&cx, watch, event, &mut queue, *leads.borrow());
                    }
                    Err(e) => {
                        health.failed("cutovers", &e.to_string());
                        tracing::warn!(error = %e, "the watch of Cutovers failed");
                    }
                },
                Heard::Decision(watch, event) => match *event {
                    Ok(event) => {
                        if is_whole(&event) {
                            health.alive("decisions");
                        }
                        if matches!(event, Event::InitDone) {
                            lists_missing.1 = lists_missing.1.saturating_sub(1);
                        }
                        decision_seen(&cx, watch, event, &mut queue);
                    }
                    Err(e) => {
                        health.failed("decisions", &e.to_string());
                        tracing::warn!(error = %e, "the watch of decisions failed");
                    }
                },
                Heard::Template(event) => match *event {
                    Ok(event) => recheck(&cx, templates.changed(TemplateKind::CutoverTemplate, event), &mut queue),
                    Err(e) => tracing::warn!(error = %e, "the watch of templates failed"),
                },
                Heard::ClusterTemplate(event) => match *event {
                    Ok(event) => recheck(&cx, templates.changed(TemplateKind::ClusterCutoverTemplate, event), &mut queue),
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

/// A look whose panic is an error of that Cutover alone.
async fn guarded(cx: Arc<Controller>, key: Key) -> (Key, Result<Option<Duration>, CallError>) {
    let look = std::panic::AssertUnwindSafe(reconcile::look(&cx, key.clone())).catch_unwind().await;
    let result = look.unwrap_or_else(|_| {
        cx.meter.panicked();
        Err(CallError::invalid("a defect: looking at the Cutover panicked"))
    });
    (key, result)
}

fn after(key: &Key, result: Result<Option<Duration>, CallError>, failures: &mut HashMap<Key, u32>) -> Option<Duration> {
    match result {
        Ok(pause) => {
            failures.remove(key);
            pause
        }
        // Somebody else wrote: look again with what stands there now.
        Err(e) if e.class == Class::Conflict => Some(Duration::from_millis(50)),
        Err(e) => {
            let count = failures.entry(key.clone()).or_default();
            *count = count.saturating_add(1);
            let pause = RETRY.0.saturating_mul(2u32.saturating_pow((*count - 1).min(8))).min(RETRY.1);
            tracing::warn!(namespace = %key.namespace, cutover = %key.name, error = %e, ?pause, "a look failed");
            Some(pause)
        }
    }
}

fn decision_seen(cx: &Controller, watch: usize, event: Event<DeserializeGuard<CutoverDecision>>, queue: &mut Queue) {
    match event {
        Event::Apply(guard) | Event::InitApply(guard) => {
            if let Ok(decision) = guard.0
                && let Some(key) = cx.known.asked(|a| a.seen(watch, &decision))
            {
                queue.now(key);
            }
        }
        // Gone, or answered.
        Event::Delete(guard) => {
            let uid = match guard.0 {
                Ok(decision) => decision.uid(),
                Err(unreadable) => unreadable.metadata.uid,
            };
            cx.known.asked(|a| a.answered(&uid.unwrap_or_default()));
        }
        Event::Init => cx.known.asked(|a| a.list_begins(watch)),
        Event::InitDone => cx.known.asked(|a| a.list_ended(watch)),
    }
}

/// The Cutovers that use a template are looked at.
fn recheck(cx: &Controller, template: Option<accepted::TemplateKey>, queue: &mut Queue) {
    template.iter().flat_map(|template| cx.known.users_of(template)).for_each(|key| queue.now(key));
}

fn cutover_seen(cx: &Controller, watch: usize, event: Event<Digest>, queue: &mut Queue, leads: bool) {
    let digest = match event {
        Event::Apply(digest) | Event::InitApply(digest) => digest,
        Event::Delete(digest) => {
            let key = key_of(&digest);
            cx.known.cutover_gone(&key);
            return queue.forget(&key);
        }
        Event::Init => return cx.known.list_begins(watch),
        Event::InitDone => return cx.known.list_ended(watch).iter().for_each(|key| queue.forget(key)),
    };
    let key = key_of(&digest);
    match cx.known.cutover(watch, &key, digest) {
        News::Some => queue.now(key),
        // The leader has looked.
        News::Quiet if !leads && !cx.known.asked(|a| a.is_asked(&key)) => queue.forget(&key),
        News::Quiet | News::Ours => {}
    }
}

fn key_of(digest: &Digest) -> Key {
    Key { namespace: digest.namespace().unwrap_or_default(), name: digest.name_any() }
}
