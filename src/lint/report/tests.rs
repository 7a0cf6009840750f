//! The forms that machines read: nothing of a manifest can leave its place in them.

use serde_json::{Value, json};

use super::*;
use crate::lint::{Code, Outcome, Place};

fn outcome() -> Outcome {
    let finding = Finding {
        code: Code::Value,
        file: "a b,c:d%.yaml".into(),
        place: Place { line: 3, column: 7 },
        object: "Cutover shop".into(),
        field: "spec.observe.for".into(),
        message: "100%\n::error::owned".into(),
        remedy: "write 5m".into(),
    };
    let whole = Finding {
        code: Code::Nothing,
        file: String::new(),
        object: String::new(),
        field: String::new(),
        ..finding.clone()
    };
    Outcome { findings: vec![finding, whole], errors: 2, checked: 1, files: 1, ..Outcome::default() }
}

#[test]
fn annotations_are_escaped() {
    assert_eq!(
        github(&outcome()),
        "::error file=a b%2Cc%3Ad%25.yaml,line=3,col=7,title=CUT011 A value is not allowed::Cutover shop spec.observe.for: \
         100%25%0A::error::owned; write 5m\n::error title=CUT004 There is nothing to check::100%25%0A::error::owned; write 5m\n"
    );
}

/// What the schema of SARIF 2.1.0 requires of the parts that are used.
#[test]
fn sarif_has_the_form_of_its_schema() {
    let sarif = sarif(&outcome());
    let schema: Value = serde_json::from_str(include_str!("sarif-parts.json")).expect("a schema");
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
    let wrong: Vec<String> = validator.iter_errors(&sarif).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(wrong, Vec::<String>::new(), "{sarif:#}");
    let run = &sarif["runs"][0];
    assert_eq!(
        run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
        "a%20b%2Cc%3Ad%25.yaml"
    );
    assert_eq!(run["results"][1]["locations"], Value::Null);
    for result in run["results"].as_array().into_iter().flatten() {
        let rule = result["ruleIndex"].as_u64().and_then(|i| usize::try_from(i).ok()).unwrap_or(usize::MAX);
        assert_eq!(run["tool"]["driver"]["rules"][rule]["id"], result["ruleId"]);
    }
}

#[test]
fn json_says_everything_of_a_finding() {
    let json = json(&outcome());
    assert_eq!(json["summary"], json!({"errors": 2, "warnings": 0, "untold": 0, "objects": 1, "files": 1}));
    assert_eq!(
        json["findings"][0],
        json!({
            "code": "CUT011", "severity": "error", "title": "A value is not allowed", "file": "a b,c:d%.yaml", "line": 3, "column": 7,
            "object": "Cutover shop", "field": "spec.observe.for", "message": "100%\n::error::owned", "remedy": "write 5m",
        })
    );
}
