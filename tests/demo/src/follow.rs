//! Follows a run by what `view` shows of it and tells it as a timeline. Nothing is missed between two looks, since the
//! journal keeps the times.

use anyhow::{Context, Result, bail};
use cutover::api::run::{StepState, SwitchState, TrialVerdict};
use cutover::api::{Cutover, CutoverRun, Phase, RunStatus};
use cutover::view;
use jiff::Timestamp;
use kube::Api;
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
    let (mut phase, mut connected) = (None, false);
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
        let plan = view::plan_of(&run);
        let Some(seen) = view::Run::of(&run, plan.as_ref()) else {
            sleep(POLL).await;
            continue;
        };
        let mut events = events(&seen);
        events.retain(|event| !told.contains(&event.key));
        for event in events {
            tell(screen, &event);
            told.insert(event.key);
        }
        // Clients that keep their connection stay where they connect first, so they wait until the node, too, leads new
        // connections to the side that is live now.
        if !connected
            && seen.switch.as_ref().is_some_and(|switch| switch.converged.is_some())
            && load.report().await?.pools.get("fresh").is_some_and(|fresh| fresh.colours.contains_key(release.side))
        {
            connected = true;
            load.connect().await?;
        }
        if phase != Some(seen.phase) {
            phase = Some(seen.phase);
            if matches!(seen.phase, Phase::Preparing | Phase::Observing | Phase::RollingBack) || ended(seen.phase) {
                show_cutovers(cluster, screen).await;
            }
            tick = Instant::now() + TICK;
        }
        if ended(seen.phase) {
            return Ok((seen.name.to_owned(), run.status.unwrap_or_default()));
        }
        if Instant::now() >= tick {
            tick = Instant::now() + TICK;
            show_tick(screen, load, &seen, release).await;
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

/// Everything that a run shows, in the order in which it happened.
pub fn events(run: &view::Run) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut add = |at: Timestamp, key: String, text: String, look| {
        let rank = if matches!(look, EventLook::Phase | EventLook::BadPhase) { 2 } else { 0 };
        events.push(Event { at, key, text, look, rank });
    };
    for moment in run.timeline {
        let bad = matches!(moment.phase, Phase::RollingBack | Phase::Failed | Phase::Aborted | Phase::Superseded);
        let look = if bad { EventLook::BadPhase } else { EventLook::Phase };
        let why = if moment.message.is_empty() { String::new() } else { format!("  {}", moment.message) };
        add(moment.at, format!("phase {} {}", moment.at, moment.phase), format!("{}{why}", moment.phase), look);
    }
    for step in &run.executions {
        if let (Some(started), Some(job), true) = (step.started, step.job, step.is_running())
            && job.started.is_some()
        {
            let text = format!("  · {:<20} Job {}", step.name, job.name);
            add(started, format!("job {}", step.name), text, EventLook::Neutral);
        }
        if let Some(ended) = step.ended {
            let (text, look) = step_line(step);
            add(ended, format!("step {} {} {ended}", step.name, step.attempt), text, look);
        }
    }
    if let Some(switch) = &run.switch {
        for service in switch.services {
            if let Some(at) = service.switched_at {
                let text = format!("  ⇄ {} → {}", service.name, selector(&service.from, &service.to));
                add(at, format!("switched {}", service.name), text, EventLook::Good);
            }
            if let (Some(at), SwitchState::Restored) = (service.restored_at, service.state) {
                let text = format!("  ⇄ {} ← {} (restored)", service.name, selector(&service.to, &service.from));
                add(at, format!("restored {}", service.name), text, EventLook::Good);
            }
        }
        if let Some(at) = switch.converged {
            add(at, "converged".into(), "  ✓ endpoints: pods of the new side only".into(), EventLook::Good);
        }
    }
    for trigger in &run.triggers {
        if let Some(at) = trigger.fired {
            let text = format!("  ! trigger {} fired{}", trigger.name, saw(trigger));
            add(at, format!("fired {}", trigger.name), text, EventLook::Bad);
        }
    }
    for suite in run.executions.iter().filter(|step| step.is_suite()).map(|step| format!("step {} ", step.name)) {
        events.iter_mut().filter(|event| event.key.starts_with(&suite)).for_each(|event| event.rank = 1);
    }
    // At the same time: the steps of a suite end before the suite, and a step before the next phase begins.
    events.sort_by_key(|event| (event.at, event.rank));
    events
}

