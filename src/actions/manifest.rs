//! PURE. The manifest of a step's Job: its name, what makes it run at most once (P1), its environment, and its pod, from
//! a template or from a container of a side.

use serde_json::{Map, Value, json};

use crate::api::step::{EnvVar, FromContainer, Job, WorkloadRef};
use crate::api::{ANNOTATION_ATTEMPT, LABEL_CUTOVER, LABEL_RUN, LABEL_STEP};
use crate::plan::PlanStep;
pub(crate) use crate::plan::execution::{job_name as name, step_label};
use crate::plan::vars::{Escape, VarError, Vars};

use super::Cx;
use super::job_account;
use super::keeping;
use super::request::{NoRequest, address, live, service_port, target_pods};
use super::undo_job::{self, Ran};
use crate::journal::later;

/// Why there is no manifest: what it needs is not known yet, or never will be.
pub(crate) type NoManifest = NoRequest;

/// How long a Job may run unless it says.
const DEADLINE: crate::api::duration::Duration = crate::api::duration::Duration::from_mins(10);

/// What of a workload's pod the Job's pod keeps, beside the container: what the container needs to run as it does there.
const KEPT: [&str; 13] = [
    "automountServiceAccountToken",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "imagePullSecrets",
    "nodeSelector",
    "runtimeClassName",
    "securityContext",
    "serviceAccountName",
    "tolerations",
    "volumes",
    "schedulerName",
];

/// What of a container makes no sense in a Job.
const DROPPED: [&str; 5] = ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "ports"];

/// The Job of an attempt. `trial`: it is only to be tried by the API server, so that variables without a value stay as
/// they are written.
///
/// # Errors
/// [`NoManifest`].
pub fn build(cx: &Cx, step: &PlanStep, job: &Job, attempt: u32, trial: bool) -> Result<Value, NoManifest> {
    let vars = Texts { vars: Vars::new(cx.plan, &cx.journal.captures), secret: keeping::secret(cx), trial };
    let mut template = match (&job.template, &job.from) {
        (Some(template), _) => from_template(template, &vars)?,
        (None, Some(from)) => from_container(cx, step, from)?,
        (None, None) => return Err(NoRequest::Fail("job: there is neither template nor from".into())),
    };
    job_account::hold_to(cx, job, &mut template)?;
    let env = own_env(cx, step);
    let added = job.env.iter().map(|e| vars.env(e)).collect::<Result<Vec<_>, _>>()?;
    complete(&mut template, job, &added, &env);
    let labels = json!({
        LABEL_RUN: cx.world.run_uid, LABEL_STEP: step_label(&step.name), LABEL_CUTOVER: cx.plan.cutover,
    });
    keep_apart(&mut template, job, &labels);
    Ok(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name(&cx.world.run_uid, &step.name, attempt),
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
            "activeDeadlineSeconds": deadline(job).as_secs_ceil(),
            "template": template,
        },
    }))
}

/// How long the Job may run.
pub fn deadline(job: &Job) -> crate::api::duration::Duration {
    job.deadline.unwrap_or(DEADLINE)
}

/// When a Job that was started then must be over.
pub(crate) fn must_end(job: &Job, started: jiff::Timestamp) -> jiff::Timestamp {
    later(started, deadline(job))
}

struct Texts {
    vars: Vars,
    /// The run's Secret.
    secret: String,
    trial: bool,
}

impl Texts {
    fn expand(&self, text: &str, escape: Escape, field: impl Fn() -> String) -> Result<String, NoManifest> {
        match self.vars.expand(text, escape) {
            Ok(text) => Ok(text),
            Err(VarError::Missing(_)) if self.trial => Ok(text.to_owned()),
            Err(e) => Err(NoRequest::Fail(format!("{}: {e}", field()))),
        }
    }

    /// Where the kubelet finds a value that only the run's Secret holds.
    fn value_from(&self, text: &str) -> Option<Value> {
        let key = self.vars.whole(text)?;
        Some(json!({"secretKeyRef": {"name": self.secret, "key": key}}))
    }

