//! PURE. Journal → the trace of a run: one root span, its phases, in them the steps, their Jobs, the switch, the restore.
//!
//! A run may last days and outlive the process, so its trace is built from the journal when the run closes. All ids
//! follow from the run's uid: two operators that export the same run export the same trace. No evidence, no captured
//! value and no request is in it.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::phase::Phase;
use crate::api::run::{CutoverRun, JobRecord, RunStatus, StepRecord, StepState, SwitchState};
use crate::plan::{Action, Plan};

/// What is known of a span or of something that happened in it.
pub type Attributes = Vec<(&'static str, Value)>;

/// A stretch of time in the life of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Unique in the trace.
    pub id: [u8; 8],
    /// The span that it is part of; none is the root's.
    pub parent: Option<[u8; 8]>,
    /// What it is: few different ones, so no names of objects but those of steps.
    pub name: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended; never before it began.
    pub end: Timestamp,
    /// What is known of it.
    pub attributes: Attributes,
    /// What went wrong.
    pub error: Option<String>,
    /// What happened in it: time, name, attributes.
    pub events: Vec<(Timestamp, &'static str, Attributes)>,
}

/// The trace of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Follows from the run's uid.
    pub id: [u8; 16],
    /// The root first.
    pub spans: Vec<Span>,
}

/// The trace of a run as its journal tells it.
pub fn of(run: &CutoverRun, plan: &Plan, journal: &RunStatus) -> Trace {
    let uid = run.metadata.uid.clone().unwrap_or_default();
    let mut made = Making { uid: &uid, spans: vec![] };
    let first = journal.timeline.first().map(|m| m.at).or(journal.phase_since);
    let created = run.metadata.creation_timestamp.as_ref().map(|t| t.0).or(first).unwrap_or_default();
    // What was created in the same second as it began has a creation time before it, in whole seconds.
    let end = last_word(journal).unwrap_or(created).max(created);
    let root = made.add(None, "run", "run", created, end);
    root.attributes = vec![
        ("k8s.namespace.name", json!(plan.namespace)),
        ("cutover.name", json!(plan.cutover)),
        ("cutover.run", json!(run.metadata.name)),
        ("cutover.run.uid", json!(uid)),
        ("cutover.release", json!(crate::status::release_name(&plan.release))),
        ("cutover.from", json!(plan.old.name)),
        ("cutover.to", json!(plan.target.name)),
        ("cutover.outcome", json!(journal.phase.as_str())),
    ];
    if let Some(ending) = &journal.ending {
        root.attributes.push(("cutover.reason", json!(ending.reason)));
        root.error = Some(ending.message.clone());
    }
    let fired = journal
        .triggers
        .iter()
        .filter_map(|t| Some((t.fired_at?, "trigger fired", vec![("cutover.trigger", json!(t.name))])));
    let taken = journal
        .decisions
        .iter()
        .map(|d| (d.at, "decision", vec![("cutover.decision", json!(format!("{:?}", d.decision)))]));
    root.events = fired.chain(taken).collect();
    root.events.sort_by_key(|(at, ..)| *at);
    let root = root.id;
    let phases = phases(&mut made, root, journal, created, end);
    for record in &journal.steps {
        step(&mut made, root, &phases, plan, record, end);
    }
    switch(&mut made, root, &phases, journal, end);
    Trace { id: hash(&format!("trace/{uid}")), spans: made.spans }
}

struct Making<'a> {
    uid: &'a str,
    spans: Vec<Span>,
}

impl Making<'_> {
    /// Adds a span; `key` makes its id.
    fn add(&mut self, parent: Option<[u8; 8]>, key: &str, name: &str, start: Timestamp, end: Timestamp) -> &mut Span {
        let id = hash(&format!("span/{}/{key}", self.uid));
        let name = name.to_owned();
        let span =
            Span { id, parent, name, start, end: end.max(start), attributes: vec![], error: None, events: vec![] };
        let at = self.spans.len();
        self.spans.push(span);
        &mut self.spans[at]
    }
}

/// A phase that was entered: its span and when it began.
type Entered = (Phase, [u8; 8], Timestamp);

/// A span for each phase that the run was in. What it ended in is no stretch of time, unless it was left again.
fn phases(made: &mut Making, root: [u8; 8], journal: &RunStatus, created: Timestamp, end: Timestamp) -> Vec<Entered> {
    let mut entered: Vec<(Phase, Timestamp, &str)> = vec![];
    // Of a very long timeline the beginning is not kept.
    if journal.timeline.first().is_none_or(|m| m.phase == Phase::Preflight || m.phase.is_over()) {
        entered.push((Phase::Pending, created, ""));
    }
    entered.extend(journal.timeline.iter().map(|m| (m.phase, m.at, m.reason.as_str())));
    let mut found = vec![];
    for (n, (phase, start, reason)) in entered.iter().enumerate() {
        let next = entered.get(n + 1).map(|(_, at, _)| *at);
        if next.is_none() && (phase.is_over() || *phase == Phase::Completed) {
            continue;
        }
        let span = made.add(Some(root), &format!("phase/{n}"), phase.as_str(), *start, next.unwrap_or(end));
        span.attributes = vec![("cutover.phase", json!(phase.as_str()))];
        if !reason.is_empty() {
            span.attributes.push(("cutover.reason", json!(reason)));
        }
        found.push((*phase, span.id, *start));
    }
    found
}

