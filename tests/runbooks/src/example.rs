//! An example: a folder with `kustomization.yaml` (the application), `cutover.yaml`, `short.yaml` and `scenarios.yaml`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use demo::scene::documents;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::scenario::{Scenario, Scenarios};
use crate::short::Short;

/// An example.
#[derive(Clone, Debug)]
pub struct Example {
    /// The folder's name, which the Cutover and the label `app` of its pods share.
    pub name: String,
    /// The application and everything that is there before the first release.
    pub application: Vec<Value>,
    /// The Cutover as it is written.
    pub cutover: Value,
    /// The times that tests shorten.
    pub short: Short,
    /// The releases to play.
    pub scenarios: Scenarios,
}

/// All examples with scenarios in a folder, by name.
///
/// # Errors
/// A file that cannot be read or says nonsense, with its name.
pub fn all(folder: &Path) -> Result<Vec<Example>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.retain(|folder| folder.join("scenarios.yaml").exists());
    folders.sort();
    folders.iter().map(|folder| read(folder)).collect()
}

/// The example of a folder.
///
/// # Errors
/// A file that cannot be read or says nonsense, with its name.
pub fn read(folder: &Path) -> Result<Example> {
    let text = |file: &str| {
        let file = folder.join(file);
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let about = |file: &str| format!("{}", folder.join(file).display());
    fn parsed<T: DeserializeOwned>(text: &str, file: String) -> Result<T> {
        serde_saphyr::from_str(text).context(file)
    }
    let name = folder.file_name().and_then(|name| name.to_str()).context("a folder without a name")?.to_owned();
    let mut cutovers = documents(&text("cutover.yaml")?).with_context(|| about("cutover.yaml"))?;
    ensure!(cutovers.len() == 1, "{}: one Cutover is expected", about("cutover.yaml"));
    let cutover = cutovers.remove(0);
    ensure!(cutover["metadata"]["name"] == name, "{}: the Cutover is not called {name}", about("cutover.yaml"));
    Ok(Example {
        application: kustomized(folder)?,
        cutover,
        short: parsed(&text("short.yaml")?, about("short.yaml"))?,
        scenarios: parsed(&text("scenarios.yaml")?, about("scenarios.yaml"))?,
        name,
    })
}

/// The objects that a kustomization lists, and those of the kustomizations that it lists.
fn kustomized(folder: &Path) -> Result<Vec<Value>> {
    let read = |file: &Path| std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
    let file = folder.join("kustomization.yaml");
    let list: Value = serde_saphyr::from_str(&read(&file)?).with_context(|| file.display().to_string())?;
    let mut objects = vec![];
    for name in list["resources"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let resource = folder.join(name);
        if resource.is_dir() {
            objects.extend(kustomized(&resource)?);
        } else {
            objects.extend(documents(&read(&resource)?).with_context(|| resource.display().to_string())?);
        }
    }
    Ok(objects)
}

impl Example {
    /// The first Service of the Cutover.
    pub fn service(&self) -> Result<&str> {
        self.cutover["spec"]["services"][0]["name"].as_str().context("the Cutover names no Service")
    }

    /// The workloads of the side that is activated.
    pub fn target_workloads(&self) -> Vec<&str> {
        let spec = &self.cutover["spec"];
        let sides = spec["sides"].as_array().into_iter().flatten();
        let target = sides.filter(|side| side["name"] == spec["activate"]);
        target
            .flat_map(|side| side["workloads"].as_array().into_iter().flatten())
            .filter_map(|w| w["name"].as_str())
            .collect()
    }

    /// An object of the application by `Kind/name`.
    ///
    /// # Errors
    /// There is none.
    pub fn object(&self, name: &str) -> Result<&Value> {
        let found = self.application.iter().find(|object| full_name(object) == name);
        found.with_context(|| format!("{}: there is no {name}", self.name))
    }

    /// The application on the eve of a release: the target's pods carry its version and faults.
    ///
    /// # Errors
    /// A patch of an object that does not exist.
    pub fn eve(&self, scenario: &Scenario) -> Result<Vec<Value>> {
        let mut objects = self.application.clone();
        for (name, patch) in &scenario.patch {
            let found = objects.iter_mut().find(|object| full_name(object) == *name);
            merge(found.with_context(|| format!("scenario {}: there is no {name}", scenario.name))?, patch);
        }
        let targets = self.target_workloads();
        for object in &mut objects {
            let is_target = object["metadata"]["name"].as_str().is_some_and(|name| targets.contains(&name));
            if object["kind"] == "Deployment" && is_target {
                of_release(&mut object["spec"]["template"], scenario);
            }
        }
        Ok(objects)
    }

    /// The Cutover as it stands before its first release, with the times of tests: it names the side that is live.
    ///
    /// # Errors
    /// What `short.yaml` cannot shorten, and a Cutover without a second side.
    pub fn cutover_before(&self) -> Result<Value> {
        let mut cutover = self.cutover.clone();
        self.short.apply(&mut cutover)?;
        let spec = &self.cutover["spec"];
        let live = spec["sides"].as_array().into_iter().flatten().find(|side| side["name"] != spec["activate"]);
        cutover["spec"]["activate"] = live.context("a second side")?["name"].clone();
        Ok(cutover)
    }

    /// The Cutover for a release, with the times of tests.
    ///
    /// # Errors
    /// What `short.yaml` cannot shorten.
    pub fn cutover_for(&self, scenario: &Scenario) -> Result<Value> {
        let mut cutover = self.cutover.clone();
        self.short.apply(&mut cutover)?;
        cutover["spec"]["release"]["version"] = json!(scenario.version);
        Ok(cutover)
    }
}

/// The pods of a template become those of the release.
fn of_release(template: &mut Value, scenario: &Scenario) {
    // A release through the command line sets the label itself.
    if scenario.images.is_empty() {
        template["metadata"]["labels"]["app.kubernetes.io/version"] = json!(scenario.version);
    }
    for container in template["spec"]["containers"].as_array_mut().into_iter().flatten() {
        let Some(env) = container["env"].as_array_mut() else { continue };
        for variable in env.iter_mut().filter(|variable| variable["name"] == "VERSION") {
            variable["value"] = json!(scenario.version);
        }
        env.retain(|variable| !scenario.env.contains_key(text(&variable["name"])));
        env.extend(scenario.env.iter().map(|(name, value)| json!({"name": name, "value": value})));
    }
}

/// JSON Merge Patch (RFC 7396).
fn merge(into: &mut Value, patch: &Value) {
    let (Value::Object(fields), Some(_)) = (patch, into.as_object()) else {
        *into = patch.clone();
        return;
    };
    for (key, value) in fields {
        if value.is_null() {
            if let Some(into) = into.as_object_mut() {
                into.remove(key);
            }
        } else {
            merge(&mut into[key], value);
        }
    }
}

/// `Kind/name`.
fn full_name(object: &Value) -> String {
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let mut object = json!({"data": {"a": "1", "b": "2"}, "list": [1]});
        merge(&mut object, &json!({"data": {"a": "3", "b": null, "c": "4"}, "list": [2, 3]}));
        assert_eq!(object, json!({"data": {"a": "3", "c": "4"}, "list": [2, 3]}));
    }
}
