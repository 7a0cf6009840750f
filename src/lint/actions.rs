//! PURE. Every action of a Cutover with the field in which it stands.

use std::borrow::Cow;

use crate::api::cutover::CutoverSpec;
use crate::api::step::{Action, Http, Logs, Resource, Step, StepAction, Suite, UndoRollout};
use crate::api::trigger::Watched;
use crate::plan::{endpoint, list_label};

/// What stands in a field.
#[derive(Clone, Debug)]
pub(super) enum Found<'s> {
    /// An action of a step, of a suite, or an undo.
    Action(&'s Action),
    /// The request of a trigger.
    Http(Box<Cow<'s, Http>>),
    /// The lines of a trigger.
    Logs(&'s Logs),
    /// The object of a trigger.
    Resource(&'s Resource),
    /// A Deployment that goes back.
    UndoRollout(&'s UndoRollout),
}

/// Every step of a phase, with its field.
pub(super) fn steps(spec: &CutoverSpec) -> impl Iterator<Item = (String, &Step)> {
    spec.phases.iter().flat_map(|(phase, steps)| {
        let at = format!("spec.phases.{phase}.steps");
        steps.steps.iter().enumerate().map(move |(i, step)| (format!("{at}[{}]", list_label(&step.name, i, &at)), step))
    })
}

/// Everything that refers to objects, with its field.
pub(super) fn all(spec: &CutoverSpec) -> Vec<(String, Found<'_>)> {
    let mut found = vec![];
    for (at, step) in steps(spec) {
        for action in step.action.all() {
            match action {
                StepAction::Shared(action) => found.push((format!("{at}.{}", key(action)), Found::Action(action))),
                StepAction::Suite(suite) => of_suite(suite, &format!("{at}.suite"), &mut found),
                StepAction::UndoRollout(undo) => found.push((format!("{at}.undoRollout"), Found::UndoRollout(undo))),
                StepAction::Approval(_) => {}
            }
        }
        for action in step.undo.iter().flat_map(|undo| undo.action.all()) {
            found.push((format!("{at}.undo.{}", key(action)), Found::Action(action)));
        }
    }
    for (i, trigger) in spec.observe.iter().flat_map(|observe| observe.triggers.iter().enumerate()) {
        let at = format!("spec.observe.triggers[{}]", list_label(&trigger.name, i, "spec.observe.triggers"));
        for watched in trigger.watches.all() {
            match watched {
                Watched::Probe(probe) => {
                    found.push((format!("{at}.probe.http"), Found::Http(Box::new(Cow::Borrowed(&probe.http)))))
                }
                Watched::Logs(logs) => found.push((format!("{at}.logs"), Found::Logs(&logs.logs))),
                Watched::Resource(resource) => found.push((format!("{at}.resource"), Found::Resource(resource))),
                Watched::Suite(suite) => {
                    let steps = format!("{at}.suite.steps");
                    for (i, check) in suite.steps.iter().enumerate() {
                        let at = list_label(&check.name, i, &steps);
                        found.push((format!("{steps}[{at}].http"), Found::Http(Box::new(Cow::Borrowed(&check.http)))));
                    }
                }
                Watched::Metric(metric) => {
                    found.extend(metric.http.iter().map(|of| {
                        (format!("{at}.metric.http"), Found::Http(Box::new(Cow::Owned(endpoint::request(of)))))
                    }))
                }
                Watched::Pods(_) | Watched::Alert(_) => {}
            }
        }
    }
    found
}

fn of_suite<'s>(suite: &'s Suite, at: &str, found: &mut Vec<(String, Found<'s>)>) {
    let at = format!("{at}.steps");
    for (i, step) in suite.steps.iter().enumerate() {
        for action in step.action.all() {
            let field = format!("{at}[{}].{}", list_label(&step.name, i, &at), key(action));
            found.push((field, Found::Action(action)));
        }
    }
}

fn key(action: &Action) -> &'static str {
    crate::api::one_of::Tagged::key(action)
}
