//! Tests of what `init` finds and makes.

use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::{Value, json};

use super::found::{Said, Situation, find, works};
use super::model::{Act, Init, make};
use crate::cli::check::operator::Place;
use crate::cli::exit::Failure;
use crate::cli::fixtures;
use crate::cli::needs::Rule;

#[track_caller]
fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

fn service(selector: Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": "prod"}, "spec": {"selector": selector, "ports": [
        {"name": "admin", "port": 81, "targetPort": 9999}, {"name": "http", "port": 80, "targetPort": "http"}]}})
}

fn deployment(name: &str, selector: Value, labels: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "prod", "labels": {"app": "web", "helm.sh/chart": "x"}, "uid": "u"},
        "spec": {"replicas": 3, "selector": {"matchLabels": selector}, "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": labels, "annotations": {"kubectl.kubernetes.io/restartedAt": "x"}},
            "spec": {"dnsPolicy": "ClusterFirst", "containers": [{"name": "app", "image": "r:5000/web:2.4.0",
                "ports": [{"name": "http", "containerPort": 8080}], "resources": {},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}}}]}}},
        "status": {"readyReplicas": 3},
    })
}

fn found_with(selector: Value, list: &[Value], pods: &[Value], said: &Said) -> Result<Situation, Failure> {
    let list: Vec<_> = list.iter().map(|d| object(d.clone())).collect();
    let pods: Vec<Pod> = pods.iter().map(|p| object(p.clone())).collect();
    find(&object::<Service>(service(selector)), &works(&list, &[]), &pods, said)
}

fn found(selector: Value, list: &[Value]) -> Result<Situation, Failure> {
    found_with(selector, list, &[], &Said::default())
}

fn one() -> Situation {
    let web = json!({"app": "web"});
    found(web.clone(), &[deployment("web", web.clone(), web.clone())]).expect("one")
}

fn colours() -> Vec<Value> {
    ["blue", "green"]
        .map(|c| deployment(&format!("web-{c}"), json!({"app": "web", "side": c}), json!({"app": "web", "side": c})))
        .to_vec()
}

fn made(situation: &Situation) -> Init {
    let service = service(json!(situation.selector));
    make(situation, &service, "prod", "web", &Place::of(None)).expect("made")
}

fn acts(init: &Init) -> Vec<&'static str> {
    let name = |act: &Act| match act {
        Act::Apply(objects) if objects.iter().any(|o| o["kind"] == "Cutover") => "cutover",
        Act::Apply(objects) if objects.iter().any(|o| o["kind"] == "Deployment") => "second",
        Act::Apply(_) => "rights",
        Act::Label => "label",
        Act::Await => "await",
        Act::Pin => "pin",
    };
    init.steps.iter().map(|s| name(&s.act)).collect()
}

#[test]
fn one_deployment_without_a_label_is_labelled_first_and_pinned_before_the_second_one_has_pods() {
    let situation = one();
    assert_eq!((situation.key.as_str(), situation.live_value.as_str()), ("side", "blue"));
    assert!(!situation.labelled && !situation.pinned && situation.other.is_none());
    let init = made(&situation);
    assert_eq!(acts(&init), ["label", "await", "pin", "rights", "second", "cutover"]);
    let second = init.objects.iter().find(|o| o["kind"] == "Deployment").expect("the second Deployment");
    assert_eq!(second["metadata"]["name"], "web-green");
    assert_eq!(second["spec"]["replicas"], 0, "as printed it may be applied at any time");
    assert_eq!(second["spec"]["selector"]["matchLabels"], json!({"app": "web", "side": "green"}));
    assert_eq!(second["spec"]["template"]["metadata"]["labels"]["side"], "green");
    assert_eq!(second["metadata"]["labels"], json!({"app": "web"}), "marks of tools are left out");
    for absent in ["status", "/spec/progressDeadlineSeconds", "/spec/template/metadata/annotations"] {
        assert!(second.pointer(absent).is_none() && second.get(absent).is_none(), "{absent}: {second}");
    }
    let Act::Apply(objects) = &init.steps[4].act else { panic!("{:?}", init.steps[4]) };
    assert_eq!(objects[0]["spec"]["replicas"], 3, "with its pods, once the Service asks for the label");
}

