//! `lint` agrees with the API server and the operator on every manifest of the project: the good ones have no error, and
//! each bad one has an error in the field that is refused. `tests/admission/agreement.rs` asks a real API server.

#[path = "../admission/corpus.rs"]
mod corpus;
#[path = "../admission/manifest_files.rs"]
mod manifest_files;

mod command;

use cutover::lint::{Code, File, Finding, Options, Severity, check};
use cutover::plan::Offered;
use serde_json::Value;

fn lint(text: &str) -> Vec<Finding> {
    // The operator of the tests offers no source of metrics.
    let options = Options { offered: Some(Offered::default()), ..Options::default() };
    errors(text, &options)
}

fn errors(text: &str, options: &Options) -> Vec<Finding> {
    let outcome = check(vec![File { name: "a.yaml".into(), bytes: text.as_bytes().to_vec() }], options);
    outcome.findings.into_iter().filter(|finding| finding.code.severity() == Severity::Error).collect()
}

fn shown(findings: &[Finding]) -> String {
    let line = |f: &Finding| format!("{}:{} {} {}: {}\n", f.file, f.place.line, f.code.id(), f.field, f.message);
    findings.iter().map(line).collect()
}

#[test]
fn manifests_that_are_shown_have_no_error() {
    let mut count = 0;
    for (origin, text) in manifest_files::all() {
        let found = errors(&text, &Options::default());
        assert!(found.is_empty(), "{origin}\n{}", shown(&found));
        count += text.matches("kind: Cutover").count();
    }
    assert!(count > 7, "only {count} manifests were found: are the pages where they were?");
}

#[test]
fn every_example_is_right_with_all_that_it_refers_to() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for folder in std::fs::read_dir(root).expect("examples").flatten().map(|entry| entry.path()) {
        if !folder.join("cutover.yaml").exists() {
            continue;
        }
        let read = |name: &str| File { name: name.into(), bytes: std::fs::read(folder.join(name)).expect(name) };
        let outcome = check(vec![read("cutover.yaml"), read("application.yaml")], &Options::default());
        let found: Vec<_> = outcome.findings.iter().filter(|f| f.code.severity() == Severity::Error).cloned().collect();
        assert!(found.is_empty(), "{}\n{}", folder.display(), shown(&found));
        count += 1;
    }
    assert!(count >= 6, "only {count} examples");
}

#[test]
fn what_the_api_server_takes_has_no_error_of_its_kind() {
    let mut all: Vec<(String, Value)> = corpus::good().into_iter().map(|(what, m)| (what.to_owned(), m)).collect();
    all.push(("whole.yaml".into(), whole()));
    let more = corpus::decisions("jane").into_iter().chain(corpus::templates());
    all.extend(more.filter(|(_, good)| *good).map(|(m, _)| (m.to_string(), m)));
    for (what, manifest) in all {
        let found: Vec<_> = lint(&manifest.to_string()).into_iter().filter(|f| f.code != Code::Refused).collect();
        assert!(found.is_empty(), "{what}\n{}", shown(&found));
    }
}

fn whole() -> Value {
    serde_saphyr::from_str(include_str!("../admission/whole.yaml")).expect("the manifest is YAML")
}

#[test]
fn what_the_api_server_refuses_has_an_error() {
    for (what, manifest, _) in corpus::bad() {
        let found = lint(&manifest.to_string());
        assert!(found.iter().any(|f| f.code != Code::Refused), "{what}\n{}", shown(&found));
    }
    let more = corpus::decisions("jane").into_iter().chain(corpus::templates());
    for (manifest, _) in more.filter(|(_, good)| !good) {
        assert!(!lint(&manifest.to_string()).is_empty(), "{manifest}");
    }
}

/// Without the labels in brackets.
fn bare(field: &str) -> String {
    let mut depth = 0;
    let keep = |c: &char| {
        depth += i32::from(*c == '[') - i32::from(*c == ']');
        depth == 0 && *c != ']'
    };
    field.chars().filter(keep).collect()
}

/// Whether both fields are the same, or one is around the other.
fn same(a: &str, b: &str) -> bool {
    let (a, b) = (bare(a), bare(b));
    let around = |a: &str, b: &str| b.strip_prefix(a).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    around(&a, &b) || around(&b, &a)
}

#[test]
fn what_the_operator_refuses_has_an_error_in_that_field() {
    let mut seen = 0;
    for (want, manifest) in manifest_files::refused() {
        let found = lint(&manifest.to_string());
        // Of a run that goes back to where it came from, lint cannot know.
        if want.contains("is live already") {
            continue;
        }
        let field = want.split(": ").next().unwrap_or_default();
        assert!(found.iter().any(|f| same(&f.field, field)), "wanted {want}\nfound {}", shown(&found));
        seen += 1;
    }
    assert!(seen > 100, "only {seen} cases were read");
}
