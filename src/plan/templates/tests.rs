//! Templates in, one Cutover or refusals out.

use serde_json::{Value, json};

use crate::api::cutover::CutoverSpec;
use crate::plan::{Refusal, resolve};

use super::*;

fn spec(fields: Value) -> CutoverSpec {
    let side = |name: &str| json!({"name": name, "selector": {"version": name}, "workloads": [{"kind": "Deployment", "name": name}]});
    let mut value = json!({"services": [{"name": "web"}], "sides": [side("blue"), side("green")], "activate": "green"});
    if let (Some(base), Value::Object(more)) = (value.as_object_mut(), fields) {
        base.extend(more);
    }
    serde_json::from_value(value).expect("a spec")
}

fn found(template: Value) -> Option<FoundTemplate> {
    let template = serde_json::from_value(template).expect("a template");
    Some(FoundTemplate { uid: "u1".into(), generation: 3, template })
}

fn smoke() -> Value {
    json!({
        "parameters": [
            {"name": "path"},
            {"name": "tries", "type": "Integer", "default": "2"},
            {"name": "prefix", "default": "smoke", "pattern": "[a-z]{1,10}"},
        ],
        "phases": {"verify": {"steps": [{
            "name": "${param.prefix}-health", "retry": {"attempts": "${param.tries}"},
            "http": {"path": "/${param.path}?r=${release.revision}&literal=$${param.path}"},
        }]}, "rollbackVerify": {"steps": [{"name": "back", "http": {"path": "/${param.path}"}}]}},
        "observe": {"triggers": [{"name": "down", "probe": {"http": {"path": "/${param.path}"}, "failing": 3}}]},
    })
}

fn done(spec: &CutoverSpec, found: &[Option<FoundTemplate>]) -> Expanded {
    expand("prod", spec, found).unwrap_or_else(|list| panic!("{}", shown(&list)))
}

fn refused(spec: &CutoverSpec, found: &[Option<FoundTemplate>]) -> String {
    shown(&expand("prod", spec, found).expect_err("refused"))
}

fn shown(list: &[Refusal]) -> String {
    list.iter().map(|r| format!("{r}\n")).collect()
}

fn names<'s>(spec: &'s CutoverSpec, phase: &str) -> Vec<&'s str> {
    spec.phases.get(phase).iter().flat_map(|p| &p.steps).map(|s| s.name.as_str()).collect()
}

#[test]
fn a_cutover_without_templates_stays_as_it_is() {
    let plain = spec(
        json!({"phases": {"prepare": {"steps": [{"name": "a", "wait": {"for": "90s"}, "onFailure": "Continue"}]}},
        "observe": {"for": "5m", "triggers": [{"name": "t", "pods": {"crashLoop": true}}]}}),
    );
    let whole = done(&plain, &[]);
    assert_eq!(whole.spec, plain);
    assert!(whole.used.is_empty());
}

#[test]
fn parameters_are_put_into_texts_and_keep_their_type_where_they_stand_alone() {
    let usage = json!({"name": "smoke", "parameters": [{"name": "path", "value": "he\"al{th}"}, {"name": "tries", "value": "3"}]});
    let whole = done(&spec(json!({"release": {"revision": "1"}, "templates": [usage]})), &[found(smoke())]);
    let verify = serde_json::to_value(&whole.spec.phases["verify"]).expect("JSON");
    let step = &verify["steps"][0];
    assert_eq!(step["name"], "smoke-health");
    assert_eq!(step["retry"]["attempts"], 3);
    assert_eq!(step["http"]["path"], "/he\"al{th}?r=${release.revision}&literal=$${param.path}");
    assert_eq!(names(&whole.spec, "rollbackVerify"), ["back"]);
    assert_eq!(whole.spec.observe.expect("observe").triggers.len(), 1);
    assert_eq!(
        whole.used,
        [PlanTemplate { kind: "CutoverTemplate".into(), name: "smoke".into(), uid: "u1".into(), generation: 3 }]
    );
    assert!(whole.spec.templates.is_empty());
}

#[test]
fn steps_stand_before_and_after_the_cutovers_own_in_the_order_of_the_list() {
    let one = |name: &str| found(json!({"phases": {"prepare": {"steps": [{"name": name, "wait": {"for": "1s"}}]}}}));
    let whole = done(
        &spec(json!({
            "templates": [{"name": "a"}, {"name": "z", "place": "After"}, {"name": "b", "kind": "ClusterCutoverTemplate"}],
            "phases": {"prepare": {"steps": [{"name": "own", "wait": {"for": "1s"}}]}},
        })),
        &[one("from-a"), one("from-z"), one("from-b")],
    );
    assert_eq!(names(&whole.spec, "prepare"), ["from-a", "from-b", "own", "from-z"]);
}

