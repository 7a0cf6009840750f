//! The plain threshold of runbooks: a bound, exceeded for so long.

use crate::cases::Case;
use crate::traffic::Trace;

const EVERY: u32 = 15;
const OVER: u32 = 60;
const SUSTAINED: u32 = 300;

/// See [`super::Rule`].
pub fn fires(case: &Case, trace: &Trace) -> Option<u32> {
    let mut since = None;
    for at in (EVERY..=case.window).step_by(EVERY as usize) {
        let slot = (at / case.slot) as usize;
        match trace.release.increase(slot, case.slot, OVER).and_then(|c| c.share()) {
            Some(share) if share > case.limit => {
                let since = *since.get_or_insert(at);
                if at - since >= SUSTAINED {
                    return Some(at);
                }
            }
            Some(_) => since = None,
            // Without a value it counts neither way.
            None => {}
        }
    }
    None
}
