//! The restore that does not wait for its record (DESIGN §5.1): the switch's own claim authorises it.

use std::time::Duration;

use tokio::time::Instant;

use super::{Driver, is_restore};
use crate::api::phase::Phase;
use crate::api::run::RunStatus;
use crate::decide::Decision;
use crate::effect::Effect;

/// How long a restore waits for its own record.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// A write that keeps a restore waiting gets no longer than this once the patience is used up.
pub const SHORT_WRITE: Duration = Duration::from_millis(250);

/// Whether a restore has waited long enough.
pub fn is_due(since: Instant) -> bool {
    since.elapsed() >= PATIENCE
}

/// Whether an earlier write has already recorded that selectors go back.
pub fn is_claimed(written: &RunStatus) -> bool {
    written.phase == Phase::RollingBack && written.ending.is_some()
}

impl Driver {
    /// Acts on restores whose own record is not written, if a live reading of the run shows that its switch is claimed
    /// and it is not over. What was done is recorded afterwards.
    pub(super) async fn rescue(&mut self, decision: &Decision) {
        let restores: Vec<Effect> = decision
            .effects
            .iter()
            .filter(|e| is_restore(e) && !self.world.in_flight.contains(&e.key()))
            .cloned()
            .collect();
        if restores.is_empty() {
            return;
        }
        let since = *self.restore_wanted.get_or_insert_with(Instant::now);
        let other = self.form == super::Form::Other;
        if !(is_due(since) || other || is_claimed(&self.record.journal())) {
            // Woken in time to act without a record.
            let left = PATIENCE.saturating_sub(since.elapsed());
            self.wake.rescue_in(left);
            return;
        }
        match self.record.authorise(&restores).await {
            Ok(authorised) => {
                for restore in authorised {
                    tracing::info!(effect = %restore.get().key(), "restoring by the claim of the switch");
                    self.act(restore);
                }
            }
            Err(e) => {
                self.complain("JournalNotRead", &format!("a restore is due and the run cannot be read: {e}"));
                self.wake.rescue_in(SHORT_WRITE);
            }
        }
    }
}
