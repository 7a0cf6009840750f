//! Jobs whose pods do not start: what is told, and how long that is waited for.

use serde_json::json;

use super::fixtures::{Fixture, read};
use super::job_tests::{ended, go, key, migrate, name, result, running, see, view};
use crate::api::duration::Duration;
use crate::api::run::StepState;
use crate::effect::{Effect, Outcome, Read};
use crate::world::{ContainerEnd, ContainerView, EventView, JobEnd, JobResult, JobView, PodView, Reading};

fn waits(reason: &str, message: &str) -> PodView {
    let container = ContainerView {
        name: "a".into(),
        image: "x:1".into(),
        waiting: Some(reason.into()),
        waiting_message: (!message.is_empty()).then(|| message.to_owned()),
        ..ContainerView::default()
    };
    PodView { name: "p".into(), uid: "pod-uid".into(), containers: vec![container], ..PodView::default() }
}

fn with_pod(f: &mut Fixture, pod: Option<PodView>) {
    let since = Some(f.world.now);
    let left = u32::from(pod.is_some());
    see(f, Some(JobView { suspended: false, pods_left: left, stuck_since: since, pod, ..view("u1") }));
}

fn events(f: &mut Fixture, key: &str, message: &str) {
    let event = EventView { reason: "FailedCreate".into(), message: message.into(), of: ("Job".into(), name()) };
    f.world.readings.insert(read(&format!("migrate#1/events@{key}")), Reading::Events(Ok(vec![event])));
}

const NOT_FOUND: &str = "failed to pull and unpack image \"x:1\": failed to resolve image: x:1: not found";
const UNREACHED: &str = "failed to pull and unpack image \"x:1\": failed to resolve image: failed to do request: Head \
                         \"https://x/v2/\": dial tcp: lookup x: i/o timeout";
const DENIED: &str = "Error creating: pods \"a-x\" is forbidden: violates PodSecurity \"restricted:latest\": y";
const QUOTA: &str = "Error creating: pods \"a-x\" is forbidden: exceeded quota: few";

#[test]
fn what_waiting_cannot_help_ends_the_job_at_once() {
    let s = migrate(json!({}));
    let mut f = Fixture::new();
    let r = running(&mut f, &s);
    with_pod(&mut f, Some(waits("ContainerCreating", "")));
    f.after(2);
    let (r, out) = go(&mut f, &s, &r);
    assert!(out.effects.is_empty() && out.reads.is_empty(), "that may take its time");
    with_pod(&mut f, Some(waits("ErrImagePull", NOT_FOUND)));
    let (r, out) = go(&mut f, &s, &r);
    assert_eq!(out.effects, [Effect::DeleteJob { name: name(), uid: "u1".into(), resource_version: None }]);
    assert!(r.job.as_ref().is_some_and(|j| j.killed), "claimed with the deletion");
    // After a restart the reason is still known, and the Job's absence is expected.
    see(&mut f, None);
    let (r, _) = go(&mut f, &s, &r);
    let told = format!("Job {} cannot start: pod p: container a: ErrImagePull of x:1: x:1: not found", name());
    assert_eq!((r.state, r.message), (StepState::Failed, Some(told)));
    // Beside a container that runs, the Job is at work.
    let mut f = Fixture::new();
    let r = running(&mut f, &s);
    let mut pod = waits("ErrImagePull", NOT_FOUND);
    pod.containers.push(ContainerView { name: "b".into(), running: true, ..ContainerView::default() });
    with_pod(&mut f, Some(pod));
    assert!(go(&mut f, &s, &r).1.effects.is_empty());
}

#[test]
fn a_pod_that_is_not_admitted_is_asked_about_in_events() {
    let s = migrate(json!({}));
    let mut f = Fixture::new();
    let r = running(&mut f, &s);
    with_pod(&mut f, None);
    let (r, out) = go(&mut f, &s, &r);
    assert!(out.reads.is_empty() && out.wake == Some(f.world.now + Duration::from_secs(3).signed()));
    f.after(3);
    let (r, out) = go(&mut f, &s, &r);
    assert_eq!(out.reads.get(&read("migrate#1/events@0")), Some(&Read::Events(vec!["u1".into()])));
    events(&mut f, "0", DENIED);
    let (r, out) = go(&mut f, &s, &r);
    assert!(matches!(out.effects.as_slice(), [Effect::DeleteJob { .. }]), "{out:?}");
    f.outcome(&key("delete"), Outcome::Done);
    let (r, _) = go(&mut f, &s, &r);
    let told = "cannot start: its pod is not admitted: violates PodSecurity \"restricted:latest\": y";
    assert!(r.state == StepState::Failed && r.message.as_ref().is_some_and(|m| m.ends_with(told)), "{r:?}");
}

