//! PURE. `Cutover` → [`Plan`], or every refusal with its field and remedy; variables; CEL, JSONPath, regex.

mod action;
pub mod after;
mod approval;
mod changes;
pub mod expr;
mod expr_check;
mod job;
pub mod keep;
mod logs;
pub mod metrics;
pub mod quantity;
mod refuse;
mod request;
mod resolve;
mod resource;
mod scope;
pub mod select;
mod steps;
mod suite;
pub mod templates;
mod tls;
mod triggers;
mod types;
pub mod vars;

pub use metrics::Offered;
pub use refuse::Refusal;
pub use resolve::{MAX_SPEC, MAX_STEPS, resolve};
pub use triggers::{BuiltInTrigger, count_or_percent};
pub use types::*;
