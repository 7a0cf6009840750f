//! PURE. Jobs: what is filled in and what is refused before the API server's dry run sees them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{EnvVar, Job, WorkloadRef};
use crate::plan::refuse::Refusals;
use crate::plan::resolving::Cx;
use crate::plan::scope::{Captured, Type, Usage, Variable};
use crate::plan::{Plan, Stage, accounts};
use crate::plan::{secrets, select};

use super::{Action, ActionPlace, Given, Part, Planned, plus, times};

/// Variables of `job.expect` beside those of every expression.
const VARIABLES: &[Variable] = &[Variable("exitCode", Type::Int(0)), Variable("json", Type::Any)];
/// How long a Job may run unless it says.
const DEADLINE: Duration = Duration::from_mins(10);
/// What a step waits beyond its Job's deadline: for the image, and for the pods to end.
const GRACE: Duration = Duration::from_mins(2);

impl Given for Job {
    fn texts(&self, at: &str) -> Vec<Usage> {
        let mut all = values(&self.env, &format!("{at}.env"), Usage::whole);
        all.extend(Usage::exprs(&format!("{at}.expect"), VARIABLES, &self.expect));
        for list in ["initContainers", "containers"] {
            let containers = self.template.as_ref().and_then(|t| t["spec"][list].as_array());
            for (c, container) in containers.into_iter().flatten().enumerate() {
                let at = format!("{at}.template.spec.{list}[{c}]");
                all.extend(container["image"].as_str().map(|image| Usage::image(format!("{at}.image"), image)));
                for (i, e) in container["env"].as_array().into_iter().flatten().enumerate() {
                    all.extend(e["value"].as_str().map(|value| Usage::whole(format!("{at}.env[{i}].value"), value)));
                }
            }
        }
        all
    }

    fn captures(&self, at: &str) -> Vec<Captured> {
        Captured::of(&self.capture, at)
    }

    fn resolve(&self, cx: &mut Cx, place: &ActionPlace, at: &str) -> Action {
        if let Part::Suite | Part::Undo = place.part {
            cx.refusals.require(
                self.dry_run.is_none(),
                format!("{at}.dryRun"),
                "a dry run is a step before its Job, which is not possible here",
                "make the Job a step of a phase, or leave dryRun out",
            );
        }
        if let Some(spec) = self.template.as_ref().and_then(|template| template.get("spec")) {
            for found in accounts::check(cx.account, cx.job_accounts, spec) {
                cx.refusals.add(format!("{at}.template.spec.{}", found.field), found.message, found.remedy);
            }
        }
        Action::Job(resolve(self, place.timeout, place, at, cx.refusals))
    }
}

impl Planned for Job {
    fn only_reads(&self) -> bool {
        self.read_only
    }

    // `from` names a side.
    fn workloads(&self) -> Vec<WorkloadRef> {
        vec![]
    }

    // Jobs themselves are tried with all that they are made of.
    fn changes(&self, _plan: &Plan) -> Vec<ObjectRef> {
        vec![]
    }

    fn time(&self, attempts: u32, every: Duration) -> Duration {
        let pause = if attempts > 1 { every } else { Duration::default() };
        plus(times(attempts, plus(self.deadline.unwrap_or(DEADLINE), pause)), GRACE)
    }

    fn captured(&self) -> Vec<String> {
        self.capture.iter().map(|c| c.name.clone()).collect()
    }

    fn sensitive(&self) -> Vec<String> {
        self.capture.iter().filter(|c| c.sensitive).map(|c| c.name.clone()).collect()
    }
}

/// The values of an environment.
pub(super) fn values(env: &[EnvVar], at: &str, of: fn(String, &str) -> Usage) -> Vec<Usage> {
    let value = |(i, e): (usize, &EnvVar)| Some(of(format!("{at}[{i}].value"), e.value.as_ref()?));
    env.iter().enumerate().filter_map(value).collect()
}

