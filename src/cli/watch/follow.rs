//! The watches behind the screen: one connection for each kind, begun anew with a growing pause where it is lost.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use kube::Api;
use kube::runtime::watcher::{self, Config, Error, watcher};

use super::store::{Heard, Part, Told};
use crate::cli::cluster::{Cluster, Kind};
use crate::cli::exit::Failure;
use crate::cli::rights::{OURS, READ, Right};
use crate::cli::text::harmless;

/// The API server ends a watch after this many seconds, and the watch begins another one.
const SECONDS: u32 = 40;
/// A connection that is silent for longer is dead: the API server would have ended the watch by then.
pub(crate) const SILENT: Duration = Duration::from_secs(45);
/// Pauses between tries: the first, and the longest that doubling it leads to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What `watch` may ask. It lists, too: that is how a watch begins.
pub(crate) const RIGHTS: [Right; 17] = [
    READ[0],
    READ[1],
    READ[2],
    READ[3],
    Right::need("watch", OURS, "cutovers"),
    Right::need("watch", OURS, "cutoverruns"),
    Right::wish("list", "apps", "deployments"),
    Right::wish("watch", "apps", "deployments"),
    Right::wish("list", "apps", "statefulsets"),
    Right::wish("watch", "apps", "statefulsets"),
    Right::wish("list", "", "pods"),
    Right::wish("watch", "", "pods"),
    Right::wish("list", "", "events"),
    Right::wish("watch", "", "events"),
    // For the keys of the live screen.
    Right::wish("create", OURS, "cutoverdecisions"),
    Right::wish("get", OURS, "cutoverdecisions"),
    Right::wish("watch", OURS, "cutoverdecisions"),
];

/// All watches together.
pub(crate) struct Follow {
    streams: SelectAll<BoxStream<'static, Heard>>,
}

impl Follow {
    /// Begins to watch these.
    ///
    /// # Errors
    /// A right is not declared.
    pub(crate) fn begin(cluster: &Cluster, cutover: &str, parts: &[Part]) -> Result<Self, Failure> {
        let mut streams = SelectAll::new();
        let all = Config::default;
        for part in parts {
            streams.push(match part {
                Part::Cutover => one(cluster, *part, all().fields(&format!("metadata.name={cutover}")), Told::Cutover)?,
                Part::Runs => one(cluster, *part, all(), Told::Run)?,
                Part::Deployments => one(cluster, *part, all(), Told::Deployment)?,
                Part::StatefulSets => one(cluster, *part, all(), Told::StatefulSet)?,
                Part::Pods => one(cluster, *part, all(), Told::Pod)?,
                Part::Events => {
                    let about = format!("involvedObject.kind=Cutover,involvedObject.name={cutover}");
                    one(cluster, *part, all().fields(&about), Told::Event)?
                }
            });
        }
        Ok(Self { streams })
    }

    /// The next word of any watch; none once all have ended.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        self.streams.next().await
    }
}

struct Life<K> {
    part: Part,
    right: Right,
    told: fn(watcher::Event<K>) -> Told,
    api: Api<K>,
    config: Config,
    events: BoxStream<'static, watcher::Result<watcher::Event<K>>>,
    pause: Duration,
    /// Before the next event is asked for.
    wait: Option<Duration>,
    over: bool,
}

/// One watch.
fn one<K>(
    cluster: &Cluster,
    part: Part,
    config: Config,
    told: fn(watcher::Event<K>) -> Told,
) -> Result<BoxStream<'static, Heard>, Failure>
where
    K: Kind + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope> + Send + Sync + 'static,
{
    let (api, right) = cluster.api::<K>("watch", None, &cluster.namespace)?;
    let config = config.timeout(SECONDS);
    let events = watcher(api.clone(), config.clone()).boxed();
    let life = Life { part, right, told, api, config, events, pause: PAUSES.0, wait: None, over: false };
    Ok(stream::unfold(life, async |mut life: Life<K>| {
        if let Some(pause) = life.wait.take() {
            tokio::time::sleep(pause).await;
        }
        if life.over {
            return None;
        }
        match life.events.next().await? {
            Ok(event) => {
                if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
                    life.pause = PAUSES.0;
                }
                Some((Heard::Told(Box::new((life.told)(event))), life))
            }
            Err(error) if is_denied(&error) => {
                life.over = true;
                Some((Heard::Denied(life.part, life.right), life))
            }
            Err(error) => {
                // From the list on: that it comes says that the connection is back, and no place is asked for that the
                // API server has forgotten.
                life.events = watcher(life.api.clone(), life.config.clone()).boxed();
                life.wait = Some(life.pause);
                life.pause = (life.pause * 2).min(PAUSES.1);
                Some((Heard::Lost(life.part, why(&error)), life))
            }
        }
    })
    .boxed())
}

fn is_denied(error: &Error) -> bool {
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status))
        | Error::WatchError(status) => status.is_forbidden() && status.message.contains(" cannot "),
        Error::InitialListFailed(_) | Error::WatchStartFailed(_) | Error::WatchFailed(_) => false,
        Error::NoResourceVersion => false,
    }
}

/// The innermost reason: the outer ones say no more.
fn why(error: &Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    harmless::line(&last.to_string()).into_owned()
}
