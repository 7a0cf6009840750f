//! What came of a decision is written on it: once, to the object that was seen.

use jiff::Timestamp;
use kube::Api;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::ApiResource;
use serde_json::json;

use super::call::{Class, call};
use super::failed;
use crate::api::decision::{DecisionState, DecisionStatus};
use crate::api::{CutoverDecision, FIELD_MANAGER};
use crate::effect::Outcome;

/// Longest result, in characters.
const LONGEST: usize = 1000;

/// A decision as it was seen.
pub struct Seen<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its resourceVersion: one that was answered meanwhile has another.
    pub resource_version: &'a str,
}

/// An answer.
pub fn status(result: &str, at: Timestamp, run: Option<String>) -> DecisionStatus {
    let result = Some(result.chars().take(LONGEST).collect());
    DecisionStatus { state: DecisionState::Answered, result, at: Some(at), run }
}

/// Writes it as the operator itself.
pub async fn answer(client: kube::Client, namespace: &str, seen: &Seen<'_>, status: &DecisionStatus) -> Outcome {
    let resource = ApiResource::erase::<CutoverDecision>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource);
    let mut body = DynamicObject::new(seen.name, &resource).data(json!({ "status": status }));
    body.metadata.uid = Some(seen.uid.to_owned());
    body.metadata.resource_version = Some(seen.resource_version.to_owned());
    let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
    match call(api.replace_status(seen.name, &params, &body)).await {
        Ok(written) if written.data.pointer("/status/state") == Some(&json!("Answered")) => Outcome::Done,
        Ok(_) => Outcome::Refused {
            why: "the API server dropped the status: the definition is of an older version".into(),
            forbidden: false,
        },
        // The definition has no status; that of a decision which is gone names it.
        Err(e) if e.class == Class::NotFound && !e.text.contains(seen.name) => {
            Outcome::Refused { why: format!("cutoverdecisions/status: {e}"), forbidden: false }
        }
        // A live read that began before the answer was written may have shown the decision as open again.
        Err(e) if e.class == Class::Conflict => {
            // The right to list is enough for one, too.
            let params = ListParams::default().fields(&format!("metadata.name={}", seen.name));
            let answered = |d: &DynamicObject| d.data.pointer("/status/state") == Some(&json!("Answered"));
            match call(api.list(&params)).await {
                Ok(list) if list.items.iter().any(answered) => Outcome::Done,
                Ok(_) => failed(e),
                Err(again) => failed(again),
            }
        }
        Err(e) => failed(e),
    }
}
