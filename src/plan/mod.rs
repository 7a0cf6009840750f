//! PURE. `Cutover` → [`Plan`], or every refusal with its field and remedy; variables; CEL, JSONPath, regex.

mod actions;
pub mod after;
mod before;
mod changes;
pub(crate) mod execution;
pub mod expr;
mod expr_check;
pub mod keep;
pub mod metrics;
mod names;
pub(crate) mod quantity;
pub(crate) mod reach;
mod refuse;
mod request;
mod resolve;
mod resolving;
mod scope;
pub mod select;
mod sides;
mod steps;
pub mod templates;
mod triggers;
mod types;
pub mod vars;

pub use actions::Action;
pub use actions::PlanSuite;
pub(crate) use execution::{Execution, Round};
pub use execution::{job_name, undo_name};
pub use metrics::Offered;
pub use refuse::Refusal;
pub(crate) use refuse::list_label;
pub use resolve::resolve;
pub(crate) use resolve::{is_label_key, is_label_value};
pub use triggers::BuiltInTrigger;
pub(crate) use triggers::count_or_percent;
pub use types::*;
