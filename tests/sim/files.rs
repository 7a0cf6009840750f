//! Scenario files: reading them, and setting them up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cluster::Cluster;
use super::script::Scenario;
use super::setting::Setting;
use super::timeline::{EPOCH, Timeline};

/// Where the scenarios are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulate")
}

/// Reads a scenario.
pub fn load(name: &str) -> Scenario {
    let path = folder().join(format!("{name}.yaml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut file: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{name}.yaml: {e}"));
    // The manifest is that of the base, with some fields replaced.
    let base = file.get("base").and_then(Value::as_str).unwrap_or_default().to_owned();
    let path = folder().join(format!("base/{base}.yaml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut manifest: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("base/{base}.yaml: {e}"));
    if let (Some(all), Some(changes)) = (manifest.as_object_mut(), file.get("cutover").and_then(Value::as_object)) {
        let mut changes = changes.clone();
        // Phases one by one, as an overlay does it.
        if let (Some(Value::Object(phases)), Some(Value::Object(of_base))) =
            (changes.get_mut("phases"), all.get("phases"))
        {
            let own = std::mem::replace(phases, of_base.clone());
            phases.extend(own);
            phases.retain(|_, v| !v.is_null());
        }
        all.extend(changes);
        all.retain(|_, v| !v.is_null());
    }
    file["cutover"] = manifest;
    serde_json::from_value(file).unwrap_or_else(|e| panic!("{name}.yaml: {e}"))
}

/// Plays a scenario to its end.
pub fn play(scenario: &Scenario, seed: Option<u64>) -> Timeline {
    let mut line = stage(scenario, seed);
    line.run();
    line.log.summary(&line.cluster);
    line
}

/// Sets a scenario up.
pub fn stage(scenario: &Scenario, seed: Option<u64>) -> Timeline {
    let live = scenario.cutover.sides.iter().find(|s| s.name != scenario.cutover.activate);
    let live = live.map(|s| s.name.clone()).unwrap_or_default();
    let mut plan = cutover::plan::resolve("web", "prod", &scenario.cutover, &live, &cutover::plan::Offered::default())
        .unwrap_or_else(|refusals| panic!("the manifest is refused: {refusals:#?}"));
    plan.kept = scenario.kept.clone();
    let setting = Setting { places: scenario.places.clone(), ..scenario.setting.clone() };
    let mut cluster = Cluster::set(&plan, scenario.replicas, EPOCH, setting);
    cluster.web = scenario.web.clone().into();
    cluster.cron_jobs = scenario.cron_jobs.clone().into();
    cluster.drains =
        scenario.drains.iter().map(|(side, drain)| (side.clone(), drain.signed())).collect::<BTreeMap<_, _>>().into();
    let mut line = Timeline::new(scenario.clone(), cluster, seed);
    line.set_clock_cues();
    line
}
