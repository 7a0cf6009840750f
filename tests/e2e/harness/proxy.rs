//! A faulty road to the API server: plain HTTP on loopback, TLS to the real one. The operator's kubeconfig points here.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;

use super::cluster;

/// What happens to a request instead of passing.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It goes no further, and this status is the answer.
    Refuse(u16),
    /// It is carried out, but this status is the answer.
    Lose(u16),
}

/// Says what happens to a request, given its method, path and query.
pub type Rule = Box<dyn Fn(&http::Method, &str) -> Option<Fault> + Send + Sync>;

struct Inner {
    upstream: String,
    http: reqwest::Client,
    rule: Mutex<Option<Rule>>,
    refused: std::sync::atomic::AtomicU64,
}

/// A running proxy; it ends with the test's runtime.
#[derive(Clone)]
pub struct Proxy {
    inner: Arc<Inner>,
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
            refused: std::sync::atomic::AtomicU64::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let app = axum::Router::new().fallback(forward).with_state(inner.clone());
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("proxy: {error}");
            }
        });
        Ok(Self { inner, url })
    }

    /// From now on requests for which `rule` names a fault meet it.
    pub fn fail(&self, rule: impl Fn(&http::Method, &str) -> Option<Fault> + Send + Sync + 'static) {
        *self.inner.rule.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(rule));
    }

    /// From now on everything passes.
    pub fn heal(&self) {
        *self.inner.rule.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
        Some(Fault::Lose(status)) => {
            // Carried out to its end before the answer is thrown away.
            let answer = pass(&inner, request).await;
            let _ = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
            plain(status, "the answer was lost by the test")
        }
        None => pass(&inner, request).await,
    }
}

async fn pass(inner: &Inner, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = format!("{}{}", inner.upstream, parts.uri.path_and_query().map_or("/", |p| p.as_str()));
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
            *response.body_mut() = Body::from_stream(answer.bytes_stream());
            response
        }
        Err(error) => plain(502, &error.to_string()),
    }
}
