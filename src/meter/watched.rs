//! What the triggers of active runs see: value, limit, and how near each is to firing. The only metrics whose labels are
//! names of objects; a run's series end with it, and there are never more than [`MOST`] of a kind.

use prometheus::{GaugeVec, Opts, Registry};

use super::Family;
use super::labels::NAME;
use crate::api::run::RunStatus;
use crate::plan::Plan;
use crate::view::triggers_of;

/// Triggers shown at most; those of further runs are left out.
const MOST: usize = 2000;

/// The labels of each.
const LABELS: [&str; 3] = ["namespace", "cutover", "trigger"];

/// Whose triggers they are.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    pub namespace: &'a str,
    pub cutover: &'a str,
}

/// What a trigger of a run last saw, as its journal has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Watched {
    labels: [String; 3],
    /// In the order of [`GAUGES`].
    values: [Option<f64>; 3],
}

const GAUGES: [(&str, &str); 3] = [
    (
        "cutover_trigger_value",
        "What a trigger of an active run last saw, where that is a number, as the run's journal has it",
    ),
    ("cutover_trigger_limit", "The limit that this value is measured by"),
    (
        "cutover_trigger_evidence",
        "How much of what it takes to fire a trigger of an active run has seen: 0 nothing, 1 all of it",
    ),
];

/// The triggers of a run that is watched by them now.
pub(super) fn of(whose: Whose, plan: &Plan, journal: &RunStatus) -> Vec<Watched> {
    if journal.ending.is_some() || journal.phase.is_over() {
        return vec![];
    }
    let all = triggers_of(journal, Some(plan));
    let watched = all.iter().map(|trigger| Watched {
        labels: [whose.namespace.to_owned(), whose.cutover.to_owned(), trigger.name.to_owned()],
        values: [trigger.value(), trigger.limit.as_ref().and_then(|limit| limit.bound), Some(trigger.evidence())],
    });
    watched.collect()
}

/// The metrics.
#[derive(Clone)]
pub(super) struct Gauges([GaugeVec; 3]);

impl Gauges {
    pub(super) fn new(registry: &Registry, families: &mut Vec<Family>) -> Result<Self, prometheus::Error> {
        let mut make = |(name, help): (&'static str, &'static str)| {
            let gauge = GaugeVec::new(Opts::new(name, help), &LABELS)?;
            registry.register(Box::new(gauge.clone()))?;
            let labels = LABELS.iter().map(|label| (*label, NAME.to_vec())).collect();
            families.push(Family { name, kind: "gauge", help, labels });
            Ok::<_, prometheus::Error>(gauge)
        };
        let [value, limit, evidence] = GAUGES;
        Ok(Self([make(value)?, make(limit)?, make(evidence)?]))
    }

    /// Shows these, and nothing of former ones.
    pub(super) fn show<'a>(&self, all: impl Iterator<Item = &'a Watched>) {
        self.0.iter().for_each(GaugeVec::reset);
        for watched in all.take(MOST) {
            for (gauge, value) in self.0.iter().zip(watched.values) {
                if let Some(value) = value {
                    gauge.with_label_values(&watched.labels.each_ref().map(String::as_str)).set(value);
                }
            }
        }
    }
}