    fn env(&self, var: &EnvVar) -> Result<Value, NoManifest> {
        let mut out = Map::from_iter([("name".to_owned(), json!(var.name))]);
        if let Some(from) = var.value.as_deref().and_then(|value| self.value_from(value)) {
            out.insert("valueFrom".into(), from);
        } else if let Some(value) = &var.value {
            let value = self.expand(value, Escape::Env, || format!("job.env {}", var.name))?;
            out.insert("value".into(), value.into());
        }
        if let Some(from) = &var.value_from {
            out.insert("valueFrom".into(), from.clone());
        }
        Ok(Value::Object(out))
    }
}

/// The manifest's template with images and values of the environment expanded; nothing else in it is ours to touch.
fn from_template(template: &Value, texts: &Texts) -> Result<Value, NoManifest> {
    let mut template = template.clone();
    for list in ["initContainers", "containers"] {
        let Some(containers) = template.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut) else {
            continue;
        };
        for (i, container) in containers.iter_mut().enumerate() {
            let at = |what: &str| format!("job.template.spec.{list}[{i}].{what}");
            if let Some(Value::String(image)) = container.get_mut("image") {
                *image = texts.expand(image, Escape::Image, || at("image"))?;
            }
            for var in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
                let name = var.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
                let from = var.get("value").and_then(Value::as_str).and_then(|value| texts.value_from(value));
                if let (Some(from), Some(var)) = (from, var.as_object_mut()) {
                    var.remove("value");
                    var.insert("valueFrom".into(), from);
                } else if let Some(Value::String(value)) = var.get_mut("value") {
                    *value = texts.expand(value, Escape::Env, || at(&format!("env {name}")))?;
                }
            }
        }
    }
    Ok(template)
}

/// The texts in which variables are expanded.
pub(super) fn texts(job: &Job) -> Vec<&str> {
    let mut found: Vec<&str> = job.env.iter().filter_map(|var| var.value.as_deref()).collect();
    for list in ["initContainers", "containers"] {
        let containers = job.template.as_ref().and_then(|t| t.pointer(&format!("/spec/{list}"))?.as_array());
        for container in containers.into_iter().flatten() {
            let vars = container.get("env").and_then(Value::as_array).into_iter().flatten();
            let values = vars.filter_map(|var| var.get("value"));
            found.extend(container.get("image").into_iter().chain(values).filter_map(Value::as_str));
        }
    }
    found
}

/// The template of the first workload of the side that has the container.
///
/// # Errors
/// [`NoManifest`].
pub(crate) fn find_container(cx: &Cx, from: &FromContainer) -> Result<(Value, Value), NoManifest> {
    let side = cx.plan.side(from.side);
    let mut seen = vec![];
    for workload in &side.workloads {
        let template = match cx.world.workloads.get(workload) {
            None => return Err(NoRequest::Wait(format!("{} is being looked up", shown(workload)))),
            Some(known) => match &known.value {
                None => return Err(NoRequest::Fail(format!("{} does not exist", shown(workload)))),
                Some(view) => &view.template,
            },
        };
        for container in template.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten() {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            if from.container.as_deref().is_none_or(|wanted| wanted == name) {
                return Ok((template.clone(), container.clone()));
            }
            seen.push(name.to_owned());
        }
    }
    let wanted = from.container.as_deref().unwrap_or_default();
    Err(NoRequest::Fail(format!(
        "from.container: {} has no container {wanted:?}; it has {}",
        side.name,
        seen.join(", ")
    )))
}

fn shown(workload: &WorkloadRef) -> String {
    format!("{:?} {}", workload.kind, workload.name)
}

