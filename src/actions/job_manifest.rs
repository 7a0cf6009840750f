//! PURE. The manifest of a step's Job: from a pod template or from a side's container with another command.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Cx, targets};
use crate::api::duration::Duration;
use crate::api::step::{EnvVar, Job};
use crate::api::{ANNOTATION_ATTEMPT, LABEL_CUTOVER, LABEL_RUN, LABEL_STEP};
use crate::endpoints::{matches, whole_selector};
use crate::plan::vars::{Escape, Vars};

/// What to do about a capture that is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The step cannot run.
    Fail,
    /// A dry run: any text will do.
    Placeholder,
}

/// `step[:30]-hash10(run uid, execution, attempt)`: at most 41 characters, the same after any restart.
pub fn name(run_uid: &str, execution: &str, attempt: u32) -> String {
    let hash = Sha256::digest(format!("{run_uid}\n{execution}\n{attempt}"));
    let hash: String = hash.iter().take(5).map(|b| format!("{b:02x}")).collect();
    let step: String = execution.replace('/', "-").chars().take(30).collect();
    format!("{}-{hash}", step.trim_end_matches('-'))
}

/// The Job, suspended.
///
/// # Errors
/// In words, naming what is missing.
pub fn manifest(cx: &Cx, execution: &str, spec: &Job, attempt: u32, missing: Missing) -> Result<Value, String> {
    let mut template = match (&spec.template, &spec.from) {
        (Some(template), _) => template.clone(),
        (None, Some(_)) => from_container(cx, spec)?,
        (None, None) => return Err("job: either template or from is needed".into()),
    };
    let vars = Vars::new(cx.plan, &cx.journal.captures);
    let expand = |text: &str, escape: Escape| match (vars.expand(text, escape), missing) {
        (Ok(text), _) => Ok(text),
        (Err(_), Missing::Placeholder) => Ok("placeholder".to_owned()),
        (Err(e), Missing::Fail) => Err(e.to_string()),
    };
    let own = environment(cx, execution);
    for list in ["initContainers", "containers"] {
        let Some(containers) = template.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut) else {
            continue;
        };
        for c in containers {
            let Some(c) = c.as_object_mut() else { return Err(format!("job.template.spec.{list}: not an object")) };
            if spec.from.is_none()
                && let Some(image) = c.get("image").and_then(Value::as_str)
            {
                let image = expand(image, Escape::Image)?;
                c.insert("image".into(), json!(image));
            }
            let env = c.entry("env").or_insert_with(|| json!([]));
            let Some(env) = env.as_array_mut() else { return Err("job.template: env is not a list".into()) };
            // The environment of a side's container is not ours to expand: only what the step adds is.
            let ours =
                |e: &&mut Value| spec.from.is_none() || spec.env.iter().any(|own| e["name"] == own.name.as_str());
            for e in env.iter_mut().filter(ours) {
                if let Some(text) = e.get("value").and_then(Value::as_str) {
                    let text = expand(text, Escape::Env)?;
                    e["value"] = json!(text);
                }
            }
            env.extend(own.iter().map(|(k, v)| json!({"name": k, "value": v})));
        }
    }
    finish(cx, execution, spec, attempt, template)
}

/// Every Job gets these, so that a test matrix reaches either side with no extra Service.
fn environment(cx: &Cx, execution: &str) -> Vec<(&'static str, String)> {
    let release = &cx.plan.release;
    let all: Vec<String> = targets::pods(cx, None).unwrap_or_default().iter().map(targets::host_port).collect();
    let live = targets::service(cx, None).map(|a| targets::host_port(&a)).unwrap_or_default();
    vec![
        ("CUTOVER_RUN", cx.world.run_uid.clone()),
        ("CUTOVER_STEP", execution.to_owned()),
        ("CUTOVER_RELEASE_VERSION", release.version.clone().unwrap_or_default()),
        ("CUTOVER_RELEASE_REVISION", release.revision.clone().unwrap_or_default()),
        ("CUTOVER_TARGET", all.first().cloned().unwrap_or_default()),
        ("CUTOVER_TARGETS", all.join(",")),
        ("CUTOVER_LIVE", live),
    ]
}

