//! A faulty road to the API server: plain HTTP on loopback, TLS to the real one. The operator's kubeconfig points here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::StreamExt;
use tokio::sync::watch;

use super::cluster;
use super::road::Road;

/// What happens to a request instead of passing.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It goes no further, and this status is the answer.
    Refuse(u16),
    /// It is carried out, but this status is the answer.
    Lose(u16),
    /// It goes no further, and this is the answer: status and body.
    Answer(u16, Arc<str>),
    /// It is carried out, and the connection is closed instead of an answer.
    Reset,
    /// It goes no further, and the connection is closed instead of an answer.
    Break,
    /// It goes no further, and nothing ever comes back: no answer and no end of the connection.
    BlackHole,
    /// It passes this much later.
    Delay(Duration),
    /// It passes this much later, even if its sender has given it up by then.
    Late(Duration),
}

/// Whether a request is the one to be held, given its method, path and query, and body.
pub type Which = Box<dyn Fn(&http::Method, &str, &[u8]) -> bool + Send + Sync>;

/// Where a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before it reaches the API server.
    OnTheWay,
    /// Carried out, before its answer goes back.
    OnTheWayBack,
}

/// A request that is held, once it has come.
pub struct Held {
    come: watch::Receiver<bool>,
    go: watch::Sender<bool>,
}

impl Held {
    /// Waits until it has come.
    pub async fn come(&mut self, bound: Duration) -> Result<()> {
        tokio::time::timeout(bound, self.come.wait_for(|come| *come))
            .await
            .context("the request to be held never came")??;
        Ok(())
    }

    /// Lets it go on.
    pub fn release(&self) {
        self.go.send_replace(true);
    }
}

struct Hold {
    which: Which,
    place: Place,
    come: watch::Sender<bool>,
    go: watch::Receiver<bool>,
}

/// Which watches are meant, by path and query.
type Watches = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What becomes of open watches.
#[derive(Clone, Default)]
struct Streams {
    /// These are silent.
    frozen: Option<Watches>,
    /// How often some have been ended, which ones the last time, and whether by a broken connection.
    ended: (u64, Option<Watches>, bool),
}

impl Streams {
    fn freezes(&self, asked: &str) -> bool {
        self.frozen.as_ref().is_some_and(|which| which(asked))
    }

    /// Whether one that was opened after so many endings has been ended since.
    fn ends(&self, opened: u64, asked: &str) -> bool {
        let (count, which, _) = &self.ended;
        *count > opened && which.as_ref().is_some_and(|which| which(asked))
    }
}

/// Says what happens to a request, given its method, path and query.
pub type Rule = Box<dyn Fn(&http::Method, &str) -> Option<Fault> + Send + Sync>;

struct Inner {
    upstream: String,
    http: reqwest::Client,
    rule: Mutex<Option<Rule>>,
    hold: Mutex<Option<Hold>>,
    streams: watch::Sender<Streams>,
    open: watch::Sender<Vec<String>>,
    refused: std::sync::atomic::AtomicU64,
}

/// A running proxy; it ends with the test's runtime.
#[derive(Clone)]
pub struct Proxy {
    inner: Arc<Inner>,
    road: Road,
    /// What the operator's kubeconfig names as the server.
    pub url: String,
}

