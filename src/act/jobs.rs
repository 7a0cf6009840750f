//! Jobs: created suspended, started once by a patch that tests the uid, deleted by uid, owned at the end (P1).

use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, PostParams, Preconditions, PropagationPolicy};
use kube::core::ApiResource;
use serde_json::{Value, json};

use super::call::{CallError, Class, call};
use super::{Hands, failed, patch, patch_params, read_again};
use crate::api::{ANNOTATION_ATTEMPT, FIELD_MANAGER, GROUP, LABEL_RUN, LABEL_STEP, VERSION};
use crate::effect::Outcome;
use crate::observe::Scope;

impl Hands {
    async fn job(&self, name: &str) -> Result<Job, CallError> {
        let api: Api<Job> = Api::namespaced(self.reader.clone(), &self.namespace);
        call(api.get(name)).await
    }

    async fn patch_job(&self, name: &str, operations: Value) -> Result<(), CallError> {
        let api: Api<Job> = Api::namespaced(self.writer.clone(), &self.namespace);
        call(api.patch(name, &patch_params(), &patch(operations)?)).await.map(drop)
    }
}

/// Run, step and attempt of a Job: what makes it the one that was claimed.
fn identity(labels: Option<&Value>, annotations: Option<&Value>) -> [Option<String>; 3] {
    let text = |map: Option<&Value>, key: &str| map?.get(key)?.as_str().map(str::to_owned);
    [text(labels, LABEL_RUN), text(labels, LABEL_STEP), text(annotations, ANNOTATION_ATTEMPT)]
}

fn ours(manifest: &Value, job: &Job) -> bool {
    let wanted = identity(manifest.pointer("/metadata/labels"), manifest.pointer("/metadata/annotations"));
    let found = identity(
        job.metadata.labels.as_ref().map(|m| json!(m)).as_ref(),
        job.metadata.annotations.as_ref().map(|m| json!(m)).as_ref(),
    );
    wanted.iter().all(Option::is_some) && wanted == found
}

/// Creates a suspended Job, or finds the one that an earlier try created.
pub async fn create(hands: &Hands, name: &str, manifest: &Value) -> Outcome {
    let job = ApiResource::erase::<Job>(&());
    let body: DynamicObject = match serde_json::from_value(manifest.clone()) {
        Ok(body) => body,
        Err(e) => return Outcome::Refused { why: format!("not a Job: {e}"), forbidden: false },
    };
    let api: Api<DynamicObject> = Api::namespaced_with(hands.writer.clone(), &hands.namespace, &job);
    let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
    match call(api.create(&params, &body)).await {
        Ok(created) => match created.metadata.uid {
            Some(uid) => Outcome::Created { uid },
            None => Outcome::Transient("the Job was created without a uid".into()),
        },
        Err(e) if e.class == Class::Conflict => match hands.job(name).await {
            Ok(found) if ours(manifest, &found) => match found.metadata.uid {
                Some(uid) => Outcome::Created { uid },
                None => Outcome::Transient("the Job has no uid".into()),
            },
            Ok(_) => {
                Outcome::NameCollision(format!("a Job {name} exists that this run did not create: delete or rename it"))
            }
            Err(again) => Outcome::Transient(format!("Job {name} exists and cannot be read: {again}")),
        },
        // The namespace is not there: refused, and not "the Job is gone".
        Err(e) if e.class == Class::NotFound => Outcome::Refused { why: e.text, forbidden: false },
        Err(e) => failed(e),
    }
}

fn start_operations(uid: &str) -> Value {
    json!([
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "test", "path": "/spec/suspend", "value": true},
        {"op": "replace", "path": "/spec/suspend", "value": false},
    ])
}

/// Starts a Job whose uid is recorded.
pub async fn start(hands: &Hands, name: &str, uid: &str) -> Outcome {
    match hands.patch_job(name, start_operations(uid)).await {
        Ok(()) => Outcome::Done,
        Err(e) if read_again(&e) => match hands.job(name).await {
            Ok(job) if job.metadata.uid.as_deref() != Some(uid) => {
                Outcome::Conflict(format!("Job {name} was replaced by another of that name"))
            }
            Ok(job) if !job.spec.as_ref().and_then(|s| s.suspend).unwrap_or(false) => Outcome::Done,
            Ok(_) if e.class == Class::Conflict => Outcome::Transient(e.text),
            Ok(_) => failed(e),
            Err(again) if again.class == Class::NotFound => Outcome::NotFound,
            Err(again) => Outcome::Transient(format!("Job {name} cannot be read: {again}")),
        },
        Err(e) => failed(e),
    }
}

