//! The life of a Job, move by move, each of them with nothing to go by but the record.

use serde_json::{Value, json};

use super::fixtures::{Fixture, effect, read, step};
use super::{Out, manifest};
use crate::api::duration::Duration;
use crate::api::run::{StepRecord, StepState};
use crate::effect::{Attempt, Effect, Outcome, Read};
use crate::plan::{Action, PlanStep, Stage};
use crate::world::{JobEnd, JobResult, JobView, Reading, Seen};

pub(super) fn migrate(extra: Value) -> PlanStep {
    let mut job = json!({"template": {"spec": {"containers": [{"name": "a", "image": "x"}]}}, "deadline": "60s"});
    for (key, value) in extra.as_object().into_iter().flatten() {
        job[key] = value.clone();
    }
    step("migrate", Stage::Prepare, Action::Job(serde_json::from_value(job).expect("a job")))
}

pub(super) fn name() -> String {
    manifest::name("run-1", "migrate", 1)
}

pub(super) fn view(uid: &str) -> JobView {
    JobView {
        uid: uid.into(),
        resource_version: "1".into(),
        run: Some("run-1".into()),
        step: Some(Attempt::of("migrate", 1)),
        suspended: true,
        ..JobView::default()
    }
}

pub(super) fn see(f: &mut Fixture, view: Option<JobView>) {
    f.world.jobs.insert(name(), Seen { at: f.world.now, value: view });
}

pub(super) fn key(verb: &str) -> String {
    format!("{verb}/{}", name())
}

/// One decision; its outcomes are consumed.
pub(super) fn go(f: &mut Fixture, s: &PlanStep, r: &StepRecord) -> (StepRecord, Out) {
    let (r, out) = f.drive(s, Some(r));
    for key in &out.consumed {
        f.world.outcomes.remove(key);
    }
    (r, out)
}

/// Claimed, created and its uid recorded.
pub(super) fn recorded(f: &mut Fixture, s: &PlanStep) -> StepRecord {
    let (r, _) = f.drive(s, None);
    f.outcome(&key("create"), Outcome::Created { uid: "u1".into() });
    go(f, s, &r).0
}

/// Started and seen running.
pub(super) fn running(f: &mut Fixture, s: &PlanStep) -> StepRecord {
    let r = recorded(f, s);
    let now = f.world.now;
    see(f, Some(JobView { suspended: false, started: Some(now), pods_left: 1, ..view("u1") }));
    go(f, s, &r).0
}

pub(super) fn ended(f: &mut Fixture, end: JobEnd) {
    see(f, Some(JobView { suspended: false, end: Some(end), ..view("u1") }));
}

pub(super) fn failed_end() -> JobEnd {
    JobEnd::Failed { reason: "BackoffLimitExceeded".into(), message: "Job has reached the limit".into() }
}

pub(super) fn result(f: &mut Fixture, result: JobResult) {
    f.world.readings.insert(read("migrate#1/result@0"), Reading::Job(result));
}

#[test]
fn claimed_created_recorded_and_only_then_started() {
    let mut f = Fixture::new();
    let s = migrate(json!({}));
    let (claimed, out) = f.drive(&s, None);
    let job = claimed.job.clone().expect("a claim");
    assert!(job.name == name() && job.uid.is_none());
    assert!(matches!(out.effects.as_slice(), [Effect::CreateJob { name: n, .. }] if *n == name()));
    // A restart here asks for the very same Job again: the executor finds the one that is there.
    let (again, repeated) = f.drive(&s, Some(&claimed));
    assert_eq!((again, repeated.effects), (claimed.clone(), out.effects));
    f.outcome(&key("create"), Outcome::Created { uid: "u1".into() });
    let (recorded, out) = go(&mut f, &s, &claimed);
    assert!(out.effects.is_empty() && out.wake == Some(f.world.now), "the uid is written before the start");
    assert_eq!(recorded.job.as_ref().and_then(|j| j.uid.as_deref()), Some("u1"));
    let (r, out) = go(&mut f, &s, &recorded);
    assert_eq!(out.effects, [Effect::StartJob { name: name(), uid: "u1".into() }]);
    f.world.in_flight.insert(effect(&key("start")));
    assert!(go(&mut f, &s, &r).1.effects.is_empty());
    f.world.in_flight.clear();
    f.outcome(&key("start"), Outcome::Done);
    let (r, _) = go(&mut f, &s, &r);
    assert!(r.job.as_ref().is_some_and(|j| j.started.is_some()));
    assert!(go(&mut f, &s, &r).1.effects.is_empty(), "started once");
}

