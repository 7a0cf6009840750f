//! The examples as programs read them: their manifests, what is shortened in tests, their scenarios, and how a scenario is
//! played on a cluster.

pub mod example;
pub mod oracle;
pub mod path;
pub mod people;
pub mod play;
pub mod report;
pub mod scenario;
pub mod short;
