//! PURE. Who would put back what a run changes: a tool that keeps the selector, the replicas or the environment as Git has
//! them, or an autoscaler; and what to set so that it leaves them alone. Judged once, for the preflight of a run and for
//! `kubectl cutover check`. It stands in no run's way.
//!
//! Managed fields name whoever wrote the present value. So a tool is seen from the moment on at which it has applied its
//! value, until a run has written another one.

use std::collections::BTreeSet;

use crate::api::action::SetEnv;
use crate::api::step::WorkloadRef;
use crate::plan::{Action, Plan, PlanStep};
use crate::world::{Field, Kept, Owner, ServiceView, Tool, WorkloadView, World};

/// Somebody who would put something back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Who keeps what.
    pub message: String,
    /// What to set.
    pub remedy: String,
}

/// Who keeps a field.
enum Keeper<'a> {
    Tool(Tool, Option<&'a Owner>),
    /// Whoever applies that file again.
    File(Option<&'a Owner>),
    Autoscaler(&'a Owner),
}

/// The tool whose field manager this is.
fn tool_of(manager: &str) -> Option<Tool> {
    let has = |part: &str| manager.contains(part);
    match manager {
        _ if has("argocd") => Some(Tool::ArgoCd),
        _ if has("kustomize-controller") || has("helm-controller") || has("flux") => Some(Tool::Flux),
        "helm" | "Helm" => Some(Tool::Helm),
        _ => None,
    }
}

/// Whether an autoscaler wrote through `scale`: the cluster's own, or KEDA.
fn scales(owner: &Owner) -> bool {
    let by = |part: &str| owner.manager.contains(part);
    owner.through.as_deref() == Some("scale")
        && (by("kube-controller-manager") || by("horizontal-pod-autoscaler") || by("keda"))
}

fn keeper<'a>(kept: &'a Kept, field: Field, parts: &BTreeSet<&str>) -> Option<Keeper<'a>> {
    let of = kept.fields.get(&field)?;
    let touches = |names: &BTreeSet<String>| names.iter().any(|name| parts.contains(name.as_str()));
    let owners = || of.owners.iter().filter(|o| o.parts.is_empty() || touches(&o.parts));
    if let Some((tool, owner)) = owners().find_map(|o| Some((tool_of(&o.manager)?, o))) {
        return Some(Keeper::Tool(tool, Some(owner)));
    }
    if touches(&of.filed) {
        // `kubectl apply` is what Argo CD does, unless it is told otherwise.
        let owner = owners().find(|o| o.manager.starts_with("kubectl"));
        return Some(kept.tool.map_or(Keeper::File(owner), |tool| Keeper::Tool(tool, owner)));
    }
    owners().find(|o| scales(o)).map(Keeper::Autoscaler)
}

/// What is kept, with its owner.
fn named(what: &str, owner: Option<&Owner>) -> String {
    owner.map_or_else(|| what.to_owned(), |owner| format!("{what} (field manager {})", owner.manager))
}

/// Whether the selector of a Service is kept; `keys` are the labels in which the sides differ.
pub fn selector(name: &str, service: &ServiceView, keys: &BTreeSet<&str>) -> Option<Warning> {
    let what = format!("the selector of Service {name}");
    let (message, remedy) = match keeper(&service.kept, Field::Selector, keys)? {
        Keeper::Tool(Tool::ArgoCd, owner) => (
            format!("Argo CD keeps {}, and puts it back after a switch", named(&what, owner)),
            format!(
                "take the selector out of Git, or set in the Application: {}",
                ignore_differences("", "Service", name, "jsonPointers: [/spec/selector]")
            ),
        ),
        Keeper::Tool(Tool::Flux, owner) => (
            format!("Flux keeps {}, and puts it back after a switch", named(&what, owner)),
            format!(
                "take the selector out of Git, or annotate the Service there with kustomize.toolkit.fluxcd.io/ssa: \
                 IfNotPresent (of a HelmRelease: {})",
                drift_ignore("Service", name, "selector")
            ),
        ),
        Keeper::Tool(Tool::Helm, owner) => (
            format!(
                "Helm keeps {}: each upgrade puts it back after a switch, or meets a conflict",
                named(&what, owner)
            ),
            format!(
                "take the selector out of the chart, or render it as it is in the cluster, with lookup \"v1\" \"Service\" \
                 .Release.Namespace \"{name}\""
            ),
        ),
        Keeper::File(owner) => (
            format!("{} stands in the file of kubectl apply: applying it again puts it back", named(&what, owner)),
            "take the selector out of the file, or write it there as it is in the cluster before each kubectl apply"
                .into(),
        ),
        Keeper::Autoscaler(_) => return None,
    };
    Some(Warning { message, remedy })
}

