//! PURE. Findings as JSON; `docs/lint.md` describes the form, which only ever gains fields.

use serde_json::{Value, json};

use super::super::{Finding, Outcome};

/// The outcome.
pub fn json(outcome: &Outcome) -> Value {
    json!({
        "version": 1,
        "summary": {
            "errors": outcome.errors, "warnings": outcome.warnings, "untold": outcome.untold,
            "objects": outcome.checked, "files": outcome.files,
        },
        "findings": outcome.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "code": finding.code.id(),
        "severity": finding.code.severity().as_str(),
        "title": finding.code.title(),
        "file": finding.file,
        "line": finding.place.line,
        "column": finding.place.column,
        "object": finding.object,
        "field": finding.field,
        "message": finding.message,
        "remedy": finding.remedy,
    })
}
