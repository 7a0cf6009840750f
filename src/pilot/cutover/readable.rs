//! PURE. Runs that another version wrote, as far as this one can read them.

use kube::api::DynamicObject;

use crate::api::run::{CutoverRun, CutoverRunSpec};

/// A run, or as much of it as can be read: whose it is and which Services it holds. One without a status is not closed.
/// That it cannot be read is told by whoever would drive it.
pub(crate) fn readable_run(object: DynamicObject) -> CutoverRun {
    if let Ok(run) = serde_json::to_value(&object).and_then(serde_json::from_value) {
        return run;
    }
    let spec = &object.data["spec"];
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    let spec = CutoverRunSpec {
        cutover: text("cutover"),
        cutover_uid: text("cutoverUID"),
        plan_version: spec["planVersion"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
        plan: spec["plan"].clone(),
    };
    CutoverRun { metadata: object.metadata, spec, status: None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn run(version: Value, phase: &str) -> CutoverRun {
        readable_run(
            serde_json::from_value(json!({
                "apiVersion": "cutover.dev/v1alpha1", "kind": "CutoverRun", "metadata": {"name": "web-1", "uid": "r"},
                "spec": {"cutover": "web", "cutoverUID": "u", "planVersion": version, "plan": {"services": ["web"]}},
                "status": {"phase": phase},
            }))
            .expect("an object"),
        )
    }

    #[test]
    fn what_a_run_holds_is_known_though_the_rest_is_not() {
        assert!(run(json!(1), "Observing").status.is_some());
        for run in [run(json!("two"), "Observing"), run(json!(1), "Dancing")] {
            assert!(run.status.is_none());
            assert_eq!((run.spec.cutover_uid.as_str(), &run.spec.plan["services"]), ("u", &json!(["web"])));
            assert_eq!(run.metadata.uid.as_deref(), Some("r"));
        }
    }
}
