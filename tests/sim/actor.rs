//! Carries out effects on the simulated cluster exactly as `cutover::act` does on a real one: its own live reads, its
//! own tests, one try.

use cutover::api::run::{BlockCause, Selector};
use cutover::api::{ANNOTATION_ATTEMPT, LABEL_RUN, LABEL_STEP};
use cutover::effect::{Effect, Outcome, RestoreGuard};
use cutover::endpoints::Names;
use cutover::world::{JobResult, JobView};

use super::changes;
use super::cluster::{Cluster, Job, Who, Wrote, metadata};
use super::faults::{Kind, on_effect};
use super::jobs::pod_of;
use super::promises;

/// Carries out one effect, or lets a fault befall it.
pub fn act(cluster: &mut Cluster, effect: &Effect) -> Outcome {
    let (on, name) = on_effect(effect);
    match cluster.faults.strike(on, name, cluster.now) {
        None => real(cluster, effect),
        Some(Kind::Lost) => {
            real(cluster, effect);
            match effect {
                Effect::Restore { .. } => blocked(BlockCause::Unreachable, "the reply was lost"),
                _ => Outcome::Transient("the reply was lost".into()),
            }
        }
        Some(Kind::Annotated) => {
            cluster.annotate(name, "kubectl-annotate");
            real(cluster, effect)
        }
        Some(kind) if matches!(effect, Effect::Restore { .. }) => match kind {
            Kind::Transient | Kind::Lost => blocked(BlockCause::Unreachable, "503 the server is unable to handle it"),
            Kind::Forbidden => blocked(BlockCause::Permission, &format!("{name} is forbidden")),
            Kind::Invalid => {
                blocked(BlockCause::Admission, "admission webhook \"deny.example.com\" denied the request")
            }
            Kind::Annotated | Kind::Conflict => {
                blocked(BlockCause::Conflict, &format!("Service {name} was written at the same moment"))
            }
        },
        Some(Kind::Transient) => Outcome::Transient("503 the server is currently unable to handle the request".into()),
        Some(Kind::Forbidden) => Outcome::Refused {
            why: format!("{name} is forbidden: User \"system:serviceaccount:prod:cutover\" cannot do this"),
            forbidden: true,
        },
        Some(Kind::Invalid) => Outcome::Refused { why: format!("{name}: denied by a policy"), forbidden: false },
        Some(Kind::Conflict) => Outcome::Conflict(format!("{name} was changed by somebody else")),
    }
}

fn blocked(cause: BlockCause, why: &str) -> Outcome {
    Outcome::Blocked { cause, why: why.into(), slow: false }
}

/// Carries out one effect.
pub fn real(cluster: &mut Cluster, effect: &Effect) -> Outcome {
    let before = cluster.audit.len();
    let outcome = attempt(cluster, effect);
    promises::at_write(cluster, effect, before);
    outcome
}

fn attempt(cluster: &mut Cluster, effect: &Effect) -> Outcome {
    match effect {
        Effect::CreateJob { name, manifest } => create(cluster, name, manifest),
        Effect::StartJob { name, uid } => start(cluster, name, uid),
        Effect::DeleteJob { name, uid, resource_version } => delete(cluster, name, uid, resource_version.as_deref()),
        Effect::OwnJob { name, uid } => own(cluster, name, uid),
        Effect::Answer { uid, resource_version, result, .. } => cluster.answer_decision(uid, resource_version, result),
        Effect::Send { key, request } => {
            cluster.wrote(Who::Us, Wrote::Sent { key: key.clone() });
            Outcome::Answered(cluster.ask(request))
        }
        Effect::Switch { service, uid, resource_version, from, to, min_ready } => {
            switch(cluster, service, uid, resource_version, from, to, *min_ready)
        }
        Effect::Restore { service, from, to, guard, limit: _, fence } => {
            restore(cluster, service, from, to, guard, fence)
        }
        Effect::Change { why: _, object, uid, change, unless_live } => {
            changes::make(cluster, object, uid, change, unless_live)
        }
    }
}

fn create(cluster: &mut Cluster, name: &str, manifest: &serde_json::Value) -> Outcome {
    let run = metadata(manifest, "labels", LABEL_RUN).map(str::to_owned);
    let step = metadata(manifest, "labels", LABEL_STEP)
        .zip(metadata(manifest, "annotations", ANNOTATION_ATTEMPT))
        .map(|(step, attempt)| format!("{step}#{attempt}"));
    if let Some(job) = cluster.jobs.get(name) {
        return if job.view.run == run && job.view.step == step && run.is_some() {
            Outcome::Created { uid: job.view.uid.clone() }
        } else {
            Outcome::NameCollision(format!("a Job {name} exists that this run did not create: delete or rename it"))
        };
    }
    let suspended = manifest.pointer("/spec/suspend").and_then(serde_json::Value::as_bool).unwrap_or(false);
    if !suspended {
        cluster.broken.push(format!("P1: Job {name} is not created suspended"));
    }
    let n = cluster.bump(&format!("job-uids/{name}"));
    let view = JobView {
        uid: format!("{name}-uid-{n}"),
        resource_version: cluster.bump(&format!("jobs/{name}")),
        run,
        step,
        suspended,
        template: manifest.pointer("/spec/template").cloned().map(std::sync::Arc::new),
        ..JobView::default()
    };
    let uid = view.uid.clone();
    let deadline = manifest.pointer("/spec/activeDeadlineSeconds").and_then(serde_json::Value::as_u64);
    cluster.jobs.insert(name.to_owned(), Job { view, result: JobResult::default(), deadline });
    cluster.wrote(Who::Us, Wrote::JobCreated { job: name.to_owned() });
    Outcome::Created { uid }
}

