//! PURE. Actions: defaults, what may stand where, and how long each may take.

use std::collections::BTreeSet;

use crate::api::duration::Duration;
use crate::api::step::{Actions, Config, FromContainer, Metric, Rollout, SideRef, WorkloadRef};

use super::refuse::Refusals;
use super::steps::Cx;
use super::{Action, PlanStep, Stage, changes, job, logs, metrics, request, resource, select, tls, triggers};

/// One request or query.
const REQUEST: Duration = Duration::from_secs(10);
/// A step of one request or query.
const QUICK: Duration = Duration::from_secs(30);
/// A step that waits for workloads, and a suite.
const SLOW: Duration = Duration::from_mins(10);
/// What a pause may take beyond itself.
const WAIT_MARGIN: Duration = Duration::from_mins(1);

/// Where an action stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The stage.
    pub stage: Stage,
    /// In a suite.
    pub in_suite: bool,
    /// As the undo of a step.
    pub undo: bool,
}

/// How many actions are named.
pub(super) fn count(a: &Actions) -> usize {
    let given = [
        a.job.is_some(),
        a.http.is_some(),
        a.tls.is_some(),
        a.config.is_some(),
        a.rollout.is_some(),
        a.resource.is_some(),
        a.metric.is_some(),
        a.logs.is_some(),
        a.scale.is_some(),
        a.set_env.is_some(),
        a.restart.is_some(),
        a.cron_jobs.is_some(),
        a.wait.is_some(),
    ];
    given.into_iter().filter(|given| *given).count()
}

/// The action with its defaults filled in; `None` when it is one that this version refuses.
pub(super) fn resolve(cx: &mut Cx, place: Place, a: &Actions, timeout: Option<Duration>, at: &str) -> Option<Action> {
    let read_only = place.stage == Stage::Preflight && !place.undo;
    if let Some(job) = &a.job {
        let at = format!("{at}.job");
        if place.in_suite || place.undo {
            cx.refusals.require(
                job.dry_run.is_none(),
                format!("{at}.dryRun"),
                "a dry run is a step before its Job, which is not possible here",
                "make the Job a step of a phase, or leave dryRun out",
            );
        }
        return Some(Action::Job(job::resolve(job, timeout, read_only, &at, cx.refusals)));
    }
    if let Some(http) = &a.http {
        let place = request::Place { to: place.stage.default_side(), read_only, repeated: false };
        return Some(Action::Http(request::resolve(http, place, &format!("{at}.http"), cx.refusals)));
    }
    if let Some(config) = &a.config {
        check_config(config, &format!("{at}.config"), cx.refusals);
        return Some(Action::Config(config.clone()));
    }
    if let Some(rollout) = &a.rollout {
        either(rollout.side, &rollout.workloads, &format!("{at}.rollout"), cx.refusals);
        return Some(Action::Rollout(rollout.clone()));
    }
    if let Some(metric) = &a.metric {
        check_metric(cx, metric, &format!("{at}.metric"));
        return Some(Action::Metric(metric.clone()));
    }
    if let Some(of) = &a.resource {
        resource::check(of, &format!("{at}.resource"), cx.refusals);
        return Some(Action::Resource(of.clone()));
    }
    if let Some(of) = &a.tls {
        return Some(Action::Tls(tls::resolve(of, place.stage.default_side(), &format!("{at}.tls"), cx.refusals)));
    }
    if let Some(of) = &a.logs {
        return Some(Action::Logs(logs::of_step(of, &format!("{at}.logs"), cx.refusals)));
    }
    if let Some(scale) = &a.scale {
        changes::scale(cx, place, scale, &format!("{at}.scale"));
        return Some(Action::Scale(scale.clone()));
    }
    if let Some(set) = &a.set_env {
        changes::set_env(cx, place, set, &format!("{at}.setEnv"));
        return Some(Action::SetEnv(set.clone()));
    }
    if let Some(restart) = &a.restart {
        changes::restart(cx, place, restart, &format!("{at}.restart"));
        return Some(Action::Restart(restart.clone()));
    }
    if let Some(jobs) = &a.cron_jobs {
        changes::cron_jobs(cx, place, jobs, &format!("{at}.cronJobs"));
        return Some(Action::CronJobs(jobs.clone()));
    }
    if let Some(wait) = &a.wait {
        return Some(Action::Wait(wait.clone()));
    }
    None
}

