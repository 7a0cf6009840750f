//! Watches runs that are not closed, and keeps one driver for each. A driver that breaks is started again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::told::Tell;
use super::{Context, drive};
use crate::api::LABEL_CUTOVER;
use crate::api::run::{CutoverRun, CutoverRunSpec, RunStatus};
use crate::net::watch::{Named, watch as watch_for_ever};
use crate::net::watches::Watches;
use crate::pilot::run::{End, panic_text, unreadable_run};
use crate::publish::About;

/// Objects of one page of a list: all of a page are in memory at a time.
const PAGE: u32 = 25;
/// Pauses before a broken driver is started again.
const RESTART: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Left to a driver to end by itself once its run is not active any more.
const AFTER_LEFT: Duration = Duration::from_secs(5);

/// What the controller hears of active runs.
#[derive(Clone, Debug)]
pub enum RunSeen {
    /// It is not closed.
    Active(Arc<CutoverRun>),
    /// It closed, or is gone.
    Left(Arc<CutoverRun>),
    /// All that are not closed have been told.
    Listed,
}

/// Where an operator looks: everywhere, or in some namespaces only.
#[derive(Clone, Debug, Default)]
pub struct Namespaces(pub Vec<String>);

impl Namespaces {
    /// One API for each watch that is needed.
    pub fn apis<K>(&self, client: &kube::Client) -> Vec<Api<K>>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        if self.0.is_empty() {
            vec![Api::all(client.clone())]
        } else {
            self.0.iter().map(|n| Api::namespaced(client.clone(), n)).collect()
        }
    }
}

struct Driven {
    /// Which run it is; nothing that is large.
    run: Arc<CutoverRun>,
    stop: CancellationToken,
    broken: u32,
}

/// Watches until `stop`, and drives while `leads` says so; then waits for the drivers to end. One that follows knows the
/// active runs all the same, so that it drives them at once when it comes to lead. One that leads no more drops its drivers
/// as they are, with whatever they have under way.
pub async fn run(
    cx: Arc<Context>,
    namespaces: Namespaces,
    tell: Tell,
    mut leads: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let mut streams = watches(&cx.client, &namespaces, cx.meter.watches());
    let mut lists: Vec<Option<HashMap<String, Arc<CutoverRun>>>> =
        streams.iter().map(|_| Some(HashMap::new())).collect();
    let mut known: HashMap<String, (usize, Arc<CutoverRun>)> = HashMap::new();
    let mut driven: HashMap<String, Driven> = HashMap::new();
    let mut drivers: JoinSet<(String, Result<End, String>)> = JoinSet::new();
    // Runs that are over, whose driver is not: it has the last word about them.
    let mut leaving: HashMap<String, RunSeen> = HashMap::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Ok(()) = leads.changed() => {
                if *leads.borrow_and_update() {
                    for (_, run) in known.values() {
                        begin(&cx, &mut drivers, &mut driven, run, &stop);
                    }
                } else {
                    drivers = JoinSet::new();
                    driven.drain().for_each(|(uid, _)| cx.meter.left(&uid));
                    leaving.drain().for_each(|(_, seen)| tell.tell(seen));
                    cx.meter.active(0);
                }
            }
            Some(ended) = drivers.join_next() => {
                // A driver's panic is caught inside its task; the task itself does not fail.
                let Ok((uid, how)) = ended else { continue };
                match how {
                    Ok(End::Closed | End::Gone | End::Stopped) => {
                        driven.remove(&uid);
                        leaving.remove(&uid).into_iter().for_each(|seen| tell.tell(seen));
                        cx.meter.left(&uid);
                    }
                    Err(why) => if let Some(d) = driven.get_mut(&uid) {
                        cx.meter.panicked();
                        d.broken += 1;
                        let pause = (RESTART.0 * d.broken).min(RESTART.1);
                        tracing::error!(namespace = ?d.run.metadata.namespace, cutover = d.run.spec.cutover, run = %d.run.name_any(), "a driver broke: {why}; it starts again in {pause:?}");
                        start(&cx, &mut drivers, &uid, d, d.run.clone(), pause);
                    }
                }
                cx.meter.active(driven.len());
            }
            Some((index, event)) = streams.next() => {
                let mut heard = vec![];
                match event {
                    Ok(event) => take_in(&cx, index, event, &mut lists, &mut known, &mut heard),
                    Err(e) => tracing::warn!(error = %e, "the watch of runs failed"),
                }
                for seen in heard {
                    if let RunSeen::Active(run) = &seen {
                        // Opened again meanwhile.
                        run.uid().and_then(|uid| leaving.remove(&uid));
                    }
                    if let RunSeen::Active(run) = &seen
                        && *leads.borrow()
                    {
                        begin(&cx, &mut drivers, &mut driven, run, &stop);
                    }
                    if let RunSeen::Left(run) = &seen
                        && let Some(uid) = run.uid()
                        && let Some(d) = driven.get(&uid)
                    {
                        // Mostly the driver's own doing; one whose run was taken away by force ends here.
                        let stop = d.stop.clone();
                        tokio::spawn(async move {
                            tokio::time::sleep(AFTER_LEFT).await;
                            stop.cancel();
                        });
                        // The driver takes the finalizer away: a look at this moment would try the same.
                        leaving.insert(uid, seen);
                    } else {
                        tell.tell(seen);
                    }
                }
            }
        }
    }
    for d in driven.values() {
        d.stop.cancel();
    }
    while drivers.join_next().await.is_some() {}
}

