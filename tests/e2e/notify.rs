//! Receivers of notifications. Each is told of the events that it wants, in order and at least once, also when the operator is
//! killed or the receiver fails. A repeated notification has the same id. The run does not wait for a receiver, and no secret
//! is shown anywhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use cutover::api::Phase;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::harness::{Case, cluster, e2e, wait};

/// An address that is neither a machine's nor a loopback one, as a receiver's is.
pub const ADDRESS: &str = "10.77.0.1";
/// It stands in every URL and token.
pub const CANARY: &str = "canary-6b1f0c";
/// What webhooks are signed with.
const KEY: &str = "canary-6b1f0c-signing-key";

/// A request that a receiver got.
#[derive(Clone, Debug)]
pub struct Got {
    path: String,
    headers: BTreeMap<String, String>,
    pub body: Value,
    raw: String,
}

/// How a path answers its next requests, before it answers as it should.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// 429 with Retry-After.
    Busy,
    /// 500.
    Broken,
    /// A redirect.
    Elsewhere,
    /// Never answers.
    Hangs,
    /// Takes it, and its answer breaks off.
    BreaksOff,
    /// Takes it, and its answer comes byte by byte.
    Trickles,
}

#[derive(Default)]
pub struct Receivers {
    got: Mutex<Vec<Got>>,
    trouble: Mutex<BTreeMap<String, Vec<Trouble>>>,
}

impl Receivers {
    /// Listens on [`ADDRESS`].
    pub async fn start() -> Result<(Arc<Self>, SocketAddr)> {
        // It is there already where another test has added it.
        Command::new("ip").args(["addr", "add", &format!("{ADDRESS}/32"), "dev", "lo"]).output()?;
        let listener = TcpListener::bind((ADDRESS, 0)).await.context("the receivers")?;
        let at = listener.local_addr()?;
        let all = Arc::new(Self::default());
        let router = axum::Router::new().route("/{*path}", axum::routing::post(take)).with_state(all.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((all, at))
    }

    fn troubled(&self, path: &str, troubles: &[Trouble]) {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).insert(path.into(), troubles.to_vec());
    }

    /// What a path got that was taken.
    pub fn got(&self, path: &str) -> Vec<Got> {
        let got = self.got.lock().unwrap_or_else(PoisonError::into_inner);
        got.iter().filter(|g| g.path.starts_with(path)).cloned().collect()
    }
}

async fn take(
    State(all): State<Arc<Receivers>>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let trouble = {
        let mut troubles = all.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = troubles.get_mut(&path);
        queue.and_then(|queue| (!queue.is_empty()).then(|| queue.remove(0)))
    };
    match trouble {
        Some(Trouble::Busy) => return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], "").into_response(),
        Some(Trouble::Broken) => return (StatusCode::INTERNAL_SERVER_ERROR, CANARY).into_response(),
        Some(Trouble::Elsewhere) => return (StatusCode::FOUND, [("location", "/elsewhere")], "").into_response(),
        Some(Trouble::Hangs) => std::future::pending().await,
        Some(Trouble::BreaksOff | Trouble::Trickles) | None => {}
    }
    let raw = String::from_utf8_lossy(&body).into_owned();
    let headers = headers.iter().filter_map(|(k, v)| Some((k.to_string(), v.to_str().ok()?.to_owned()))).collect();
    let got = Got { path: path.clone(), headers, body: serde_json::from_str(&raw).unwrap_or_default(), raw };
    all.got.lock().unwrap_or_else(PoisonError::into_inner).push(got);
    let byte = || Ok::<_, std::io::Error>(Bytes::from_static(b"."));
    match trouble {
        Some(Trouble::BreaksOff) => {
            let parts = [byte(), Err(std::io::Error::other("the receiver is gone"))];
            return Body::from_stream(futures::stream::iter(parts)).into_response();
        }
        Some(Trouble::Trickles) => {
            let second = tokio::time::interval(Duration::from_secs(1));
            let bytes = futures::stream::unfold(second, async |mut second| {
                second.tick().await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b".")), second))
            });
            return Body::from_stream(bytes).into_response();
        }
        _ => {}
    }
    if path.starts_with("slack") {
        return json!({"ok": true, "channel": "C1", "ts": "171.42"}).to_string().into_response();
    }
    StatusCode::ACCEPTED.into_response()
}

