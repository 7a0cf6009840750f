//! A faulty road to the API server: plain HTTP on loopback, TLS to the real one. The operator's kubeconfig points here.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;

use super::cluster;

/// What happens to a request, given its method and path.
pub type Rule = Box<dyn Fn(&http::Method, &str) -> Option<u16> + Send + Sync>;

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

    /// From now on requests for which `rule` names a status get that answer and go no further.
    pub fn fail(&self, rule: impl Fn(&http::Method, &str) -> Option<u16> + Send + Sync + 'static) {
        *self.inner.rule.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(rule));
    }

    /// From now on everything passes.
    pub fn heal(&self) {
        *self.inner.rule.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Requests answered with a failure so far.
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
        rule.as_ref().and_then(|r| r(request.method(), request.uri().path()))
    };
    if let Some(status) = verdict {
        inner.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        return plain(status, "refused by the test");
    }
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
