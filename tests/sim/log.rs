//! The readable log of a run, kept as a golden file.

use jiff::Timestamp;

use cutover::api::run::RunStatus;
use cutover::effect::letter::Told;
use cutover::effect::{Change, Effect, Outcome};

use cutover::effect::change::said;

use super::cluster::Cluster;

/// The log of one run.
#[derive(Clone, Debug)]
pub struct Log {
    start: Timestamp,
    pub lines: Vec<String>,
    /// What the last line says, and how often it has been said since.
    last: (String, u32),
}

impl Log {
    pub fn new(start: Timestamp) -> Self {
        Self { start, lines: vec![], last: (String::new(), 0) }
    }

    /// One line: time since the start, who, what. One that only repeats the last is counted.
    pub fn line(&mut self, now: Timestamp, who: &str, what: impl AsRef<str>) {
        let text = format!("{who:<8} {}", what.as_ref());
        if text == self.last.0 {
            self.last.1 += 1;
            return;
        }
        self.repeated();
        let ms = now.duration_since(self.start).as_millis();
        let (m, s, ms) = (ms / 60_000, ms / 1000 % 60, ms % 1000);
        self.lines.push(format!("{m:02}:{s:02}.{ms:03}  {text}"));
        self.last = (text, 0);
    }

    fn repeated(&mut self) {
        let (_, n) = std::mem::take(&mut self.last);
        if n > 0 {
            self.lines.push(format!("           … and {n} times more"));
        }
    }

    /// What an effect is called in the log, and what came of it.
    pub fn effect(&mut self, cluster: &Cluster, effect: &Effect, outcome: &Outcome) {
        let what = name(cluster, effect);
        let outcome = match outcome {
            Outcome::Done | Outcome::Changed { .. } => "done".to_owned(),
            Outcome::Created { .. } => "created".to_owned(),
            Outcome::Guarded { foreign: Some(_), .. } => "not tried: the selector is neither side's".to_owned(),
            Outcome::Guarded { ready, other: Some(other), .. } => {
                format!("not tried: {ready} ready, {other} on the other side")
            }
            Outcome::Guarded { ready, other: None, .. } => format!("not tried: {ready} ready"),
            Outcome::Blocked { cause, why, .. } => format!("blocked: {cause:?}: {why}"),
            Outcome::Answered(answers) => format!("{} answers", answers.len()),
            Outcome::Told(Told::Received { answer, .. }) => format!("answered {answer}"),
            Outcome::Told(Told::Not { why, .. }) => format!("not told: {why}"),
            Outcome::Refused { why, .. } => format!("refused: {why}"),
            Outcome::NotFound => "not found".to_owned(),
            Outcome::NotSent(why) => format!("not sent: {why}"),
            Outcome::Conflict(why) => format!("conflict: {}", mask(cluster, why)),
            Outcome::NameCollision(_) => "the name is taken".to_owned(),
            Outcome::Transient(why) => format!("no result: {why}"),
        };
        self.line(cluster.now, "write", format!("{what}: {outcome}"));
    }