/// The runtime of a side's container, with another command; what serves traffic is left out.
fn from_container(cx: &Cx, spec: &Job) -> Result<Value, String> {
    let Some(from) = &spec.from else { return Err("job.from is needed".into()) };
    let side = cx.plan.side(from.side);
    let templates = side.workloads.iter().filter_map(|w| cx.world.workloads.get(w)?.value.as_ref());
    for view in templates {
        let containers = view.template.pointer("/spec/containers").and_then(Value::as_array);
        let wanted = |c: &&Value| from.container.as_ref().is_none_or(|n| c["name"].as_str() == Some(n));
        let Some(container) = containers.into_iter().flatten().find(wanted) else { continue };
        let mut container = container.clone();
        if let Some(c) = container.as_object_mut() {
            for key in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "ports"] {
                c.remove(key);
            }
            if !spec.command.is_empty() {
                c.insert("command".into(), json!(spec.command));
                c.remove("args");
            }
            if !spec.args.is_empty() {
                c.insert("args".into(), json!(spec.args));
            }
            let env = c.entry("env").or_insert_with(|| json!([]));
            if let Some(env) = env.as_array_mut() {
                env.retain(|e| !spec.env.iter().any(|own| e["name"].as_str() == Some(&own.name)));
                env.extend(spec.env.iter().map(env_var));
            }
        }
        let mut pod = Map::new();
        pod.insert("containers".into(), json!([container]));
        let former = view.template.pointer("/spec").cloned().unwrap_or(Value::Null);
        for key in
            ["volumes", "serviceAccountName", "imagePullSecrets", "securityContext", "nodeSelector", "tolerations"]
        {
            if let Some(v) = former.get(key) {
                pod.insert(key.into(), v.clone());
            }
        }
        let labels = view.template.pointer("/metadata/labels").cloned().unwrap_or_else(|| json!({}));
        return Ok(json!({"metadata": {"labels": labels}, "spec": pod}));
    }
    let what = from.container.as_deref().map_or_else(|| "a container".to_owned(), |c| format!("container {c}"));
    Err(format!("job.from: no workload of {} has {what}", side.name))
}

fn env_var(e: &EnvVar) -> Value {
    match (&e.value, &e.value_from) {
        (_, Some(from)) => json!({"name": e.name, "valueFrom": from}),
        (value, None) => json!({"name": e.name, "value": value.as_deref().unwrap_or("")}),
    }
}

fn finish(cx: &Cx, execution: &str, spec: &Job, attempt: u32, mut template: Value) -> Result<Value, String> {
    let labels = BTreeMap::from([
        (LABEL_RUN, cx.world.run_uid.clone()),
        (LABEL_STEP, execution.replace('/', "-")),
        (LABEL_CUTOVER, cx.plan.cutover.clone()),
    ]);
    let Some(pod) = template.as_object_mut() else { return Err("job.template: not an object".into()) };
    let metadata = pod.entry("metadata").or_insert_with(|| json!({}));
    let pod_labels = metadata.get("labels").cloned().unwrap_or_else(|| json!({}));
    let mut pod_labels: BTreeMap<String, String> = serde_json::from_value(pod_labels)
        .map_err(|_| "job.template.metadata.labels: not a map of texts".to_owned())?;
    // A pod of a Job that a claimed Service selects would get users' requests.
    for service in &cx.plan.services {
        let Some(view) = cx.world.service(service) else { continue };
        for side in [&cx.plan.live, &cx.plan.target] {
            if matches(&pod_labels, &whole_selector(&view.selector, &side.selector)) {
                for key in view.selector.keys().chain(side.selector.keys()) {
                    pod_labels.remove(key);
                }
            }
        }
    }
    pod_labels.extend(labels.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
    metadata["labels"] = json!(pod_labels);
    let Some(pod_spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return Err("job.template.spec is needed".into());
    };
    pod_spec.insert("restartPolicy".into(), json!("Never"));
    Ok(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name(&cx.world.run_uid, execution, attempt),
            "namespace": cx.plan.namespace,
            "labels": labels,
            "annotations": {ANNOTATION_ATTEMPT: attempt.to_string()},
        },
        "spec": {
            "suspend": true,
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": spec.deadline.unwrap_or(Duration::from_mins(10)).as_secs_ceil().max(1),
            "template": template,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ_by_attempt_and_run() {
        let long = "undo/a-very-long-step-name-with-forty-characters";
        let one = name("u1", long, 1);
        assert!(one.len() <= 63 && !one.contains('/'), "{one}");
        assert_eq!(one, name("u1", long, 1));
        assert_ne!(one, name("u1", long, 2));
        assert_ne!(one, name("u2", long, 1));
    }
}
