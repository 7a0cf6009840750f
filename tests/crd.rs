//! The checked-in definitions are the ones that the types give; `UPDATE_EXPECT=1` rewrites them.

use std::path::Path;

use cutover::api::crd;

#[test]
fn checked_in_definitions_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    for (name, text) in crd::yaml().expect("the definitions can be made") {
        let file = folder.join(&name);
        if update {
            std::fs::write(&file, &text).expect("crds/ can be written");
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(found == text, "crds/{name} is not what the types give: run `make crds`");
    }
}

#[test]
fn definitions_are_small_enough() {
    for (crd, limit) in crd::all().expect("the definitions can be made").iter().zip([600, 100, 100]) {
        let size = serde_json::to_vec(crd).expect("a definition is JSON").len();
        let name = crd.metadata.name.as_deref().unwrap_or_default();
        println!("{name}: {size} bytes");
        assert!(size < limit * 1024, "{name} has {size} bytes, more than {limit} KiB");
    }
}
