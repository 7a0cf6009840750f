//! PURE. The observation and its triggers.

use serde::{Deserialize, Serialize};

use crate::api::cutover::{BuiltIn, Observe};
use crate::api::duration::Duration;
use crate::api::step::To;
use crate::api::trigger::{MetricTrigger, PodsTrigger, ProbeTrigger, Trigger};

use super::refuse::{Of, Refusals, not_yet};
use super::request::{self, Place};
use super::scope::{self, Scope};
use super::{MinReady, PlanObserve, logs, metrics, quantity, resource};

/// Observed for, unless the Cutover says.
const FOR: Duration = Duration::from_mins(5);
/// Looked at, unless the Cutover says.
const EVERY: Duration = Duration::from_secs(15);
/// Looked at most often.
const SHORTEST: Duration = Duration::from_millis(100);
/// How long people have, unless the trigger says.
const WITHIN: Duration = Duration::from_mins(15);
/// Failures in a row of a probe, unless it says.
const FAILING: u32 = 3;

/// A trigger of the operator's own: armed until Completed, severity Rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BuiltInTrigger {
    /// Half of the pods of one workload or more are in a crash loop.
    CrashLoop,
    /// A switched Service has no ready endpoint.
    Ready,
}

impl BuiltInTrigger {
    /// Its name: of a form that no other trigger can have.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CrashLoop => "cutover-crash-loop",
            Self::Ready => "cutover-ready",
        }
    }
}

/// The observation with everything filled in.
pub(super) fn resolve(
    observe: Option<&Observe>,
    scope: &mut Scope,
    has_prometheus: bool,
    refusals: &mut Refusals,
) -> PlanObserve {
    let at = "spec.observe";
    let for_ = observe.and_then(|o| o.for_).unwrap_or(FOR);
    let every = observe.and_then(|o| o.every).unwrap_or(EVERY);
    let timeout = observe.and_then(|o| o.timeout);
    shortest(every, format!("{at}.every"), refusals);
    if let Some(timeout) = timeout {
        refusals.require(
            timeout >= for_,
            format!("{at}.timeout"),
            format!("the timeout {timeout} is shorter than the observation of {for_}"),
            "give a longer timeout, or leave it out for three times the observation",
        );
    }
    let mut triggers = vec![];
    for (i, trigger) in observe.iter().flat_map(|o| &o.triggers).enumerate() {
        let at = format!("{at}.triggers[{i}]");
        scope.take_name(&trigger.name, &format!("{at}.name"), refusals);
        triggers.push(trigger_of(trigger, &at, every, scope, has_prometheus, refusals));
    }
    let built_in = match observe.and_then(|o| o.built_in).unwrap_or_default() {
        BuiltIn::On => built_in(&triggers),
        BuiltIn::Off => vec![],
    };
    let timeout = timeout.unwrap_or(Duration::from_millis(for_.as_millis() * 3));
    PlanObserve { for_, every, timeout, triggers, built_in }
}

/// What is always watched beside these triggers. A crash loop is left to a trigger that looks at the pods' restarts,
/// crash loops or readiness, whose bounds its author has chosen.
fn built_in(triggers: &[Trigger]) -> Vec<BuiltInTrigger> {
    let looks = |p: &PodsTrigger| p.restarts.is_some() || p.crash_loop == Some(true) || p.ready_below.is_some();
    if triggers.iter().filter_map(|t| t.pods.as_ref()).any(looks) {
        vec![BuiltInTrigger::Ready]
    } else {
        vec![BuiltInTrigger::CrashLoop, BuiltInTrigger::Ready]
    }
}

fn filled(trigger: &Trigger, every: Duration) -> Trigger {
    let mut out = trigger.clone();
    out.every.get_or_insert(every);
    out.severity.get_or_insert_default();
    out.within.get_or_insert(WITHIN);
    out.default.get_or_insert_default();
    out.no_data.get_or_insert_default();
    out.until.get_or_insert_default();
    out
}