#[test]
fn the_result_is_read_once_the_pods_have_ended() {
    let mut f = Fixture::new();
    let s = migrate(json!({"expectLog": ["^done"], "keepLog": 1}));
    let r = running(&mut f, &s);
    see(&mut f, Some(JobView { suspended: false, end: Some(JobEnd::Complete), pods_left: 1, ..view("u1") }));
    let (r, out) = go(&mut f, &s, &r);
    assert!(out.reads.is_empty() && r.job.as_ref().is_some_and(|j| j.ended.is_some()));
    ended(&mut f, JobEnd::Complete);
    let (r, out) = go(&mut f, &s, &r);
    let wanted = Read::JobResult { job: name(), uid: "u1".into(), log: true };
    assert_eq!(out.reads.get(&read("migrate#1/result@0")), Some(&wanted));
    result(&mut f, JobResult { exit_code: Some(0), log: Some("a\ndone 7".into()), ..JobResult::default() });
    let (r, _) = go(&mut f, &s, &r);
    assert_eq!(r.state, StepState::Succeeded);
    let evidence = json!({"job": name(), "exitCode": 0, "expectLog": {"^done": true}, "log": ["done 7"]});
    assert_eq!(r.evidence, Some(evidence));
}

#[test]
fn verdicts_of_results() {
    let backup = json!({"expectLog": ["^backup bytes=[1-9]"]});
    let checked = json!({"expect": ["json.rows > 0"], "capture": [{"name": "rows", "path": "$.rows", "record": true}]});
    let ok = || JobResult { exit_code: Some(0), ..JobResult::default() };
    let said = |message: &str| JobResult { message: Some(message.into()), ..ok() };
    let logged = |log: &str| JobResult { log: Some(log.into()), ..ok() };
    let table = [
        (json!({}), JobEnd::Complete, ok(), true, ""),
        (json!({}), failed_end(), JobResult { exit_code: Some(3), ..JobResult::default() }, false, "exit code 3"),
        (
            json!({}),
            JobEnd::Failed { reason: "DeadlineExceeded".into(), message: String::new() },
            JobResult { exit_code: Some(137), ..JobResult::default() },
            false,
            "DeadlineExceeded (exit code 137)",
        ),
        (json!({}), failed_end(), JobResult::default(), false, "BackoffLimitExceeded"),
        (backup.clone(), JobEnd::Complete, logged("backup bytes=12"), true, "backup bytes"),
        (backup.clone(), JobEnd::Complete, logged("backup bytes=0"), false, "expectLog[0]: no line matches"),
        (checked.clone(), JobEnd::Complete, said("{\"rows\": 7}"), true, "\"rows\":7"),
        (checked.clone(), JobEnd::Complete, said("{\"rows\": 0}"), false, "expect[0] json.rows > 0 is false"),
        (checked, JobEnd::Complete, said("7 rows"), false, "the termination message is not JSON"),
    ];
    for (job, end, read, passes, text) in table {
        let mut f = Fixture::new();
        let s = migrate(job);
        let r = running(&mut f, &s);
        ended(&mut f, end);
        result(&mut f, read.clone());
        let (r, out) = go(&mut f, &s, &r);
        let shown = format!("{} {}", r.message.clone().unwrap_or_default(), r.evidence.clone().unwrap_or_default());
        assert_eq!(r.state == StepState::Succeeded, passes, "{read:?}: {shown}");
        assert!(shown.contains(text), "{shown}");
        assert_eq!(out.captures.contains_key("rows"), passes && text.contains("rows"), "{shown}");
    }
}

#[test]
fn a_result_that_cannot_be_read_is_tried_again_then_judged_by_what_is_known() {
    for (job, passes) in [(json!({}), true), (json!({"expectLog": ["x"]}), false)] {
        let mut f = Fixture::new();
        let s = migrate(job);
        let mut r = running(&mut f, &s);
        ended(&mut f, JobEnd::Complete);
        for n in 0..4 {
            let unreadable = JobResult { problem: Some("503".into()), ..JobResult::default() };
            f.world.readings.insert(read(&format!("migrate#1/result@{n}")), Reading::Job(unreadable));
            r = go(&mut f, &s, &r).0;
            assert_eq!(r.state == StepState::Running, n < 3, "{n} {r:?}");
            f.after(10);
        }
        assert_eq!(r.state == StepState::Succeeded, passes, "{r:?}");
    }
}

