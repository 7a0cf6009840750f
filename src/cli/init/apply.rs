//! Carries the steps out, one after another, and says each.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::found::Situation;
use super::model::{Act, Init};
use crate::act::by_hand::MANAGER;
use crate::api::cutover::Cutover;
use crate::api::step::WorkloadKind;
use crate::cli::ask;
use crate::cli::check::facts::view;
use crate::cli::cluster::{Cluster, Kind};
use crate::cli::exit::{Exit, Failure};
use crate::cli::text::harmless;
use crate::endpoints::matches;
use crate::world::convert;

/// How long the pods of the live side may take to be replaced.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Says the steps, and asks whether to go on.
///
/// # Errors
/// The answer is no, or there is nobody to ask.
pub(crate) fn confirm(init: &Init, yes: bool) -> Result<(), Failure> {
    for (n, step) in init.steps.iter().enumerate() {
        eprintln!("{}. {}", n + 1, harmless::line(&step.says));
    }
    ask::confirm(&format!("Apply this in namespace {}?", init.namespace), yes)
}

/// Carries the steps out.
///
/// # Errors
/// What stopped it; what was done before stays.
pub(crate) async fn carry_out(cluster: &Cluster, situation: &Situation, init: &Init) -> Result<(), Failure> {
    // What would take the live pods away is for a person to do.
    if !situation.labelled {
        gentle(situation, init)?;
    }
    let ns = init.namespace.as_str();
    for (n, step) in init.steps.iter().enumerate() {
        match &step.act {
            Act::Apply(objects) => {
                for object in objects {
                    apply(cluster, ns, object).await?;
                }
            }
            Act::Label => label(cluster, ns, situation).await?,
            Act::Await => settled(cluster, ns, situation).await?,
            Act::Pin => pin(cluster, ns, situation).await?,
        }
        eprintln!("{}. done", n + 1);
    }
    Ok(())
}

/// Whether replacing the pods leaves some of them.
fn gentle(situation: &Situation, init: &Init) -> Result<(), Failure> {
    let strategy = situation.live.object.pointer("/spec/strategy/type").and_then(Value::as_str);
    let on_delete = situation.live.object.pointer("/spec/updateStrategy/type").and_then(Value::as_str);
    let command = init.steps.first().map(|s| s.command.clone()).unwrap_or_default();
    match (strategy, on_delete) {
        (Some("Recreate"), _) => Err(Failure::new(format!(
            "{} has the strategy Recreate: a new label ends all of its pods at once, so --apply does not set it",
            situation.live.shown()
        ))
        .next(format!("in a quiet hour: {command}"))),
        (_, Some("OnDelete")) => Err(Failure::new(format!(
            "{} replaces its pods only when they are deleted, so --apply cannot give them the label",
            situation.live.shown()
        ))
        .next(format!("{command}, and delete its pods one by one"))),
        _ => Ok(()),
    }
}

/// Server-side apply of an object of a kind that `init` makes.
async fn apply(cluster: &Cluster, ns: &str, object: &Value) -> Result<(), Failure> {
    match object["kind"].as_str().unwrap_or_default() {
        "ServiceAccount" => put::<ServiceAccount>(cluster, ns, object).await,
        "Role" => put::<Role>(cluster, ns, object).await,
        "RoleBinding" => put::<RoleBinding>(cluster, ns, object).await,
        "Deployment" => put::<Deployment>(cluster, ns, object).await,
        "StatefulSet" => put::<StatefulSet>(cluster, ns, object).await,
        "Cutover" => put::<Cutover>(cluster, ns, object).await,
        other => Err(Failure::new(format!("defect: init does not apply objects of kind {other}"))),
    }
}

async fn put<K>(cluster: &Cluster, ns: &str, object: &Value) -> Result<(), Failure>
where
    K: Kind + Resource<Scope = k8s_openapi::NamespaceResourceScope>,
{
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let params = PatchParams::apply(MANAGER);
    match cluster.patch::<K>(ns, name, &params, &Patch::Apply(object)).await? {
        Some(_) => Ok(()),
        None => {
            let kind = K::kind(&());
            let kind = kind.as_ref();
            Err(Failure::new(format!(
                "{kind} {name} has fields that somebody else manages, or was changed meanwhile: it is left alone"
            ))
            .next(format!("kubectl get {} {name} -n {ns} -o yaml --show-managed-fields", kind.to_lowercase())))
        }
    }
}