#[test]
fn what_is_done_already_is_not_done_again() {
    let web = json!({"app": "web", "side": "blue"});
    let labelled = found(json!({"app": "web"}), &[deployment("web", json!({"app": "web"}), web.clone())]).expect("one");
    assert_eq!(acts(&made(&labelled)), ["await", "pin", "rights", "second", "cutover"]);
    let pinned = found(web.clone(), &[deployment("web-blue", web.clone(), web)]).expect("one");
    let init = made(&pinned);
    assert_eq!(acts(&init), ["rights", "second", "cutover"]);
    let second = init.objects.iter().find(|o| o["kind"] == "Deployment").expect("the second Deployment");
    assert_eq!((&second["metadata"]["name"], &second["spec"]["replicas"]), (&json!("web-green"), &json!(3)));
}

#[test]
fn two_deployments_are_two_sides() {
    let situation = found(json!({"app": "web", "side": "green"}), &colours()).expect("two");
    assert_eq!((situation.live.name.as_str(), situation.live_value.as_str()), ("web-green", "green"));
    let init = made(&situation);
    assert_eq!(acts(&init), ["rights", "cutover"]);
    let cutover = init.objects.iter().find(|o| o["kind"] == "Cutover").expect("a Cutover");
    assert_eq!(cutover["spec"]["activate"], "green", "nothing starts");
    assert_eq!(cutover["spec"]["sides"][1]["workloads"][0]["name"], "web-blue");
    assert_eq!(cutover["spec"]["release"]["version"], "2.4.0");
    let smoke = &cutover["spec"]["phases"]["verify"]["steps"][0]["http"];
    assert_eq!(smoke, &json!({"path": "/ready", "port": "80"}), "the probe's port is the second of the Service");
}

#[test]
fn of_two_deployments_that_both_serve_somebody_must_say_which_one_stays() {
    let failure = found(json!({"app": "web"}), &colours()).expect_err("both serve");
    assert!(failure.next.as_deref().is_some_and(|n| n.contains("--live web-blue")), "{failure}");
    let said = Said { live: Some("web-green".into()), ..Said::default() };
    let situation = found_with(json!({"app": "web"}), &colours(), &[], &said).expect("two");
    assert_eq!((situation.live.name.as_str(), situation.key.as_str(), situation.pinned), ("web-green", "side", false));
    assert_eq!(acts(&made(&situation)), ["await", "pin", "rights", "cutover"]);
}

#[test]
fn what_is_no_side_is_told_apart() {
    let api = deployment("api", json!({"app": "api"}), json!({"app": "api"}));
    let web = json!({"app": "web"});
    let situation = found(web.clone(), &[deployment("web", web.clone(), web), api]).expect("one");
    assert!(situation.other.is_none(), "another application is no side");
}

