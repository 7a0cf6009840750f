//! What the examples' runbooks ask an application for beyond health: accounts and tokens, chat and sessions, drills,
//! payments, attachments, and an object store that keeps everything in memory.

use super::{App, AppBody, routes};
use crate::fetch;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    env,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Longest body: a backup goes through here.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// Notifications that are remembered.
const MAX_NOTICES: usize = 1000;
/// Longest wait for the database.
const DATABASE: Duration = Duration::from_secs(2);

/// What one process remembers.
#[derive(Default)]
pub struct Desk(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    /// Messages of each chat session.
    sessions: BTreeMap<String, u64>,
    /// Objects of the object store.
    objects: BTreeMap<String, Bytes>,
    attachments: u64,
    /// Notifications, in the order in which they came.
    notices: Vec<Value>,
}

impl Desk {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers what is asked here; nothing where the path is another module's.
pub async fn handle(app: &App, request: Request<Incoming>) -> Result<Response<AppBody>, Request<Incoming>> {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let html = request.headers().get(header::ACCEPT).is_some_and(|kind| kind == "text/html");
    let here = answers(&path) || (path == "/" && html);
    if !here {
        return Err(request);
    }
    let query = routes::query(request.uri().query());
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(refuse(StatusCode::PAYLOAD_TOO_LARGE, "body too large or cut off")),
    };
    if let Some(key) = path.strip_prefix("/objects/") {
        return Ok(object(app, &method, key, body));
    }
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let bad = |kind: &str| app.route_fault(&path).is_some_and(|fault| fault == kind);
    if path == "/notices" && method == Method::POST {
        return Ok(notice(app, &parts.headers, json));
    }
    let reading = matches!(method, Method::GET | Method::HEAD);
    let post = method == Method::POST;
    let ok = |value: Value| routes::json(StatusCode::OK, &value);
    Ok(match path.as_str() {
        "/healthz" if reading => ok(json!({"ok": true})),
        "/readyz" if reading => {
            let db = database().await;
            let status = if db { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            routes::json(status, &json!({"ok": db, "db": db}))
        }
        "/auth/login" | "/v1/auth/login" if post => login(&json, bad("open")),
        "/api/chat" if post => {
            let session = json["session_id"].as_str().unwrap_or("none").to_owned();
            *app.desk.memory().sessions.entry(session.clone()).or_default() += 1;
            ok(json!({
                "session_id": session, "response": "Lions live in prides.",
                "followup_questions": ["What do they eat?"], "sources": [{"title": "Lions", "page": 12}],
            }))
        }
        "/api/session" if reading => {
            let session = query.get("session_id").cloned().unwrap_or_default();
            let count = app.desk.memory().sessions.get(&session).copied().unwrap_or_default();
            ok(json!({"session_id": session, "message_count": count}))
        }
        "/api/stt" if post => {
            let audio = body.windows(4).any(|bytes| bytes == b"RIFF");
            if audio { ok(json!({"text": "tell me about lions"})) } else { refuse(StatusCode::BAD_REQUEST, "no audio") }
        }
        "/notices" if reading => ok(json!(app.desk.memory().notices)),
        "/_stcore/health" if reading => ok(json!("ok")),
        "/" if reading => page(app),
        "/api/v1/recall/simulate" if post => guarded(&parts.headers, bad("open"), &["admin"], || {
            ok(json!({
                "batch_code": json["batch_code"], "suppliers_count": 2, "finished_lots_count": 1,
                "impacted_customers_count": 2, "impacted_qty": 650.0,
            }))
        }),
        "/api/v1/automation/status" if reading => {
            guarded(&parts.headers, bad("open"), &[], || ok(json!({"status": "ok", "stuck_runs": 0})))
        }
        "/api/v1/automation/runs" if reading => guarded(&parts.headers, bad("open"), &[], || {
            ok(json!([{"id": 1, "job": "daily-cycle", "status": "completed"}]))
        }),
        "/api/v1/kpi/daily" if reading => {
            guarded(&parts.headers, bad("open"), &[], || ok(json!({"day": crate::now_text().get(..10), "orders": 41})))
        }
        "/admin/ops/kpis" if reading => {
            guarded(&parts.headers, bad("open"), &["admin"], || ok(json!({"openJobs": 3, "errorsLastHour": 0})))
        }
        "/admin/ai/metrics" if reading => guarded(&parts.headers, bad("open"), &["admin"], || {
            ok(json!({"cacheHitRatio": 0.62, "blockedCalls": 0, "topCostUsers": []}))
        }),
        "/payments/health" if reading => guarded(&parts.headers, bad("open"), &["admin"], || {
            let live = setting("STRIPE_SECRET_KEY").is_some_and(|key| key.starts_with("sk_live_"));
            ok(json!({"ok": true, "mode": if live { "live" } else { "test" }}))
        }),
        "/payments/webhook" if post => webhook(&parts.headers, bad("open")),
        "/jobs/1/accept" if post => attested(&parts.headers),
        "/attachments" if post => attach(app, body).await,
        _ if path.starts_with("/attachments/") && reading => attachment(&path["/attachments/".len()..]).await,
        _ if path.starts_with("/v1/agents/") && path.ends_with("/execute") && post => {
            ok(json!({"status": "done", "output": "hello"}))
        }
        _ if path.starts_with("/api/v1/audit/packs/") && path.ends_with("/checksums.json") && reading => {
            ok(json!({"manifest.json": "5feceb66"}))
        }
        _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "method not allowed, or no such path"),
    })
}

