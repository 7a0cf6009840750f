//! What became of a release, beside what had to.

use std::time::Duration;

use cutover::api::RunStatus;
use cutover::api::run::StepState;
use serde::Serialize;

use crate::example::Example;
use crate::scenario::Scenario;

/// One release of an example.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The example.
    pub example: String,
    /// The scenario.
    pub scenario: String,
    /// The phase in which the run had to end.
    pub expected: String,
    /// The phase in which it ended.
    pub ended: String,
    /// The trigger that fired, or else the reason of the end.
    pub why: String,
    /// Steps that succeeded, undos left out.
    pub done: usize,
    /// Undos that succeeded.
    pub undone: usize,
    /// From the trigger, or another cause, to the last selector back.
    pub restored_seconds: Option<f64>,
    /// The whole release, its preparation included.
    pub seconds: f64,
    /// What is not as it should be.
    pub problems: Vec<String>,
}

impl Row {
    /// A release that could not be played.
    pub fn failed(example: &Example, scenario: &Scenario, why: String) -> Self {
        Self {
            example: example.name.clone(),
            scenario: scenario.name.clone(),
            expected: scenario.expect.phase.to_string(),
            ended: "-".into(),
            why: String::new(),
            done: 0,
            undone: 0,
            restored_seconds: None,
            seconds: 0.0,
            problems: vec![why],
        }
    }
}

/// Judges a journal by what the scenario expects. `live`: the side to which the Services point now.
pub fn judge(example: &Example, scenario: &Scenario, journal: &RunStatus, live: Option<&str>, took: Duration) -> Row {
    let expect = &scenario.expect;
    let trigger = journal.ending.as_ref().and_then(|ending| ending.trigger.clone());
    let fired = journal.triggers.iter().find(|record| Some(&record.name) == trigger.as_ref()).and_then(|r| r.fired_at);
    let cause = fired.or(journal.ending.as_ref().map(|ending| ending.at));
    let restored = journal.switch.as_ref().and_then(|switch| switch.restored_at);
    let ending = journal.ending.as_ref().map(|ending| ending.reason.clone());
    let done = |undo: bool| {
        let good = journal.steps.iter().filter(|step| step.state == StepState::Succeeded);
        good.filter(|step| step.name.starts_with("undo/") == undo).count()
    };
    Row {
        example: example.name.clone(),
        scenario: scenario.name.clone(),
        expected: expect.phase.to_string(),
        ended: journal.phase.to_string(),
        why: trigger.clone().or(ending).unwrap_or_default(),
        done: done(false),
        undone: done(true),
        restored_seconds: cause.zip(restored).map(|(from, to)| to.duration_since(from).as_secs_f64()),
        seconds: took.as_secs_f64(),
        problems: problems(example, scenario, journal, live, trigger.as_deref()),
    }
}

fn problems(
    example: &Example,
    scenario: &Scenario,
    journal: &RunStatus,
    live: Option<&str>,
    trigger: Option<&str>,
) -> Vec<String> {
    let expect = &scenario.expect;
    let mut problems = vec![];
    let mut check = |good: bool, problem: String| {
        if !good {
            problems.push(problem);
        }
    };
    let why = journal.ending.as_ref().map(|ending| format!(" ({})", ending.message)).unwrap_or_default();
    check(journal.phase == expect.phase, format!("ended {} instead of {}{why}", journal.phase, expect.phase));
    if let Some(wanted) = &expect.trigger {
        let one_of = trigger.is_some_and(|trigger| wanted.split('|').any(|wanted| wanted == trigger));
        check(one_of, format!("the trigger is {trigger:?} instead of {wanted}"));
    }
    // A good end leaves the Services on the target, every other one on the side from which it came.
    let spec = &example.cutover["spec"];
    let target = spec["activate"].as_str();
    let good = expect.phase == cutover::api::Phase::Completed;
    check(live.is_some() && (live == target) == good, format!("the Services point to {live:?}"));
    for (name, ended) in &expect.steps {
        let record = journal.steps.iter().find(|step| step.name == *name);
        let said = record.and_then(|step| step.message.clone()).unwrap_or_default();
        let state = record.map(|step| step.state);
        check(ended.is(state), format!("step {name} is {state:?} instead of {ended:?}: {said}"));
    }
    for (name, text) in &expect.says {
        let record = match name.as_str() {
            "ending" => serde_json::to_string(&journal.ending),
            "after" => serde_json::to_string(&journal.after),
            _ => serde_json::to_string(&journal.steps.iter().find(|step| step.name == *name)),
        };
        let record = record.unwrap_or_default();
        check(record.contains(text.as_str()), format!("{name} does not say {text:?}: {record}"));
    }
    problems
}

/// The rows as a table.
pub fn table(rows: &[Row]) -> String {
    let head =
        ["EXAMPLE", "SCENARIO", "ENDED", "BY", "STEPS", "UNDOS", "TRIGGER→RESTORED", "TOOK", ""].map(String::from);
    let line = |row: &Row| {
        [
            row.example.clone(),
            row.scenario.clone(),
            row.ended.clone(),
            if row.why.is_empty() { "-".into() } else { row.why.clone() },
            row.done.to_string(),
            row.undone.to_string(),
            row.restored_seconds.map_or("-".into(), |time| format!("{time:.2} s")),
            format!("{:.0} s", row.seconds),
            if row.problems.is_empty() { "as expected".into() } else { "WRONG".into() },
        ]
    };
    let lines: Vec<_> = std::iter::once(head).chain(rows.iter().map(line)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..9).map(width).collect();
    let cells = |line: &[String; 9]| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    lines.iter().map(cells).collect::<Vec<_>>().join("\n")
}