/// The container of a side with another command; an undo's is that of the Job which its step ran. No label is taken
/// over: by one of them the pod would join what selects the side's own pods.
fn from_container(cx: &Cx, step: &PlanStep, from: &FromContainer) -> Result<Value, NoManifest> {
    let ran = undo_job::container(cx, step, from);
    if let Some(Ran::Template(template)) = ran {
        return Ok(template);
    }
    let (template, mut container) = find_container(cx, from)?;
    if let Some(container) = container.as_object_mut() {
        container.retain(|key, _| !DROPPED.contains(&key.as_str()));
        if let Some(Ran::Image(image)) = ran {
            container.insert("image".into(), image.into());
        }
    }
    let mut spec = Map::new();
    for key in KEPT {
        if let Some(value) = template.pointer(&format!("/spec/{key}")) {
            spec.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(affinity) = template.pointer("/spec/affinity/nodeAffinity") {
        spec.insert("affinity".into(), json!({"nodeAffinity": affinity}));
    }
    spec.insert("containers".into(), json!([container]));
    Ok(json!({"metadata": {}, "spec": spec}))
}

/// Command, arguments and environment; `restartPolicy: Never` and the termination message, whatever the template says.
fn complete(template: &mut Value, job: &Job, added: &[Value], own: &[Value]) {
    let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) else { return };
    spec.insert("restartPolicy".into(), "Never".into());
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for (i, container) in containers.filter_map(Value::as_object_mut).enumerate() {
            let main = list == "containers";
            if main {
                container.insert("terminationMessagePolicy".into(), "File".into());
            }
            if main && i == 0 {
                if !job.command.is_empty() {
                    // The image's or workload's arguments belong to the command that is replaced.
                    container.insert("command".into(), json!(job.command));
                    container.remove("args");
                }
                if !job.args.is_empty() {
                    container.insert("args".into(), json!(job.args));
                }
                set_env(container, added);
            }
            set_env(container, own);
        }
    }
}

/// Adds variables before the container's own, so that those may refer to them; a name that is there is replaced.
fn set_env(container: &mut Map<String, Value>, vars: &[Value]) {
    let name = |v: &Value| v.get("name").and_then(Value::as_str).map(str::to_owned);
    let names: Vec<_> = vars.iter().filter_map(name).collect();
    let mut env = vars.to_vec();
    if let Some(Value::Array(old)) = container.get("env") {
        env.extend(old.iter().filter(|v| name(v).is_none_or(|n| !names.contains(&n))).cloned());
    }
    if !env.is_empty() {
        container.insert("env".into(), Value::Array(env));
    }
}

/// `CUTOVER_…`: where the sides answer, as far as that is known now; empty where it is not.
fn own_env(cx: &Cx, step: &PlanStep) -> Vec<Value> {
    let host_port = |a: &crate::effect::Address| match a.ip.contains(':') {
        true => format!("[{}]:{}", a.ip, a.port),
        false => format!("{}:{}", a.ip, a.port),
    };
    let mut targets: Vec<String> = vec![];
    if let Ok((_, service, port)) = service_port(cx, None, None) {
        let pods = target_pods(cx, service).unwrap_or_default();
        targets = pods.into_iter().filter_map(|pod| address(pod, port)).map(|a| host_port(&a)).collect();
    }
    // By address, which needs no DNS; a headless Service has only a name.
    let live = match (live(cx, None, None), service_port(cx, None, None)) {
        (Ok(address), _) => host_port(&address),
        (Err(_), Ok((name, _, port))) => format!("{name}.{}.svc:{}", cx.plan.namespace, port.port),
        (Err(_), Err(_)) => String::new(),
    };
    let release = &cx.plan.release;
    let text = |v: &Option<String>| v.clone().unwrap_or_default();
    [
        ("CUTOVER_RUN", cx.world.run_uid.clone()),
        ("CUTOVER_STEP", step.name.clone()),
        ("CUTOVER_RELEASE_VERSION", text(&release.version)),
        ("CUTOVER_RELEASE_REVISION", text(&release.revision)),
        ("CUTOVER_TARGET", targets.first().cloned().unwrap_or_default()),
        ("CUTOVER_TARGETS", targets.join(",")),
        ("CUTOVER_LIVE", live),
    ]
    .into_iter()
    .map(|(name, value)| json!({"name": name, "value": value.replace('$', "$$")}))
    .collect()
}

/// A readiness gate that nobody ever sets: the pod of a Job is ready for no Service, whatever its labels.
pub(crate) const NO_TRAFFIC: &str = "cutover.dev/no-traffic";