    /// How it all ended.
    pub fn summary(&mut self, cluster: &Cluster) {
        let status = &cluster.status;
        self.repeated();
        self.lines.push(String::new());
        self.lines.push(format!("phase: {}", status.phase));
        if let Some(e) = &status.ending {
            let incomplete = if e.incomplete { " (incomplete)" } else { "" };
            self.lines.push(format!("ending: {}{incomplete}: {}", e.reason, e.message));
        }
        for name in &cluster.plan.services {
            let to = match cluster.services.get(name) {
                None => "gone",
                Some(_) => cluster.points_to(name).unwrap_or("neither side"),
            };
            self.lines.push(format!("service {name}: {to}"));
        }
        for (name, job) in &cluster.cron_jobs {
            self.lines.push(format!("CronJob {name}: {}", said(job.suspended)));
        }
        for step in &status.steps {
            let attempt = if step.attempt > 1 { format!(" after {} attempts", step.attempt) } else { String::new() };
            let why = step.message.as_deref().map(|m| format!(": {}", mask(cluster, m))).unwrap_or_default();
            self.lines.push(format!("step {}: {:?}{attempt}{why}", step.name, step.state));
        }
        for c in &status.closings {
            let counts: Vec<String> =
                c.endpoints.iter().map(|(service, n)| format!("{n} ready for {service}")).collect();
            let scaled = c.workloads.iter().map(|w| {
                let left = w.left.as_deref().map(|why| format!(" (left: {why})")).unwrap_or_default();
                format!(", {} {} to 0, then {}{left}", w.workload.name, w.from, w.remembered)
            });
            let left = c.left.as_deref().map(|why| format!(", left: {why}")).unwrap_or_default();
            let open = if c.ended.is_some() { "" } else { " (not over)" };
            let scaled: String = scaled.collect();
            let counts = counts.join(", ");
            self.lines
                .push(format!("closed {}{open}: {} pods, {counts}{scaled}, {} deleted{left}", c.side, c.had, c.gone));
        }
        for c in status.conditions.iter().filter(|c| c.status == "True" || c.type_ == "CanRollBack") {
            self.lines.push(format!("condition {}={} {}: {}", c.type_, c.status, c.reason, mask(cluster, &c.message)));
        }
        if let Some(q) = &status.question {
            self.lines.push(format!("question {}: {}", q.subject, q.text));
        }
        if let Some(w) = waiting(status) {
            self.lines.push(format!("waits: {w}"));
        }
    }

    pub fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }
}

fn waiting(status: &RunStatus) -> Option<String> {
    let value = serde_json::to_value(status).ok()?;
    Some(value.get("waiting")?.as_str()?.to_owned())
}

/// Job names carry a hash: they are written as `step#attempt`.
pub fn mask(cluster: &Cluster, text: &str) -> String {
    let mut text = text.to_owned();
    for record in &cluster.status.steps {
        if let Some(job) = &record.job {
            text = text.replace(&job.name, &format!("{}#{}", record.name, record.attempt));
        }
    }
    for (name, job) in &cluster.jobs {
        if let Some(step) = &job.view.step {
            text = text.replace(name, &step.to_string());
        }
    }
    text
}

fn name(cluster: &Cluster, effect: &Effect) -> String {
    match effect {
        Effect::CreateJob { name, .. } => format!("create Job {}", mask(cluster, name)),
        Effect::StartJob { name, .. } => format!("start Job {}", mask(cluster, name)),
        Effect::DeleteJob { name, .. } => format!("delete Job {}", mask(cluster, name)),
        Effect::OwnJob { name, .. } => format!("own Job {}", mask(cluster, name)),
        Effect::Keep { key, values, .. } => format!("keep {} of {key}", values.keys().collect::<Vec<_>>().join(", ")),
        Effect::OwnSecret { name } => format!("own Secret {name}"),
        Effect::DeletePod { name, .. } => format!("delete Pod {name}"),
        Effect::Answer { uid, result, .. } => {
            let said = cluster.decisions.iter().find(|d| d.uid == *uid);
            let said = said.map(|d| format!("{:?} by {}", d.spec.decision, d.spec.by)).unwrap_or_default();
            format!("answer {said} ({result})")
        }
        Effect::TakeUp { uid, .. } => {
            let said = cluster.decisions.iter().find(|d| d.uid == *uid);
            let said = said.map(|d| format!("{:?} by {}", d.spec.decision, d.spec.by)).unwrap_or_default();
            format!("take up {said}")
        }
        Effect::Send { key, .. } => format!("send request {key}"),
        Effect::Notify { receiver, letter, .. } => {
            let again = if letter.again { " again" } else { "" };
            format!("tell {} of {:?}{again}", receiver.name, letter.event)
        }
        Effect::Switch { route, .. } => format!("switch {} to {}", route.name, cluster.plan.target.name),
        Effect::Restore { route, .. } => format!("restore {} to {}", route.name, cluster.plan.old.name),
        Effect::Change { why, object, change: Change::Scale { from, to }, .. } => {
            format!("scale {} {from} to {to} ({why})", object.name)
        }
        Effect::Change { why, object, change: Change::Suspend { to, .. }, .. } => {
            format!("{} {} ({why})", if *to { "suspend" } else { "resume" }, object.name)
        }
        Effect::Change { why, object, change, .. } => format!("{} of {} ({why})", change.kind(), object.name),
    }
}
