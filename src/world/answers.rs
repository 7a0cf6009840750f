//! PURE DATA. Answers to reads.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::{CronJobView, NodeState, RevisionsView};

/// The answer to a read.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// One answer for each address asked.
    Http(Vec<HttpAnswer>),
    /// A PromQL value.
    Query(QueryAnswer),
    /// Numbers of one PromQL query.
    Numbers(NumbersAnswer),
    /// Alerts that fire.
    Alerts(AlertsAnswer),
    /// The keys of a Secret, ConfigMap or environment.
    Keys(KeysAnswer),
    /// What a finished Job left.
    Job(JobResult),
    /// Lines of logs.
    Logs(LogsAnswer),
    /// Memory and CPU of pods.
    Usage(UsageAnswer),
    /// A server's certificate.
    Tls(TlsAnswer),
    Resource(ResourceAnswer),
    /// The revisions of a Deployment, or why they could not be read.
    Revisions(Result<RevisionsView, String>),
    /// A CronJob; `None`: there is none; or why it could not be read.
    CronJob(Result<Option<CronJobView>, String>),
    /// Refusals of dry runs, by what was tried; empty when all would be admitted.
    DryRun(Vec<DryRunRefusal>),
    /// Whether nodes are Ready, or why that could not be read.
    Nodes(Result<NodesAnswer, String>),
    /// What has been said of objects in Events, the oldest first, or why it could not be read.
    Events(Result<Vec<EventView>, String>),
    /// Who selects pods in the namespace, or why that could not be read.
    Selectors(Result<Vec<SelectorView>, String>),
    /// What the policies of decisions and of the journal are worth.
    Proof(Proof),
    /// Everything was read live.
    Refreshed,
}

/// Whether what people say is theirs (DESIGN §7): what was found when a decision was forged as a dry run, and of the
/// policies that guard decisions and the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub verdict: Proven,
    /// Since when that holds, by the clock of the API server: the youngest of the policies and their bindings was written
    /// shortly before. An approval that is older may be forged.
    pub since: Timestamp,
    /// The uids and generations of the policies and their bindings; none where they could not be read.
    pub policies: Option<String>,
}

/// Whether nobody can forge a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proven {
    /// A forged decision is denied, and the journal is guarded.
    Holds,
    /// A forged decision is admitted, or the journal is not guarded: why, and what to do.
    Open(String),
    /// It could not be found out, and why.
    Unknown(String),
}

/// The answer to one request. Bodies never leave the memory of the operator.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpAnswer {
    /// Which pod or Service was asked.
    pub from: String,
    /// The answer, or why there is none.
    pub result: Result<HttpResponse, HttpError>,
}

/// An answer. Printed is none of what it holds.
#[derive(Clone, Default, PartialEq)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Header names in lower case; repeated ones joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// At most 64 KiB.
    pub body: String,
    /// From the first byte sent to the last received.
    pub latency_ms: u64,
    /// The names of headers that are there more than once.
    pub repeated: BTreeSet<String>,
    /// Each `Set-Cookie` by itself.
    pub cookies: Vec<String>,
}

impl std::fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("HttpResponse");
        shown.field("status", &self.status).field("headers", &self.headers.keys());
        shown.field("bytes", &self.body.len()).field("latency_ms", &self.latency_ms).finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// Nothing was sent: address refused, unresolved, no connection, a missing Secret. Safe to try again.
    NotSent(String),
    /// Nothing was sent, since something of the operator's own was missing: the API server did not answer for a Secret or
    /// ConfigMap of the request, or it is not known yet which addresses no request may reach. That says nothing of whoever was
    /// to be asked.
    Unread(String),
    /// Sent, and the answer was lost, late, too large or malformed.
    Lost(String),
}

/// A PromQL answer.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryAnswer {
    /// Exactly one finite number.
    Value(f64),
    /// Anything else: down, empty, NaN, two series, a string, too large, too slow. Never good, never bad.
    Inconclusive(String),
    /// Prometheus says the query itself is wrong.
    Invalid(String),
}

/// Numbers of one PromQL query, by name. What each is worth is judged by whoever asked.
#[derive(Clone, Debug, PartialEq)]
pub enum NumbersAnswer {
    /// Those that are there.
    Found(BTreeMap<String, f64>),
    /// No answer, or one that cannot be read. Never good, never bad.
    Inconclusive(String),
    /// Prometheus says the query itself is wrong.
    Invalid(String),
}

/// Alerts that fire and began after the time that was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertsAnswer {
    /// All of them, without those that are silenced or inhibited.
    Found {
        /// How many there are.
        count: usize,
        /// The name of the first and, where it is known, since when it fires.
        first: Option<(String, Option<Timestamp>)>,
    },
    /// It is not known, and why.
    Inconclusive(String),
}

