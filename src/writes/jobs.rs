//! PURE. Jobs: created suspended, started once by a patch that tests the uid, deleted by uid, owned at the end (P1).

use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::Run;
use crate::api::{ANNOTATION_ATTEMPT, ANNOTATION_TEMPLATE, LABEL_RUN, LABEL_STEP};
use crate::effect::protocol::{Answer, Exchange, JsonPatch, LiveRead, Next, Object, Write, object};
use crate::effect::{CallError, Class, Outcome};

fn this(name: &str) -> Object {
    Object::of::<Job>(name)
}

fn look(name: &str) -> LiveRead {
    LiveRead::Object(this(name))
}

fn text<'a>(job: &'a Value, path: &str) -> Option<&'a str> {
    job.pointer(path)?.as_str()
}

fn has_uid(job: &Value, uid: &str) -> bool {
    text(job, "/metadata/uid") == Some(uid)
}

fn version(job: &Value) -> &str {
    text(job, "/metadata/resourceVersion").unwrap_or_default()
}

/// The outcome of a reading that failed after a write had.
fn unread(name: &str, again: CallError) -> Outcome {
    match again.class {
        Class::NotFound => Outcome::NotFound,
        _ => Outcome::Transient(format!("Job {name} cannot be read: {again}")),
    }
}

fn member<'a>(job: &'a Value, map: &str, key: &str) -> Option<&'a str> {
    job.pointer(map)?.get(key)?.as_str()
}

/// Run, step and attempt of a Job.
fn identity(job: &Value) -> [Option<&str>; 3] {
    let (labels, annotations) = ("/metadata/labels", "/metadata/annotations");
    [member(job, labels, LABEL_RUN), member(job, labels, LABEL_STEP), member(job, annotations, ANNOTATION_ATTEMPT)]
}

/// Whether a Job is the one that was claimed: by run, step and attempt, which anybody can know beforehand, and by the hash
/// that the claim journaled. Only an older version claimed without one.
fn ours(manifest: &Value, job: &Value) -> bool {
    let wanted = identity(manifest);
    let claim = |job: &Value| member(job, "/metadata/annotations", ANNOTATION_TEMPLATE).map(str::to_owned);
    wanted.iter().all(Option::is_some)
        && wanted == identity(job)
        && claim(manifest).is_none_or(|hash| claim(job) == Some(hash))
}

fn suspended(job: &Value) -> bool {
    job.pointer("/spec/suspend").and_then(Value::as_bool).unwrap_or(false)
}

/// Creates a suspended Job, or finds the one that an earlier try created.
pub fn create(name: &str, manifest: &Value, heard: &Exchange) -> Result<Outcome, Next> {
    let created = |job: &Value, otherwise: &str| match text(job, "/metadata/uid") {
        Some(uid) => Outcome::Created { uid: uid.to_owned() },
        None => Outcome::Transient(otherwise.to_owned()),
    };
    match heard.sent() {
        None => Err(Next::send(Write::Create(this(name), manifest.clone()))),
        Some(Ok(job)) => Ok(created(job, "the Job was created without a uid")),
        Some(Err(e)) if e.class == Class::Conflict => Ok(match object(heard.after(look(name))?) {
            // Ours is suspended until its uid is recorded: one that runs was made by somebody else.
            Ok(found) if ours(manifest, found) && suspended(found) => created(found, "the Job has no uid"),
            Ok(_) => {
                Outcome::NameCollision(format!("a Job {name} exists that this run did not create: delete or rename it"))
            }
            Err(again) => Outcome::Transient(format!("Job {name} exists and cannot be read: {again}")),
        }),
        // The namespace is not there: refused, and not "the Job is gone".
        Some(Err(e)) if e.class == Class::NotFound => Ok(Outcome::Refused { why: e.text.clone(), forbidden: false }),
        Some(Err(e)) => Ok(e.clone().outcome()),
    }
}

fn start_patch(uid: &str) -> JsonPatch {
    JsonPatch::of(uid).test("/spec/suspend", true).replace("/spec/suspend", false)
}

