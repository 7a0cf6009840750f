//! PURE. How the state of a step and that of a Service's switch may change: one total function each. An illegal change is
//! an error value, and nothing is changed.

use jiff::Timestamp;

use crate::api::run::{RunState, RunStatus, ServiceSwitch, StepRecord, StepState, SwitchState};

/// What happens to an execution that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepEvent {
    /// It did what it is for.
    Passed,
    /// It did not, and no further attempt comes.
    Failed,
    /// It is left out: a condition does not hold, or people did not agree to it.
    LeftOut,
    /// It may have changed something, and its answer is lost.
    Lost,
    /// The run ends before it could.
    Interrupted,
    /// A person has found out that it did what it is for.
    FoundDone,
    /// A person has found out that it did not.
    FoundNotDone,
    /// It only reads, so a lost answer is a failure that no person has to look into.
    NothingToFind,
    /// The run goes on in spite of its failure: people said so, or what failed was their own gate.
    Overruled,
}

impl StepEvent {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 9] = [
        Self::Passed,
        Self::Failed,
        Self::LeftOut,
        Self::Lost,
        Self::Interrupted,
        Self::FoundDone,
        Self::FoundNotDone,
        Self::NothingToFind,
        Self::Overruled,
    ];
}

/// What happens to the switch of a Service after its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchEvent {
    /// The Service points to the target.
    Switched,
    /// The patch failed for good.
    Refused,
    /// The Service points to the old side again.
    Restored,
    /// The Service does not exist any more.
    Vanished,
    /// A Service that was gone is back, and points to the target.
    Reappeared,
}

impl SwitchEvent {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 5] = [Self::Switched, Self::Refused, Self::Restored, Self::Vanished, Self::Reappeared];
}

/// A change that there is not: a defect of whoever wanted it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {from} and cannot become {event}")]
pub struct IllegalEvent {
    /// The step or Service.
    pub what: String,
    pub from: String,
    /// What was to happen to it.
    pub event: String,
}

/// The state of an execution after an event; none where the event cannot happen to it. Total.
pub(crate) fn next_step(state: StepState, event: StepEvent) -> Option<StepState> {
    use StepState::{Failed, Running, Skipped, Succeeded, Unknown};
    match (state, event) {
        (Running, StepEvent::Passed) => Some(Succeeded),
        (Running, StepEvent::Failed | StepEvent::Interrupted) => Some(Failed),
        (Running, StepEvent::LeftOut) => Some(Skipped),
        (Running, StepEvent::Lost) => Some(Unknown),
        (Unknown, StepEvent::FoundDone) => Some(Succeeded),
        (Unknown, StepEvent::FoundNotDone | StepEvent::NothingToFind) => Some(Failed),
        // The failure stays on record by its message and attempt.
        (Failed, StepEvent::Overruled) => Some(Skipped),
        (
            Running,
            StepEvent::FoundDone | StepEvent::FoundNotDone | StepEvent::NothingToFind | StepEvent::Overruled,
        )
        | (
            Unknown,
            StepEvent::Passed
            | StepEvent::Failed
            | StepEvent::LeftOut
            | StepEvent::Lost
            | StepEvent::Interrupted
            | StepEvent::Overruled,
        )
        | (
            Failed,
            StepEvent::Passed
            | StepEvent::Failed
            | StepEvent::LeftOut
            | StepEvent::Lost
            | StepEvent::Interrupted
            | StepEvent::FoundDone
            | StepEvent::FoundNotDone
            | StepEvent::NothingToFind,
        )
        // What is over stays over.
        | (Succeeded | Skipped, _) => None,
    }
}

/// The state of a Service's switch after an event; none where the event cannot happen to it. Total.
pub(crate) fn next_switch(state: SwitchState, event: SwitchEvent) -> Option<SwitchState> {
    use SwitchState::{Claimed, Gone, Refused, Restored, Switched};
    match (state, event) {
        (Claimed, SwitchEvent::Switched) => Some(Switched),
        (Claimed, SwitchEvent::Refused) => Some(Refused),
        // A claim whose patch may have been sent is restored as well.
        (Claimed | Switched, SwitchEvent::Restored) => Some(Restored),
        (Claimed | Switched, SwitchEvent::Vanished) => Some(Gone),
        (Gone, SwitchEvent::Reappeared) => Some(Switched),
        (Claimed, SwitchEvent::Reappeared)
        | (Switched, SwitchEvent::Switched | SwitchEvent::Refused | SwitchEvent::Reappeared)
        | (Gone, SwitchEvent::Switched | SwitchEvent::Refused | SwitchEvent::Restored | SwitchEvent::Vanished)
        | (Refused | Restored, _) => None,
    }
}

