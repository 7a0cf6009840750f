//! PURE. The state machines that drive. Each has two functions: `hear` takes in what happened, `next` says what is to be
//! done. A shell carries the orders out and reports what came of them: on a real cluster, or on a simulated one in the
//! simulation, the search and the crash tests.
//!
//! - [`run`]: the loop of one run. Its shell is `driver`.
//! - [`cutover`]: one look at one Cutover. Its shell is `controller`.

pub mod cutover;
pub mod run;
