//! PURE. In which container an undo runs: in that of the Job that its step ran, as that Job stands in the cluster. By the
//! time of a rollback the side may have another image, or may be gone.

use serde_json::{Value, json};

use crate::api::run::JobRecord;
use crate::api::step::FromContainer;
use crate::journal;
use crate::plan::{Action, Execution, PlanStep};

use super::Cx;

/// What is left of the container that a step's Job ran.
#[derive(Debug, PartialEq)]
pub(crate) enum Ran {
    /// The pod template of its Job.
    Template(Value),
    /// The Job is gone; its image is recorded.
    Image(String),
}

/// The container of the Job that the step of an undo ran; none where `step` is no undo, where its step ran no Job, or
/// where the undo names another side or container.
pub fn container(cx: &Cx, step: &PlanStep, from: &FromContainer) -> Option<Ran> {
    let Execution::Undo(undone) = step.name.parse().ok()? else { return None };
    let of = cx.plan.steps.iter().find(|of| of.name == undone)?;
    let Action::Job(job) = &of.action else { return None };
    let own = job.from.as_ref().filter(|own| own.side == from.side)?;
    let record = journal::record(cx.journal, &of.name)?;
    // The last one that ran; one that was never started has done nothing that could be undone.
    let ran = |job: &&JobRecord| job.uid.is_some() && job.started.is_some();
    let last = record.job.iter().find(ran).or_else(|| record.former_jobs.iter().rev().find(ran))?;
    let view = cx.world.jobs.get(&last.name).and_then(|seen| seen.value.as_ref());
    let view = view.filter(|view| last.uid.as_ref() == Some(&view.uid));
    let template = view.and_then(|view| view.template.as_deref());
    let name = template.and_then(|t| t.pointer("/spec/containers/0/name")?.as_str());
    if own.container != from.container && from.container.as_deref().is_none_or(|wanted| Some(wanted) != name) {
        return None;
    }
    match template {
        Some(template) => Some(Ran::Template(bare(template))),
        None => image(last).map(Ran::Image),
    }
}

/// The template without what the Job controller has added to it.
fn bare(template: &Value) -> Value {
    json!({"metadata": {}, "spec": template.get("spec").cloned().unwrap_or_default()})
}

