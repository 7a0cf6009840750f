//! The report, as printed, written and served.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

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
    /// Clients that never close their connection by themselves, by protocol: `grpc`, `http1`, `http2` and `websocket`. They
    /// stand in no sum above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lasting: BTreeMap<String, LastingReport>,
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

/// The clients of one protocol that never close their connection by themselves.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LastingReport {
    /// Requests or messages that were begun.
    pub sent: u64,
    /// Full answers with a status under 400, and messages.
    pub ok: u64,
    /// Full answers with another one, and gRPC calls that failed.
    pub app_errors: u64,
    /// Refused, reset, cut off, or no full answer in time.
    pub lost: u64,
    /// Connections opened.
    pub connections: u64,
    /// How often a peer had closed the connection before it took up the request, which then went out on a new one.
    pub reopened: u64,
    /// The first 20 losses.
    pub losses: Vec<Loss>,
    /// Each client.
    pub clients: Vec<LastingClient>,
}

/// A client that never closes its connection by itself.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LastingClient {
    /// Answers so far.
    pub answers: u64,
    /// Side that gave the last one; `None` before the first.
    pub colour: Option<String>,
    /// Pod that gave it.
    pub pod: Option<String>,
    /// When it came.
    pub at: Option<Timestamp>,
    /// Each time at which another side answered than before.
    pub moves: Vec<Move>,
}

/// A client was answered by another side than before.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Move {
    /// When.
    pub at: Timestamp,
    /// The side before.
    pub from: String,
    /// The side from then on.
    pub to: String,
}

impl LastingClient {
    /// Whether `side` had answered it last at a time, and how long after it another side did, if one has.
    fn left(&self, side: &str, since: Timestamp) -> Option<Option<Duration>> {
        let next = self.moves.iter().find(|step| step.at >= since);
        let then = next.map(|step| step.from.as_str()).or(self.colour.as_deref());
        let after = |step: &Move| step.at.duration_since(since).try_into().unwrap_or_default();
        (then == Some(side)).then(|| next.map(after))
    }
}

impl LastingReport {
    /// How long after a time each client that `side` answered then was answered by another one: none where that has not come.
    pub fn left(&self, side: &str, since: Timestamp) -> Vec<Option<Duration>> {
        self.clients.iter().filter_map(|client| client.left(side, since)).collect()
    }

    /// Clients whose last answer is of this side.
    pub fn on(&self, side: &str) -> usize {
        self.clients.iter().filter(|client| client.colour.as_deref() == Some(side)).count()
    }
}

impl Report {
    /// Clients of all protocols that never close their connection by themselves, and how many of them this side answered last.
    pub fn lasting_on(&self, side: &str) -> (usize, usize) {
        let all = self.lasting.values().map(|report| report.clients.len()).sum();
        (all, self.lasting.values().map(|report| report.on(side)).sum())
    }

    /// The window that the mark `name` opened; of several the last.
    pub fn mark(&self, name: &str) -> Option<&MarkReport> {
        self.marks.iter().rfind(|mark| mark.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_left_a_side_from_the_next_answer_of_another_one_on() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let step = |second, from: &str, to: &str| Move { at: at(second), from: from.into(), to: to.into() };
        let client = |colour: &str, moves| LastingClient { colour: Some(colour.into()), moves, ..Default::default() };
        let report = LastingReport {
            clients: vec![
                client("blue", vec![step(5, "blue", "green"), step(13, "green", "blue")]),
                client("green", vec![]),
                // Left before.
                client("blue", vec![step(9, "green", "blue")]),
                LastingClient::default(),
            ],
            ..Default::default()
        };
        assert_eq!(report.left("green", at(10)), [Some(Duration::from_secs(3)), None]);
        assert_eq!(report.left("blue", at(5)), [Some(Duration::ZERO)]);
        assert_eq!((report.on("blue"), report.on("green")), (2, 1));
    }
}
