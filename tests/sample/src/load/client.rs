//! One request and what becomes of it.

use super::LoadConfig;
use crate::{LOAD_AGENT, LOAD_HEADER};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use std::{
    error::Error,
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpStream,
    task::AbortHandle,
    time::{Instant, timeout},
};

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// A full answer came in time.
    Answer { status: u16, colour: Option<String> },
    /// The service took or refused the connection, and gave no full answer.
    Lost { kind: &'static str, error: String },
    /// This machine had no port or file descriptor left.
    NotSent,
}

struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    driver: AbortHandle,
    opened: Instant,
}

impl Drop for Connection {
    // Closes the socket also where the peer never answers.
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Sends the requests of one pool.
pub struct Client {
    config: LoadConfig,
    keepalive: bool,
    idle: Mutex<Vec<Connection>>,
    /// Connections opened.
    pub connections: AtomicU64,
    /// Requests that found their connection closed before they were written.
    pub reopened: AtomicU64,
}

/// Answers in a row that show a Service whose every endpoint is programmed.
const IN_A_ROW: u32 = 20;

/// Sends requests one after another on fresh connections until enough of them in a row were answered.
///
/// # Errors
/// When that takes longer than `within`; says what the last request met.
pub async fn await_answer(config: &LoadConfig, within: Duration) -> anyhow::Result<()> {
    let client = Client::new(config.clone(), false);
    let (end, mut row, mut last) = (Instant::now() + within, 0, Outcome::NotSent);
    while row < IN_A_ROW {
        anyhow::ensure!(Instant::now() < end, "no steady answers within {within:?}; the last request: {last:?}");
        last = client.request().await;
        row = if matches!(last, Outcome::Answer { .. }) { row + 1 } else { 0 };
        if row == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

impl Client {
    /// A client that keeps connections, or opens one for each request.
    pub fn new(config: LoadConfig, keepalive: bool) -> Self {
        Self {
            config,
            keepalive,
            idle: Mutex::new(Vec::new()),
            connections: AtomicU64::new(0),
            reopened: AtomicU64::new(0),
        }
    }

    /// Sends one request, without a second try.
    pub async fn request(&self) -> Outcome {
        match timeout(self.config.timeout, self.exchange()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => classify(error.as_ref()),
            Err(_) => {
                Outcome::Lost { kind: "timeout", error: format!("no full answer within {:?}", self.config.timeout) }
            }
        }
    }

    async fn exchange(&self) -> Result<Outcome, Box<dyn Error + Send + Sync>> {
        let mut connection = match self.reuse().await {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let response = match connection.sender.try_send_request(self.build()?).await {
            Ok(response) => response,
            Err(mut error) => {
                // hyper hands the request back when none of it was written: it
                // never left, so sending it is no second try. Only a kept
                // connection can be closed that early.
                let Some(request) = error.take_message().filter(|_| self.keepalive) else {
                    return Err(error.into_error().into());
                };
                self.reopened.fetch_add(1, Ordering::Relaxed);
                connection = self.open().await?;
                connection.sender.send_request(request).await?
            }
        };
        let colour = response.headers().get("x-colour");
        let outcome = Outcome::Answer {
            status: response.status().as_u16(),
            colour: colour.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        };
        let keep = self.keepalive && !closes(&response);
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        if keep && connection.opened.elapsed() < self.config.keepalive_age {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        Ok(outcome)
    }

    /// A kept connection that is young and open as far as one can know.
    async fn reuse(&self) -> Option<Connection> {
        loop {
            let mut connection = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.retain(|kept| kept.opened.elapsed() < self.config.keepalive_age && !kept.sender.is_closed());
                idle.pop()?
            };
            if connection.sender.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    async fn open(&self) -> Result<Connection, Box<dyn Error + Send + Sync>> {
        let stream = TcpStream::connect(self.config.addr).await?;
        self.connections.fetch_add(1, Ordering::Relaxed);
        stream.set_nodelay(true)?;
        let opened = Instant::now();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // The request on the connection sees the error, too.
            let _ = connection.await;
        });
        Ok(Connection { sender, driver: driver.abort_handle(), opened })
    }

    fn build(&self) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
        let request = Request::get(self.config.path.as_str())
            .header(header::HOST, self.config.host.as_str())
            .header(header::USER_AGENT, LOAD_AGENT)
            .header(LOAD_HEADER, "1");
        let close = if self.keepalive { "keep-alive" } else { "close" };
        request.header(header::CONNECTION, close).body(Empty::new())
    }
}

fn closes(response: &Response<Incoming>) -> bool {
    let connection = response.headers().get(header::CONNECTION);
    connection.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

fn classify(error: &(dyn Error + 'static)) -> Outcome {
    why(error).map_or(Outcome::NotSent, |(kind, error)| Outcome::Lost { kind, error })
}

/// Kind and words of a loss; `None` where this machine had no port or file descriptor left.
pub(super) fn why(error: &(dyn Error + 'static)) -> Option<(&'static str, String)> {
    let mut kind = "other";
    let mut text = error.to_string();
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            if out_of_local_means(io) {
                return None;
            }
            kind = match io.kind() {
                io::ErrorKind::ConnectionRefused => "refused",
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::NotConnected => "reset",
                io::ErrorKind::TimedOut => "timeout",
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
                io::ErrorKind::UnexpectedEof => "closed",
                _ => kind,
            };
        } else if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_canceled() || hyper.is_closed())
        {
            kind = "closed";
        }
        next = cause.source();
        if let Some(source) = next {
            text = format!("{text}: {source}");
        }
    }
    Some((kind, text))
}

fn out_of_local_means(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    error.kind() == io::ErrorKind::AddrNotAvailable || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}
