//! Tries of a restore that a webhook holds up: how long each may take, what stands beside it, and what is told.

use super::*;
use crate::actions::fixtures::{Fixture, effect, pod, switched_service};
use crate::api::phase::Phase;
use crate::api::run::{Ending, SwitchRecord};
use crate::decide::{Decision, decide};

const LONG: &str = "restore/web";
const SHORT: &str = "restore/web/beside";

/// A switched run on its way back.
fn rolling_back() -> Fixture {
    let mut f = Fixture::new();
    let now = f.world.now;
    f.pods(vec![pod("green-a", "green"), pod("green-b", "green"), pod("blue-a", "blue"), pod("blue-b", "blue")]);
    f.world.refreshed = Some(now);
    let service = switched_service(now);
    f.journal.switch =
        Some(SwitchRecord { claimed_at: now, converged_at: Some(now), restored_at: None, services: vec![service] });
    f.journal.phase = Phase::RollingBack;
    f.journal.ending = Some(Ending {
        phase: Phase::RolledBack,
        reason: reasons::TRIGGER_FIRED.into(),
        message: "errors".into(),
        at: now,
        trigger: None,
        incomplete: false,
        scaled_at: None,
        empty_since: None,
        undo_first: None,
        stopped_at: None,
        prepared_at: None,
    });
    f
}

fn turn(f: &mut Fixture) -> Decision {
    let decision = decide(&f.plan, &f.journal, &f.world);
    f.journal = decision.journal.clone();
    decision.consumed.iter().for_each(|key| drop(f.world.outcomes.remove(key)));
    decision
}

/// The tries that a decision wants, with the time that each has, in milliseconds; they are then under way.
fn tries(f: &mut Fixture) -> Vec<(String, u64)> {
    let decision = turn(f);
    let mut all = vec![];
    for wanted in &decision.effects {
        if let Effect::Restore { limit, .. } = wanted {
            all.push((wanted.key().to_string(), limit.as_millis()));
            f.world.in_flight.insert(wanted.key());
        }
    }
    all
}

/// A try ends so; the next one is due.
fn ended(f: &mut Fixture, key: &str, outcome: Outcome) {
    f.world.in_flight.remove(&effect(key));
    f.world.tried.insert(effect(key), f.world.now);
    f.outcome(key, outcome);
    turn(f);
    f.after(1);
}

fn late() -> Outcome {
    Outcome::Blocked { cause: BlockCause::Unreachable, why: "no answer".into(), slow: true }
}

fn denied() -> Outcome {
    let why = "failed calling webhook \"slow.example.com\": context deadline exceeded".into();
    Outcome::Blocked { cause: BlockCause::Admission, why, slow: false }
}

fn blocked(f: &Fixture) -> RestoreBlock {
    f.journal.switch.as_ref().and_then(|s| s.services[0].blocked.clone()).expect("it is blocked")
}

#[test]
fn beside_a_write_that_may_take_long_a_short_one_is_tried_again_and_again() {
    let mut f = rolling_back();
    assert_eq!(tries(&mut f), [(LONG.to_owned(), 2000)], "most are answered at once");
    ended(&mut f, LONG, late());
    assert_eq!(tries(&mut f), [(LONG.to_owned(), 4000), (SHORT.to_owned(), 1500)]);
    for _ in 0..2 {
        ended(&mut f, SHORT, late());
        assert_eq!(blocked(&f).slow, 1, "the long one finds out how much time is needed");
        assert_eq!(tries(&mut f), [(SHORT.to_owned(), 1500)]);
    }
    ended(&mut f, LONG, late());
    assert_eq!(tries(&mut f), [(LONG.to_owned(), 8000)]);
    ended(&mut f, SHORT, Outcome::Done);
    let switch = f.journal.switch.clone().expect("a switch");
    assert_eq!(switch.services[0].state, SwitchState::Restored);
    assert!(tries(&mut f).is_empty(), "the long one fails by its tests");
}

#[test]
fn which_webhook_it_is_stays_known_and_so_does_the_time_it_needs() {
    let mut f = rolling_back();
    for (limit, outcome, slow) in [(2000, late(), 1), (4000, late(), 2), (8000, denied(), 2), (8000, late(), 3)] {
        assert_eq!(tries(&mut f).first(), Some(&(LONG.to_owned(), limit)));
        ended(&mut f, LONG, outcome);
        assert_eq!(blocked(&f).slow, slow);
    }
    let known = blocked(&f);
    assert_eq!(known.cause, BlockCause::Admission);
    assert!(known.message.contains("slow.example.com"), "{known:?}");
    let told = f.journal.conditions.iter().find(|c| c.type_ == types::ROLLBACK_BLOCKED).expect("told");
    assert!(told.reason == reasons::ADMISSION && told.message.contains("slow.example.com"), "{told:?}");
    // The API server answers at once, and something else.
    let unavailable = Outcome::Blocked { cause: BlockCause::Unreachable, why: "503".into(), slow: false };
    ended(&mut f, LONG, unavailable);
    assert_eq!((blocked(&f).slow, blocked(&f).cause), (0, BlockCause::Unreachable));
}

#[test]
fn a_write_without_an_answer_points_to_webhooks_where_reads_have_theirs() {
    let mut f = rolling_back();
    for _ in 0..2 {
        tries(&mut f);
        ended(&mut f, LONG, late());
    }
    let told = f.journal.conditions.iter().find(|c| c.type_ == types::ROLLBACK_BLOCKED).expect("told");
    assert!(told.reason == reasons::UNREACHABLE && told.message.contains("webhook"), "{told:?}");
}
