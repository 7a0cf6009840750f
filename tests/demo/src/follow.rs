//! Follows a run by its journal alone and tells it as a timeline. Nothing is missed between two looks, since the
//! journal keeps the times.

use anyhow::{Context, Result, bail};
use cutover::api::run::{StepRecord, StepState, SwitchState, TrialVerdict, TriggerRecord};
use cutover::api::{Cutover, CutoverRun, Phase, RunStatus};
use jiff::Timestamp;
use kube::Api;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::load::Load;
use crate::scene::{CUTOVER_NAME, Release};
use crate::screen::{Look, Screen};

const POLL: Duration = Duration::from_millis(150);
/// How often a line says how the observation and the load go.
const TICK: Duration = Duration::from_secs(5);
/// Longest evidence on a line.
const WIDTH: usize = 96;

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, by the operator's clock.
    pub at: Timestamp,
    /// Told once by this key.
    pub key: String,
    /// The line.
    pub text: String,
    /// How it looks.
    pub look: EventLook,
    /// Order among those of the same time.
    rank: u8,
}

/// How an event looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLook {
    /// A phase began.
    Phase,
    /// A phase began that nobody wished for.
    BadPhase,
    /// It went well.
    Good,
    /// It went wrong.
    Bad,
    /// Neither.
    Neutral,
}

/// Follows the run that was started for `release` to its end and returns its journal.
pub async fn follow(
    cluster: &Cluster,
    screen: &Screen,
    load: &Load,
    release: &Release,
    within: Duration,
) -> Result<(String, RunStatus)> {
    let cutovers: Api<Cutover> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let runs: Api<CutoverRun> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let end = Instant::now() + within;
    let mut told = BTreeSet::new();
    let mut phase = None;
    let mut tick = Instant::now() + TICK;
    loop {
        if Instant::now() > end {
            bail!("release {} is not over after {within:?}", release.version);
        }
        let cutover = cutovers.get(CUTOVER_NAME).await.context("the Cutover is gone")?;
        let run = match run_of(&cutover, release) {
            Some(name) => runs.get_opt(&name).await?,
            None => None,
        };
        let Some(run) = run else {
            if let Some(why) = refusal(&cutover) {
                bail!("no run starts for release {}: {why}", release.version);
            }
            sleep(POLL).await;
            continue;
        };
        let journal = run.status.clone().unwrap_or_default();
        let mut events = events(&journal);
        events.retain(|event| !told.contains(&event.key));
        for event in events {
            tell(screen, &event);
            told.insert(event.key);
        }
        if phase != Some(journal.phase) {
            phase = Some(journal.phase);
            if matches!(journal.phase, Phase::Preparing | Phase::Observing | Phase::RollingBack) || ended(journal.phase)
            {
                show_cutovers(cluster, screen).await;
            }
            tick = Instant::now() + TICK;
        }
        if ended(journal.phase) {
            return Ok((run.metadata.name.unwrap_or_default(), journal));
        }
        if Instant::now() >= tick {
            tick = Instant::now() + TICK;
            show_tick(screen, load, &journal).await;
        }
        sleep(POLL).await;
    }
}

/// The run of this release; the one of the release before is not meant.
fn run_of(cutover: &Cutover, release: &Release) -> Option<String> {
    let status = cutover.status.as_ref()?;
    let target = format!("{}@{}", release.side, release.version);
    (status.target.as_deref() == Some(&target)).then(|| status.run.as_ref().map(|run| run.name.clone()))?
}

/// Why the operator starts no run, where it says that a person is needed.
pub fn refusal(cutover: &Cutover) -> Option<String> {
    let status = cutover.status.as_ref()?;
    if status.observed_generation != cutover.metadata.generation {
        return None;
    }
    let stalled = status.conditions.iter().find(|c| c.type_ == "Stalled" && c.status == "True")?;
    // The end of the run before is no refusal.
    let over = ["RolledBack", "Failed", "Aborted", "Superseded"];
    let of_old_run = status.phase.is_some_and(|phase| over.contains(&phase.as_str()));
    (!of_old_run).then(|| format!("{}: {}", stalled.reason, stalled.message))
}

