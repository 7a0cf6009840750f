//! PURE DATA. What a driver has told people and has not written down.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Answers to people that stand in no journal. Kept in the memory of a driver: a decision that was refused stays refused,
/// however long it takes to write that on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// By uid of an open decision: why it was refused, and when.
    pub refused: BTreeMap<String, (Timestamp, String)>,
    /// By uid of an open decision that was inherited: how far it is taken up.
    pub taken_up: BTreeMap<String, TakenUp>,
    /// By uid of an open decision: since when it waits for the proof that it is nobody else's.
    pub unproven: BTreeMap<String, Timestamp>,
    /// When a refusal was last told with an Event.
    pub told: Option<Timestamp>,
    /// Refusals since then that stand on their decisions alone.
    pub(crate) untold: usize,
    /// Since when the present second of refusals lasts, and how many were written in it.
    pub refusing: Option<(Timestamp, usize)>,
    /// Why answers cannot be written on decisions, once that is known.
    pub mute: Option<String>,
}

/// How far a decision is taken up.
#[derive(Clone, Debug, PartialEq)]
pub struct TakenUp {
    /// Since when that is tried.
    pub since: Timestamp,
    /// The version that the last try tests: once it is done, the decision has another one.
    pub tested: String,
    pub done: bool,
}
