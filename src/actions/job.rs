//! PURE. One Job, at most once (P1): its name is claimed, it is created suspended, its uid recorded, and only then it is
//! started by a patch that tests the uid. Every move follows from the record alone, so that a restart may come anywhere.
//!
//! A Job that is recorded and gone is [`Verdict::Unknown`]: what it did is not known, and it is never created again.

use jiff::Timestamp;

use crate::api::ANNOTATION_TEMPLATE;
use crate::api::duration::Duration;
use crate::api::run::{JobRecord, StepRecord};
use crate::api::step::Job;
use crate::effect::{Effect, EffectKey, Outcome, Read, hash};
use crate::endpoints::why;
use crate::plan::PlanStep;
use crate::world::{JobEnd, JobView};

use super::job_result::{self, PODS_END};
use super::job_start::{self, Start};
use super::request::NoRequest;
use super::rights::remedy;
use super::{Cx, Out, Verdict, attempt_of, manifest};
use crate::journal::{self, later, trail};

/// A Job that was created and not seen for this long is looked for live.
const NOT_SEEN: Duration = Duration::from_secs(5);

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, job: &Job, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let Some(claim) = record.job.clone() else {
        let name = manifest::name(&cx.world.run_uid, &step.name, record.attempt);
        return create(cx, step, job, JobRecord { name, ..JobRecord::default() }, record, out);
    };
    let Some(uid) = claim.uid.clone() else { return created(cx, step, job, claim, record, out) };
    if claim.ended.is_some() {
        return job_result::advance(cx, step, job, &claim, record, out);
    }
    if claim.killed {
        return gone(cx, &claim, &uid, record, out);
    }
    watch(cx, step, job, claim, &uid, record, out)
}

/// Claims the name and asks for the Job. Safe to repeat: the executor finds the one that is there.
fn create(
    cx: &Cx,
    step: &PlanStep,
    job: &Job,
    claim: JobRecord,
    record: &mut StepRecord,
    out: &mut Out,
) -> Option<Verdict> {
    let mut manifest = match manifest::build(cx, step, job, record.attempt, false) {
        Ok(manifest) => manifest,
        Err(NoRequest::Wait(why) | NoRequest::Nobody(why)) => {
            record.message = Some(why);
            return None;
        }
        Err(NoRequest::Fail(why)) => return Some(Verdict::fail(why)),
    };
    let image = manifest.pointer("/spec/template/spec/containers/0/image").and_then(|image| image.as_str());
    let words = ["command", "args"].into_iter().filter_map(|list| {
        manifest.pointer(&format!("/spec/template/spec/containers/0/{list}")).and_then(|words| words.as_array())
    });
    let command = trail::command(words.flatten().filter_map(|word| word.as_str()));
    // That of the first claim, whatever addresses a later try names: by it the Job is known again (P1).
    let template = if record.job.is_none() { Some(hash(&manifest["spec"])) } else { claim.template.clone() };
    let claim = JobRecord { image: image.map(str::to_owned), command, template, ..claim };
    if let Some(template) = &claim.template {
        manifest["metadata"]["annotations"][ANNOTATION_TEMPLATE] = template.as_str().into();
    }
    record.message = Some(format!("Job {} is being created", claim.name));
    out.want(cx, Effect::CreateJob { name: claim.name.clone(), manifest });
    record.job = Some(claim);
    None
}

fn created(
    cx: &Cx,
    step: &PlanStep,
    job: &Job,
    mut claim: JobRecord,
    record: &mut StepRecord,
    out: &mut Out,
) -> Option<Verdict> {
    match out.outcome(cx, &EffectKey::CreateJob(claim.name.clone())) {
        Some((at, Outcome::Created { uid })) => {
            record.message = Some(format!("Job {} is created", claim.name));
            claim.uid = Some(uid);
            claim.created = Some(at);
            record.job = Some(claim);
            // Started by the next decision, which finds the uid in a journal that is written.
            out.wake_at(cx.world.now);
            None
        }
        Some((_, Outcome::NameCollision(why))) => Some(Verdict::fail(why)),
        Some((_, Outcome::Refused { why, forbidden })) => {
            let remedy = if forbidden { format!("; {}", remedy(cx, "create", "jobs")) } else { String::new() };
            Some(Verdict::fail(format!("Job {} cannot be created: {why}{remedy}", claim.name)))
        }
        Some((_, Outcome::Transient(why) | Outcome::Conflict(why))) => {
            let waiting = create(cx, step, job, claim, record, out);
            record.message = Some(format!("the Job is not created yet: {why}"));
            waiting
        }
        Some((_, other)) => Some(Verdict::fail(format!("Job {} cannot be created: {other:?}", claim.name))),
        None => create(cx, step, job, claim, record, out),
    }
}

