//! PURE. What people are asked, and what each answer does: the one source of `status`, `watch`, `resolve` and the lines of
//! pipelines.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::decision::Resolution;
use crate::api::run::StepState;
use crate::journal::question::Subject;
use crate::view;

/// What a question is answered by where its step is not named: the argument of `kubectl cutover resolve`.
pub(crate) const DECISION: &str = "decision";
/// The same for a restore that waits for an empty old side.
pub(crate) const RESTORE: &str = "restore";

/// An open question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Question {
    /// What it is about: a step, `decision` or `restore`.
    pub about: String,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What may be said.
    pub answers: Vec<Choice>,
}

/// An answer that may be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Choice {
    /// `succeeded`, `failed`, `undo-first`, `stop-target` or `wait`.
    pub outcome: String,
    /// The same as a decision has it.
    #[serde(skip)]
    pub resolution: Resolution,
    /// What the answer does.
    pub does: String,
    /// The command that gives it.
    pub command: String,
}

impl Question {
    /// The open question of a run. `flags`: what printed commands need behind them.
    pub(crate) fn of(run: &view::Run, cutover: &str, flags: &str) -> Option<Self> {
        if run.phase.is_over() {
            return None;
        }
        let (about, text, until, answers) = match run.question {
            Some(q) => {
                let (about, answers) = of_question(run, q.subject.parse().ok());
                (about.to_owned(), q.text.clone(), q.until, answers)
            }
            None => {
                let unknown = run.executions.iter().find(|s| s.state == Some(StepState::Unknown))?;
                let says = unknown.message.unwrap_or("its result was lost");
                let text = format!("what step {} did is not known: {says}", unknown.name);
                (unknown.name.to_owned(), text, None, of_unknown(unknown.name))
            }
        };
        let choice = |(resolution, does): (Resolution, String)| {
            let outcome = word(resolution);
            let command = format!("kubectl cutover resolve {cutover} {about} {outcome}{flags}");
            Choice { outcome: outcome.to_owned(), resolution, does, command }
        };
        Some(Self { answers: answers.into_iter().map(choice).collect(), about, text, until })
    }

    /// The commands, each with what it does, in one sentence.
    pub(crate) fn next(&self) -> String {
        let one = |c: &Choice| format!("{} ({})", c.command, c.does);
        self.answers.iter().map(one).collect::<Vec<_>>().join(" or ")
    }

    /// The answer with this outcome.
    pub(crate) fn answer(&self, outcome: &str) -> Option<&Choice> {
        self.answers.iter().find(|c| c.outcome == outcome)
    }
}

/// How a suspended run goes on: who has suspended it by the Cutover's field resumes it there.
pub(crate) fn resume(run: &view::Run, cutover: &str, flags: &str) -> String {
    match run.suspended {
        Some(_) => format!("kubectl cutover resume {cutover}{flags}"),
        None => "set spec.suspend of the Cutover to false".to_owned(),
    }
}

/// An outcome as the command line has it.
fn word(outcome: Resolution) -> &'static str {
    match outcome {
        Resolution::Succeeded => "succeeded",
        Resolution::Failed => "failed",
        Resolution::UndoFirst => "undo-first",
        Resolution::StopTarget => "stop-target",
        Resolution::Wait => "wait",
    }
}

/// What really happened, and nothing else: the run goes on from there as it would have.
fn of_unknown(step: &str) -> Vec<(Resolution, String)> {
    vec![
        (Resolution::Succeeded, format!("if step {step} really did its work: it counts as done")),
        (
            Resolution::Failed,
            "if it really did not: it counts as failed, and its onFailure says what follows".to_owned(),
        ),
    ]
}

