//! PURE. `suite`: parallel steps with a pass rate; ordered only where one says `after`.

use serde_json::{Value, json};

use super::{Cx, Out, Verdict, attempt};
use crate::api::run::{StepRecord, StepState};
use crate::journal;
use crate::plan::PlanSuite;

/// Drives every step that may run and judges the matrix when all are over.
pub fn advance(cx: &Cx, suite: &PlanSuite, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let mut all: Vec<StepRecord> = vec![];
    for step in &suite.steps {
        let former = journal::record(cx.journal, &step.name);
        let over = |name: &String| {
            all.iter().chain(&cx.journal.steps).any(|r| &r.name == name && r.state != StepState::Running)
        };
        if former.is_none() && (cx.paused || !step.after.iter().all(over)) {
            continue;
        }
        // A capture of this very decision is not in the journal yet: its users begin with the next one.
        let fresh = |name: &String| all.iter().any(|r| &r.name == name && r.ended == Some(cx.world.now));
        if former.is_none() && step.after.iter().any(fresh) {
            out.wake_at(cx.world.now);
            continue;
        }
        all.push(attempt::drive(cx, step, former, out));
    }
    out.records.extend(all.iter().cloned());
    let done = all.iter().filter(|r| r.state != StepState::Running).count();
    if done < suite.steps.len() {
        record.message = Some(format!("{done} of {} checks done", suite.steps.len()));
        return None;
    }
    Some(judge(suite, &all))
}

fn judge(suite: &PlanSuite, all: &[StepRecord]) -> Verdict {
    let mut matrix = serde_json::Map::new();
    let (mut passed, mut counted, mut critical) = (0u32, 0u32, 0u32);
    let mut failed = vec![];
    for step in &suite.steps {
        let Some(r) = all.iter().find(|r| r.name == step.name) else { continue };
        let said = match r.state {
            StepState::Succeeded => {
                passed += 1;
                counted += 1;
                "passed"
            }
            StepState::Skipped => "skipped",
            StepState::Failed | StepState::Unknown | StepState::Running => {
                counted += 1;
                critical += u32::from(step.critical);
                failed.push(format!("{}: {}", r.name, r.message.as_deref().unwrap_or("failed")));
                "failed"
            }
        };
        matrix.insert(step.name.clone(), json!(said));
    }
    let rate = if counted == 0 { 100 } else { passed * 100 / counted };
    let evidence = Some(json!({"passed": passed, "of": counted, "matrix": Value::Object(matrix)}));
    let why = failed.join("; ");
    if rate < suite.pass_rate {
        let message = format!("{passed} of {counted} passed ({rate} %), wanted {} %: {why}", suite.pass_rate);
        return Verdict::Fail { message, evidence };
    }
    if critical > suite.max_critical_failures {
        let message = format!("{critical} critical failures, at most {} are borne: {why}", suite.max_critical_failures);
        return Verdict::Fail { message, evidence };
    }
    Verdict::pass(evidence)
}