#[test]
fn what_may_pass_is_waited_for_until_the_deadline_and_then_named() {
    let s = migrate(json!({}));
    let late = || JobEnd::Failed { reason: "DeadlineExceeded".into(), message: "too long".into() };
    for quota in [true, false] {
        let mut f = Fixture::new();
        let mut r = running(&mut f, &s);
        for after in [3, 20, 20] {
            f.after(after);
            let pod = (!quota).then(|| waits("ImagePullBackOff", &format!("Back-off: ErrImagePull: {UNREACHED}")));
            with_pod(&mut f, pod);
            ["0", "2", "3"].iter().for_each(|n| events(&mut f, n, QUOTA));
            let (next, out) = go(&mut f, &s, &r);
            assert!(out.effects.is_empty(), "{out:?}");
            r = next;
        }
        assert!(r.message.as_ref().is_some_and(|m| m.contains("cannot start")), "{r:?}");
        f.world.readings.clear();
        ended(&mut f, late());
        result(&mut f, JobResult { problem: Some("it has left no pod".into()), ..JobResult::default() });
        let (r, _) = go(&mut f, &s, &r);
        let why = if quota { "exceeded quota: few" } else { "ErrImagePull of x:1" };
        let told = r.message.clone().unwrap_or_default();
        assert!(told.contains("it could not start within its deadline of 1m: ") && told.contains(why), "{told}");
    }
    // Nobody looked while it waited: Events are asked at the end.
    let mut f = Fixture::new();
    let r = running(&mut f, &s);
    f.after(60);
    ended(&mut f, late());
    result(&mut f, JobResult { problem: Some("it has left no pod".into()), ..JobResult::default() });
    let (r, out) = go(&mut f, &s, &r);
    assert!(r.state == StepState::Running && out.reads.contains_key(&read("migrate#1/events@end")), "{out:?}");
    events(&mut f, "end", QUOTA);
    let (r, _) = go(&mut f, &s, &r);
    assert!(r.message.as_ref().is_some_and(|m| m.contains("exceeded quota: few")), "{r:?}");
    // All that was seen is an image on its way.
    let mut f = Fixture::new();
    let r = running(&mut f, &s);
    with_pod(&mut f, Some(waits("ContainerCreating", "")));
    f.after(10);
    let (r, _) = go(&mut f, &s, &r);
    assert!(r.message.as_ref().is_some_and(|m| m.contains("has not started: pod p")), "{r:?}");
    ended(&mut f, late());
    result(&mut f, JobResult { problem: Some("it has left no pod".into()), ..JobResult::default() });
    let (r, _) = go(&mut f, &s, &r);
    assert!(r.message.as_ref().is_some_and(|m| m.contains("container a: it is being created from x:1")), "{r:?}");
    // What it waited for stays known when its pod is deleted, whatever the kubelet says of its containers then.
    let mut f = Fixture::new();
    let r = running(&mut f, &s);
    with_pod(&mut f, Some(waits("ErrImagePull", UNREACHED)));
    let (mut r, _) = go(&mut f, &s, &r);
    let unknown = ContainerEnd { reason: "ContainerStatusUnknown".into(), id: String::new() };
    for terminated in [None, Some(unknown)] {
        let mut pod = waits("ContainerCreating", "");
        pod.gone_by = Some(f.world.now);
        pod.containers[0].terminated = terminated;
        with_pod(&mut f, Some(pod));
        f.after(10);
        (r, _) = go(&mut f, &s, &r);
    }
    ended(&mut f, late());
    result(&mut f, JobResult { problem: Some("it has left no pod".into()), ..JobResult::default() });
    let (r, _) = go(&mut f, &s, &r);
    assert!(r.message.as_ref().is_some_and(|m| m.contains("ErrImagePull of")), "{r:?}");
    // A container that has run is not to be excused by what came before.
    let mut f = Fixture::new();
    let r = running(&mut f, &s);
    with_pod(&mut f, Some(waits("ErrImagePull", UNREACHED)));
    let (r, _) = go(&mut f, &s, &r);
    assert!(r.job.as_ref().is_some_and(|j| j.not_started.is_some()));
    let mut pod = waits("", "");
    pod.containers[0] = ContainerView { name: "a".into(), running: true, ..ContainerView::default() };
    with_pod(&mut f, Some(pod));
    let (r, _) = go(&mut f, &s, &r);
    assert!(r.job.as_ref().is_some_and(|j| j.not_started.is_none()));
}

#[test]
fn what_seldom_comes_by_itself_is_given_twenty_seconds() {
    let mut f = Fixture::new();
    let s = migrate(json!({}));
    let r = running(&mut f, &s);
    let since = f.world.now;
    with_pod(&mut f, Some(waits("CreateContainerConfigError", "secret \"nope\" not found")));
    f.after(19);
    let (r, out) = go(&mut f, &s, &r);
    assert!(out.effects.is_empty() && out.wake == Some(since + Duration::from_secs(20).signed()));
    f.after(1);
    assert_eq!(go(&mut f, &s, &r).1.effects.len(), 1);
}
