//! Tests of the conversion of objects into sightings.

use serde_json::json;

use super::*;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_service_keeps_its_whole_selector_and_all_forms_of_ports() {
    let view = service(&read(json!({
        "metadata": {"name": "web", "uid": "u", "resourceVersion": "7", "deletionTimestamp": "2026-11-20T00:00:00Z"},
        "spec": {
            "selector": {"app": "web", "side": "blue"}, "clusterIP": "10.0.0.9", "type": "ClusterIP",
            "ports": [{"port": 80}, {"name": "b", "port": 81, "targetPort": 8081}, {"port": 82, "targetPort": "http"}]
        }
    })));
    assert_eq!((view.uid.as_str(), view.resource_version.as_str()), ("u", "7"));
    assert_eq!(view.selector.len(), 2);
    let targets: Vec<_> = view.ports.iter().map(|p| p.target.clone()).collect();
    assert_eq!(targets, [TargetPort::Number(80), TargetPort::Number(8081), TargetPort::Name("http".into())]);
    assert_eq!(view.cluster_ip.as_deref(), Some("10.0.0.9"));
    assert!(view.deleting && !view.external_name);

    let headless = service(&read(json!({"spec": {"clusterIP": "None"}})));
    assert_eq!(headless.cluster_ip, None);
    assert!(service(&read(json!({"spec": {"type": "ExternalName", "externalName": "x"}}))).external_name);
    assert_eq!(service(&read(json!({}))).selector.len(), 0);
}

fn deployment(template: Value) -> DynamicObject {
    read(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "green", "uid": "u", "resourceVersion": "9", "generation": 4},
        "spec": {"replicas": 3, "template": template},
        "status": {
            "observedGeneration": 3, "replicas": 4, "updatedReplicas": 2, "availableReplicas": 1,
            "conditions": [
                {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"},
                {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
            ]
        }
    }))
}

#[test]
fn a_workload_shows_counts_and_why_it_is_stuck() {
    let view = workload(&deployment(json!({"metadata": {"labels": {"side": "green"}}, "spec": {"future": [1]}})));
    assert_eq!((view.wanted, view.replicas, view.updated, view.available), (3, 4, 2, 1));
    assert_eq!((view.generation, view.observed_generation), (4, 3));
    assert_eq!(view.pod_labels["side"], "green");
    assert_eq!(view.template["spec"]["future"], json!([1]), "fields of a later Kubernetes are kept");
    assert_eq!(view.stuck.as_deref(), Some("ProgressDeadlineExceeded: timed out"));

    let bare = workload(&read(json!({"metadata": {"name": "x"}, "spec": {}})));
    assert_eq!((bare.wanted, bare.available, bare.stuck), (1, 0, None));
}

#[test]
fn the_template_hash_changes_with_the_template_alone() {
    let hash = |template: Value| workload(&deployment(template)).template_hash;
    let one =
        hash(json!({"spec": {"containers": [{"name": "a", "image": "i:1"}]}, "metadata": {"labels": {"x": "y"}}}));
    let same = hash(json!({
        "metadata": {"creationTimestamp": null, "labels": {"x": "y"}},
        "spec": {"containers": [{"image": "i:1", "name": "a"}]}
    }));
    assert_eq!(one, same, "order of keys and nulls say nothing");
    let other =
        hash(json!({"spec": {"containers": [{"name": "a", "image": "i:2"}]}, "metadata": {"labels": {"x": "y"}}}));
    assert_ne!(one, other);
    assert_ne!(hash(json!(["ab"])), hash(json!(["a", "b"])), "members do not run together");
    assert_eq!(one.len(), 16);
}

#[test]
fn a_pod_shows_readiness_ports_and_containers() {
    let view = pod(&read(json!({
        "metadata": {"name": "web-1", "uid": "p", "labels": {"side": "blue"}},
        "spec": {
            "containers": [{"name": "web", "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 9}]}],
            "initContainers": [{"name": "proxy", "restartPolicy": "Always", "ports": [{"name": "mesh", "containerPort": 15}]}]
        },
        "status": {
            "phase": "Running", "podIP": "10.1.0.4",
            "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
            "initContainerStatuses": [{"name": "proxy", "image": "", "imageID": "", "ready": true, "restartCount": 1}],
            "containerStatuses": [{"name": "web", "image": "", "imageID": "", "ready": false, "restartCount": 4,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "containerID": "containerd://c0ffee"}}}]
        }
    })));
    assert!(view.ready && !view.terminating);
    assert_eq!(view.ip.as_deref(), Some("10.1.0.4"));
    assert_eq!(view.ports, BTreeMap::from([("http".to_owned(), 8080), ("mesh".to_owned(), 15)]));
    let names: Vec<_> = view.containers.iter().map(|c| (c.name.as_str(), c.restarts)).collect();
    assert_eq!(names, [("proxy", 1), ("web", 4)]);
    assert_eq!(view.containers[1].waiting.as_deref(), Some("CrashLoopBackOff"));
    let ended = Some(ContainerEnd { reason: "OOMKilled".into(), id: "containerd://c0ffee".into() });
    assert_eq!(view.containers[1].terminated, ended);
}

