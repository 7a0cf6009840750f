//! Pushes: whoever knows that something has changed, such as an Alertmanager or a pipeline, lets the run of a Cutover look at
//! once. Any replica takes them: it writes the annotation `cutover.dev/pushed-at` on the Cutover, which the one that drives
//! the run sees. A push says nothing that is believed; it only ends a pause.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::http::{Answers, serve};
use crate::api::run::RunState;
use crate::api::{ANNOTATION_PUSHED, Cutover, CutoverRun};

mod senders;

pub use senders::{Pushes, Sender};

pub(super) use senders::read;

/// A Cutover is pushed at most once in this time: more would look at the same again.
const PACE: Duration = Duration::from_secs(1);
/// Cutovers pushed within that time, at most.
const MOST: usize = 1000;
/// Longest body, in bytes. It is not looked at.
const BODY: usize = 1024 * 1024;
/// How long keys are remembered: whoever asks without one reads no file each time.
const KEYS: Duration = Duration::from_secs(5);
/// How long a request to the API server may take.
const CALL: Duration = Duration::from_secs(2);

/// Listens, if the configuration says so.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn start(pushes: Option<Pushes>, client: Client, stop: CancellationToken) -> anyhow::Result<()> {
    let Some(Pushes { listen, senders }) = pushes else { return Ok(()) };
    let at = || format!("pushes.listen: {listen} cannot be listened on");
    let listener = TcpListener::bind(listen).await.with_context(at)?;
    tracing::info!(listen = ?listener.local_addr(), "pushes are taken");
    for why in senders.iter().filter_map(|sender| sender.key().err()) {
        tracing::warn!("{why}; pushes of this sender are refused until it can be read");
    }
    let door = Door { client, senders: senders.into(), keys: Mutex::default(), pushed: Mutex::default() };
    tokio::spawn(serve(listener, Arc::new(door), stop));
    Ok(())
}

/// A sender and its key.
type Known = Vec<(usize, Vec<u8>)>;

struct Door {
    client: Client,
    senders: Arc<[Sender]>,
    keys: Mutex<Option<(Instant, Arc<Known>)>>,
    /// When Cutovers were last pushed.
    pushed: Mutex<HashMap<(String, String), Instant>>,
}

impl Answers for Door {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> (StatusCode, Bytes) {
        let (parts, body) = request.into_parts();
        let keys = self.keys().await;
        let (status, text) = match self.admit(&keys, &parts.method, parts.uri.path(), &parts.headers) {
            // Whoever is still sending would not read the answer.
            Ok(named) => match Limited::new(body, BODY).collect().await {
                Ok(_) => self.push(named).await,
                Err(_) => (StatusCode::PAYLOAD_TOO_LARGE, "the body is not needed: leave it out".to_owned()),
            },
            Err(refused) => refused,
        };
        (status, Bytes::from(text + "\n"))
    }
}

/// The Cutover that a push names.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    namespace: String,
    cutover: String,
}

/// `/push/NAMESPACE/CUTOVER`.
fn named(path: &str) -> Option<Named> {
    let legal = |name: &&str| {
        (1..=253).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
            && !name.starts_with('.')
    };
    let (namespace, cutover) = path.strip_prefix("/push/")?.split_once('/')?;
    let both = Some((namespace, cutover)).filter(|(n, c)| legal(n) && legal(c));
    both.map(|(namespace, cutover)| Named { namespace: namespace.to_owned(), cutover: cutover.to_owned() })
}

