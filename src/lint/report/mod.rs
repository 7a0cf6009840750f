//! PURE. Findings in the forms that machines read.

mod github;
mod json;
mod sarif;
#[cfg(test)]
mod tests;

pub use github::github;
pub use json::json;
pub use sarif::sarif;

use super::Finding;

/// Where the sections of codes stand.
pub const PAGE: &str = "docs/lint.md";

/// The finding in one sentence: object, field, message and remedy.
fn sentence(finding: &Finding) -> String {
    let place = [finding.object.as_str(), finding.field.as_str()];
    let place: Vec<&str> = place.into_iter().filter(|part| !part.is_empty()).collect();
    let start = if place.is_empty() { String::new() } else { format!("{}: ", place.join(" ")) };
    format!("{start}{}; {}", finding.message, finding.remedy)
}