/// The labels that the Job gives its pod, those of the run, and the gate that keeps traffic away.
fn keep_apart(template: &mut Value, job: &Job, ours: &Value) {
    let Some(template) = template.as_object_mut() else { return };
    let metadata = template.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        let mut labels = metadata.get("labels").and_then(Value::as_object).cloned().unwrap_or_default();
        labels.extend(job.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
        labels.extend(ours.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        metadata.insert("labels".into(), Value::Object(labels));
    }
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        let mut gates = spec.get("readinessGates").and_then(Value::as_array).cloned().unwrap_or_default();
        if gates.iter().all(|gate| gate["conditionType"] != NO_TRAFFIC) {
            gates.push(json!({"conditionType": NO_TRAFFIC}));
        }
        spec.insert("readinessGates".into(), Value::Array(gates));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::actions::fixtures::{Fixture, pod, step};
    use crate::plan::{Action, Stage};

    fn job(value: Value) -> Job {
        serde_json::from_value(value).expect("a job")
    }

    fn built(f: &Fixture, value: Value, trial: bool) -> Result<Value, NoManifest> {
        let job = job(value);
        build(&f.cx(), &step("migrate", Stage::Prepare, Action::Job(job.clone())), &job, 2, trial)
    }

    fn env(container: &Value) -> BTreeMap<String, String> {
        let list = container["env"].as_array().expect("an environment");
        list.iter()
            .map(|v| (v["name"].as_str().unwrap_or("?").into(), v["value"].as_str().unwrap_or("-").into()))
            .collect()
    }

    #[test]
    fn names_are_stable_unique_and_short() {
        let a = name("run-1", "migrate", 1);
        assert_eq!(a, name("run-1", "migrate", 1));
        let others = [name("run-2", "migrate", 1), name("run-1", "migrate", 2), name("run-1", "undo/migrate", 1)];
        assert!(others.iter().all(|o| *o != a && !o.contains('/')), "{others:?}");
        assert_ne!(name("run-1", "undo/migrate", 1), name("run-1", "undo-migrate", 1));
        let long = name("run-1", &format!("{}-{}", "a".repeat(29), "b".repeat(10)), 1);
        assert!(long.len() <= 41 && !long.contains("--"), "{long}");
    }

    #[test]
    fn runs_at_most_once_whatever_the_template_says() {
        let f = Fixture::new();
        let m = built(
            &f,
            json!({"deadline": "90s", "template": {"spec": {
                "restartPolicy": "Always", "serviceAccountName": "web",
                "containers": [{"name": "a", "image": "x", "terminationMessagePolicy": "FallbackToLogsOnError"}],
            }}}),
            false,
        )
        .expect("a manifest");
        let spec = &m["spec"];
        assert_eq!(
            (&spec["suspend"], &spec["backoffLimit"], &spec["completions"], &spec["parallelism"]),
            (&json!(true), &json!(0), &json!(1), &json!(1))
        );
        assert_eq!((&spec["podReplacementPolicy"], &spec["activeDeadlineSeconds"]), (&json!("Failed"), &json!(90)));
        assert!(spec.get("ttlSecondsAfterFinished").is_none(), "the result must be recorded first");
        let pod = &spec["template"]["spec"];
        assert_eq!((&pod["restartPolicy"], &pod["serviceAccountName"]), (&json!("Never"), &json!("web")));
        assert_eq!(pod["containers"][0]["terminationMessagePolicy"], "File");
        assert_eq!(m["metadata"]["labels"], json!({LABEL_RUN: "run-1", LABEL_STEP: "migrate", LABEL_CUTOVER: "web"}));
        assert_eq!(m["metadata"]["annotations"][ANNOTATION_ATTEMPT], "2");
    }

    #[test]
    fn every_container_knows_where_the_sides_are() {
        let mut f = Fixture::new();
        f.pods(vec![pod("green-b", "green"), pod("green-a", "green"), pod("blue-a", "blue")]);
        let m = built(
            &f,
            json!({"template": {"spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}}}),
            false,
        )
        .expect("a manifest");
        for list in ["initContainers", "containers"] {
            let env = env(&m["spec"]["template"]["spec"][list][0]);
            assert_eq!(env["CUTOVER_TARGET"], "10.0.0.1:8080");
            assert_eq!(env["CUTOVER_TARGETS"], "10.0.0.1:8080,10.0.0.1:8080");
            assert_eq!(env["CUTOVER_LIVE"], "10.96.0.1:80");
            assert_eq!((env["CUTOVER_RUN"].as_str(), env["CUTOVER_STEP"].as_str()), ("run-1", "migrate"));
            assert_eq!(env["CUTOVER_RELEASE_VERSION"], "2.4.0");
        }
    }

    #[test]
    fn a_sides_container_is_taken_with_its_runtime_and_another_command() {
        let f = Fixture::new();
        let from = json!({"from": {"side": "Target", "container": "api"}, "command": ["migrate"],
            "env": [{"name": "DB", "value": "v${release.version}"}]});
        let m = built(&f, from, false).expect("a manifest");
        let pod = &m["spec"]["template"]["spec"];
        assert_eq!(pod["containers"].as_array().map(Vec::len), Some(1));
        assert!(pod.get("initContainers").is_none());
        let c = &pod["containers"][0];
        assert_eq!((&c["image"], &c["command"]), (&json!("web:2"), &json!(["migrate"])));
        assert!(DROPPED.iter().all(|k| c.get(k).is_none()), "{c}");
        assert_eq!((&c["envFrom"][0]["secretRef"]["name"], env(c)["DB"].as_str()), (&json!("web"), "v2.4.0"));
        assert_eq!((&pod["serviceAccountName"], &pod["volumes"][0]["name"]), (&json!("web"), &json!("config")));
        assert_eq!(pod["imagePullSecrets"][0]["name"], "pull");
    }

    #[test]
    fn a_jobs_pod_joins_nothing() {
        let f = Fixture::new();
        let ours = |labels: &Value| labels.as_object().is_some_and(|l| l.keys().all(|k| k.starts_with("cutover.dev/")));
        let pod = |value: Value| built(&f, value, false).expect("a manifest")["spec"]["template"].clone();
        let bare = pod(json!({"from": {"side": "Target"}, "command": ["x"]}));
        assert!(ours(&bare["metadata"]["labels"]), "{bare}");
        let named = pod(json!({"from": {"side": "Target"}, "command": ["x"], "labels": {"team": "a"}}));
        assert_eq!(named["metadata"]["labels"]["team"], "a");
        let template = json!({"metadata": {"labels": {"app": "web", "team": "b"}}, "spec": {
            "readinessGates": [{"conditionType": "theirs"}], "containers": [{"name": "a"}]}});
        let own = pod(json!({"template": template, "labels": {"team": "a"}}));
        assert_eq!(
            (&own["metadata"]["labels"]["app"], &own["metadata"]["labels"]["team"]),
            (&json!("web"), &json!("a"))
        );
        let gates = json!([{"conditionType": "theirs"}, {"conditionType": NO_TRAFFIC}]);
        assert_eq!(own["spec"]["readinessGates"], gates);
        for pod in [bare, named] {
            assert_eq!(pod["spec"]["readinessGates"], json!([{"conditionType": NO_TRAFFIC}]));
        }
    }

    #[test]
    fn values_are_put_in_and_what_is_missing_fails_but_not_on_trial() {
        let mut f = Fixture::new();
        let template = json!({"template": {"spec": {"containers": [
            {"name": "a", "image": "web:${release.version}", "args": ["${id}"], "env": [{"name": "ID", "value": "${id}"}]}]}}});
        let why = built(&f, template.clone(), false).expect_err("missing");
        assert_eq!(why, NoRequest::Fail("job.template.spec.containers[0].env ID: ${id} has no value: it is neither a capture of an earlier step nor set in spec.release".into()));
        assert!(built(&f, template.clone(), true).is_ok());
        f.journal.captures.insert("id".into(), json!("$(DB)"));
        let m = built(&f, template, false).expect("a manifest");
        let c = &m["spec"]["template"]["spec"]["containers"][0];
        assert_eq!((&c["image"], env(c)["ID"].as_str()), (&json!("web:2.4.0"), "$$(DB)"));
        assert_eq!(c["args"], json!(["${id}"]), "nothing else is expanded");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let mut f = Fixture::new();
        let from = |c: &str| json!({"from": {"side": "Target", "container": c}, "command": ["x"]});
        let why = built(&f, from("nope"), false).expect_err("refused");
        assert_eq!(why, NoRequest::Fail("from.container: green has no container \"nope\"; it has api, proxy".into()));
        f.world.workloads.clear();
        assert!(matches!(built(&f, from("api"), false), Err(NoRequest::Wait(_))));
    }
}
