//! PURE. What expectations may refer to, and how they are judged. Texts of failures never hold a body or a header.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::run::{StepRecord, StepState};
use crate::api::step::Capture;
use crate::effect::sealed::Hidden;
use crate::plan::Execution;
use crate::plan::expr::{self, Fault, Var};
use crate::plan::select;
use crate::world::HttpResponse;

use super::Cx;

/// Names of headers shown.
const MAX_NAMES: usize = 20;
/// Largest captured value.
const MAX_CAPTURE: usize = 4096;

/// The variables of every expression: `captures`, `release`, `old`, `target`, `now`, `steps`.
pub fn vars(cx: &Cx) -> BTreeMap<String, Var> {
    let captures: Map<String, Value> = cx.journal.captures.clone().into_iter().collect();
    let outcome = |state: StepState| match state {
        StepState::Running => "Running",
        StepState::Succeeded => "Succeeded",
        StepState::Failed => "Failed",
        StepState::Skipped => "Skipped",
        StepState::Unknown => "Unknown",
    };
    // A later round of a follow-up stands for its step: records are in the order of their starts.
    let name =
        |r: &StepRecord| r.name.parse().ok().and_then(Execution::into_round_of).unwrap_or_else(|| r.name.clone());
    let steps: Map<String, Value> =
        cx.journal.steps.iter().map(|r| (name(r), json!({"outcome": outcome(r.state)}))).collect();
    let release = &cx.plan.release;
    // What is not set is empty, so that it can be asked for.
    let release = json!({
        "version": release.version.as_deref().unwrap_or(""),
        "revision": release.revision.as_deref().unwrap_or(""),
        "tag": release.tag.as_deref().unwrap_or(""),
    });
    BTreeMap::from([
        ("captures".to_owned(), Var::Json(Value::Object(captures))),
        ("release".to_owned(), Var::Json(release)),
        ("old".to_owned(), Var::Json(cx.plan.old.name.clone().into())),
        ("target".to_owned(), Var::Json(cx.plan.target.name.clone().into())),
        ("now".to_owned(), Var::Time(cx.world.now)),
        ("steps".to_owned(), Var::Json(Value::Object(steps))),
    ])
}

/// Why an expectation is not met.
pub(crate) struct Unmet {
    /// For people.
    pub(crate) why: String,
    /// It is not known whether it is: finding out would take too long.
    pub(crate) unknown: bool,
}

/// Why the first expectation that does not hold does not; `None` when all hold.
pub(crate) fn first_unmet(expect: &[String], vars: &BTreeMap<String, Var>) -> Option<Unmet> {
    expect.iter().enumerate().find_map(|(i, e)| match expr::eval(e, vars) {
        Ok(true) => None,
        Ok(false) => Some(Unmet { why: format!("expect[{i}] {e} is false"), unknown: false }),
        Err(fault) => {
            let unknown = matches!(fault, Fault::Beyond(_));
            Some(Unmet { why: format!("expect[{i}] {e}: {}", fault.text()), unknown })
        }
    })
}

/// The same for whom only what is known to hold counts.
pub(crate) fn first_failing(expect: &[String], vars: &BTreeMap<String, Var>) -> Option<String> {
    first_unmet(expect, vars).map(|unmet| unmet.why)
}

/// What is captured from an answer.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    /// What the journal holds.
    pub(crate) values: BTreeMap<String, Value>,
    /// Those of them to be recorded as evidence.
    pub(crate) recorded: Map<String, Value>,
    /// What only the run's Secret holds.
    pub(crate) hidden: Hidden,
}

/// What can be captured from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Source<'a> {
    /// The body, or the termination message, where it is JSON.
    pub(crate) json: Option<&'a Value>,
    /// The answer that has headers.
    pub(crate) response: Option<&'a HttpResponse>,
}