/// Lets an event happen to an execution. One that ends it also says when.
///
/// # Errors
/// When the event cannot happen to it; the record is then unchanged.
pub fn step(record: &mut StepRecord, event: StepEvent, at: Timestamp) -> Result<(), IllegalEvent> {
    let next = next_step(record.state, event).ok_or_else(|| illegal(&record.name, record.state, event))?;
    if !matches!(event, StepEvent::Overruled | StepEvent::NothingToFind) {
        record.ended = Some(at);
    }
    record.state = next;
    record.between = false;
    Ok(())
}

/// Lets an event happen to a round of follow-ups or to checks that are made again.
///
/// # Errors
/// When the event cannot happen to it; the state is then unchanged.
pub fn round(state: &mut StepState, name: &str, event: StepEvent) -> Result<(), IllegalEvent> {
    *state = next_step(*state, event).ok_or_else(|| illegal(name, *state, event))?;
    Ok(())
}

/// Lets an event happen to the switch of a Service.
///
/// # Errors
/// When the event cannot happen to it; the record is then unchanged.
pub fn switch(service: &mut ServiceSwitch, event: SwitchEvent) -> Result<(), IllegalEvent> {
    service.state = next_switch(service.state, event).ok_or_else(|| illegal(&service.name, service.state, event))?;
    Ok(())
}

/// The record of an execution that is left out before it began.
pub(crate) fn left_out(name: &str, at: Timestamp, why: &str) -> StepRecord {
    StepRecord {
        name: name.to_owned(),
        state: StepState::Skipped,
        started: Some(at),
        ended: Some(at),
        message: Some(why.to_owned()),
        ..StepRecord::default()
    }
}

/// Closes a run: it writes nothing more (P7).
pub fn close(journal: &mut RunStatus) {
    journal.state = RunState::Closed;
}

fn illegal(what: &str, from: impl std::fmt::Debug, event: impl std::fmt::Debug) -> IllegalEvent {
    IllegalEvent { what: what.to_owned(), from: format!("{from:?}"), event: format!("{event:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [StepState; 5] =
        [StepState::Running, StepState::Succeeded, StepState::Failed, StepState::Skipped, StepState::Unknown];
    const SWITCHES: [SwitchState; 5] =
        [SwitchState::Claimed, SwitchState::Switched, SwitchState::Refused, SwitchState::Restored, SwitchState::Gone];

    #[test]
    fn every_event_of_a_step() {
        use StepState::{Failed, Running, Skipped, Succeeded, Unknown};
        // In the order of `StepEvent::ALL`.
        let table = [
            (
                Running,
                [Some(Succeeded), Some(Failed), Some(Skipped), Some(Unknown), Some(Failed), None, None, None, None],
            ),
            (Succeeded, [None; 9]),
            (Failed, [None, None, None, None, None, None, None, None, Some(Skipped)]),
            (Skipped, [None; 9]),
            (Unknown, [None, None, None, None, None, Some(Succeeded), Some(Failed), Some(Failed), None]),
        ];
        assert_eq!(table.map(|(state, _)| state), STEPS);
        for (state, row) in table {
            for (event, wanted) in StepEvent::ALL.into_iter().zip(row) {
                assert_eq!(next_step(state, event), wanted, "{state:?} {event:?}");
                let mut record = StepRecord { name: "s".into(), state, between: true, ..StepRecord::default() };
                let before = record.clone();
                match (step(&mut record, event, Timestamp::UNIX_EPOCH), wanted) {
                    (Ok(()), Some(next)) => assert!(record.state == next && !record.between),
                    (Err(e), None) => {
                        assert_eq!(record, before, "nothing has changed");
                        assert_eq!(e.to_string(), format!("s is {state:?} and cannot become {event:?}"));
                    }
                    (result, wanted) => panic!("{state:?} {event:?}: {result:?}, wanted {wanted:?}"),
                }
            }
        }
    }

    #[test]
    fn every_event_of_a_switch() {
        use SwitchState::{Claimed, Gone, Refused, Restored, Switched};
        // In the order of `SwitchEvent::ALL`.
        let table = [
            (Claimed, [Some(Switched), Some(Refused), Some(Restored), Some(Gone), None]),
            (Switched, [None, None, Some(Restored), Some(Gone), None]),
            (Refused, [None; 5]),
            (Restored, [None; 5]),
            (Gone, [None, None, None, None, Some(Switched)]),
        ];
        assert_eq!(table.map(|(state, _)| state), SWITCHES);
        for (state, row) in table {
            for (event, wanted) in SwitchEvent::ALL.into_iter().zip(row) {
                assert_eq!(next_switch(state, event), wanted, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn a_failure_that_is_overruled_keeps_its_time() {
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let mut record = StepRecord { name: "s".into(), attempt: 1, ..StepRecord::default() };
        assert_eq!(step(&mut record, StepEvent::Failed, early), Ok(()));
        assert_eq!(step(&mut record, StepEvent::Overruled, late), Ok(()));
        assert_eq!((record.state, record.ended, record.attempt), (StepState::Skipped, Some(early), 1));
    }
}
