//! PURE. `status` as a page: the answer first, then what it rests on.

use jiff::Timestamp;

use super::model::{Decided, Gate, Status, Step, Trigger, Watched};
use super::question::{Choice, Question};
use super::sides::{Side, Workload};
use crate::api::phase::Phase;
use crate::api::run::{StepState, TrialVerdict};
use crate::api::trigger::Severity;
use crate::cli::text::{Glyph, Line, Look, Page, Table, Tone, time};

/// The page.
pub(crate) fn page(status: &Status, look: Look, now: Timestamp) -> Page {
    let mut page = Page::new();
    head(&mut page, status, now);
    asks(&mut page, status, now);
    steps(&mut page, status, now);
    triggers(&mut page, status, look, now);
    sides(&mut page, &status.sides, now);
    deadlines(&mut page, status, now);
    decisions(&mut page, status, now);
    hidden(&mut page, status);
    if let Some(command) = &status.record {
        page.push(Line::new().tone(Tone::Dim, format!("record: {command}")));
    }
    page
}

/// What people are asked, and what stands in the way.
pub(crate) fn asks(page: &mut Page, status: &Status, now: Timestamp) {
    if let Some(gate) = &status.gate {
        self::gate(page, gate, now);
    }
    if let Some(q) = &status.question {
        page.heading("Waits for a decision");
        page.push(Line::new().text("  ").sign(Tone::Warn, Glyph::Person).text(&q.text));
        for line in answers(q) {
            page.push(Line::new().text("    ").then(line));
        }
    }
    for c in &status.conditions {
        // The first line has said it.
        if !status.answer.contains(&c.message) {
            page.push(
                Line::new().sign(Tone::Warn, Glyph::Warn).tone(Tone::Strong, &c.type_).text(": ").text(&c.message),
            );
        }
    }
}

/// The answers of a question, each with what it does.
pub(crate) fn answers(question: &Question) -> impl Iterator<Item = Line> {
    let one = |c: &Choice| {
        Line::new().sign(Tone::Plain, Glyph::Arrow).text(format!("{}: ", c.does)).tone(Tone::Strong, &c.command)
    };
    question.answers.iter().map(one)
}

/// What comes by itself.
pub(crate) fn deadlines(page: &mut Page, status: &Status, now: Timestamp) {
    if status.deadlines.is_empty() {
        return;
    }
    page.heading("Comes by itself");
    for d in &status.deadlines {
        let left = match d.at > now {
            true => format!("in {}", time::ago(now, d.at)),
            false => "now".to_owned(),
        };
        page.push(Line::new().text("  ").text(format!("{} ({left})", time::clock(d.at, now))).text("  ").text(&d.what));
    }
}

/// What people decided.
pub(crate) fn decisions(page: &mut Page, status: &Status, now: Timestamp) {
    if status.decisions.is_empty() {
        return;
    }
    page.heading("Decided");
    for d in &status.decisions {
        page.push(Line::new().text("  ").tone(Tone::Dim, time::clock(d.at, now)).text("  ").then(decided(d)));
    }
}

/// What cannot be seen.
pub(crate) fn hidden(page: &mut Page, status: &Status) {
    for hidden in &status.hidden {
        page.push(Line::new().sign(Tone::Dim, Glyph::Unknown).tone(Tone::Dim, hidden));
    }
}

/// How good a phase is.
pub(crate) fn mark(phase: Phase, waits: bool) -> (Tone, Glyph) {
    match phase {
        _ if waits => (Tone::Warn, Glyph::Person),
        Phase::Idle => (Tone::Dim, Glyph::Todo),
        Phase::Completed => (Tone::Good, Glyph::Good),
        Phase::RollingBack => (Tone::Bad, Glyph::Busy),
        Phase::RolledBack => (Tone::Bad, Glyph::Back),
        Phase::Failed => (Tone::Bad, Glyph::Bad),
        Phase::Aborted | Phase::Superseded => (Tone::Dim, Glyph::Skipped),
        Phase::Pending
        | Phase::Preflight
        | Phase::Preparing
        | Phase::Verifying
        | Phase::Switching
        | Phase::Confirming
        | Phase::Observing
        | Phase::Finishing => (Tone::Busy, Glyph::Busy),
    }
}

