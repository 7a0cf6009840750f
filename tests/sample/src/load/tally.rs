//! Counting of outcomes.

use super::{
    client::Outcome,
    report::{ColourSeen, Latency, Loss, MarkReport, PoolReport, Span},
};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use std::{collections::BTreeMap, time::Duration};

const MAX_LOSSES: usize = 20;

/// Colours beyond this many are not told apart, for bounded memory.
const MAX_COLOURS: usize = 16;

struct Seen {
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

/// Numbers of one pool or of one window.
pub struct Tally {
    pub sent: u64,
    pub ok: u64,
    pub app_errors: u64,
    pub answered_4xx: u64,
    pub lost: u64,
    pub not_sent: u64,
    pub connections: u64,
    pub reopened: u64,
    max_start_delay: Duration,
    latency: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
    colours: BTreeMap<String, Seen>,
    lost_kinds: BTreeMap<String, u64>,
    losses: Vec<Loss>,
    app_errors_at: Option<(Timestamp, Timestamp)>,
    lost_at: Option<(Timestamp, Timestamp)>,
}

/// How one request went.
pub struct Sample<'a> {
    pub began: Timestamp,
    pub ended: Timestamp,
    /// From the scheduled start to the end.
    pub latency: Duration,
    /// From the real start to the end.
    pub took: Duration,
    pub mark: &'a str,
    pub outcome: &'a Outcome,
}

impl Tally {
    /// Numbers that start at 0.
    pub fn new() -> Self {
        Self {
            sent: 0,
            ok: 0,
            app_errors: 0,
            answered_4xx: 0,
            lost: 0,
            not_sent: 0,
            connections: 0,
            reopened: 0,
            max_start_delay: Duration::ZERO,
            // Microseconds up to an hour, 1 % exact: fixed and small in memory.
            latency: Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("the constant bounds are valid"),
            statuses: BTreeMap::new(),
            colours: BTreeMap::new(),
            lost_kinds: BTreeMap::new(),
            losses: Vec::new(),
            app_errors_at: None,
            lost_at: None,
        }
    }

    /// Counts a request that begins.
    pub fn begin(&mut self, delay: Duration) {
        self.sent += 1;
        self.max_start_delay = self.max_start_delay.max(delay);
    }

    /// Counts how a request that began has gone.
    pub fn end(&mut self, sample: &Sample<'_>) {
        match sample.outcome {
            Outcome::Answer { status, colour } => {
                match status {
                    500.. => {
                        self.app_errors += 1;
                        widen(&mut self.app_errors_at, sample.ended);
                    }
                    400.. => self.answered_4xx += 1,
                    _ => self.ok += 1,
                }
                let micros = u64::try_from(sample.latency.as_micros()).unwrap_or(u64::MAX);
                self.latency.saturating_record(micros.max(1));
                *self.statuses.entry(*status).or_default() += 1;
                if let Some(colour) = colour {
                    self.see(colour, sample.ended);
                }
            }
            Outcome::Lost { kind, error } => {
                self.lost += 1;
                widen(&mut self.lost_at, sample.began);
                *self.lost_kinds.entry((*kind).to_owned()).or_default() += 1;
                if self.losses.len() < MAX_LOSSES {
                    self.losses.push(Loss {
                        at: text(sample.began),
                        after_ms: millis(sample.took),
                        kind: (*kind).to_owned(),
                        error: error.clone(),
                        mark: sample.mark.to_owned(),
                    });
                }
            }
            Outcome::NotSent => {
                // It turned out only later that nothing could leave this machine.
                self.sent -= 1;
                self.not_sent += 1;
            }
        }
    }

    fn see(&mut self, colour: &str, at: Timestamp) {
        if let Some(seen) = self.colours.get_mut(colour) {
            seen.count += 1;
            // Answers may be counted in another order than they came.
            seen.first = seen.first.min(at);
            seen.last = seen.last.max(at);
        } else if self.colours.len() < MAX_COLOURS {
            self.colours.insert(colour.to_owned(), Seen { count: 1, first: at, last: at });
        }
    }

    /// Requests that began and have not ended.
    pub fn in_flight(&self) -> u64 {
        self.sent - self.ok - self.app_errors - self.answered_4xx - self.lost
    }

