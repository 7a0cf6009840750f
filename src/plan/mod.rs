//! PURE. `Cutover` → [`Plan`], or every refusal with its field and remedy; variables; CEL, JSONPath, regex.

pub mod expr;
mod expr_check;
pub mod select;
mod types;
pub mod vars;

pub use types::*;