/// From the recorded uid to the end.
fn watch(
    cx: &Cx,
    step: &PlanStep,
    job: &Job,
    mut claim: JobRecord,
    uid: &str,
    record: &mut StepRecord,
    out: &mut Out,
) -> Option<Verdict> {
    let view = match find(cx, &claim, uid) {
        FoundJob::Job(view) => Some(view),
        FoundJob::NotSeenYet => None,
        FoundJob::Gone => return Some(gone_for_good(&claim.name)),
        FoundJob::Other => {
            return Some(Verdict::unknown(format!("Job {} was replaced by another of that name", claim.name)));
        }
    };
    if let Some(end) = view.and_then(|v| v.end.as_ref()) {
        claim.ended = Some(cx.world.now);
        remember_image(&mut claim, view);
        if view.and_then(|v| v.pod.as_ref()).is_some_and(why::has_begun) {
            claim.not_started = None;
        }
        claim.failure = match end {
            JobEnd::Complete => None,
            JobEnd::Failed { reason, message } if message.is_empty() => Some(reason.clone()),
            JobEnd::Failed { reason, message } => Some(format!("{reason}: {message}")),
        };
        if claim.failure.is_some() {
            let why = view.and_then(|v| v.pod.as_ref()).and_then(why::cut_short);
            claim.pod_end = why.map(|why| journal::short(&why, 300));
        }
        record.job = Some(claim.clone());
        return job_result::advance(cx, step, job, &claim, record, out);
    }
    if claim.started.is_none() {
        match start(cx, view, &mut claim, uid, record, out) {
            Started::Yes => record.job = Some(claim.clone()),
            Started::NotYet => {}
            Started::Never(why) => return kill(cx, claim, uid, &why, record, out),
            Started::Lost => return Some(gone_for_good(&claim.name)),
        }
    }
    if view.is_none() {
        // Created a moment ago and not seen yet; or gone while nobody looked, which a live read tells apart.
        let since = claim.created.or(record.attempt_at).unwrap_or(cx.world.now);
        let due = later(since, NOT_SEEN);
        if cx.world.now >= due {
            out.reads.insert(attempt_of(step, record).part("job"), Read::Refresh);
        } else {
            out.wake_at(due);
        }
    }
    if let Some(view) = view {
        match job_start::look(cx, step, &mut claim, view, record, out) {
            Start::Never(why) => return kill(cx, claim, uid, &why, record, out),
            Start::GoOn => record.job = Some(claim.clone()),
        }
    }
    let started = claim.started?;
    let overdue = later(manifest::must_end(job, started), PODS_END);
    if cx.world.now >= overdue {
        return Some(Verdict::unknown(format!(
            "Job {} is past its deadline of {} by more than {PODS_END} and its end has not been seen",
            claim.name,
            manifest::deadline(job)
        )));
    }
    out.wake_at(overdue);
    None
}

/// Takes in what the image was that the pod runs, for an undo that may find neither the Job nor the tag as it is now.
fn remember_image(claim: &mut JobRecord, view: Option<&JobView>) {
    let id = || {
        let view = view?;
        let main = view.template.as_ref()?.pointer("/spec/containers/0/name")?.as_str()?;
        view.pod.as_ref()?.containers.iter().find(|c| c.name == main)?.image_id.clone()
    };
    claim.image_id = id().or(claim.image_id.take());
}

/// Whether a Job of the claimed name is the one that the claim has created, though its uid is not recorded: suspended, and
/// with the hash that was journaled. Any other is somebody else's, and neither started nor deleted.
pub(crate) fn is_claimed(view: &JobView, claim: &JobRecord, run_uid: &str) -> bool {
    let of_run = view.run.as_deref() == Some(run_uid);
    of_run && view.suspended && (claim.template.is_none() || claim.template == view.claim)
}

fn gone_for_good(name: &str) -> Verdict {
    Verdict::unknown(format!("Job {name} is gone, and what it did is not known"))
}

enum FoundJob<'a> {
    Job(&'a JobView),
    NotSeenYet,
    Gone,
    Other,
}

fn find<'a>(cx: &Cx<'a>, claim: &JobRecord, uid: &str) -> FoundJob<'a> {
    let after_creation = |at: Timestamp| claim.created.is_none_or(|created| at > created);
    match cx.world.jobs.get(&claim.name) {
        Some(seen) => match &seen.value {
            Some(view) if view.uid == uid => FoundJob::Job(view),
            Some(_) => FoundJob::Other,
            None if after_creation(seen.at) => FoundJob::Gone,
            None => FoundJob::NotSeenYet,
        },
        // Everything was read live since, and it was not among it.
        None if cx.world.refreshed.is_some_and(after_creation) => FoundJob::Gone,
        None => FoundJob::NotSeenYet,
    }
}

enum Started {
    Yes,
    NotYet,
    Never(String),
    Lost,
}