/// The image of a Job that is gone: by its digest where the registry gave one, which no tag can change.
fn image(job: &JobRecord) -> Option<String> {
    let digest = job.image_id.as_deref().map(|id| id.strip_prefix("docker-pullable://").unwrap_or(id));
    digest.filter(|id| id.contains("@sha256:")).map(str::to_owned).or_else(|| job.image.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, step};
    use crate::actions::manifest;
    use crate::api::run::{StepRecord, StepState};
    use crate::api::step::Job;
    use crate::plan::{PlanUndo, Stage};
    use crate::world::{JobView, Seen};

    fn job(value: Value) -> Job {
        serde_json::from_value(value).expect("a job")
    }

    fn migrate() -> Value {
        json!({"from": {"side": "Target", "container": "api"}, "command": ["migrate", "up"],
            "env": [{"name": "STEP", "value": "s"}]})
    }

    /// A run whose step has run a Job, and the side has another image since.
    fn fixture(undo: Value, started: bool) -> (Fixture, PlanStep, Job) {
        let mut f = Fixture::new();
        let mut of = step("migrate", Stage::Prepare, Action::Job(job(migrate())));
        let undo = job(undo);
        let action = Action::Job(undo.clone());
        of.undo = Some(PlanUndo {
            when: Default::default(),
            timeout: of.timeout,
            approval: None,
            before_restore: false,
            action: action.clone(),
        });
        f.plan.steps = vec![of.clone()];
        let Action::Job(run) = &of.action else { unreachable!() };
        let manifest = manifest::build(&f.cx(), &of, run, 1, false).expect("a manifest");
        let now = f.world.now;
        let record = |name: &str, started: bool| JobRecord {
            name: name.into(),
            uid: Some(format!("uid-{name}")),
            started: started.then_some(now),
            image: Some("web:2".into()),
            image_id: Some("registry.example/web@sha256:abc".into()),
            ..JobRecord::default()
        };
        f.journal.steps.push(StepRecord {
            name: "migrate".into(),
            state: StepState::Succeeded,
            job: Some(record("second", started)),
            former_jobs: vec![record("first", true)],
            ..StepRecord::default()
        });
        for name in ["first", "second"] {
            let mut template = manifest["spec"]["template"].clone();
            template["spec"]["containers"][0]["image"] = format!("web:{name}").into();
            template["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] = "x".into();
            let view = JobView { uid: format!("uid-{name}"), template: Some(template.into()), ..JobView::default() };
            f.world.jobs.insert(name.into(), Seen { at: now, value: Some(view) });
        }
        f.workload("green").template["spec"]["containers"][0]["image"] = "web:3".into();
        (f, step("undo/migrate", Stage::Prepare, action), undo)
    }

    fn built(f: &Fixture, step: &PlanStep, job: &Job) -> Value {
        manifest::build(&f.cx(), step, job, 1, false).expect("a manifest")["spec"]["template"].clone()
    }

    fn down(container: Value) -> Value {
        json!({"from": {"side": "Target", "container": container}, "command": ["migrate", "down"],
            "env": [{"name": "UNDO", "value": "u"}]})
    }

    #[test]
    fn it_is_that_of_the_last_job_that_ran_with_the_undos_command() {
        let (mut f, undo, job) = fixture(down(json!("api")), true);
        // Whatever has become of the side.
        f.world.workloads.clear();
        let template = built(&f, &undo, &job);
        let c = &template["spec"]["containers"][0];
        assert_eq!((&c["image"], &c["command"]), (&json!("web:second"), &json!(["migrate", "down"])));
        let env: Vec<_> = c["env"].as_array().into_iter().flatten().filter_map(|v| v["name"].as_str()).collect();
        assert!(["DB", "STEP", "UNDO"].iter().all(|name| env.contains(name)), "{env:?}");
        let step = c["env"].as_array().into_iter().flatten().find(|v| v["name"] == "CUTOVER_STEP").map(|v| &v["value"]);
        assert_eq!(step, Some(&json!("undo/migrate")));
        let labels = template["metadata"]["labels"].as_object().expect("labels");
        assert!(labels.keys().all(|key| key.starts_with("cutover.dev/")), "{labels:?}");

        let (f, undo, job) = fixture(down(json!("api")), false);
        let template = built(&f, &undo, &job);
        assert_eq!(template["spec"]["containers"][0]["image"], "web:first", "the second was never started");
    }

    #[test]
    fn when_the_job_is_gone_its_image_is_known() {
        let (mut f, undo, job) = fixture(down(json!("api")), true);
        f.world.jobs.clear();
        let template = built(&f, &undo, &job);
        assert_eq!(template["spec"]["containers"][0]["image"], "registry.example/web@sha256:abc");
        let known = |f: &mut Fixture, id: Option<&str>| {
            f.journal.steps[0].job.as_mut().expect("a Job").image_id = id.map(str::to_owned);
        };
        // The node's own id names no image anywhere else.
        for id in [Some("sha256:10f6"), None] {
            known(&mut f, id);
            assert_eq!(built(&f, &undo, &job)["spec"]["containers"][0]["image"], "web:2");
        }
        // Another Job of that name is not it.
        let other = JobView { uid: "other".into(), template: Some(json!({}).into()), ..JobView::default() };
        f.world.jobs.insert("second".into(), Seen { at: f.world.now, value: Some(other) });
        assert_eq!(built(&f, &undo, &job)["spec"]["containers"][0]["image"], "web:2");
    }

    #[test]
    fn an_undo_in_another_container_takes_the_side_as_it_is() {
        let (f, undo, job) = fixture(down(json!("proxy")), true);
        assert_eq!(built(&f, &undo, &job)["spec"]["containers"][0]["image"], "proxy:1");
        let blue = json!({"from": {"side": "Old", "container": "api"}, "command": ["x"]});
        let (f, undo, job) = fixture(blue, true);
        assert_eq!(built(&f, &undo, &job)["spec"]["containers"][0]["image"], "web:2", "the other side's own");
        // No container named is the side's first, which need not be the one that ran.
        let (f, undo, job) = fixture(down(Value::Null), true);
        assert_eq!(built(&f, &undo, &job)["spec"]["containers"][0]["image"], "web:3");
        let (mut f, undo, job) = fixture(down(json!("api")), true);
        f.journal.steps.clear();
        assert_eq!(built(&f, &undo, &job)["spec"]["containers"][0]["image"], "web:3", "nothing ran");
    }
}
