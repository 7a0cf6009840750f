//! PURE. `Cutover` → [`Plan`], or every refusal with its field and remedy; variables; CEL, JSONPath, regex.

mod types;

pub use types::*;