/// How long all attempts together may take, where the step does not say.
pub(super) fn timeout(action: &Action, attempts: u32, every: Duration) -> Duration {
    let times = |one: Duration, pause: Duration| {
        Duration::from_millis(u64::from(attempts).saturating_mul(one.as_millis().saturating_add(pause.as_millis())))
    };
    match action {
        Action::Job(job) => {
            let pause = if attempts > 1 { every } else { Duration::default() };
            plus(times(job.deadline.unwrap_or(job::DEADLINE), pause), job::GRACE)
        }
        Action::Http(_)
        | Action::Metric(_)
        | Action::Config(_)
        | Action::Logs(_)
        | Action::Tls(_)
        | Action::Resource(_)
        | Action::CronJobs(_)
        | Action::UndoCronJobs { .. } => times(REQUEST, every).max(QUICK),
        Action::Rollout(_) | Action::Scale(_) | Action::Unscale { .. } => SLOW,
        Action::SetEnv(_) | Action::UndoSetEnv { .. } | Action::Restart(_) | Action::UndoRollout(_) => SLOW,
        Action::Suite(suite) => super::suite::longest_path(suite).max(SLOW),
        Action::Approval(approval) => super::approval_limit(approval),
        Action::Wait(wait) => plus(wait.for_, WAIT_MARGIN),
        Action::Permissions {} => Duration::from_mins(1),
    }
}

fn plus(a: Duration, b: Duration) -> Duration {
    Duration::from_millis(a.as_millis().saturating_add(b.as_millis()))
}

/// Refuses a pause that its own timeout would cut short.
pub(super) fn fits(step: &PlanStep, at: &str, refusals: &mut Refusals) {
    if let Action::Wait(wait) = &step.action {
        refusals.require(
            step.timeout >= wait.for_,
            format!("{at}.timeout"),
            format!("the timeout {} is shorter than the pause of {}", step.timeout, wait.for_),
            "leave the timeout out",
        );
    }
}

pub(super) fn either(side: Option<SideRef>, workloads: &[WorkloadRef], at: &str, refusals: &mut Refusals) {
    refusals.require(
        side.is_some() == workloads.is_empty(),
        at,
        "exactly one of side and workloads says what is meant",
        "give one of them",
    );
    let unique: BTreeSet<_> = workloads.iter().collect();
    refusals.require(
        unique.len() == workloads.len(),
        format!("{at}.workloads"),
        "a workload is named twice",
        "name it once",
    );
}

/// Whether a rollout is one of the whole target, so that none has to be inserted.
pub(super) fn covers(rollout: &Rollout, target: &[WorkloadRef]) -> bool {
    rollout.side == Some(SideRef::Target) || target.iter().all(|w| rollout.workloads.contains(w))
}

fn check_config(config: &Config, at: &str, refusals: &mut Refusals) {
    let sources = [config.secret.is_some(), config.config_map.is_some(), config.from.is_some()];
    refusals.require(
        sources.into_iter().filter(|given| *given).count() == 1,
        at,
        "config reads exactly one of secret, configMap and from",
        "give exactly one",
    );
    if let Some(from) = &config.from {
        check_container(from, &format!("{at}.from"), refusals);
        refusals.require(
            config.rotated_within.is_none(),
            format!("{at}.rotatedWithin"),
            "when an environment was changed is not known",
            "name the secret itself",
        );
    }
    refusals.require(
        config.rotated_within.is_none_or(|d| !d.is_zero()),
        format!("{at}.rotatedWithin"),
        "nothing was changed within no time",
        "give some time, such as 720h",
    );
    refusals.require(!config.keys.is_empty(), format!("{at}.keys"), "no key is named", "name at least one");
    let mut seen = BTreeSet::new();
    for (i, key) in config.keys.iter().enumerate() {
        refusals.require(
            seen.insert(&key.name),
            format!("{at}.keys[{i}].name"),
            format!("the key {} is named twice", key.name),
            "name it once",
        );
        if let Some(Err(why)) = key.matches.as_deref().map(select::check_regex) {
            refusals.add(format!("{at}.keys[{i}].matches"), why, "correct the regular expression");
        }
    }
}

fn check_container(from: &FromContainer, at: &str, refusals: &mut Refusals) {
    refusals.require(
        from.container.as_ref().is_none_or(|c| !c.is_empty()),
        format!("{at}.container"),
        "the container has no name",
        "name it, or leave it out for the first one",
    );
}

fn check_metric(cx: &mut Cx, metric: &Metric, at: &str) {
    metrics::needs_prometheus(cx.has_prometheus, at, cx.refusals);
    triggers::check_query(&metric.query, &format!("{at}.query"), &cx.scope, cx.refusals);
}
