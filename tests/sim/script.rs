//! A scenario: a Cutover, the world it meets, what people and the world do to it and when, and how it must end.

use std::collections::BTreeMap;

use cutover::api::Duration;
use cutover::api::cutover::{CutoverSpec, Release};
use cutover::api::decision::{Resolution, Verb};
use cutover::api::phase::Phase;
use cutover::plan::Kept;
use cutover::world::CronJobView;
use serde::Deserialize;

use super::answers::{HttpRule, LogRule, MetricRule, Web};
use super::faults::Fault;
use super::setting::Setting;

/// A scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in a sentence.
    pub about: String,
    /// The manifest it starts from: a file of `tests/simulate/base`.
    pub base: String,
    /// The manifest; in the file only the fields that differ from the base.
    pub cutover: CutoverSpec,
    /// Pods of each side.
    #[serde(default = "three")]
    pub replicas: u32,
    /// Nodes that the pods of a side are put on, by turns; `node-1` where the side is not named.
    #[serde(default)]
    pub places: BTreeMap<String, Vec<String>>,
    /// What stands in the cluster beyond that.
    #[serde(default)]
    pub setting: Setting,
    #[serde(default)]
    pub web: Web,
    /// How the Jobs of a step behave, attempt by attempt; the last stands for all further ones.
    #[serde(default)]
    pub jobs: BTreeMap<String, Vec<JobScript>>,
    /// CronJobs by name.
    #[serde(default, rename = "cronJobs")]
    pub cron_jobs: BTreeMap<String, CronJobView>,
    /// How long the pods of a side take to end, by its name.
    #[serde(default)]
    pub drains: BTreeMap<String, Duration>,
    /// What is kept of an earlier run, by step.
    #[serde(default)]
    pub kept: BTreeMap<String, Kept>,
    #[serde(default)]
    pub script: Vec<Cue>,
    /// Longest virtual time.
    #[serde(default = "two_hours")]
    pub limit: Duration,
    pub expect: Expect,
}

fn three() -> u32 {
    3
}

fn once() -> u32 {
    1
}

fn two_hours() -> Duration {
    Duration::from_mins(120)
}

/// How a Job behaves once started.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobScript {
    /// How long; 10s where absent.
    pub runs: Option<Duration>,
    pub exit: i32,
    /// It never ends by itself: its `activeDeadlineSeconds` ends it.
    pub hangs: bool,
    /// Nothing ends it, as when its node is gone.
    pub stuck: bool,
    /// Its termination message.
    pub message: Option<String>,
    pub log: Option<String>,
    /// Its pod is not admitted: what the Job controller says of that in an Event.
    pub refused: Option<String>,
    /// Its container never starts.
    pub waits: Option<Waits>,
}

/// Why a container does not start.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waits {
    pub reason: String,
    #[serde(default)]
    pub message: String,
}

/// When, and what.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cue {
    /// At this time,
    #[serde(default)]
    pub at: Option<Duration>,
    /// or once the stored status shows this phase,
    #[serde(default)]
    pub phase: Option<Phase>,
    /// or a record of this step,
    #[serde(default)]
    pub step: Option<String>,
    /// or a record of this step that is over,
    #[serde(default)]
    pub done: Option<String>,
    /// and this much later.
    #[serde(default)]
    pub after: Option<Duration>,
    /// What a reader is told.
    pub say: String,
    #[serde(rename = "do")]
    pub act: Act,
}