/// Captures from an answer.
///
/// # Errors
/// Names the capture that selects nothing, or too much.
pub(crate) fn capture(list: &[Capture], from: Source) -> Result<Captured, String> {
    let mut captured = Captured::default();
    for (i, c) in list.iter().enumerate() {
        let fail = |why: String| format!("capture[{i}] {}: {why}", c.name);
        let value = match (&c.path, &c.header) {
            (_, Some(name)) => header(from.response, name).map_err(fail)?,
            (Some(path), None) => {
                let json = from.json.ok_or_else(|| fail("the answer is not JSON".into()))?;
                select::first(json, path).map_err(fail)?
            }
            (None, None) => return Err(fail("it has neither path nor header".into())),
        };
        if value.to_string().len() > MAX_CAPTURE {
            return Err(fail(format!("the value is larger than {MAX_CAPTURE} bytes")));
        }
        if c.sensitive {
            captured.hidden.insert(c.name.clone(), scalar(value).map_err(fail)?);
            continue;
        }
        if c.record {
            captured.recorded.insert(c.name.clone(), value.clone());
        }
        captured.values.insert(c.name.clone(), value);
    }
    Ok(captured)
}

/// As it is put into a text.
fn scalar(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(n) => Ok(n.to_string()),
        Value::Bool(b) => Ok(b.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err("it is not a text, number or boolean, as what is sensitive must be".into())
        }
    }
}

/// The header of an answer. Of several, none is the one that was meant.
fn header(response: Option<&HttpResponse>, name: &str) -> Result<Value, String> {
    let response = response.ok_or("there are no headers")?;
    let name = name.to_ascii_lowercase();
    if response.repeated.contains(&name) {
        return Err(format!("the answer has more than one header {name}"));
    }
    match response.headers.get(&name) {
        Some(value) => Ok(Value::String(value.clone())),
        None => {
            let names: Vec<&str> = response.headers.keys().map(String::as_str).take(MAX_NAMES).collect();
            Err(format!("the answer has no header {name}; it has {}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(path: &str, record: bool) -> Vec<Capture> {
        vec![Capture { name: "id".into(), path: Some(path.into()), record, ..Capture::default() }]
    }

    fn from(json: &Value) -> Source<'_> {
        Source { json: Some(json), response: None }
    }

    #[test]
    fn captures_are_kept_and_recorded_only_where_asked() {
        let answer = json!({"id": 7, "big": "x".repeat(5000)});
        let kept = capture(&wanted("$.id", false), from(&answer)).expect("captured");
        assert_eq!((kept.values["id"].clone(), kept.recorded.len()), (json!(7), 0));
        let kept = capture(&wanted("$.id", true), from(&answer)).expect("captured");
        assert_eq!(kept.recorded["id"], 7);
        for (path, answer) in [("$.none", from(&answer)), ("$.big", from(&answer)), ("$.id", Source::default())] {
            let why = capture(&wanted(path, true), answer).expect_err("refused");
            assert!(why.starts_with("capture[0] id: ") && !why.contains("xxx"), "{why}");
        }
    }

    #[test]
    fn what_is_sensitive_is_nowhere_but_among_what_is_hidden() {
        let answer = json!({"id": "canary", "n": 41, "list": ["canary"], "big": "canary".repeat(1000)});
        let sensitive = |path: &str| {
            let list = wanted(path, false).into_iter().map(|c| Capture { sensitive: true, ..c }).collect::<Vec<_>>();
            capture(&list, from(&answer))
        };
        let found = sensitive("$.id").expect("captured");
        assert!(found.values.is_empty() && found.recorded.is_empty());
        assert_eq!(found.hidden.iter().collect::<Vec<_>>(), [("id", "canary")]);
        assert!(!format!("{found:?}").contains("canary"));
        assert_eq!(sensitive("$.n").expect("captured").hidden.iter().next(), Some(("id", "41")));
        for path in ["$.list", "$.big", "$.none"] {
            let why = sensitive(path).expect_err("refused");
            assert!(why.starts_with("capture[0] id: ") && !why.contains("canary"), "{why}");
        }
    }

    #[test]
    fn a_header_is_captured_by_its_name_alone() {
        let of = |name: &str| vec![Capture { name: "to".into(), header: Some(name.into()), ..Capture::default() }];
        let headers = [("location", "/packs/7"), ("x-a", "canary, canary")];
        let response = HttpResponse {
            headers: headers.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            repeated: ["x-a".to_owned()].into(),
            ..HttpResponse::default()
        };
        let get = |name: &str| capture(&of(name), Source { json: None, response: Some(&response) });
        assert_eq!(get("Location").expect("captured").values["to"], "/packs/7");
        assert!(get("X-A").expect_err("two").contains("more than one header x-a"));
        assert_eq!(
            get("etag").expect_err("none"),
            "capture[0] to: the answer has no header etag; it has location, x-a"
        );
    }
}