/// Starts a Job whose uid is recorded.
pub fn start(name: &str, uid: &str, heard: &Exchange) -> Result<Outcome, Next> {
    match heard.sent() {
        None => Err(Next::send(Write::Patch(this(name), start_patch(uid)))),
        Some(Ok(_)) => Ok(Outcome::Done),
        Some(Err(e)) if e.may_be_a_test() => Ok(match object(heard.after(look(name))?) {
            Ok(job) if !has_uid(job, uid) => {
                Outcome::Conflict(format!("Job {name} was replaced by another of that name"))
            }
            Ok(job) if !suspended(job) => Outcome::Done,
            Ok(_) => same_again(e),
            Err(again) => unread(name, again),
        }),
        Some(Err(e)) => Ok(e.clone().outcome()),
    }
}

/// Deletes a Job of ours with its pods; with a resourceVersion only as long as nobody has touched it.
pub fn delete(name: &str, uid: &str, resource_version: Option<&str>, heard: &Exchange) -> Result<Outcome, Next> {
    match heard.sent() {
        None => Err(Next::send(Write::Delete {
            object: this(name),
            uid: uid.to_owned(),
            resource_version: resource_version.map(str::to_owned),
        })),
        Some(Ok(_)) => Ok(Outcome::Done),
        Some(Err(e)) if e.may_be_a_test() => Ok(match object(heard.after(look(name))?) {
            Ok(job) if !has_uid(job, uid) => Outcome::NotFound,
            Ok(job) if resource_version.is_some_and(|rv| version(job) != rv) => {
                Outcome::Conflict(format!("Job {name} changed since it was looked at"))
            }
            Ok(_) => same_again(e),
            Err(again) => unread(name, again),
        }),
        Some(Err(e)) => Ok(e.clone().outcome()),
    }
}

/// The Job is as it must be, and the write failed all the same: a conflict passes by itself, a refusal does not.
fn same_again(e: &CallError) -> Outcome {
    match e.class {
        Class::Conflict => Outcome::Transient(e.text.clone()),
        _ => e.clone().outcome(),
    }
}

fn own_patch(job: &Value, run: Run<'_>, uid: &str) -> JsonPatch {
    let owner = run.as_owner();
    let patch = JsonPatch::of(uid).version(version(job));
    match job.pointer("/metadata/ownerReferences").and_then(Value::as_array).map(Vec::as_slice) {
        Some([_, ..]) => patch.add("/metadata/ownerReferences/-", owner),
        _ => patch.add("/metadata/ownerReferences", json!([owner])),
    }
}

