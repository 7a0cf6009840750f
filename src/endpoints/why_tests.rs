//! The words of Kubernetes 1.36 and containerd 2.4, as they were seen, and what is made of them.

use super::*;
use crate::world::ContainerEnd;

fn container(reason: &str, message: &str, image: &str) -> ContainerView {
    ContainerView {
        name: "m".into(),
        image: image.into(),
        waiting: Some(reason.into()),
        waiting_message: (!message.is_empty()).then(|| message.to_owned()),
        ..ContainerView::default()
    }
}

fn pod(containers: Vec<ContainerView>) -> PodView {
    PodView { name: "p".into(), containers, ..PodView::default() }
}

#[test]
fn what_the_registry_answers_is_told_from_what_happens_on_the_way_to_it() {
    let image = "r.example/app:1";
    let pull = "failed to pull and unpack image \"r.example/app:1\": failed to resolve image: ";
    let request = "failed to do request: Head \"https://r.example/v2/app/manifests/1\": ";
    let way = [
        format!("{pull}{request}dial tcp 127.0.0.1:1: connect: connection refused"),
        format!(
            "{pull}{request}dial tcp: lookup r.example on 10.255.255.53:53: read udp 172.31.0.10:58641->10.255.255.53:53: \
             i/o timeout"
        ),
        format!("{pull}{request}dial tcp: lookup r.example on 10.0.0.10:53: no such host"),
        format!("{pull}{request}tls: first record does not look like a TLS handshake"),
        format!("{pull}{request}tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        format!(
            "{pull}unexpected status from HEAD request to https://r.example/v2/app/manifests/1: 503 Service Unavailable"
        ),
        format!(
            "{pull}unexpected status from HEAD request to https://r.example/v2/app/manifests/1: 429 Too Many Requests"
        ),
    ];
    for message in &way {
        let cause = not_started(&pod(vec![container("ErrImagePull", message, image)])).expect("a cause");
        assert_eq!(cause.patience, Patience::Deadline, "{message}");
        assert!(cause.text.starts_with("pod p: container m: ErrImagePull of r.example/app:1: "), "{}", cause.text);
        assert!(!cause.text.contains("unpack"), "{}", cause.text);
    }
    let answered = [
        format!("{pull}r.example/app:1: not found"),
        format!("rpc error: code = NotFound desc = {pull}r.example/app:1: not found"),
        format!("{pull}unexpected status from HEAD request to https://r.example/v2/app/manifests/1: 401 Unauthorized"),
        format!("{pull}unexpected status from HEAD request to https://r.example/v2/app/manifests/1: 403 Forbidden"),
        format!(
            "{pull}failed to authorize: failed to fetch anonymous token: unexpected status from GET request to \
             https://r.example/token?scope=x: 403 Forbidden"
        ),
        format!(
            "{pull}pull access denied, repository does not exist or may require authorization: server message: \
             insufficient_scope: authorization failed"
        ),
        "reading manifest 1 in r.example/app: manifest unknown".to_owned(),
        "initializing source docker://r.example/app:1: reading manifest 1: unauthorized: authentication required"
            .to_owned(),
    ];
    for message in &answered {
        let back_off = format!("Back-off pulling image \"r.example/app:1\": ErrImagePull: {message}");
        for (reason, message) in [("ErrImagePull", message), ("ImagePullBackOff", &back_off)] {
            let cause = not_started(&pod(vec![container(reason, message, image)])).expect("a cause");
            assert_eq!(cause.patience, Patience::None, "{message}");
            assert!(cause.text.starts_with("pod p: container m: ErrImagePull of r.example/app:1: "), "{}", cause.text);
        }
    }
    let cause = not_started(&pod(vec![container("ErrImagePull", &answered[1], image)])).expect("a cause");
    assert_eq!(cause.text, "pod p: container m: ErrImagePull of r.example/app:1: r.example/app:1: not found");
    let bare =
        not_started(&pod(vec![container("ImagePullBackOff", "Back-off pulling image \"r.example/app:1\"", image)]));
    assert_eq!(bare.map(|c| c.patience), Some(Patience::Deadline));
}

