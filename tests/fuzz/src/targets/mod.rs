//! One file for each target.

pub mod decisions;
pub mod http;
pub mod manifest;
pub mod promql;
pub mod run;
mod setting;
pub mod texts;
pub mod x509;
