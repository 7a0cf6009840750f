//! The audit log of the API server: what was really written, by whom, how often.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

/// One completed request.
#[derive(Clone, Debug)]
pub struct Line {
    /// Such as `patch`.
    pub verb: String,
    /// Such as `services` or `cutoverruns/status`.
    pub resource: String,
    /// The object, where one is named.
    pub name: String,
    /// The namespace, where one is named.
    pub namespace: String,
    /// The user, or whom they acted as.
    pub user: String,
    /// The user who sent it, whomever they acted as.
    pub sender: String,
    /// HTTP status.
    pub code: i64,
    /// The program that sent it, as it names itself.
    pub agent: String,
    /// A rehearsal.
    pub dry_run: bool,
    /// When it arrived.
    pub received: String,
    /// When it was answered; a watch: when it began.
    pub at: String,
    /// The body, where the policy keeps it.
    pub body: Value,
}

impl Line {
    /// Whether it may have changed something.
    pub fn is_write(&self) -> bool {
        !self.dry_run && matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// Whether it was carried out.
    pub fn done(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether it may have been carried out: done, or cut off on the way because its sender died.
    pub fn perhaps(&self) -> bool {
        self.done() || self.code == 504
    }

    /// What a JSON Patch tests at a path.
    pub fn test(&self, path: &str) -> Option<&Value> {
        Some(&self.body.as_array()?.iter().find(|op| op["op"] == "test" && op["path"] == path)?["value"])
    }

    /// The same, where it is a text.
    pub fn tested(&self, path: &str) -> Option<&str> {
        self.test(path)?.as_str()
    }

    /// What a JSON Patch sets at a path.
    pub fn sets(&self, path: &str) -> Option<&Value> {
        Some(&self.body.as_array()?.iter().find(|op| op["op"] != "test" && op["path"] == path)?["value"])
    }

    /// The selector that a JSON Patch of a Service sets.
    pub fn selector(&self) -> Option<&Value> {
        self.sets("/spec/selector")
    }
}

/// Where the audit log stands.
pub fn path() -> Result<PathBuf> {
    Ok(std::env::var_os("CUTOVER_AUDIT_LOG")
        .context("CUTOVER_AUDIT_LOG is not set; use tests/cluster/cluster exec")?
        .into())
}

/// The end of the log as it is now, from which a test reads on.
pub fn end() -> u64 {
    path().ok().and_then(|p| std::fs::metadata(p).ok()).map_or(0, |m| m.len())
}

/// All requests about a namespace since `from`.
pub fn read(namespace: &str, from: u64) -> Result<Vec<Line>> {
    let needle = format!("\"namespace\":\"{namespace}\"");
    let mut lines = lines(from, |text| text.contains(&needle))?;
    lines.retain(|line| line.namespace == namespace);
    Ok(lines)
}

/// All requests since `from` whose line in the log passes a test, which saves reading the others.
pub fn lines(from: u64, wanted: impl Fn(&str) -> bool) -> Result<Vec<Line>> {
    let path = path()?;
    let mut file = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
    // The log is rotated when it is large: then it is read from its start.
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(if length < from { 0 } else { from }))?;
    let mut bytes = vec![];
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The last line may be half written.
    let events = text.lines().filter(|l| wanted(l)).filter_map(|l| serde_json::from_str::<Value>(l).ok());
    Ok(events.filter_map(|event| line(&event)).collect())
}

/// One request; `None` for another stage of it. A watch counts when it begins, everything else when it is answered.
fn line(event: &Value) -> Option<Line> {
    let stage = if event["verb"] == "watch" { "ResponseStarted" } else { "ResponseComplete" };
    if event["stage"] != stage {
        return None;
    }
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let resource = match object["subresource"].as_str() {
        Some(sub) => format!("{}/{sub}", text(&object["resource"])),
        None => text(&object["resource"]),
    };
    let body = event["requestObject"].clone();
    let named = if object["name"].is_string() { &object["name"] } else { &body["metadata"]["name"] };
    let sender = text(&event["user"]["username"]);
    Some(Line {
        verb: text(&event["verb"]),
        resource,
        name: text(named),
        namespace: text(&object["namespace"]),
        user: event["impersonatedUser"]["username"].as_str().map_or_else(|| sender.clone(), str::to_owned),
        sender,
        code: event["responseStatus"]["code"].as_i64().unwrap_or_default(),
        agent: text(&event["userAgent"]),
        // A deletion says it in its body.
        dry_run: event["requestURI"].as_str().is_some_and(|u| u.contains("dryRun=")) || body["dryRun"].is_array(),
        received: text(&event["requestReceivedTimestamp"]),
        at: text(&event["stageTimestamp"]),
        body,
    })
}
