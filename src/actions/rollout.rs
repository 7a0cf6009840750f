//! PURE. Workloads available at the wanted count and carrying the release's label.

use serde_json::{Value, json};

use crate::api::run::StepRecord;
use crate::api::step::{Rollout, SideRef, WorkloadRef};
use crate::endpoints::why;
use crate::world::WorkloadView;

use super::{Cx, Verdict};

/// See [`super::advance`].
pub fn advance(cx: &Cx, rollout: &Rollout, record: &mut StepRecord) -> Option<Verdict> {
    let workloads = match rollout.side {
        Some(side) => &cx.plan.side(side).workloads,
        None => &rollout.workloads,
    };
    let wanted = match wanted(cx, rollout) {
        Ok(wanted) => wanted,
        Err(why) => {
            record.message = Some(why);
            return None;
        }
    };
    judge(cx, workloads, wanted, true, record)
}

/// How many in all; `None`: each workload's own count.
fn wanted(cx: &Cx, rollout: &Rollout) -> Result<Option<u32>, String> {
    match (rollout.replicas, rollout.side) {
        (Some(replicas), _) => Ok(Some(replicas)),
        // At least one: a live side that stands at zero is no measure.
        (None, Some(SideRef::Target)) => match cx.world.wanted(&cx.plan.live) {
            Some(live) => Ok(Some(live.max(1))),
            None => Err(format!("the workloads of {}, whose count is wanted, are not known yet", cx.plan.live.name)),
        },
        (None, Some(SideRef::Live) | None) => Ok(None),
    }
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
        if let Some(why) = unfinished(cx, view, release) {
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
fn unfinished(cx: &Cx, view: &WorkloadView, labelled: bool) -> Option<String> {
    if view.observed_generation < view.generation {
        return Some("the change has not been taken up yet".into());
    }
    let release = &cx.plan.release;
    let of_target = labelled && crate::endpoints::carries(&view.pod_labels, &cx.plan.target.selector);
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
    fn the_target_is_to_have_what_the_live_side_has() {
        let mut f = Fixture::new();
        assert_eq!(check(&f, json!({"side": "Target"})).0, StepState::Succeeded);
        f.workload("blue").wanted = 3;
        let (state, why) = check(&f, json!({"side": "Target"}));
        assert!(state == StepState::Running && why == "2 of 3 replicas are available; scale Deployment web-green");
        assert_eq!(check(&f, json!({"side": "Target", "replicas": 2})).0, StepState::Succeeded);
        f.workload("blue").wanted = 0;
        f.workload("green").wanted = 0;
        f.workload("green").available = 0;
        f.workload("green").updated = 0;
        f.workload("green").replicas = 0;
        assert_eq!(check(&f, json!({"side": "Target"})).0, StepState::Running, "never nothing for nothing");
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