/// Whether a path is answered here.
fn answers(path: &str) -> bool {
    const EXACT: [&str; 19] = [
        "/healthz",
        "/readyz",
        "/auth/login",
        "/v1/auth/login",
        "/api/chat",
        "/api/session",
        "/api/stt",
        "/_stcore/health",
        "/api/v1/recall/simulate",
        "/api/v1/automation/status",
        "/api/v1/automation/runs",
        "/api/v1/kpi/daily",
        "/admin/ops/kpis",
        "/admin/ai/metrics",
        "/payments/health",
        "/payments/webhook",
        "/jobs/1/accept",
        "/attachments",
        "/notices",
    ];
    EXACT.contains(&path)
        || path.starts_with("/objects/")
        || path.starts_with("/attachments/")
        || (path.starts_with("/v1/agents/") && path.ends_with("/execute"))
        || (path.starts_with("/api/v1/audit/packs/") && path.ends_with("/checksums.json"))
}

/// Whether the bearer of a token has one of the roles (any role where none is named). Without `API_TOKEN_MAP_JSON` the
/// application knows no tokens and is open.
pub fn allowed(headers: &HeaderMap, roles: &[&str]) -> Result<(), StatusCode> {
    let Some(map) = setting("API_TOKEN_MAP_JSON") else { return Ok(()) };
    if setting("AUTH_ENABLED").is_some_and(|on| on == "false") {
        return Ok(());
    }
    let map: Value = serde_json::from_str(&map).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
    let held = map.get(token).and_then(|user| user["roles"].as_array()).ok_or(StatusCode::UNAUTHORIZED)?;
    let good = roles.is_empty() || held.iter().any(|role| role.as_str().is_some_and(|role| roles.contains(&role)));
    if good { Ok(()) } else { Err(StatusCode::FORBIDDEN) }
}

fn guarded(
    headers: &HeaderMap,
    open: bool,
    roles: &[&str],
    answer: impl FnOnce() -> Response<AppBody>,
) -> Response<AppBody> {
    match allowed(headers, roles) {
        _ if open => answer(),
        Ok(()) => answer(),
        Err(status) => refuse(status, "not allowed"),
    }
}

fn login(json: &Value, open: bool) -> Response<AppBody> {
    let known = setting("SMOKE_PASSWORD").is_some_and(|password| json["password"] == password.as_str());
    if known || open {
        routes::json(StatusCode::OK, &json!({"token": "session-1", "user": json["user"]}))
    } else {
        refuse(StatusCode::UNAUTHORIZED, "unknown user or wrong password")
    }
}

/// A stand-in: the payment provider would sign the body; here it shows the secret itself.
fn webhook(headers: &HeaderMap, open: bool) -> Response<AppBody> {
    let secret = setting("STRIPE_WEBHOOK_SECRET").unwrap_or_default();
    let shown = headers.get("stripe-signature").is_some_and(|value| value.as_bytes() == secret.as_bytes());
    if open || (shown && !secret.is_empty()) {
        routes::json(StatusCode::OK, &json!({"received": true}))
    } else {
        refuse(StatusCode::BAD_REQUEST, "the signature does not match")
    }
}

fn attested(headers: &HeaderMap) -> Response<AppBody> {
    let enforced = setting("APP_ATTESTATION_ENFORCE").is_some_and(|on| on == "true");
    if enforced && !headers.contains_key("x-app-attestation") {
        return refuse(StatusCode::FORBIDDEN, "the app has not attested itself");
    }
    routes::json(StatusCode::OK, &json!({"accepted": true}))
}

