//! PURE. Every write that a run may need, as the API server is asked to try it before anything is done. Preflight asks as
//! the account that will write; `kubectl cutover plan` asks as its user, before there is a run.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::api::run::{ObjectRef, RunStatus};
use crate::api::step::Job;
use crate::effect::DryRun;
use crate::effect::sealed::manifest as manifest_of;
use crate::plan::vars::Vars;
use crate::plan::{Action, Plan, PlanSide, PlanStep, undo_name};
use crate::route::{Route, RouteView};
use crate::world::World;

use super::Cx;
use super::job_labels::{self, Made};
pub use super::request::NoRequest;
use super::{keeping, manifest, resource, set_env};

/// A Job that the run may create, with what would be sent.
pub(super) struct JobTrial {
    pub step: PlanStep,
    /// The Job.
    pub job: Job,
    pub manifest: Result<Value, NoRequest>,
}

/// What a write is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The Job of this step.
    Job(String),
    /// A Service that is pointed to the side of this name.
    Service { name: String, side: String },
    /// An object that a step changes, or that a rollback may have to scale.
    Object(ObjectRef),
    /// A workload whose environment a step sets.
    Environment { step: String, object: ObjectRef },
}

/// A write of a run that is not begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Foretold {
    pub subject: Subject,
    /// What is tried; `Err`: it cannot be built, or would be refused without being asked.
    pub run: Result<DryRun, NoRequest>,
    /// Variables in it that get their value in the run: it is tried with their names instead.
    pub unset: BTreeSet<String>,
}

/// Every Job that the run may create: of steps, of suites, of undos.
pub(super) fn jobs(cx: &Cx) -> Vec<JobTrial> {
    let mut found = vec![];
    let mut add = |step: &PlanStep, action: &Action| {
        if let Action::Job(job) = action {
            let manifest = manifest::build(cx, step, job, 1, true);
            found.push(JobTrial { step: step.clone(), job: job.clone(), manifest });
        }
    };
    for step in &cx.plan.steps {
        add(step, &step.action);
        if let Action::Suite(suite) = &step.action {
            suite.steps.iter().for_each(|sub| add(sub, &sub.action));
        }
        if let Some(undo) = &step.undo {
            add(&PlanStep { name: undo_name(&step.name), ..step.clone() }, &undo.action);
        }
    }
    found
}

impl JobTrial {
    /// The Job as it would be made.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn made(&self) -> Result<Made<'_>, NoRequest> {
        let manifest = self.manifest.as_ref().map_err(Clone::clone)?;
        Ok(Made { step: &self.step, job: &self.job, manifest })
    }

    /// As it is asked before the run.
    fn run(&self, cx: &Cx) -> Result<DryRun, NoRequest> {
        let made = self.made()?;
        match job_labels::refused(cx, &made) {
            Some(why) => Err(NoRequest::Fail(why)),
            None => Ok(made.trial()),
        }
    }
}

impl Made<'_> {
    fn trial(&self) -> DryRun {
        DryRun::Job { step: self.step.name.clone(), manifest: self.manifest.clone() }
    }
}

/// What preflight has tried: every Job and every other write, and the objects that are only looked at.
///
/// # Errors
/// The first that cannot be said.
pub(super) fn all(cx: &Cx, jobs: &[Made]) -> Result<Vec<DryRun>, NoRequest> {
    let mut runs: Vec<DryRun> = jobs.iter().map(Made::trial).collect();
    for write in changes(cx) {
        runs.push(write.run?);
    }
    runs.extend(secret(cx));
    runs.extend(resource::all(cx.plan).into_iter().map(DryRun::Look));
    Ok(runs)
}

/// The run's Secret, where something is to be kept in it.
fn secret(cx: &Cx) -> Option<DryRun> {
    cx.plan.keepers().next()?;
    let name = keeping::secret(cx);
    Some(DryRun::Secret(manifest_of(&name, &cx.plan.cutover, &cx.world.run_uid, Map::new())))
}

/// The writes of a run that is not begun, each by itself: one that cannot be said keeps no other from being tried.
pub fn foretold(plan: &Plan, world: &World) -> Vec<Foretold> {
    let journal = RunStatus::default();
    let cx = Cx { plan, journal: &journal, world, paused: false };
    let of_job = |job: JobTrial| Foretold {
        unset: unset(&cx, manifest::texts(&job.job)),
        run: job.run(&cx),
        subject: Subject::Job(job.step.name),
    };
    jobs(&cx).into_iter().map(of_job).chain(changes(&cx)).collect()
}

/// The variables in these texts that get their value in the run.
fn unset<'a>(cx: &Cx, texts: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let vars = Vars::new(cx.plan, &cx.journal.captures);
    texts.into_iter().flat_map(|text| vars.unset(text)).collect()
}

