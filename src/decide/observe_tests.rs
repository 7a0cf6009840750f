//! The clock of the observation.

use super::*;
use crate::actions::fixtures::{Fixture, labels, pod, switched_service};
use crate::api::observation::Observation;
use crate::api::run::SwitchRecord;
use crate::decide::decide;

/// A release that has just been switched to, and is observed for ten minutes.
fn observing() -> Fixture {
    let mut f = Fixture::new();
    let now = f.world.now;
    f.pods(vec![pod("green-a", "green"), pod("green-b", "green"), pod("blue-a", "blue"), pod("blue-b", "blue")]);
    f.plan.observe.for_ = Duration::from_mins(10);
    f.plan.observe.every = Duration::from_secs(1);
    f.plan.observe.timeout = Duration::from_mins(60);
    let service = switched_service(now);
    f.journal.switch =
        Some(SwitchRecord { claimed_at: now, converged_at: Some(now), restored_at: None, services: vec![service] });
    f.service("web").selector = labels("green");
    f.journal.phase = Phase::Observing;
    f.journal.phase_since = Some(now);
    f.journal.observation = Some(Observation::begin(now));
    f
}

/// So many seconds; the cluster is read live in each, or in none.
fn seconds(f: &mut Fixture, n: u32, seen: bool) {
    for _ in 0..n {
        f.after(1);
        if seen {
            f.world.refreshed = Some(f.world.now);
        }
        f.journal = decide(&f.plan, &f.journal, &f.world).journal;
    }
}

fn counted(f: &Fixture) -> (u64, ObservationClock) {
    let seen = f.journal.observation.as_ref().expect("an observation");
    (seen.conclusive_ms / 1000, seen.clock)
}

#[test]
fn time_in_which_the_api_server_is_away_is_not_observed() {
    let mut f = observing();
    seconds(&mut f, 20, true);
    assert_eq!(counted(&f), (20, ObservationClock::Counting));
    // Readings are half a minute apart, and one may fail.
    seconds(&mut f, 40, false);
    assert_eq!(counted(&f), (60, ObservationClock::Counting));
    seconds(&mut f, 1, true);
    seconds(&mut f, 600, false);
    assert_eq!(
        counted(&f),
        (61, ObservationClock::Inconclusive),
        "time counted after the last live reading is subtracted"
    );
    seconds(&mut f, 11, true);
    assert_eq!(counted(&f), (71, ObservationClock::Counting));
    assert_eq!((f.journal.phase, f.journal.ending.is_some()), (Phase::Observing, false));
}