/// Whether the replicas that a step sets are kept.
pub fn replicas(step: &str, workload: &WorkloadRef, view: &WorkloadView) -> Option<Warning> {
    let (kind, name) = (format!("{:?}", workload.kind), &workload.name);
    let scales = format!("step {step} scales {kind} {name}");
    let out = "take spec.replicas out of Git";
    let (message, remedy) = match keeper(&view.kept, Field::Replicas, &["replicas"].into())? {
        Keeper::Tool(tool, owner) => {
            let remedy = match tool {
                Tool::ArgoCd => format!(
                    "{out}, or set in the Application: {}",
                    ignore_differences("group: apps, ", &kind, name, "jsonPointers: [/spec/replicas]")
                ),
                Tool::Flux => format!(
                    "{out}, or name /spec/replicas in spec.ignore of the Kustomization (of a HelmRelease: {})",
                    drift_ignore(&kind, name, "replicas")
                ),
                Tool::Helm => "take replicas out of the chart".into(),
            };
            (
                format!("{scales}, and {} keeps {} and puts them back", called(tool), named("its replicas", owner)),
                remedy,
            )
        }
        Keeper::File(owner) => (
            format!(
                "{scales}, and {} stand in the file of kubectl apply, which puts them back",
                named("its replicas", owner)
            ),
            "take spec.replicas out of the file".into(),
        ),
        Keeper::Autoscaler(owner) => (
            format!("{scales}, and an autoscaler keeps {}", named("its replicas", Some(owner))),
            "give the step a number that the autoscaler allows: kubectl get hpa".into(),
        ),
    };
    Some(Warning { message, remedy })
}

/// Whether variables that a step sets are kept.
pub fn environment(step: &str, set: &SetEnv, workload: &WorkloadRef, view: &WorkloadView) -> Option<Warning> {
    let (kind, name) = (format!("{:?}", workload.kind), &workload.name);
    let kept_one = |variable: &str| keeper(&view.kept, Field::Environment, &[variable].into());
    let (variable, keeper) = set.env.iter().find_map(|v| Some((v.name.as_str(), kept_one(&v.name)?)))?;
    let sets = format!("step {step} sets {variable} of {kind} {name}");
    let out = format!("take {variable} out of Git");
    let (message, remedy) = match keeper {
        Keeper::Tool(tool, owner) => {
            let remedy = match tool {
                Tool::ArgoCd => {
                    let path = format!(".spec.template.spec.containers[].env[]? | select(.name == \"{variable}\")");
                    let path = format!("jqPathExpressions: ['{path}']");
                    format!(
                        "{out}, or set in the Application: {}",
                        ignore_differences("group: apps, ", &kind, name, &path)
                    )
                }
                Tool::Flux => out,
                Tool::Helm => format!("take {variable} out of the chart"),
            };
            (format!("{sets}, and {} keeps {} and puts it back", called(tool), named("it", owner)), remedy)
        }
        Keeper::File(owner) => (
            format!("{sets}, and {} stands in the file of kubectl apply, which puts it back", named("it", owner)),
            format!("take {variable} out of the file"),
        ),
        Keeper::Autoscaler(_) => return None,
    };
    Some(Warning { message, remedy })
}

fn called(tool: Tool) -> &'static str {
    match tool {
        Tool::ArgoCd => "Argo CD",
        Tool::Flux => "Flux",
        Tool::Helm => "Helm",
    }
}

fn ignore_differences(group: &str, kind: &str, name: &str, paths: &str) -> String {
    format!(
        "spec.ignoreDifferences: [{{{group}kind: {kind}, name: {name}, {paths}}}] and spec.syncPolicy.syncOptions: \
         [RespectIgnoreDifferences=true]"
    )
}

fn drift_ignore(kind: &str, name: &str, field: &str) -> String {
    format!("spec.driftDetection.ignore: [{{paths: [/spec/{field}], target: {{kind: {kind}, name: {name}}}}}]")
}

/// The labels in which sides are told apart.
pub fn keys<'a>(selectors: impl IntoIterator<Item = &'a crate::api::run::Selector>) -> BTreeSet<&'a str> {
    selectors.into_iter().flat_map(|s| s.keys()).map(String::as_str).collect()
}

/// Who keeps replicas and variables that a run sets.
pub fn of_steps(plan: &Plan, world: &World) -> Vec<Warning> {
    let view = |w: &WorkloadRef| world.workloads.get(w).and_then(|seen| seen.value.as_ref());
    let mut found = vec![];
    for step in plan.steps.iter().flat_map(PlanStep::parts) {
        match &step.action {
            Action::Scale(scale) => {
                let named = plan.named(scale.side, &scale.workloads);
                found.extend(named.iter().filter_map(|w| replicas(&step.name, w, view(w)?)));
            }
            Action::SetEnv(set) => {
                let named = plan.named(set.side, &set.workloads);
                found.extend(named.iter().filter_map(|w| environment(&step.name, set, w, view(w)?)));
            }
            _ => {}
        }
    }
    found
}

