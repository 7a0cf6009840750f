//! PURE. What expectations may refer to, and how they are judged. Texts of failures never hold a body or a header.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::run::{StepRecord, StepState};
use crate::api::step::Capture;
use crate::plan::Execution;
use crate::plan::expr::{self, Fault, Var};
use crate::plan::select;

use super::Cx;

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

/// What is captured from an answer: all values, and those to be recorded as evidence.
pub(crate) type Captured = (BTreeMap<String, Value>, Map<String, Value>);

/// Captures from an answer.
///
/// # Errors
/// Names the capture that selects nothing, or too much.
pub fn capture(list: &[Capture], answer: Option<&Value>) -> Result<Captured, String> {
    let (mut captured, mut recorded) = Captured::default();
    for (i, c) in list.iter().enumerate() {
        let fail = |why: String| format!("capture[{i}] {}: {why}", c.name);
        if c.sensitive {
            return Err(fail("sensitive captures are not possible in this version".into()));
        }
        let answer = answer.ok_or_else(|| fail("the answer is not JSON".into()))?;
        let value = select::first(answer, &c.path).map_err(fail)?;
        if value.to_string().len() > MAX_CAPTURE {
            return Err(fail(format!("the value is larger than {MAX_CAPTURE} bytes")));
        }
        if c.record {
            recorded.insert(c.name.clone(), value.clone());
        }
        captured.insert(c.name.clone(), value);
    }
    Ok((captured, recorded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(path: &str, record: bool) -> Vec<Capture> {
        vec![Capture { name: "id".into(), path: path.into(), record, sensitive: false }]
    }

    #[test]
    fn captures_are_kept_and_recorded_only_where_asked() {
        let answer = json!({"id": 7, "big": "x".repeat(5000)});
        let (kept, shown) = capture(&wanted("$.id", false), Some(&answer)).expect("captured");
        assert_eq!((kept["id"].clone(), shown.len()), (json!(7), 0));
        let (_, shown) = capture(&wanted("$.id", true), Some(&answer)).expect("captured");
        assert_eq!(shown["id"], 7);
        for (path, answer) in [("$.none", Some(&answer)), ("$.big", Some(&answer)), ("$.id", None)] {
            let why = capture(&wanted(path, true), answer).expect_err("refused");
            assert!(why.starts_with("capture[0] id: ") && !why.contains("xxx"), "{why}");
        }
    }
}