impl Door {
    /// Whether this is a push of somebody who may push what it names.
    fn admit(
        &self,
        keys: &Known,
        method: &Method,
        path: &str,
        headers: &http::HeaderMap,
    ) -> Result<Named, (StatusCode, String)> {
        let named = named(path);
        // Who is not known hears nothing else.
        let mut known =
            keys.iter().filter(|(_, key)| senders::carries(key, headers, path, Timestamp::now())).peekable();
        if known.peek().is_none() {
            return Err((StatusCode::UNAUTHORIZED, "no sender is known by this key or signature".into()));
        }
        let named = named.ok_or_else(|| (StatusCode::NOT_FOUND, "POST /push/NAMESPACE/CUTOVER".to_owned()))?;
        if *method != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "POST /push/NAMESPACE/CUTOVER".into()));
        }
        let may =
            |(sender, _): &(usize, Vec<u8>)| self.senders.get(*sender).is_some_and(|s| s.may_push(&named.namespace));
        match known.any(may) {
            true => Ok(named),
            false => {
                let text = format!("this sender may not push Cutovers of namespace {}", named.namespace);
                Err((StatusCode::FORBIDDEN, text))
            }
        }
    }

    /// The keys, read anew when they are old. Off the threads that drive runs: a volume can be slow.
    async fn keys(&self) -> Arc<Known> {
        let fresh = |known: &Option<(Instant, Arc<Known>)>| {
            known.as_ref().filter(|(at, _)| at.elapsed() < KEYS).map(|(_, keys)| keys.clone())
        };
        if let Some(keys) = fresh(&self.keys.lock().unwrap_or_else(PoisonError::into_inner)) {
            return keys;
        }
        let senders = self.senders.clone();
        let read = tokio::task::spawn_blocking(move || {
            let keys = senders.iter().enumerate().filter_map(|(i, sender)| Some((i, sender.key().ok()?)));
            keys.collect::<Known>()
        });
        // Without keys nobody is known, which is the safe answer.
        let keys = Arc::new(read.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the keys of senders were not read");
            Known::new()
        }));
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), keys.clone()));
        keys
    }

    /// Whether the Cutover may be pushed now; then it counts as pushed.
    fn has_room(&self, named: &Named) -> Result<(), (StatusCode, String)> {
        let mut pushed = self.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        pushed.retain(|_, at| at.elapsed() < PACE);
        let key = (named.namespace.clone(), named.cutover.clone());
        if pushed.contains_key(&key) {
            return Err((StatusCode::TOO_MANY_REQUESTS, "it was pushed less than a second ago".into()));
        }
        if pushed.len() >= MOST {
            return Err((StatusCode::TOO_MANY_REQUESTS, "too many pushes".into()));
        }
        pushed.insert(key, Instant::now());
        Ok(())
    }

    async fn push(&self, named: Named) -> (StatusCode, String) {
        if let Err(refused) = self.has_room(&named) {
            return refused;
        }
        match tokio::time::timeout(CALL, self.write(&named)).await {
            Ok(Ok(true)) => (StatusCode::ACCEPTED, "the run is looked at now".into()),
            Ok(Ok(false)) => (StatusCode::OK, "no run is under way: nothing was changed".into()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                (StatusCode::NOT_FOUND, format!("there is no Cutover {} in {}", named.cutover, named.namespace))
            }
            Ok(Err(error)) => {
                tracing::warn!(namespace = named.namespace, cutover = named.cutover, %error, "a push failed");
                (StatusCode::SERVICE_UNAVAILABLE, "the API server refused it: see the operator's log".into())
            }
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, format!("the API server did not answer in {CALL:?}")),
        }
    }

    /// Writes the annotation, if a run is under way. The run itself says whether it is: what the Cutover shows of it comes a
    /// moment later.
    async fn write(&self, named: &Named) -> kube::Result<bool> {
        let api: Api<Cutover> = Api::namespaced(self.client.clone(), &named.namespace);
        let Some(run) = api.get(&named.cutover).await?.status.and_then(|status| status.run) else { return Ok(false) };
        let runs: Api<CutoverRun> = Api::namespaced(self.client.clone(), &named.namespace);
        let run = runs.get_opt(&run.name).await?;
        if !run.is_some_and(|run| run.status.is_none_or(|status| status.state == RunState::Active)) {
            return Ok(false);
        }
        let patch = json!({"metadata": {"annotations": {ANNOTATION_PUSHED: Timestamp::now().to_string()}}});
        api.patch_metadata(&named.cutover, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_cutover_or_nothing() {
        let of = |namespace: &str, cutover: &str| Named { namespace: namespace.into(), cutover: cutover.into() };
        assert_eq!(named("/push/prod/shop"), Some(of("prod", "shop")));
        assert_eq!(named("/push/prod/shop.eu"), Some(of("prod", "shop.eu")));
        for path in
            ["/", "/push", "/push/", "/push/prod", "/push/prod/", "/push//shop", "/push/prod/a/b", "/push/../x/y"]
        {
            assert_eq!(named(path), None, "{path}");
        }
        assert_eq!(named("/push/prod/%2e%2e"), None);
        assert_eq!(named("/push/prod/.."), None);
        assert_eq!(named("/push/Prod/shop"), None);
    }
}
