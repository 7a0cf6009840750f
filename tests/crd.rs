//! The checked-in definitions, for people in `crds/` and for the chart as compact JSON, are the ones that the types
//! give, and so is the reference of all fields; `UPDATE_EXPECT=1` rewrites them.

use std::path::Path;

use cutover::api::{crd, reference};

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
    current("docs/api.md", &reference::markdown().expect("the reference can be made"));
}

fn current(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, text).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == text, "{name} is not what the types give: run `make crds`");
}

#[test]
fn definitions_are_small_enough() {
    for (crd, limit) in crd::all().expect("the definitions can be made").iter().zip([600, 100, 100, 100, 100]) {
        let size = serde_json::to_vec(crd).expect("a definition is JSON").len();
        let name = crd.metadata.name.as_deref().unwrap_or_default();
        println!("{name}: {size} bytes");
        assert!(size < limit * 1024, "{name} has {size} bytes, more than {limit} KiB");
    }
}