/// Secrets of all receivers, which the account may read.
async fn secrets(t: &Case, at: SocketAddr) -> Result<()> {
    let url = |path: &str| format!("http://{at}/{path}?token={CANARY}");
    let all = [
        secret("hook", json!({"url": url("webhook"), "key": KEY})),
        secret("slack", json!({"token": CANARY, "api-url": format!("http://{at}/slack")})),
        secret("pager", json!({"key": CANARY, "api-url": format!("http://{at}/pager")})),
        secret(
            "others",
            json!({"teams": url("teams"), "alerts": format!("http://{at}/alertmanager"), "events": url("cdevents")}),
        ),
    ];
    for object in all {
        cluster::apply(&t.client, &object, &t.ns).await?;
    }
    read_secrets(t).await
}

/// A Secret.
pub fn secret(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

/// The account's right to read Secrets.
pub async fn read_secrets(t: &Case) -> Result<()> {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "receivers"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "receivers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "receivers"},
        "subjects": [{"kind": "ServiceAccount", "name": "cutover", "namespace": t.ns}],
    });
    for object in [role, binding] {
        cluster::apply(&t.client, &object, &t.ns).await?;
    }
    Ok(())
}

const NOTIFY: &str = "notify:
- {name: hook, webhook: {secret: {name: hook, key: url}, signWith: {name: hook, key: key}},
   texts: {RolledBack: 'shop is on ${live} again, release ${release.version}'}}
- {name: ops, slack: {secret: {name: slack, key: token}, channel: C0FFEE}}
- {name: on-call, pagerDuty: {secret: {name: pager, key: key}}}
- {name: teams, teams: {secret: {name: others, key: teams}}}
- {name: alerts, alertmanager: {secret: {name: others, key: alerts}}}
- {name: dora, cdEvents: {secret: {name: others, key: events}}, events: [Completed, RollingBack, RolledBack]}
";

/// The events that the webhook has heard of, each once: what comes twice has the same id.
fn heard(all: &Receivers) -> Vec<(String, String)> {
    let mut seen: Vec<(String, String)> = vec![];
    for got in all.got("webhook") {
        let text = |field: &str| got.body[field].as_str().unwrap_or_default().to_owned();
        let it = (text("id"), text("event"));
        if !seen.contains(&it) {
            seen.push(it);
        }
    }
    seen
}