/// The answer, and what is live.
pub(crate) fn head(page: &mut Page, status: &Status, now: Timestamp) {
    let (tone, glyph) = match status.alarm {
        true => (Tone::Bad, Glyph::Warn),
        false => mark(status.phase, status.waits_for_person),
    };
    let since = status.since.map(|at| format!(" since {}", time::ago(at, now))).unwrap_or_default();
    page.push(
        Line::new()
            .sign(tone, glyph)
            .tone(Tone::Strong, format!("{}/{}", status.namespace, status.cutover))
            .text(" ")
            .tone(tone, status.phase.as_str())
            .tone(Tone::Dim, since)
            .text(": ")
            .text(&status.answer),
    );
    let side = |name: &Option<String>, release: &Option<String>| {
        let release = release.as_ref().map(|r| format!("@{r}")).unwrap_or_default();
        name.as_ref().map_or("neither side".to_owned(), |n| format!("{n}{release}"))
    };
    let mut line = Line::new().text("  live: ").tone(Tone::Strong, side(&status.live, &status.live_release));
    if status.target.is_some() {
        line = line.text("   target: ").text(side(&status.target, &status.target_release));
    }
    if let Some(run) = &status.run {
        line = line.text("   run: ").text(run);
    }
    if let Some(p) = status.progress {
        line = line.text(format!("   steps: {} of {}", p.done, p.all));
    }
    page.push(line);
}

fn gate(page: &mut Page, gate: &Gate, now: Timestamp) {
    page.heading(&format!("Gate {}", gate.name));
    for role in &gate.roles {
        let there = role.by.len() as u64 >= u64::from(role.wanted);
        let (tone, glyph) = if there { (Tone::Good, Glyph::Good) } else { (Tone::Warn, Glyph::Person) };
        let who = match role.by.as_slice() {
            [] => format!("nobody yet, {} wanted", role.wanted),
            by => format!("{} ({} of {})", by.join(", "), by.len(), role.wanted),
        };
        page.push(Line::new().text("  ").sign(tone, glyph).tone(Tone::Strong, &role.name).text(": ").text(who));
    }
    if let Some(asked) = &gate.excluded {
        page.push(Line::new().text(format!("  not by {asked}, who has asked for this release")));
    }
    if let Some(text) = &gate.instructions {
        page.push(Line::new().text("  ").text(text));
    }
    for item in &gate.checklist {
        page.push(Line::new().text("  ").sign(Tone::Plain, Glyph::Todo).text(item));
    }
    let left = time::ago(now, gate.until);
    page.push(Line::new().text("  ").tone(Tone::Dim, format!("expires {} (in {left})", time::clock(gate.until, now))));
    if gate.held {
        let text = "the run is suspended: approvals count, and the gate opens once the run goes on";
        page.push(Line::new().text("  ").sign(Tone::Warn, Glyph::Warn).text(text));
    }
    for command in &gate.commands {
        page.push(Line::new().text("  ").sign(Tone::Plain, Glyph::Arrow).tone(Tone::Strong, command));
    }
}

pub(crate) fn steps(page: &mut Page, status: &Status, now: Timestamp) {
    if status.stages.is_empty() {
        return;
    }
    page.heading("Steps");
    for stage in &status.stages {
        page.push(Line::new().text("  ").tone(Tone::Strong, &stage.name));
        for (i, step) in stage.steps.iter().enumerate() {
            branch(page, step, Line::new().text("  "), i + 1 == stage.steps.len(), now);
        }
    }
}

/// A step and what is below it.
fn branch(page: &mut Page, step: &Step, above: Line, last: bool, now: Timestamp) {
    let arm = if last { Glyph::Last } else { Glyph::Branch };
    page.push(above.clone().sign(Tone::Dim, arm).then(one(step, now)).cut());
    let trunk = match last {
        true => above.text("   "),
        false => above.sign(Tone::Dim, Glyph::Trunk),
    };
    for (i, part) in step.below.iter().enumerate() {
        branch(page, part, trunk.clone(), i + 1 == step.below.len(), now);
    }
}

