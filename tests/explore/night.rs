//! The search of a night: two misfortunes of any kind in every world, up to a number of states in each.

use super::sim::search::Limit;

/// So many states a world, unless `EXPLORE_STATES` says another number.
const STATES: usize = 20_000;

/// How far the search of a night goes; none by day.
pub fn limit() -> Option<Limit> {
    let night = std::env::var("EXPLORE").is_ok_and(|v| v == "night");
    let states = std::env::var("EXPLORE_STATES").ok().and_then(|n| n.parse().ok()).unwrap_or(STATES);
    night.then_some(Limit::Bound(states))
}