#[test]
fn receivers_hear_of_a_rollback_in_order_through_restarts_and_troubles_of_their_own() {
    e2e("notify_night", async |t: &Case| {
        let (all, at) = Receivers::start().await?;
        all.troubled("webhook", &[Trouble::Busy, Trouble::Elsewhere, Trouble::Hangs]);
        all.troubled("slack/chat.postMessage", &[Trouble::Broken]);
        all.troubled("teams", &[Trouble::BreaksOff, Trouble::Trickles]);
        secrets(t, at).await?;
        t.arguments(&["--allow-private", &format!("{ADDRESS}/32")]);
        t.web().await?;
        t.start().await?;
        let spec = format!("release: {{version: 2.0.0}}\nobserve: {{for: 10m}}\n{NOTIFY}");
        t.cutover("shop", &spec).await?;
        // Whoever does not answer holds up nothing.
        t.phase("shop", Phase::Observing, 60).await?;
        t.crash()?;
        wait::poll("the webhook hears of the switch", Duration::from_secs(90), async || {
            Ok(heard(&all).iter().any(|(_, event)| event == "Switching").then_some(()))
        })
        .await?;
        t.kill();
        t.merge::<cutover::api::Cutover>("shop", json!({"spec": {"activate": "blue"}})).await?;
        t.restart_as_before()?;
        let run = t.closed("shop", 90).await?;

        let events: Vec<String> = heard(&all).into_iter().map(|(_, event)| event).collect();
        ensure!(events == ["Preflight", "Switching", "RollingBack", "RolledBack"], "{events:?}");
        for got in all.got("webhook") {
            let time = got.headers.get("cutover-timestamp").context("no time")?;
            let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes())?;
            mac.update(format!("v0:{time}:{}", got.raw).as_bytes());
            let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
            ensure!(got.headers.get("cutover-signature") == Some(&format!("v0={hex}")), "{got:?}");
            ensure!(got.headers.get("idempotency-key").map(String::as_str) == got.body["id"].as_str(), "{got:?}");
        }
        let last = all.got("webhook").pop().context("nothing")?;
        ensure!(last.body["text"] == json!("shop is on blue again, release 2.0.0"), "{last:?}");

        // One message that changes, the rest in its thread.
        let slack = all.got("slack");
        let first: Vec<&Got> =
            slack.iter().filter(|g| g.path.ends_with("postMessage") && g.body["thread_ts"].is_null()).collect();
        ensure!(first.len() == 1 && first[0].body["channel"] == json!("C0FFEE"), "{first:?}");
        let changes = slack.iter().filter(|g| g.path.ends_with("chat.update")).count();
        ensure!(changes >= 3 && slack.iter().filter(|g| !g.body["thread_ts"].is_null()).count() >= 3, "{slack:?}");

        // One incident, which is over; and what has changed.
        let pages = all.got("pager/v2/enqueue");
        let actions: Vec<&str> = pages.iter().filter_map(|g| g.body["event_action"].as_str()).collect();
        ensure!(actions.first() == Some(&"trigger") && actions.last() == Some(&"resolve"), "{actions:?}");
        let uid = run.metadata.uid.clone().unwrap_or_default();
        ensure!(pages.iter().all(|g| g.body["dedup_key"] == json!(format!("cutover/{uid}"))), "{pages:?}");
        ensure!(!all.got("pager/v2/change/enqueue").is_empty(), "no change event");

        // What was taken and not answered in full came again, before what comes after it.
        let cards = all.got("teams");
        let title = |n: usize| cards.get(n).map(|got| &got.body["attachments"][0]["content"]["body"][0]["text"]);
        ensure!(cards.len() >= 6 && title(0) == title(1) && title(1) == title(2) && title(2) != title(3), "{cards:?}");
        let types: Vec<Value> = all.got("cdevents").into_iter().map(|g| g.body["type"].clone()).collect();
        ensure!(types.contains(&json!("dev.cdevents.service.rolledback.0.3.0")), "{types:?}");
        let alerts = all.got("alertmanager/api/v2/alerts");
        ensure!(alerts.iter().any(|g| g.raw.contains("CutoverRolledBack")), "{alerts:?}");

        // Receipts, and no secret anywhere.
        let notices = &run.status.as_ref().context("status")?.notices;
        ensure!(notices.pending.is_empty() && notices.receivers.values().all(|r| r.given_up == 0), "{notices:?}");
        ensure!(notices.receivers.len() == 6, "{notices:?}");
        let shown = serde_json::to_string(&run)?;
        let cutover = serde_json::to_string(&t.api::<cutover::api::Cutover>().get("shop").await?)?;
        let log = std::fs::read_to_string(t.dir.join("operator.log"))?;
        ensure!(!log.is_empty(), "no log");
        for (name, text) in [("run", shown), ("Cutover", cutover), ("log", log)] {
            ensure!(!text.contains(CANARY), "a secret stands in the {name}");
        }
        Ok(())
    });
}

/// Of an idle Cutover, whose receivers are all of no use.
const WRONG: &str = "activate: blue
notify:
- {name: hook, webhook: {secret: {name: hook, key: url}, signWith: {name: hook, key: none}}}
- {name: ops, slack: {secret: {name: slack, key: token}, channel: C0FFEE}}
- {name: teams, teams: {secret: {name: missing, key: url}}}
- {name: on-call, offered: platform/on-call}
";

