//! PURE. What the labels of a Job's pod would make it join. A claimed Service is refused: users would be sent to a
//! migration. Anything else of the namespace is only warned of: a budget or an autoscaler would count the pod.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::run::StepRecord;
use crate::api::step::Job;
use crate::effect::Read;
use crate::endpoints::{matches, whole_selector};
use crate::plan::PlanStep;
use crate::world::{Reading, SelectorView};

use super::{Cx, Out, attempt_of};

/// A Job as it would be made.
pub(crate) struct Made<'a> {
    pub step: &'a PlanStep,
    /// The Job.
    pub job: &'a Job,
    pub manifest: &'a Value,
}

impl Made<'_> {
    /// The labels that its pod would carry.
    fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.manifest.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
        let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        labels.into_iter().flatten().filter_map(text).collect()
    }

    /// Where labels of its own stand; none where it has none.
    fn field(&self) -> Option<&'static str> {
        let template = self.job.template.as_ref().and_then(|t| t.pointer("/metadata/labels")?.as_object());
        let in_template = template.is_some_and(|labels| !labels.is_empty());
        match (in_template, self.job.labels.is_empty()) {
            (true, true) => Some("job.template.metadata.labels"),
            (true, false) => Some("job.labels and job.template.metadata.labels"),
            (false, false) => Some("job.labels"),
            (false, true) => None,
        }
    }
}

/// Why the labels of a Job's pod are refused: a claimed Service would select it, as it is or when it points to a side.
pub(super) fn refused(cx: &Cx, made: &Made) -> Option<String> {
    let field = made.field()?;
    let labels = made.labels();
    for name in &cx.plan.services {
        let Some(view) = cx.world.service(name) else { continue };
        let sides = [&cx.plan.old, &cx.plan.target].map(|side| whole_selector(&view.selector, &side.selector));
        let selectors = std::iter::once(view.selector.clone()).chain(sides);
        let Some(selector) = selectors.into_iter().find(|selector| matches(&labels, selector)) else { continue };
        let shown = selector.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(", ");
        return Some(format!(
            "step {}: {field} would make the Job's pod one of Service {name} ({shown}); remove one of these labels or give \
             it another value",
            made.step.name
        ));
    }
    None
}

/// Asks who else in the namespace would select the pods of Jobs that have labels of their own, and warns of it. False
/// while the answer is awaited. That it cannot be read stops nothing, but is said.
pub(crate) fn warn(cx: &Cx, step: &PlanStep, record: &StepRecord, made: &[Made], out: &mut Out) -> bool {
    let labelled: Vec<&Made> = made.iter().filter(|m| m.field().is_some()).collect();
    if labelled.is_empty() {
        return true;
    }
    let key = attempt_of(step, record).part("selectors");
    let answer = cx.world.readings.get(&key).cloned();
    out.reads.insert(key, Read::Selectors);
    match answer {
        Some(Reading::Selectors(Ok(all))) => {
            out.warnings.extend(labelled.iter().filter_map(|m| joins(cx, m, &all)));
            true
        }
        Some(Reading::Selectors(Err(why))) => {
            out.warnings.push(format!("who else selects the pods of Jobs is not known: {why}"));
            true
        }
        Some(_) | None => false,
    }
}