/// What is done; several fields are done in this order.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Act {
    pub decide: Option<Word>,
    pub activate: Option<String>,
    pub release: Option<Release>,
    pub suspend: Option<bool>,
    pub delete_cutover: bool,
    /// Somebody points a Service to a side.
    pub point: Option<Point>,
    /// Somebody gives a Service a selector.
    pub select: Option<Select>,
    pub delete_service: Option<String>,
    pub create_service: Option<Point>,
    /// All pods of a side die, or come back.
    pub health: Option<Health>,
    /// Nodes are lost (false) or come back.
    pub nodes: BTreeMap<String, bool>,
    /// The pods of a node lose readiness, or get it back.
    pub pods_on: Option<PodsOn>,
    /// The ready pods of this side are deleted; new ones take their place.
    pub delete_ready_pods: Option<String>,
    /// Containers of a side's pods restart.
    pub restarts: Option<Restarts>,
    /// Somebody writes something of a Service that no promise is about.
    pub annotate: Option<String>,
    /// A controller sets the readiness gates of all pods.
    pub gates: bool,
    /// Somebody scales a side, or one workload of it.
    pub scale: Option<Scale>,
    /// New pods of this workload never become ready.
    pub lag: Option<String>,
    /// Somebody suspends or resumes CronJobs.
    pub suspend_jobs: BTreeMap<String, bool>,
    /// The pod template of a side changes.
    pub template: Option<String>,
    /// The first container of a side gets another image.
    pub image: Option<Image>,
    /// Rules put before all others.
    pub http: Vec<HttpRule>,
    pub metrics: BTreeMap<String, MetricRule>,
    /// Alerts that begin to fire.
    pub alerts: Vec<String>,
    pub logs: BTreeMap<String, LogRule>,
    pub memory: BTreeMap<String, u64>,
    pub objects: BTreeMap<String, serde_json::Value>,
    pub prometheus_down: Option<bool>,
    pub delete_job: Option<String>,
    /// Somebody has made a Job with name and labels of the first attempt of this step.
    pub ready_made_job: Option<String>,
    pub fault: Option<Fault>,
    /// How long the fault of this cue stands.
    pub lasting: Option<Duration>,
    /// All faults end.
    pub heal: bool,
    /// A watch is silent for `lasting`: `Service`, `Pods`, `Nodes`, `Job`, `Cutover`, `Workload`, `Endpoints`,
    /// `Decisions`.
    pub freeze: Option<String>,
    /// The operator dies; another one starts a second later.
    pub crash: bool,
    /// The operator's clock is set: so many seconds ahead of the world's from now on, or behind it.
    pub clock: Option<i64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    pub decision: Verb,
    pub by: String,
    /// The Cutover that it names; that of the scenario where absent.
    #[serde(default)]
    pub cutover: Option<String>,
    /// So many decisions that say the same.
    #[serde(default = "once")]
    pub times: u32,
    /// For Approve and Reject; the token is the one that the gate has at that moment.
    #[serde(default)]
    pub gate: Option<String>,
    #[serde(default)]
    pub role: Option<String>,
    /// Said in place of the gate's token.
    #[serde(default)]
    pub token: Option<String>,
    #[serde(default)]
    pub step: Option<String>,
    #[serde(default)]
    pub outcome: Option<Resolution>,
    #[serde(default)]
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    pub service: String,
    pub side: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    pub service: String,
    pub selector: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    pub side: String,
    pub image: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    pub side: String,
    pub healthy: bool,
    /// Only so many pods are ready.
    #[serde(default)]
    pub ready: Option<usize>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodsOn {
    pub node: String,
    /// Of this side alone.
    #[serde(default)]
    pub side: Option<String>,
    pub ready: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restarts {
    pub side: String,
    pub count: u32,
    #[serde(default)]
    pub waiting: Option<String>,
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    pub side: String,
    #[serde(default)]
    pub workload: Option<String>,
    pub replicas: u32,
}

/// How it must end, whatever the order of things.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expect {
    /// The phase; several where the order decides.
    pub phase: Vec<Phase>,
    /// Where it does not close: what it waits for, in part.
    #[serde(default)]
    pub waits: Option<String>,
    /// The ending's reason.
    #[serde(default)]
    pub reason: Option<String>,
    /// Where each Service points at the end; `-` where it is gone, `?` for neither side.
    #[serde(default)]
    pub live: BTreeMap<String, String>,
    /// Starts of each step's Jobs.
    #[serde(default)]
    pub starts: BTreeMap<String, u32>,
    /// The order in which Jobs were started.
    #[serde(default)]
    pub order: Option<Vec<String>>,
    /// Whether the rollback could not do all it should.
    #[serde(default)]
    pub incomplete: Option<bool>,
    /// Longest time from the cue with this text until the Services point to the old side.
    #[serde(default)]
    pub restored: Option<Restored>,
    /// Whether each CronJob is suspended at the end.
    #[serde(default)]
    pub suspended: BTreeMap<String, bool>,
    /// Names of the variables of each workload's first container at the end, with their values.
    #[serde(default)]
    pub env: BTreeMap<String, BTreeMap<String, String>>,
    /// How the answer on each decision begins.
    #[serde(default)]
    pub answers: BTreeMap<String, String>,
    /// The image that the Job of a step's newest attempt ran.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
    /// No selector was ever written by us.
    #[serde(default)]
    pub never_switched: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restored {
    pub within: Duration,
    /// Of the cue that says this.
    pub of: String,
}
