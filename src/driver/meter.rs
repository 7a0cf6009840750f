//! What is counted. Labels are bounded: no names of objects.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::act::call::Class;
use crate::api::phase::Phase;
use crate::effect::{Effect, Outcome};

/// The counters of the operator.
#[derive(Clone)]
pub struct Meter {
    registry: Registry,
    runs: IntCounterVec,
    active: IntGauge,
    effects: IntCounterVec,
    claims: IntCounterVec,
    api_errors: IntCounterVec,
    events_dropped: IntCounter,
    panics: IntCounter,
}

impl Meter {
    /// Registers everything.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let vec = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let meter = Self {
            runs: vec("cutover_runs_ended_total", "Runs by the phase they ended in", &["phase"])?,
            active: IntGauge::new("cutover_runs_active", "Runs that are not closed")?,
            effects: vec("cutover_effects_total", "Effects acted on, by kind and outcome", &["effect", "outcome"])?,
            claims: vec("cutover_claims_total", "Writes of a run's journal, by result", &["result"])?,
            api_errors: vec("cutover_api_errors_total", "Failed API calls, by reason", &["reason"])?,
            events_dropped: IntCounter::new("cutover_events_dropped_total", "Events that found no room in the queue")?,
            panics: IntCounter::new("cutover_panics_total", "Defects caught: a panic in a decision or a task")?,
            registry,
        };
        meter.registry.register(Box::new(meter.runs.clone()))?;
        meter.registry.register(Box::new(meter.active.clone()))?;
        meter.registry.register(Box::new(meter.effects.clone()))?;
        meter.registry.register(Box::new(meter.claims.clone()))?;
        meter.registry.register(Box::new(meter.api_errors.clone()))?;
        meter.registry.register(Box::new(meter.events_dropped.clone()))?;
        meter.registry.register(Box::new(meter.panics.clone()))?;
        Ok(meter)
    }

    /// All of it, in the text format.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// A run closed.
    pub fn run_ended(&self, phase: Phase) {
        self.runs.with_label_values(&[phase.as_str()]).inc();
    }

    /// How many runs are active.
    pub fn active(&self, runs: usize) {
        self.active.set(i64::try_from(runs).unwrap_or(i64::MAX));
    }

    /// An effect ended.
    pub fn effect(&self, effect: &Effect, outcome: &Outcome) {
        self.effects.with_label_values(&[kind(effect), result(outcome)]).inc();
    }

    /// The journal was written, or not.
    pub fn claim(&self, result: &'static str) {
        self.claims.with_label_values(&[result]).inc();
    }

    /// An API call failed.
    pub fn api_error(&self, class: Class) {
        self.api_errors.with_label_values(&[class.reason()]).inc();
    }

    /// An Event found no room.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// A panic was caught.
    pub fn panicked(&self) {
        self.panics.inc();
    }
}

const fn kind(effect: &Effect) -> &'static str {
    match effect {
        Effect::CreateJob { .. } => "create_job",
        Effect::StartJob { .. } => "start_job",
        Effect::DeleteJob { .. } => "delete_job",
        Effect::OwnJob { .. } => "own_job",
        Effect::Send { .. } => "send",
        Effect::Switch { .. } => "switch",
        Effect::Restore { .. } => "restore",
        Effect::Scale { .. } => "scale",
    }
}

const fn result(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Created { .. } => "created",
        Outcome::NameCollision(_) => "name_collision",
        Outcome::Done => "done",
        Outcome::Answered(_) => "answered",
        Outcome::NotFound => "not_found",
        Outcome::Conflict(_) => "conflict",
        Outcome::Refused { .. } => "refused",
        Outcome::Guarded { .. } => "guarded",
        Outcome::Transient(_) => "transient",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counted_is_shown() {
        let meter = Meter::new().expect("names are unique");
        meter.run_ended(Phase::RolledBack);
        meter.effect(&Effect::StartJob { name: "n".into(), uid: "u".into() }, &Outcome::Done);
        meter.claim("written");
        meter.api_error(Class::Transient);
        meter.active(3);
        let text = meter.text().expect("text");
        for line in [
            r#"cutover_runs_ended_total{phase="RolledBack"} 1"#,
            r#"cutover_effects_total{effect="start_job",outcome="done"} 1"#,
            "cutover_runs_active 3",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