fn one(step: &Step, now: Timestamp) -> Line {
    let (tone, glyph) = match step.state {
        None => (Tone::Dim, Glyph::Todo),
        Some(StepState::Running) if step.is_gate => (Tone::Warn, Glyph::Person),
        Some(StepState::Running) => (Tone::Busy, Glyph::Busy),
        Some(StepState::Succeeded) => (Tone::Good, Glyph::Good),
        Some(StepState::Failed) => (Tone::Bad, Glyph::Bad),
        Some(StepState::Skipped) => (Tone::Dim, Glyph::Skipped),
        Some(StepState::Unknown) => (Tone::Warn, Glyph::Unknown),
    };
    let name = if step.state.is_some() { Tone::Plain } else { Tone::Dim };
    let mut line = Line::new().sign(tone, glyph).tone(name, &step.name);
    if let Some(kind) = &step.kind {
        line = line.tone(Tone::Dim, format!(" {kind}"));
    }
    let took = step.started.map(|from| time::long(step.ended.unwrap_or(now).duration_since(from)));
    if let Some(took) = took.filter(|_| step.state != Some(StepState::Skipped)) {
        line = line.text(format!("  {took}"));
    }
    if step.attempt > 1 {
        let of = step.attempts.map(|n| format!(" of {n}")).unwrap_or_default();
        line = line.tone(Tone::Warn, format!("  attempt {}{of}", step.attempt));
    }
    if let Some(run) = &step.kept_from {
        line = line.tone(Tone::Dim, format!("  kept from {run}"));
    }
    // A step that has succeeded says what it saw; any other what goes on.
    let says = match step.state {
        Some(StepState::Succeeded) => step.evidence.as_ref().or(step.message.as_ref()),
        _ => step.message.as_ref().or(step.evidence.as_ref()),
    };
    if let Some(says) = says.filter(|s| !s.is_empty()) {
        line =
            line.tone(if step.state == Some(StepState::Failed) { Tone::Bad } else { Tone::Plain }, format!("  {says}"));
    }
    step.decided.iter().fold(line, |line, d| line.text("  ").then(decided(d)))
}

/// `Approve by jane as qa: looks good`.
fn decided(d: &Decided) -> Line {
    let role = d.role.as_ref().map(|r| format!(" as {r}")).unwrap_or_default();
    let comment = d.comment.as_ref().map(|c| format!(": {c}")).unwrap_or_default();
    Line::new().text(format!("{} by {}{role}{comment}", d.decision, d.by))
}

fn triggers(page: &mut Page, status: &Status, look: Look, now: Timestamp) {
    if status.triggers.is_empty() {
        return;
    }
    let title = match status.observation {
        Some(o) => {
            let wanted = o.wanted_seconds.map(|w| format!(" of {}", seconds(w))).unwrap_or_default();
            format!("Triggers, observed {}{wanted}", seconds(o.seen_seconds))
        }
        None => "Triggers".to_owned(),
    };
    let of_old = status.triggers.iter().all(|t| t.watched == Watched::NoMore);
    page.heading(&if of_old { format!("{title}; looked at no more, this is as last seen") } else { title });
    let mut table = Table::new(&["TRIGGER", "LEADS TO", "LAST SAW", "BAD", "DISTANCE", "WHEN"]);
    for t in &status.triggers {
        table.row(vec![
            row_mark(t).text(&t.name),
            severity(t.severity).into(),
            t.saw.clone().unwrap_or_else(|| "nothing yet".into()).into(),
            t.limit.clone().unwrap_or_default().into(),
            nearness(t).into(),
            t.last.map(|at| format!("{} ago", time::ago(at, now))).unwrap_or_default().into(),
        ]);
    }
    page.lines.extend(table.page(look, 2).lines);
}

/// The sign of a trigger.
pub(crate) fn row_mark(t: &Trigger) -> Line {
    let line = Line::new();
    match (t.fired.is_some(), t.verdict, t.watched) {
        (true, ..) => line.sign(Tone::Bad, Glyph::Bad),
        (_, _, Watched::Overdue) => line.sign(Tone::Warn, Glyph::Unknown),
        (_, Some(TrialVerdict::Bad), _) => line.sign(Tone::Warn, Glyph::Warn),
        (_, _, Watched::NoMore) => line.sign(Tone::Dim, Glyph::Skipped),
        (_, Some(TrialVerdict::Good), _) => line.sign(Tone::Good, Glyph::Good),
        (_, Some(TrialVerdict::Inconclusive), _) => line.sign(Tone::Warn, Glyph::Unknown),
        (_, None, _) => line.sign(Tone::Dim, Glyph::Todo),
    }
}