    /// The numbers as those of a pool.
    pub fn pool(&self, rate: f64) -> PoolReport {
        PoolReport {
            rate,
            sent: self.sent,
            ok: self.ok,
            app_errors: self.app_errors,
            answered_4xx: self.answered_4xx,
            lost: self.lost,
            not_sent: self.not_sent,
            in_flight: self.in_flight(),
            connections: self.connections,
            reopened: self.reopened,
            max_start_delay_ms: millis(self.max_start_delay),
            latency: self.latency(),
            statuses: self.statuses.clone(),
            colours: self.colours(),
            lost_kinds: self.lost_kinds.clone(),
            losses: self.losses.clone(),
            app_errors_at: self.app_errors_at.map(span),
            lost_at: self.lost_at.map(span),
        }
    }

    /// The numbers as those of a window.
    pub fn window(&self, name: &str, from: Timestamp, until: Option<Timestamp>) -> MarkReport {
        MarkReport {
            name: name.to_owned(),
            from: text(from),
            until: until.map(text),
            sent: self.sent,
            ok: self.ok,
            app_errors: self.app_errors,
            answered_4xx: self.answered_4xx,
            lost: self.lost,
            not_sent: self.not_sent,
            in_flight: self.in_flight(),
            latency: self.latency(),
            colours: self.colours(),
        }
    }

    fn latency(&self) -> Latency {
        let quantile = |q| self.latency.value_at_quantile(q) as f64 / 1000.0;
        Latency {
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            max_ms: self.latency.max() as f64 / 1000.0,
        }
    }

    fn colours(&self) -> BTreeMap<String, ColourSeen> {
        let report = |seen: &Seen| ColourSeen { count: seen.count, first: text(seen.first), last: text(seen.last) };
        self.colours.iter().map(|(colour, seen)| (colour.clone(), report(seen))).collect()
    }
}

/// Answers may be counted in another order than they came.
fn widen(span: &mut Option<(Timestamp, Timestamp)>, at: Timestamp) {
    let (first, last) = span.unwrap_or((at, at));
    *span = Some((first.min(at), last.max(at)));
}

fn span((first, last): (Timestamp, Timestamp)) -> Span {
    Span { first: text(first), last: text(last) }
}

/// A time as RFC 3339 with milliseconds.
pub fn text(time: Timestamp) -> String {
    format!("{time:.3}")
}

pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(tally: &mut Tally, at: i64, outcome: Outcome) {
        tally.begin(Duration::ZERO);
        let time = Timestamp::from_millisecond(at).unwrap();
        let took = Duration::from_millis(7);
        tally.end(&Sample { began: time, ended: time, latency: took, took, mark: "start", outcome: &outcome });
    }

    #[test]
    fn outcomes_are_kept_apart_and_add_up() {
        let mut tally = Tally::new();
        let answer = |status| Outcome::Answer { status, colour: Some("blue".into()) };
        end(&mut tally, 2000, answer(200));
        end(&mut tally, 1000, answer(302));
        end(&mut tally, 3001, answer(404));
        end(&mut tally, 2000, answer(503));
        end(&mut tally, 2000, Outcome::NotSent);
        for at in 0..30 {
            end(&mut tally, at, Outcome::Lost { kind: "reset", error: "why".into() });
        }
        tally.begin(Duration::ZERO);
        let pool = tally.pool(1.0);
        assert_eq!((pool.ok, pool.answered_4xx, pool.app_errors), (2, 1, 1));
        assert_eq!((pool.lost, pool.not_sent, pool.in_flight, pool.sent), (30, 1, 1, 35));
        assert_eq!((pool.losses.len(), pool.lost_kinds["reset"]), (20, 30));
        let lost_at = pool.lost_at.unwrap();
        assert_eq!(
            (lost_at.first.as_str(), lost_at.last.as_str()),
            ("1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.029Z")
        );
        assert_eq!(pool.app_errors_at.unwrap().first, "1970-01-01T00:00:02.000Z");
        assert_eq!(pool.losses[19].at, "1970-01-01T00:00:00.019Z");
        let blue = &pool.colours["blue"];
        assert_eq!(blue.count, 4);
        assert_eq!(blue.first, "1970-01-01T00:00:01.000Z");
        assert_eq!(blue.last, "1970-01-01T00:00:03.001Z");
    }
}