#[test]
fn pods_on_their_way_out_are_terminating() {
    for value in [
        json!({"metadata": {"deletionTimestamp": "2026-11-20T00:00:00Z"}, "status": {"phase": "Running"}}),
        json!({"metadata": {}, "status": {"phase": "Succeeded"}}),
        json!({"metadata": {}, "status": {"phase": "Failed"}}),
    ] {
        assert!(pod(&read(value.clone())).terminating, "{value}");
    }
    let young = pod(&read(json!({"metadata": {}, "status": {"phase": "Pending", "podIP": ""}})));
    assert!(!young.terminating && !young.ready && young.ip.is_none());
}

#[test]
fn endpoints_of_all_slices_are_counted_once() {
    let slice = |family: &str, endpoints: Value| -> EndpointSlice {
        read(json!({"addressType": family, "endpoints": endpoints}))
    };
    let of = |pod: &str, conditions: Value| json!({"addresses": ["x"], "conditions": conditions, "targetRef": {"kind": "Pod", "name": pod}});
    let slices = [
        slice(
            "IPv4",
            json!([
                of("a", json!({"ready": true})),
                of("b", json!({"ready": true, "terminating": true})),
                of("c", json!({"ready": false})),
                of("d", json!({})),
                {"addresses": ["y"], "conditions": {"ready": true}}
            ]),
        ),
        slice("IPv6", json!([of("a", json!({"ready": false})), of("d", json!({"ready": true}))])),
        read(json!({"addressType": "IPv4", "endpoints": null})),
    ];
    let got: Vec<(Option<String>, bool)> = endpoints(&slices).into_iter().map(|e| (e.pod, e.ready)).collect();
    let named = |pod: &str, ready| (Some(pod.to_owned()), ready);
    assert_eq!(got, [named("a", false), named("b", false), named("c", false), named("d", true), (None, true)]);
}

fn a_job(status: Value) -> Job {
    read(json!({
        "metadata": {
            "name": "migrate-1", "uid": "j", "resourceVersion": "5",
            "labels": {"cutover.dev/run": "r", "cutover.dev/step": "migrate"},
            "annotations": {"cutover.dev/attempt": "2"},
            "ownerReferences": [{"apiVersion": "cutover.dev/v1alpha1", "kind": "CutoverRun", "name": "x", "uid": "r"}]
        },
        "spec": {"suspend": true, "template": {"spec": {"containers": []}}},
        "status": status
    }))
}

fn job_pod(owner: &str, phase: &str, reason: &str) -> Pod {
    read(json!({
        "metadata": {"name": "p", "uid": "p", "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": "migrate-1", "uid": owner}]},
        "status": {"phase": phase, "containerStatuses": [{"name": "m", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": reason}}}]}
    }))
}

#[test]
fn a_job_shows_whose_it_is_and_its_pods() {
    let since = |_: &str| at("2026-11-20T00:00:00Z");
    let status = json!({"startTime": "2026-11-20T00:00:01Z", "active": 1, "terminating": 1});
    let view = job(&a_job(status), &[job_pod("j", "Pending", "ImagePullBackOff")], since);
    assert_eq!(view.step, Some(Attempt::of("migrate", 2)));
    assert_eq!(view.run.as_deref(), Some("r"));
    assert!(view.owned && view.suspended && view.end.is_none());
    assert_eq!(view.started, Some(at("2026-11-20T00:00:01Z")));
    assert_eq!(view.pods_left, 2, "one of them the watch has not shown yet");
    assert_eq!(view.stuck_since, Some(since("")));
    let waiting = |view: &JobView| view.pod.as_ref().and_then(|pod| pod.containers[0].waiting.clone());
    assert_eq!(waiting(&view).as_deref(), Some("ImagePullBackOff"));
    assert_eq!(view.template.as_deref(), Some(&json!({"spec": {"containers": []}})));

    let starting = job(&a_job(json!({})), &[job_pod("j", "Pending", "ContainerCreating")], since);
    assert_eq!((starting.stuck_since, starting.pods_left), (None, 1));
    let foreign = job(&a_job(json!({})), &[job_pod("other", "Pending", "ImagePullBackOff")], since);
    assert_eq!((foreign.pod, foreign.pods_left), (None, 0), "a pod of a former Job of that name");
    let over = job(&a_job(json!({})), &[job_pod("j", "Failed", "")], since);
    assert!(over.pods_left == 0 && over.stuck_since.is_none() && over.pod.is_some_and(|pod| pod.ended));
}

#[test]
fn how_a_job_ended() {
    let end =
        |conditions: Value| job(&a_job(json!({"conditions": conditions})), [], |_| at("2026-11-20T00:00:00Z")).end;
    let failed = |reason: &str| Some(JobEnd::Failed { reason: reason.into(), message: String::new() });
    assert_eq!(end(json!([{"type": "Suspended", "status": "True"}])), None);
    assert_eq!(end(json!([{"type": "SuccessCriteriaMet", "status": "True"}])), None, "its pod may still be there");
    assert_eq!(end(json!([{"type": "Complete", "status": "True"}])), Some(JobEnd::Complete));
    assert_eq!(
        end(json!([{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}])),
        failed("DeadlineExceeded")
    );
    assert_eq!(end(json!([{"type": "Failed", "status": "False"}])), None);
}

#[test]
fn a_pod_that_is_taken_away_says_why() {
    let disrupted = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting"});
    for (status, why) in [
        (json!({"conditions": [disrupted]}), Some("EvictionByEvictionAPI: Eviction API: evicting")),
        (
            json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}),
            Some("Evicted: The node was low on resource: memory."),
        ),
        (json!({"phase": "Failed", "reason": "NodeAffinity"}), None),
        (json!({"phase": "Running"}), None),
    ] {
        let taken = pod(&read(json!({"metadata": {}, "status": status}))).taken;
        assert_eq!(taken.as_deref(), why, "{status}");
    }
}

