//! PURE. Findings as SARIF 2.1.0, which code hosts show beside the lines.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::{Code, Finding, Outcome, Severity};
use super::{PAGE, sentence};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
/// What may stand in a URI as it is.
const PLAIN: &[u8] = b"-._~/";

/// The outcome.
pub fn sarif(outcome: &Outcome) -> Value {
    let used: BTreeSet<Code> = outcome.findings.iter().map(|finding| finding.code).collect();
    let rules: Vec<Code> = used.into_iter().collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "kubectl-cutover",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": outcome.findings.iter().map(|finding| result(finding, &rules)).collect::<Vec<_>>(),
        }],
    })
}

fn rule(code: Code) -> Value {
    json!({
        "id": code.id(),
        "name": format!("{code:?}"),
        "shortDescription": {"text": code.title()},
        "help": {"text": format!("{}, section {}", PAGE, code.id())},
        "defaultConfiguration": {"level": level(code)},
    })
}

fn result(finding: &Finding, rules: &[Code]) -> Value {
    let mut result = json!({
        "ruleId": finding.code.id(),
        "ruleIndex": rules.iter().position(|code| *code == finding.code),
        "level": level(finding.code),
        "message": {"text": sentence(finding)},
    });
    if !finding.file.is_empty() {
        result["locations"] = json!([{"physicalLocation": {
            "artifactLocation": {"uri": uri(&finding.file)},
            "region": {"startLine": finding.place.line.max(1), "startColumn": finding.place.column.max(1)},
        }}]);
    }
    result
}

fn level(code: Code) -> &'static str {
    match code.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// The name of a file as a reference relative to where the command ran.
fn uri(file: &str) -> String {
    let mut out = String::new();
    for byte in file.bytes() {
        if byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
