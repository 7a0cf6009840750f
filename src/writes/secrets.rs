//! PURE. The Secret of a run, which holds what its steps captured as sensitive. The operator reads no Secret, so its label in
//! the patch itself says whose it is: the patch takes effect on the Secret of this run alone.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::Run;
use crate::api::LABEL_RUN;
use crate::effect::protocol::{Exchange, JsonPatch, Next, Object, Write, escaped};
use crate::effect::sealed::{Hidden, manifest};
use crate::effect::{CallError, Class, Outcome};

/// What is to be kept, and where.
pub struct Kept<'a> {
    pub secret: &'a str,
    pub cutover: &'a str,
    pub values: &'a Hidden,
}

fn of_run(run_uid: &str) -> JsonPatch {
    JsonPatch::default().test(&format!("/metadata/labels/{}", escaped(LABEL_RUN)), run_uid)
}

fn encoded(value: &str) -> Value {
    serde_json::to_value(ByteString(value.as_bytes().to_vec())).unwrap_or_default()
}

/// Adds values to the Secret; the first ones create it. Each value has a key of its own, so that to write it twice is to write
/// it once.
pub fn keep(run: Run<'_>, kept: &Kept<'_>, heard: &Exchange) -> Result<Outcome, Next> {
    let this = Object::of::<Secret>(kept.secret);
    match (heard.sent(), heard.followed()) {
        (None, _) => {
            let add = |patch: JsonPatch, (key, value): (&str, &str)| {
                patch.add(&format!("/data/{}", escaped(key)), encoded(value))
            };
            Err(Next::send(Write::Patch(this, kept.values.iter().fold(of_run(run.uid), add))))
        }
        (Some(Err(e)), None) if e.class == Class::NotFound => {
            let data = kept.values.iter().map(|(key, value)| (key.to_owned(), encoded(value))).collect();
            Err(Next::send(Write::Create(this, manifest(kept.secret, kept.cutover, run.uid, data))))
        }
        (Some(Ok(_)), _) | (_, Some(Ok(_))) => Ok(Outcome::Done),
        // Created by another step meanwhile: the next try adds to it.
        (_, Some(Err(e))) if e.class == Class::Conflict => Ok(Outcome::Transient(e.text.clone())),
        (Some(Err(e)), None) if e.class == Class::Conflict => Ok(Outcome::Transient(e.text.clone())),
        (Some(Err(e)), None) if e.class == Class::Invalid => Ok(not_ours(kept.secret, &without(kept.values, e))),
        (_, Some(Err(e))) | (Some(Err(e)), None) => Ok(without(kept.values, e).outcome()),
    }
}

fn not_ours(secret: &str, e: &CallError) -> Outcome {
    let why = format!("Secret {secret} was made by somebody else, or refuses the values: {e}; delete it");
    Outcome::Refused { why, forbidden: false }
}

/// An error without the values, which an admission webhook may have repeated.
fn without(values: &Hidden, e: &CallError) -> CallError {
    let says = |(_, value): (&str, &str)| {
        !value.is_empty() && (e.text.contains(value) || encoded(value).as_str().is_some_and(|v| e.text.contains(v)))
    };
    if !values.iter().any(says) {
        return e.clone();
    }
    CallError::new(e.class, "the answer of the API server repeats a value, and is not shown")
}