impl Proxy {
    /// Starts it on a free port of loopback.
    pub async fn start() -> Result<Self> {
        let config = cluster::config(None).await?;
        let mut http = reqwest::Client::builder().no_proxy().http1_only();
        for der in config.root_cert.unwrap_or_default() {
            http = http.add_root_certificate(reqwest::Certificate::from_der(&der)?);
        }
        let upstream = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let inner = Arc::new(Inner {
            upstream,
            http: http.build()?,
            rule: Mutex::new(None),
            hold: Mutex::new(None),
            streams: watch::Sender::default(),
            open: watch::Sender::default(),
            refused: std::sync::atomic::AtomicU64::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let (road, address) = Road::start(listener.local_addr()?).await?;
        let url = format!("http://{address}");
        let app = axum::Router::new().fallback(forward).with_state(inner.clone());
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("proxy: {error}");
            }
        });
        Ok(Self { inner, road, url })
    }

    /// From now on requests for which `rule` names a fault meet it.
    pub fn fail(&self, rule: impl Fn(&http::Method, &str) -> Option<Fault> + Send + Sync + 'static) {
        *self.inner.rule.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(rule));
    }

    /// From now on everything passes.
    pub fn heal(&self) {
        *self.inner.rule.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// These watches say nothing any more, new ones of the kind neither, though they can be opened; nothing else is held up.
    pub fn freeze(&self, which: impl Fn(&str) -> bool + Send + Sync + 'static) {
        self.inner.streams.send_modify(|streams| streams.frozen = Some(Arc::new(which)));
    }

    /// They say what they have kept back, and go on.
    pub fn thaw(&self) {
        self.inner.streams.send_modify(|streams| streams.frozen = None);
    }

    /// These watches end, as the API server ends each after a while.
    pub fn end_watches(&self, which: impl Fn(&str) -> bool + Send + Sync + 'static) {
        self.end(Arc::new(which), false);
    }

    /// The connections of these watches break.
    pub fn break_watches(&self, which: impl Fn(&str) -> bool + Send + Sync + 'static) {
        self.end(Arc::new(which), true);
    }

    fn end(&self, which: Watches, breaks: bool) {
        self.inner.streams.send_modify(|streams| streams.ended = (streams.ended.0 + 1, Some(which), breaks));
    }

    /// The connections: all that there are can be made to die.
    pub fn road(&self) -> &Road {
        &self.road
    }

    /// Holds the first request that `which` names, for as long as it takes.
    pub fn hold(
        &self,
        place: Place,
        which: impl Fn(&http::Method, &str, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Held {
        let ((come, has_come), (go, may_go)) = (watch::channel(false), watch::channel(false));
        let hold = Hold { which: Box::new(which), place, come, go: may_go };
        *self.inner.hold.lock().unwrap_or_else(PoisonError::into_inner) = Some(hold);
        Held { come: has_come, go }
    }

    /// Waits until the paths of the watches that are open are so, each as often as it is watched.
    pub async fn watches_are(&self, bound: Duration, are: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
        let mut open = self.inner.open.subscribe();
        let all = tokio::time::timeout(bound, open.wait_for(|all| are(all))).await;
        let all = all.with_context(|| format!("open are {:?}", self.inner.open.borrow()))??.clone();
        Ok(all)
    }

    /// Requests that met a fault so far.
    pub fn refused(&self) -> u64 {
        self.inner.refused.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn plain(status: u16, text: &str) -> Response {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    // The operator must not wait that long: a due restore is tried whatever Retry-After says.
    response.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("30"));
    response
}

async fn forward(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let verdict = {
        let rule = inner.rule.lock().unwrap_or_else(PoisonError::into_inner);
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
        rule.as_ref().and_then(|r| r(request.method(), path))
    };
    if verdict.is_some() {
        inner.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    match verdict {
        Some(Fault::Refuse(status)) => plain(status, "refused by the test"),
        Some(Fault::Answer(status, body)) => {
            let mut response = Response::new(Body::from(body.to_string()));
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_GATEWAY);
            response
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
            response
        }
        Some(Fault::Lose(status)) => {
            // Carried out to its end before the answer is thrown away.
            let answer = pass(&inner, request).await;
            let _ = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
            plain(status, "the answer was lost by the test")
        }
        Some(Fault::Reset) => {
            let answer = pass(&inner, request).await;
            let _ = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
            Response::new(Body::from_stream(broken()))
        }
        Some(Fault::Break) => Response::new(Body::from_stream(broken())),
        Some(Fault::BlackHole) => std::future::pending().await,
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            pass_or_hold(&inner, request).await
        }
        Some(Fault::Late(time)) => {
            let task = tokio::spawn(async move {
                tokio::time::sleep(time).await;
                pass(&inner, request).await
            });
            task.await.unwrap_or_else(|error| plain(502, &error.to_string()))
        }
        None => pass_or_hold(&inner, request).await,
    }
}

/// A body that fails before its first byte makes the server close the connection.
fn broken() -> impl futures::Stream<Item = std::io::Result<bytes::Bytes>> {
    futures::stream::once(async { Err(std::io::Error::other("reset by the test")) })
}

/// The events of a watch, as far as they come through.
fn told<E>(
    inner: &Inner,
    asked: &str,
    events: impl futures::Stream<Item = Result<bytes::Bytes, E>> + Send + 'static,
) -> impl futures::Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static
where
    E: Into<axum::BoxError> + Send + 'static,
{
    let mut streams = inner.streams.subscribe();
    let (opened, asked) = (streams.borrow().ended.0, asked.to_owned());
    let (frozen, part) = (streams.clone(), asked.clone());
    let held = events.then(move |event| {
        let (mut frozen, part) = (frozen.clone(), part.clone());
        async move {
            // An error says that the proxy is gone, and with it the test.
            let _ = frozen.wait_for(|streams| !streams.freezes(&part)).await;
            event.map_err(std::io::Error::other)
        }
    });
    let last = streams.clone();
    let part = asked.clone();
    let ended = async move { streams.wait_for(|streams| streams.ends(opened, &part)).await.map(drop) };
    held.take_until(Box::pin(ended)).chain(broken().filter(move |_| {
        let streams = last.borrow();
        std::future::ready(streams.ends(opened, &asked) && streams.ended.2)
    }))
}

async fn pass_or_hold(inner: &Arc<Inner>, request: Request) -> Response {
    let writes = !matches!(*request.method(), http::Method::GET | http::Method::HEAD);
    if !writes || inner.hold.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
        return pass(inner, request).await;
    }
    let (parts, body) = request.into_parts();
    let body = match axum::body::to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return plain(502, &error.to_string()),
    };
    let held = {
        let mut hold = inner.hold.lock().unwrap_or_else(PoisonError::into_inner);
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        hold.take_if(|h| (h.which)(&parts.method, path, &body))
    };
    let request = Request::from_parts(parts, Body::from(body));
    let Some(mut hold) = held else { return pass(inner, request).await };
    // In a task of its own, so that it goes on even if its sender has hung up by then.
    let inner = inner.clone();
    let task = tokio::spawn(async move {
        match hold.place {
            Place::OnTheWay => {
                hold.wait().await;
                pass(&inner, request).await
            }
            Place::OnTheWayBack => {
                let answer = pass(&inner, request).await;
                hold.wait().await;
                answer
            }
        }
    });
    task.await.unwrap_or_else(|error| plain(502, &error.to_string()))
}

