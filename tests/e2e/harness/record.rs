//! The record of a run (`kubectl cutover report -o json`) against the API server's audit log: each selector patch, Job and
//! decision of the one is in the other, at the same time and by the same account or person.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

use super::audit::Line;
use super::promises::OPERATOR;

/// How far two clocks, and the time until something is seen, may lie apart, in seconds.
const APART: f64 = 2.0;

/// Something that a record or the audit log tells of.
#[derive(Debug)]
struct Told {
    what: String,
    who: String,
    at: Timestamp,
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn list<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value[field].as_array().into_iter().flatten()
}

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}

/// What a record says was written.
fn recorded(report: &Value) -> Vec<Told> {
    let account = format!(
        "system:serviceaccount:{}:{}",
        report["namespace"].as_str().unwrap_or_default(),
        report["account"].as_str().unwrap_or_default()
    );
    let mut all = vec![];
    let mut add = |what: String, who: &str, at: &Value| {
        if let Some(at) = time(at) {
            all.push(Told { what, who: who.to_owned(), at });
        }
    };
    for service in list(&report["switch"], "services") {
        add(format!("{} to {}", name(service), service["to"]), &account, &service["switched"]);
        if service["byOthers"] != true {
            add(format!("{} to {}", name(service), service["from"]), &account, &service["restored"]);
        }
    }
    for job in list(report, "steps").flat_map(|step| list(step, "jobs")) {
        add(format!("Job {}", name(job)), &account, &job["created"]);
    }
    for said in list(report, "decisions") {
        add(said["decision"].to_string(), said["by"].as_str().unwrap_or_default(), &said["at"]);
    }
    all
}

/// What the audit log says was written.
fn written(lines: &[Line]) -> Result<Vec<Told>> {
    let mut all = vec![];
    for line in lines.iter().filter(|l| l.is_write() && l.done()) {
        let what = match (line.resource.as_str(), line.verb.as_str()) {
            ("services", "patch") if line.sender == OPERATOR => match line.selector() {
                Some(selector) => format!("{} to {selector}", line.name),
                None => continue,
            },
            ("jobs", "create") if line.sender == OPERATOR => format!("Job {}", line.name),
            ("cutoverdecisions", "create") => line.body["spec"]["decision"].to_string(),
            _ => continue,
        };
        let at = line.at.parse().with_context(|| format!("the time of {what}"))?;
        all.push(Told { what, who: line.user.clone(), at });
    }
    Ok(all)
}

/// Whether two lists tell of the same thing.
fn same(a: &Told, b: &Told) -> bool {
    a.what == b.what && a.who == b.who && a.at.duration_since(b.at).as_secs_f64().abs() <= APART
}

/// Holds a record to the audit log. `lines`: of its namespace; what happened outside the time of the run is another run's.
///
/// # Errors
/// What only one of the two tells of.
pub fn agrees(report: &Value, lines: &[Line]) -> Result<()> {
    let (recorded, written) = (recorded(report), written(lines)?);
    let only = recorded.iter().find(|r| !written.iter().any(|w| same(r, w)));
    ensure!(only.is_none(), "the record alone tells of {only:?}; the audit log: {written:?}");
    let begun = time(&report["created"]).context("the record has no beginning")?;
    let ended = time(&report["lastWord"]).context("the record has no end")?;
    let of_run = |w: &&Told| w.at >= begun && w.at <= ended;
    let only = written.iter().filter(of_run).find(|w| !recorded.iter().any(|r| same(r, w)));
    ensure!(only.is_none(), "the audit log alone tells of {only:?}; the record: {recorded:?}");
    ensure!(!recorded.is_empty(), "the record tells of nothing that was written");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(resource: &str, verb: &str, name: &str, user: &str, at: &str, body: Value) -> Line {
        Line {
            verb: verb.into(),
            resource: resource.into(),
            name: name.into(),
            namespace: "prod".into(),
            user: user.into(),
            sender: if resource == "cutoverdecisions" { user.into() } else { OPERATOR.into() },
            code: 201,
            agent: String::new(),
            dry_run: false,
            received: at.into(),
            at: at.into(),
            body,
        }
    }

    #[test]
    fn what_only_one_of_them_tells_of_is_found() {
        let account = "system:serviceaccount:prod:cutover";
        let record = json!({"namespace": "prod", "account": "cutover", "created": "2026-01-01T00:00:00Z",
            "lastWord": "2026-01-01T00:10:00Z",
            "steps": [{"jobs": [{"name": "migrate-1", "created": "2026-01-01T00:01:00Z"}]}],
            "switch": {"services": [{"name": "web", "from": {"side": "blue"}, "to": {"side": "green"}, "byOthers": false,
                "switched": "2026-01-01T00:02:00Z"}]},
            "decisions": [{"decision": "Approve", "by": "jane", "at": "2026-01-01T00:01:30Z"}]});
        let patch = json!([{"op": "replace", "path": "/spec/selector", "value": {"side": "green"}}]);
        let approve = json!({"spec": {"decision": "Approve"}});
        let all = [
            line("jobs", "create", "migrate-1", account, "2026-01-01T00:01:01Z", Value::Null),
            line("services", "patch", "web", account, "2026-01-01T00:01:59Z", patch),
            line("cutoverdecisions", "create", "d", "jane", "2026-01-01T00:01:30Z", approve.clone()),
        ];
        assert!(agrees(&record, &all).is_ok());
        for at in 0..all.len() {
            let mut fewer = all.to_vec();
            let missing = fewer.remove(at);
            assert!(agrees(&record, &fewer).is_err(), "{missing:?} is not missed");
            let mut other = all.to_vec();
            other[at].user = "somebody else".into();
            assert!(agrees(&record, &other).is_err(), "{missing:?} by somebody else");
            let mut late = all.to_vec();
            late[at].at = "2026-01-01T00:05:00Z".into();
            assert!(agrees(&record, &late).is_err(), "{missing:?} at another time");
        }
        let more = |at| [&all[..], &[line("cutoverdecisions", "create", "e", "eve", at, approve.clone())]].concat();
        assert!(agrees(&record, &more("2026-01-01T00:03:00Z")).is_err(), "a word that the record does not have");
        assert!(agrees(&record, &more("2026-01-01T00:20:00Z")).is_ok(), "another run's");
    }
}