fn ended(phase: Phase) -> bool {
    phase.is_over() || phase == Phase::Completed
}

fn tell(screen: &Screen, event: &Event) {
    let time = event.at.strftime("%H:%M:%S%.3f");
    let look = match event.look {
        EventLook::Phase => Look::Bold,
        EventLook::BadPhase | EventLook::Bad => Look::Red,
        EventLook::Good => Look::Green,
        EventLook::Neutral => Look::Plain,
    };
    screen.line(&format!("  {}  {}", screen.paint(Look::Dim, &time.to_string()), screen.paint(look, &event.text)));
}

/// Everything the journal says, in the order in which it happened.
pub fn events(journal: &RunStatus) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut add = |at: Timestamp, key: String, text: String, look| {
        let rank = if matches!(look, EventLook::Phase | EventLook::BadPhase) { 2 } else { 0 };
        events.push(Event { at, key, text, look, rank });
    };
    for moment in &journal.timeline {
        let bad = matches!(moment.phase, Phase::RollingBack | Phase::Failed | Phase::Aborted | Phase::Superseded);
        let look = if bad { EventLook::BadPhase } else { EventLook::Phase };
        let why = if moment.message.is_empty() { String::new() } else { format!("  {}", moment.message) };
        add(moment.at, format!("phase {} {}", moment.at, moment.phase), format!("{}{why}", moment.phase), look);
    }
    for step in &journal.steps {
        if let (Some(started), StepState::Running) = (step.started, step.state)
            && step.job.as_ref().is_some_and(|job| job.started.is_some())
        {
            let job = step.job.as_ref().map(|job| job.name.as_str()).unwrap_or_default();
            add(started, format!("job {}", step.name), format!("  · {:<20} Job {job}", step.name), EventLook::Neutral);
        }
        if let Some(ended) = step.ended {
            let (text, look) = step_line(step);
            add(ended, format!("step {} {} {ended}", step.name, step.attempt), text, look);
        }
    }
    if let Some(switch) = &journal.switch {
        for service in &switch.services {
            if let Some(at) = service.switched_at {
                let text = format!("  ⇄ {} → {}", service.name, selector(&service.from, &service.to));
                add(at, format!("switched {}", service.name), text, EventLook::Good);
            }
            if let (Some(at), SwitchState::Restored) = (service.restored_at, service.state) {
                let text = format!("  ⇄ {} ← {} (restored)", service.name, selector(&service.to, &service.from));
                add(at, format!("restored {}", service.name), text, EventLook::Good);
            }
        }
        if let Some(at) = switch.converged_at {
            add(at, "converged".into(), "  ✓ endpoints: pods of the new side only".into(), EventLook::Good);
        }
    }
    for trigger in &journal.triggers {
        if let Some(at) = trigger.fired_at {
            let text = format!("  ! trigger {} fired{}", trigger.name, saw(trigger));
            add(at, format!("fired {}", trigger.name), text, EventLook::Bad);
        }
    }
    let suites = journal.steps.iter().filter(|step| step.evidence.as_ref().is_some_and(|saw| saw["of"].is_number()));
    for suite in suites.map(|step| format!("step {} ", step.name)) {
        events.iter_mut().filter(|event| event.key.starts_with(&suite)).for_each(|event| event.rank = 1);
    }
    // At the same time: the steps of a suite end before the suite, and a step before the next phase begins.
    events.sort_by_key(|event| (event.at, event.rank));
    events
}

fn step_line(step: &StepRecord) -> (String, EventLook) {
    let (sign, look) = match step.state {
        StepState::Succeeded => ("✓", EventLook::Good),
        StepState::Failed => ("✗", EventLook::Bad),
        StepState::Unknown => ("?", EventLook::Bad),
        StepState::Skipped | StepState::Running => ("-", EventLook::Neutral),
    };
    let took = match (step.started, step.ended) {
        (Some(started), Some(ended)) => seconds(started, ended),
        _ => String::new(),
    };
    let attempts = if step.attempt > 1 { format!(" (attempt {})", step.attempt) } else { String::new() };
    let detail = match (&step.message, &step.evidence) {
        (Some(message), _) if step.state != StepState::Succeeded => message.clone(),
        (_, Some(evidence)) => brief(evidence),
        (Some(message), None) => message.clone(),
        (None, None) => String::new(),
    };
    (format!("  {sign} {:<20}{took:>7}{attempts}  {}", step.name, shorten(&detail, WIDTH)), look)
}