/// Gives a Job its ownerReference, so that it goes with the run.
pub fn own(run: Run<'_>, name: &str, uid: &str, heard: &Exchange) -> Result<Outcome, Next> {
    let [found]: [&Answer; 1] = heard.before([look(name)])?;
    let before = match object(found) {
        Ok(job) if !has_uid(job, uid) => return Ok(Outcome::NotFound),
        Ok(job) => job,
        Err(e) => return Ok(unread(name, e)),
    };
    let owners = before.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
    if owners.filter_map(|o| o.get("uid")?.as_str()).any(|owner| owner == run.uid) {
        return Ok(Outcome::Done);
    }
    match heard.sent() {
        None => Err(Next::send(Write::Patch(this(name), own_patch(before, run, uid)))),
        Some(Ok(_)) => Ok(Outcome::Done),
        // A Job's status changes often while its pods end: read anew by the next try.
        Some(Err(e)) if e.class == Class::Conflict => Ok(Outcome::Transient(e.text.clone())),
        Some(Err(e)) if e.class == Class::Invalid => Ok(match object(heard.after(look(name))?) {
            Ok(now) if version(now) == version(before) => e.clone().outcome(),
            Ok(_) => Outcome::Transient(format!("Job {name} changed meanwhile")),
            Err(again) => unread(name, again),
        }),
        Some(Err(e)) => Ok(e.clone().outcome()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(run: &str, attempt: &str) -> Value {
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": "migrate-1", "uid": "u", "resourceVersion": "5",
                "labels": {LABEL_RUN: run, LABEL_STEP: "migrate"}, "annotations": {ANNOTATION_ATTEMPT: attempt},
            },
            "spec": {"suspend": true, "template": {"spec": {"containers": []}}},
        })
    }

    /// What is heard when the write failed and the Job is read again.
    fn failed(e: CallError, again: &Value) -> Exchange {
        let mut heard = Exchange::default();
        heard.wrote(Err(e));
        heard.read(look("migrate-1"), Ok(crate::effect::protocol::LiveAnswer::Object(again.clone())));
        heard
    }

    #[test]
    fn a_job_is_ours_only_with_run_step_and_attempt() {
        let job = manifest("r1", "1");
        assert!(ours(&manifest("r1", "1"), &job));
        assert!(!ours(&manifest("r2", "1"), &job));
        assert!(!ours(&manifest("r1", "2"), &job));
        // A ready-made one, with everything that could be known beforehand.
        let mut claimed = manifest("r1", "1");
        claimed["metadata"]["annotations"][ANNOTATION_TEMPLATE] = "h1".into();
        assert!(!ours(&claimed, &job));
        let mut other = claimed.clone();
        assert!(ours(&claimed, &other));
        other["metadata"]["annotations"][ANNOTATION_TEMPLATE] = "h2".into();
        assert!(!ours(&claimed, &other));
        // Nothing is ours by two absent labels that agree.
        let bare = json!({"metadata": {"name": "migrate-1"}});
        assert!(!ours(&bare, &bare));
    }

    #[test]
    fn a_job_that_is_there_already_is_ours_or_a_collision() {
        let there = || CallError::new(Class::Conflict, "AlreadyExists");
        let found = create("migrate-1", &manifest("r1", "1"), &failed(there(), &manifest("r1", "1")));
        assert_eq!(found, Ok(Outcome::Created { uid: "u".into() }));
        let other = create("migrate-1", &manifest("r1", "1"), &failed(there(), &manifest("r2", "1")));
        assert!(matches!(other, Ok(Outcome::NameCollision(_))), "{other:?}");
        let mut runs = manifest("r1", "1");
        runs["spec"]["suspend"] = false.into();
        let runs = create("migrate-1", &manifest("r1", "1"), &failed(there(), &runs));
        assert!(matches!(runs, Ok(Outcome::NameCollision(_))), "{runs:?}");
    }

    #[test]
    fn a_start_that_failed_is_explained_by_the_job() {
        let no = || CallError::invalid("no");
        let mut started = manifest("r1", "1");
        assert!(matches!(start("migrate-1", "u", &failed(no(), &started)), Ok(Outcome::Refused { .. })));
        assert!(matches!(start("migrate-1", "v", &failed(no(), &started)), Ok(Outcome::Conflict(_))));
        started["spec"]["suspend"] = false.into();
        assert_eq!(start("migrate-1", "u", &failed(no(), &started)), Ok(Outcome::Done));
    }

    #[test]
    fn a_delete_that_failed_is_explained_by_the_job() {
        let conflict = || failed(CallError::new(Class::Conflict, "precondition"), &manifest("r1", "1"));
        assert_eq!(delete("migrate-1", "v", None, &conflict()), Ok(Outcome::NotFound));
        assert!(matches!(delete("migrate-1", "u", Some("4"), &conflict()), Ok(Outcome::Conflict(_))));
        assert!(matches!(delete("migrate-1", "u", Some("5"), &conflict()), Ok(Outcome::Transient(_))));
    }

    #[test]
    fn patches_test_the_uid_first() {
        let run = Run { name: "web-1", uid: "r1" };
        let mut job = json!({"metadata": {"resourceVersion": "5"}});
        for patch in [start_patch("u"), own_patch(&job, run, "u")] {
            assert_eq!(patch.operations()[0], json!({"op": "test", "path": "/metadata/uid", "value": "u"}));
            assert!(patch.body().is_ok());
        }
        assert_eq!(own_patch(&job, run, "u").operations()[2]["value"][0]["uid"], "r1");
        job["metadata"]["ownerReferences"] = json!([{"uid": "x"}]);
        assert_eq!(own_patch(&job, run, "u").operations()[2]["path"], "/metadata/ownerReferences/-");
    }
}
