//! PURE. A run as `view` shows it → its trace: one root span, its phases, in them the steps, their Jobs, the switch, the restore.
//!
//! A run may last days and outlive the process, so its trace is built from the journal when the run closes. All ids
//! follow from the run's uid: two operators that export the same run export the same trace. No evidence, no captured
//! value and no request is in it.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::phase::Phase;
use crate::api::run::{CutoverRun, RunStatus, StepState, SwitchState};
use crate::plan::Plan;
use crate::view;

/// What is known of a span or of something that happened in it.
pub(crate) type Attributes = Vec<(&'static str, Value)>;

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

/// The trace of a run with a journal that is written.
pub fn of(run: &CutoverRun, plan: &Plan, journal: &RunStatus) -> Trace {
    trace(&view::Run::with(run, journal, Some(plan)))
}

/// The trace of a run.
pub fn trace(run: &view::Run) -> Trace {
    let mut made = Making { uid: run.uid, spans: vec![] };
    let created = run.created.or(run.phases.first().map(|p| p.from)).unwrap_or_default();
    // What was created in the same second as it began has a creation time before it, in whole seconds.
    let end = run.last_word().unwrap_or(created).max(created);
    let root = made.add(None, "run", "run", created, end);
    root.attributes = vec![
        ("k8s.namespace.name", json!(run.namespace)),
        ("cutover.name", json!(run.cutover)),
        ("cutover.run", json!(run.name)),
        ("cutover.run.uid", json!(run.uid)),
        ("cutover.release", json!(run.release.new)),
        ("cutover.from", json!(run.old.as_ref().map(|side| side.name))),
        ("cutover.to", json!(run.target.as_ref().map(|side| side.name))),
        ("cutover.outcome", json!(run.phase.as_str())),
    ];
    if let Some(ending) = run.ending {
        root.attributes.push(("cutover.reason", json!(ending.reason)));
        root.error = Some(ending.message.clone());
    }
    let fired =
        run.triggers.iter().filter_map(|t| Some((t.fired?, "trigger fired", vec![("cutover.trigger", json!(t.name))])));
    let taken = run
        .decisions
        .iter()
        .map(|d| (d.at, "decision", vec![("cutover.decision", json!(format!("{:?}", d.decision)))]));
    root.events = fired.chain(taken).collect();
    root.events.sort_by_key(|(at, ..)| *at);
    let root = root.id;
    let phases = phases(&mut made, root, run, end);
    for execution in &run.executions {
        step(&mut made, root, &phases, execution, end);
    }
    switch(&mut made, root, &phases, run, end);
    Trace { id: hash(&format!("trace/{}", run.uid)), spans: made.spans }
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
fn phases(made: &mut Making, root: [u8; 8], run: &view::Run, end: Timestamp) -> Vec<Entered> {
    let mut found = vec![];
    for (n, entered) in run.phases.iter().enumerate() {
        let view::Stretch { phase, from, to, reason, .. } = *entered;
        if to.is_none() && (phase.is_over() || phase == Phase::Completed) {
            continue;
        }
        let span = made.add(Some(root), &format!("phase/{n}"), phase.as_str(), from, to.unwrap_or(end));
        span.attributes = vec![("cutover.phase", json!(phase.as_str()))];
        if !reason.is_empty() {
            span.attributes.push(("cutover.reason", json!(reason)));
        }
        found.push((phase, span.id, from));
    }
    found
}

/// The phase that a time lies in: the last one entered by then.
fn phase_at(phases: &[Entered], at: Timestamp) -> Option<[u8; 8]> {
    phases.iter().rev().find(|(_, _, start)| *start <= at).map(|(_, id, _)| *id)
}

fn step(made: &mut Making, root: [u8; 8], phases: &[Entered], record: &view::Step, end: Timestamp) {
    let Some(start) = record.started else { return };
    let parent = match record.suite {
        Some(suite) => hash(&format!("span/{}/step/{suite}", made.uid)),
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
        ("cutover.action", json!(record.kind)),
        ("cutover.state", json!(record.state.map(|state| format!("{state:?}")))),
        ("cutover.attempts", json!(record.attempt)),
    ];
    if matches!(record.state, Some(StepState::Failed | StepState::Unknown)) {
        span.error = Some(record.message.unwrap_or_default().to_owned());
    }
    let (id, own_end) = (span.id, span.end);
    for job in &record.jobs {
        let Some(began) = job.started.or(job.created) else { continue };
        let key = format!("job/{}/{}", record.name, job.name);
        let span = made.add(Some(id), &key, "job", began, job.ended.unwrap_or(own_end));
        span.attributes = vec![("k8s.job.name", json!(job.name)), ("k8s.job.uid", json!(job.uid))];
        span.error = job.failure.clone();
    }
    // Of the attempts without a Job the last.
    if let (true, true, Some(began)) =
        (record.jobs.is_empty(), record.attempt > 1, record.attempt_at.filter(|at| *at <= own_end))
    {
        let key = format!("attempt/{}/{}", record.name, record.attempt);
        let span = made.add(Some(id), &key, "attempt", began, own_end);
        span.attributes = vec![("cutover.attempt", json!(record.attempt))];
    }
}

fn switch(made: &mut Making, root: [u8; 8], phases: &[Entered], run: &view::Run, end: Timestamp) {
    let Some(switch) = &run.switch else { return };
    let parent = phase_at(phases, switch.claimed).unwrap_or(root);
    let until = switch.converged.or(switch.patched).unwrap_or(switch.claimed);
    let id = made.add(Some(parent), "switch", "switch", switch.claimed, until).id;
    for service in switch.services {
        let until = service.switched_at.unwrap_or(switch.claimed);
        let span = made.add(Some(id), &format!("switch/{}", service.name), "switch Service", switch.claimed, until);
        span.attributes = vec![("k8s.service.name", json!(service.name))];
        if service.state == SwitchState::Refused {
            span.error = Some(service.message.clone().unwrap_or_else(|| "refused".into()));
        }
    }
    let Some(ending) = run.ending else { return };
    let parent = phase_at(phases, ending.at).unwrap_or(root);
    let restored = switch.services.iter().filter_map(|s| s.restored_at).max();
    let span = made.add(Some(parent), "restore", "restore", ending.at, restored.or(switch.restored).unwrap_or(end));
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
