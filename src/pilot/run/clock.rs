//! The time of one run. It goes on by the clock that never jumps, from where the clock on the wall stood when the pilot
//! opened the run, or from the last time in the journal where the wall has been set back since. So a wall clock that is set
//! back stops no trigger and no restore, and one that is set forward shortens nothing. Only what is about the wall itself,
//! such as a window or a time that Prometheus is asked about, follows it ([`World::ahead`](crate::world::World::ahead)).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::orders::{Heard, Now};
use crate::api::run::RunStatus;
use crate::effect::{AlertsOf, LogsOf, Read};
use crate::world::{NodeView, Sighting};

/// Clocks may differ by less than this: two readings are never made at the same moment.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(1);
/// A difference that changes by so much is told.
const JUMP: SignedDuration = SignedDuration::from_secs(5);

/// See the file.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// When the pilot opened the run.
    opened: Now,
    /// By how much the wall is ahead of the run's time.
    ahead: SignedDuration,
    /// What of it has been told.
    told: SignedDuration,
}

impl Clock {
    pub(super) fn open(now: Now, journal: &RunStatus) -> Self {
        let wall = latest(journal).map_or(now.wall, |recorded| recorded.max(now.wall));
        Self { opened: Now { wall, ..now }, ahead: SignedDuration::ZERO, told: SignedDuration::ZERO }
    }

    /// The run's time; from now on the wall is known to be ahead by the difference.
    pub(super) fn read(&mut self, now: Now) -> Now {
        let passed = now.ticks.saturating_sub(self.opened.ticks);
        let wall = self.opened.wall.checked_add(passed).unwrap_or(Timestamp::MAX);
        let ahead = now.wall.duration_since(wall);
        self.ahead = if ahead.abs() < TOLERANCE { SignedDuration::ZERO } else { ahead };
        Now { wall, ..now }
    }

    pub(super) fn ahead(&self) -> SignedDuration {
        self.ahead
    }

    /// What people are told of a jump, once.
    pub(super) fn jumped(&mut self) -> Option<String> {
        if (self.ahead - self.told).abs() < JUMP {
            return None;
        }
        self.told = self.ahead;
        let by = crate::api::Duration::from_secs(self.ahead.abs().as_secs().unsigned_abs());
        Some(match self.ahead.as_secs() {
            0 => "the operator's clock agrees again with the time of this run".to_owned(),
            1.. => format!("the operator's clock is {by} ahead of the time of this run, which goes on without a jump"),
            _ => format!("the operator's clock is {by} behind the time of this run, which goes on without a jump"),
        })
    }

    /// What the shell measured by the wall, in the time of the run.
    pub(super) fn heard(&self, heard: Heard) -> Heard {
        if self.ahead.is_zero() {
            return heard;
        }
        match heard {
            Heard::Seen(sighting) => Heard::Seen(self.sighting(sighting)),
            Heard::Refreshed { key, began, sightings } => Heard::Refreshed {
                key,
                began: self.of_the_run(began),
                sightings: sightings.into_iter().map(|s| self.sighting(s)).collect(),
            },
            other => other,
        }
    }

    fn sighting(&self, sighting: Sighting) -> Sighting {
        match sighting {
            Sighting::Refreshed(at) => Sighting::Refreshed(self.of_the_run(at)),
            Sighting::Nodes(nodes) => {
                let moved = |view: &NodeView| NodeView { since: self.of_the_run(view.since), ..*view };
                let nodes: BTreeMap<String, NodeView> = nodes.iter().map(|(n, v)| (n.clone(), moved(v))).collect();
                Sighting::Nodes(Arc::new(nodes))
            }
            other => other,
        }
    }

    fn of_the_run(&self, wall: Timestamp) -> Timestamp {
        wall.checked_sub(self.ahead).unwrap_or(wall)
    }