fn start(cluster: &mut Cluster, name: &str, uid: &str) -> Outcome {
    let now = cluster.now;
    match cluster.jobs.get(name) {
        None => return Outcome::NotFound,
        Some(job) if job.view.uid != uid => {
            return Outcome::Conflict(format!("Job {name} was replaced by another of that name"));
        }
        Some(job) if !job.view.suspended => return Outcome::Done,
        Some(_) => {}
    }
    let version = cluster.bump(&format!("jobs/{name}"));
    let Some(job) = cluster.jobs.get_mut(name) else { return Outcome::NotFound };
    job.view.suspended = false;
    job.view.started = Some(now);
    job.view.pods_left = 1;
    job.view.pod = Some(pod_of(name, &job.view));
    job.view.resource_version = version;
    let step = job.view.step.as_deref().and_then(|s| s.rsplit_once('#')).map(|(step, _)| step.to_owned());
    cluster.wrote(Who::Us, Wrote::JobStarted { job: name.to_owned(), step });
    Outcome::Done
}

fn delete(cluster: &mut Cluster, name: &str, uid: &str, version: Option<&str>) -> Outcome {
    match cluster.jobs.get(name) {
        None => Outcome::NotFound,
        Some(job) if job.view.uid != uid => Outcome::NotFound,
        Some(job) if version.is_some_and(|v| v != job.view.resource_version) => {
            Outcome::Conflict(format!("Job {name} changed since it was looked at"))
        }
        Some(_) => {
            cluster.remove_job(name, Who::Us);
            Outcome::Done
        }
    }
}

fn own(cluster: &mut Cluster, name: &str, uid: &str) -> Outcome {
    match cluster.jobs.get(name) {
        Some(job) if job.view.uid == uid && job.view.owned => return Outcome::Done,
        Some(job) if job.view.uid == uid => {}
        _ => return Outcome::NotFound,
    }
    let version = cluster.bump(&format!("jobs/{name}"));
    if let Some(job) = cluster.jobs.get_mut(name) {
        job.view.owned = true;
        job.view.resource_version = version;
    }
    cluster.wrote(Who::Us, Wrote::JobOwned { job: name.to_owned() });
    Outcome::Done
}

fn switch(
    cluster: &mut Cluster,
    name: &str,
    uid: &str,
    version: &str,
    from: &Selector,
    to: &Selector,
    min_ready: u32,
) -> Outcome {
    let Some(service) = cluster.services.get(name) else { return Outcome::NotFound };
    if service.view.uid != uid {
        return Outcome::Conflict(format!("Service {name} was replaced"));
    }
    if &service.view.selector == to {
        return Outcome::Done;
    }
    if &service.view.selector != from || service.view.resource_version != version {
        let by = service.view.writer.as_deref().unwrap_or("somebody else");
        return Outcome::Conflict(format!("Service {name} was written by {by} after the claim"));
    }
    let ready = cluster.ready(name, to);
    if ready < min_ready {
        return Outcome::Guarded { ready, other: None, foreign: None };
    }
    cluster.write_selector(name, to.clone(), None, Who::Us);
    Outcome::Done
}

/// Which side a live selector names, by the keys in which the two whole selectors differ.
fn names(selector: &Selector, from: &Selector, to: &Selector) -> Names {
    let agrees = |side: &Selector| {
        from.iter().filter(|(k, v)| to.get(*k) != Some(*v)).all(|(k, _)| selector.get(k) == side.get(k))
    };
    match (agrees(from), agrees(to)) {
        (true, false) => Names::Old,
        (false, true) => Names::Target,
        _ => Names::Foreign,
    }
}

fn restore(
    cluster: &mut Cluster,
    name: &str,
    from: &Selector,
    to: &Selector,
    guard: &RestoreGuard,
    fence: &str,
) -> Outcome {
    let Some(service) = cluster.services.get(name) else { return Outcome::NotFound };
    let live = service.view.selector.clone();
    let wanted = match names(&live, from, to) {
        Names::Old if service.fence.as_deref() == Some(fence) => return Outcome::Done,
        Names::Old => live,
        Names::Target => {
            let (ready, other) = (cluster.ready(name, from), Some(cluster.ready(name, to)));
            if !guard.allows(ready, other) {
                return Outcome::Guarded { ready, other, foreign: None };
            }
            from.clone()
        }
        Names::Foreign => return Outcome::Guarded { ready: 0, other: None, foreign: Some(live) },
    };
    cluster.write_selector(name, wanted, Some(fence.to_owned()), Who::Us);
    Outcome::Done
}
