//! Plans carry a version: one that this operator does not know stops steps, never a restore (DESIGN §3).

use serde_json::{Value, json};

use crate::api::condition::reasons;
use crate::api::run::CutoverRun;
use crate::decide::Note;
use crate::plan::{PLAN_VERSION, Plan, unknown_form};

/// How much of a plan is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All of it.
    Known,
    /// Written by a newer or an earlier operator: sides and Services only, which is enough for a restore.
    Other,
}

/// The plan of a run.
///
/// # Errors
/// Says why not even sides and Services can be read.
pub fn plan_of(run: &CutoverRun) -> Result<(Plan, Form), String> {
    if run.spec.plan_version == PLAN_VERSION
        && let Ok(plan) = serde_json::from_value::<Plan>(run.spec.plan.clone())
    {
        return Ok((plan, Form::Known));
    }
    let mut plan = run.spec.plan.clone();
    if let Some(map) = plan.as_object_mut() {
        // What form 1 called it.
        if let Some(old) = map.remove("live") {
            map.entry("old").or_insert(old);
        }
        map.insert("steps".into(), json!([]));
        for absent in ["followUp", "retire", "window", "prometheus", "driftPolicy"] {
            map.remove(absent);
        }
        map.insert(
            "observe".into(),
            json!({"for": "5m", "every": "15s", "timeout": "15m", "triggers": Value::Array(vec![])}),
        );
    }
    serde_json::from_value::<Plan>(plan).map(|p| (p, Form::Other)).map_err(|e| e.to_string())
}

/// Told once about a plan of another form.
pub fn other() -> Note {
    Note { warning: true, reason: reasons::PLAN_VERSION.into(), subject: "plan".into(), message: unknown_form() }
}

/// Told once about a plan that cannot be read at all.
pub(crate) fn unreadable(why: &str) -> Note {
    let message = format!("the plan cannot be read, not even its sides: {why}; run the operator that wrote it");
    Note { warning: true, reason: reasons::PLAN_VERSION.into(), subject: "plan".into(), message }
}

/// Told of a run of which nothing can be read at all.
pub(crate) fn unreadable_run(why: &str) -> Note {
    let message = format!("the run cannot be read: {why}; run the operator that wrote it");
    Note { warning: true, reason: reasons::PLAN_VERSION.into(), subject: "run".into(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::run::CutoverRunSpec;

    fn run(version: u32, steps: Value) -> CutoverRun {
        let side = |name: &str| json!({"name": name, "selector": {"side": name}, "workloads": []});
        let plan = json!({
            "cutover": "web", "namespace": "a", "serviceAccount": "cutover", "services": ["web"],
            "target": side("green"), "old": side("blue"), "steps": steps,
            "switch": {"minReady": {"percent": 100}, "drain": "0s", "timeout": "60s"},
            "observe": {"for": "5m", "every": "15s", "timeout": "15m", "triggers": []},
        });
        let spec = CutoverRunSpec { cutover: "web".into(), cutover_uid: "u".into(), plan_version: version, plan };
        CutoverRun::new("web-1", spec)
    }

    #[test]
    fn an_earlier_plan_keeps_what_a_restore_needs() {
        let mut first = run(1, json!([{"name": "x", "action": {"rollout": {"side": "Live"}}}]));
        let plan = first.spec.plan.as_object_mut().expect("an object");
        let old = plan.remove("old").expect("a side");
        plan.insert("live".into(), old);
        let (plan, form) = plan_of(&first).expect("sides are known");
        assert_eq!((form, plan.old.name.as_str(), plan.steps.len()), (Form::Other, "blue", 0));
    }

    #[test]
    fn a_newer_plan_keeps_what_a_restore_needs() {
        let unknown = json!([{"name": "x", "action": {"teleport": {}}}]);
        let (plan, form) = plan_of(&run(PLAN_VERSION + 1, unknown)).expect("sides are known");
        assert_eq!((form, plan.old.name.as_str(), plan.steps.len()), (Form::Other, "blue", 0));
        let (_, form) = plan_of(&run(PLAN_VERSION, json!([]))).expect("a plan");
        assert_eq!(form, Form::Known);
        let mut nothing = run(PLAN_VERSION + 1, json!([]));
        nothing.spec.plan = json!({"shape": "other"});
        assert!(plan_of(&nothing).is_err());
    }
}