fn joins(cx: &Cx, made: &Made, all: &[SelectorView]) -> Option<String> {
    /// Objects named in one warning.
    const SHOWN: usize = 4;
    let labels = made.labels();
    let claimed = |view: &&SelectorView| view.kind == "Service" && cx.plan.services.contains(&view.name);
    let found = all.iter().filter(|view| !claimed(view) && view.selects(&labels));
    let mut names: Vec<String> = found.map(|view| format!("{} {}", view.kind, view.name)).collect();
    if names.is_empty() {
        return None;
    }
    if names.len() > SHOWN {
        let more = names.len() - SHOWN;
        names.truncate(SHOWN);
        names.push(format!("{more} more"));
    }
    Some(format!(
        "step {}: by {} the Job's pod is counted by {}; change the labels if it should not be",
        made.step.name,
        made.field().unwrap_or("its labels"),
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, read, step};
    use crate::api::run::StepState;
    use crate::plan::{Action, Stage};
    use crate::world::LabelRule;
    use serde_json::json;

    fn preflight(job: Value, answer: Option<Result<Vec<SelectorView>, String>>) -> (StepRecord, Out) {
        let mut f = Fixture::new();
        f.pods(vec![]);
        let job = serde_json::from_value(job).expect("a job");
        f.plan.steps = vec![step("migrate", Stage::Prepare, Action::Job(job))];
        f.world.readings.insert(read("permissions#1/0"), Reading::DryRun(vec![]));
        if let Some(answer) = answer {
            f.world.readings.insert(read("permissions#1/selectors"), Reading::Selectors(answer));
        }
        f.drive(&step("permissions", Stage::Preflight, Action::Permissions {}), None)
    }

    fn from(labels: Value) -> Value {
        json!({"from": {"side": "Target"}, "command": ["x"], "labels": labels})
    }

    #[test]
    fn labels_that_a_claimed_service_selects_are_refused() {
        for version in ["blue", "green"] {
            let labels = json!({"app": "web", "version": version, "team": "a"});
            let template =
                json!({"template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a"}]}}});
            for (job, field) in [(from(labels), "job.labels"), (template, "job.template.metadata.labels")] {
                let (r, _) = preflight(job, None);
                let wanted = format!(
                    "step migrate: {field} would make the Job's pod one of Service web (app=web, version={version}); \
                     remove one of these labels or give it another value"
                );
                assert_eq!((r.state, r.message.as_deref()), (StepState::Failed, Some(wanted.as_str())));
            }
        }
    }

    #[test]
    fn who_else_selects_them_is_warned_of() {
        let rule = |key: &str, value: &str| LabelRule::In { key: key.into(), values: vec![value.into()] };
        let view = |kind: &str, name: &str, rules| SelectorView { kind: kind.into(), name: name.into(), rules };
        let all = vec![
            view("Service", "other", vec![rule("app", "web")]),
            view("Service", "web", vec![rule("app", "web")]),
            view("PodDisruptionBudget", "keep", vec![LabelRule::Exists { key: "app".into() }]),
            view("Deployment", "web-blue", vec![rule("app", "web"), rule("version", "blue")]),
        ];
        let (r, out) = preflight(from(json!({"app": "web"})), None);
        assert!(
            r.state == StepState::Running && out.reads.get(&read("permissions#1/selectors")) == Some(&Read::Selectors)
        );
        let (r, out) = preflight(from(json!({"app": "web"})), Some(Ok(all.clone())));
        let told = "step migrate: by job.labels the Job's pod is counted by Service other, PodDisruptionBudget keep; change \
                    the labels if it should not be";
        assert_eq!((r.state, out.warnings), (StepState::Succeeded, vec![told.to_owned()]));
        assert_eq!(r.evidence.expect("evidence")["warnings"], json!([told]));
        let (r, out) = preflight(from(json!({"team": "a"})), Some(Ok(all)));
        assert!(r.state == StepState::Succeeded && out.warnings.is_empty(), "{out:?}");
        let (r, out) = preflight(from(json!({"team": "a"})), Some(Err("no right".into())));
        assert!(r.state == StepState::Succeeded && out.warnings[0].ends_with("no right"), "{out:?}");
        let (r, out) = preflight(from(json!({})), None);
        assert!(
            r.state == StepState::Succeeded && !out.reads.contains_key(&read("permissions#1/selectors")),
            "nothing to ask"
        );
    }

    #[test]
    fn selectors_as_kubernetes_reads_them() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let selects = |rules: Vec<LabelRule>| SelectorView { rules, ..SelectorView::default() }.selects(&labels);
        let (a, b, one) = (|| "a".to_owned(), || "b".to_owned(), || vec!["1".to_owned()]);
        assert!(selects(vec![]), "every pod");
        assert!(selects(vec![LabelRule::In { key: a(), values: one() }, LabelRule::Exists { key: a() }]));
        assert!(selects(vec![LabelRule::NotIn { key: b(), values: one() }, LabelRule::Absent { key: b() }]));
        assert!(!selects(vec![LabelRule::NotIn { key: a(), values: one() }]));
        assert!(!selects(vec![LabelRule::Exists { key: b() }]) && !selects(vec![LabelRule::Absent { key: a() }]));
    }
}
