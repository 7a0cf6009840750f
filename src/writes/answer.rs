//! PURE. What came of a decision is written on it: once, to the object that was seen.

use jiff::Timestamp;
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::api::decision::{DecisionState, DecisionStatus};
use crate::api::{CutoverDecision, GROUP, VERSION};
use crate::effect::protocol::{As, Heard, Look, Next, Object, Send, Write, list};
use crate::effect::{Class, Outcome};

/// Longest result, in characters.
const LONGEST: usize = 1000;

/// A decision as it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
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

/// What comes next of writing it, as the operator itself.
///
/// # Errors
/// What is to be read or sent before there is an outcome.
pub fn answer(seen: &Seen<'_>, status: &DecisionStatus, heard: &Heard) -> Result<Outcome, Next> {
    let answered = |decision: &Value| decision.pointer("/status/state") == Some(&json!("Answered"));
    match heard.sent() {
        None => {
            let body = json!({
                "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "CutoverDecision",
                "metadata": {"name": seen.name, "uid": seen.uid, "resourceVersion": seen.resource_version},
                "status": status,
            });
            let write = Write::ReplaceStatus(Object::of::<CutoverDecision>(seen.name), body);
            Err(Next::Send(Box::new(Send { write, by: As::Operator, limit: None })))
        }
        Some(Ok(written)) if answered(written) => Ok(Outcome::Done),
        Some(Ok(_)) => Ok(Outcome::Refused {
            why: "the API server dropped the status: the definition is of an older version".into(),
            forbidden: false,
        }),
        // The definition has no status; that of a decision which is gone names it.
        Some(Err(e)) if e.class == Class::NotFound && !e.text.contains(seen.name) => {
            Ok(Outcome::Refused { why: format!("cutoverdecisions/status: {e}"), forbidden: false })
        }
        // A live read that began before the answer was written may have shown the decision as open again.
        Some(Err(e)) if e.class == Class::Conflict => {
            // The right to list is enough for one, too.
            let resource = ApiResource::erase::<CutoverDecision>(&());
            let found = heard.after(Look::List { resource, fields: format!("metadata.name={}", seen.name) })?;
            Ok(match list(found) {
                Ok(items) if items.iter().any(answered) => Outcome::Done,
                Ok(_) => e.clone().outcome(),
                Err(again) => again.outcome(),
            })
        }
        Some(Err(e)) => Ok(e.clone().outcome()),
    }
}
