//! The report, as printed, written and served.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Result of a run, or its state so far.
///
/// In every part, `sent = ok + app_errors + answered_4xx + lost + in_flight`; the
/// last one is 0 in a finished report.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// URL under load.
    pub url: String,
    /// Start, RFC 3339.
    pub started: String,
    /// End, RFC 3339; `None` while the run goes on.
    pub ended: Option<String>,
    /// Whether the run is over and all its requests are accounted for.
    pub finished: bool,
    /// `duration`, `stop`, `max-duration` or `max-requests`.
    pub ended_by: Option<String>,
    /// Sum over all pools.
    pub sent: u64,
    /// Sum over all pools.
    pub ok: u64,
    /// Sum over all pools.
    pub app_errors: u64,
    /// Sum over all pools.
    pub answered_4xx: u64,
    /// Sum over all pools.
    pub lost: u64,
    /// Sum over all pools.
    pub not_sent: u64,
    /// Sum over all pools.
    pub in_flight: u64,
    /// `fresh` and `keepalive`, where their rate is not 0.
    pub pools: BTreeMap<String, PoolReport>,
    /// Windows from one mark to the next; the first is called `start`.
    pub marks: Vec<MarkReport>,
}

/// Numbers of one pool of connections.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PoolReport {
    /// Requests per second asked for.
    pub rate: f64,
    /// Requests that were begun.
    pub sent: u64,
    /// Full answers with a status under 400.
    pub ok: u64,
    /// Full answers with 5xx.
    pub app_errors: u64,
    /// Full answers with 4xx.
    pub answered_4xx: u64,
    /// Refused, reset, cut off, or no full answer in time.
    pub lost: u64,
    /// Not begun for want of local means (ports, files, bound on requests under
    /// way). Says something about this machine and nothing about the service.
    pub not_sent: u64,
    /// Without an answer so far.
    pub in_flight: u64,
    /// Connections opened.
    pub connections: u64,
    /// Requests that found their kept-alive connection closed before a byte was
    /// written, and went out on a new one.
    pub reopened: u64,
    /// Longest delay of a start behind its schedule, in ms.
    pub max_start_delay_ms: f64,
    /// Latencies of full answers, from the scheduled start.
    pub latency: Latency,
    /// Full answers per status.
    pub statuses: BTreeMap<u16, u64>,
    /// Full answers per `x-colour`.
    pub colours: BTreeMap<String, ColourSeen>,
    /// Losses per kind.
    pub lost_kinds: BTreeMap<String, u64>,
    /// The first 20 losses.
    pub losses: Vec<Loss>,
    /// When the first and the last answer with 5xx came; `None` without one.
    #[serde(default)]
    pub app_errors_at: Option<Span>,
    /// When the first and the last lost request began; `None` without one.
    #[serde(default)]
    pub lost_at: Option<Span>,
}

/// The first and the last time of something, RFC 3339.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Span {
    /// The first time.
    pub first: String,
    /// The last time.
    pub last: String,
}

/// Percentiles of latency in ms.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Maximum.
    pub max_ms: f64,
}

/// Answers of one colour.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ColourSeen {
    /// Full answers.
    pub count: u64,
    /// Time of the first one, RFC 3339.
    pub first: String,
    /// Time of the last one, RFC 3339.
    pub last: String,
}

/// One lost request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Loss {
    /// Start of the request, RFC 3339.
    pub at: String,
    /// Time from the start to the loss.
    pub after_ms: f64,
    /// `refused`, `reset`, `closed`, `timeout`, `unreachable` or `other`.
    pub kind: String,
    /// What the system says.
    pub error: String,
    /// Mark in whose window the request started.
    pub mark: String,
}

/// Numbers of the requests that started between a mark and the next, all pools.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MarkReport {
    /// Name of the mark that opened the window.
    pub name: String,
    /// Time of that mark, RFC 3339.
    pub from: String,
    /// Time of the next mark or of the end; `None` for the open window.
    pub until: Option<String>,
    /// As in a pool.
    pub sent: u64,
    /// As in a pool.
    pub ok: u64,
    /// As in a pool.
    pub app_errors: u64,
    /// As in a pool.
    pub answered_4xx: u64,
    /// As in a pool.
    pub lost: u64,
    /// As in a pool.
    pub not_sent: u64,
    /// As in a pool.
    pub in_flight: u64,
    /// As in a pool.
    pub latency: Latency,
    /// As in a pool.
    pub colours: BTreeMap<String, ColourSeen>,
}

impl Report {
    /// The window that the mark `name` opened; of several the last.
    pub fn mark(&self, name: &str) -> Option<&MarkReport> {
        self.marks.iter().rfind(|mark| mark.name == name)
    }
}
