//! What becomes of all cells, seen by one watch of each kind for all of them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use cutover::api::{Cutover, CutoverRun};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch as changes;
use tokio::task::JoinHandle;

use crate::harness::Case;

/// Everything that was seen.
#[derive(Default)]
pub struct All {
    pub cutovers: BTreeMap<String, Cutover>,
    pub runs: BTreeMap<String, CutoverRun>,
    /// By Service: the sides that it pointed to, one after the other.
    pub ways: BTreeMap<String, Vec<String>>,
}

impl All {
    /// The runs of a Cutover, the first one first.
    pub fn runs_of(&self, cutover: &str) -> Vec<&CutoverRun> {
        let number = |r: &CutoverRun| r.name_any().rsplit('-').next().and_then(|n| n.parse::<u64>().ok());
        let mut runs: Vec<_> = self.runs.values().filter(|r| r.spec.cutover == cutover).collect();
        runs.sort_by_key(|r| number(r));
        runs
    }
}

/// The watches; they end with it.
pub struct Watching {
    all: Arc<Mutex<All>>,
    changed: changes::Receiver<u64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Watching {
    pub fn start(t: &Case) -> Self {
        let all = Arc::new(Mutex::new(All::default()));
        let (tell, changed) = changes::channel(0);
        let tell = Arc::new(tell);
        let tasks = vec![
            each::<Cutover>(t, &all, &tell, |all, name, cutover| match cutover {
                Some(cutover) => drop(all.cutovers.insert(name, cutover)),
                None => drop(all.cutovers.remove(&name)),
            }),
            each::<CutoverRun>(t, &all, &tell, |all, name, run| match run {
                Some(run) => drop(all.runs.insert(name, run)),
                None => drop(all.runs.remove(&name)),
            }),
            each::<Service>(t, &all, &tell, |all, name, service| {
                let selector = service.and_then(|s| s.spec).and_then(|s| s.selector).unwrap_or_default();
                let Some(side) = selector.get("side") else { return };
                let way = all.ways.entry(name).or_default();
                if way.last() != Some(side) {
                    way.push(side.clone());
                }
            }),
        ];
        Self { all, changed, tasks }
    }

    pub fn now(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is seen.
    pub async fn until<T>(&self, what: &str, bound: Duration, test: impl Fn(&All) -> Result<Option<T>>) -> Result<T> {
        let mut changed = self.changed.clone();
        let end = tokio::time::Instant::now() + bound;
        loop {
            if let Some(found) = test(&self.now())? {
                return Ok(found);
            }
            if tokio::time::timeout_at(end, changed.changed()).await.is_err() {
                bail!("{what}: not within {} s", bound.as_secs());
            }
        }
    }

    /// Waits until what `look` gives has stood for `quiet`; at most for `bound`, and then gives what it is.
    pub async fn settled<T: PartialEq>(
        &self,
        quiet: Duration,
        bound: Duration,
        look: impl Fn(&All) -> (bool, T),
    ) -> (bool, T) {
        let mut changed = self.changed.clone();
        let end = tokio::time::Instant::now() + bound;
        let (mut last, mut since) = (look(&self.now()), tokio::time::Instant::now());
        loop {
            let now = tokio::time::Instant::now();
            if now >= end || (last.0 && now >= since + quiet) {
                return last;
            }
            let until = if last.0 { (since + quiet).min(end) } else { end };
            // What is waited for is either a change or the end of the time in which there was none.
            let _ = tokio::time::timeout_at(until, changed.changed()).await;
            let seen = look(&self.now());
            if seen != last {
                (last, since) = (seen, tokio::time::Instant::now());
            }
        }
    }
}

fn each<K>(
    t: &Case,
    all: &Arc<Mutex<All>>,
    tell: &Arc<changes::Sender<u64>>,
    take: fn(&mut All, String, Option<K>),
) -> JoinHandle<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let (all, tell, api) = (all.clone(), tell.clone(), t.api::<K>());
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(watch(api, watcher::Config::default()).default_backoff());
        while let Some(event) = stream.next().await {
            let mut seen = all.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => {
                    take(&mut seen, object.name_any(), Some(object));
                }
                Ok(Event::Delete(object)) => take(&mut seen, object.name_any(), None),
                // The watch begins again by itself.
                Ok(Event::Init | Event::InitDone) | Err(_) => {}
            }
            drop(seen);
            tell.send_modify(|n| *n += 1);
        }
    })
}

type NamespaceScope = kube::core::NamespaceResourceScope;
