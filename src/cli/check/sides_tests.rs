//! Tests of the lines about Services, workloads and sides, and what other tests of `check` stand on.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::facts::{Facts, Planned, next};
use super::model::{Line, State};
use super::{sides, topics};
use crate::api::cutover::Cutover;
use crate::cli::cluster::Seen;

/// An object from JSON.
#[track_caller]
pub(super) fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

/// The Cutover `shop` of `web`, blue to green; `more` is put over its spec.
pub(super) fn cutover(name: &str, more: Value) -> Cutover {
    let side = |name: &str| json!({"name": name, "selector": {"side": name}, "workloads": [{"kind": "Deployment", "name": format!("web-{name}")}]});
    let mut spec = json!({"services": [{"name": "web"}], "sides": [side("blue"), side("green")], "activate": "blue"});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    object(json!({
        "apiVersion": "cutover.dev/v1alpha1", "kind": "Cutover",
        "metadata": {"name": name, "namespace": "prod", "generation": 1, "uid": name,
            "creationTimestamp": if name == "shop" { "2026-11-01T00:00:00Z" } else { "2026-11-02T00:00:00Z" }},
        "spec": spec,
        "status": {"live": "blue", "conditions": [condition("Accepted", "True", "Accepted")]},
    }))
}

/// A condition of generation 1.
pub(super) fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": format!("about {type_}"),
        "lastTransitionTime": "2026-11-01T00:00:00Z", "observedGeneration": 1})
}

fn deployment(side: &str, selector: Value) -> Value {
    let labels = json!({"app": "web", "side": side});
    json!({
        "metadata": {"name": format!("web-{side}"), "uid": side, "generation": 1},
        "spec": {"replicas": 1, "selector": {"matchLabels": selector}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "app", "image": "a", "ports": [{"containerPort": 8080}]}]}}},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
    })
}

