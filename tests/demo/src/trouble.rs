//! What to show when the demonstration cannot go on: enough to see why without a second run.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams, LogParams};
use serde_json::Value;

use crate::cluster::{Cluster, is_ready};
use crate::screen::{Look, Screen};

const EVENTS: usize = 25;
const LOG_LINES: i64 = 40;

/// Status, Events and logs. What cannot be read is named and left out.
pub async fn show(cluster: &Cluster, screen: &Screen, operator_namespace: &str) {
    crate::follow::show_cutovers(cluster, screen).await;
    for (title, text) in [
        ("runs", runs(cluster).await),
        ("pods", pods(cluster).await),
        ("Events", events(cluster).await),
        ("the operator's log", operator_log(cluster, operator_namespace).await),
    ] {
        screen.heading(&format!("{title}:"));
        match text {
            Ok(text) => screen.line(&text),
            Err(error) => screen.say(Look::Yellow, &format!("  cannot be read: {error}")),
        }
    }
}

async fn runs(cluster: &Cluster) -> kube::Result<String> {
    let api: Api<cutover::api::CutoverRun> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut text = String::new();
    for run in api.list(&ListParams::default()).await? {
        let status = run.status.clone().unwrap_or_default();
        text += &format!("  {} {}", run.name_any(), status.phase);
        text += &status.ending.map(|ending| format!(": {}: {}", ending.reason, ending.message)).unwrap_or_default();
        text += &status.waiting.map(|why| format!(", waits: {why}")).unwrap_or_default();
        text += "\n";
        for step in status.steps {
            let message = step.message.unwrap_or_default();
            text += &format!("    {:<20} {:?} attempt {} {message}\n", step.name, step.state, step.attempt);
        }
        for condition in status.conditions {
            text +=
                &format!("    {}={} {}: {}\n", condition.type_, condition.status, condition.reason, condition.message);
        }
    }
    Ok(text)
}

async fn pods(cluster: &Cluster) -> kube::Result<String> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let line = |pod: Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        let containers = pod.status.as_ref().and_then(|status| status.container_statuses.clone()).unwrap_or_default();
        let waits = containers.iter().filter_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.clone());
        let waits = waits.collect::<Vec<_>>().join(" ");
        let restarts: i32 = containers.iter().map(|c| c.restart_count).sum();
        let ready = if is_ready(&pod) { "ready" } else { "not ready" };
        format!("  {:<40} {phase:<10} {ready:<10} restarts {restarts} {waits}\n", pod.name_any())
    };
    Ok(api.list(&ListParams::default()).await?.into_iter().map(line).collect())
}

async fn events(cluster: &Cluster) -> kube::Result<String> {
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut events = api.list(&ListParams::default()).await?.items;
    let time = |event: &Event| {
        let old = event.last_timestamp.as_ref().map(|time| time.0);
        old.or(event.event_time.as_ref().map(|time| time.0)).or(event.metadata.creation_timestamp.as_ref().map(|t| t.0))
    };
    events.sort_by_key(time);
    let skip = events.len().saturating_sub(EVENTS);
    let line = |event: &Event| {
        let about = &event.involved_object;
        let [kind, name] = [&about.kind, &about.name].map(|text| text.clone().unwrap_or_default());
        let [reason, message] = [&event.reason, &event.message].map(|text| text.clone().unwrap_or_default());
        let at = time(event).map(|at| at.strftime("%H:%M:%S").to_string()).unwrap_or_default();
        format!("  {at} {kind}/{name} {reason}: {message}\n")
    };
    Ok(events.iter().skip(skip).map(line).collect())
}

async fn operator_log(cluster: &Cluster, namespace: &str) -> kube::Result<String> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let mut text = String::new();
    for pod in api.list(&ListParams::default()).await? {
        let parameters = LogParams { tail_lines: Some(LOG_LINES), ..LogParams::default() };
        text += &format!("  {}:\n", pod.name_any());
        for line in api.logs(&pod.name_any(), &parameters).await?.lines() {
            text += &format!("    {}\n", readable(line));
        }
    }
    Ok(text)
}

/// A line of JSON log as a line of text.
fn readable(line: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return line.to_owned() };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let more = fields.get("fields").map(Value::to_string).unwrap_or_default();
    format!("{} {} {} {more}", text("timestamp"), text("level"), text("target"))
}
