//! What is printed when a test fails: Cutovers, runs, Events, pods, the operator's log, the audit log.

use std::fmt::Write;

use cutover::api::{Cutover, CutoverRun};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Serialize;

use super::{Case, audit, operator};

fn yaml(value: &impl Serialize) -> String {
    serde_saphyr::to_string(value).unwrap_or_else(|e| e.to_string())
}

/// The whole account. What cannot be read is said instead.
pub async fn of(case: &Case, why: &str) -> String {
    let mut text = format!("\n================ {}: {why}\n", case.name);
    let all = ListParams::default();
    let (client, ns) = (&case.client, &case.ns);
    match Api::<Cutover>::namespaced(client.clone(), ns).list(&all).await {
        Ok(list) => {
            for c in list {
                let _ = writeln!(text, "---- Cutover {}\n{}", c.name_any(), yaml(&c.status));
            }
        }
        Err(e) => drop(writeln!(text, "Cutovers: {e}")),
    }
    match Api::<CutoverRun>::namespaced(client.clone(), ns).list(&all).await {
        Ok(list) => {
            for r in list {
                let _ = writeln!(text, "---- CutoverRun {}\n{}", r.name_any(), yaml(&r.status));
            }
        }
        Err(e) => drop(writeln!(text, "CutoverRuns: {e}")),
    }
    text.push_str("---- Pods\n");
    match Api::<Pod>::namespaced(client.clone(), ns).list(&all).await {
        Ok(list) => {
            for pod in list {
                let status = pod.status.clone().unwrap_or_default();
                let containers: Vec<String> = status
                    .container_statuses
                    .unwrap_or_default()
                    .iter()
                    .map(|c| {
                        let state = c.state.as_ref().and_then(|s| s.waiting.as_ref()).and_then(|w| w.reason.clone());
                        format!(
                            "{} ready={} restarts={} {}",
                            c.name,
                            c.ready,
                            c.restart_count,
                            state.unwrap_or_default()
                        )
                    })
                    .collect();
                let phase = status.phase.unwrap_or_default();
                let _ = writeln!(text, "{} {phase} {}", pod.name_any(), containers.join("; "));
            }
        }
        Err(e) => drop(writeln!(text, "{e}")),
    }
    text.push_str("---- Events\n");
    match Api::<Event>::namespaced(client.clone(), ns).list(&all).await {
        Ok(list) => {
            for e in list.items.iter().filter(|e| e.involved_object.kind.as_deref() != Some("ReplicaSet")) {
                let _ = writeln!(
                    text,
                    "{} {} {}: {}",
                    e.involved_object.kind.as_deref().unwrap_or_default(),
                    e.involved_object.name.as_deref().unwrap_or_default(),
                    e.reason.as_deref().unwrap_or_default(),
                    e.message.as_deref().unwrap_or_default()
                );
            }
        }
        Err(e) => drop(writeln!(text, "{e}")),
    }
    let files = std::fs::read_dir(&case.dir).into_iter().flatten().flatten().map(|e| e.path());
    for log in files.filter(|p| p.extension().is_some_and(|e| e == "log")) {
        let _ = writeln!(text, "---- {}\n{}", log.display(), operator::tail(&log, 60));
    }
    text.push_str("---- Audit log\n");
    match audit::read(ns, case.audit_from) {
        Ok(lines) => {
            let writes: Vec<_> = lines.iter().filter(|l| l.is_write() && l.user.contains("cutover")).collect();
            for l in writes.iter().skip(writes.len().saturating_sub(60)) {
                let body = match l.resource.as_str() {
                    "services" | "jobs" => l.body.to_string().chars().take(300).collect(),
                    _ => String::new(),
                };
                let _ = writeln!(
                    text,
                    "{} to {} {} {} {} {} {} {body}",
                    l.received, l.at, l.user, l.verb, l.resource, l.name, l.code
                );
            }
        }
        Err(e) => drop(writeln!(text, "{e:#}")),
    }
    text
}