fn pod(side: &str, ready: bool) -> Value {
    json!({
        "metadata": {"name": format!("web-{side}-1-a"), "labels": {"app": "web", "side": side, "pod-template-hash": "1"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("web-{side}-1"), "uid": "r",
                "controller": true}]},
        "spec": {"containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    })
}

pub(super) fn service(meta: Value) -> Value {
    let mut metadata = json!({"name": "web", "uid": "s"});
    for (key, value) in meta.as_object().into_iter().flatten() {
        metadata[key] = value.clone();
    }
    json!({"metadata": metadata, "spec": {"selector": {"app": "web", "side": "blue"},
        "ports": [{"port": 80, "targetPort": 8080}]}})
}

/// All that there should be.
pub(super) fn facts() -> Facts {
    let whole = |side: &str| json!({"app": "web", "side": side});
    Facts {
        services: Seen::Known(vec![object(service(json!({})))]),
        deployments: Seen::Known(vec![
            object(deployment("blue", whole("blue"))),
            object(deployment("green", whole("green"))),
        ]),
        stateful_sets: Seen::Known(vec![]),
        pods: Seen::Known(vec![object(pod("blue", true)), object(pod("green", true))]),
        slices: Seen::Known(vec![]),
        autoscalers: Seen::Known(vec![]),
        budgets: Seen::Known(vec![]),
    }
}

/// Resolved from blue to green.
pub(super) fn planned(cutover: &Cutover) -> Planned {
    Planned { spec: cutover.spec.clone(), plan: next("shop", "prod", &cutover.spec, "blue") }
}

fn states(lines: &[Line]) -> Vec<(&str, State)> {
    lines.iter().map(|l| (l.id, l.state)).collect()
}

fn of(facts: &Facts) -> Vec<Line> {
    let shop = cutover("shop", json!({}));
    sides::sides(&shop, Some(&planned(&shop)), facts, Timestamp::UNIX_EPOCH)
}

#[test]
fn a_cutover_in_order_has_nothing_but_ok() {
    let (shop, facts) = (cutover("shop", json!({})), facts());
    let planned = planned(&shop);
    assert!(planned.plan.is_ok());
    let mut lines = vec![sides::accepted(&shop, Some(&planned))];
    lines.extend(sides::services(&shop, &facts));
    lines.extend(sides::claimed(&shop, std::slice::from_ref(&shop)));
    lines.extend(sides::workloads(&shop, &facts));
    lines.extend(of(&facts));
    lines.extend(sides::overlap(&shop, &facts));
    assert!(lines.len() == 8 && lines.iter().all(|l| l.state == State::Ok), "{lines:#?}");
}

#[test]
fn two_cutovers_with_one_service_both_fail_and_the_younger_one_is_to_give_way() {
    let all = [cutover("shop", json!({})), cutover("other", json!({}))];
    for mine in &all {
        let lines = sides::claimed(mine, &all);
        assert_eq!(states(&lines), [(topics::SERVICE_CLAIMED_TWICE.id, State::Failed)]);
        assert!(lines[0].message.contains("the older one, shop"), "{lines:?}");
        assert!(lines[0].remedy.as_deref().is_some_and(|r| r.contains("edit cutover other")), "{lines:?}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let shop = cutover("shop", json!({"services": [{"name": "gone"}]}));
    let lines = sides::services(&shop, &facts());
    assert!(lines[0].state == State::Failed && lines[0].message.contains("gone does not exist"), "{lines:?}");
    let mut f = facts();
    let mut bare = service(json!({}));
    bare["spec"]["selector"] = Value::Null;
    f.services = Seen::Known(vec![object(bare)]);
    assert!(sides::services(&cutover("shop", json!({})), &f)[0].message.contains("no selector"));
    let mut f = facts();
    f.deployments = Seen::Known(vec![object(deployment("blue", json!({"app": "web"})))]);
    let lines = sides::workloads(&cutover("shop", json!({})), &f);
    assert!(lines[0].state == State::Failed && lines[0].message.contains("Deployment web-green of green"), "{lines:?}");
}

#[test]
fn a_selector_that_takes_the_other_sides_pods_is_told() {
    let mut f = facts();
    f.deployments = Seen::Known(vec![
        object(deployment("blue", json!({"app": "web"}))),
        object(deployment("green", json!({"app": "web", "side": "green"}))),
    ]);
    let lines = sides::overlap(&cutover("shop", json!({})), &f);
    assert_eq!(states(&lines), [(topics::SIDES_OVERLAP.id, State::Warning)]);
    assert!(lines[0].message.starts_with("the selector of Deployment web-blue"), "{lines:?}");
}

#[test]
fn a_live_side_without_ready_pods_fails_and_the_other_one_is_told() {
    let with = |blue: bool, green: bool| {
        let mut f = facts();
        f.pods = Seen::Known(vec![object(pod("blue", blue)), object(pod("green", green))]);
        of(&f)
    };
    let ready = topics::SIDE_READY.id;
    let of_ready =
        |lines: &[Line]| states(lines).into_iter().filter(|(id, _)| *id == ready).map(|(_, s)| s).collect::<Vec<_>>();
    assert_eq!(of_ready(&with(false, true)), [State::Failed, State::Ok]);
    assert_eq!(of_ready(&with(true, false)), [State::Ok, State::Warning]);
}

#[test]
fn what_the_run_would_refuse_is_told_with_its_remedy() {
    let mut f = facts();
    let mut green = deployment("green", json!({"app": "web"}));
    green["spec"]["template"]["metadata"]["labels"] = json!({"app": "web"});
    f.deployments = Seen::Known(vec![object(deployment("blue", json!({"app": "web"}))), object(green)]);
    let lines = of(&f);
    let line = lines.iter().find(|l| l.id == topics::SIDES.id && l.state == State::Failed).expect("refused");
    assert!(line.message.contains("Deployment web-green has no label side"), "{line:?}");
    assert!(line.remedy.as_deref().is_some_and(|r| r.contains("correct the labels")), "{line:?}");
}

#[test]
fn a_missing_right_makes_the_line_unknown_and_names_it() {
    let mut f = facts();
    f.pods = Seen::Hidden(super::facts::PODS);
    f.deployments = Seen::Hidden(super::facts::DEPLOYMENTS);
    let lines = of(&f);
    assert_eq!((lines[0].state, lines[0].missing.as_deref()), (State::Unknown, Some("list pods")));
    let lines = sides::workloads(&cutover("shop", json!({})), &f);
    assert_eq!((lines.len(), lines[0].missing.as_deref()), (1, Some("list deployments.apps")));
}

#[test]
fn an_older_word_of_the_operator_is_none() {
    let mut shop = cutover("shop", json!({}));
    shop.metadata.generation = Some(2);
    assert_eq!(sides::accepted(&shop, None).state, State::Failed);
    let refused = cutover("shop", json!({"services": []}));
    let mut stale = refused.clone();
    stale.status = None;
    let line = sides::accepted(&stale, Some(&planned(&stale)));
    assert!(line.message.contains("it would be refused: spec.services"), "{line:?}");
}

#[test]
fn what_keeps_a_run_from_starting_is_told_before_it_is_asked_for() {
    let ids = |shop: &Cutover, all: &[Cutover], facts: &Facts| {
        let lines = super::in_the_way(shop, all, &planned(shop), facts, Timestamp::UNIX_EPOCH);
        assert!(lines.iter().all(|l| l.state == State::Failed && l.remedy.is_some()), "{lines:#?}");
        lines.iter().map(|l| l.id).collect::<Vec<_>>()
    };
    let shop = cutover("shop", json!({}));
    let alone = std::slice::from_ref(&shop);
    assert_eq!(ids(&shop, alone, &facts()), [] as [&str; 0]);
    let both = [shop.clone(), cutover("other", json!({}))];
    assert_eq!(ids(&shop, &both, &facts()), [topics::SERVICE_CLAIMED_TWICE.id]);
    let mut f = facts();
    f.deployments = Seen::Known(vec![object(deployment("blue", json!({"app": "web"})))]);
    assert_eq!(ids(&shop, alone, &f), [topics::WORKLOADS.id]);
    let mut f = facts();
    f.services = Seen::Known(vec![]);
    assert_eq!(ids(&shop, alone, &f), [topics::SERVICES.id], "told once");
}

#[test]
fn a_target_that_nobody_starts_is_told_unless_a_run_or_a_step_does_it() {
    let mut f = facts();
    let mut green = deployment("green", json!({"app": "web", "side": "green"}));
    green["spec"]["replicas"] = json!(0);
    f.deployments = Seen::Known(vec![object(deployment("blue", json!({"app": "web"}))), object(green)]);
    let told = |shop: &Cutover, f: &Facts| {
        sides::unstarted(shop, planned(shop).plan.as_ref().expect("a plan"), f).map(|l| l.remedy.unwrap_or_default())
    };
    let shop = cutover("shop", json!({}));
    assert_eq!(told(&shop, &f).as_deref(), Some("kubectl scale deployment/web-green -n prod --replicas=N"));
    assert_eq!(told(&shop, &facts()), None);
    let mut remembered = shop;
    let retired = json!({"green": {"Deployment/web-green": 2}});
    remembered.status.as_mut().expect("a status").retired = object(retired);
    assert_eq!(told(&remembered, &f), None);
    let step = json!({"name": "up", "scale": {"side": "Target", "replicas": 2}});
    let scales = cutover("shop", json!({"phases": {"prepare": {"steps": [step]}}}));
    assert_eq!(told(&scales, &f), None);
}
