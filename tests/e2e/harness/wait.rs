//! Waiting: by watch, never by sleeping, and never without a bound.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::StreamExt;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// Watches all objects of an API until `test` gives an answer, which it may refuse with an error.
pub async fn until<K, T>(
    api: Api<K>,
    what: &str,
    bound: Duration,
    mut test: impl FnMut(&BTreeMap<String, K>) -> Result<Option<T>>,
) -> Result<T>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut seen: BTreeMap<String, K> = BTreeMap::new();
    let mut known = false;
    let end = tokio::time::Instant::now() + bound;
    let mut stream = std::pin::pin!(watch(api, watcher::Config::default()).default_backoff());
    loop {
        // Even when nothing happens the test is asked each second: it may see that the operator has ended.
        let slice = end.min(tokio::time::Instant::now() + Duration::from_secs(1));
        let event = tokio::time::timeout_at(slice, stream.next()).await;
        if event.is_err() && tokio::time::Instant::now() >= end {
            bail!("{what}: not within {} s", bound.as_secs());
        }
        match event {
            Err(_) => {}
            Ok(Some(Ok(Event::Init))) => {
                seen.clear();
                known = false;
            }
            Ok(Some(Ok(Event::InitApply(object)))) => {
                seen.insert(object.name_any(), object);
            }
            Ok(Some(Ok(Event::InitDone))) => known = true,
            Ok(Some(Ok(Event::Apply(object)))) => {
                seen.insert(object.name_any(), object);
            }
            Ok(Some(Ok(Event::Delete(object)))) => {
                seen.remove(&object.name_any());
            }
            // The watch begins again by itself; the bound ends it.
            Ok(Some(Err(_))) => {}
            Ok(None) => bail!("{what}: the watch ended"),
        }
        if known && let Some(answer) = test(&seen)? {
            return Ok(answer);
        }
    }
}

/// Asks again and again at a steady pace, for what has no watch (an HTTP answer, a file).
pub async fn poll<T>(what: &str, bound: Duration, mut test: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let end = tokio::time::Instant::now() + bound;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    loop {
        pace.tick().await;
        if let Some(answer) = test().await? {
            return Ok(answer);
        }
        if tokio::time::Instant::now() >= end {
            bail!("{what}: not within {} s", bound.as_secs());
        }
    }
}