#[test]
fn what_cannot_be_a_cutover_is_refused_with_the_next_command() {
    let mut third = colours();
    third.push(deployment("web-red", json!({"app": "web", "side": "red"}), json!({"app": "web", "side": "red"})));
    let side = json!({"app": "web", "side": "blue"});
    let stray = json!({"metadata": {"name": "by-hand", "labels": side}, "spec": {"containers": []}});
    let same = ["a", "b"].map(|n| deployment(n, json!({"app": "web"}), json!({"app": "web"})));
    let live = Said { live: Some("a".into()), ..Said::default() };
    let gone = Said { workloads: vec!["gone".into()], ..Said::default() };
    for (result, says, next) in [
        (found(json!({}), &colours()), "has no selector", "kubectl edit service web"),
        (found(side.clone(), &third), "3 workloads could be sides", "--workloads web-blue,web-green"),
        (found(side.clone(), &[]), "no Deployment or StatefulSet has the pods", "kubectl get pods"),
        (found_with(side.clone(), &colours(), &[stray], &Said::default()), "owns: by-hand", "kubectl get pods by-hand"),
        (found_with(json!({"app": "web"}), &same, &[], &live), "no label with different values", "a label of its own"),
        (found_with(side, &colours(), &[], &gone), "no Deployment or StatefulSet gone", "kubectl get deployments"),
    ] {
        let failure = result.expect_err(says);
        assert!(failure.says.contains(says), "{says}: {failure}");
        assert!(failure.next.as_deref().is_some_and(|n| n.contains(next)), "{next}: {failure}");
    }
    let mut external = service(json!({"app": "web"}));
    external["spec"]["type"] = json!("ExternalName");
    let failure = find(&object(external), &[], &[], &Said::default()).expect_err("ExternalName");
    assert!(failure.says.contains("ExternalName"), "{failure}");
}

#[test]
fn the_rights_are_no_more_than_those_that_teams_are_given() {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Given {
        api_groups: Vec<String>,
        resources: Vec<String>,
        verbs: Vec<String>,
    }
    let text = include_str!("../../../deploy/tenant/account.yaml");
    let role = text.split("\n---\n").nth(1).expect("a Role");
    let role: Value = serde_saphyr::from_str(role).expect("YAML");
    let given: Vec<Given> = object(role["rules"].clone());
    let may = |rule: &Rule| {
        rule.verbs.iter().all(|verb| {
            given.iter().any(|g| {
                g.api_groups.contains(&rule.group)
                    && g.resources.contains(&rule.resource)
                    && g.verbs.iter().any(|v| v == verb)
            })
        })
    };
    let init = made(&found(json!({"app": "web", "side": "blue"}), &colours()).expect("two"));
    let role =
        init.objects.iter().find(|o| o["kind"] == "Role" && o["metadata"]["name"] == "cutover-web").expect("a Role");
    let rules: Vec<Given> = object(role["rules"].clone());
    assert!(rules.len() >= 2);
    for r in rules {
        let (group, resource) = (r.api_groups[0].clone(), r.resources[0].clone());
        let verbs = r.verbs.iter().map(|v| if v == "get" { "get" } else { "patch" }).collect();
        assert!(may(&Rule { group, resource: resource.clone(), names: vec![], verbs, why: "" }), "{resource}");
    }
}

#[test]
fn every_document_is_in_the_namespace_and_the_operator_may_act_as_the_account() {
    let situation = one();
    let service = service(json!(situation.selector));
    let place = Place::of(Some("system:serviceaccount:ops:cut"));
    let init = make(&situation, &service, "shop-prod", "web", &place).expect("made");
    assert!(init.objects.iter().all(|o| o["metadata"]["namespace"] == "shop-prod"), "{:#?}", init.objects);
    let binding =
        init.objects.iter().find(|o| o["metadata"]["name"] == "cutover-impersonate" && o["kind"] == "RoleBinding");
    let subject = binding.map(|b| b["subjects"][0].clone()).unwrap_or_default();
    assert_eq!(subject, json!({"kind": "ServiceAccount", "name": "cut", "namespace": "ops"}));
    let text = init.text();
    assert!(text.contains("# 1. label the live side: Deployment web gives its pods side=blue"), "{text}");
    assert!(text.contains("this writes the selector of the live Service"), "{text}");
    assert_eq!(text.matches("\n---\n").count(), init.objects.len());
}

#[test]
fn what_is_printed_has_its_comments_and_the_model_its_schema() {
    for (name, situation) in
        [("init-one", one()), ("init-two", found(json!({"app": "web", "side": "green"}), &colours()).expect("two"))]
    {
        let init = made(&situation);
        fixtures::of_model(name, &init);
        fixtures::snapshot(&format!("{name}.yaml"), &init.text());
    }
}