/// Starts the driver of a run, unless it has one.
fn begin(
    cx: &Arc<Context>,
    drivers: &mut JoinSet<(String, Result<End, String>)>,
    driven: &mut HashMap<String, Driven>,
    run: &Arc<CutoverRun>,
    stop: &CancellationToken,
) {
    if let Entry::Vacant(slot) = driven.entry(run.uid().unwrap_or_default()) {
        let spec = CutoverRunSpec { plan: serde_json::Value::Null, ..run.spec.clone() };
        let slim = CutoverRun { metadata: run.metadata.clone(), spec, status: Some(RunStatus::default()) };
        let d = Driven { run: Arc::new(slim), stop: stop.child_token(), broken: 0 };
        start(cx, drivers, slot.key(), &d, run.clone(), Duration::ZERO);
        slot.insert(d);
        cx.meter.active(driven.len());
    }
}

fn start(
    cx: &Arc<Context>,
    drivers: &mut JoinSet<(String, Result<End, String>)>,
    uid: &str,
    d: &Driven,
    run: Arc<CutoverRun>,
    pause: Duration,
) {
    let (cx, uid, stop) = (cx.clone(), uid.to_owned(), d.stop.clone());
    // Everything that is logged about the run carries these, whatever the filter.
    let (namespace, cutover) = (run.namespace().unwrap_or_default(), &run.spec.cutover);
    let span = tracing::error_span!("run", namespace, cutover, run = run.name_any());
    let task = async move {
        tokio::select! {
            () = stop.cancelled() => return (uid, Ok(End::Stopped)),
            () = tokio::time::sleep(pause) => {}
        }
        tracing::info!("driving");
        let task = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(drive(cx, &run, stop)));
        let end = task.await.map_err(|panic| panic_text(panic.as_ref()));
        tracing::info!(?end, "driver ended");
        (uid, end)
    };
    drivers.spawn(task.instrument(span));
}

type Stream = BoxStream<'static, (usize, Result<Event<DeserializeGuard<CutoverRun>>, watcher::Error>)>;

fn watches(client: &kube::Client, namespaces: &Namespaces, board: &Watches) -> SelectAll<Stream> {
    let (config, named) = (watched().fields("status.state!=Closed"), Named::needed("runs"));
    let streams =
        namespaces.apis::<DeserializeGuard<CutoverRun>>(client).into_iter().enumerate().map(|(index, api)| {
            watch_for_ever(board, api, config.clone(), &named).map(move |event| (index, event)).boxed()
        });
    futures::stream::select_all(streams)
}

/// How a kind of our own is listed and watched.
pub fn watched() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

fn take_in(
    cx: &Context,
    index: usize,
    event: Event<DeserializeGuard<CutoverRun>>,
    lists: &mut [Option<HashMap<String, Arc<CutoverRun>>>],
    known: &mut HashMap<String, (usize, Arc<CutoverRun>)>,
    heard: &mut Vec<RunSeen>,
) {
    match event {
        Event::Apply(guard) => {
            if let Some(run) = readable(cx, guard) {
                known.insert(run.uid().unwrap_or_default(), (index, run.clone()));
                heard.push(RunSeen::Active(run));
            }
        }
        Event::Delete(guard) => {
            if let Some(run) = readable(cx, guard) {
                known.remove(&run.uid().unwrap_or_default());
                heard.push(RunSeen::Left(run));
            }
        }
        Event::Init => {
            if let Some(list) = lists.get_mut(index) {
                *list = Some(HashMap::new());
            }
        }
        Event::InitApply(guard) => {
            if let (Some(run), Some(Some(list))) = (readable(cx, guard), lists.get_mut(index)) {
                list.insert(run.uid().unwrap_or_default(), run);
            }
        }
        Event::InitDone => {
            let Some(list) = lists.get_mut(index).and_then(Option::take) else { return };
            let gone: Vec<String> = known
                .iter()
                .filter(|(uid, (i, _))| *i == index && !list.contains_key(*uid))
                .map(|(u, _)| u.clone())
                .collect();
            for uid in gone {
                if let Some((_, run)) = known.remove(&uid) {
                    heard.push(RunSeen::Left(run));
                }
            }
            for (uid, run) in list {
                known.insert(uid, (index, run.clone()));
                heard.push(RunSeen::Active(run));
            }
            if lists.iter().all(Option::is_none) {
                heard.push(RunSeen::Listed);
            }
        }
    }
}

/// One run that cannot be read does not stop the others. It is told, and nothing of it is done.
fn readable(cx: &Context, guard: DeserializeGuard<CutoverRun>) -> Option<Arc<CutoverRun>> {
    let unreadable = match guard.0 {
        Ok(run) => return Some(Arc::new(run)),
        Err(unreadable) => unreadable,
    };
    let ObjectMeta { name, namespace, uid, labels, .. } = unreadable.metadata;
    let name = name.unwrap_or_default();
    let about = About {
        namespace: namespace.unwrap_or_default(),
        cutover: labels.unwrap_or_default().remove(LABEL_CUTOVER).unwrap_or_else(|| name.clone()),
        run: Some((name, uid.unwrap_or_default())),
        ..About::default()
    };
    cx.publisher.publish(&about, &unreadable_run(&unreadable.error));
    None
}
