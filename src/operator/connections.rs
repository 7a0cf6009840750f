//! Connections to the API server that died without a word: a router lost them, or a machine on the way did. Whoever takes one
//! from the pool waits in vain, and there may be a dozen of them. So once requests go unanswered, the next ones are made on new
//! connections, and the idle ones are let go. Requests under way, watches above all, are left alone.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{Request, Response};
use kube::client::Body;
use kube::{Client, Config};
use tokio::time::Instant;
use tower::{BoxError, Service};

use crate::net::call::LATE;

/// A request that is given up after so long has been late.
const GIVEN_UP: Duration = Duration::from_millis(800);
/// Connections are not given up more often than this: they are not what ails an API server that is slow.
const AT_MOST_EVERY: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Requests {
    next: u64,
    /// Reads without an answer, by when they were sent. A write may be waiting for a webhook.
    waiting: BTreeMap<u64, Instant>,
    /// One that was late has been given up.
    late: bool,
}

/// Whether connections may be dead, as far as requests can tell. Cheap to clone.
#[derive(Clone, Default)]
pub struct Doubt(Arc<Mutex<Requests>>);

/// A request without an answer.
pub struct Unanswered {
    doubt: Doubt,
    id: u64,
    since: Instant,
    answered: bool,
}

impl Doubt {
    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is sent, and reads something or not.
    pub fn asked(&self, reads: bool) -> Unanswered {
        let (mut requests, since) = (self.requests(), Instant::now());
        let id = requests.next;
        requests.next += 1;
        if reads {
            requests.waiting.insert(id, since);
        }
        Unanswered { doubt: self.clone(), id, since, answered: false }
    }

    /// There is a reason for it.
    pub fn raise(&self) {
        self.requests().late = true;
    }

    /// Whether there is a reason for it. One that is over is told once; a read that still waits, each time.
    pub fn take(&self) -> bool {
        let mut requests = self.requests();
        let waits = requests.waiting.values().any(|since| since.elapsed() >= LATE);
        std::mem::take(&mut requests.late) || waits
    }
}

impl Unanswered {
    /// It has its answer, or an error that says that there is none.
    pub fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let mut requests = self.doubt.requests();
        requests.waiting.remove(&self.id);
        requests.late |= !self.answered && self.since.elapsed() >= GIVEN_UP;
    }
}

/// A client whose idle connections are let go where they are in doubt.
pub struct Connections {
    config: Config,
    client: Client,
    doubt: Doubt,
    since: Instant,
}

impl Connections {
    /// # Errors
    /// The configuration makes no client.
    pub fn open(config: Config, doubt: Doubt) -> Result<Self, kube::Error> {
        let client = Client::try_from(config.clone())?;
        Ok(Self { config, client, doubt, since: Instant::now() })
    }

    fn renew(&mut self) {
        if self.since.elapsed() < AT_MOST_EVERY || !self.doubt.take() {
            return;
        }
        self.since = Instant::now();
        match Client::try_from(self.config.clone()) {
            Ok(client) => {
                tracing::debug!("requests are not answered: the next requests are made on new connections");
                self.client = client;
            }
            Err(error) => tracing::warn!(%error, "no new connections; the old ones are used on"),
        }
    }
}

impl Service<Request<Body>> for Connections {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.renew();
        let client = self.client.clone();
        Box::pin(async move { client.send(request).await.map_err(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_that_are_answered_raise_no_doubt() {
        let doubt = Doubt::default();
        let quick = doubt.asked(true);
        tokio::time::advance(LATE / 2).await;
        assert!(!doubt.take());
        quick.answered();
        // Given up by whoever asked, and not late.
        let dropped = doubt.asked(true);
        tokio::time::advance(LATE / 2).await;
        drop(dropped);
        let slow = doubt.asked(true);
        tokio::time::advance(LATE).await;
        assert!(doubt.take() && doubt.take(), "it still waits");
        slow.answered();
        assert!(!doubt.take());
        let webhook = doubt.asked(false);
        tokio::time::advance(LATE).await;
        assert!(!doubt.take(), "a write may take its time");
        drop(webhook);
        assert!(doubt.take() && !doubt.take(), "told once");
    }

    /// An API server whose first two connections fall silent after one answer each; those after them serve.
    async fn server() -> (Config, tokio::task::JoinHandle<()>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serve = tokio::spawn(async move {
            let mut kept = vec![];
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut answers = if kept.len() < 2 { 1 } else { usize::MAX };
                kept.push(tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                        if answers > 0 {
                            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                            stream.write_all(answer).await.expect("the client is there");
                            answers -= 1;
                        }
                    }
                }));
            }
        });
        (Config::new(format!("http://{address}").parse().expect("a URL")), serve)
    }

    #[tokio::test]
    async fn after_a_read_that_nobody_answered_the_next_uses_another_connection() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (config, serve) = server().await;
        let doubt = Doubt::default();
        let mut connections = Connections::open(config, doubt.clone()).expect("a client");
        // As if it had been open for long.
        connections.since = Instant::now().checked_sub(AT_MOST_EVERY).expect("the clock is older");
        let ask = |c: &mut Connections| c.call(Request::get("/version").body(Body::empty()).expect("a request"));
        use http_body_util::BodyExt;
        for answer in futures::future::join_all([ask(&mut connections), ask(&mut connections)]).await {
            answer.expect("an answer").into_body().collect().await.expect("a body");
        }
        // Both connections are dead by now.
        let hangs = ask(&mut connections);
        let mut hangs = std::pin::pin!(hangs);
        assert!(futures::poll!(&mut hangs).is_pending());
        doubt.raise();
        // Without an end it would wait forever where the dead connection is taken.
        let beside = tokio::time::timeout(Duration::from_secs(10), ask(&mut connections)).await;
        let beside = beside.expect("another connection is taken").expect("an answer");
        assert!(beside.status().is_success());
        assert!(futures::poll!(&mut hangs).is_pending());
        serve.abort();
    }
}
