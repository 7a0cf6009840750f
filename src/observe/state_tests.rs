//! One namespace, event by event.

use serde_json::{Value, json};

use super::*;
use crate::observe::scope::PodsOfRun;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn of<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("an object")
}

fn wants(run: &str) -> Wants {
    let workload = |name: &str| WorkloadRef { kind: WorkloadKind::Deployment, name: name.into() };
    Wants {
        jobs: true,
        namespace: "a".into(),
        run_uid: run.into(),
        cutover: "shop".into(),
        services: ["web".into()].into(),
        workloads: [workload("web-green")].into(),
        pods: PodsOfRun::labelled(("side", "blue"), ("side", "green")),
    }
}

fn job(name: &str, run: &str, version: u32) -> Job {
    of(json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
        "labels": {"cutover.dev/run": run}}, "spec": {"template": {}}}))
}

fn job_pod(name: &str, job: &str, phase: &str) -> Pod {
    of(json!({"metadata": {"name": name, "uid": name, "labels": {"cutover.dev/run": "r"}, "ownerReferences": [
        {"apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": format!("uid-{job}"), "controller": true}]},
        "status": {"phase": phase}}))
}

fn slice(name: &str, service: &str, pod: &str) -> EndpointSlice {
    of(json!({"metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": pod}}]}))
}

fn deployment(name: &str, replicas: u32) -> DynamicObject {
    of(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "uid": name, "resourceVersion": "1"}, "spec": {"replicas": replicas, "template": {}}}))
}

/// A namespace with a subscriber; all that is told of it by now is taken.
struct Space {
    state: State,
    waits: Waits,
}

impl Space {
    fn new() -> Self {
        Self { state: State::default(), waits: Waits::default() }
    }

    fn join(&mut self, run: &str) -> Arc<Subscriber> {
        let subscriber = Subscriber::new(wants(run));
        self.state.subscribe(&subscriber);
        subscriber
    }

    fn take(&self, of: &Subscriber) -> Vec<Sighting> {
        let dirty = of.take();
        dirty.into_keys().filter_map(|slot| self.state.show(&of.wants, &slot, &self.waits, at(99))).collect()
    }
}

#[test]
fn where_a_service_leads_is_known_once_all_slices_and_pods_are() {
    let mut space = Space::new();
    let pod = |name: &str| -> Pod { of(json!({"metadata": {"name": name}, "status": {"podIP": "10.0.0.1"}})) };
    let slices = [slice("web-x", "web", "green-a"), slice("web-y", "web", "green-b"), slice("api-x", "api", "other")];
    space.state.slice(Event::Init, at(1));
    slices.into_iter().for_each(|slice| space.state.slice(Event::InitApply(slice), at(1)));
    space.state.slice(Event::InitDone, at(1));
    assert!(space.state.behind("web").is_none(), "the pods are not known");
    space.state.pod(Event::Init, &space.waits, at(2));
    space.state.pod(Event::InitApply(pod("green-a")), &space.waits, at(2));
    space.state.pod(Event::InitDone, &space.waits, at(2));
    let shown = space.state.behind("web").expect("all is known");
    assert_eq!(shown.slices.len(), 2);
    assert_eq!(shown.pods.into_keys().collect::<Vec<_>>(), ["green-a"], "those that are there, and no other's");
}

fn names(all: &[Sighting]) -> Vec<String> {
    let name = |sighting: &Sighting| match sighting {
        Sighting::Job(name, job) => format!("{name}: {}", job.as_ref().map_or("none", |j| &j.resource_version)),
        Sighting::Endpoints(name, all) => format!("{name}: {} endpoints", all.len()),
        Sighting::Workload(name, w) => format!("{}: {:?}", name.name, w.as_ref().map(|w| w.wanted)),
        Sighting::Service(name, service) => format!("{name}: {}", service.is_some()),
        other => format!("{other:?}"),
    };
    all.iter().map(name).collect()
}