#[test]
fn an_image_named_like_an_answer_is_none() {
    let message = "failed to pull and unpack image \"r.example/404:403\": failed to resolve image: failed to do request: \
                   Head \"https://r.example/v2/404/manifests/403\": dial tcp 10.0.0.1:443: connect: connection refused";
    let cause = not_started(&pod(vec![container("ErrImagePull", message, "r.example/404:403")])).expect("a cause");
    assert_eq!(cause.patience, Patience::Deadline, "{cause:?}");
}

#[test]
fn other_containers_that_do_not_start() {
    let table = [
        ("InvalidImageName", "couldn't parse image name \"NONE//x\": invalid reference format", Patience::None),
        ("ErrImageNeverPull", "Container image \"x\" is not present with pull policy of Never", Patience::Short),
        ("CreateContainerConfigError", "secret \"nope\" not found", Patience::Short),
        ("CrashLoopBackOff", "back-off 10s restarting failed container", Patience::Deadline),
        ("ContainerCreating", "", Patience::Starting),
    ];
    for (reason, message, patience) in table {
        let cause = not_started(&pod(vec![container(reason, message, "x")])).expect("a cause");
        assert_eq!(cause.patience, patience, "{cause:?}");
    }
    let why = not_started(&pod(vec![container("CreateContainerConfigError", "secret \"nope\" not found", "x")]));
    let text = "pod p: container m: CreateContainerConfigError: secret \"nope\" not found";
    assert_eq!(why.map(|c| c.text).as_deref(), Some(text));
    let waits = PodView { unschedulable: Some("0/1 nodes are available".into()), ..pod(vec![]) };
    let cause = not_started(&waits).expect("a cause");
    assert_eq!(
        (cause.text.as_str(), cause.patience),
        ("pod p: no node takes it: 0/1 nodes are available", Patience::Deadline)
    );
    // The worst one is told.
    let two = pod(vec![container("ContainerCreating", "", "x"), container("InvalidImageName", "", "Y")]);
    assert_eq!(not_started(&two).map(|c| c.text).as_deref(), Some("pod p: container m: InvalidImageName Y"));
    assert_eq!(not_started(&pod(vec![ContainerView { running: true, ..ContainerView::default() }])), None);
}

#[test]
fn what_admission_says_of_a_pod() {
    let table = [
        (
            "Error creating: pods \"a-hgjjm\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
            Patience::None,
            "violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
        ),
        (
            "Error creating: pods \"a-9sd9g\" is forbidden: ValidatingAdmissionPolicy 'x-vap' with binding 'x-vap' denied \
             request: images must be signed",
            Patience::None,
            "ValidatingAdmissionPolicy 'x-vap' with binding 'x-vap' denied request: images must be signed",
        ),
        (
            "Error creating: admission webhook \"check.example.com\" denied the request: no",
            Patience::None,
            "admission webhook \"check.example.com\" denied the request: no",
        ),
        (
            "Error creating: Pod \"a-frkdq\" is invalid: spec.containers[0].resources.requests: Invalid value: \"1\"",
            Patience::None,
            "Pod \"a-frkdq\" is invalid: spec.containers[0].resources.requests: Invalid value: \"1\"",
        ),
        (
            "Error creating: pods \"a\" is forbidden: maximum cpu usage per Container is 100m, but limit is 1",
            Patience::None,
            "maximum cpu usage per Container is 100m, but limit is 1",
        ),
        (
            "Error creating: pods \"a-7v54s\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=0",
            Patience::Deadline,
            "exceeded quota: few, requested: pods=1, used: pods=0",
        ),
        (
            "Error creating: pods \"nosa-\" is forbidden: error looking up service account x/nope: serviceaccount \"nope\" \
             not found",
            Patience::Deadline,
            "error looking up service account x/nope: serviceaccount \"nope\" not found",
        ),
        (
            "Error creating: Internal error occurred: failed calling webhook \"down.example.com\": failed to call webhook: \
             Post \"https://127.0.0.1:9/x?timeout=2s\": dial tcp 127.0.0.1:9: connect: connection refused",
            Patience::Deadline,
            "Internal error occurred: failed calling webhook \"down.example.com\": failed to call webhook: Post \
             \"https://127.0.0.1:9/x?timeout=2s\": dial tcp 127.0.0.1:9: connect: connection refused",
        ),
    ];
    for (message, patience, why) in table {
        let text = format!("its pod is not admitted: {why}");
        assert_eq!(not_admitted(message), Cause { text, patience });
    }
}