/// Every write that creates nothing: of Services, and of objects that steps change.
fn changes(cx: &Cx) -> Vec<Foretold> {
    let mut found = vec![];
    let plain = |subject, run| Foretold { subject, run, unset: BTreeSet::new() };
    for name in &cx.plan.services {
        let route = Route::service(name);
        let mut point = |side: &PlanSide, tested| {
            let subject = Subject::Service { name: name.clone(), side: side.name.clone() };
            let run = match cx.world.services.get(name) {
                None => Err(NoRequest::Wait(format!("Service {name} is being looked up"))),
                Some(seen) => match &seen.value {
                    None => Err(NoRequest::Fail(format!("spec.services: Service {name} does not exist"))),
                    Some(view) => Ok(route.trial(&RouteView::from(view), side, tested)),
                },
            };
            found.push(plain(subject, run));
        };
        point(&cx.plan.target, true);
        point(&cx.plan.old, false);
    }
    for object in changed(cx) {
        found.push(plain(Subject::Object(object.clone()), Ok(DryRun::Change { object, change: None })));
    }
    for step in &cx.plan.steps {
        let actions =
            [Some((step.name.clone(), &step.action)), step.undo.as_ref().map(|u| (undo_name(&step.name), &u.action))];
        for (name, action) in actions.into_iter().flatten() {
            let Action::SetEnv(set) = action else { continue };
            let change = set_env::trial(cx, &name, set);
            for object in set_env::workloads(cx, set).iter().map(ObjectRef::from) {
                let subject = Subject::Environment { step: name.clone(), object: object.clone() };
                let run = Ok(DryRun::Change { object, change: change.clone() });
                let unset = unset(cx, set.env.iter().filter_map(|var| var.value.as_deref()));
                found.push(Foretold { subject, run, unset });
            }
        }
    }
    found
}

/// What steps change, and the live side, which a rollback may have to scale.
fn changed(cx: &Cx) -> BTreeSet<ObjectRef> {
    let mut found: BTreeSet<ObjectRef> = cx.plan.old.workloads.iter().map(ObjectRef::from).collect();
    let actions = cx.plan.steps.iter().flat_map(|s| [Some(&s.action), s.undo.as_ref().map(|u| &u.action)]);
    // An environment is tried with its variables.
    let others = actions.flatten().filter(|action| !matches!(action, Action::SetEnv(_)));
    found.extend(others.flat_map(|action| action.changes(cx.plan)));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actions::fixtures::{Fixture, step};
    use crate::plan::Stage;

    fn action(kind: &str, value: Value) -> Action {
        match kind {
            "job" => Action::Job(serde_json::from_value(value).expect("a job")),
            _ => Action::SetEnv(serde_json::from_value(value).expect("an environment")),
        }
    }

    fn foretell(f: &mut Fixture, steps: &[(&str, &str, Value)]) -> Vec<Foretold> {
        let steps = steps.iter().map(|(name, kind, value)| step(name, Stage::Prepare, action(kind, value.clone())));
        f.plan.steps = steps.collect();
        foretold(&f.plan, &f.world)
    }

    fn of<'a>(all: &'a [Foretold], step: &str) -> &'a Foretold {
        all.iter().find(|f| f.subject == Subject::Job(step.into())).expect("a Job")
    }

    #[test]
    fn one_that_cannot_be_built_keeps_no_other_from_being_tried() {
        let mut f = Fixture::new();
        f.pods(vec![]);
        let joins = json!({"app": "web", "version": "green"});
        let all = foretell(
            &mut f,
            &[
                ("no-container", "job", json!({"from": {"side": "Target", "container": "none"}, "command": ["x"]})),
                ("joins", "job", json!({"from": {"side": "Target"}, "command": ["x"], "labels": joins})),
                ("fine", "job", json!({"from": {"side": "Target"}, "command": ["x"]})),
            ],
        );
        let refused = |name: &str| match &of(&all, name).run {
            Err(NoRequest::Fail(why)) => why.clone(),
            other => panic!("{other:?}"),
        };
        assert!(refused("no-container").contains("has no container \"none\""), "{all:?}");
        assert!(refused("joins").contains("one of Service web"), "{all:?}");
        assert!(matches!(&of(&all, "fine").run, Ok(DryRun::Job { .. })), "{all:?}");
        let service = |side: &str| Subject::Service { name: "web".into(), side: side.into() };
        let subjects: Vec<_> = all.iter().skip(3).map(|f| &f.subject).collect();
        let old = Subject::Object(f.plan.old.workloads.first().expect("a workload").into());
        assert_eq!(subjects, [&service("green"), &service("blue"), &old]);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_missing() {
        let mut f = Fixture::new();
        f.world.services.clear();
        f.world.workloads.clear();
        let all = foretell(&mut f, &[("copy", "job", json!({"from": {"side": "Target"}, "command": ["x"]}))]);
        let waits = |f: &Foretold| matches!(f.run, Err(NoRequest::Wait(_)));
        assert_eq!(all.iter().map(waits).collect::<Vec<_>>(), [true, true, true, false]);
    }

    #[test]
    fn variables_that_get_their_value_in_the_run_are_named() {
        let mut f = Fixture::new();
        f.plan.release.version = Some("2.0.0".into());
        let env = json!([{"name": "ID", "value": "${id}"}, {"name": "V", "value": "${release.version} $${no}"}]);
        let template = json!({"spec": {
            "initContainers": [{"name": "i", "image": "a:${tag}", "env": [{"name": "N"}]}],
            "containers": [{"name": "a", "image": "a:${release.version}"}],
        }});
        let all = foretell(
            &mut f,
            &[
                ("seed", "job", json!({"env": env, "template": template})),
                ("flag", "setEnv", json!({"side": "Target", "env": [{"name": "F", "value": "${flag}"}]})),
                ("bare", "job", json!({"template": {"spec": {"containers": [{"name": "a"}]}}})),
            ],
        );
        let unset = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(of(&all, "seed").unset, unset(&["id", "tag"]));
        assert_eq!(of(&all, "bare").unset, unset(&[]));
        let flag = all.iter().find(|f| matches!(&f.subject, Subject::Environment { step, .. } if step == "flag"));
        assert_eq!(flag.expect("an environment").unset, unset(&["flag"]));
    }
}