    /// A read whose answer others give by their own clocks, which the wall is nearer to.
    pub(super) fn asked(&self, read: &Read) -> Read {
        let wall = |at: Timestamp| at.checked_add(self.ahead).unwrap_or(at);
        match read {
            Read::Query { query, at, timeout } => {
                Read::Query { query: query.clone(), at: at.map(wall), timeout: *timeout }
            }
            // Trials begin with whole seconds, and the points of a subquery are there.
            Read::Numbers { query, at, timeout } => {
                Read::Numbers { query: query.clone(), at: second(wall(*at)), timeout: *timeout }
            }
            Read::Alerts(of) => Read::Alerts(AlertsOf { since: wall(of.since), ..of.clone() }),
            Read::Logs(of) => Read::Logs(LogsOf { since: wall(of.since), ..of.clone() }),
            // Nothing in these is a time.
            Read::Http(_)
            | Read::Keys { .. }
            | Read::JobResult { .. }
            | Read::Resource(_)
            | Read::Tls(_)
            | Read::Usage(_)
            | Read::DryRun(_)
            | Read::CronJob(_)
            | Read::Revisions(_)
            | Read::Nodes(_)
            | Read::Events(_)
            | Read::Selectors
            | Read::Proof
            | Read::Refresh => read.clone(),
        }
    }
}

/// The nearest second.
fn second(at: Timestamp) -> Timestamp {
    at.round(jiff::Unit::Second).unwrap_or(at)
}

/// The last time that the journal records; times that lie ahead, such as that of the next attempt, are left out.
fn latest(journal: &RunStatus) -> Option<Timestamp> {
    let steps = journal.steps.iter().flat_map(|s| [s.started, s.ended]);
    let switch = journal.switch.iter().flat_map(|s| [Some(s.claimed_at), s.converged_at, s.restored_at]);
    let triggers = journal.triggers.iter().flat_map(|t| [t.armed_at, t.last_at, t.fired_at]);
    let counted = journal.observation.as_ref().map(|o| o.counted_to);
    let phases = journal.timeline.iter().map(|moment| Some(moment.at));
    let last = [journal.phase_since, journal.closing_since, counted];
    steps.chain(switch).chain(triggers).chain(phases).chain(last).flatten().max()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(wall: i64, ticks: u64) -> Now {
        Now { wall: Timestamp::from_second(wall).expect("a time"), ticks: Duration::from_secs(ticks) }
    }

    fn journal(last: i64) -> RunStatus {
        RunStatus { phase_since: Timestamp::from_second(last).ok(), ..RunStatus::default() }
    }

    #[test]
    fn a_wall_that_jumps_moves_no_time_of_the_run() {
        let mut clock = Clock::open(at(10_000, 5), &journal(9_000));
        for (wall, ticks, run, ahead) in
            [(10_010, 15, 10_010, 0), (6_420, 25, 10_020, -3600), (13_630, 35, 10_030, 3600), (10_040, 45, 10_040, 0)]
        {
            assert_eq!(clock.read(at(wall, ticks)), at(run, ticks), "{wall}");
            assert_eq!(clock.ahead().as_secs(), ahead, "{wall}");
        }
    }

    #[test]
    fn a_restart_after_the_wall_was_set_back_goes_on_from_the_journal() {
        let mut clock = Clock::open(at(6_400, 0), &journal(10_000));
        assert_eq!(clock.read(at(6_430, 30)).wall, at(10_030, 0).wall);
        let told = clock.jumped().expect("a jump");
        assert!(told.contains("1h behind"), "{told}");
        assert_eq!(clock.jumped(), None, "told once");
    }

    #[test]
    fn what_the_shell_saw_by_the_wall_is_in_the_time_of_the_run_and_questions_are_in_that_of_the_wall() {
        let mut clock = Clock::open(at(10_000, 0), &journal(9_000));
        clock.read(at(6_410, 10));
        match clock.heard(Heard::Seen(Sighting::Refreshed(at(6_409, 0).wall))) {
            Heard::Seen(Sighting::Refreshed(seen)) => assert_eq!(seen, at(10_009, 0).wall),
            other => panic!("{other:?}"),
        }
        let timeout = crate::api::Duration::from_secs(1);
        let read = Read::Query { query: "up".into(), at: Some(at(10_005, 0).wall), timeout };
        match clock.asked(&read) {
            Read::Query { at: asked, .. } => assert_eq!(asked, Some(at(6_405, 0).wall)),
            other => panic!("{other:?}"),
        }
    }
}
