//! PURE. Workloads available at the wanted count and carrying the release's label.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::run::StepRecord;
use crate::api::step::{Rollout, SideRef, WorkloadRef};
use crate::endpoints::why;
use crate::plan::PlanSide;
use crate::world::WorkloadView;

use super::{Cx, Verdict, change};

/// See [`super::advance`].
pub fn advance(cx: &Cx, rollout: &Rollout, record: &mut StepRecord) -> Option<Verdict> {
    let workloads = match rollout.side {
        Some(side) => &cx.plan.side(side).workloads,
        None => &rollout.workloads,
    };
    let verdict = judge(cx, workloads, rollout.replicas, true, record)?;
    let of_target = workloads.iter().any(|w| cx.plan.target.workloads.contains(w));
    if of_target
        && matches!(verdict, Verdict::Pass { .. })
        && let Some(why) = missing_image(cx)
    {
        return wait(record, why);
    }
    let compared = rollout.side == Some(SideRef::Target) && rollout.replicas.is_none();
    if compared
        && matches!(verdict, Verdict::Pass { .. })
        && let Some(why) = fewer_than_live(cx)
    {
        return wait(record, why);
    }
    Some(verdict)
}

/// An image of the release that no container of the target runs.
fn missing_image(cx: &Cx) -> Option<String> {
    let mut there: BTreeSet<&str> = BTreeSet::new();
    for workload in &cx.plan.target.workloads {
        let Some(view) = known(cx, workload) else { continue };
        for list in ["initContainers", "containers"] {
            let containers = view.template["spec"][list].as_array();
            there.extend(containers.into_iter().flatten().filter_map(|c| c["image"].as_str()));
        }
    }
    let missing = cx.plan.release.images.iter().find(|image| !there.contains(image.as_str()))?;
    Some(format!(
        "no container of {} runs {missing}, which spec.release.images names; its images are {}",
        names(&cx.plan.target.workloads),
        there.into_iter().collect::<Vec<_>>().join(", ")
    ))
}

/// What the target has less of than the live side wants: behind each Service, and of the workloads that no Service
/// selects. `None` where it is no less anywhere.
fn fewer_than_live(cx: &Cx) -> Option<String> {
    let (target, live) = (&cx.plan.target, &cx.plan.old);
    let mut selected = BTreeSet::new();
    // One that is gone is the switch's to judge.
    let gone = |name: &&String| cx.world.services.get(*name).is_some_and(|seen| seen.value.is_none());
    for service in cx.plan.services.iter().filter(|name| !gone(name)) {
        let of = |side| cx.world.selected(service, side);
        // At least one: a live side that stands at zero is no measure.
        let (Some(ours), Some(theirs), Some(wanted)) = (of(target), of(live), cx.world.wanted_of(service, live)) else {
            return Some(format!("Service {service} and the workloads of {} are being looked up", live.name));
        };
        if let Some(why) = fewer(cx, &ours, wanted, &format!(" behind Service {service}")) {
            return Some(why);
        }
        selected.extend(ours.into_iter().chain(theirs));
    }
    let rest = |side: &'_ PlanSide| {
        side.workloads.iter().filter(|w| !selected.contains(w)).cloned().collect::<Vec<WorkloadRef>>()
    };
    let (ours, theirs) = (rest(target), rest(live));
    let wanted: Option<u32> = theirs.iter().map(|w| Some(known(cx, w)?.wanted)).sum();
    match wanted {
        None => Some(format!("the workloads of {}, whose count is wanted, are not known yet", live.name)),
        Some(_) if ours.is_empty() => None,
        Some(wanted) => fewer(cx, &ours.iter().collect::<Vec<_>>(), wanted, ""),
    }
}

fn fewer(cx: &Cx, workloads: &[&WorkloadRef], wanted: u32, of: &str) -> Option<String> {
    let available: u32 = workloads.iter().filter_map(|w| Some(known(cx, w)?.available)).sum();
    let names = workloads.iter().map(|w| format!("{:?} {}", w.kind, w.name)).collect::<Vec<_>>().join(", ");
    let cause = || why::first(cx.world, workloads.iter().copied()).map(|why| format!("; {why}")).unwrap_or_default();
    (available < wanted)
        .then(|| format!("{available} of {wanted} replicas{of} are available; scale {names}{}", cause()))
}

