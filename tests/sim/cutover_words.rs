//! Requests, replies and objects in words: short ones for a log, whole ones for telling states apart.
#![allow(dead_code)] // the scenarios and the search use their parts

use std::collections::BTreeMap;

use cutover::api::condition::types;
use cutover::api::cutover::{Cutover, CutoverStatus};
use cutover::api::run::CutoverRun;
use cutover::pilot::cutover::{Failure, Reply, Request};
use kube::ResourceExt;
use serde_json::Value;

use super::api_server::{Server, is_active};

/// A request in short.
pub fn request(request: &Request) -> String {
    match request {
        Request::Cutover => "read the Cutover".into(),
        Request::Run(name) => format!("read run {name}"),
        Request::Runs => "list its runs".into(),
        Request::ClosedRuns => "list its closed runs".into(),
        Request::ActiveRuns => "list active runs of the namespace".into(),
        Request::AllRuns => "list all runs of the namespace".into(),
        Request::Decisions(most) => format!("list its open decisions, at most {most}"),
        Request::Service(name) => format!("read Service {name}"),
        Request::Namespace => "read the namespace".into(),
        Request::Template(kind, name) => format!("read {} {name}", kind.as_str()),
        Request::Replicas(workload) => format!("read the replicas of {}", workload.name),
        Request::Account(name) => format!("read ServiceAccount {name}"),
        Request::ActAs(name) => format!("ask as ServiceAccount {name}"),
        Request::Proof => "have it proven whose decisions are".into(),
        Request::Receivers(..) => "look at the receivers".into(),
        Request::Turn => "wait for the turn".into(),
        Request::OlderHolder(_) => "look for an older holder".into(),
        Request::PatchCutover(patch) => format!("PATCH the Cutover: {}", operations(patch)),
        Request::PatchRun(name, patch) => format!("PATCH run {name}: {}", operations(patch)),
        Request::WriteStatus(cutover) => {
            format!("WRITE status: {}", cutover.status.as_ref().map_or_else(String::new, status))
        }
        Request::ReopenRun(run) => format!("WRITE status of run {}: {}", run.name_any(), state(run)),
        Request::CreateRun(run) => {
            let side = |which: &str| run.spec.plan[which]["name"].as_str().unwrap_or_default().to_owned();
            format!("CREATE run {}: {} to {}", run.name_any(), side("old"), side("target"))
        }
        Request::DeleteRun { name, .. } => format!("DELETE run {name}"),
        Request::Answer(answers) => {
            let list: Vec<String> = answers.iter().map(|a| format!("{}: {}", a.name, a.said.result)).collect();
            format!("ANSWER {}", list.join("; "))
        }
        Request::TakeUp(wanted) => format!("TAKE UP {}", wanted.name),
    }
}

fn operations(patch: &Value) -> String {
    let list = patch.as_array().into_iter().flatten().filter(|o| o["op"] != "test");
    list.map(|o| o["op"].as_str().unwrap_or_default().to_owned() + " a finalizer").collect::<Vec<_>>().join(", ")
}

/// What a status says, without times.
pub fn status(status: &CutoverStatus) -> String {
    let run = status.run.as_ref().map_or_else(
        || "no run".to_owned(),
        |r| format!("run {}{}", r.name, if r.uid.is_some() { "" } else { " (claimed)" }),
    );
    let started = status.started.as_ref().map_or_else(
        || "nothing started".to_owned(),
        |s| {
            let version = s.release.as_ref().and_then(|r| r.version.clone()).unwrap_or_default();
            format!("started {}@{version}", s.activate)
        },
    );
    let phase = status.phase.map_or_else(|| "no phase".to_owned(), |p| p.to_string());
    let live = status.live.as_deref().unwrap_or("nothing known to be");
    let mut conditions: Vec<String> = status.conditions.iter().filter(|c| c.status == "True").map(named).collect();
    conditions.extend(status.conditions.iter().filter(|c| c.status == "False" && c.type_ == "Accepted").map(refused));
    format!("{phase}, {run}, {started}, {live} live; {}", conditions.join(" "))
}

fn named(c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition) -> String {
    if c.type_ == c.reason { c.type_.clone() } else { format!("{}/{}", c.type_, c.reason) }
}