/// Gives the Secret its ownerReference, so that it goes with the run. One that was never made needs none.
pub fn own(run: Run<'_>, name: &str, heard: &Exchange) -> Result<Outcome, Next> {
    match heard.sent() {
        None => {
            let patch = of_run(run.uid).add("/metadata/ownerReferences", json!([run.as_owner()]));
            Err(Next::send(Write::Patch(Object::of::<Secret>(name), patch)))
        }
        Some(Ok(_)) => Ok(Outcome::Done),
        Some(Err(e)) if e.class == Class::NotFound => Ok(Outcome::NotFound),
        Some(Err(e)) if e.class == Class::Conflict => Ok(Outcome::Transient(e.text.clone())),
        Some(Err(e)) => Ok(e.clone().outcome()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run<'static> = Run { name: "web-1", uid: "r1" };

    fn values() -> Hidden {
        let mut values = Hidden::default();
        values.insert("token.login.1".into(), "canary".into());
        values
    }

    fn next(heard: &Exchange) -> Result<Outcome, Next> {
        keep(RUN, &Kept { secret: "web-captures", cutover: "web", values: &values() }, heard)
    }

    fn after(answers: Vec<Result<Value, CallError>>) -> Result<Outcome, Next> {
        let mut heard = Exchange::default();
        answers.into_iter().for_each(|answer| heard.wrote(answer));
        next(&heard)
    }

    fn sent(next: Result<Outcome, Next>) -> Write {
        match next {
            Err(Next::Send(send)) => send.write,
            other => panic!("nothing is sent: {other:?}"),
        }
    }

    #[test]
    fn a_value_is_added_to_the_secret_of_this_run_alone_which_the_first_one_creates() {
        let Write::Patch(object, patch) = sent(after(vec![])) else { panic!("no patch") };
        assert_eq!((object.name.as_str(), object.resource.kind.as_str()), ("web-captures", "Secret"));
        let wanted = json!([
            {"op": "test", "path": "/metadata/labels/cutover.dev~1run", "value": "r1"},
            {"op": "add", "path": "/data/token.login.1", "value": "Y2FuYXJ5"},
        ]);
        assert_eq!(patch.operations(), wanted);
        let none = || Err(CallError::new(Class::NotFound, "not there"));
        let Write::Create(_, body) = sent(after(vec![none()])) else { panic!("nothing is created") };
        assert_eq!(
            (&body["data"]["token.login.1"], &body["metadata"]["labels"][LABEL_RUN]),
            (&json!("Y2FuYXJ5"), &json!("r1"))
        );
        assert!(body["metadata"]["ownerReferences"].is_null(), "a foreground deletion would take it in mid-rollback");
        assert_eq!(after(vec![none(), Ok(Value::Null)]), Ok(Outcome::Done));
        assert_eq!(after(vec![Ok(Value::Null)]), Ok(Outcome::Done));
    }

    #[test]
    fn what_fails_is_tried_again_or_refused_and_says_no_value() {
        let of = |class, text: &str| Err(CallError::new(class, text));
        assert!(matches!(
            after(vec![of(Class::NotFound, ""), of(Class::Conflict, "exists")]),
            Ok(Outcome::Transient(_))
        ));
        let foreign = after(vec![of(Class::Invalid, "a test failed")]);
        assert!(matches!(&foreign, Ok(Outcome::Refused { why, .. }) if why.contains("somebody else")), "{foreign:?}");
        for text in ["denied: canary", "denied: Y2FuYXJ5"] {
            for class in [Class::Invalid, Class::Forbidden] {
                let said = format!("{:?}", after(vec![of(class, text)]));
                assert!(said.contains("repeats a value") && !said.contains(text), "{said}");
            }
        }
    }

    #[test]
    fn nothing_on_its_way_prints_a_value() {
        for answers in [vec![], vec![Err(CallError::new(Class::NotFound, ""))]] {
            let said = format!("{:?}", after(answers));
            assert!(!said.contains("canary") && !said.contains("Y2FuYXJ5"), "{said}");
        }
    }

    #[test]
    fn it_goes_with_the_run_once_that_is_over() {
        let Write::Patch(_, patch) = sent(own(RUN, "web-captures", &Exchange::default())) else { panic!("no patch") };
        assert_eq!(patch.operations()[1]["value"][0]["uid"], "r1");
        let mut heard = Exchange::default();
        heard.wrote(Err(CallError::new(Class::NotFound, "")));
        assert_eq!(own(RUN, "web-captures", &heard), Ok(Outcome::NotFound));
    }
}
