//! What the end-to-end tests stand on, for the bench: manifests, clients, bounded waits, the audit log.

/// The repository.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[path = "../../e2e/harness/app.rs"]
pub mod app;
#[path = "../../e2e/harness/audit.rs"]
pub mod audit;
#[path = "../../e2e/harness/cluster.rs"]
pub mod cluster;
#[path = "../../e2e/harness/wait.rs"]
pub mod wait;