fn refused(c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition) -> String {
    format!("not {}/{}", c.type_, c.reason)
}

fn state(run: &CutoverRun) -> String {
    run.status.as_ref().map_or_else(|| "new".into(), |s| format!("{:?} {}", s.state, s.phase))
}

/// A reply in short.
pub fn reply(reply: &Result<Reply, Failure>) -> String {
    match reply {
        Err(failure) => format!("{:?}: {failure}", failure.class),
        Ok(Reply::Cutover(_) | Reply::Run(_) | Reply::Done | Reply::Template { .. }) => "ok".into(),
        Ok(Reply::Unreadable { error, .. } | Reply::UnreadableTemplate(error)) => format!("cannot be read: {error}"),
        Ok(Reply::Runs(runs)) => format!("{}", runs.len()),
        Ok(Reply::Metadata(list)) => format!("{}", list.len()),
        Ok(Reply::Decisions(list)) => format!("{}", list.len()),
        Ok(Reply::Selector(selector)) => selector.values().cloned().collect::<Vec<_>>().join(","),
        Ok(Reply::Namespace { going }) => if *going { "it goes" } else { "it stays" }.into(),
        Ok(Reply::Replicas(count)) => format!("{count}"),
        Ok(Reply::Holder(holder)) => holder.as_ref().map_or_else(|| "none".into(), |(_, other)| other.clone()),
        Ok(Reply::Proof(proof)) => format!("{:?}", proof.verdict),
        Ok(Reply::Receivers { findings, unknown }) => {
            let found: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.field, f.why)).collect();
            if found.is_empty() && !unknown { "right".into() } else { found.join("; ") }
        }
        Ok(Reply::Answers(outcomes)) => format!("{outcomes:?}"),
    }
}

/// All of a reply that a look may go by.
pub fn whole(reply: &Result<Reply, Failure>) -> String {
    match reply {
        Ok(Reply::Cutover(cutover)) => whole_cutover(cutover),
        Ok(Reply::Run(run)) => whole_run(run),
        Ok(Reply::Runs(runs)) => runs.iter().map(whole_run).collect::<Vec<_>>().join(","),
        Ok(Reply::Decisions(list)) => {
            let one = |d: &cutover::api::CutoverDecision| format!("{:?}{:?}", d.uid(), d.resource_version());
            list.iter().map(one).collect::<Vec<_>>().join(",")
        }
        Ok(Reply::Metadata(list)) => list.iter().map(|m| format!("{:?}{:?}", m.uid, m.resource_version)).collect(),
        other => format!("{other:?}"),
    }
}

/// All of a Cutover that counts.
pub fn whole_cutover(cutover: &Cutover) -> String {
    let meta = &cutover.metadata;
    let status = serde_json::to_string(&cutover.status).unwrap_or_default();
    format!(
        "{:?} {:?} {:?} {:?} {} {} {:?} {status}",
        meta.uid,
        meta.resource_version,
        meta.finalizers,
        meta.generation,
        cutover.spec.activate,
        cutover.spec.release.as_ref().and_then(|r| r.version.clone()).unwrap_or_default(),
        meta.deletion_timestamp.is_some(),
    )
}

/// All of a run that counts.
pub fn whole_run(run: &CutoverRun) -> String {
    let meta = &run.metadata;
    let reopened = run.status.as_ref().and_then(|s| s.after.as_ref()).is_some_and(|a| a.reopened);
    format!(
        "{:?} {:?} {:?} {:?} {} {} {reopened} {} {}",
        meta.name,
        meta.uid,
        meta.resource_version,
        meta.finalizers,
        meta.deletion_timestamp.is_some(),
        state(run),
        run.spec.cutover_uid,
        run.spec.plan["target"]["name"],
    )
}

