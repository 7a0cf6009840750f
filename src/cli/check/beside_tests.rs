//! Tests of what works beside a Cutover.

use serde_json::{Value, json};

use super::beside;
use super::facts::Facts;
use super::model::{Line, State};
use super::sides_tests::{condition, cutover, facts, object, planned, service};
use crate::cli::cluster::Seen;

fn owner(meta: Value) -> Line {
    let f = Facts { services: Seen::Known(vec![object(service(meta))]), ..facts() };
    beside::selector_owner(&cutover("shop", json!({})), &f).remove(0)
}

fn managed(by: &str, fields: Value) -> Value {
    json!([{"manager": by, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields}])
}

#[test]
fn who_keeps_the_selector_is_told_with_the_fix_for_the_tool() {
    // A selector is one field, as the API server shows it.
    let selector = json!({"f:spec": {"f:selector": {}}});
    let file = |side: bool| {
        let labels = if side { json!({"app": "web", "side": "blue"}) } else { json!({"app": "web"}) };
        let last = json!({"spec": {"selector": labels}}).to_string();
        json!({"managedFields": managed("kubectl-client-side-apply", json!({"f:spec": {"f:selector": {}}})),
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": last}})
    };
    for (meta, tool, fix) in [
        (json!({"managedFields": managed("argocd-controller", selector.clone())}), "Argo CD", "ignoreDifferences"),
        (
            json!({"managedFields": managed("kubectl-client-side-apply", selector.clone()), "annotations": {"argocd.argoproj.io/tracking-id": "x", "kubectl.kubernetes.io/last-applied-configuration": json!({"spec": {"selector": {"side": "blue"}}}).to_string()}}),
            "Argo CD",
            "jsonPointers",
        ),
        (json!({"managedFields": managed("kustomize-controller", selector.clone())}), "Flux", "ssa: IfNotPresent"),
        (json!({"managedFields": managed("helm", selector.clone())}), "Helm", "lookup"),
        (file(true), "kubectl-client", "as it is in the cluster"),
    ] {
        let line = owner(meta.clone());
        assert_eq!(line.state, State::Warning, "{meta}");
        assert!(line.message.contains(tool) && line.remedy.as_deref().is_some_and(|r| r.contains(fix)), "{line:?}");
    }
    for meta in [
        json!({}),
        json!({"managedFields": managed("cutover", selector.clone())}),
        json!({"managedFields": managed("argocd-controller", json!({"f:spec": {"f:ports": {}}}))}),
        file(false),
    ] {
        assert_eq!(owner(meta.clone()).state, State::Ok, "{meta}");
    }
}

fn autoscaler(of: &str, most: u32) -> Value {
    json!({"metadata": {"name": format!("{of}-hpa")}, "spec": {"minReplicas": 2, "maxReplicas": most,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": of}}})
}

fn scaled(of: &[&str], more: Value) -> Vec<Line> {
    let list = of.iter().map(|name| object(autoscaler(name, 4))).collect();
    let f = Facts { autoscalers: Seen::Known(list), ..facts() };
    let shop = cutover("shop", more);
    let planned = planned(&shop);
    assert!(planned.plan.is_ok(), "{:?}", planned.plan);
    beside::autoscalers(&shop, Some(&planned), &f)
}

#[test]
fn an_autoscaler_of_one_side_alone_and_one_that_a_step_fights_are_told() {
    let states = |lines: &[Line]| lines.iter().map(|l| l.state).collect::<Vec<_>>();
    assert_eq!(states(&scaled(&[], json!({}))), [State::Ok]);
    assert_eq!(states(&scaled(&["web-blue", "web-green"], json!({}))), [State::Ok]);
    let one = scaled(&["web-blue"], json!({}));
    assert!(one[0].state == State::Warning && one[0].message.contains("green by none"), "{one:?}");
    let step = |replicas: u32| {
        let scale = json!({"side": "Target", "replicas": replicas});
        json!({"phases": {"prepare": {"steps": [{"name": "up", "scale": scale}]}}})
    };
    let both = ["web-blue", "web-green"];
    assert_eq!(states(&scaled(&both, step(3))), [State::Ok]);
    let fights = scaled(&both, step(9));
    assert!(fights[0].message.contains("step up scales Deployment web-green to 9"), "{fights:?}");
}

fn budget(selector: Value, spec: Value) -> Vec<Line> {
    let mut whole = json!({"selector": {"matchLabels": selector}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    let object = object(json!({"metadata": {"name": "web"}, "spec": whole}));
    let f = Facts { budgets: Seen::Known(vec![object]), ..facts() };
    beside::budgets(&cutover("shop", json!({})), &f)
}

#[test]
fn a_budget_that_forbids_evictions_or_counts_both_sides_is_told() {
    let blue = json!({"app": "web", "side": "blue"});
    assert_eq!(budget(blue.clone(), json!({"maxUnavailable": 1}))[0].state, State::Ok);
    let never = budget(blue, json!({"maxUnavailable": 0}));
    assert!(never[0].state == State::Warning && never[0].message.contains("no pod of blue"), "{never:?}");
    let both = budget(json!({"app": "web"}), json!({"minAvailable": "100%"}));
    assert!(both.len() == 2 && both[1].message.contains("counts both sides"), "{both:?}");
    assert_eq!(budget(json!({"app": "other"}), json!({"maxUnavailable": 0}))[0].state, State::Ok);
}

fn conditions(list: &[(&str, &str, &str)]) -> Vec<(State, String)> {
    let mut shop = cutover("shop", json!({}));
    let conditions: Vec<Value> = list.iter().map(|(t, s, r)| condition(t, s, r)).collect();
    shop.status = Some(object(json!({"conditions": conditions})));
    beside::conditions(&shop, " -n prod").into_iter().map(|l| (l.state, l.remedy.unwrap_or_default())).collect()
}

#[test]
fn conditions_that_ask_for_somebody_are_told_once() {
    assert_eq!(conditions(&[("Ready", "True", "Idle")])[0].0, State::Ok);
    let blocked = conditions(&[("RollbackBlocked", "True", "Unreachable"), ("Stalled", "True", "Unreachable")]);
    assert!(blocked.len() == 1 && blocked[0].0 == State::Failed, "{blocked:?}");
    assert!(blocked[0].1.starts_with("kubectl cutover status shop -n prod"), "{blocked:?}");
    assert_eq!(conditions(&[("AwaitingDecision", "True", "Decision")])[0].0, State::Warning);
    assert_eq!(conditions(&[("Stalled", "True", "InvalidSpec")])[0].0, State::Ok, "it has a line of its own");
    assert_eq!(conditions(&[("CanRollBack", "False", "OldSideEmpty")])[0].0, State::Warning);
}