fn trigger_of(
    trigger: &Trigger,
    at: &str,
    every: Duration,
    scope: &Scope,
    has_prometheus: bool,
    refusals: &mut Refusals,
) -> Trigger {
    let mut out = filled(trigger, every);
    if let Some(every) = trigger.every {
        shortest(every, format!("{at}.every"), refusals);
    }
    if let Some(within) = trigger.within {
        refusals.require(
            !within.is_zero(),
            format!("{at}.within"),
            "people would have no time",
            "give some time, such as 15m",
        );
    }
    match serde_json::to_value(trigger) {
        Ok(value) => not_yet(Of::Trigger, &value, at, refusals),
        Err(why) => refusals.add(at, format!("the trigger cannot be read: {why}"), "write it anew"),
    }
    let kinds = [
        trigger.metric.is_some(),
        trigger.probe.is_some(),
        trigger.pods.is_some(),
        trigger.logs.is_some(),
        trigger.alert.is_some(),
        trigger.resource.is_some(),
        trigger.suite.is_some(),
    ];
    refusals.require(
        kinds.into_iter().filter(|k| *k).count() == 1,
        at,
        "a trigger watches exactly one thing",
        "give exactly one of metric, probe, pods, logs and resource",
    );
    if let Some(metric) = &trigger.metric {
        let at = format!("{at}.metric");
        metrics::needs_prometheus(has_prometheus, &at, refusals);
        check_metric(metric, &at, scope, refusals);
    }
    if let Some(probe) = &mut out.probe {
        *probe = probe_of(probe, &format!("{at}.probe"), scope, refusals);
    }
    if let Some(pods) = &trigger.pods {
        check_pods(pods, &format!("{at}.pods"), refusals);
    }
    if let Some(of) = &trigger.resource {
        resource::check(of, &format!("{at}.resource"), refusals);
        let actions = crate::api::step::Actions { resource: Some(of.clone()), ..Default::default() };
        scope::usages(None, &actions, at).iter().for_each(|usage| scope.check(usage, refusals));
    }
    if let Some(lines) = &mut out.logs {
        lines.logs = logs::of_trigger(&lines.logs, &format!("{at}.logs"), refusals);
    }
    out
}

fn check_metric(metric: &MetricTrigger, at: &str, scope: &Scope, refusals: &mut Refusals) {
    if let Some(query) = &metric.query {
        check_query(query, &format!("{at}.query"), scope, refusals);
        refusals.require(
            metric.above.is_some() != metric.below.is_some() || metric.relative_to.is_some(),
            at,
            "a query needs either above or below",
            "give exactly one of them",
        );
    } else {
        refusals.require(metric.errors.is_some(), at, "there is no query", "give query with above or below");
    }
    for (name, bound) in [("above", &metric.above), ("below", &metric.below)] {
        if let Some(bound) = bound {
            refusals.require(
                bound.parse::<f64>().is_ok_and(f64::is_finite),
                format!("{at}.{name}"),
                format!("{bound:?} is not a decimal number"),
                "write for example \"0.05\"",
            );
        }
    }
}

/// Refuses empty queries and variables, which are never put into a query language.
pub(super) fn check_query(query: &str, field: &str, scope: &Scope, refusals: &mut Refusals) {
    refusals.require(!query.trim().is_empty(), field, "the query is empty", "write PromQL that gives one number");
    refusals.require(
        !scope::holds_variable(query, scope),
        field,
        "variables are not expanded in queries",
        "write the value out, or compare with captures.<name> in expect",
    );
}