#[test]
fn what_is_wrong_is_refused_by_the_field_its_author_wrote() {
    let using = |usage: Value| spec(json!({"templates": [usage]}));
    let path = json!({"name": "path", "value": "x"});
    for (usage, template, wanted) in [
        (
            json!({"name": "smoke"}),
            None,
            "spec.templates[0].name: there is no CutoverTemplate smoke in namespace prod; create it",
        ),
        (
            json!({"name": "smoke", "kind": "ClusterCutoverTemplate"}),
            None,
            "spec.templates[0].name: there is no ClusterCutoverTemplate smoke; create it",
        ),
        (
            json!({"name": "smoke"}),
            found(smoke()),
            "spec.templates[0].parameters: parameter path of template smoke has neither a value nor a default; add {name: path",
        ),
        (
            json!({"name": "smoke", "parameters": [path, {"name": "pth", "value": "x"}]}),
            found(smoke()),
            "spec.templates[0].parameters[1].name: template smoke has no parameter pth; it has path, tries, prefix",
        ),
        (
            json!({"name": "smoke", "parameters": [path, {"name": "tries", "value": "many"}]}),
            found(smoke()),
            "spec.templates[0].parameters[1].value: parameter tries: this is no whole number",
        ),
        (
            json!({"name": "smoke", "parameters": [path, {"name": "prefix", "value": "a; b"}]}),
            found(smoke()),
            "spec.templates[0].parameters[1].value: parameter prefix: the value does not match",
        ),
        // Beyond a bound of the API once the value stands there.
        (
            json!({"name": "smoke", "parameters": [path, {"name": "tries", "value": "100000"}]}),
            found(smoke()),
            "spec.templates[0] (CutoverTemplate smoke).phases.verify.steps[smoke-health].retry.attempts: more than",
        ),
        (
            json!({"name": "t"}),
            found(json!({"phases": {"verify": {"steps": [{"name": "a", "http": {"path": "${param.none}"}}]}}})),
            "(CutoverTemplate t).phases.verify.steps[a].http.path: ${param.none} is not among the template's parameters",
        ),
        (
            json!({"name": "t"}),
            found(json!({"phases": {"verify": {"steps": [{"name": "a", "htpp": {"path": "/"}}]}}})),
            "(CutoverTemplate t).phases.verify.steps[a].htpp: there is no such field",
        ),
        (
            json!({"name": "t"}),
            found(
                json!({"phases": {"verify": {"steps": [{"name": "a", "wait": {"for": "1s"}, "http": {"path": "/"}}]}}}),
            ),
            "(CutoverTemplate t).phases.verify.steps[a]: a step has exactly one action",
        ),
        (
            json!({"name": "t"}),
            found(json!({"observe": {"for": "1s", "triggers": []}})),
            "(CutoverTemplate t).observe.for: a template cannot say this; a template has only triggers in observe",
        ),
    ] {
        let said = refused(&using(usage.clone()), &[template]);
        assert!(said.contains(wanted), "{usage}\n{said}\nlacks\n{wanted}");
    }
}

#[test]
fn a_name_that_is_there_twice_is_told_with_both_origins_in_mind() {
    let one = found(json!({"phases": {"prepare": {"steps": [{"name": "a", "wait": {"for": "1s"}}]}}}));
    let said = refused(
        &spec(
            json!({"templates": [{"name": "t"}], "phases": {"prepare": {"steps": [{"name": "a", "wait": {"for": "1s"}}]}}}),
        ),
        &[one],
    );
    assert!(said.contains("spec.phases.prepare.steps[a].name: a is there twice"), "{said}");
}

#[test]
fn refusals_of_the_plan_name_the_template() {
    let template = found(
        json!({"phases": {"verify": {"steps": [{"name": "a", "http": {"path": "/x", "expect": ["status =="]}}]}}}),
    );
    let whole = done(
        &spec(
            json!({"templates": [{"name": "t"}], "phases": {"verify": {"steps": [{"name": "own", "http": {"path": "/", "expect": ["status =="]}}]}}}),
        ),
        &[template],
    );
    let list = resolve("web", "prod", &whole.spec, "blue", &crate::plan::Offered::default()).expect_err("refused");
    let said = shown(&list.into_iter().map(|r| whole.explain(r)).collect::<Vec<_>>());
    assert!(said.contains("spec.templates[0] (CutoverTemplate t).phases.verify.steps[a].http.expect[0]"), "{said}");
    assert!(said.contains("spec.phases.verify.steps[own].http.expect[0]"), "{said}");
}

#[test]
fn every_rule_of_the_definition_can_be_checked_here() {
    // Each kind of step and trigger once; a rule that the interpreter does not know would refuse them.
    let manifest = include_str!("../resolve/unbuilt.yaml");
    let fields: Value = serde_saphyr::from_str(manifest).expect("YAML");
    let whole = serde_json::to_value(spec(fields)).expect("JSON");
    let mut refusals = Refusals::default();
    schema::check(&whole, &mut refusals);
    assert!(refusals.0.is_empty(), "{}", shown(&refusals.0));
}
