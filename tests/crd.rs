//! The checked-in definitions, for people in `crds/` and for the chart as compact JSON, are the ones that the types
//! give, and so is the reference of all fields; `UPDATE_EXPECT=1` rewrites them.

use std::path::Path;

use cutover::api::{crd, reference};
use serde_json::Value;

#[test]
fn checked_in_definitions_are_current() {
    for (name, text) in crd::yaml().expect("the definitions can be made") {
        let document: serde_json::Value = serde_saphyr::from_str(&text).expect("a definition is YAML");
        current(&format!("crds/{name}"), &text);
        // A copy and no link: not everything that carries charts to a cluster takes links along.
        let name = name.replace(".yaml", ".json");
        current(&format!("charts/cutover/files/crds/{name}"), &format!("{document}\n"));
    }
}

#[test]
fn the_reference_of_all_fields_is_current() {
    for (page, text) in reference::pages().expect("the reference can be made") {
        current(&format!("docs/{page}"), &text);
    }
}

fn current(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, text).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == text, "{name} is not what the types give: run `make crds`");
}

/// Bytes of compact JSON: `kubectl apply` keeps the whole object in an annotation of at most 262,144.
#[test]
fn definitions_are_small_enough() {
    for (crd, limit) in
        crd::all().expect("the definitions can be made").iter().zip([140_000, 100_000, 20_000, 20_000, 20_000])
    {
        let size = serde_json::to_vec(crd).expect("a definition is JSON").len();
        let name = crd.metadata.name.as_deref().unwrap_or_default();
        println!("{name}: {size} bytes");
        assert!(size < limit, "{name} has {size} bytes, more than {limit}");
    }
}

/// Calls `see` for every field below `schema`: its path, its schema, and whether it must be given.
fn each_field(schema: &Value, path: &str, see: &mut impl FnMut(&str, &Value, bool)) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        see(&path, field, required.contains(&name.as_str()));
        each_field(field, &path, see);
        each_field(&field["items"], &format!("{path}[]"), see);
        each_field(&field["additionalProperties"], &format!("{path}{{}}"), see);
    }
}

fn schemas() -> Vec<(String, Value)> {
    let all = crd::all().expect("the definitions can be made");
    let of = |crd| serde_json::to_value(crd).expect("a definition is JSON");
    let schema = |crd: Value| crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    all.into_iter().map(|crd| (crd.metadata.name.clone().unwrap_or_default(), schema(of(crd)))).collect()
}

#[test]
fn every_field_is_described_wherever_it_stands() {
    let mut bare = vec![];
    for (name, schema) in schemas() {
        for part in ["spec", "status"] {
            each_field(&schema["properties"][part], &format!("{name} {part}"), &mut |path, field, _| {
                if field["description"].as_str().is_none_or(|text| text.trim().is_empty()) {
                    bare.push(path.to_owned());
                }
            });
        }
    }
    assert!(bare.is_empty(), "without a description:\n{}", bare.join("\n"));
}

#[test]
fn every_default_of_a_switch_a_choice_and_a_count_is_stated() {
    let mut silent = vec![];
    let (_, schema) = schemas().swap_remove(0);
    each_field(&schema["properties"]["spec"], "spec", &mut |path, field, required| {
        let choice = field["enum"].is_array() && !path.ends_with(".side");
        let measured = field["type"] == "boolean" || field["type"] == "integer" || choice;
        let text = field["description"].as_str().unwrap_or_default().to_lowercase();
        let refused = text.contains("this version refuses it");
        if measured && !required && field["default"].is_null() && !text.contains("default") && !refused {
            silent.push(path.to_owned());
        }
    });
    assert!(silent.is_empty(), "without a word on the default:\n{}", silent.join("\n"));
}

#[test]
fn fields_that_are_refused_say_so() {
    let (_, schema) = schemas().swap_remove(0);
    let mut marked = vec![];
    each_field(&schema["properties"]["spec"], "spec", &mut |path, field, _| {
        if field["description"].as_str().is_some_and(|text| text.contains("This version refuses it")) {
            marked.push(path.to_owned());
        }
    });
    assert!(marked.iter().any(|path| path == "spec.rollback.keepPodLogs"), "{marked:?}");
}
