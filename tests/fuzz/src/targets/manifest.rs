//! A manifest, as an author writes it: what `lint` finds in it, and what the operator makes of a Cutover that it accepts.

use cutover::api::cutover::CutoverSpec;
use cutover::entrances;
use cutover::lint::{File, MAX_FINDINGS, Options, check};
use cutover::plan::{Offered, Plan, resolve};
use serde_json::Value;

use crate::oracle;

/// See [`crate::TARGETS`].
///
/// # Panics
/// Something does not hold.
pub fn run(input: &[u8]) {
    let file = || vec![File { name: "cutover.yaml".into(), bytes: input.to_vec() }];
    let outcome = check(file(), &Options::default());
    assert!(outcome.findings.len() <= MAX_FINDINGS, "{} findings", outcome.findings.len());
    assert_eq!(outcome, check(file(), &Options::default()), "the same file has the same findings");
    entrances::findings(&outcome).iter().for_each(|line| oracle::harmless("lint", line));
    if let Ok(manifest) = serde_json::from_slice::<Value>(input) {
        plan(&manifest, outcome.errors);
    }
}

/// A spec that is accepted has a plan that a run can hold: what is read of it is the same plan.
fn plan(manifest: &Value, errors: usize) {
    let Ok(spec) = serde_json::from_value::<CutoverSpec>(manifest["spec"].clone()) else {
        assert!(
            errors > 0 || manifest["kind"] != "Cutover",
            "lint finds nothing wrong in what cannot be read: {manifest}"
        );
        return;
    };
    let live = spec.sides.iter().find(|side| side.name != spec.activate).map_or("", |side| side.name.as_str());
    match resolve("web", "prod", &spec, live, &Offered::default()) {
        Ok(plan) => {
            let text = serde_json::to_string(&plan).expect("a plan has a form");
            let read: Plan = serde_json::from_str(&text).expect("a plan is read as it was written");
            assert_eq!(read, plan);
        }
        Err(refusals) => {
            assert!(!refusals.is_empty(), "refused without a reason");
        }
    }
}