#[test]
fn half_a_list_tells_nothing_and_a_whole_one_what_is_not_there() {
    let mut space = Space::new();
    let r = space.join("r");
    space.state.slice(Event::Init, at(1));
    space.state.slice(Event::InitApply(slice("s-1", "web", "p1")), at(1));
    assert_eq!(space.take(&r), [], "the other half is missing");
    space.state.slice(Event::InitApply(slice("s-2", "web", "p2")), at(1));
    space.state.slice(Event::InitApply(slice("s-3", "foreign", "p3")), at(1));
    space.state.slice(Event::InitDone, at(1));
    assert_eq!(names(&space.take(&r)), ["web: 2 endpoints"]);
    space.state.slice(Event::Apply(slice("s-3", "foreign", "p4")), at(2));
    assert_eq!(space.take(&r), [], "another Service's");
    space.state.service(Event::InitDone, at(3));
    assert_eq!(names(&space.take(&r)), ["web: false"]);
    // A list that is made again stands when it is whole.
    space.state.slice(Event::Init, at(4));
    space.state.slice(Event::InitApply(slice("s-1", "web", "p1")), at(4));
    assert_eq!(space.take(&r), []);
    assert_eq!(
        names(space.state.show(&r.wants, &Slot::Endpoints("web".into()), &space.waits, at(4)).as_slice()),
        ["web: 2 endpoints"]
    );
    space.state.slice(Event::InitDone, at(4));
    assert_eq!(names(&space.take(&r)), ["web: 1 endpoints"]);
    // A slice that goes over to another Service is one less.
    space.state.slice(Event::Apply(slice("s-1", "foreign", "p1")), at(5));
    assert_eq!(names(&space.take(&r)), ["web: 0 endpoints"]);
}

#[test]
fn one_that_comes_late_is_told_what_is_known_and_not_what_was_never_looked_at() {
    let mut space = Space::new();
    space.state.slice(Event::InitApply(slice("s-1", "web", "p1")), at(1));
    space.state.slice(Event::InitDone, at(1));
    space.state.job(Event::InitApply(job("j", "r", 5)), at(1));
    space.state.job(Event::InitDone, at(1));
    space.state.workload(WorkloadKind::Deployment, Event::InitApply(deployment("web-green", 3)), at(1));
    space.state.workload(WorkloadKind::Deployment, Event::InitDone, at(1));
    let r = space.join("r");
    assert_eq!(names(&space.take(&r)), ["web: 1 endpoints", "j: 5"], "its first live reading tells of the workload");
    space.state.workload(WorkloadKind::Deployment, Event::Apply(deployment("web-green", 4)), at(2));
    space.state.workload(WorkloadKind::Deployment, Event::Apply(deployment("foreign", 4)), at(2));
    assert_eq!(names(&space.take(&r)), ["web-green: Some(4)"]);
    drop(r);
    space.state.workload(WorkloadKind::Deployment, Event::Apply(deployment("web-green", 9)), at(3));
    let late = space.join("late");
    assert_eq!(names(&space.take(&late)), ["web: 1 endpoints"], "how it was with the run before is no news");
    // A list that no longer has it says so.
    space.state.workload(WorkloadKind::Deployment, Event::Init, at(4));
    space.state.workload(WorkloadKind::Deployment, Event::InitDone, at(4));
    assert_eq!(names(&space.take(&late)), ["web-green: None"]);
}

