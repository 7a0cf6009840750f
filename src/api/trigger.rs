//! Triggers: conditions watched from the first selector write on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::http::Endpoint;
use super::one_of::{OneOf, one_of};
use super::prometheus::ServicePort;
use super::schema;
use super::step::{Http, Logs, Resource, is_true, yes};

/// Most triggers of a Cutover.
pub const MAX_TRIGGERS: usize = 20;

one_of! {
    /// What a trigger watches.
    Watched, WatchedFields {
        /// A value against a bound.
        "metric" Metric(MetricTrigger),
        /// A request that must succeed.
        "probe" Probe(ProbeTrigger),
        /// Pods of the target.
        "pods" Pods(PodsTrigger),
        /// Lines of the target's pods.
        "logs" Logs(LogsTrigger),
        /// Firing alerts.
        "alert" Alert(AlertTrigger),
        /// CEL over an object.
        "resource" Resource(Resource),
        /// Probes that must stay green.
        "suite" Suite(SuiteTrigger),
    }
}

/// A condition watched after the switch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [OneOf::<Watched>::rule("a trigger watches exactly one of"), {
    "rule": "!has(self.every) || duration(self.every) >= duration('100ms')", "message": "every must be at least 100ms"
}]))]
pub struct Trigger {
    /// Unique among the triggers.
    #[schemars(schema_with = "schema::name40")]
    pub name: String,
    /// How often it is looked at; the observation's `every` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// What its firing leads to; Rollback by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// With `Decide`: how long people have; 15m by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Duration>,
    /// With `Decide`: what happens when nobody does; Rollback by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<DecideDefault>,
    /// What missing data leads to; Hold by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_data: Option<NoData>,
    /// How long it stays armed; until Completed by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
    /// What is watched.
    #[serde(flatten)]
    pub watches: OneOf<Watched>,
}

/// What a firing trigger leads to; `Rollback` by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Severity {
    /// Rollback at once.
    #[default]
    Rollback,
    /// People are asked.
    Decide,
    /// Notified only.
    Warn,
}

/// With `Decide`: what happens when nobody decides in time; `Rollback` by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DecideDefault {
    /// The run rolls back.
    #[default]
    Rollback,
    /// The run goes on.
    Continue,
}

/// What missing data leads to; `Hold` by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NoData {
    /// The observation does not advance.
    #[default]
    Hold,
    /// As if nothing had been asked.
    Ignore,
    /// As if it were bad.
    Rollback,
}

/// How long a trigger stays armed; until `Completed` by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Until {
    /// Until the run is Completed.
    #[default]
    Completed,
    /// Until the old side is retired.
    Retired,
}

/// A value against a bound, or the default rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.query), has(self.http), has(self.total)].filter(x, x).size() == 1", "message": "a metric trigger has either query, http, or total for the default rule"},
    {"rule": "has(self.total) || (has(self.above) != has(self.below)) || has(self.relativeTo)", "message": "a metric trigger with query or http needs above, below or relativeTo"},
    {"rule": "!(has(self.sustained) && has(self.count))", "message": "a metric trigger has either sustained or count"}
]))]
pub struct MetricTrigger {
    /// PromQL that answers one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub query: Option<String>,
    /// Instead of `query`: a number of a JSON answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Endpoint>,
    /// Bad when greater.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::decimal")]
    pub above: Option<String>,
    /// Bad when less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::decimal")]
    pub below: Option<String>,
    /// Bad for this long without a good value between; by default the first bad value fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sustained: Option<Duration>,
    /// How far the query looks back, by default its longest range, subquery or offset: until this long after the switch no
    /// value is good, and one is bad only if the same query was not bad at the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Duration>,
    /// Bad this many times within `within`; not counted by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub count: Option<u32>,
    /// The window of `count`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Duration>,
    /// A captured baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::ident")]
    pub relative_to: Option<String>,
    /// Bad when the value exceeds the baseline times this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::decimal")]
    pub factor: Option<String>,
    /// Intervals in which this is not zero are inconclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub guard_query: Option<String>,
    /// Default rule: counters of failed requests, as they are: what each grows by is added up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub errors: Option<String>,
    /// Default rule: counters of all requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub total: Option<String>,
    /// Default rule: counters of too slow requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub slow: Option<String>,
    /// Default rule: the share that may be bad: 0.05 is 5 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::decimal")]
    pub limit: Option<String>,
    /// Default rule: the longest bad spell of a healthy release; 15s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hiccup: Option<Duration>,
    /// Default rule: the chance of a false rollback; 0.01 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::decimal")]
    pub alpha: Option<String>,
}