fn step_line(step: &view::Step) -> (String, EventLook) {
    let (sign, look) = match step.state {
        Some(StepState::Succeeded) => ("✓", EventLook::Good),
        Some(StepState::Failed) => ("✗", EventLook::Bad),
        Some(StepState::Unknown) => ("?", EventLook::Bad),
        Some(StepState::Skipped | StepState::Running) | None => ("-", EventLook::Neutral),
    };
    let took = step.took().map(|took| format!("{:.1} s", took.as_secs_f64())).unwrap_or_default();
    let attempts = if step.attempt > 1 { format!(" (attempt {})", step.attempt) } else { String::new() };
    let detail = match (step.message, step.evidence()) {
        (Some(message), _) if step.state != Some(StepState::Succeeded) => message.to_owned(),
        (_, Some(evidence)) => evidence,
        (Some(message), None) => message.to_owned(),
        (None, None) => String::new(),
    };
    (format!("  {sign} {:<20}{took:>7}{attempts}  {}", step.name, shorten(&detail, WIDTH)), look)
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

fn saw(trigger: &view::Trigger) -> String {
    trigger.saw.as_ref().map(|saw| format!(": {}", shorten(saw, WIDTH))).unwrap_or_default()
}

async fn show_tick(screen: &Screen, load: &Load, run: &view::Run<'_>, release: &Release) {
    let mut parts = Vec::new();
    if let Some(observation) = run.observation.filter(|_| run.phase == Phase::Observing) {
        let watched = Timestamp::now().duration_since(observation.since).as_secs_f64();
        parts.push(format!("watched for {watched:.0} s"));
        for trigger in run.triggers.iter().filter(|trigger| trigger.fired.is_none()) {
            let word = match trigger.verdict {
                Some(TrialVerdict::Good) => "ok",
                Some(TrialVerdict::Bad) => "BAD",
                Some(TrialVerdict::Inconclusive) => "unknown",
                None => continue,
            };
            parts.push(format!("{} {word}", trigger.name));
        }
    } else {
        parts.push(format!("{} …", run.phase));
        let running = run.executions.iter().find(|step| step.is_running());
        parts.extend(running.map(|step| {
            let what = step.message.unwrap_or("under way");
            format!("{}: {}", step.name, shorten(what, WIDTH))
        }));
        parts.extend(run.waiting.map(|why| format!("waits: {why}")));
    }
    // The load's numbers are an extra here: the end of the release asks again and minds when there is no answer.
    if let Ok(report) = load.report().await {
        parts.push(format!("{} requests, {} errors, {} lost", report.sent, report.app_errors, report.lost));
        let on = |side: &str| report.lasting_on(side).1;
        let (left, there) = (on(release.from), on(release.side));
        if left + there > 0 {
            let sides = format!("{there} on {}, {left} on {}", release.side, release.from);
            parts.push(format!("connections never closed: {sides}"));
        }
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

    fn run() -> CutoverRun {
        let status = json!({
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
        });
        serde_json::from_value(json!({
            "apiVersion": "cutover.dev/v1alpha1", "kind": "CutoverRun", "metadata": {"name": "shop-1"},
            "spec": {"cutover": "shop", "cutoverUID": "c", "planVersion": 2, "plan": {}}, "status": status,
        }))
        .unwrap()
    }

    fn all_events() -> Vec<Event> {
        events(&view::Run::of(&run(), None).unwrap())
    }

    #[test]
    fn the_timeline_is_in_order_and_a_step_ends_before_the_next_phase_begins() {
        let lines: Vec<_> = all_events().into_iter().map(|event| event.text.trim().to_owned()).collect();
        assert_eq!(lines[0], "Preflight");
        assert!(lines[1].starts_with("✓ secrets") && lines[1].ends_with("2.0 s  keys=[A, B], ok=true"), "{}", lines[1]);
        assert_eq!(
            lines[2..],
            ["Preparing", "⇄ shop → version=green", "! trigger errors fired: 0.11", "RollingBack  errors"]
        );
    }

    #[test]
    fn each_event_has_a_key_of_its_own() {
        let events = all_events();
        let keys: BTreeSet<_> = events.iter().map(|event| &event.key).collect();
        assert_eq!(keys.len(), events.len());
    }

    #[test]
    fn evidence_never_breaks_the_line() {
        assert_eq!(shorten("a\nb", 10), "a b");
        assert_eq!(shorten(&"x".repeat(200), 10).chars().count(), 10);
    }
}