/// The Job with its defaults filled in. `timeout`: what the step itself says.
fn resolve(job: &Job, timeout: Option<Duration>, place: &ActionPlace, at: &str, refusals: &mut Refusals) -> Job {
    let stage = place.stage;
    let mut out = job.clone();
    out.on_abort.get_or_insert_default();
    let deadline = *out.deadline.get_or_insert_with(|| match timeout {
        // Only the step's timeout is given: leave a quarter of it for the pod to start and end.
        Some(t) if t < Duration::from_millis(DEADLINE.as_millis() + GRACE.as_millis()) => {
            Duration::from_millis((t.as_millis() * 3 / 4).max(1000))
        }
        _ => DEADLINE,
    });
    refusals.require(
        deadline.as_millis() >= 1000,
        format!("{at}.deadline"),
        "the deadline is shorter than a second",
        "give at least 1s",
    );
    if let (Some(timeout), Some(deadline)) = (timeout, job.deadline) {
        refusals.require(
            timeout >= deadline,
            format!("{at}.deadline"),
            format!("the deadline {deadline} is longer than the step's timeout {timeout}"),
            "make the step's timeout longer, or leave it out",
        );
    }
    match (&mut out.template, &job.from) {
        (Some(template), None) => check_template(template, &format!("{at}.template"), refusals),
        (None, Some(_)) => refusals.require(
            !(job.command.is_empty() && job.args.is_empty()),
            at,
            "a Job from a side's container would run the application once more",
            "give the command to run",
        ),
        _ => refusals.add(at, "a job has either template or from", "give exactly one of them"),
    }
    refusals.require(
        job.read_only || matches!(place.part, Part::Undo) || !matches!(stage, Stage::Preflight | Stage::FollowUp),
        format!("{at}.readOnly"),
        format!("{} only reads", stage.field()),
        "say readOnly: true if the Job changes nothing, or move the step to prepare",
    );
    for (i, pattern) in job.expect_log.iter().enumerate() {
        if let Err(why) = select::check_regex(pattern) {
            refusals.add(format!("{at}.expectLog[{i}]"), why, "correct the regular expression");
        }
    }
    for (i, capture) in job.capture.iter().enumerate() {
        let at = format!("{at}.capture[{i}]");
        refusals.require(capture.header.is_none(), format!("{at}.header"), "a Job has no headers", "give a path");
        secrets::check_capture(capture, &at, refusals);
    }
    check_env(&job.env, &format!("{at}.env"), refusals);
    check_labels(&job.labels, &format!("{at}.labels"), refusals);
    if let Some(dry_run) = &job.dry_run {
        refusals.require(
            !dry_run.command.is_empty(),
            format!("{at}.dryRun.command"),
            "the dry run has no command",
            "give the command that only pretends",
        );
    }
    out
}

/// Labels that Kubernetes or the operator give the pod of a Job are not anybody's to set.
fn check_labels(labels: &BTreeMap<String, String>, at: &str, refusals: &mut Refusals) {
    const RESERVED: [&str; 4] = ["cutover.dev/", "batch.kubernetes.io/", "controller-uid", "job-name"];
    for key in labels.keys() {
        refusals.require(
            !RESERVED.iter().any(|own| key.starts_with(own)),
            at,
            format!("the label {key} is set by the operator or by Kubernetes"),
            "choose another key",
        );
    }
}

/// An undo from the same side runs in the container of its step's Job, of which the command is the step's: with
/// arguments of its own alone it would do once more what it should undo.
pub(in crate::plan) fn check_undo(step: &Action, undo: &Action, at: &str, refusals: &mut Refusals) {
    let (Action::Job(step), Action::Job(undo)) = (step, undo) else { return };
    let side = |job: &Job| job.from.as_ref().map(|from| from.side);
    let same = side(undo).is_some() && side(step) == side(undo);
    refusals.require(
        !(same && !step.command.is_empty() && undo.command.is_empty()),
        format!("{at}.job.command"),
        "the undo runs in the container of the step's Job, and would run the step's command with other arguments",
        "give the undo's own command",
    );
}

pub(super) fn check_env(env: &[EnvVar], at: &str, refusals: &mut Refusals) {
    for (i, var) in env.iter().enumerate() {
        let legal = !var.name.is_empty() && var.name.chars().all(|c| c.is_ascii_graphic() && c != '=');
        refusals.require(
            legal,
            format!("{at}[{i}].name"),
            format!("{:?} cannot name a variable", var.name),
            "use letters, digits and _",
        );
        refusals.require(
            !(var.value.is_some() && var.value_from.is_some()),
            format!("{at}[{i}]"),
            "a variable has either value or valueFrom",
            "keep one",
        );
        refusals.require(
            !var.name.starts_with("CUTOVER_"),
            format!("{at}[{i}].name"),
            "variables that begin with CUTOVER_ are set by the operator",
            "choose another name",
        );
        refusals.require(
            env.iter().take(i).all(|other| other.name != var.name),
            format!("{at}[{i}].name"),
            format!("{} is there twice", var.name),
            "keep one",
        );
    }
}

/// Refuses templates that are none, and says `restartPolicy: Never` where nothing is said.
fn check_template(template: &mut Value, at: &str, refusals: &mut Refusals) {
    if let Err(why) = serde_json::from_value::<PodTemplateSpec>(template.clone()) {
        refusals.add(
            at,
            format!("this is not a pod template: {why}"),
            "write metadata and spec as in a Job's template",
        );
        return;
    }
    let containers = template["spec"]["containers"].as_array();
    if containers.is_none_or(Vec::is_empty) {
        refusals.add(format!("{at}.spec.containers"), "the template has no container", "give at least one");
        return;
    }
    let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let policy = spec.entry("restartPolicy").or_insert_with(|| json!("Never"));
    if policy != "Never" {
        refusals.add(
            format!("{at}.spec.restartPolicy"),
            "a Job runs at most once, so its containers are never restarted",
            "say Never or leave it out; use the step's retry",
        );
    }
}
