//! A small server, and the pages /metrics, /readyz and /livez. Anybody in the cluster may connect: connections are few,
//! short, and the newest is heard, so that silent ones keep nobody from asking whether the operator lives.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::health::Health;
use crate::meter::Meter;

/// Connections at once. One more, and the oldest of those that have asked nothing yet gives way.
const CONNECTIONS: usize = 64;
/// A connection is not closed for the next one before it had this long to ask: a flood that comes back at once would otherwise
/// push out whoever asks in earnest.
const GRACE: Duration = Duration::from_millis(50);
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(10);
/// Longest head.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long a connection may last: it carries one request.
const WHOLE: Duration = Duration::from_secs(30);
/// How old the text of the metrics may be.
const FRESH: Duration = Duration::from_secs(1);
/// After a connection could not be taken, such as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What a server answers.
pub(super) trait Answers: Send + Sync + 'static {
    /// The answer to one request.
    fn answer(self: Arc<Self>, request: Request<Incoming>) -> impl Future<Output = (StatusCode, Bytes)> + Send;
}

/// Metrics and health.
pub(super) struct Pages {
    health: Arc<Health>,
    meter: Meter,
    /// The metrics as they were rendered last.
    text: Mutex<Option<(Bytes, Instant)>>,
}

impl Answers for Pages {
    fn answer(self: Arc<Self>, request: Request<Incoming>) -> impl Future<Output = (StatusCode, Bytes)> + Send {
        std::future::ready(self.page(request.method(), request.uri().path()))
    }
}

impl Pages {
    pub(super) fn new(health: Arc<Health>, meter: Meter) -> Self {
        Self { health, meter, text: Mutex::default() }
    }

    fn page(&self, method: &Method, path: &str) -> (StatusCode, Bytes) {
        let health = |trouble: Option<String>| match trouble {
            None => (StatusCode::OK, Bytes::from_static(b"ok\n")),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, Bytes::from(why + "\n")),
        };
        match path {
            _ if !matches!(*method, Method::GET | Method::HEAD) => (StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
            "/readyz" => health(self.health.not_ready()),
            "/livez" => health(self.health.dead()),
            "/metrics" => self.metrics(),
            _ => (StatusCode::NOT_FOUND, Bytes::new()),
        }
    }

    fn metrics(&self) -> (StatusCode, Bytes) {
        let mut known = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((text, at)) = known.as_ref()
            && at.elapsed() < FRESH
        {
            return (StatusCode::OK, text.clone());
        }
        match self.meter.text() {
            Ok(text) => {
                let text = Bytes::from(text);
                *known = Some((text.clone(), Instant::now()));
                (StatusCode::OK, text)
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, Bytes::from(error.to_string())),
        }
    }
}

/// One that was accepted.
struct Open {
    task: AbortHandle,
    asked: Arc<AtomicBool>,
    since: Instant,
}