#[test]
fn the_newest_event_that_says_something_counts() {
    let event = |of: &str, reason: &str, message: &str| EventView {
        reason: reason.into(),
        message: message.into(),
        of: (of.into(), "a".into()),
    };
    let seen = [
        event("Job", "FailedCreate", "Error creating: pods \"x\" is forbidden: exceeded quota: q"),
        event("Pod", "FailedMount", "MountVolume.SetUp failed for volume \"v\" : configmap \"nope\" not found"),
        event("Pod", "Pulling", "Pulling image \"x\""),
    ];
    let told = "pod a: FailedMount: MountVolume.SetUp failed for volume \"v\" : configmap \"nope\" not found";
    assert_eq!(events(&seen).map(|c| c.text).as_deref(), Some(told));
    assert_eq!(events(&seen[..1]).map(|c| c.patience), Some(Patience::Deadline));
    assert_eq!(events(&seen[2..]), None);
    // The pod came about, or began, after all.
    for (of, reason) in [("Job", "SuccessfulCreate"), ("Pod", "Started")] {
        let over = [seen[0].clone(), event(of, reason, ""), event("Pod", "Killing", "")];
        assert_eq!(events(&over), None);
    }
}

#[test]
fn what_is_not_ready_says_why() {
    let runs =
        |ready| ContainerView { name: "m".into(), image: "x".into(), running: true, ready, ..Default::default() };
    let text = |pod: &PodView| not_ready(pod).map(|c| c.text);
    assert_eq!(text(&PodView { ready: true, ..pod(vec![runs(true)]) }), None);
    assert_eq!(text(&PodView { terminating: true, ..pod(vec![runs(false)]) }), None);
    assert_eq!(text(&pod(vec![runs(false)])).as_deref(), Some("pod p: container m of x is not ready yet"));
    let gated = PodView { gates: vec!["example.com/lb".into()], ..pod(vec![runs(true)]) };
    assert_eq!(text(&gated).as_deref(), Some("pod p: nobody has set its readiness gate example.com/lb"));
    let again = ContainerView {
        terminated: Some(ContainerEnd { reason: "OOMKilled".into(), id: String::new() }),
        ..runs(false)
    };
    let told = "pod p: container m of x is not ready; it ended before: OOMKilled";
    assert_eq!(text(&pod(vec![again])).as_deref(), Some(told));
    let creating = text(&pod(vec![container("ContainerCreating", "", "x")]));
    assert_eq!(creating.as_deref(), Some("pod p: container m: it is being created from x"));
}

#[test]
fn numbers_make_no_other_cause() {
    assert!(alike("read udp 172.31.0.10:58641: timeout", "read udp 172.31.0.10:41469: timeout"));
    assert!(!alike("connection refused", "i/o timeout"));
}

#[test]
fn a_cause_has_an_end() {
    let long =
        not_admitted(&format!("Error creating: pods \"a\" is forbidden: violates PodSecurity: {}", "ä".repeat(900)));
    assert_eq!(long.text.chars().count(), LONGEST + 1);
}

#[test]
fn what_ended_a_pod_is_told_where_its_program_did_not() {
    let ended = |reason: &str| ContainerView {
        terminated: Some(ContainerEnd { reason: reason.into(), id: String::new() }),
        ..container("", "", "x")
    };
    assert_eq!(cut_short(&pod(vec![ended("Error"), ended("Completed")])), None);
    assert_eq!(cut_short(&pod(vec![ended("OOMKilled")])).as_deref(), Some("container m: OOMKilled"));
    let evicted = PodView { taken: Some("EvictionByEvictionAPI: evicting".into()), ..pod(vec![ended("Error")]) };
    assert_eq!(cut_short(&evicted).as_deref(), Some("pod p was taken away: EvictionByEvictionAPI: evicting"));
}
