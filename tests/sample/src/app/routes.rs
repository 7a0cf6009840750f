//! Paths of the application port.

use super::{App, AppBody, desk, pack, websocket};
use crate::{LOAD_AGENT, LOAD_HEADER, grpc};
use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};
use tokio::time::Instant;

const MAX_BODY: usize = 1024 * 1024;
const MAX_BIG: u64 = 1024 * 1024 * 1024;
const MAX_SLOW_MS: u64 = 600_000;

/// Answers one request on the application port.
pub async fn handle(app: &App, request: Request<Incoming>) -> Response<AppBody> {
    let version = request.version();
    let mut response = match request.uri().path() {
        "/ready" => ready(app),
        "/metrics" => metrics(app),
        // Probes of the kubelet see no faults and do not count: an injected error
        // must show in live traffic, not make the kubelet restart the pod.
        _ if is_probe(request.headers()) => dispatch(app, request).await,
        _ => ordinary(app, request).await,
    };
    // An answer of HTTP/2 names no connection: a GOAWAY says the same. One that switches protocols names it itself.
    let keeps = version == Version::HTTP_2 || response.status() == StatusCode::SWITCHING_PROTOCOLS;
    decorate(app, response.headers_mut(), keeps);
    response
}

async fn ordinary(app: &App, request: Request<Incoming>) -> Response<AppBody> {
    let start = Instant::now();
    let live = is_live(request.headers());
    let decision = app.faults.decide(live);
    let routed = app.route_fault(request.uri().path()).map(str::to_owned).unwrap_or_default();
    let slow =
        routed.strip_prefix("slow:").and_then(|ms| ms.parse().ok()).map_or(Duration::ZERO, Duration::from_millis);
    let latency = decision.latency + slow;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let fail = decision.fail && (live || !app.config.only_users);
    let response = if fail || routed == "error" {
        error(StatusCode::INTERNAL_SERVER_ERROR, "injected fault")
    } else {
        dispatch(app, request).await
    };
    app.metrics.observe(response.status().as_u16(), start.elapsed());
    app.served.fetch_add(1, Ordering::Relaxed);
    if live {
        app.faults.live_served();
    }
    response
}

async fn dispatch(app: &App, request: Request<Incoming>) -> Response<AppBody> {
    let request = match desk::handle(app, request).await {
        Ok(response) => return response,
        Err(request) => request,
    };
    let path = request.uri().path().to_owned();
    let query = query(request.uri().query());
    // hyper leaves out the body of an answer to HEAD but keeps its length.
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    let post = request.method() == Method::POST;
    match path.as_str() {
        "/api/echo" if get || post => echo(request, query).await,
        "/api/v1/audit/packs/generate" | "/api/feature-flags/emergency-disable" if post => act(app, &request),
        "/api/v1/audit/packs/generate" | "/api/feature-flags/emergency-disable" => not_allowed("POST"),
        _ if pack_to_verify(&path).is_some() => {
            let id = pack_to_verify(&path).unwrap_or_default();
            if post {
                let valid = pack::valid(id) && app.route_fault(&path) != Some("invalid");
                let wrong: &[&str] = if valid { &[] } else { &["manifest.json"] };
                json(StatusCode::OK, &json!({"pack_id": id, "valid": valid, "missing_files": [], "mismatches": wrong}))
            } else {
                not_allowed("POST")
            }
        }
        "/websocket" if get => websocket::accept(request.headers()),
        grpc::PATH if post => {
            // The request is empty; who sent one too long, or half of one, gets an answer as well.
            let _ = Limited::new(request.into_body(), MAX_BODY).collect().await;
            let message = grpc::answer(&app.config.colour, &app.config.pod);
            reply(StatusCode::OK, grpc::CONTENT_TYPE, AppBody::Call(Some(message), Some(grpc::went_well())))
        }
        "/slow" if get => match number(&query, "ms", 1000, MAX_SLOW_MS) {
            Ok(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                json(StatusCode::OK, &json!({"slept_ms": ms}))
            }
            Err(message) => error(StatusCode::BAD_REQUEST, &message),
        },
        "/big" if get => match number(&query, "bytes", 1024 * 1024, MAX_BIG) {
            Ok(bytes) => reply(StatusCode::OK, "application/octet-stream", AppBody::Filler(bytes)),
            Err(message) => error(StatusCode::BAD_REQUEST, &message),
        },
        "/redirect" if get => {
            let mut response = json(StatusCode::FOUND, &json!({"location": "/health"}));
            let headers = response.headers_mut();
            headers.insert(header::LOCATION, HeaderValue::from_static("/health"));
            response
        }
        _ => match resource(app, &path) {
            Some(value) if get => json(StatusCode::OK, &value),
            None if !matches!(path.as_str(), "/api/echo" | "/slow" | "/big" | "/redirect") => {
                error(StatusCode::NOT_FOUND, "no such path")
            }
            _ => not_allowed("GET, HEAD"),
        },
    }
}

