//! Flagger's analysis, by its documentation ("Blue/Green Deployments", "Metrics Analysis").

use crate::cases::Case;
use crate::traffic::Trace;

const INTERVAL: u32 = 30;
const OVER: u32 = 60;
const ITERATIONS: u32 = 10;
const THRESHOLD: u32 = 2;

/// See [`super::Rule`].
pub fn fires(case: &Case, trace: &Trace) -> Option<u32> {
    let mut failed = 0;
    for at in (1..=ITERATIONS).map(|n| n * INTERVAL) {
        let slot = (at / case.slot) as usize;
        let share = trace.release.increase(slot, case.slot, OVER).and_then(|c| c.share());
        failed += u32::from(share.is_some_and(|share| share > case.limit));
        if failed >= THRESHOLD {
            return Some(at);
        }
    }
    None
}
