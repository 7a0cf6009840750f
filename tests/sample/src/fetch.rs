//! One plain HTTP request on a connection of its own. Hosts are addresses: a static program resolves no names.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};
use url::Url;

/// Longest time of a request.
const WITHIN: Duration = Duration::from_secs(30);

/// What came back.
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// Sends one request.
///
/// # Errors
/// No connection, or no whole answer within 30 s.
pub async fn send(method: Method, url: &str, body: Bytes) -> Result<Answer> {
    send_as(None, method, url, body).await
}

/// Sends one request with a bearer token.
///
/// # Errors
/// No connection, or no whole answer within 30 s.
pub async fn send_as(token: Option<&str>, method: Method, url: &str, body: Bytes) -> Result<Answer> {
    timeout(WITHIN, exchange(token, method, url, body))
        .await
        .with_context(|| format!("{url}: no answer within {WITHIN:?}"))?
}

async fn exchange(token: Option<&str>, method: Method, url: &str, body: Bytes) -> Result<Answer> {
    let url: Url = url.parse().with_context(|| format!("{url} is no URL"))?;
    let (Some(host), Some(port), "http") = (url.host_str(), url.port_or_known_default(), url.scheme()) else {
        bail!("{url}: http://HOST:PORT/PATH is expected");
    };
    let stream = TcpStream::connect((host, port)).await.with_context(|| format!("cannot reach {host}:{port}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its errors show as errors of the request.
    let connection = tokio::spawn(connection);
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, format!("{host}:{port}"));
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let answer = sender.send_request(request.body(Full::new(body))?).await?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}
