//! Argo Rollouts' analysis, by its documentation ("Analysis & Progressive Delivery").

use crate::cases::Case;
use crate::traffic::Trace;

/// The range of the query in all of its examples.
const OVER: u32 = 300;
/// The documented default: so many errors in a row are tolerated.
const CONSECUTIVE_ERRORS: u32 = 4;

/// The first example: a measurement every five minutes, without end, failed by three failed measurements.
pub fn background(case: &Case, trace: &Trace) -> Option<u32> {
    analysis(case, trace, 300, u32::MAX, 3)
}

/// The second one: five measurements, one each minute; none may fail.
pub fn counted(case: &Case, trace: &Trace) -> Option<u32> {
    analysis(case, trace, 60, 5, 1)
}

/// Measures `count` times, `interval` seconds apart; that many failed measurements fail it. A share of nothing is no
/// number, which is neither a success nor a failure.
fn analysis(case: &Case, trace: &Trace, interval: u32, count: u32, failures: u32) -> Option<u32> {
    let (mut failed, mut errors) = (0, 0);
    for n in 1..=count {
        let at = n.checked_mul(interval).filter(|at| *at <= case.window)?;
        let slot = (at / case.slot) as usize;
        match trace.release.last_increase(slot, case.slot, OVER) {
            // No series at all: the condition cannot be evaluated.
            None => errors += 1,
            Some(counted) => {
                errors = 0;
                failed += u32::from(counted.share().is_some_and(|share| 1.0 - share < 1.0 - case.limit));
            }
        }
        if failed >= failures || errors > CONSECUTIVE_ERRORS {
            return Some(at);
        }
    }
    None
}