/// Who keeps anything that a run changes.
pub fn of_plan(plan: &Plan, world: &World) -> Vec<Warning> {
    let keys = keys([&plan.old.selector, &plan.target.selector]);
    let services = plan.services.iter().filter_map(|name| selector(name, world.service(name)?, &keys));
    services.chain(of_steps(plan, world)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::actions::fixtures::Fixture;
    use crate::plan::Stage;
    use crate::world::Ownership;

    fn owner(manager: &str, parts: &[&str]) -> Owner {
        let parts = parts.iter().map(|p| (*p).to_owned()).collect();
        Owner { manager: manager.into(), applies: true, through: None, at: None, parts }
    }

    fn kept(field: Field, owners: Vec<Owner>, filed: &[&str], tool: Option<Tool>) -> Kept {
        let filed = filed.iter().map(|f| (*f).to_owned()).collect();
        Kept { tool, fields: [(field, Ownership { owners, filed })].into() }
    }

    /// What is said when these steps are planned, the Service is kept so, and the target's workload so.
    fn told(steps: &[Value], service: Kept, workload: Kept) -> Vec<String> {
        let mut f = Fixture::new();
        for (n, action) in steps.iter().enumerate() {
            let action = match action.get("replicas") {
                Some(_) => Action::Scale(serde_json::from_value(action.clone()).expect("a scale")),
                None => Action::SetEnv(serde_json::from_value(action.clone()).expect("an environment")),
            };
            f.plan.steps.push(crate::actions::fixtures::step(&format!("s{n}"), Stage::Prepare, action));
        }
        f.service("web").kept = service;
        f.workload("green").kept = workload;
        of_plan(&f.plan, &f.world).into_iter().map(|w| format!("{} | {}", w.message, w.remedy)).collect()
    }

    #[test]
    fn a_selector_that_git_keeps_is_told_with_the_setting_of_the_tool() {
        let of = |manager: &str, filed: &[&str], tool| {
            told(&[], kept(Field::Selector, vec![owner(manager, &[])], filed, tool), Kept::default())
        };
        let version = ["version"];
        for (manager, filed, tool, words) in [
            (
                "argocd-controller",
                &[][..],
                None,
                ["Argo CD keeps the selector of Service web", "RespectIgnoreDifferences"],
            ),
            ("kubectl-client-side-apply", &version, Some(Tool::ArgoCd), ["Argo CD", "ignoreDifferences"]),
            ("kustomize-controller", &[], None, ["Flux", "ssa: IfNotPresent"]),
            ("helm-controller", &[], None, ["Flux", "driftDetection.ignore"]),
            ("helm", &[], None, ["meets a conflict", "lookup"]),
            (
                "kubectl-client-side-apply",
                &version,
                None,
                ["(field manager kubectl-client-side-apply)", "out of the file"],
            ),
        ] {
            let all = of(manager, filed, tool);
            assert!(all.len() == 1 && words.iter().all(|w| all[0].contains(w)), "{manager}: {all:?}");
        }
        // A person wrote it once, whatever else of the Service is in Git.
        assert!(of("kubectl-patch", &[], Some(Tool::ArgoCd)).is_empty());
        assert!(of("kubectl-client-side-apply", &["app"], None).is_empty(), "another label leaves the side alone");
    }

    #[test]
    fn replicas_are_told_where_a_step_changes_them_and_somebody_keeps_them() {
        let git = || kept(Field::Replicas, vec![owner("argocd-controller", &[])], &[], None);
        let scale = json!({"side": "Target", "replicas": 3});
        assert!(told(&[], Kept::default(), git()).is_empty(), "no step changes them");
        let all = told(std::slice::from_ref(&scale), Kept::default(), git());
        assert!(all[0].starts_with("step s0 scales Deployment web-green, and Argo CD keeps its replicas"), "{all:?}");
        assert!(all[0].contains("/spec/replicas"), "{all:?}");
        let through = Owner { through: Some("scale".into()), ..owner("kube-controller-manager", &[]) };
        let hpa = kept(Field::Replicas, vec![through], &[], None);
        let all = told(std::slice::from_ref(&scale), Kept::default(), hpa);
        assert!(all[0].contains("an autoscaler keeps its replicas (field manager kube-controller-manager)"), "{all:?}");
        let person = Owner { through: Some("scale".into()), ..owner("kubectl", &[]) };
        assert!(told(&[scale], Kept::default(), kept(Field::Replicas, vec![person], &[], None)).is_empty());
    }

    #[test]
    fn a_variable_is_told_where_git_has_that_one() {
        let set = json!({"side": "Target", "env": [{"name": "MODE", "value": "x"}]});
        let by = |manager: &str, parts: &[&str], filed: &[&str]| {
            let kept = kept(Field::Environment, vec![owner(manager, parts)], filed, None);
            told(std::slice::from_ref(&set), Kept::default(), kept)
        };
        assert!(
            by("argocd-controller", &["MODE"], &[])[0]
                .contains("step s0 sets MODE of Deployment web-green, and Argo CD")
        );
        assert!(by("kustomize-controller", &["MODE"], &[])[0].ends_with("take MODE out of Git"));
        assert!(by("kubectl-client-side-apply", &["MODE"], &["MODE"])[0].contains("kubectl apply"));
        assert!(by("argocd-controller", &["OTHER"], &["OTHER"]).is_empty(), "another variable is left alone");
    }
}
