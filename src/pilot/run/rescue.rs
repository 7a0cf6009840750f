//! The restore that does not wait for its record (DESIGN §5.1): the switch's own claim authorises it, if a live reading of
//! the run shows that the switch is claimed and the run is not over. What was done is recorded afterwards.

use std::time::Duration;

use super::form::Form;
use super::orders::{Ground, Now, Reread, Then};
use super::{Flow, Pilot, Stage, is_restore};
use crate::api::condition::reasons;
use crate::api::phase::Phase;
use crate::api::run::RunStatus;
use crate::decide::Decision;
use crate::effect::Effect;
use crate::route::authorises;

/// How long a restore waits for its own record.
const PATIENCE: Duration = Duration::from_secs(2);
/// A write that keeps a restore waiting gets no longer than this once the patience is used up, and a run that cannot be
/// read for a restore is read again after this.
const SHORT_WRITE: Duration = Duration::from_millis(250);
/// No write of the journal gets longer than this.
const LONGEST_WRITE: Duration = Duration::from_secs(2);

/// What follows once restores have been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterRescue {
    /// The journal is written.
    Write,
    /// The other effects are carried out: the journal stands.
    Act,
    /// Nothing: the pass is over.
    Rest,
}

/// Whether a restore that is wanted since these ticks has waited long enough.
pub(super) fn is_due(since: Duration, now: Duration) -> bool {
    now.saturating_sub(since) >= PATIENCE
}

/// Whether an earlier write has already recorded that selectors go back.
pub(super) fn is_claimed(written: Option<&RunStatus>) -> bool {
    written.is_some_and(|w| w.phase == Phase::RollingBack && w.ending.is_some())
}

/// How long a write may take that a restore waits for.
pub(super) fn time_to_write(since: Duration, now: Duration) -> Duration {
    PATIENCE.saturating_sub(now.saturating_sub(since)).clamp(SHORT_WRITE, LONGEST_WRITE)
}

impl Pilot {
    /// Has the run read for restores whose own record is not written, where they have waited long enough.
    pub(super) fn rescue(&mut self, decision: Box<Decision>, after: AfterRescue, now: Now) -> Flow {
        let wanted = |e: &&Effect| is_restore(e) && !self.world.in_flight.contains(&e.key());
        let restores: Vec<Effect> = decision.effects.iter().filter(wanted).cloned().collect();
        if restores.is_empty() {
            return Flow::Go(Stage::Rescued(decision, after));
        }
        let since = *self.restore_wanted.get_or_insert(now.ticks);
        let unknown = self.form == Form::Other;
        if !(is_due(since, now.ticks) || unknown || is_claimed(self.record.as_ref())) {
            // Woken in time to act without a record.
            self.wake.rescue_in(now.ticks, PATIENCE.saturating_sub(now.ticks.saturating_sub(since)));
            return Flow::Go(Stage::Rescued(decision, after));
        }
        Flow::Stop(Stage::AwaitsAuthority(decision, restores, after), Then::Authorise)
    }

    /// The run was read: restores that it allows are carried out.
    pub(super) fn authorised(&mut self, read: Reread, now: Now) {
        let (decision, restores, after) = match std::mem::replace(&mut self.stage, Stage::Resting) {
            Stage::AwaitsAuthority(decision, restores, after) => (decision, restores, after),
            other => {
                self.stage = other;
                return;
            }
        };
        match read {
            Reread::Found { journal, .. } => {
                let mut orders = vec![];
                self.act_on(allowed(&journal, restores), Ground::Switch, &mut orders);
                self.outgoing.append(&mut orders);
            }
            Reread::Gone => {}
            Reread::Failed(why) => {
                self.complain(
                    reasons::JOURNAL_NOT_READ,
                    &format!("a restore is due and the run cannot be read: {why}"),
                );
                self.wake.rescue_in(now.ticks, SHORT_WRITE);
            }
        }
        self.stage = Stage::Rescued(decision, after);
    }
}

/// Those that the switch's own claim authorises: this run switched the Service, and is neither over nor closed.
fn allowed(journal: &RunStatus, restores: Vec<Effect>) -> impl Iterator<Item = Effect> + use<'_> {
    restores.into_iter().filter(move |effect| match effect {
        Effect::Restore { route, from, to, .. } => authorises(journal, route, from, to),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::api::run::{RunState, ServiceSwitch, SwitchRecord, SwitchState};
    use crate::effect::RestoreGuard;

    fn restores_allowed(journal: &RunStatus, effects: &[Effect]) -> Vec<Effect> {
        allowed(journal, effects.to_vec()).collect()
    }

    fn journal(phase: Phase, state: SwitchState) -> RunStatus {
        let service = ServiceSwitch {
            name: "web".into(),
            uid: "u".into(),
            resource_version: "1".into(),
            from: [("side".to_owned(), "blue".to_owned())].into(),
            to: [("side".to_owned(), "green".to_owned())].into(),
            wanted: 0,
            old_wanted: 0,
            unanswered: false,
            adopted: false,
            state,
            switched_at: None,
            restored_at: None,
            message: None,
            blocked: None,
        };
        let switch = SwitchRecord {
            claimed_at: Timestamp::UNIX_EPOCH,
            converged_at: None,
            restored_at: None,
            services: vec![service],
        };
        RunStatus { phase, switch: Some(switch), ..RunStatus::default() }
    }

    fn restore(service: &str, from: &str) -> Effect {
        Effect::Restore {
            route: crate::route::Route::service(service),
            from: [("side".to_owned(), from.to_owned())].into(),
            to: [("side".to_owned(), "green".to_owned())].into(),
            guard: RestoreGuard { min_ready: 1, any: false },
            limit: crate::api::Duration::from_secs(2),
            beside: false,
            fence: "f".into(),
        }
    }

    #[test]
    fn the_switchs_claim_authorises_its_own_restore_and_nothing_else() {
        let wanted = [restore("web", "blue"), Effect::StartJob { name: "j".into(), uid: "u".into() }];
        for state in [SwitchState::Claimed, SwitchState::Switched] {
            assert_eq!(restores_allowed(&journal(Phase::Observing, state), &wanted), vec![wanted[0].clone()]);
        }
        assert!(restores_allowed(&journal(Phase::Observing, SwitchState::Restored), &wanted).is_empty());
        assert!(restores_allowed(&journal(Phase::RolledBack, SwitchState::Switched), &wanted).is_empty());
        let other = [restore("web", "red"), restore("api", "blue")];
        assert!(restores_allowed(&journal(Phase::Observing, SwitchState::Switched), &other).is_empty());
        assert!(restores_allowed(&RunStatus::default(), &wanted).is_empty());
        let mut closed = journal(Phase::Completed, SwitchState::Switched);
        closed.state = RunState::Closed;
        assert!(restores_allowed(&closed, &wanted).is_empty());
    }
}