/// Evidence that is in the record but says little on a line.
const LONG: [&str; 4] = ["query", "at", "matrix", "templates"];

/// Evidence in a line: `exitCode=0, bytes=73400320`.
fn brief(evidence: &Value) -> String {
    match evidence {
        Value::Object(fields) => match (fields.get("passed"), fields.get("of")) {
            (Some(passed), Some(of)) => format!("{passed} of {of} passed"),
            _ => {
                let shown = fields.iter().filter(|(name, _)| !LONG.contains(&name.as_str()));
                let field = |(name, value): (&String, &Value)| match value {
                    Value::Object(_) => brief(value),
                    _ => format!("{name}={}", brief(value)),
                };
                shown.map(field).collect::<Vec<_>>().join(", ")
            }
        },
        Value::Array(items) if items.len() > 4 => format!("[{} items]", items.len()),
        Value::Array(items) => format!("[{}]", items.iter().map(brief).collect::<Vec<_>>().join(", ")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shorten(text: &str, width: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= width { line } else { line.chars().take(width - 1).chain(['…']).collect() }
}

/// The labels in which the second selector differs from the first.
fn selector(
    from: &std::collections::BTreeMap<String, String>,
    to: &std::collections::BTreeMap<String, String>,
) -> String {
    let changed = to.iter().filter(|(key, value)| from.get(*key) != Some(value));
    changed.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn saw(trigger: &TriggerRecord) -> String {
    trigger.saw.as_ref().map(|saw| format!(": {}", shorten(saw, WIDTH))).unwrap_or_default()
}

fn seconds(from: Timestamp, to: Timestamp) -> String {
    format!("{:.1} s", to.duration_since(from).as_secs_f64())
}

async fn show_tick(screen: &Screen, load: &Load, journal: &RunStatus) {
    let mut parts = Vec::new();
    if let Some(observation) = journal.observation.as_ref().filter(|_| journal.phase == Phase::Observing) {
        let watched = Timestamp::now().duration_since(observation.since).as_secs_f64();
        parts.push(format!("watched for {watched:.0} s"));
        for trigger in journal.triggers.iter().filter(|trigger| trigger.fired_at.is_none()) {
            let word = match trigger.last {
                Some(TrialVerdict::Good) => "ok",
                Some(TrialVerdict::Bad) => "BAD",
                Some(TrialVerdict::Inconclusive) => "unknown",
                None => continue,
            };
            parts.push(format!("{} {word}", trigger.name));
        }
    } else {
        parts.push(format!("{} …", journal.phase));
        let running = journal.steps.iter().find(|step| step.state == StepState::Running);
        parts.extend(running.map(|step| {
            let what = step.message.as_deref().unwrap_or("under way");
            format!("{}: {}", step.name, shorten(what, WIDTH))
        }));
        parts.extend(journal.waiting.as_ref().map(|why| format!("waits: {why}")));
    }
    // The load's numbers are an extra here: the end of the release asks again and minds when there is no answer.
    if let Ok(report) = load.report().await {
        parts.push(format!("{} requests, {} errors, {} lost", report.sent, report.app_errors, report.lost));
    }
    screen.say(Look::Dim, &format!("                … {}", parts.join(" · ")));
}

/// `kubectl get cutovers`, by kubectl where there is one.
pub async fn show_cutovers(cluster: &Cluster, screen: &Screen) {
    let arguments = ["get", "cutovers", "--namespace", &cluster.namespace, "--request-timeout=5s"];
    let asked = tokio::process::Command::new("kubectl").args(arguments).output().await;
    let text = match asked {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => match columns(cluster).await {
            Ok(text) => text,
            Err(error) => format!("cannot be read: {error:#}"),
        },
    };
    screen.line("");
    screen.say(Look::Bold, &format!("      $ kubectl get cutovers -n {}", cluster.namespace));
    for line in text.lines() {
        screen.line(&format!("      {line}"));
    }
    screen.line("");
}

/// What kubectl would print.
async fn columns(cluster: &Cluster) -> Result<String> {
    let api: Api<Cutover> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut text = format!(
        "{:<10}{:<7}{:<13}{:<13}{:<13}{:<16}{}\n",
        "NAME", "READY", "PHASE", "LIVE", "TARGET", "STEP", "MESSAGE"
    );
    for cutover in api.list(&Default::default()).await? {
        let status = cutover.status.unwrap_or_default();
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready").map(|c| c.status.clone());
        let phase = status.phase.map(|phase| phase.to_string());
        let name = cutover.metadata.name.unwrap_or_default();
        let cells =
            [ready, phase, status.live, status.target, status.step, status.message].map(Option::unwrap_or_default);
        let [ready, phase, live, target, step, message] = cells;
        text += &format!("{name:<10}{ready:<7}{phase:<13}{live:<13}{target:<13}{step:<16}{message}\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn journal() -> RunStatus {
        serde_json::from_value(json!({
            "phase": "RollingBack",
            "timeline": [
                {"at": "2026-11-20T22:00:00Z", "phase": "Preflight", "reason": "Progress", "message": ""},
                {"at": "2026-11-20T22:00:02Z", "phase": "Preparing", "reason": "Progress", "message": ""},
                {"at": "2026-11-20T22:00:30Z", "phase": "RollingBack", "reason": "TriggerFired", "message": "errors"},
            ],
            "steps": [
                {"name": "secrets", "state": "Succeeded", "attempt": 1, "started": "2026-11-20T22:00:00Z",
                 "ended": "2026-11-20T22:00:02Z", "evidence": {"keys": ["A", "B"], "ok": true}},
                {"name": "later", "state": "Running", "attempt": 1, "started": "2026-11-20T22:00:03Z"},
            ],
            "switch": {"claimedAt": "2026-11-20T22:00:10Z", "services": [{
                "name": "shop", "uid": "u", "resourceVersion": "1", "state": "Switched",
                "from": {"app": "shop", "version": "blue"}, "to": {"app": "shop", "version": "green"},
                "switchedAt": "2026-11-20T22:00:10.1Z"}]},
            "triggers": [{"name": "errors", "saw": "0.11", "firedAt": "2026-11-20T22:00:29.9Z"}],
        }))
        .unwrap()
    }

    #[test]
    fn the_timeline_is_in_order_and_a_step_ends_before_the_next_phase_begins() {
        let lines: Vec<_> = events(&journal()).into_iter().map(|event| event.text.trim().to_owned()).collect();
        assert_eq!(lines[0], "Preflight");
        assert!(lines[1].starts_with("✓ secrets") && lines[1].ends_with("2.0 s  keys=[A, B], ok=true"), "{}", lines[1]);
        assert_eq!(
            lines[2..],
            ["Preparing", "⇄ shop → version=green", "! trigger errors fired: 0.11", "RollingBack  errors"]
        );
    }

    #[test]
    fn each_event_has_a_key_of_its_own() {
        let events = events(&journal());
        let keys: BTreeSet<_> = events.iter().map(|event| &event.key).collect();
        assert_eq!(keys.len(), events.len());
    }

    #[test]
    fn evidence_is_shortened_to_what_tells() {
        assert_eq!(brief(&json!({"matrix": {"a": "passed"}, "of": 9, "passed": 8})), "8 of 9 passed");
        assert_eq!(brief(&json!({"query": "up", "value": 0.5})), "value=0.5");
        assert_eq!(brief(&json!({"captures": {"id": "x"}, "exitCode": 0})), "id=x, exitCode=0");
    }

    #[test]
    fn evidence_never_breaks_the_line() {
        assert_eq!(shorten("a\nb", 10), "a b");
        assert_eq!(shorten(&"x".repeat(200), 10).chars().count(), 10);
    }
}
