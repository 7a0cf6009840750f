//! One request over one new connection to one pinned address. No redirect, no cookie, nothing is tried twice; a proxy where the
//! operator's configuration names one.
//!
//! A new connection each time, since a kept one stays with the pod it was made to when the Service has long been
//! switched. The connection is made here and not by a client library, so that *not sent* is known and not guessed.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::SET_COOKIE;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::budget::Budget;
use crate::world::{HttpError, HttpResponse};

/// Longest head of an answer.
const HEAD_LIMIT: usize = 64 * 1024;
/// Longest head of what a proxy answers.
const PROXY_HEAD: usize = 8 * 1024;

/// So much of an answer needs no room of its own: the number of connections bounds it.
const FREE: usize = 64 * 1024;

/// Root certificates of the system, read when first wanted. Without any only `https` fails.
#[derive(Default)]
pub(super) struct Roots(OnceLock<Result<Trust, String>>);

/// What is made of root certificates.
#[derive(Clone)]
struct Trust {
    config: Arc<ClientConfig>,
    store: Arc<rustls::RootCertStore>,
}

impl Roots {
    fn config(&self) -> Result<Arc<ClientConfig>, String> {
        self.trust().map(|trust| trust.config)
    }

    /// For what is not HTTP, which some servers would refuse for its name.
    pub(super) fn without_protocol(&self) -> Result<Arc<ClientConfig>, String> {
        let mut config = ClientConfig::clone(&*self.config()?);
        config.alpn_protocols.clear();
        Ok(Arc::new(config))
    }

    /// What decides whether a certificate is trusted.
    pub(super) fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = WebPkiServerVerifier::builder_with_provider(self.trust()?.store, provider);
        builder.build().map_err(|e| format!("TLS cannot be set up: {e}"))
    }

    fn trust(&self) -> Result<Trust, String> {
        let made = self.0.get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            let mut store = rustls::RootCertStore::empty();
            let (usable, _) = store.add_parsable_certificates(found.certs);
            if usable == 0 {
                return Err("this system has no root certificates, so https cannot be used: the operator's image \
                            needs a CA bundle, or SSL_CERT_FILE"
                    .into());
            }
            configure(store)
        });
        made.clone()
    }

    /// The authorities of a PEM text, and no others.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let mut store = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| format!("not certificates in PEM: {e}"))?;
            store.add(certificate).map_err(|e| format!("a certificate of no use as an authority: {e}"))?;
        }
        if store.is_empty() {
            return Err("no certificate in PEM".into());
        }
        Ok(Self(OnceLock::from(configure(store))))
    }

    /// Roots of a test's own.
    #[cfg(test)]
    pub(super) fn of(store: rustls::RootCertStore) -> Self {
        Self(OnceLock::from(configure(store)))
    }
}

fn configure(store: rustls::RootCertStore) -> Result<Trust, String> {
    let store = Arc::new(store);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?;
    let mut config = builder.with_root_certificates(store.clone()).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Trust { config: Arc::new(config), store })
}

/// Where to, how long, how much.
pub(super) struct Route<'a> {
    pub(super) to: SocketAddr,
    /// The server's name, if TLS is spoken.
    pub(super) tls: Option<String>,
    /// When everything must be over.
    pub(super) deadline: Instant,
    /// Longest body of an answer.
    pub(super) limit: usize,
    /// Root certificates.
    pub(super) roots: &'a Roots,
    /// Whose request it is.
    pub(super) namespace: &'a str,
    /// What it may hold meanwhile.
    pub(super) budget: &'a Budget,
}

/// Sends and waits for the whole answer.
pub(super) async fn exchange(route: &Route<'_>, request: Request<Full<Bytes>>) -> Result<HttpResponse, HttpError> {
    exchange_through(route, None, request).await
}

/// The same; `to` of the route is a proxy that leads to `server` (HOST:PORT), where one is named.
pub(super) async fn exchange_through(
    route: &Route<'_>,
    server: Option<&str>,
    request: Request<Full<Bytes>>,
) -> Result<HttpResponse, HttpError> {
    let to = route.to;
    let _connection = route.budget.connection(route.namespace, route.deadline).await?;
    let mut tcp = connect(to, route.deadline).await?;
    if let Some(server) = server {
        let late = |_| HttpError::NotSent(format!("the proxy {to}: no time left"));
        let led = timeout_at(route.deadline, lead(&mut tcp, server)).await.map_err(late)?;
        led.map_err(|why| HttpError::NotSent(format!("the proxy {to} does not lead to {server}: {why}")))?;
    }
    let Some(name) = &route.tls else { return converse(route, TokioIo::new(tcp), request).await };
    let config = route.roots.config().map_err(HttpError::NotSent)?;
    let tls = encrypt(tcp, to, name, config, route.deadline).await?;
    converse(route, TokioIo::new(tls), request).await
}

/// A connection to a pinned address.
pub(super) async fn connect(to: SocketAddr, deadline: Instant) -> Result<TcpStream, HttpError> {
    let tcp = timeout_at(deadline, TcpStream::connect(to)).await;
    let tcp = tcp.map_err(|_| HttpError::NotSent(format!("connection to {to}: no time left")))?;
    let tcp = tcp.map_err(|e| HttpError::NotSent(format!("connection to {to} failed: {e}")))?;
    // Without it, a request whose body is a segment of its own would wait for an acknowledgement; it works without too.
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    Ok(tcp)
}