/// The paths that answer a plain GET with JSON.
fn resource(app: &App, path: &str) -> Option<Value> {
    let config = &app.config;
    let component = |name: &str| json!({"status": "ok", "component": name, "latency_ms": 1});
    Some(match path {
        "/" => json!({
            "app": config.app, "version": config.version, "colour": config.colour,
            "pod": config.pod,
            "feature_flags_disabled": app.flags_disabled.load(Ordering::Relaxed),
        }),
        "/health" | "/api/health" => json!({
            "status": "ok", "version": config.version, "colour": config.colour,
            "pod": config.pod, "timestamp": crate::now_text(),
        }),
        "/api/system/health/database" => component("database"),
        "/api/system/health/redis" => component("redis"),
        "/api/system/health/supabase" => component("supabase"),
        "/api/system/health/google-cloud" => component("google-cloud"),
        "/api/stripe/health" => component("stripe"),
        "/v1/agents" => json!([
            {"id": "agent-1", "name": "auditor", "status": "active"},
            {"id": "agent-2", "name": "reviewer", "status": "active"},
        ]),
        "/api/recall/drill" => json!({
            "status": "ok", "recalled": 3, "duration_ms": 42, "duration_seconds": 0.042,
        }),
        _ => return None,
    })
}

fn act(app: &App, request: &Request<Incoming>) -> Response<AppBody> {
    if request.uri().path().ends_with("/emergency-disable") {
        app.flags_disabled.store(true, Ordering::Relaxed);
        return json(StatusCode::OK, &json!({"disabled": true, "pod": app.config.pod}));
    }
    if !request.headers().contains_key(header::AUTHORIZATION) {
        return error(StatusCode::UNAUTHORIZED, "the header Authorization is missing");
    }
    if let Err(status) = desk::allowed(request.headers(), &["qa_manager"]) {
        return error(status, "not allowed");
    }
    json(StatusCode::OK, &json!({"pack_id": pack::issue(&app.config.pod)}))
}

fn pack_to_verify(path: &str) -> Option<&str> {
    let id = path.strip_prefix("/api/v1/audit/packs/")?.strip_suffix("/verify")?;
    (!id.contains('/')).then_some(id)
}

async fn echo(request: Request<Incoming>, query: BTreeMap<String, String>) -> Response<AppBody> {
    let (parts, body) = request.into_parts();
    let mut headers = BTreeMap::<&str, String>::new();
    for (name, value) in &parts.headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str())
            .and_modify(|old| *old = format!("{old}, {text}"))
            .or_insert_with(|| text.to_string());
    }
    let mut cookies = vec![];
    let mut answer = json!({
        "method": parts.method.as_str(), "path": parts.uri.path(), "query": query,
        "headers": headers,
    });
    if parts.method == Method::POST {
        match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => {
                let bytes = body.to_bytes();
                answer["body"] = json!(String::from_utf8_lossy(&bytes));
                // A session that the body names.
                let cookie = format!("sid={}; Path=/api; HttpOnly", String::from_utf8_lossy(&bytes).trim());
                cookies
                    .extend(query.contains_key("session").then(|| HeaderValue::from_str(&cookie)).and_then(Result::ok));
                answer["json"] = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            }
            Err(_) => return error(StatusCode::PAYLOAD_TOO_LARGE, "body too large or cut off"),
        }
    }
    let mut response = json(StatusCode::OK, &answer);
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn ready(app: &App) -> Response<AppBody> {
    if app.ready() {
        json(StatusCode::OK, &json!({"ready": true}))
    } else {
        json(StatusCode::SERVICE_UNAVAILABLE, &json!({"ready": false}))
    }
}

fn metrics(app: &App) -> Response<AppBody> {
    let text = app.metrics.render();
    reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", AppBody::whole(text))
}

fn is_live(headers: &HeaderMap) -> bool {
    headers.get(LOAD_HEADER).is_some_and(|value| value == "1") || agent(headers, LOAD_AGENT)
}

fn is_probe(headers: &HeaderMap) -> bool {
    agent(headers, "kube-probe/")
}

fn agent(headers: &HeaderMap, prefix: &str) -> bool {
    let agent = headers.get(header::USER_AGENT);
    agent.is_some_and(|value| value.as_bytes().starts_with(prefix.as_bytes()))
}

/// Headers that all answers of the application carry.
fn decorate(app: &App, headers: &mut HeaderMap, keeps: bool) {
    let fixed = [
        ("strict-transport-security", "max-age=63072000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ];
    for (name, value) in fixed {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let own = [("x-colour", &app.config.colour), ("x-version", &app.config.version), ("x-pod", &app.config.pod)];
    for (name, value) in own {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if app.draining() && !keeps {
        // Clients let go of the connection by themselves, so that none is in use
        // when the listener closes at the end of the drain.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The parameters of a query string; of a repeated one the last.
pub fn query(query: Option<&str>) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}

fn number(query: &BTreeMap<String, String>, name: &str, default: u64, max: u64) -> Result<u64, String> {
    match query.get(name).map(|text| text.parse()) {
        None => Ok(default),
        Some(Ok(number)) if number <= max => Ok(number),
        Some(_) => Err(format!("{name} must be a number up to {max}")),
    }
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &Value) -> Response<AppBody> {
    reply(status, "application/json", AppBody::whole(value.to_string()))
}

fn error(status: StatusCode, message: &str) -> Response<AppBody> {
    json(status, &json!({"error": message}))
}

fn not_allowed(allow: &'static str) -> Response<AppBody> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// An answer of any type.
pub fn reply(status: StatusCode, kind: &'static str, body: AppBody) -> Response<AppBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
