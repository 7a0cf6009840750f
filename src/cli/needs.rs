//! PURE. What a Cutover's ServiceAccount needs: the rules of its Role. `init` prints them, `check` asks about them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::api::cutover::CutoverSpec;
use crate::api::restore::Connections;
use crate::api::run::ObjectKind;
use crate::api::step::WorkloadKind;
use crate::plan::{Action, Plan, PlanStep};

/// A rule of a Role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub group: String,
    pub resource: String,
    /// None: any.
    pub names: Vec<String>,
    pub verbs: Vec<&'static str>,
    /// What it is for.
    pub why: &'static str,
}

impl Rule {
    fn new(
        group: &str,
        resource: &str,
        names: impl IntoIterator<Item = String>,
        verbs: &[&'static str],
        why: &'static str,
    ) -> Self {
        let names: BTreeSet<String> = names.into_iter().collect();
        let (group, resource) = (group.to_owned(), resource.to_owned());
        Self { group, resource, names: names.into_iter().collect(), verbs: verbs.to_vec(), why }
    }

    /// `secrets`, `deployments.apps`.
    pub(crate) fn full_resource(&self) -> String {
        if self.group.is_empty() { self.resource.clone() } else { format!("{}.{}", self.resource, self.group) }
    }
}

/// What runs of this Cutover need, whichever of its sides is live. `plan`: resolved for one of the directions.
pub(crate) fn rules(spec: &CutoverSpec, plan: &Plan) -> Vec<Rule> {
    let mut rules = vec![Rule::new(
        "",
        "services",
        plan.services.iter().cloned(),
        &["get", "patch"],
        "the switch and the way back: the selectors",
    )];
    let mut changed: BTreeMap<ObjectKind, BTreeSet<String>> = BTreeMap::new();
    let sides = [&plan.target, &plan.old];
    for w in sides.into_iter().flat_map(|s| &s.workloads) {
        let kind = match w.kind {
            WorkloadKind::Deployment => ObjectKind::Deployment,
            WorkloadKind::StatefulSet => ObjectKind::StatefulSet,
        };
        changed.entry(kind).or_default().insert(w.name.clone());
    }
    // A name made from the side (`consumer-${target}`) is another one on the way back.
    let mut any_name = false;
    for action in actions(plan) {
        for object in action.changes(plan) {
            any_name |= names_a_side(spec);
            changed.entry(object.kind).or_default().insert(object.name);
        }
    }
    for (kind, names) in changed {
        let (group, resource, why) = match kind {
            ObjectKind::Deployment => ("apps", "deployments", "scaling a side, and changes that steps make"),
            ObjectKind::StatefulSet => ("apps", "statefulsets", "scaling a side, and changes that steps make"),
            ObjectKind::CronJob => ("batch", "cronjobs", "steps that suspend or resume them"),
        };
        let names = if any_name { BTreeSet::new() } else { names };
        rules.push(Rule::new(group, resource, names, &["get", "patch"], why));
    }
    let closes = |c: Connections| c == Connections::Close;
    let stateful = sides.iter().any(|s| s.workloads.iter().any(|w| w.kind == WorkloadKind::StatefulSet));
    if closes(plan.switch.connections) || plan.rollback.as_ref().is_some_and(|r| closes(r.connections)) && stateful {
        rules.push(Rule::new("", "pods", [], &["delete"], "ending the connections of the side that was left"));
    }
    if actions(plan).any(|a| matches!(a, Action::Job(_))) {
        rules.push(Rule::new("batch", "jobs", [], &["get", "create", "patch", "delete"], "steps that run a Job"));
    }
    if plan.keepers().next().is_some() {
        // Its name is another one in each run.
        let why = "sensitive captures and cookies, which live in a Secret of the run";
        rules.push(Rule::new("", "secrets", [], &["get", "create", "patch"], why));
    }
    for action in actions(plan) {
        if let Action::Resource(of) = action {
            let group = of.api_version.split_once('/').map_or("", |(g, _)| g);
            let rule = Rule::new(group, &plural(&of.kind), [of.name.clone()], &["get"], "steps that look at it");
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    rules.extend(read(spec, plan));
    rules
}

/// Every action of a plan: of steps, suites and undos.
fn actions<'a>(plan: &'a Plan) -> impl Iterator<Item = &'a Action> {
    let of = |s: &'a PlanStep| s.parts().iter().map(|p| &p.action).chain(s.undo.as_ref().map(|u| &u.action));
    plan.steps.iter().flat_map(of)
}

/// Whether names of workloads in the manifest depend on the direction.
fn names_a_side(spec: &CutoverSpec) -> bool {
    let text = serde_json::to_string(&spec.phases).unwrap_or_default();
    text.contains("${target}") || text.contains("${old}")
}

/// The Secrets and ConfigMaps that are read as the account.
fn read(spec: &CutoverSpec, plan: &Plan) -> Vec<Rule> {
    let (mut secrets, mut maps) = (BTreeSet::new(), BTreeSet::new());
    let value = serde_json::to_value(spec).unwrap_or_default();
    collect(&value, &mut secrets, &mut maps);
    let why = "steps, metrics and notifications that read them";
    let of_container = |a: &Action| matches!(a, Action::Config(c) if c.from.is_some());
    if actions(plan).any(of_container) {
        // What a container's environment names is not known before the run.
        let why = "the environment of a container, which a step checks";
        return ["secrets", "configmaps"].map(|r| Rule::new("", r, [], &["get"], why)).to_vec();
    }
    let rule = |resource: &str, names: BTreeSet<String>| {
        (!names.is_empty()).then(|| Rule::new("", resource, names, &["get"], why))
    };
    [rule("secrets", secrets), rule("configmaps", maps)].into_iter().flatten().collect()
}

/// Fields `secret` and `configMap`, which hold a name, or an object with one. What stands in a pod template is read by the
/// kubelet.
fn collect(value: &Value, secrets: &mut BTreeSet<String>, maps: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = value.as_str().or_else(|| value.get("name")?.as_str());
                match (key.as_str(), name) {
                    ("template" | "env", _) => {}
                    ("secret" | "signWith", Some(name)) => drop(secrets.insert(name.to_owned())),
                    ("configMap", Some(name)) => drop(maps.insert(name.to_owned())),
                    _ => collect(value, secrets, maps),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|v| collect(v, secrets, maps)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// As the API server forms it for nearly every kind.
fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ if kind.ends_with('s') => format!("{kind}es"),
        _ => format!("{kind}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::cutover::Cutover;
    use crate::plan::{Offered, resolve};

    fn of(more: &str) -> Vec<Rule> {
        let text = format!(
            "{{apiVersion: cutover.dev/v1alpha1, kind: Cutover, metadata: {{name: shop}}, spec: {{services: [{{name: web}}], \
             sides: [{{name: blue, selector: {{side: blue}}, workloads: [{{kind: Deployment, name: web-blue}}]}}, \
             {{name: green, selector: {{side: green}}, workloads: [{{kind: Deployment, name: web-green}}]}}], \
             activate: green{more}}}}}"
        );
        let cutover: Cutover = serde_saphyr::from_str(&text).expect("a Cutover");
        let plan = resolve("shop", "prod", &cutover.spec, "blue", &Offered::default()).expect("a plan");
        rules(&cutover.spec, &plan)
    }

    fn said(rules: &[Rule]) -> Vec<String> {
        let one = |r: &Rule| format!("{} {} {}", r.verbs.join(","), r.full_resource(), r.names.join(","));
        rules.iter().map(|r| one(r).trim_end().to_owned()).collect()
    }

    #[test]
    fn a_minimal_cutover_needs_its_services_and_workloads_by_name() {
        assert_eq!(said(&of("")), ["get,patch services web", "get,patch deployments.apps web-blue,web-green"]);
    }

    #[test]
    fn what_steps_do_and_read_is_needed_and_nothing_else() {
        let all = said(&of(", switch: {connections: Close}, phases: {preflight: {steps: [\
             {name: keys, config: {secret: web-secrets, keys: [{name: A}]}}]}, prepare: {steps: [\
             {name: stop, cronJobs: {suspend: [nightly]}}, {name: migrate, job: {template: {spec: {containers: [{name: a, \
             image: b, env: [{name: X, valueFrom: {secretKeyRef: {name: other, key: k}}}]}], volumes: [{name: v, configMap: \
             {name: not-read}}]}}}}]}}"));
        assert!(all.contains(&"get secrets web-secrets".to_owned()), "{all:?}");
        assert!(all.contains(&"get,create,patch,delete jobs.batch".to_owned()), "{all:?}");
        assert!(all.contains(&"get,patch cronjobs.batch nightly".to_owned()), "{all:?}");
        assert!(all.contains(&"delete pods".to_owned()), "{all:?}");
        assert!(!all.iter().any(|r| r.contains("configmaps") || r.contains("other")), "{all:?}");
    }

    #[test]
    fn secrets_are_written_only_where_something_is_kept_in_one() {
        let with = |more: &str| {
            said(&of(&format!(
                ", phases: {{verify: {{steps: [{{name: login, http: {{path: /, capture: [{{name: t, path: $.t{more}}}]}}}}]}}}}"
            )))
        };
        let rule = "get,create,patch secrets".to_owned();
        assert!(!with("").iter().any(|r| r.contains("secrets")));
        assert!(with(", sensitive: true").contains(&rule));
    }

    #[test]
    fn names_that_depend_on_the_direction_are_left_open() {
        let all = said(&of(", phases: {prepare: {steps: [{name: up, scale: {workloads: [{kind: Deployment, name: \
             \"consumer-${target}\"}], replicas: 1}}]}}"));
        assert!(all.contains(&"get,patch deployments.apps".to_owned()), "{all:?}");
    }
}
