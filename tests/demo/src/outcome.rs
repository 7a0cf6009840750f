//! The table at the end: one row per release, from the run's journal and the load generator's report, and the verdict.

use anyhow::{Context, Result};
use cutover::api::RunStatus;
use jiff::Timestamp;
use sample::load::{PoolReport, Report};
use serde::Serialize;

use crate::load::{pool, trouble};
use crate::scene::Release;

/// One release, as measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Version.
    pub release: String,
    /// Side that got it.
    pub side: String,
    /// Phase in which the run should have ended.
    pub expected: String,
    /// Phase in which it ended.
    pub outcome: String,
    /// The trigger that fired.
    pub trigger: Option<String>,
    /// From the apply to the selector on the target.
    pub apply_to_switched_seconds: Option<f64>,
    /// From the trigger (or other cause) to the last selector back.
    pub trigger_to_restored_seconds: Option<f64>,
    /// From the first to the last answer with an error, or request lost, as users saw it.
    pub errors_for_seconds: Option<f64>,
    /// Requests on fresh connections.
    pub fresh: Pool,
    /// Requests on kept-alive connections.
    pub kept_alive: Pool,
    /// Clients that never close their connection, after a rollback.
    pub lasting: Option<Followed>,
    /// What is not as it should be; empty when all is well.
    pub problems: Vec<String>,
}

/// One pool of connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Requests begun.
    pub sent: u64,
    /// Refused, reset, cut off or not answered in time.
    pub lost: u64,
    /// Answers with 5xx.
    pub application_errors: u64,
    /// Left out for want of ports or files on this machine.
    pub not_sent: u64,
}

/// Clients that never close their connection by themselves, and were on the new side when the release failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Followed {
    /// How many there were.
    pub clients: usize,
    /// How many the old side answered in the end.
    pub moved: usize,
    /// Pods that the new side still had when its connections were ended.
    pub pods: Option<u32>,
    /// From the last selector back to that moment.
    pub restored_to_closed_seconds: Option<f64>,
    /// From that moment to the last client's first answer by the old side; less than nothing where it came before.
    pub closed_to_moved_seconds: Option<f64>,
}

impl From<&PoolReport> for Pool {
    fn from(pool: &PoolReport) -> Self {
        Self { sent: pool.sent, lost: pool.lost, application_errors: pool.app_errors, not_sent: pool.not_sent }
    }
}

/// Measures a release and judges it.
pub fn row(release: &Release, applied: Timestamp, journal: &RunStatus, report: &Report) -> Result<Row> {
    let switch = journal.switch.as_ref();
    let switched = switch.and_then(|switch| switch.services.iter().filter_map(|service| service.switched_at).max());
    let restored = switch.and_then(|switch| switch.restored_at);
    let trigger = journal.ending.as_ref().and_then(|ending| ending.trigger.clone());
    let fired = journal.triggers.iter().find(|record| Some(&record.name) == trigger.as_ref()).and_then(|r| r.fired_at);
    let cause = fired.or(journal.ending.as_ref().map(|ending| ending.at));
    let fresh = pool(report, "fresh").context("the load generator has no pool of fresh connections")?;
    let kept = pool(report, "keepalive");
    let mut row = Row {
        release: release.version.into(),
        side: release.side.into(),
        expected: release.expected.into(),
        outcome: journal.phase.to_string(),
        trigger,
        apply_to_switched_seconds: switched.map(|at| seconds(applied, at)),
        trigger_to_restored_seconds: cause.zip(restored).map(|(from, to)| seconds(from, to)),
        errors_for_seconds: trouble(report).map(|time| time.as_secs_f64()),
        fresh: fresh.into(),
        kept_alive: kept.map(Pool::from).unwrap_or_default(),
        lasting: cause.zip(restored).map(|(failed, restored)| followed(release, journal, report, failed, restored)),
        problems: Vec::new(),
    };
    row.problems = problems(release, &row, report, fresh);
    Ok(row)
}

fn followed(
    release: &Release,
    journal: &RunStatus,
    report: &Report,
    failed: Timestamp,
    restored: Timestamp,
) -> Followed {
    let clients: Vec<_> = report.lasting.values().flat_map(|kind| kind.left(release.side, failed)).collect();
    let closed = journal.closings.iter().find(|closing| closing.side == release.side);
    let last = clients.iter().flatten().max();
    Followed {
        clients: clients.len(),
        moved: clients.iter().flatten().count(),
        pods: closed.map(|closing| closing.had),
        restored_to_closed_seconds: closed.map(|closing| seconds(restored, closing.at)),
        closed_to_moved_seconds: closed.zip(last).map(|(c, last)| last.as_secs_f64() - seconds(failed, c.at)),
    }
}