/// Deletes a Job of ours with its pods; with a resourceVersion only as long as nobody has touched it.
pub async fn delete(hands: &Hands, name: &str, uid: &str, resource_version: Option<&str>) -> Outcome {
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: resource_version.map(str::to_owned),
        }),
        ..DeleteParams::default()
    };
    let api: Api<Job> = Api::namespaced(hands.writer.clone(), &hands.namespace);
    match call(api.delete(name, &params)).await {
        Ok(_) => Outcome::Done,
        Err(e) if read_again(&e) => match hands.job(name).await {
            Ok(job) if job.metadata.uid.as_deref() != Some(uid) => Outcome::NotFound,
            Ok(job) if resource_version.is_some_and(|rv| job.metadata.resource_version.as_deref() != Some(rv)) => {
                Outcome::Conflict(format!("Job {name} changed since it was looked at"))
            }
            Ok(_) if e.class == Class::Conflict => Outcome::Transient(e.text),
            Ok(_) => failed(e),
            Err(again) if again.class == Class::NotFound => Outcome::NotFound,
            Err(again) => Outcome::Transient(format!("Job {name} cannot be read: {again}")),
        },
        Err(e) => failed(e),
    }
}

fn own_operations(job: &Job, scope: &Scope, uid: &str) -> Value {
    let owner = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "CutoverRun", "name": scope.run, "uid": scope.run_uid,
    });
    let add = match job.metadata.owner_references.as_deref() {
        Some([_, ..]) => json!({"op": "add", "path": "/metadata/ownerReferences/-", "value": owner}),
        _ => json!({"op": "add", "path": "/metadata/ownerReferences", "value": [owner]}),
    };
    json!([
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": job.metadata.resource_version},
        add,
    ])
}

/// Gives a Job its ownerReference, so that it goes with the run.
pub async fn own(hands: &Hands, scope: &Scope, name: &str, uid: &str) -> Outcome {
    let job = match hands.job(name).await {
        Ok(job) if job.metadata.uid.as_deref() != Some(uid) => return Outcome::NotFound,
        Ok(job) => job,
        Err(e) if e.class == Class::NotFound => return Outcome::NotFound,
        Err(e) => return Outcome::Transient(format!("Job {name} cannot be read: {e}")),
    };
    if job.metadata.owner_references.iter().flatten().any(|o| o.uid == scope.run_uid) {
        return Outcome::Done;
    }
    match hands.patch_job(name, own_operations(&job, scope, uid)).await {
        Ok(()) => Outcome::Done,
        // A Job's status changes often while its pods end: read anew by the next try.
        Err(e) if e.class == Class::Conflict => Outcome::Transient(e.text),
        Err(e) if e.class == Class::Invalid => match hands.job(name).await {
            Ok(now) if now.metadata.resource_version == job.metadata.resource_version => failed(e),
            Ok(_) => Outcome::Transient(format!("Job {name} changed meanwhile")),
            Err(again) if again.class == Class::NotFound => Outcome::NotFound,
            Err(again) => Outcome::Transient(format!("Job {name} cannot be read: {again}")),
        },
        Err(e) => failed(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(run: &str, attempt: &str) -> Value {
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": "migrate-1", "labels": {LABEL_RUN: run, LABEL_STEP: "migrate"}, "annotations": {ANNOTATION_ATTEMPT: attempt},
            },
            "spec": {"suspend": true, "template": {"spec": {"containers": []}}},
        })
    }

    #[test]
    fn a_job_is_ours_only_with_run_step_and_attempt() {
        let job: Job = serde_json::from_value(manifest("r1", "1")).expect("a Job");
        assert!(ours(&manifest("r1", "1"), &job));
        assert!(!ours(&manifest("r2", "1"), &job));
        assert!(!ours(&manifest("r1", "2"), &job));
        // Nothing is ours by two absent labels that agree.
        let bare = json!({"metadata": {"name": "migrate-1"}});
        assert!(!ours(&bare, &Job::default()));
    }

    #[test]
    fn patches_test_the_uid_first() {
        let scope = Scope {
            namespace: "a".into(),
            service_account: "cutover".into(),
            prometheus: None,
            run: "web-1".into(),
            run_uid: "r1".into(),
        };
        let mut job = Job::default();
        job.metadata.resource_version = Some("5".into());
        for list in [start_operations("u"), own_operations(&job, &scope, "u")] {
            assert_eq!(list[0], json!({"op": "test", "path": "/metadata/uid", "value": "u"}));
            assert!(patch(list).is_ok());
        }
        assert_eq!(own_operations(&job, &scope, "u")[2]["value"][0]["uid"], "r1");
        job.metadata.owner_references = Some(vec![Default::default()]);
        assert_eq!(own_operations(&job, &scope, "u")[2]["path"], "/metadata/ownerReferences/-");
    }
}