/// What the answers to a question do. One of another version's is answered by going on or back.
fn of_question(run: &view::Run, subject: Option<Subject>) -> (&'static str, Vec<(Resolution, String)>) {
    let old = run.old.as_ref().map_or("the old side", |s| s.name);
    let target = run.target.as_ref().map_or("the target", |s| s.name);
    let goes_on = match &subject {
        Some(Subject::Restore) => {
            return (
                RESTORE,
                vec![
                    (
                        Resolution::UndoFirst,
                        format!("runs the undos now, while users stay on {target}, then goes back to {old}"),
                    ),
                    (Resolution::StopTarget, format!("scales {target} to 0, so that {old} can start")),
                    (Resolution::Wait, format!("keeps trying to go back to {old}; the undos follow")),
                ],
            );
        }
        Some(Subject::Undo) => {
            let outcomes = [(Resolution::Succeeded, "leaves the undos out"), (Resolution::Failed, "runs the undos")];
            return (DECISION, outcomes.map(|(outcome, does)| (outcome, does.to_owned())).to_vec());
        }
        Some(Subject::Trigger(name)) => format!("goes on, and looks at trigger {name} no more"),
        Some(Subject::Step(name)) => format!("goes on without step {name}"),
        Some(Subject::Observation) => "ends the observation: the run completes".to_owned(),
        Some(Subject::Template) => "goes on with the pods as they are now".to_owned(),
        Some(Subject::Window) => "goes on although the window has ended".to_owned(),
        None => "goes on".to_owned(),
    };
    let mut answers = vec![(Resolution::Succeeded, goes_on)];
    // The operator refuses to go back to a side that was scaled down for good.
    if !run.is_retired() {
        answers.push((Resolution::Failed, back(run, old)));
    }
    (DECISION, answers)
}

/// What an answer does that ends the run.
fn back(run: &view::Run, old: &str) -> String {
    match run.switch {
        Some(_) => format!("rolls back to {old}"),
        None => format!("ends the run, and undoes its steps; users stay on {old}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::fixtures::{at, at_gate, observing, run};

    fn of(status: serde_json::Value) -> Option<Question> {
        let run = run(2, "2.4.0", Some(status));
        let plan = view::plan_of(&run);
        Question::of(&view::Run::of(&run, plan.as_ref()).expect("begun"), "web", " -n prod")
    }

    fn told(status: serde_json::Value) -> Vec<String> {
        of(status).expect("a question").answers.into_iter().map(|c| format!("{}: {}", c.does, c.command)).collect()
    }

    fn asked(mut status: serde_json::Value, subject: &str) -> serde_json::Value {
        status["question"] = json!({"subject": subject, "text": "well?", "at": at(9), "defaultRollback": true});
        status
    }

    #[test]
    fn each_answer_says_what_it_does_with_a_whole_command() {
        assert_eq!(
            told(asked(observing(), "trigger/errors")),
            [
                "goes on, and looks at trigger errors no more: kubectl cutover resolve web decision succeeded -n prod",
                "rolls back to blue: kubectl cutover resolve web decision failed -n prod",
            ]
        );
        assert_eq!(
            told(asked(at_gate("t"), "step/migrate"))[1],
            "ends the run, and undoes its steps; users stay on blue: kubectl cutover resolve web decision failed -n prod"
        );
        assert_eq!(
            told(asked(observing(), "undo"))[1],
            "runs the undos: kubectl cutover resolve web decision failed -n prod"
        );
        assert_eq!(
            told(asked(observing(), "restore"))[1],
            "scales green to 0, so that blue can start: kubectl cutover resolve web restore stop-target -n prod"
        );
        assert!(told(asked(observing(), "of/another/version"))[0].starts_with("goes on: "));
    }

    #[test]
    fn of_a_lost_result_it_is_asked_what_really_happened() {
        let mut status = at_gate("t");
        status["steps"][1]["state"] = json!("Unknown");
        let all = told(status.clone());
        assert!(all[0].starts_with("if step announce really did its work"), "{all:?}");
        assert!(all[1].ends_with("kubectl cutover resolve web announce failed -n prod"), "{all:?}");
        status["phase"] = json!("Failed");
        assert_eq!(of(status), None, "nobody is asked about a run that is over");
    }

    #[test]
    fn nobody_goes_back_to_a_side_that_is_retired() {
        let mut status = asked(observing(), "trigger/errors");
        status["steps"]
            .as_array_mut()
            .expect("steps")
            .push(json!({"name": "cutover-retire", "state": "Succeeded", "attempt": 1}));
        assert_eq!(told(status).len(), 1);
    }
}
