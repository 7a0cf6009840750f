//! PURE. The state machines that drive: one for a run ([`run`]). Each has two functions: `hear` takes in what
//! happened, `next` says what is to be done. A shell carries the orders out and reports what came of them: the driver on a
//! real cluster, and the simulation, the search and the crash tests on a simulated one.

pub mod run;