#[test]
fn what_is_gone_is_unknown_and_never_created_again() {
    let s = migrate(json!({}));
    type Loss = fn(&mut Fixture);
    let table: [(&str, Loss); 5] = [
        ("deleted by hand, seen by a watch", |f| see(f, None)),
        ("deleted while nobody looked", |f| {
            f.world.jobs.clear();
            f.world.refreshed = Some(f.world.now);
        }),
        ("replaced by another", |f| see(f, Some(view("u2")))),
        ("gone at the start", |f| f.outcome(&key("start"), Outcome::NotFound)),
        ("replaced at the start", |f| f.outcome(&key("start"), Outcome::Conflict("uid".into()))),
    ];
    for (what, loss) in table {
        let mut f = Fixture::new();
        let r = recorded(&mut f, &s);
        f.after(1);
        loss(&mut f);
        let (r, out) = go(&mut f, &PlanStep { attempts: 5, ..s.clone() }, &r);
        assert!(r.state == StepState::Unknown && out.effects.is_empty(), "{what}: {r:?}");
    }
}

#[test]
fn not_seen_yet_is_not_gone() {
    let mut f = Fixture::new();
    let s = migrate(json!({}));
    // Both looks are older than the Job.
    see(&mut f, None);
    f.world.refreshed = Some(f.world.now);
    f.after(1);
    let r = recorded(&mut f, &s);
    let (r, out) = go(&mut f, &s, &r);
    assert!(r.state == StepState::Running && out.reads.is_empty());
    f.after(5);
    let (_, out) = go(&mut f, &s, &r);
    assert!(out.reads.values().any(|read| *read == Read::Refresh), "looked for live");
}

#[test]
fn refusals_fail_with_what_to_type() {
    let s = migrate(json!({}));
    let refused = |forbidden| Outcome::Refused { why: "no".into(), forbidden };
    for (outcome, text) in [
        (refused(true), "--verb=create --resource=jobs"),
        (refused(false), "cannot be created: no"),
        (Outcome::NameCollision("a Job x exists".into()), "a Job x exists"),
    ] {
        let mut f = Fixture::new();
        let (r, _) = f.drive(&s, None);
        f.outcome(&key("create"), outcome);
        let (r, _) = go(&mut f, &s, &r);
        assert!(r.state == StepState::Failed && r.message.as_ref().is_some_and(|m| m.contains(text)), "{r:?}");
    }
    // One that may not be started is deleted, since it never was.
    let mut f = Fixture::new();
    let r = recorded(&mut f, &s);
    f.outcome(&key("start"), refused(true));
    let (r, out) = go(&mut f, &s, &r);
    assert!(matches!(out.effects.as_slice(), [Effect::DeleteJob { .. }]) && r.state == StepState::Running);
    f.outcome(&key("delete"), Outcome::Done);
    let (r, _) = go(&mut f, &s, &r);
    assert!(r.state == StepState::Failed && r.message.is_some_and(|m| m.contains("--verb=patch --resource=jobs")));
}

#[test]
fn what_could_not_be_asked_is_asked_again_at_its_pace() {
    let mut f = Fixture::new();
    let s = migrate(json!({}));
    let (r, _) = f.drive(&s, None);
    f.outcome(&key("create"), Outcome::Transient("503".into()));
    let now = f.world.now;
    let (r, out) = go(&mut f, &s, &r);
    assert!(out.effects.is_empty() && out.wake == Some(now + Duration::from_secs(1).signed()), "{out:?}");
    f.world.tried.insert(effect(&key("create")), now);
    f.after(1);
    assert_eq!(go(&mut f, &s, &r).1.effects.len(), 1);
}