/// The same put right.
const RIGHT: &str = "activate: blue
notify:
- {name: hook, webhook: {secret: {name: hook, key: url}, signWith: {name: hook, key: key}}}
- {name: ops, slack: {secret: {name: slack, key: token}, channel: C0FFEE}}
";

#[test]
fn receivers_that_are_of_no_use_are_told_when_applied_and_no_more_once_they_are_right() {
    e2e("notify_applied", async |t: &Case| {
        let (all, at) = Receivers::start().await?;
        secrets(t, at).await?;
        let mut slack = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "slack"}});
        slack["stringData"] = json!({"token": CANARY, "api-url": ""});
        cluster::apply(&t.client, &slack, &t.ns).await?;
        t.arguments(&["--forbid-public", "--allow-private", &format!("{ADDRESS}/32")]);
        t.web().await?;
        t.start().await?;
        t.cutover("shop", WRONG).await?;
        let refused = t.condition("shop", "Accepted", false, 20).await?;
        ensure!(
            refused.contains("has no receiver \"platform/on-call\" for this namespace; it offers: none"),
            "{refused}"
        );
        let why = t.condition("shop", "NotificationsFailing", true, 20).await?;
        for part in [
            "ReceiverUnusable: ",
            "spec.notify[hook].webhook.signWith: Secret hook has no key none",
            "spec.notify[ops].slack.secret: Secret slack, key token: it is no token of a bot",
            "spec.notify[teams].teams.secret: Secret missing is not there",
        ] {
            ensure!(why.contains(part), "{part}: {why}");
        }
        ensure!(!why.contains(CANARY), "{why}");
        t.plugin(None, &["check", "shop"]).await?.says(&["spec.notify[ops].slack.secret"])?;
        // One field is corrected in the Cutover, the other in its Secret alone, which nobody watches.
        t.cutover("shop", RIGHT).await?;
        wait::poll("the Secret alone is wrong", Duration::from_secs(20), async || {
            let why = t.condition("shop", "NotificationsFailing", true, 20).await?;
            Ok((!why.contains("hook") && why.contains("slack")).then_some(()))
        })
        .await?;
        slack["stringData"] = json!({"token": CANARY, "api-url": format!("http://{at}/slack")});
        cluster::apply(&t.client, &slack, &t.ns).await?;
        wait::poll("the condition is gone", Duration::from_secs(90), async || {
            let conditions = t.api::<cutover::api::Cutover>().get("shop").await?.status.unwrap_or_default().conditions;
            Ok((!conditions.iter().any(|c| c.type_ == "NotificationsFailing")).then_some(()))
        })
        .await?;
        ensure!(all.got("").is_empty(), "nobody was asked: {:?}", all.got(""));
        // What they would be sent is printed without their Secrets.
        t.cutover("shop", &RIGHT.replace("blue", "green")).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        let told = t.plugin(None, &["notify", "shop", "--event", "Switching", "--dry-run", "-o", "json"]).await?;
        let told = told.with(0)?.json()?;
        ensure!(told["happened"] == json!(true), "{told:#}");
        ensure!(told["receivers"][0]["requests"][0]["url"] == json!("<Secret hook, key url>"), "{told:#}");
        let asked = &told["receivers"][1]["requests"][0];
        ensure!(asked["headers"]["Authorization"] == json!("Bearer <Secret slack, key token>"), "{told:#}");
        let unknown = ["notify", "shop", "--event", "Switching", "--receiver", "none", "--dry-run"];
        t.plugin(None, &unknown).await?.with(5)?.says(&["no receiver none", "name one of hook, ops"])?;
        t.plugin(None, &["notify", "shop", "--event", "Switching"]).await?.with(64)?.says(&["add --dry-run"])?;
        Ok(())
    });
}