/// What is not as it should be. A demonstration without load, or without a switch, would prove nothing.
fn problems(release: &Release, row: &Row, report: &Report, fresh: &PoolReport) -> Vec<String> {
    let mut problems = Vec::new();
    let mut check = |good: bool, problem: String| {
        if !good {
            problems.push(problem);
        }
    };
    check(row.outcome == row.expected, format!("ended {} instead of {}", row.outcome, row.expected));
    check(row.apply_to_switched_seconds.is_some(), "traffic was never switched".into());
    let answered = |side: &str| fresh.colours.get(side).is_some_and(|seen| seen.count > 0);
    check(answered(release.side), format!("no answer came from {}", release.side));
    if release.expected == "RolledBack" {
        check(row.trigger_to_restored_seconds.is_some(), "the selector was not put back".into());
        check(
            last(fresh, release.from) > last(fresh, release.side),
            format!("the last answer is not {}'s", release.from),
        );
    } else {
        check(
            last(fresh, release.side) > last(fresh, release.from),
            format!("the last answer is not {}'s", release.side),
        );
    }
    if let Some(lasting) = row.lasting.as_ref().filter(|_| release.pods_stay) {
        let Followed { clients, moved, .. } = lasting;
        check(*clients > 0, format!("no client kept a connection to {}", release.side));
        check(moved == clients, format!("{} of {clients} connections stayed on {}", clients - moved, release.side));
        check(lasting.pods.is_some(), "the run does not say that connections were ended".into());
    }
    if release.pods_stay {
        check(row.fresh.lost == 0, format!("{} requests on fresh connections were lost", row.fresh.lost));
    }
    if release.faults.is_empty() {
        check(report.lost == 0, format!("{} requests were lost in all", report.lost));
        check(report.app_errors == 0, format!("{} requests were answered with an error", report.app_errors));
    }
    let wanted = elapsed(report) * fresh.rate;
    check(fresh.sent as f64 > 0.9 * wanted, format!("only {} of {wanted:.0} requests were sent", fresh.sent));
    problems
}

fn last<'a>(pool: &'a PoolReport, side: &str) -> Option<&'a str> {
    pool.colours.get(side).map(|seen| seen.last.as_str())
}