/// What stands in the cluster, without times, versions and uids: two ends that read alike are alike.
pub fn end(server: &Server) -> String {
    let mut lines = vec![];
    for cutover in server.cutovers.values() {
        let held = !cutover.finalizers().is_empty();
        let said = cutover.status.as_ref().map_or_else(String::new, status);
        let message = cutover.status.as_ref().and_then(|s| s.message.clone()).unwrap_or_default();
        let status = cutover.status.clone().unwrap_or_default();
        let retries: Vec<&str> = status.retries.iter().map(|r| r.run.as_str()).collect();
        lines.push(format!(
            "Cutover {} held {held} runs {} retries {retries:?}: {said}",
            cutover.name_any(),
            status.runs
        ));
        lines.push(format!("  {message}"));
    }
    for run in server.runs.values() {
        let (held, goes) = (!run.finalizers().is_empty(), run.metadata.deletion_timestamp.is_some());
        lines.push(format!("run {} {} held {held} goes {goes}", run.name_any(), state(run)));
    }
    for decision in server.decisions.values() {
        let status = decision.status.clone().unwrap_or_default();
        lines.push(format!("decision {} {:?} {:?} {:?}", decision.name_any(), status.state, status.result, status.run));
    }
    lines.join("\n")
}

/// What is wrong with a state in which the controller rests.
pub fn wrong_at_rest(server: &Server) -> Option<String> {
    for decision in server.decisions.values().filter(|d| d.is_open()) {
        // The driver of the run answers.
        let driven = server.runs.values().any(|r| is_active(r) && r.uid().as_deref() == Some(&decision.spec.run_uid));
        if !driven {
            return Some(format!("decision {} has no answer", decision.name_any()));
        }
    }
    let cutover = server.cutovers.get("web")?;
    let uid = cutover.uid().unwrap_or_default();
    let mut runs = server.runs.values().filter(|r| r.spec.cutover_uid == uid);
    let active = runs.any(is_active);
    let held = !cutover.finalizers().is_empty();
    let status = cutover.status.clone().unwrap_or_default();
    let true_ = |type_: &str| status.conditions.iter().any(|c| c.type_ == type_ && c.status == "True");
    let waits = [types::STALLED, types::SERVICE_CONFLICT, types::SELECTOR_DRIFT].into_iter().any(true_);
    if cutover.metadata.deletion_timestamp.is_some() {
        return (!active).then(|| "the deleted Cutover stays although no run of it is active".into());
    }
    if held && !active {
        return Some("the finalizer stays although no run is active".into());
    }
    if active {
        return None;
    }
    let wanted = (&cutover.spec.activate, &cutover.spec.release);
    let started = status.started.as_ref().map(|s| (&s.activate, &s.release));
    let on = server.services.get("web").and_then(|s| s.get("version"));
    if started != Some(wanted) && !waits {
        return Some(format!("{wanted:?} is wanted, {started:?} was started, and nothing says why"));
    }
    if on != Some(&cutover.spec.activate) && !waits {
        return Some(format!("{on:?} is live, {} is wanted, and nothing says why", cutover.spec.activate));
    }
    None
}

/// The text with each resourceVersion replaced by its rank among all of them.
pub fn ranked(text: &str) -> String {
    let mut versions = BTreeMap::new();
    let parts: Vec<&str> = text.split("rv").collect();
    let number = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    for part in parts.iter().skip(1) {
        if let Ok(version) = number(part).parse::<u32>() {
            versions.insert(version, 0);
        }
    }
    versions.values_mut().enumerate().for_each(|(i, rank)| *rank = i);
    let mut out = String::with_capacity(text.len());
    for (i, part) in parts.iter().enumerate() {
        if i == 0 {
            out.push_str(part);
            continue;
        }
        let digits = number(part);
        match digits.parse::<u32>().ok().and_then(|v| versions.get(&v)) {
            Some(rank) => out.push_str(&format!("v#{rank}{}", &part[digits.len()..])),
            None => out.push_str(&format!("rv{part}")),
        }
    }
    out
}

/// The text without its times.
pub fn without_times(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Such as 2026-11-20T22:00:00.25Z: the T stands ten characters after its begin.
    while let Some(at) = rest.find("-") {
        let begin = at.checked_sub(4).and_then(|begin| rest.get(begin..));
        let looks = begin.is_some_and(|b| b.as_bytes().get(10) == Some(&b'T') && b.as_bytes().get(7) == Some(&b'-'));
        let end = begin.filter(|_| looks).and_then(|b| b.find('Z'));
        match end.filter(|end| *end < 32) {
            Some(end) => {
                out.push_str(&rest[..at - 4]);
                rest = &rest[at - 4 + end + 1..];
            }
            None => {
                out.push_str(&rest[..=at]);
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}
