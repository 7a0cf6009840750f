//! PURE. Findings as annotations of a GitHub workflow.

use super::super::{Finding, Outcome, Severity};
use super::sentence;

/// One line for each finding.
pub fn github(outcome: &Outcome) -> String {
    let mut lines: Vec<String> = outcome.findings.iter().map(line).collect();
    if outcome.untold > 0 {
        lines.push(format!("::warning::{} more findings are not shown", outcome.untold));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn line(finding: &Finding) -> String {
    let level = match finding.code.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let title = property(&format!("{} {}", finding.code.id(), finding.code.title()));
    let place = if finding.file.is_empty() {
        String::new()
    } else {
        let (line, column) = (finding.place.line, finding.place.column);
        format!("file={},line={line},col={column},", property(&finding.file))
    };
    format!("::{level} {place}title={title}::{}", message(&sentence(finding)))
}

/// Escapes what would end the message, or begin a command of its own.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The same for what stands before it.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}