fn known<'a>(cx: &Cx<'a>, workload: &WorkloadRef) -> Option<&'a WorkloadView> {
    cx.world.workloads.get(workload)?.value.as_ref()
}

/// Whether all are rolled out, of this release where `release` asks for that, and enough of them are there.
pub fn judge(
    cx: &Cx,
    workloads: &[WorkloadRef],
    wanted: Option<u32>,
    release: bool,
    record: &mut StepRecord,
) -> Option<Verdict> {
    let mut available = 0;
    let mut counts = serde_json::Map::new();
    for workload in workloads {
        let name = format!("{:?} {}", workload.kind, workload.name);
        let view = match cx.world.workloads.get(workload).map(|seen| &seen.value) {
            None => return wait(record, format!("{name} is being looked up")),
            Some(None) => return Some(Verdict::fail(format!("{name} does not exist; apply it"))),
            Some(Some(view)) => view,
        };
        if view.observed_generation >= view.generation
            && let Some(why) = &view.stuck
        {
            let cause = caused(cx, workload);
            let message = format!("{name} does not progress: {why} ({}){cause}", shown(view));
            return Some(Verdict::Fail { message, evidence: Some(json!({name: count(view)})) });
        }
        if let Some(why) = unfinished(cx, workload, view, release) {
            return wait(record, format!("{name}: {why}{}", caused(cx, workload)));
        }
        available += view.available;
        counts.insert(name, count(view));
    }
    match wanted {
        Some(wanted) if available < wanted => {
            wait(record, format!("{available} of {wanted} replicas are available; scale {}", names(workloads)))
        }
        _ => Some(Verdict::pass(Value::Object(counts))),
    }
}

/// Why a workload is not ready, to be said behind how far it is.
fn caused(cx: &Cx, workload: &WorkloadRef) -> String {
    why::workload(cx.world, workload).map(|why| format!("; {why}")).unwrap_or_default()
}

fn wait(record: &mut StepRecord, why: String) -> Option<Verdict> {
    record.message = Some(why);
    None
}

fn names(workloads: &[WorkloadRef]) -> String {
    workloads.iter().map(|w| format!("{:?} {}", w.kind, w.name)).collect::<Vec<_>>().join(", ")
}

fn count(view: &WorkloadView) -> Value {
    json!({"available": view.available, "wanted": view.wanted, "template": view.template_hash})
}

fn shown(view: &WorkloadView) -> String {
    format!("{} of {} available", view.available, view.wanted)
}

/// Why a workload is not rolled out.
fn unfinished(cx: &Cx, workload: &WorkloadRef, view: &WorkloadView, labelled: bool) -> Option<String> {
    if view.observed_generation < view.generation {
        return Some("the change has not been taken up yet".into());
    }
    let release = &cx.plan.release;
    // A workload without a Service may lack the side's labels; it is of the release all the same.
    let listed = cx.plan.target.workloads.contains(workload);
    let of_target = labelled && (listed || crate::endpoints::carries(&view.pod_labels, &cx.plan.target.selector));
    if let (true, Some(label), Some(version)) = (of_target, &release.pod_label, &release.version)
        && view.pod_labels.get(label) != Some(version)
    {
        let has = view.pod_labels.get(label).map_or("no such label".to_owned(), |v| format!("{v:?}"));
        return Some(format!("its pods are to carry {label}={version} and have {has}"));
    }
    if view.updated < view.wanted || view.replicas > view.updated {
        return Some(format!("{} of {} pods are of the current template", view.updated, view.wanted));
    }
    (view.available < view.wanted).then(|| shown(view))
}