#[test]
fn pods_or_an_end_that_never_come_are_unknown_a_minute_past_the_deadline() {
    let s = migrate(json!({}));
    let mut f = Fixture::new();
    let r = running(&mut f, &s);
    f.after(119);
    let (r, _) = go(&mut f, &s, &r);
    assert_eq!(r.state, StepState::Running);
    f.after(1);
    assert_eq!(go(&mut f, &s, &r).0.state, StepState::Unknown);

    let mut f = Fixture::new();
    let r = running(&mut f, &s);
    see(&mut f, Some(JobView { suspended: false, end: Some(failed_end()), pods_left: 1, ..view("u1") }));
    let (r, _) = go(&mut f, &s, &r);
    f.after(60);
    assert_eq!(go(&mut f, &s, &r).0.state, StepState::Unknown);
}

#[test]
fn the_steps_time_out_kills_a_running_job_first() {
    let s = PlanStep { timeout: Duration::from_secs(30), attempts: 3, ..migrate(json!({})) };
    let mut f = Fixture::new();
    let r = running(&mut f, &s);
    f.after(30);
    let (r, out) = go(&mut f, &s, &r);
    assert!(matches!(out.effects.as_slice(), [Effect::DeleteJob { .. }]) && r.state == StepState::Running);
    f.outcome(&key("delete"), Outcome::Done);
    let (r, _) = go(&mut f, &s, &r);
    assert!(r.state == StepState::Failed && r.message.is_some_and(|m| m.starts_with("timed out after 30s")));
}

#[test]
fn the_steps_time_out_and_other_moments() {
    let s = PlanStep { timeout: Duration::from_secs(30), ..migrate(json!({})) };
    // Ended in time, and only taken in now.
    let mut f = Fixture::new();
    let r = running(&mut f, &s);
    f.after(40);
    ended(&mut f, JobEnd::Complete);
    let (r, _) = go(&mut f, &s, &r);
    result(&mut f, JobResult { exit_code: Some(0), ..JobResult::default() });
    assert_eq!(go(&mut f, &s, &r).0.state, StepState::Succeeded);
    // Never created: nothing happened.
    let mut f = Fixture::new();
    let (r, _) = f.drive(&s, None);
    f.after(30);
    f.world.in_flight.insert(effect(&key("create")));
    assert_eq!(go(&mut f, &s, &r).0.state, StepState::Running, "may be created this very moment");
    f.world.in_flight.clear();
    let (late, out) = go(&mut f, &s, &r);
    assert!(late.state == StepState::Failed && out.effects.is_empty());
    // Created by a process that did not live to record it: deleted, not started.
    let claim = r.job.as_ref().and_then(|j| j.template.clone());
    assert!(claim.is_some());
    see(&mut f, Some(JobView { claim: claim.clone(), ..view("u1") }));
    let (killed, out) = go(&mut f, &s, &r);
    assert!(matches!(out.effects.as_slice(), [Effect::DeleteJob { .. }]) && killed.job.is_some_and(|j| j.killed));
    // Somebody else's, whatever it is called: neither started nor deleted.
    for view in
        [view("x"), JobView { claim: Some("h".into()), ..view("x") }, JobView { claim, suspended: false, ..view("x") }]
    {
        see(&mut f, Some(view));
        let (late, out) = go(&mut f, &s, &r);
        assert!(late.state == StepState::Failed && out.effects.is_empty(), "{late:?}");
    }
}

#[test]
fn a_second_attempt_is_another_job_and_the_first_is_remembered() {
    let mut f = Fixture::new();
    let s = PlanStep { attempts: 2, ..migrate(json!({})) };
    let r = running(&mut f, &s);
    ended(&mut f, failed_end());
    result(&mut f, JobResult { exit_code: Some(1), ..JobResult::default() });
    let (r, _) = go(&mut f, &s, &r);
    assert!(r.between && r.job.is_none() && r.former_jobs.len() == 1);
    f.after(5);
    let (r, out) = go(&mut f, &s, &r);
    let second = manifest::name("run-1", "migrate", 2);
    assert!(second != name() && r.job.is_some_and(|j| j.name == second));
    assert_eq!(out.effects.len(), 1);
}

#[test]
fn a_manifest_that_cannot_be_made_fails_before_anything_is_claimed() {
    let f = Fixture::new();
    let s = migrate(json!({"env": [{"name": "X", "value": "${nope}"}]}));
    let (r, out) = f.drive(&s, None);
    assert!(r.state == StepState::Failed && r.job.is_none() && out.effects.is_empty());
}
