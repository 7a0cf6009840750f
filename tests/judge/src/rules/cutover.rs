//! Cutover's default rule: the operator's own code, fed with disjoint intervals.

use cutover::judge::bets::{Evidence, Rule};

use crate::cases::Case;
use crate::traffic::Trace;

/// The chance of a false rollback that is allowed.
pub const ALPHA: f64 = 0.01;

/// See [`super::Rule`].
pub fn fires(case: &Case, trace: &Trace) -> Option<u32> {
    let rule = Rule::new(case.limit, ALPHA, case.intervals())?;
    let mut evidence = Evidence::default();
    let mut cursor = trace.release.cursor();
    let slots = (case.hiccup / case.slot) as usize;
    for interval in 1..=case.intervals() as usize {
        let counted = trace.release.since(&mut cursor, interval * slots);
        let at = interval as u32 * case.hiccup;
        // What ended while the operator was away is skipped.
        if trace.away.iter().any(|(from, to)| (*from..*to).contains(&at)) {
            continue;
        }
        if let Some(share) = counted.and_then(|c| c.share()) {
            evidence.bet(&rule, share);
            if evidence.fires(&rule) {
                return Some(at);
            }
        }
    }
    None
}