fn start(
    cx: &Cx,
    view: Option<&JobView>,
    claim: &mut JobRecord,
    uid: &str,
    record: &mut StepRecord,
    out: &mut Out,
) -> Started {
    let effect = Effect::StartJob { name: claim.name.clone(), uid: uid.to_owned() };
    let outcome = out.outcome(cx, &effect.key());
    if let Some(view) = view.filter(|v| !v.suspended) {
        claim.started = Some(view.started.unwrap_or(cx.world.now));
        record.message = Some(format!("Job {} is running", claim.name));
        return Started::Yes;
    }
    match outcome {
        Some((at, Outcome::Done)) => {
            claim.started = Some(at);
            record.message = Some(format!("Job {} is started", claim.name));
            return Started::Yes;
        }
        Some((_, Outcome::NotFound | Outcome::Conflict(_))) => return Started::Lost,
        Some((_, Outcome::Refused { why, forbidden })) => {
            let remedy = if forbidden { format!("; {}", remedy(cx, "patch", "jobs")) } else { String::new() };
            return Started::Never(format!("Job {} cannot be started: {why}{remedy}", claim.name));
        }
        Some((_, Outcome::Transient(why))) => record.message = Some(format!("the Job is not started yet: {why}")),
        Some((_, other)) => record.message = Some(format!("the Job is not started yet: {other:?}")),
        None => {}
    }
    out.want(cx, effect);
    Started::NotYet
}

/// Claims the deletion; the reason stays in the record until the Job is gone.
fn kill(
    cx: &Cx,
    mut claim: JobRecord,
    uid: &str,
    why: &str,
    record: &mut StepRecord,
    out: &mut Out,
) -> Option<Verdict> {
    claim.killed = true;
    record.message = Some(why.to_owned());
    out.want(cx, Effect::DeleteJob { name: claim.name.clone(), uid: uid.to_owned(), resource_version: None });
    record.job = Some(claim);
    None
}

/// Waits until a Job of which the deletion is claimed is gone, and fails for the recorded reason.
fn gone(cx: &Cx, claim: &JobRecord, uid: &str, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let failed = |record: &StepRecord, more: &str| {
        let why = record.message.clone().unwrap_or_else(|| format!("Job {} was deleted", claim.name));
        Some(Verdict::fail(format!("{why}{more}")))
    };
    let effect = Effect::DeleteJob { name: claim.name.clone(), uid: uid.to_owned(), resource_version: None };
    match out.outcome(cx, &effect.key()) {
        Some((_, Outcome::Done | Outcome::NotFound)) => return failed(record, ""),
        Some((_, Outcome::Refused { why, forbidden })) => {
            let remedy = if forbidden { format!("; {}", remedy(cx, "delete", "jobs")) } else { String::new() };
            return failed(record, &format!("; Job {} could not be deleted: {why}{remedy}", claim.name));
        }
        Some(_) | None => {}
    }
    match find(cx, claim, uid) {
        FoundJob::Gone | FoundJob::Other => failed(record, ""),
        FoundJob::Job(_) | FoundJob::NotSeenYet => {
            out.want(cx, effect);
            None
        }
    }
}

/// The step's time is up: a running Job is killed first; one that ended, or is being killed already, is waited for.
pub fn late(
    cx: &Cx,
    step: &PlanStep,
    job: &Job,
    record: &mut StepRecord,
    out: &mut Out,
    message: &str,
) -> Option<Verdict> {
    let Some(claim) = record.job.clone() else { return Some(Verdict::fail(message)) };
    if claim.killed || claim.ended.is_some() {
        return advance(cx, step, job, record, out);
    }
    let Some(uid) = claim.uid.clone() else {
        // Never started: nothing has happened. One that exists all the same is deleted by its uid.
        let create = EffectKey::CreateJob(claim.name.clone());
        if cx.world.in_flight.contains(&create) {
            return None;
        }
        let uid = match (out.outcome(cx, &create), cx.world.jobs.get(&claim.name).map(|s| &s.value)) {
            (Some((_, Outcome::Created { uid })), _) => uid,
            (_, Some(Some(view))) if is_claimed(view, &claim, &cx.world.run_uid) => view.uid.clone(),
            _ => return Some(Verdict::fail(message)),
        };
        let claim = JobRecord { uid: Some(uid.clone()), created: Some(cx.world.now), ..claim };
        return kill(cx, claim, &uid, message, record, out);
    };
    match find(cx, &claim, &uid) {
        // Its end came in time and is only being taken in now.
        FoundJob::Job(view) if view.end.is_some() => advance(cx, step, job, record, out),
        FoundJob::Gone | FoundJob::Other => advance(cx, step, job, record, out),
        FoundJob::Job(_) | FoundJob::NotSeenYet => kill(cx, claim, &uid, message, record, out),
    }
}