/// The phase that a time lies in: the last one entered by then.
fn phase_at(phases: &[Entered], at: Timestamp) -> Option<[u8; 8]> {
    phases.iter().rev().find(|(_, _, start)| *start <= at).map(|(_, id, _)| *id)
}

fn step(made: &mut Making, root: [u8; 8], phases: &[Entered], plan: &Plan, record: &StepRecord, end: Timestamp) {
    let Some(start) = record.started else { return };
    let suite = plan
        .steps
        .iter()
        .find(|s| matches!(&s.action, Action::Suite(x) if x.steps.iter().any(|y| y.name == record.name)));
    let parent = match suite {
        Some(suite) => hash(&format!("span/{}/step/{}", made.uid, suite.name)),
        None => phase_at(phases, start).unwrap_or(root),
    };
    let span = made.add(
        Some(parent),
        &format!("step/{}", record.name),
        &format!("step {}", record.name),
        start,
        record.ended.unwrap_or(end),
    );
    span.attributes = vec![
        ("cutover.step", json!(record.name)),
        ("cutover.action", json!(plan.action(&record.name).map(Action::kind))),
        ("cutover.state", json!(format!("{:?}", record.state))),
        ("cutover.attempts", json!(record.attempt)),
    ];
    if matches!(record.state, StepState::Failed | StepState::Unknown) {
        span.error = Some(record.message.clone().unwrap_or_default());
    }
    let (id, own_end) = (span.id, span.end);
    let jobs: Vec<&JobRecord> = record.former_jobs.iter().chain(&record.job).collect();
    for job in &jobs {
        let Some(began) = job.started.or(job.created) else { continue };
        let key = format!("job/{}/{}", record.name, job.name);
        let span = made.add(Some(id), &key, "job", began, job.ended.unwrap_or(own_end));
        span.attributes = vec![("k8s.job.name", json!(job.name)), ("k8s.job.uid", json!(job.uid))];
        span.error = job.failure.clone();
    }
    // Of the attempts without a Job the journal keeps the last.
    if let (true, true, Some(began)) =
        (jobs.is_empty(), record.attempt > 1, record.attempt_at.filter(|at| *at <= own_end))
    {
        let key = format!("attempt/{}/{}", record.name, record.attempt);
        let span = made.add(Some(id), &key, "attempt", began, own_end);
        span.attributes = vec![("cutover.attempt", json!(record.attempt))];
    }
}

fn switch(made: &mut Making, root: [u8; 8], phases: &[Entered], journal: &RunStatus, end: Timestamp) {
    let Some(switch) = &journal.switch else { return };
    let patched = switch.services.iter().filter_map(|s| s.switched_at).max();
    let parent = phase_at(phases, switch.claimed_at).unwrap_or(root);
    let until = switch.converged_at.or(patched).unwrap_or(switch.claimed_at);
    let id = made.add(Some(parent), "switch", "switch", switch.claimed_at, until).id;
    for service in &switch.services {
        let until = service.switched_at.unwrap_or(switch.claimed_at);
        let span = made.add(Some(id), &format!("switch/{}", service.name), "switch Service", switch.claimed_at, until);
        span.attributes = vec![("k8s.service.name", json!(service.name))];
        if service.state == SwitchState::Refused {
            span.error = Some(service.message.clone().unwrap_or_else(|| "refused".into()));
        }
    }
    let Some(ending) = &journal.ending else { return };
    let parent = phase_at(phases, ending.at).unwrap_or(root);
    let restored = switch.services.iter().filter_map(|s| s.restored_at).max();
    let span = made.add(Some(parent), "restore", "restore", ending.at, restored.or(switch.restored_at).unwrap_or(end));
    span.attributes = vec![("cutover.reason", json!(ending.reason)), ("cutover.trigger", json!(ending.trigger))];
    let id = span.id;
    for service in switch.services.iter().filter(|s| s.state != SwitchState::Refused) {
        let until = service.restored_at.unwrap_or(end);
        let span = made.add(Some(id), &format!("restore/{}", service.name), "restore Service", ending.at, until);
        span.attributes = vec![("k8s.service.name", json!(service.name))];
        if service.state == SwitchState::Gone {
            span.error = Some("the Service was gone".into());
        }
    }
}

/// The latest time that the journal names.
fn last_word(journal: &RunStatus) -> Option<Timestamp> {
    let steps = journal.steps.iter().flat_map(|r| [r.started, r.ended]);
    let switch = journal.switch.iter().flat_map(|s| [s.converged_at, s.restored_at]);
    let timeline = journal.timeline.iter().map(|m| Some(m.at));
    steps.chain(switch).chain(timeline).chain([journal.phase_since]).flatten().max()
}

/// An id that is never all zeros, which would mean none.
fn hash<const N: usize>(text: &str) -> [u8; N] {
    let mut id = [0; N];
    for (to, from) in id.iter_mut().zip(Sha256::digest(text.as_bytes())) {
        *to = from;
    }
    id[N - 1] |= 1;
    id
}

#[cfg(test)]
mod tests;