/// A request that must succeed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.failing) && has(self.failingFor))", "message": "a probe has either failing or failingFor"
}]))]
pub struct ProbeTrigger {
    /// The request; through the live Service unless it says otherwise.
    pub http: Http,
    /// Consecutive failures; 3 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub failing: Option<u32>,
    /// Instead of `failing`: fails for this long without a success between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_for: Option<Duration>,
}

/// Pods of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.restarts) || has(self.oomKilled) || has(self.crashLoop) || has(self.readyBelow) || has(self.memory) || has(self.cpu) || has(self.memoryGrowing)",
    "message": "a pods trigger names at least one of restarts, oomKilled, crashLoop, readyBelow, memory, cpu or memoryGrowing"
}]))]
pub struct PodsTrigger {
    /// Restarts within a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<Restarts>,
    /// Fires when a container was killed for its memory; false by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_killed: Option<bool>,
    /// Fires when a container is in CrashLoopBackOff; false by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash_loop: Option<bool>,
    /// Fires with fewer ready pods than this (a number, or per cent of the wanted ones); not looked at by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count_or_percent")]
    pub ready_below: Option<String>,
    /// Memory above this for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Above>,
    /// CPU above this for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Above>,
    /// Memory that grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_growing: Option<Growing>,
}

/// Restarts within a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restarts {
    /// More than this many.
    #[schemars(range(min = 0, max = 10000))]
    pub more_than: u32,
    /// Within this time.
    pub within: Duration,
}

/// A quantity exceeded for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Above {
    /// A Kubernetes quantity.
    #[schemars(length(max = 32))]
    pub above: String,
    /// For this long; by default the first sample above fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sustained: Option<Duration>,
}

/// Memory that grows towards its limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Growing {
    /// For this long.
    #[serde(rename = "for")]
    pub for_: Duration,
}

/// Lines of the target's pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogsTrigger {
    /// Which lines.
    #[serde(flatten)]
    pub logs: Logs,
    /// Fires above this many.
    #[schemars(range(min = 0, max = 100000))]
    pub more_than: u32,
}

/// Firing alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertTrigger {
    /// Labels that an alert carries.
    #[schemars(schema_with = "schema::labels")]
    pub matchers: std::collections::BTreeMap<String, String>,
    /// Asked instead of `spec.prometheus`: what is silenced or inhibited there does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<Alertmanager>,
}

/// Where an Alertmanager is: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alertmanager {
    /// A Service of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServicePort>,
    /// A URL; `/api/v2/alerts` is put behind its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^https?://"))]
    pub url: Option<String>,
    /// A source of the operator's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::source_name")]
    pub name: Option<String>,
}

/// A request of a suite that is repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Unique in the whole Cutover.
    #[schemars(schema_with = "schema::name40")]
    pub name: String,
    /// Counts against `maxCriticalFailures`; true by default.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub critical: bool,
    /// The request; through the live Service unless it says otherwise.
    pub http: Http,
}

/// Probes that must stay green, sent together again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuiteTrigger {
    /// Per cent of the checks that must pass; 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub pass_rate: Option<u32>,
    /// Failures of critical checks that are tolerated; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 40))]
    pub max_critical_failures: Option<u32>,
    /// The checks.
    #[schemars(length(min = 1, max = 40), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<Check>,
    /// Rounds in a row that are not green; 3 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub failing: Option<u32>,
}
