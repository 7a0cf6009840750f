//! Cutover's default rule: the operator's own code, fed with disjoint intervals.

use cutover::evidence::bets::{Evidence, Rule};

use crate::cases::Case;
use crate::series::Series;
use crate::traffic::Trace;

/// The chance of a false rollback that is allowed.
pub const ALPHA: f64 = 0.01;

/// How long after its end an interval is asked for, in seconds, as `judge::share` does: what is scraped in its last moments
/// is stored a little later.
pub const DELAY: u32 = 3;

/// See [`super::Rule`].
pub fn fires(case: &Case, trace: &Trace) -> Option<u32> {
    let at =
        bets(case, &trace.release).find(|(_, evidence, rule)| evidence.fires(rule)).map(|(at, _, _)| at + DELAY)?;
    // An operator that comes back asks for all that it missed.
    let away = trace.away.iter().find(|(from, to)| (*from..*to).contains(&at));
    Some(away.map_or(at, |(_, to)| *to))
}

/// The evidence after each interval, with the second at which it ends.
pub fn bets<'a>(case: &'a Case, release: &'a Series) -> impl Iterator<Item = (u32, Evidence, Rule)> + 'a {
    let rule = Rule::new(case.limit, ALPHA, case.intervals());
    let slots = (case.hiccup / case.slot) as usize;
    let mut evidence = Evidence::default();
    rule.into_iter().flat_map(move |rule| {
        (1..=case.intervals() as usize).map(move |interval| {
            let to = interval * slots;
            // More bad requests than requests, as a restart may leave it: that is no data.
            let counted = release.interval(to - slots, to).filter(|counted| counted.bad <= counted.total);
            if let Some(share) = counted.and_then(|counted| counted.share()) {
                evidence.bet(&rule, share);
            }
            (interval as u32 * case.hiccup, evidence, rule)
        })
    })
}
