//! PURE. The observation and its triggers.

use serde::{Deserialize, Serialize};

use crate::api::cutover::{BuiltIn, Observe};
use crate::api::duration::Duration;
use crate::api::one_of::Tagged;
use crate::api::trigger::{Trigger, Watched};

use super::refuse::{Of, Refusals, label, not_yet};
use super::resolving::Cx;
use super::scope::Usage;
use super::{MinReady, PlanObserve};

mod alert;
mod logs;
mod metric;
mod modes;
mod pods;
mod probe;
mod resource;
mod share;
mod suite;

/// Observed for, unless the Cutover says.
const FOR: Duration = Duration::from_mins(5);
/// Looked at, unless the Cutover says.
const EVERY: Duration = Duration::from_secs(15);
/// Looked at most often.
const SHORTEST: Duration = Duration::from_millis(100);
/// How long people have, unless the trigger says.
const WITHIN: Duration = Duration::from_mins(15);

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

/// What the plan knows of what a trigger watches: one file for each.
trait TriggerRule {
    /// Every text in it that may refer to something; `at` is its own field.
    fn texts(&self, at: &str) -> Vec<Usage>;

    /// The rule with its defaults filled in; what is wrong with it is refused.
    fn resolve(&self, cx: &mut Cx, at: &str) -> Watched;

    /// How often it is looked at, where that is no choice of `every`.
    fn interval(&self) -> Option<Duration> {
        None
    }

    /// Refuses what cannot be, being looked at this often.
    fn check_pace(&self, _every: Duration, _at: &str, _refusals: &mut Refusals) {}

    /// Whether Prometheus is asked for it.
    fn asks_prometheus(&self) -> bool {
        false
    }

    /// Whether its author has chosen bounds for the pods' restarts, crash loops or readiness.
    fn bounds_crashes(&self) -> bool {
        false
    }
}

fn rule(watched: &Watched) -> &dyn TriggerRule {
    match watched {
        Watched::Metric(x) => x,
        Watched::Probe(x) => x,
        Watched::Pods(x) => x,
        Watched::Logs(x) => x,
        Watched::Resource(x) => x,
        Watched::Alert(x) => x,
        Watched::Suite(x) => x,
    }
}

/// Whether Prometheus is asked about what a trigger watches.
pub(crate) fn asks_prometheus(watched: &Watched) -> bool {
    rule(watched).asks_prometheus()
}

/// The observation with everything filled in.
pub(super) fn resolve(cx: &mut Cx, observe: Option<&Observe>) -> PlanObserve {
    let at = "spec.observe";
    let for_ = observe.and_then(|o| o.for_).unwrap_or(FOR);
    let every = observe.and_then(|o| o.every).unwrap_or(EVERY);
    let timeout = observe.and_then(|o| o.timeout);
    shortest(every, format!("{at}.every"), cx.refusals);
    if let Some(timeout) = timeout {
        cx.refusals.require(
            timeout >= for_,
            format!("{at}.timeout"),
            format!("the timeout {timeout} is shorter than the observation of {for_}"),
            "give a longer timeout, or leave it out for three times the observation",
        );
    }
    let mut triggers = vec![];
    for (i, trigger) in observe.iter().flat_map(|o| &o.triggers).enumerate() {
        let at = format!("{at}.triggers[{}]", label(&trigger.name, i));
        cx.scope.take_name(&trigger.name, &format!("{at}.name"), cx.refusals);
        triggers.push(trigger_of(cx, trigger, &at, every));
    }
    let built_in = match observe.and_then(|o| o.built_in).unwrap_or_default() {
        BuiltIn::Armed => built_in(&triggers),
        BuiltIn::Disarmed => vec![],
    };
    let reach = |t: &Trigger| match t.watches.one() {
        Ok(Watched::Metric(metric)) => metric.reach,
        _ => None,
    };
    let reach = triggers.iter().filter_map(reach).max().unwrap_or_default();
    let timeout = timeout.unwrap_or(Duration::from_millis(for_.as_millis() * 3 + reach.as_millis()));
    PlanObserve { for_, every, timeout, triggers, built_in }
}

/// What is always watched beside these triggers. A crash loop is left to a trigger that looks at the pods' restarts,
/// crash loops or readiness, whose bounds its author has chosen.
fn built_in(triggers: &[Trigger]) -> Vec<BuiltInTrigger> {
    let bounds = |t: &Trigger| t.watches.one().is_ok_and(|watched| rule(watched).bounds_crashes());
    if triggers.iter().any(bounds) {
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

fn trigger_of(cx: &mut Cx, trigger: &Trigger, at: &str, every: Duration) -> Trigger {
    let mut out = filled(trigger, every);
    if let Some(every) = trigger.every {
        shortest(every, format!("{at}.every"), cx.refusals);
    }
    if let Some(within) = trigger.within {
        cx.refusals.require(
            !within.is_zero(),
            format!("{at}.within"),
            "people would have no time",
            "give some time, such as 15m",
        );
    }
    match serde_json::to_value(trigger) {
        Ok(value) => not_yet(Of::Trigger, &value, at, cx.refusals),
        Err(why) => cx.refusals.add(at, format!("the trigger cannot be read: {why}"), "write it anew"),
    }
    match trigger.watches.one() {
        Ok(watched) => {
            let rule = rule(watched);
            let (trigger_at, at) = (at, format!("{at}.{}", watched.key()));
            if let Some(interval) = rule.interval() {
                cx.refusals.require(
                    trigger.every.is_none(),
                    format!("{trigger_at}.every"),
                    "the default rule looks once for each hiccup",
                    "leave every out, and set metric.hiccup where 15s is not right",
                );
                out.every = Some(interval);
            }
            rule.texts(&at).iter().for_each(|text| cx.scope.check(text, cx.refusals));
            out.watches = rule.resolve(cx, &at).into();
            rule.check_pace(out.every.unwrap_or(every), &at, cx.refusals);
        }
        Err(_) => cx.refusals.add(
            at,
            "a trigger watches exactly one thing",
            "give exactly one of metric, probe, pods, logs, alert, resource and suite",
        ),
    }
    out
}

/// Reads `3` or `80%`.
pub(crate) fn count_or_percent(text: &str) -> Option<MinReady> {
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