/// TLS over it, with the server that has this name.
pub(super) async fn encrypt(
    tcp: TcpStream,
    to: SocketAddr,
    name: &str,
    config: Arc<ClientConfig>,
    deadline: Instant,
) -> Result<TlsStream<TcpStream>, HttpError> {
    let server = match name.parse::<IpAddr>() {
        Ok(ip) => ServerName::IpAddress(ip.into()),
        Err(_) => ServerName::try_from(name.to_owned())
            .map_err(|_| HttpError::NotSent(format!("{name:?} cannot be the name of a TLS server")))?,
    };
    let tls = timeout_at(deadline, TlsConnector::from(config).connect(server, tcp)).await;
    let tls = tls.map_err(|_| HttpError::NotSent(format!("TLS handshake with {to}: no time left")))?;
    tls.map_err(|e| HttpError::NotSent(format!("TLS handshake with {name} at {to} failed: {e}")))
}

/// Has a proxy lead to a server (CONNECT): what is sent from then on is the server's.
async fn lead(tcp: &mut TcpStream, server: &str) -> Result<(), String> {
    let ask = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n");
    tcp.write_all(ask.as_bytes()).await.map_err(|e| e.to_string())?;
    let mut head: Vec<u8> = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == PROXY_HEAD {
            return Err(format!("its answer is longer than {} KiB", PROXY_HEAD / 1024));
        }
        // Byte by byte: what comes after the head is not the proxy's.
        head.push(tcp.read_u8().await.map_err(|e| e.to_string())?);
    }
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match status {
        _ if !version.starts_with(b"HTTP/1.") => Err("it does not speak HTTP/1".into()),
        [b'2', _, _] => Ok(()),
        status => Err(format!("it answered {}", String::from_utf8_lossy(status.get(..3).unwrap_or(status)))),
    }
}

async fn converse<T>(
    route: &Route<'_>,
    io: TokioIo<T>,
    request: Request<Full<Bytes>>,
) -> Result<HttpResponse, HttpError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let made = hyper::client::conn::http1::Builder::new().max_buf_size(HEAD_LIMIT).handshake(io).await;
    let (mut sender, connection) = made.map_err(|e| HttpError::NotSent(format!("connection not usable: {e}")))?;
    let began = Instant::now();
    let talk = async {
        let answer = sender.try_send_request(request).await.map_err(|mut e| {
            let text = cause(e.error());
            // Given back: the connection broke before a byte of it was written.
            if e.take_message().is_some() { HttpError::NotSent(text) } else { HttpError::Lost(text) }
        })?;
        let (head, body) = answer.into_parts();
        let body = collect(body, route).await?;
        Ok(HttpResponse {
            status: head.status.as_u16(),
            headers: headers(&head.headers),
            body: String::from_utf8_lossy(&body).into_owned(),
            latency_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            repeated: repeated(&head.headers),
            cookies: head.headers.get_all(SET_COOKIE).iter().map(text).collect(),
        })
    };
    // The connection is driven here and not in a task of its own: dropping this future closes it.
    let both = async {
        tokio::pin!(talk, connection);
        tokio::select! {
            biased;
            done = &mut talk => done,
            // Closed after the answer: what it has read is still to be collected. An error of it reaches `talk` too.
            _closed = &mut connection => talk.await,
        }
    };
    match timeout_at(route.deadline, both).await {
        Ok(done) => done,
        Err(_) => Err(HttpError::Lost(format!("no full answer within {}", rounded(began.elapsed())))),
    }
}

/// Reads an answer from a connection that is there, as [`exchange`] does.
#[cfg(feature = "fuzz")]
pub(crate) async fn answer<T>(io: T, limit: usize, within: Duration) -> Result<HttpResponse, HttpError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (roots, budget) = (Roots::default(), Budget::default());
    let to = SocketAddr::from(([127, 0, 0, 1], 80));
    let deadline = Instant::now() + within;
    let route = Route { to, tls: None, deadline, limit, roots: &roots, namespace: "prod", budget: &budget };
    let request = Request::get("/").header("host", "shop.example").body(Full::default());
    converse(&route, TokioIo::new(io), request.map_err(|e| HttpError::NotSent(e.to_string()))?).await
}

async fn collect(mut body: Incoming, route: &Route<'_>) -> Result<Bytes, HttpError> {
    let limit = route.limit;
    let mut all = BytesMut::new();
    let mut room = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| HttpError::Lost(format!("answer broke off: {}", cause(&e))))?;
        if let Ok(data) = frame.into_data() {
            if all.len() + data.len() > limit {
                return Err(HttpError::Lost(format!("answer larger than {} KiB", limit / 1024)));
            }
            if all.len() + data.len() > FREE && room.is_none() {
                room = Some(route.budget.room(route.namespace, limit, route.deadline).await?);
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

fn headers(map: &http::HeaderMap) -> std::collections::BTreeMap<String, String> {
    let mut all = std::collections::BTreeMap::<String, String>::new();
    for (name, value) in map {
        let value = text(value);
        all.entry(name.as_str().to_owned())
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(&value);
            })
            .or_insert(value);
    }
    all
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn repeated(map: &http::HeaderMap) -> std::collections::BTreeSet<String> {
    let again = map.keys().filter(|name| map.get_all(*name).iter().count() > 1);
    again.map(|name| name.as_str().to_owned()).collect()
}

/// The error with its causes: hyper keeps `connection reset` and the like one level down.
fn cause(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(inner) = next {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        next = inner.source();
    }
    text
}

fn rounded(span: Duration) -> crate::api::Duration {
    crate::api::Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