/// Serves until `stop`.
pub(super) async fn serve(listener: TcpListener, answers: Arc<impl Answers>, stop: CancellationToken) {
    let (mut open, mut tasks) = (VecDeque::<Open>::new(), JoinSet::new());
    loop {
        let accepted: std::io::Result<(TcpStream, SocketAddr)> = tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let tcp = match accepted {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        make_room(&mut open).await;
        let asked = Arc::new(AtomicBool::new(false));
        let task = tasks.spawn(connection(tcp, answers.clone(), asked.clone()));
        open.push_back(Open { task, asked, since: Instant::now() });
    }
}

/// Until there is room for one more. The oldest that has asked nothing gives way, once it had its moment to ask.
async fn make_room(open: &mut VecDeque<Open>) {
    loop {
        open.retain(|one| !one.task.is_finished());
        if open.len() < CONNECTIONS {
            return;
        }
        let silent = open.iter().position(|one| !one.asked.load(Ordering::Relaxed)).unwrap_or(0);
        let due = open.get(silent).map(|oldest| oldest.since + GRACE);
        match due.filter(|due| *due > Instant::now()) {
            Some(due) => tokio::time::sleep_until(due).await,
            None => {
                if let Some(oldest) = open.remove(silent) {
                    oldest.task.abort();
                }
            }
        }
    }
}

/// One request and its answer.
async fn connection(tcp: TcpStream, answers: Arc<impl Answers>, asked: Arc<AtomicBool>) {
    let service = service_fn(|request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let answers = answers.clone();
        async move {
            let (status, text) = answers.answer(request).await;
            let mut response = Response::new(Full::new(text));
            *response.status_mut() = status;
            let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
            Ok::<_, Infallible>(response)
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false).max_buf_size(HEAD_LIMIT);
    let served = server.serve_connection(TokioIo::new(tcp), service);
    match tokio::time::timeout(WHOLE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection broke off"),
        Err(_) => tracing::debug!("a connection took too long"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::net::watches::Watches;

    struct Server {
        at: SocketAddr,
        stop: CancellationToken,
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.stop.cancel();
        }
    }

    async fn server(health: Arc<Health>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (at, stop) = (listener.local_addr().expect("an address"), CancellationToken::new());
        let pages = Pages::new(health, Meter::new().expect("metrics"));
        tokio::spawn(serve(listener, Arc::new(pages), stop.clone()));
        Server { at, stop }
    }

    async fn say(server: &Server, request: &str) -> String {
        let mut tcp = TcpStream::connect(server.at).await.expect("a connection");
        tcp.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    async fn ask(server: &Server, path: &str) -> (u16, String) {
        let answer = say(server, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        (code, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    #[tokio::test]
    async fn readiness_follows_the_watches() {
        let watches = Watches::default();
        let server = server(Arc::new(Health::new(watches.clone()))).await;
        assert_eq!(ask(&server, "/readyz").await.0, 503);
        assert_eq!(ask(&server, "/livez").await.0, 200);
        let wanted = ["runs", "cutovers", "decisions"].map(|kind| watches.want("/api/v1/x", None, None, kind, false));
        wanted.iter().for_each(crate::net::watches::Wanted::listed);
        assert_eq!(ask(&server, "/readyz").await.0, 200);
        wanted[0].failed("503", false);
        assert_eq!(ask(&server, "/readyz").await, (503, "the watch of runs fails: 503\n".to_owned()));
        assert_eq!(ask(&server, "/livez").await.0, 200);
        assert!(ask(&server, "/metrics").await.1.contains("cutover_runs_active 0"));
        assert_eq!(ask(&server, "/other").await.0, 404);
        assert!(say(&server, "POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.contains(" 405 "));
    }

    /// Whether the server has closed it.
    async fn is_closed(tcp: &mut TcpStream) -> bool {
        let mut byte = [0];
        tokio::time::timeout(Duration::from_secs(20), tcp.read(&mut byte)).await.is_ok()
    }

    #[tokio::test]
    async fn silent_connections_keep_nobody_from_being_answered() {
        let server = server(Arc::new(Health::default())).await;
        let mut silent = vec![];
        for n in 0..4 * CONNECTIONS {
            let mut tcp = TcpStream::connect(server.at).await.expect("a connection");
            // Half of them send half a head.
            if n % 2 == 0 {
                tcp.write_all(b"GET /livez HTTP/1.1\r\nx-slow: ").await.expect("sent");
            }
            silent.push(tcp);
        }
        for _ in 0..3 {
            assert_eq!(ask(&server, "/livez").await.0, 200);
        }
        let begun = Instant::now();
        assert!(is_closed(&mut silent[0]).await, "the oldest gives way");
        assert!(begun.elapsed() < HEAD, "at once, and not after its time for the head");
        let newest = silent.last_mut().expect("some");
        let mut byte = [0];
        let open = tokio::time::timeout(Duration::from_millis(50), newest.read(&mut byte)).await.is_err();
        assert!(open, "the newest does not");
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_ends_its_connection() {
        let server = server(Arc::new(Health::default())).await;
        let mut tcp = TcpStream::connect(server.at).await.expect("a connection");
        tcp.write_all(b"GET /livez HTTP/1.1\r\n").await.expect("sent");
        assert!(is_closed(&mut tcp).await);
        let long = format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(2 * HEAD_LIMIT));
        let mut tcp = TcpStream::connect(server.at).await.expect("a connection");
        tcp.write_all(long.as_bytes()).await.ok();
        assert!(is_closed(&mut tcp).await);
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_are_rendered_once_a_second() {
        let meter = Meter::new().expect("metrics");
        let shared = Pages::new(Arc::default(), meter.clone());
        let panics = |text: (StatusCode, Bytes)| String::from_utf8_lossy(&text.1).into_owned();
        let first = panics(shared.page(&Method::GET, "/metrics"));
        meter.panicked();
        assert_eq!(panics(shared.page(&Method::GET, "/metrics")), first);
        tokio::time::advance(FRESH).await;
        assert_ne!(panics(shared.page(&Method::GET, "/metrics")), first);
    }
}
