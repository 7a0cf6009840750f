//! PURE. The values of the triggers over time: those that the run keeps, and those that were seen while watching.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use crate::api::run::TrialVerdict;
use crate::view;

/// Values kept of each trigger.
const KEPT: usize = 240;

/// One trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub at: Timestamp,
    /// None where it saw no number.
    pub value: Option<f64>,
    pub verdict: TrialVerdict,
}

/// The trials of every trigger of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    run: String,
    of: BTreeMap<String, VecDeque<Point>>,
}

impl History {
    /// Takes in what a run shows now. Another run begins another history.
    pub(crate) fn learn(&mut self, run: &view::Run) {
        if self.run != run.uid {
            *self = Self { run: run.uid.to_owned(), of: BTreeMap::new() };
        }
        for t in &run.triggers {
            let points = self.of.entry(t.name.to_owned()).or_default();
            let is_number = t.limit.is_some();
            let value = |saw: &str| saw.parse::<f64>().ok().filter(|v| is_number && v.is_finite());
            let kept = t.history.iter().map(|h| Point { at: h.at, value: value(&h.saw), verdict: h.verdict });
            let last = t.last.zip(t.verdict).map(|(at, verdict)| Point {
                at,
                value: t.value().filter(|v| v.is_finite()),
                verdict,
            });
            for point in kept.chain(last) {
                insert(points, point);
            }
            while points.len() > KEPT {
                points.pop_front();
            }
        }
    }

    /// The trials of a trigger, the newest last.
    pub(crate) fn of(&self, trigger: &str) -> Vec<Point> {
        self.of.get(trigger).map(|points| points.iter().copied().collect()).unwrap_or_default()
    }
}

/// In the order of time, each trial once.
fn insert(points: &mut VecDeque<Point>, point: Point) {
    let place = points.partition_point(|p| p.at < point.at);
    match points.get_mut(place) {
        Some(same) if same.at == point.at => *same = point,
        Some(_) | None => points.insert(place, point),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn trials_stand_in_their_order_each_once() {
        let mut points = VecDeque::new();
        let point = |second, value| Point { at: at(second), value: Some(value), verdict: TrialVerdict::Good };
        for (second, value) in [(5, 0.5), (1, 0.1), (3, 0.3), (5, 0.6)] {
            insert(&mut points, point(second, value));
        }
        let seen: Vec<_> = points.iter().map(|p| (p.at.as_second(), p.value)).collect();
        assert_eq!(seen, [(1, Some(0.1)), (3, Some(0.3)), (5, Some(0.6))]);
    }
}