#[test]
fn a_job_that_has_gone_from_the_watch_is_missed_and_not_told() {
    let mut space = Space::new();
    let (r, other) = (space.join("r"), space.join("other"));
    space.state.job(Event::InitApply(job("a", "r", 1)), at(1));
    space.state.job(Event::InitApply(job("b", "r", 2)), at(1));
    space.state.job(Event::InitApply(job("c", "closed", 3)), at(1));
    space.state.job(Event::InitDone, at(1));
    assert_eq!(names(&space.take(&r)), ["a: 1", "b: 2"]);
    assert_eq!(space.take(&other), []);
    space.state.job(Event::Apply(job("a", "r", 4)), at(2));
    space.state.job(Event::Delete(job("a", "r", 4)), at(2));
    space.state.job(Event::Delete(job("c", "closed", 3)), at(2));
    assert_eq!(space.take(&r), [], "whether it is gone is to be looked at");
    assert_eq!(space.state.missed(), BTreeSet::from([("r".into(), "a".into())]), "nobody asks for one of a closed run");
    space.state.no_job("r", "a".into(), at(3));
    assert_eq!(names(&space.take(&r)), ["a: none"]);
    // It is back when the answer comes.
    space.state.job(Event::Delete(job("b", "r", 2)), at(4));
    space.state.job(Event::Apply(job("b", "r", 7)), at(4));
    assert_eq!(space.state.missed(), BTreeSet::from([("r".into(), "b".into())]));
    space.state.no_job("r", "b".into(), at(4));
    assert_eq!(names(&space.take(&r)), ["b: 7"]);
    // One that says that it is another run's is not this one's any more.
    space.state.job(Event::Apply(job("b", "other", 8)), at(5));
    assert_eq!(names(&space.take(&other)), ["b: 8"]);
    assert_eq!((space.take(&r), space.state.missed().len()), (vec![], 1));
    // A list without it.
    space.state.job(Event::Init, at(6));
    space.state.job(Event::InitDone, at(6));
    assert_eq!((space.take(&other), space.state.missed()), (vec![], BTreeSet::from([("other".into(), "b".into())])));
}

#[test]
fn a_pod_of_a_job_changes_the_view_of_the_job_and_of_nothing_else() {
    let mut space = Space::new();
    let r = space.join("r");
    space.state.job(Event::InitApply(job("a", "r", 1)), at(1));
    space.state.job(Event::InitDone, at(1));
    space.state.pod(Event::InitDone, &space.waits, at(1));
    space.take(&r);
    let left = |all: &[Sighting]| match all {
        [Sighting::Job(_, Some(view))] => Some(view.pods_left),
        _ => None,
    };
    space.state.pod(Event::Apply(job_pod("a-x", "a", "Running")), &space.waits, at(2));
    assert_eq!(left(&space.take(&r)), Some(1));
    space.state.pod(Event::Apply(job_pod("b-x", "b", "Running")), &space.waits, at(2));
    assert_eq!(space.take(&r), [], "of a Job that is not there");
    space.state.pod(Event::Apply(job_pod("a-x", "a", "Succeeded")), &space.waits, at(3));
    assert_eq!(left(&space.take(&r)), Some(0));
    space.state.pod(Event::Init, &space.waits, at(4));
    space.state.pod(Event::InitDone, &space.waits, at(4));
    let all = space.take(&r);
    assert!(matches!(&all[..], [Sighting::Pods(_), Sighting::Job(_, Some(view))] if view.pod.is_none()), "{all:?}");
}

#[test]
fn a_pod_is_told_to_the_runs_whose_side_it_is_on_or_was_on() {
    let mut space = Space::new();
    let r = space.join("r");
    space.state.pod(Event::InitDone, &space.waits, at(1));
    space.take(&r);
    let pod =
        |name: &str, side: &str| of::<Pod>(json!({"metadata": {"name": name, "uid": name, "labels": {"side": side}}}));
    let pods = |all: &[Sighting]| match all {
        [Sighting::Pods(pods)] => pods.iter().map(|pod| pod.name.clone()).collect(),
        other => names(other),
    };
    for n in 0..1000 {
        space.state.pod(Event::Apply(pod(&format!("foreign-{n}"), "red")), &space.waits, at(2));
    }
    assert_eq!(space.take(&r), [], "another application's");
    space.state.pod(Event::Apply(pod("a", "green")), &space.waits, at(3));
    space.state.pod(Event::Apply(pod("b", "blue")), &space.waits, at(3));
    assert_eq!(pods(&space.take(&r)), ["a", "b"]);
    space.state.pod(Event::Apply(pod("a", "red")), &space.waits, at(4));
    assert_eq!(pods(&space.take(&r)), ["b"], "it left the side");
    space.state.pod(Event::Delete(pod("b", "blue")), &space.waits, at(5));
    assert_eq!(space.take(&r), [Sighting::Pods(vec![])]);
}
