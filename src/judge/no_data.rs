//! PURE. What a trial without data counts as.

use crate::api::run::TrialVerdict;
use crate::api::trigger::{NoData, Trigger};

/// Inconclusive, unless the manifest says that missing data is bad. Whether an inconclusive trial holds the observation
/// (`Hold`) or not (`Ignore`) is decided there.
pub fn verdict(trigger: &Trigger) -> TrialVerdict {
    match trigger.no_data.unwrap_or_default() {
        NoData::Hold | NoData::Ignore => TrialVerdict::Inconclusive,
        NoData::Rollback => TrialVerdict::Bad,
    }
}