async fn label(cluster: &Cluster, ns: &str, situation: &Situation) -> Result<(), Failure> {
    let labels = json!({situation.key.as_str(): situation.live_value});
    let object = json!({
        "apiVersion": "apps/v1", "kind": format!("{:?}", situation.live.kind),
        "metadata": {"name": situation.live.name, "namespace": ns},
        "spec": {"template": {"metadata": {"labels": labels}}},
    });
    apply(cluster, ns, &object).await
}

/// Waits for the rollout, and for the label on every pod that gets requests.
async fn settled(cluster: &Cluster, ns: &str, situation: &Situation) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        let why = match unsettled(cluster, ns, situation).await? {
            None => return Ok(()),
            Some(why) => why,
        };
        if Instant::now() + PAUSE > until {
            let next =
                format!("kubectl rollout status {} -n {ns}, then the same command again", situation.live.resource());
            return Err(Failure::new(format!("the live side does not settle: {why}")).next(next).exit(Exit::TimedOut));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn unsettled(cluster: &Cluster, ns: &str, situation: &Situation) -> Result<Option<String>, Failure> {
    let name = &situation.live.name;
    let view = match situation.live.kind {
        WorkloadKind::Deployment => cluster.get::<Deployment>(ns, name).await?.and_then(|d| view(&d)),
        WorkloadKind::StatefulSet => cluster.get::<StatefulSet>(ns, name).await?.and_then(|d| view(&d)),
    };
    let Some(w) = view else { return Err(Failure::new(format!("{} is gone", situation.live.shown()))) };
    if w.observed_generation < w.generation || w.updated < w.wanted || w.available < w.wanted || w.replicas > w.updated
    {
        return Ok(Some(format!("{} of {} pods are new, {} available", w.updated, w.wanted, w.available)));
    }
    let pods: Vec<Pod> = cluster.list(Some(ns), &ListParams::default()).await?;
    Ok(unlabelled(situation, &pods))
}

/// The pods behind the Service that lack the label.
fn unlabelled(situation: &Situation, pods: &[Pod]) -> Option<String> {
    let views = pods.iter().map(convert::pod).filter(|p| !p.terminating && matches(&p.labels, &situation.selector));
    let without: Vec<String> =
        views.filter(|p| p.labels.get(&situation.key) != Some(&situation.live_value)).map(|p| p.name).collect();
    // Where the second side is behind the Service, too, it is left out by the label: that is meant.
    let beside = situation.other.is_some();
    (!without.is_empty() && !beside)
        .then(|| format!("pods behind the Service lack {}: {}", situation.key, without.join(", ")))
}

/// Adds the label to the selector, if the Service is as it was seen and its pods have the label.
async fn pin(cluster: &Cluster, ns: &str, situation: &Situation) -> Result<(), Failure> {
    let name = &situation.service;
    let Some(service) = cluster.get::<Service>(ns, name).await? else {
        return Err(Failure::new(format!("Service {name} is gone")));
    };
    let now = service.spec.as_ref().and_then(|s| s.selector.clone()).unwrap_or_default();
    if now != situation.selector {
        return Err(Failure::new(format!("the selector of Service {name} was changed meanwhile: it is left alone"))
            .next("the same command again"));
    }
    let pods: Vec<Pod> = cluster.list(Some(ns), &ListParams::default()).await?;
    if let Some(why) = unlabelled(situation, &pods) {
        return Err(Failure::new(why).next("the same command again"));
    }
    // Of this version of the Service and no other. Server-side apply would take the whole selector over, which is one field.
    let patch = json!({
        "metadata": {"uid": service.uid(), "resourceVersion": service.resource_version()},
        "spec": {"selector": {situation.key.as_str(): situation.live_value}},
    });
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match cluster.patch::<Service>(ns, name, &params, &Patch::Merge(&patch)).await? {
        Some(_) => Ok(()),
        None => Err(Failure::new(format!("Service {name} was changed meanwhile: it is left alone"))
            .next("the same command again")),
    }
}
