//! PURE. What came of a decision is written on it: once, to the object that was seen. From then on it is its run's.

use jiff::Timestamp;
use kube::core::ApiResource;
use serde_json::{Value, json};

use super::Run;
use crate::api::decision::{DecisionState, DecisionStatus};
use crate::api::{CutoverDecision, GROUP, VERSION};
use crate::effect::protocol::{As, Exchange, JsonPatch, LiveRead, Next, Object, Send, Write, list};
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

/// What comes next of writing an answer, as the operator itself. Once it stands the decision is given to the run that it
/// names, if there is one: it goes with that run. A status and an owner cannot be written together. Nothing depends on
/// the second one: where it fails, `pilot::cutover::sweep` makes up for it.
///
/// # Errors
/// What is to be read or sent before there is an outcome.
pub fn answer(
    seen: &OpenDecision<'_>,
    status: &DecisionStatus,
    owner: Option<Run<'_>>,
    heard: &Exchange,
) -> Result<Outcome, Next> {
    match heard.sent() {
        None => Err(replace(seen, status)),
        Some(Ok(written)) if is_answered(written) => stands(seen, written, owner, heard),
        Some(Ok(_)) => Ok(dropped()),
        // A live read that began before the answer was written may have shown the decision as open again.
        Some(Err(e)) if e.class == Class::Conflict => match look_again(seen, heard)? {
            Ok(items) => match items.iter().find(|item| is_answered(item)) {
                Some(written) => stands(seen, written, owner, heard),
                None => Ok(e.clone().outcome()),
            },
            Err(again) => Ok(again.outcome()),
        },
        Some(Err(e)) => Ok(failed(seen, e)),
    }
}

/// The answer stands. What comes of the owner changes nothing about that.
fn stands(seen: &OpenDecision<'_>, written: &Value, owner: Option<Run<'_>>, heard: &Exchange) -> Result<Outcome, Next> {
    match owner {
        Some(run) if heard.followed().is_none() && !is_owned(written, run) => Err(give(seen, run)),
        _ => Ok(Outcome::Done),
    }
}

/// What comes next of giving an answered decision to the run that it names, as the operator itself.
///
/// # Errors
/// What is to be sent before there is an outcome.
pub fn own(seen: &OpenDecision<'_>, run: Run<'_>, heard: &Exchange) -> Result<Outcome, Next> {
    match heard.sent() {
        None => Err(give(seen, run)),
        Some(Ok(_)) => Ok(Outcome::Done),
        Some(Err(e)) => Ok(e.clone().outcome()),
    }
}

/// Owners of a decision are the operator's: whatever stands there gives way.
fn give(seen: &OpenDecision<'_>, run: Run<'_>) -> Next {
    let patch = JsonPatch::of(seen.uid).add("/metadata/ownerReferences", json!([run.as_owner()]));
    let write = Write::Patch(Object::of::<CutoverDecision>(seen.name), patch);
    Next::Send(Box::new(Send { write, by: As::Operator, limit: None }))
}

fn is_owned(decision: &Value, run: Run<'_>) -> bool {
    decision.pointer("/metadata/ownerReferences") == Some(&json!([run.as_owner()]))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::protocol::LiveAnswer;

    const SEEN: OpenDecision<'static> = OpenDecision { name: "word", uid: "d-1", resource_version: "7" };
    const RUN: Run<'static> = Run { name: "web-1", uid: "r-1" };

    fn next(owner: Option<Run<'_>>, sent: &[Result<Value, CallError>]) -> Result<Outcome, Next> {
        let mut heard = Exchange::default();
        sent.iter().for_each(|answer| heard.wrote(answer.clone()));
        answer(&SEEN, &status("accepted", Timestamp::UNIX_EPOCH, None), owner, &heard)
    }

    fn written(owners: Value) -> Result<Value, CallError> {
        Ok(json!({"metadata": {"ownerReferences": owners}, "status": {"state": "Answered"}}))
    }

    #[test]
    fn a_decision_goes_to_its_run_once_its_answer_stands() {
        let write = |next: Result<Outcome, Next>| match next {
            Err(Next::Send(send)) => Some(send.write),
            _ => None,
        };
        assert!(matches!(write(next(Some(RUN), &[])), Some(Write::ReplaceStatus(..))), "the answer comes first");
        let forged = written(json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "mine", "uid": "c"}]));
        for before in [written(json!(null)), forged] {
            let Some(Write::Patch(object, patch)) = write(next(Some(RUN), std::slice::from_ref(&before))) else {
                panic!("it is given to the run: {before:?}")
            };
            assert_eq!(object.name, "word");
            assert_eq!(
                patch.operations(),
                json!([
                    {"op": "test", "path": "/metadata/uid", "value": "d-1"},
                    {"op": "add", "path": "/metadata/ownerReferences", "value": [{
                        "apiVersion": "cutover.dev/v1alpha1", "kind": "CutoverRun", "name": "web-1", "uid": "r-1",
                    }]},
                ])
            );
            // Whatever comes of that: the answer stands.
            for then in [Ok(json!({})), Err(CallError::transient("503"))] {
                assert_eq!(next(Some(RUN), &[before.clone(), then]), Ok(Outcome::Done));
            }
        }
        assert_eq!(next(Some(RUN), &[written(json!([RUN.as_owner()]))]), Ok(Outcome::Done), "it is there already");
        assert_eq!(next(None, &[written(json!(null))]), Ok(Outcome::Done), "there is no such run");
        assert!(matches!(next(Some(RUN), &[Err(CallError::transient("503"))]), Ok(Outcome::Transient(_))));
    }

    #[test]
    fn one_whose_answer_was_there_before_goes_to_its_run_too() {
        let mut heard = Exchange::default();
        heard.wrote(Err(CallError::new(Class::Conflict, "409")));
        let status = status("accepted", Timestamp::UNIX_EPOCH, None);
        let Err(Next::Read(looks)) = answer(&SEEN, &status, Some(RUN), &heard) else { panic!("it is read again") };
        let found = LiveAnswer::List(written(json!(null)).into_iter().collect());
        looks.into_iter().for_each(|look| heard.read(look, Ok(found.clone())));
        assert!(matches!(answer(&SEEN, &status, Some(RUN), &heard), Err(Next::Send(_))));
        heard.wrote(Ok(json!({})));
        assert_eq!(answer(&SEEN, &status, Some(RUN), &heard), Ok(Outcome::Done));
    }
}