#[test]
fn a_cutover_that_is_deleted_says_so() {
    let object: Cutover = read(json!({
        "metadata": {"name": "shop", "uid": "c", "deletionTimestamp": "2026-11-20T00:00:00Z"},
        "spec": {
            "services": [{"name": "web"}], "activate": "green", "release": {"version": "2"},
            "sides": [
                {"name": "blue", "selector": {"side": "blue"}, "workloads": [{"kind": "Deployment", "name": "b"}]},
                {"name": "green", "selector": {"side": "green"}, "workloads": [{"kind": "Deployment", "name": "g"}]}
            ]
        }
    }));
    let view = cutover(&object, true);
    assert!(view.deleting && view.namespace_going && !view.suspend);
    assert_eq!(view.activate, "green");
    assert_eq!(view.release.version.as_deref(), Some("2"));
}

#[test]
fn decisions_that_lead_back_come_first_and_those_of_one_second_keep_their_order() {
    let one = |uid: &str, created: &str, verb: &str| {
        decision(&read(json!({
            "metadata": {"uid": uid, "creationTimestamp": created},
            "spec": {"cutover": "shop", "runUID": "r", "decision": verb, "by": "jane"}
        })))
    };
    let mut list = vec![
        one("z", "2026-11-20T00:00:01Z", "Suspend"),
        one("b", "2026-11-20T00:00:02Z", "Resume"),
        one("a", "2026-11-20T00:00:02Z", "Suspend"),
        one("y", "2026-11-20T00:00:03Z", "Rollback"),
        one("x", "2026-11-20T00:00:03Z", "Abort"),
    ];
    order(&mut list);
    let names = |list: &[DecisionView]| list.iter().map(|d| d.uid.clone()).collect::<Vec<_>>();
    assert_eq!(names(&list), ["x", "y", "z", "a", "b"]);
    let mut many: Vec<_> = (0..2000).map(|n| one(&n.to_string(), "2026-11-20T00:00:01Z", "Suspend")).collect();
    many.push(one("late", "2026-11-20T01:00:00Z", "Rollback"));
    order(&mut many);
    assert_eq!((many.len(), many[0].uid.as_str()), (500, "late"), "no number of others leaves out a Rollback");
}

#[test]
fn a_pod_may_use_what_it_or_all_of_its_containers_may() {
    let limit = |spec: Value| pod(&read(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec}))).memory_limit;
    let of = |memory: &str| json!({"name": "c", "resources": {"limits": {"memory": memory}}});
    assert_eq!(limit(json!({"containers": [of("256Mi")]})), Some(256 << 20));
    // A sidecar runs beside them; what only starts the pod does not.
    let mut beside = of("64Mi");
    beside["restartPolicy"] = "Always".into();
    let spec = json!({"containers": [of("256Mi"), of("1Gi")], "initContainers": [beside, of("8Gi")]});
    assert_eq!(limit(spec), Some((256 + 1024 + 64) << 20));
    // One without a limit may use what the node has, unless the pod itself is limited.
    let spec = json!({"containers": [of("256Mi"), {"name": "d"}]});
    assert_eq!(limit(spec.clone()), None);
    let mut limited = spec;
    limited["resources"] = json!({"limits": {"memory": "512Mi"}});
    assert_eq!(limit(limited), Some(512 << 20));
    assert_eq!(limit(json!({"containers": []})), None);
}
