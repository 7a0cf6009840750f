//! What may happen in a state of the search.

use cutover::api::decision::{CutoverDecisionSpec, Resolution, Verb};
use cutover::world::QueryAnswer;

use crate::sim::faults::{Kind, On};
use crate::sim::search::Class;

/// An event, by name and class.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: String,
    pub class: Class,
    pub what: What,
}

impl Event {
    /// Whether it is the alarm of an operator that sleeps.
    pub fn is_time(&self) -> bool {
        self.what == What::Time
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Reply(usize, Fate),
    /// Of an operator, by its place.
    Query(usize, usize, QueryAnswer),
    JobEnds(String, bool),
    JobGone(String),
    Converge(String),
    Pods,
    Health(bool, bool),
    Point(String, bool),
    Foreign(String),
    Annotate(String),
    DeleteService(String),
    CreateService(String, bool),
    Decide(Verb, Option<(String, Resolution)>),
    /// Of an approval, by its step.
    Gate(Verb, String),
    DeleteCutover,
    Revert,
    NewRelease,
    Template(bool),
    Suspend(bool),
    Claim(Kind),
    /// The next read fails, of everything or of one thing.
    Unread(On),
    /// A reading of everything that failed is made again, by an operator.
    Again(usize),
    Crash,
    Second,
    Tell,
    Time,
    Long,
}

impl What {
    /// Whether it says what a decision says.
    pub fn says(&self, spec: &CutoverDecisionSpec) -> bool {
        match self {
            Self::Decide(verb, about) => {
                let (step, outcome) = about.clone().unzip();
                spec.decision == *verb && spec.step == step && spec.outcome == outcome
            }
            Self::Gate(verb, gate) => spec.decision == *verb && spec.gate.as_ref() == Some(gate),
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    Applied,
    ReplyLost,
    NotApplied,
    Refused,
}