fn probe_of(probe: &ProbeTrigger, at: &str, scope: &Scope, refusals: &mut Refusals) -> ProbeTrigger {
    let mut out = probe.clone();
    let place = Place { to: To::Live, read_only: false, repeated: true };
    out.http = request::resolve(&probe.http, place, &format!("{at}.http"), refusals);
    let actions = crate::api::step::Actions { http: Some(probe.http.clone()), ..Default::default() };
    for usage in scope::usages(None, &actions, at) {
        scope.check(&usage, refusals);
    }
    refusals.require(
        !(probe.failing.is_some() && probe.failing_for.is_some()),
        at,
        "a probe has either failing or failingFor",
        "keep one",
    );
    refusals.require(
        probe.failing != Some(0) && probe.failing_for.is_none_or(|d| !d.is_zero()),
        at,
        "a probe that fires before it failed",
        "let it fail at least once",
    );
    if probe.failing_for.is_none() {
        out.failing.get_or_insert(FAILING);
    }
    out
}

fn check_pods(pods: &PodsTrigger, at: &str, refusals: &mut Refusals) {
    let watches = pods.restarts.is_some()
        || pods.oom_killed == Some(true)
        || pods.crash_loop == Some(true)
        || pods.ready_below.is_some()
        || pods.memory.is_some()
        || pods.cpu.is_some()
        || pods.memory_growing.is_some();
    refusals.require(
        watches,
        at,
        "the trigger watches nothing",
        "say restarts, oomKilled, crashLoop, readyBelow, memory, cpu or memoryGrowing",
    );
    check_usage(pods, at, refusals);
    if let Some(restarts) = &pods.restarts {
        refusals.require(
            !restarts.within.is_zero(),
            format!("{at}.restarts.within"),
            "no restart happens within no time",
            "give some time, such as 10m",
        );
    }
    if let Some(text) = &pods.ready_below {
        let legal = count_or_percent(text).is_some_and(|m| !matches!(m, MinReady::Count(0) | MinReady::Percent(0)));
        refusals.require(
            legal,
            format!("{at}.readyBelow"),
            format!("{text:?} is not a number or per cent above 0"),
            "write for example \"2\" or \"80%\"",
        );
    }
}

/// What pods use comes in samples of its own, so that each such rule has a trigger of its own.
fn check_usage(pods: &PodsTrigger, at: &str, refusals: &mut Refusals) {
    let used = [pods.memory.is_some(), pods.cpu.is_some(), pods.memory_growing.is_some()];
    let used = used.into_iter().filter(|given| *given).count();
    let others = pods.restarts.is_some()
        || pods.oom_killed == Some(true)
        || pods.crash_loop == Some(true)
        || pods.ready_below.is_some();
    refusals.require(
        used == 0 || (used == 1 && !others),
        at,
        "memory, cpu and memoryGrowing are judged by samples, and each has its own",
        "write a trigger for each",
    );
    for (name, rule) in [("memory", &pods.memory), ("cpu", &pods.cpu)] {
        let Some(rule) = rule else { continue };
        refusals.require(
            quantity::nanos(&rule.above).is_some_and(|n| n > 0),
            format!("{at}.{name}.above"),
            format!("{:?} is not a quantity above 0", rule.above),
            if name == "cpu" { "write for example \"1500m\"" } else { "write for example \"3Gi\"" },
        );
    }
    if let Some(growing) = &pods.memory_growing {
        refusals.require(
            !growing.for_.is_zero(),
            format!("{at}.memoryGrowing.for"),
            "nothing grows within no time",
            "give some time, such as 10m",
        );
    }
}

/// Reads `3` or `80%`.
pub fn count_or_percent(text: &str) -> Option<MinReady> {
    let digits =
        |s: &str| (!s.is_empty() && s.len() <= 5 && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse().ok())?;
    match text.strip_suffix('%') {
        Some(percent) => digits(percent).filter(|p| *p <= 100).map(MinReady::Percent),
        None => digits(text).map(MinReady::Count),
    }
}

fn shortest(every: Duration, field: String, refusals: &mut Refusals) {
    refusals.require(
        every >= SHORTEST,
        field,
        format!("{every} is more often than every {SHORTEST}"),
        format!("give at least {SHORTEST}"),
    );
}
