//! Replays rules that judge a release over generated traffic: how often each rolls a release back that keeps its limit,
//! and how soon it finds one that does not. `docs/judging.md` has what came of it; `make judge` makes it again.

pub mod cases;
pub mod page;
pub mod paint;
pub mod pictures;
pub mod replay;
pub mod results;
pub mod rules;
pub mod series;
pub mod traffic;
