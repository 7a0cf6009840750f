//! PURE. What came of a decision is written on it: once, to the object that was seen.

use jiff::Timestamp;
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::api::decision::{DecisionState, DecisionStatus};
use crate::api::{CutoverDecision, GROUP, VERSION};
use crate::effect::protocol::{As, Exchange, LiveRead, Next, Object, Send, Write, list};
use crate::effect::{CallError, Class, Outcome};

/// Longest result, in characters.
const LONGEST: usize = 1000;

/// A decision as it was seen.
#[derive(Clone, Copy, Debug)]
pub struct OpenDecision<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    /// Its resourceVersion: one that was answered meanwhile has another.
    pub resource_version: &'a str,
}

/// An answer.
pub fn status(result: &str, at: Timestamp, run: Option<String>) -> DecisionStatus {
    let result = Some(result.chars().take(LONGEST).collect());
    DecisionStatus { state: DecisionState::Answered, result, at: Some(at), run }
}

/// What comes next of writing an answer, as the operator itself.
///
/// # Errors
/// What is to be read or sent before there is an outcome.
pub fn answer(seen: &OpenDecision<'_>, status: &DecisionStatus, heard: &Exchange) -> Result<Outcome, Next> {
    match heard.sent() {
        None => Err(replace(seen, status)),
        Some(Ok(written)) if is_answered(written) => Ok(Outcome::Done),
        Some(Ok(_)) => Ok(dropped()),
        // A live read that began before the answer was written may have shown the decision as open again.
        Some(Err(e)) if e.class == Class::Conflict => Ok(match look_again(seen, heard)? {
            Ok(items) if items.iter().any(is_answered) => Outcome::Done,
            Ok(_) => e.clone().outcome(),
            Err(again) => again.outcome(),
        }),
        Some(Err(e)) => Ok(failed(seen, e)),
    }
}

/// What comes next of taking a decision up, which an operator before this one may have answered: its status is written anew
/// as open, so that an answer under way, which tests the version that was seen then, is refused.
///
/// # Errors
/// What is to be read or sent before there is an outcome.
pub fn take_up(seen: &OpenDecision<'_>, at: Timestamp, heard: &Exchange) -> Result<Outcome, Next> {
    let status = DecisionStatus { state: DecisionState::Open, at: Some(at), ..DecisionStatus::default() };
    match heard.sent() {
        None => Err(replace(seen, &status)),
        Some(Ok(written)) if written.pointer("/status/at").is_some() => Ok(Outcome::Done),
        Some(Ok(_)) => Ok(dropped()),
        Some(Err(e)) if e.class == Class::Conflict => Ok(match look_again(seen, heard)? {
            Ok(items) if items.iter().any(is_answered) => Outcome::Conflict("it has an answer already".into()),
            Ok(_) => Outcome::Transient(e.text.clone()),
            Err(again) => again.outcome(),
        }),
        Some(Err(e)) => Ok(failed(seen, e)),
    }
}

fn is_answered(decision: &Value) -> bool {
    decision.pointer("/status/state") == Some(&json!("Answered"))
}

fn replace(seen: &OpenDecision<'_>, status: &DecisionStatus) -> Next {
    let body = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "CutoverDecision",
        "metadata": {"name": seen.name, "uid": seen.uid, "resourceVersion": seen.resource_version},
        "status": status,
    });
    let write = Write::ReplaceStatus(Object::of::<CutoverDecision>(seen.name), body);
    Next::Send(Box::new(Send { write, by: As::Operator, limit: None }))
}

fn dropped() -> Outcome {
    Outcome::Refused {
        why: "the API server dropped the status: the definition is of an older version".into(),
        forbidden: false,
    }
}

fn failed(seen: &OpenDecision<'_>, e: &CallError) -> Outcome {
    match e.class {
        // The definition has no status; that of a decision which is gone names it.
        Class::NotFound if !e.text.contains(seen.name) => {
            Outcome::Refused { why: format!("cutoverdecisions/status: {e}"), forbidden: false }
        }
        _ => e.clone().outcome(),
    }
}

/// The decision as it is now. The right to list is enough for one, too.
fn look_again<'h>(seen: &OpenDecision<'_>, heard: &'h Exchange) -> Result<Result<&'h [Value], CallError>, Next> {
    let resource = ApiResource::erase::<CutoverDecision>(&());
    Ok(list(heard.after(LiveRead::List { resource, fields: format!("metadata.name={}", seen.name) })?))
}