/// The keys of a Secret, ConfigMap or environment.
#[derive(Clone, PartialEq)]
pub enum KeysAnswer {
    /// Values by key and, where known, when each was last changed.
    Found {
        /// Values; never printed.
        values: BTreeMap<String, String>,
        /// Annotations `cutover.dev/rotated-at[.key]` and managed fields that cover one key alone.
        rotated: BTreeMap<String, Timestamp>,
    },
    /// The object is not there.
    NotFound,
    /// It cannot be read, with the reason and remedy.
    Refused(String),
}

impl std::fmt::Debug for KeysAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Found { values, .. } => f.debug_tuple("Found").field(&values.keys()).finish(),
            Self::NotFound => f.write_str("NotFound"),
            Self::Refused(why) => f.debug_tuple("Refused").field(why).finish(),
        }
    }
}

/// What a finished Job left.
#[derive(Clone, Default, PartialEq)]
pub struct JobResult {
    /// Of the first container that did not end with 0, else 0; none when no pod was found.
    pub exit_code: Option<i32>,
    pub message: Option<String>,
    /// The last 64 KiB of the log, where lines are expected or kept.
    pub log: Option<String>,
    /// Why something could not be read.
    pub problem: Option<String>,
}

impl std::fmt::Debug for JobResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = |text: &Option<String>| text.as_ref().map(String::len);
        let mut shown = f.debug_struct("JobResult");
        shown.field("exit_code", &self.exit_code).field("message", &bytes(&self.message));
        shown.field("log", &bytes(&self.log)).field("problem", &self.problem).finish()
    }
}

/// How many lines matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogsAnswer {
    /// Lines that were seen to match; where there is a problem there may have been more.
    pub lines: u64,
    /// Pods whose logs were read.
    pub pods: u32,
    /// Why not everything is known: a log that cannot be read, or does not reach back far enough.
    pub problem: Option<String>,
}

/// What pods use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageAnswer {
    /// The last sample of each pod that has one.
    Found(Vec<PodUsage>),
    /// No metrics API, or no answer that can be understood.
    Inconclusive(String),
}

/// A sample of what a pod uses, all its containers together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUsage {
    /// The pod's name.
    pub pod: String,
    /// When it was taken.
    pub at: Timestamp,
    /// CPU, in thousand-millionths of a core.
    pub nanocores: u64,
    /// Memory (the working set).
    pub bytes: u64,
}

/// An object of the namespace.
#[derive(Clone, Debug, PartialEq)]
pub enum ResourceAnswer {
    /// It, without its managed fields.
    Found(Value),
    /// It is not there.
    NotFound,
    /// The ServiceAccount may not read it.
    Forbidden {
        /// As RBAC names it, such as `deployments.apps`.
        resource: String,
        /// What the API server said.
        why: String,
    },
    /// No such kind, one without a namespace, too large, or the API server cannot be asked.
    Unread(String),
}

/// Nodes as they were at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodesAnswer {
    /// When.
    pub at: Timestamp,
    /// Where each of them stood.
    pub nodes: BTreeMap<String, NodeState>,
}

/// What a TLS handshake showed.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsAnswer {
    /// A certificate, trusted or not.
    Seen(Certificate),
    /// No handshake came about.
    Unseen(String),
    /// Nobody was asked, which is no fault of theirs; see [`HttpError::Unread`].
    NotAsked(String),
}

/// A server's certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// Whom it names.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// DNS names and addresses it is for.
    pub names: Vec<String>,
    pub not_after: Timestamp,
    /// Such as `TLSv1.3`.
    pub protocol: String,
    /// Why it is not trusted for the name that was asked for, if it is not.
    pub untrusted: Option<String>,
}

/// An Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventView {
    /// Such as `FailedCreate`.
    pub reason: String,
    pub message: String,
    /// Such as `Pod`, and its name.
    pub of: (String, String),
}

/// An object that selects pods by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectorView {
    /// Such as `PodDisruptionBudget`.
    pub kind: String,
    pub name: String,
    /// All of these must hold; of an object that selects every pod there are none.
    pub rules: Vec<LabelRule>,
}

/// What a selector asks of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelRule {
    In { key: String, values: Vec<String> },
    NotIn { key: String, values: Vec<String> },
    Exists { key: String },
    Absent { key: String },
}

impl SelectorView {
    /// Whether a pod with these labels is selected.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.rules.iter().all(|rule| match rule {
            LabelRule::In { key, values } => labels.get(key).is_some_and(|v| values.contains(v)),
            LabelRule::NotIn { key, values } => labels.get(key).is_none_or(|v| !values.contains(v)),
            LabelRule::Exists { key } => labels.contains_key(key),
            LabelRule::Absent { key } => !labels.contains_key(key),
        })
    }
}

/// A dry run that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRunRefusal {
    /// What was tried, such as `patch services/web` or `create jobs for step migrate`.
    pub what: String,
    /// What the API server said.
    pub why: String,
    /// Whether a right is missing, so that the remedy is RBAC.
    pub forbidden: bool,
    /// The API server could not be asked; to be tried again.
    pub transient: bool,
}