/// After the pod templates of workloads were changed: whether the cluster shows what was written, the pods of it are ready
/// and those of the former templates are gone.
pub(crate) fn after_change(cx: &Cx, workloads: &[WorkloadRef], record: &mut StepRecord) -> Option<Verdict> {
    let other = |w: &WorkloadRef, view: &WorkloadView| change::other_template(&record.before, w, view);
    if let Some(why) = change::unsettled(cx, workloads, other) {
        record.message = Some(why);
        return None;
    }
    match judge(cx, workloads, None, false, record)? {
        Verdict::Pass { .. } if change::still_leaving(cx, workloads, record) => None,
        verdict => Some(verdict),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, pod, step, workload};
    use crate::api::run::StepState;
    use crate::plan::{Action, Stage};
    use crate::world::{ContainerView, PodView};

    fn check(f: &Fixture, value: Value) -> (StepState, String) {
        let rollout = serde_json::from_value(value).expect("a rollout");
        let (r, _) = f.drive(&step("ready", Stage::Prepare, Action::Rollout(rollout)), None);
        (r.state, r.message.unwrap_or_default())
    }

    #[test]
    fn the_images_of_the_release_are_waited_for() {
        let mut f = Fixture::new();
        f.plan.release.images = vec!["shop:2".into(), "sidecar:7".into()];
        let containers = |image: &str| json!({"spec": {"containers": [{"image": image}, {"image": "sidecar:7"}]}});
        f.workload("green").template = containers("shop:1");
        let (state, message) = check(&f, json!({"side": "Target"}));
        assert_eq!(state, StepState::Running);
        assert!(message.contains("runs shop:2, which") && message.contains("shop:1, sidecar:7"), "{message}");
        f.workload("green").template = containers("shop:2");
        assert_eq!(check(&f, json!({"side": "Target"})).0, StepState::Succeeded);
        f.workload("green").template = containers("shop:1");
        assert_eq!(check(&f, json!({"side": "Old"})).0, StepState::Succeeded, "the old side is of another release");
    }

    #[test]
    fn the_target_is_to_have_what_the_live_side_has() {
        let mut f = Fixture::new();
        assert_eq!(check(&f, json!({"side": "Target"})).0, StepState::Succeeded);
        f.workload("blue").wanted = 3;
        let (state, why) = check(&f, json!({"side": "Target"}));
        assert!(
            state == StepState::Running
                && why == "2 of 3 replicas behind Service web are available; scale Deployment web-green"
        );
        assert_eq!(check(&f, json!({"side": "Target", "replicas": 2})).0, StepState::Succeeded);
        f.workload("blue").wanted = 0;
        f.workload("green").wanted = 0;
        f.workload("green").available = 0;
        f.workload("green").updated = 0;
        f.workload("green").replicas = 0;
        assert_eq!(check(&f, json!({"side": "Target"})).0, StepState::Running, "never nothing for nothing");
    }

    /// Another workload of a side, with all of its pods available.
    fn worker(f: &mut Fixture, version: &str, replicas: u32) {
        let mut view = crate::actions::fixtures::view(version, replicas);
        view.pod_labels = [("app".to_owned(), "worker".to_owned())].into();
        let name = workload(&format!("worker-{version}"));
        let side = if version == "green" { &mut f.plan.target } else { &mut f.plan.old };
        side.workloads.push(name.clone());
        f.world.workloads.insert(name, crate::world::Seen { at: f.world.now, value: Some(view) });
    }

    #[test]
    fn what_each_service_selects_is_compared_and_what_none_selects() {
        let set = |f: &mut Fixture, version: &str, n: u32| {
            let v = f.workload(version);
            (v.wanted, v.updated, v.available, v.replicas) = (n, n, n, n);
        };
        let table = [
            ((3, 1), (3, 1), ""),
            ((3, 1), (1, 3), "1 of 3 replicas behind Service web are available; scale Deployment web-green"),
            ((3, 2), (4, 1), "1 of 2 replicas are available; scale Deployment worker-green"),
            ((3, 0), (3, 0), ""),
        ];
        for ((live, live_workers), (target, target_workers), text) in table {
            let mut f = Fixture::new();
            set(&mut f, "blue", live);
            set(&mut f, "green", target);
            worker(&mut f, "blue", live_workers);
            worker(&mut f, "green", target_workers);
            let (state, why) = check(&f, json!({"side": "Target"}));
            let wanted = if text.is_empty() { StepState::Succeeded } else { StepState::Running };
            assert_eq!((state, why.as_str()), (wanted, text));
        }
    }

    #[test]
    fn a_worker_of_the_target_without_the_sides_labels_is_waited_for_and_carries_the_release() {
        let mut f = Fixture::new();
        worker(&mut f, "green", 2);
        let name = workload("worker-green");
        let change = |f: &mut Fixture, change: fn(&mut WorkloadView)| {
            change(f.world.workloads.get_mut(&name).and_then(|s| s.value.as_mut()).expect("a worker"));
        };
        change(&mut f, |v| v.available = 1);
        assert_eq!(check(&f, json!({"side": "Target"})).1, "Deployment worker-green: 1 of 2 available");
        change(&mut f, |v| v.available = 2);
        f.plan.release.pod_label = Some("release".into());
        f.workload("green").pod_labels.insert("release".into(), "2.4.0".into());
        let (_, why) = check(&f, json!({"side": "Target"}));
        assert_eq!(why, "Deployment worker-green: its pods are to carry release=2.4.0 and have no such label");
    }

    #[test]
    fn what_is_not_rolled_out_is_waited_for() {
        type Change = fn(&mut WorkloadView);
        let table: [(Change, &str); 5] = [
            (|v| v.generation = 2, "not been taken up"),
            (|v| v.updated = 1, "1 of 2 pods are of the current template"),
            (|v| v.replicas = 3, "of the current template"),
            (|v| v.available = 1, "1 of 2 available"),
            (|v| drop(v.pod_labels.insert("release".into(), "2.3.0".into())), "release=2.4.0 and have \"2.3.0\""),
        ];
        for (change, text) in table {
            let mut f = Fixture::new();
            f.plan.release.pod_label = Some("release".into());
            f.workload("green").pod_labels.insert("release".into(), "2.4.0".into());
            assert_eq!(check(&f, json!({"side": "Target"})).0, StepState::Succeeded);
            change(f.workload("green"));
            let (state, why) = check(&f, json!({"side": "Target"}));
            assert!(state == StepState::Running && why.contains(text), "{why}");
        }
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        let mut f = Fixture::new();
        f.workload("green").updated = 1;
        let container = ContainerView {
            name: "api".into(),
            image: "web:9".into(),
            waiting: Some("ImagePullBackOff".into()),
            waiting_message: Some("Back-off pulling image \"web:9\": ErrImagePull: web:9: not found".into()),
            ..ContainerView::default()
        };
        let bad = PodView { ready: false, containers: vec![container], ..pod("green-c", "green") };
        f.pods(vec![pod("green-a", "green"), bad, pod("blue-a", "blue")]);
        let why = "pod green-c: container api: ErrImagePull of web:9: web:9: not found";
        let told = format!("Deployment web-green: 1 of 2 pods are of the current template; {why}");
        assert_eq!(check(&f, json!({"side": "Target"})), (StepState::Running, told));
        f.workload("green").stuck = Some("ProgressDeadlineExceeded".into());
        let (state, message) = check(&f, json!({"side": "Target"}));
        assert!(state == StepState::Failed && message.ends_with(why), "{message}");
        f.workload("green").stuck = None;
        f.workload("green").refused = Some("pods \"x\" is forbidden: violates PodSecurity \"restricted\": y".into());
        let (state, message) = check(&f, json!({"side": "Target"}));
        let refused = "its pod is not admitted: violates PodSecurity \"restricted\": y";
        assert!(state == StepState::Running && message.ends_with(refused), "waited for until its time-out: {message}");
    }

    #[test]
    fn stuck_or_missing_fails_at_once() {
        let mut f = Fixture::new();
        f.workload("green").available = 0;
        f.workload("green").stuck = Some("ProgressDeadlineExceeded".into());
        let (state, why) = check(&f, json!({"side": "Target"}));
        assert!(state == StepState::Failed && why.contains("ProgressDeadlineExceeded"), "{why}");
        f.workload("green").generation = 2;
        assert_eq!(check(&f, json!({"side": "Target"})).0, StepState::Running, "said of the template before");
        let at = f.world.now;
        f.world.workloads.insert(workload("web-green"), crate::world::Seen { at, value: None });
        assert_eq!(
            check(&f, json!({"side": "Target"})),
            (StepState::Failed, "Deployment web-green does not exist; apply it".into())
        );
        f.world.workloads.remove(&workload("web-green"));
        assert_eq!(check(&f, json!({"side": "Target"})).0, StepState::Running);
    }
}