fn elapsed(report: &Report) -> f64 {
    let parse = |text: &str| text.parse::<Timestamp>().ok();
    let ended = report.ended.as_deref().and_then(parse);
    parse(&report.started).zip(ended).map_or(0.0, |(from, to)| seconds(from, to))
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// The table as text.
pub fn table(rows: &[Row]) -> String {
    let head = [
        "RELEASE",
        "TO",
        "EXPECTED",
        "OUTCOME",
        "TRIGGER",
        "APPLY→SWITCHED",
        "TRIGGER→RESTORED",
        "REQUESTS",
        "LOST FRESH",
        "LOST KEPT-ALIVE",
        "APP ERRORS",
        "ERRORS SEEN FOR",
        "LONG CONNECTIONS MOVED",
        "",
    ];
    let time = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2} s"));
    let share = |lost: u64, sent: u64| format!("{lost} / {sent}");
    let mut lines: Vec<Vec<String>> = vec![head.iter().map(ToString::to_string).collect()];
    for row in rows {
        lines.push(vec![
            row.release.clone(),
            row.side.clone(),
            row.expected.clone(),
            row.outcome.clone(),
            row.trigger.clone().unwrap_or_else(|| "-".into()),
            time(row.apply_to_switched_seconds),
            time(row.trigger_to_restored_seconds),
            (row.fresh.sent + row.kept_alive.sent).to_string(),
            share(row.fresh.lost, row.fresh.sent),
            share(row.kept_alive.lost, row.kept_alive.sent),
            (row.fresh.application_errors + row.kept_alive.application_errors).to_string(),
            time(row.errors_for_seconds),
            row.lasting.as_ref().map_or("-".into(), |lasting| format!("{} / {}", lasting.moved, lasting.clients)),
            if row.problems.is_empty() { "ok" } else { "NOT OK" }.into(),
        ]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let render = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(render).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::RELEASES;
    use serde_json::{Value, json};

    fn report(lost: u64, blue_last: &str, green_last: &str) -> Report {
        let latency = json!({"p50_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0, "max_ms": 1.0});
        let seen = |last: &str| json!({"count": 5, "first": "2026-11-20T22:00:00Z", "last": last});
        let numbers = json!({"sent": 2000, "ok": 2000 - lost, "app_errors": 0, "answered_4xx": 0, "lost": lost,
            "not_sent": 0, "in_flight": 0});
        let with = |mut base: Value, more: Value| {
            for (key, value) in more.as_object().unwrap() {
                base[key] = value.clone();
            }
            base
        };
        let fresh = with(
            numbers.clone(),
            json!({"rate": 200.0, "connections": 2000, "reopened": 0, "max_start_delay_ms": 0.0, "latency": latency,
                "statuses": {}, "colours": {"blue": seen(blue_last), "green": seen(green_last)}, "lost_kinds": {}, "losses": []}),
        );
        let clients = json!([{"answers": 9, "colour": "green", "pod": "p", "at": "2026-11-20T22:00:12Z",
            "moves": [{"at": "2026-11-20T22:00:11Z", "from": "blue", "to": "green"}]}]);
        let lasting = json!({"http2": {"sent": 9, "ok": 9, "app_errors": 0, "lost": 0, "connections": 2, "reopened": 0,
            "losses": [], "clients": clients}});
        let report = json!({"lasting": lasting, "url": "http://x/", "started": "2026-11-20T22:00:00Z", "ended": "2026-11-20T22:00:10Z",
            "finished": true, "ended_by": "stop", "pools": {"fresh": fresh}, "marks": []});
        serde_json::from_value(with(numbers, report)).unwrap()
    }

    fn journal(phase: &str) -> RunStatus {
        let mut journal = json!({"phase": phase,
            "switch": {"claimedAt": "2026-11-20T22:00:04Z", "services": [{"name": "s", "uid": "u", "resourceVersion": "1",
                "state": "Switched", "from": {}, "to": {}, "switchedAt": "2026-11-20T22:00:05Z"}]}});
        if phase == "RolledBack" {
            journal["ending"] = json!({"phase": phase, "reason": "TriggerFired", "message": "m", "trigger": "errors",
                "at": "2026-11-20T22:00:08.5Z"});
            journal["triggers"] = json!([{"name": "errors", "firedAt": "2026-11-20T22:00:08.4Z"}]);
            journal["switch"]["restoredAt"] = json!("2026-11-20T22:00:08.65Z");
            journal["closings"] = json!([{"side": "blue", "at": "2026-11-20T22:00:10Z", "had": 3}]);
        }
        serde_json::from_value(journal).unwrap()
    }

    fn judged(release: usize, phase: &str, report: &Report) -> Row {
        row(&RELEASES[release], "2026-11-20T22:00:01Z".parse().unwrap(), &journal(phase), report).unwrap()
    }

    const EARLY: &str = "2026-11-20T22:00:05.000Z";
    const LATE: &str = "2026-11-20T22:00:10.000Z";

    #[test]
    fn a_good_release_without_loss_is_well() {
        let row = judged(0, "Completed", &report(0, EARLY, LATE));
        assert_eq!(row.problems, Vec::<String>::new());
        assert_eq!((row.apply_to_switched_seconds, row.trigger_to_restored_seconds), (Some(4.0), None));
        assert!(table(&[row]).lines().nth(1).unwrap().ends_with("ok"));
    }

    #[test]
    fn one_lost_request_is_not() {
        let row = judged(0, "Completed", &report(1, EARLY, LATE));
        assert_eq!(row.problems[0], "1 requests on fresh connections were lost");
        assert!(table(&[row]).contains("NOT OK"));
    }

    #[test]
    fn a_rollback_is_measured_from_its_trigger_and_has_to_reach_the_users() {
        let good = judged(1, "RolledBack", &report(0, EARLY, LATE));
        assert_eq!(good.problems, Vec::<String>::new());
        assert!((good.trigger_to_restored_seconds.unwrap() - 0.25).abs() < 1e-9);
        let not_back = judged(1, "RolledBack", &report(0, LATE, EARLY));
        assert_eq!(not_back.problems, ["the last answer is not green's"]);
        let other_end = judged(1, "Completed", &report(0, EARLY, LATE));
        assert_eq!(other_end.problems[0], "ended Completed instead of RolledBack");
    }

    #[test]
    fn connections_that_are_never_closed_have_to_follow() {
        let mut report = report(0, EARLY, LATE);
        let row = judged(1, "RolledBack", &report);
        let lasting = row.lasting.clone().unwrap();
        assert_eq!((lasting.clients, lasting.moved, lasting.pods), (1, 1, Some(3)));
        assert!((lasting.restored_to_closed_seconds.unwrap() - 1.35).abs() < 1e-9);
        assert!((lasting.closed_to_moved_seconds.unwrap() - 1.0).abs() < 1e-9);
        assert!(table(&[row]).contains("1 / 1"));
        let client = &mut report.lasting.get_mut("http2").unwrap().clients[0];
        (client.colour, client.moves) = (Some("blue".into()), vec![]);
        assert_eq!(judged(1, "RolledBack", &report).problems, ["1 of 1 connections stayed on blue"]);
        report.lasting.clear();
        assert_eq!(judged(1, "RolledBack", &report).problems, ["no client kept a connection to blue"]);
    }

    #[test]
    fn losses_to_dead_pods_are_shown_and_not_held_against_the_switch() {
        assert_eq!(judged(2, "RolledBack", &report(40, EARLY, LATE)).problems, Vec::<String>::new());
    }

    #[test]
    fn a_load_that_did_not_run_proves_nothing() {
        let mut report = report(0, EARLY, LATE);
        report.pools.get_mut("fresh").unwrap().sent = 100;
        assert_eq!(judged(0, "Completed", &report).problems, ["only 100 of 2000 requests were sent"]);
    }
}