/// The object store, by the address that Kubernetes gives each container of the namespace.
fn store() -> Option<String> {
    (setting("OBJECT_STORAGE_PROVIDER")? == "s3").then_some(())?;
    Some(format!("http://{}:{}", setting("STORAGE_SERVICE_HOST")?, setting("STORAGE_SERVICE_PORT")?))
}

async fn attach(app: &App, body: Bytes) -> Response<AppBody> {
    let id = {
        let mut memory = app.desk.memory();
        memory.attachments += 1;
        format!("{}-{}", app.config.pod, memory.attachments)
    };
    let Some(store) = store() else {
        let row = json!({"id": id, "storageKey": null, "diskPath": format!("/uploads/{id}")});
        return routes::json(StatusCode::CREATED, &row);
    };
    match fetch::send(Method::PUT, &format!("{store}/objects/attachments/{id}"), body).await {
        Ok(answer) if answer.status.is_success() => {
            let row = json!({"id": id, "storageKey": format!("attachments/{id}"), "diskPath": null});
            routes::json(StatusCode::CREATED, &row)
        }
        _ => refuse(StatusCode::BAD_GATEWAY, "the object store does not answer"),
    }
}

/// What is in the object store is there to be fetched; the rest still comes from the disk.
async fn attachment(id: &str) -> Response<AppBody> {
    let Some(store) = store() else { return routes::json(StatusCode::OK, &json!({"id": id, "from": "disk"})) };
    match fetch::send(Method::HEAD, &format!("{store}/objects/attachments/{id}"), Bytes::new()).await {
        Ok(answer) if answer.status == StatusCode::OK => {
            let url = format!("{store}/objects/attachments/{id}?expires=300&signature=5feceb66");
            let mut response = routes::json(StatusCode::FOUND, &json!({"location": url}));
            if let Ok(url) = HeaderValue::from_str(&url) {
                response.headers_mut().insert(header::LOCATION, url);
            }
            response
        }
        Ok(_) => routes::json(StatusCode::OK, &json!({"id": id, "from": "disk"})),
        Err(_) => refuse(StatusCode::BAD_GATEWAY, "the object store does not answer"),
    }
}

fn object(app: &App, method: &Method, key: &str, body: Bytes) -> Response<AppBody> {
    let mut memory = app.desk.memory();
    match *method {
        Method::PUT | Method::POST => {
            let bytes = body.len();
            memory.objects.insert(key.to_owned(), body);
            routes::json(StatusCode::CREATED, &json!({"key": key, "bytes": bytes}))
        }
        Method::GET | Method::HEAD => match memory.objects.get(key) {
            Some(bytes) => routes::reply(StatusCode::OK, "application/octet-stream", AppBody::whole(bytes.clone())),
            None => refuse(StatusCode::NOT_FOUND, "no such object"),
        },
        Method::DELETE => {
            let there = memory.objects.remove(key).is_some();
            routes::json(StatusCode::OK, &json!({"key": key, "deleted": there}))
        }
        _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "use PUT, GET, HEAD or DELETE"),
    }
}

/// Takes a notification, as a receiver of webhooks does: with the key by which it is known if it comes again.
fn notice(app: &App, headers: &HeaderMap, mut body: Value) -> Response<AppBody> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    body["idempotencyKey"] = json!(text("idempotency-key"));
    body["signature"] = json!(text("cutover-signature"));
    let mut memory = app.desk.memory();
    if memory.notices.len() >= MAX_NOTICES {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many notifications are remembered");
    }
    memory.notices.push(body);
    routes::json(StatusCode::OK, &json!({"ok": true}))
}

/// Whether the database takes connections.
async fn database() -> bool {
    let (Some(host), Some(port)) = (setting("DATABASE_SERVICE_HOST"), setting("DATABASE_SERVICE_PORT")) else {
        return false;
    };
    let connect = tokio::net::TcpStream::connect(format!("{host}:{port}"));
    tokio::time::timeout(DATABASE, connect).await.is_ok_and(|connected| connected.is_ok())
}

fn page(app: &App) -> Response<AppBody> {
    let html = format!(
        "<!doctype html><title>{0}</title><h1>{0}</h1><p>Welcome!</p><button>lion</button><button>voice</button>",
        app.config.app
    );
    routes::reply(StatusCode::OK, "text/html; charset=utf-8", AppBody::whole(html))
}

fn setting(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn refuse(status: StatusCode, message: &str) -> Response<AppBody> {
    routes::json(status, &json!({"error": message}))
}