pub(crate) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Rollback => "rollback",
        Severity::Decide => "a decision",
        Severity::Warn => "a warning",
    }
}

/// How far the value is from its limit, in the value's unit and as a share of the limit.
pub(crate) fn distance(t: &Trigger) -> String {
    match (t.distance, t.bound) {
        (Some(d), Some(bound)) if bound != 0.0 => format!("{} ({:.0} %)", number(d), d / bound.abs() * 100.0),
        (Some(d), _) => number(d),
        (None, _) => String::new(),
    }
}

/// How near a trigger is to firing: `3 bad intervals` for one that weighs evidence, else the distance from the limit.
pub(crate) fn nearness(t: &Trigger) -> String {
    let Some(evidence) = t.evidence.filter(|_| t.fired.is_none()) else { return distance(t) };
    let more = match t.more_bad {
        Some(1) => "1 bad interval".to_owned(),
        Some(n) => format!("{n} bad intervals"),
        None => "over 100 bad intervals".to_owned(),
    };
    format!("{more} (evidence {:.0} %)", (evidence * 100.0).floor())
}

/// Four significant digits.
fn number(n: f64) -> String {
    let digits = match n.abs() {
        m if m >= 1000.0 || m == 0.0 => 0,
        m if m >= 1.0 => 2,
        _ => 4,
    };
    format!("{n:.digits$}")
}

fn seconds(s: u64) -> String {
    time::long(jiff::SignedDuration::from_secs(i64::try_from(s).unwrap_or(i64::MAX)))
}

pub(crate) fn sides(page: &mut Page, sides: &[Side], now: Timestamp) {
    page.heading("Sides");
    for side in sides {
        let release = side.release.as_ref().map(|r| format!("@{r}")).unwrap_or_default();
        let mut line = Line::new().text("  ").tone(Tone::Strong, format!("{}{release}", side.name));
        if side.live {
            line = line.text(" ").tone(Tone::Good, "live");
        }
        page.push(line);
        for (i, w) in side.workloads.iter().enumerate() {
            let last = i + 1 == side.workloads.len();
            let arm = if last { Glyph::Last } else { Glyph::Branch };
            page.push(Line::new().text("  ").sign(Tone::Dim, arm).then(workload(w)).cut());
            let trunk =
                if last { Line::new().text("     ") } else { Line::new().text("  ").sign(Tone::Dim, Glyph::Trunk) };
            if let Some(scaled) = &w.scaled {
                page.push(trunk.clone().text(scaled));
            }
            for (j, pod) in w.pods.iter().enumerate() {
                let arm = if j + 1 == w.pods.len() { Glyph::Last } else { Glyph::Branch };
                let (tone, glyph) = if pod.ready { (Tone::Good, Glyph::Good) } else { (Tone::Warn, Glyph::Busy) };
                let mut line = trunk.clone().sign(Tone::Dim, arm).sign(tone, glyph).text(&pod.name);
                if let Some(at) = pod.created {
                    line = line.tone(Tone::Dim, format!("  {}", time::ago(at, now)));
                }
                if pod.restarts > 0 {
                    line = line.tone(Tone::Warn, format!("  {} restarts", pod.restarts));
                }
                if let Some(why) = &pod.why {
                    line = line.text("  ").text(why);
                }
                page.push(line.cut());
            }
        }
    }
}

fn workload(w: &Workload) -> Line {
    let name = format!("{:?}/{}", w.kind, w.name);
    match w.exists {
        None => Line::new().text(name),
        Some(false) => Line::new().text(name).text("  ").tone(Tone::Bad, "does not exist"),
        Some(true) => {
            let tone = match (w.ready, w.wanted) {
                (ready, wanted) if ready >= wanted && wanted > 0 => Tone::Good,
                (0, 0) => Tone::Dim,
                _ => Tone::Warn,
            };
            let line = Line::new().text(name).text("  ").tone(tone, format!("{} of {} ready", w.ready, w.wanted));
            line.text("  ").tone(Tone::Dim, w.images.join(", "))
        }
    }
}
