//! Reads of objects that only a step changes, when it is about to; nothing watches them.

use std::future::Future;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::net::call::{Unanswered, answered};
use crate::world::{CronJobView, Revision, RevisionsView};

/// One call within its time.
async fn call<T>(future: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    answered(future).await.map_err(|e| match e {
        Unanswered::Error(e) => e.to_string(),
        Unanswered::Late => "the API server did not answer within 2s".into(),
    })
}

/// A CronJob; `None`: there is none.
pub(super) async fn cron_job(client: &Client, namespace: &str, name: &str) -> Result<Option<CronJobView>, String> {
    let api = Api::<CronJob>::namespaced(client.clone(), namespace);
    Ok(call(api.get_opt(name)).await?.as_ref().map(view))
}

fn view(job: &CronJob) -> CronJobView {
    let active = job.status.iter().flat_map(|s| s.active.iter().flatten());
    CronJobView {
        uid: job.uid().unwrap_or_default(),
        suspended: job.spec.suspend.unwrap_or(false),
        active: active.filter_map(|j| j.name.clone()).collect(),
    }
}

/// On a Deployment and its ReplicaSets, as Kubernetes writes it: the number of the revision.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// On the pods of a ReplicaSet alone.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// The revisions of a Deployment.
pub(super) async fn revisions(client: &Client, namespace: &str, name: &str) -> Result<RevisionsView, String> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let deployment = call(deployments.get(name)).await?;
    let uid = deployment.uid().unwrap_or_default();
    let spec = deployment.spec.clone().unwrap_or_default();
    let labels = spec.selector.match_labels.unwrap_or_default();
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let sets = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &ApiResource::erase::<ReplicaSet>(&()));
    let sets = call(sets.list(&ListParams::default().labels(&labels.join(",")))).await?;
    Ok(RevisionsView {
        current: number(&deployment.metadata).unwrap_or(0),
        paused: spec.paused.unwrap_or(false),
        all: sets.items.iter().filter_map(|set| revision(set, &uid)).collect(),
    })
}

fn number(meta: &ObjectMeta) -> Option<i64> {
    meta.annotations.as_ref()?.get(REVISION)?.parse().ok()
}

/// The revision that a ReplicaSet of the Deployment stands for.
fn revision(set: &DynamicObject, deployment: &str) -> Option<Revision> {
    if !set.metadata.owner_references.iter().flatten().any(|o| o.uid == deployment) {
        return None;
    }
    let mut template = set.data.pointer("/spec/template")?.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(TEMPLATE_HASH);
    }
    Some(Revision { number: number(&set.metadata)?, template })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_the_template_without_what_its_replica_set_added() {
        let set = serde_json::json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": "web-1", "annotations": {REVISION: "4"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u"}],
            },
            "spec": {"template": {"metadata": {"labels": {"app": "web", TEMPLATE_HASH: "1"}}, "spec": {}}},
        });
        let set: DynamicObject = serde_json::from_value(set).expect("a ReplicaSet");
        let template = serde_json::json!({"metadata": {"labels": {"app": "web"}}, "spec": {}});
        assert_eq!(revision(&set, "u"), Some(Revision { number: 4, template }));
        assert_eq!(revision(&set, "another"), None, "of another Deployment with the same labels");
    }

    #[test]
    fn a_cron_job_is_seen_with_its_running_jobs() {
        let job = serde_json::json!({
            "metadata": {"name": "daily", "uid": "u"},
            "spec": {"schedule": "0 3 * * *", "suspend": true, "jobTemplate": {}},
            "status": {"active": [{"kind": "Job", "name": "daily-1"}]},
        });
        let job: CronJob = serde_json::from_value(job).expect("a CronJob");
        let wanted = CronJobView { uid: "u".into(), suspended: true, active: vec!["daily-1".into()] };
        assert_eq!(view(&job), wanted);
        let bare: CronJob =
            serde_json::from_value(serde_json::json!({"metadata": {}, "spec": {"schedule": "", "jobTemplate": {}}}))
                .expect("a CronJob");
        assert_eq!(view(&bare), CronJobView::default());
    }
}