impl Hold {
    async fn wait(&mut self) {
        self.come.send_replace(true);
        // An error says that the test has let go of it, and is over.
        let _ = self.go.wait_for(|go| *go).await;
    }
}

/// A watch that is open, until this is dropped.
struct Open(watch::Sender<Vec<String>>, String);

impl Open {
    fn of(all: &watch::Sender<Vec<String>>, asked: &str) -> Self {
        let path = asked.split('?').next().unwrap_or_default().to_owned();
        all.send_modify(|all| all.push(path.clone()));
        Self(all.clone(), path)
    }

    /// It lives as long as the stream that has it.
    fn goes_on(&self) {}
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|all| {
            if let Some(at) = all.iter().position(|path| *path == self.1) {
                all.swap_remove(at);
            }
        });
    }
}

async fn pass(inner: &Inner, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let asked = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let target = format!("{}{asked}", inner.upstream);
    let mut headers = parts.headers;
    headers.remove(http::header::HOST);
    headers.remove(http::header::CONTENT_LENGTH);
    let sent = inner
        .http
        .request(parts.method, target)
        .headers(headers)
        .body(reqwest::Body::wrap_stream(body.into_data_stream()))
        .send()
        .await;
    match sent {
        Ok(answer) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            response.headers_mut().remove(http::header::TRANSFER_ENCODING);
            let events = answer.bytes_stream();
            *response.body_mut() = if asked.contains("watch=") {
                let open = Open::of(&inner.open, &asked);
                Body::from_stream(told(inner, &asked, events).inspect(move |_| open.goes_on()))
            } else {
                Body::from_stream(events)
            };
            response
        }
        Err(error) => plain(502, &error.to_string()),
    }
}
