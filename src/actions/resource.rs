//! PURE. An object of the namespace and what must hold of it. Read as the ServiceAccount, so that nobody sees through a
//! Cutover what its account may not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::api::run::StepRecord;
use crate::api::step::Resource;
use crate::api::trigger::Watched;
use crate::effect::{Read, ResourceOf};
use crate::plan::expr::{self, Var};
use crate::plan::{Action, Plan, PlanStep};
use crate::world::{Reading, ResourceAnswer};

use super::rights::remedy;
use super::{Cx, Out, Verdict, expect, read_key};

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, of: &Resource, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let key = read_key(step, record);
    let Some(Reading::Resource(answer)) = cx.world.readings.get(&key) else {
        record.message = Some(format!("reading {} {}", of.kind, of.name));
        out.reads.insert(key, Read::Resource(object(of)));
        return None;
    };
    let mut evidence = json!({"of": format!("{} {}", of.kind, of.name)});
    match judge(cx, of, answer) {
        Err(why) => Some(Verdict::Fail { message: why, evidence: Some(evidence) }),
        Ok((value, failing)) => {
            evidence["resourceVersion"] = value["metadata"]["resourceVersion"].clone();
            if of.record {
                evidence["saw"] = Value::Object(saw(of, value));
            }
            Some(match failing {
                None => Verdict::pass(evidence),
                Some(why) => Verdict::Fail { message: why, evidence: Some(evidence) },
            })
        }
    }
}

/// The object that is meant.
pub fn object(of: &Resource) -> ResourceOf {
    ResourceOf { api_version: of.api_version.clone(), kind: of.kind.clone(), name: of.name.clone() }
}

/// The object, and the expectation that does not hold.
///
/// # Errors
/// There is no object to judge.
pub fn judge<'a>(cx: &Cx, of: &Resource, answer: &'a ResourceAnswer) -> Result<(&'a Value, Option<String>), String> {
    let what = format!("{} {}", of.kind, of.name);
    match answer {
        ResourceAnswer::Found(value) => {
            let mut vars: BTreeMap<String, Var> = expect::vars(cx);
            vars.insert("object".into(), Var::Json(value.clone()));
            Ok((value, expect::first_failing(&of.expect, &vars)))
        }
        ResourceAnswer::NotFound => Err(format!("{what} does not exist")),
        ResourceAnswer::Forbidden { resource, why } => {
            Err(format!("{}; {what} cannot be read: {why}", remedy(cx, "get", resource)))
        }
        ResourceAnswer::Unread(why) => Err(format!("inconclusive: {why}")),
    }
}

/// What the expectations look at; the whole object would be larger than evidence may be.
fn saw(of: &Resource, value: &Value) -> Map<String, Value> {
    of.expect.iter().flat_map(|e| expr::looked_at(e, "object", value)).collect()
}

/// Every object that steps, their undos and triggers look at.
pub fn all(plan: &Plan) -> BTreeSet<ResourceOf> {
    let undos = plan.steps.iter().filter_map(|s| s.undo.as_ref().map(|u| &u.action));
    let actions = plan.steps.iter().flat_map(PlanStep::parts).map(|s| &s.action).chain(undos);
    let of_steps = actions.filter_map(|action| if let Action::Resource(of) = action { Some(of) } else { None });
    let of_triggers = plan.observe.triggers.iter().filter_map(|t| {
        let Ok(Watched::Resource(of)) = t.watches.one() else { return None };
        Some(of)
    });
    of_steps.chain(of_triggers).map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, read, step};
    use crate::api::run::StepState;
    use crate::effect::DryRun;
    use crate::plan::Stage;

    fn resource(record: bool) -> PlanStep {
        let of = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "data", "record": record,
            "expect": ["object.status.phase == 'Bound'"]});
        step("volume", Stage::Preflight, Action::Resource(serde_json::from_value(of).expect("a resource")))
    }

    #[test]
    fn verdicts() {
        let claim = |phase: &str| {
            ResourceAnswer::Found(
                json!({"metadata": {"resourceVersion": "7", "annotations": {"big": "x".repeat(3000)}},
                "status": {"phase": phase}}),
            )
        };
        let denied = ResourceAnswer::Forbidden { resource: "persistentvolumeclaims".into(), why: "no".into() };
        let table = [
            (claim("Bound"), StepState::Succeeded, ""),
            (claim("Lost"), StepState::Failed, "expect[0] object.status.phase == 'Bound' is false"),
            (ResourceAnswer::Found(json!({})), StepState::Failed, "object.status is missing"),
            (ResourceAnswer::NotFound, StepState::Failed, "PersistentVolumeClaim data does not exist"),
            (denied, StepState::Failed, "--verb=get --resource=persistentvolumeclaims"),
            (ResourceAnswer::Unread("503".into()), StepState::Failed, "inconclusive: 503"),
        ];
        for (answer, wanted, text) in table {
            let mut f = Fixture::new();
            let s = resource(true);
            let (r, out) = f.drive(&s, None);
            assert!(matches!(out.reads.get(&read("volume#1")), Some(Read::Resource(of)) if of.name == "data"));
            f.world.readings.insert(read("volume#1"), Reading::Resource(answer.clone()));
            let (r, _) = f.drive(&s, Some(&r));
            assert!(r.state == wanted && r.message.clone().unwrap_or_default().contains(text), "{answer:?}: {r:?}");
            if wanted == StepState::Succeeded {
                let wanted = json!({"of": "PersistentVolumeClaim data", "resourceVersion": "7",
                    "saw": {"object.status.phase": "Bound"}});
                assert_eq!(r.evidence, Some(wanted));
            }
        }
    }

    #[test]
    fn that_it_may_be_read_is_tried_before_anything_is_done() {
        let mut f = Fixture::new();
        let first = step("permissions", Stage::Preflight, Action::Permissions {});
        f.pods(vec![]);
        f.plan.steps = vec![first.clone(), resource(false)];
        let (_, out) = f.drive(&first, None);
        let Some(Read::DryRun(runs)) = out.reads.get(&read("permissions#1/0")) else { panic!("{:?}", out.reads) };
        assert!(runs.iter().any(|r| matches!(r, DryRun::Look(of) if of.name == "data")), "{runs:?}");
    }
}
