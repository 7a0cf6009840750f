//! What the audit log says of the promises: the oracle of the end-to-end tests.

#[path = "../../e2e/harness/audit.rs"]
pub mod audit;
#[path = "../../e2e/harness/promises.rs"]
pub mod promises;
