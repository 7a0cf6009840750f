//! `lint` says of every manifest what a real API server answers, as far as both know the rules.

use cutover::lint::{Code, File, Options, check};
use serde_json::Value;

use crate::cluster::{Cluster, kubectl, project};
use crate::mutations::mutations;
use crate::{corpus, manifest_files};

/// What of a finding the API server answers too.
fn known(code: Code) -> bool {
    use Code::{Metadata, Policy, Rule, UnknownField, Value};
    matches!(code, Metadata | UnknownField | Value | Rule | Policy)
}

/// The fields in which lint finds what the API server refuses, each with its message.
fn lint(manifest: &Value) -> Vec<(String, String)> {
    let file = File { name: "a.json".into(), bytes: manifest.to_string().into_bytes() };
    let outcome = check(vec![file], &Options::default());
    let found = outcome.findings.into_iter().filter(|finding| known(finding.code));
    found.map(|finding| (finding.field, finding.message)).collect()
}

/// Compares both answers; what is wrong, in a line.
async fn compare(
    cluster: &Cluster,
    user: Option<&str>,
    resource: &str,
    what: &str,
    manifest: &Value,
) -> Option<String> {
    let found = lint(manifest);
    match (cluster.dry_create(user, resource, manifest).await, found.is_empty()) {
        (Ok(_), true) => None,
        (Ok(_), false) => Some(format!("{what}: accepted, and lint says {found:?}")),
        (Err(text), true) => Some(format!("{what}: lint says nothing, and the answer is {text}")),
        // One of the fields that lint names is one that the answer names, or stands around or within one.
        (Err(text), false) => {
            let answer = plain(&text);
            let path = |c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c));
            let words = || answer.split(path).map(|word| word.trim_end_matches('.')).filter(|word| of_object(word));
            let named = |field: &str| {
                let field = bare(field);
                words().any(|word| around(word, &field) || around(&field, word))
            };
            let some = found.iter().any(|(field, _)| named(field));
            (!some).then(|| format!("{what}: lint says {found:?}, and the answer is {text}"))
        }
    }
}

/// Whether a word is a field of the object.
fn of_object(word: &str) -> bool {
    around("spec", word) || around("metadata", word)
}

/// Whether a field is another one, or around it.
fn around(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
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

/// An answer with the fields as lint writes them, without the places of lists: `spec.phases[verify].steps[0]` becomes
/// `spec.phases.verify.steps`.
fn plain(answer: &str) -> String {
    let mut parts = answer.split('[');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let label =
            part.split_once(']').filter(|(label, _)| label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        match label {
            Some((label, rest)) if label.bytes().all(|b| b.is_ascii_digit()) => out.push_str(rest),
            Some((label, rest)) => out.push_str(&format!(".{label}{rest}")),
            None => out.push_str(&format!("[{part}")),
        }
    }
    out
}

#[tokio::test]
async fn lint_and_the_api_server_agree_on_every_manifest() {
    let Some(cluster) = Cluster::open("agree").await else { return };
    let mut all: Vec<(String, Value)> = vec![];
    all.extend(corpus::good().into_iter().map(|(what, m)| (what.to_owned(), m)));
    all.extend(corpus::bad().into_iter().map(|(what, m, _)| (what.to_owned(), m)));
    all.extend(manifest_files::refused());
    for (origin, text) in manifest_files::all() {
        for document in serde_saphyr::from_multiple::<Value>(&text).unwrap_or_default() {
            if document["kind"] == "Cutover" {
                let mut document = document;
                document["metadata"]["namespace"] = Value::Null;
                all.push((origin.clone(), document));
            }
        }
    }
    let text = std::fs::read_to_string(project("tests/admission/whole.yaml")).expect("the manifest is there");
    let whole: Value = serde_saphyr::from_str(&text).expect("the manifest is YAML");
    all.push(("whole.yaml".into(), whole.clone()));
    let count = all.len();
    // By day every sixth: the API server needs 50 ms for each.
    let each = if std::env::var_os("CUTOVER_MUTATIONS").is_some_and(|v| v == "all") { 1 } else { 6 };
    all.extend(mutations(&whole).into_iter().step_by(each));
    println!("{count} manifests and {} mutations", all.len() - count);
    let mut wrong = vec![];
    for (what, manifest) in &all {
        wrong.extend(compare(&cluster, None, "cutovers", what, manifest).await);
    }
    for (manifest, _) in corpus::templates() {
        wrong.extend(compare(&cluster, None, "cutovertemplates", &manifest.to_string(), &manifest).await);
    }
    cluster.bind("oncall", "cutover-on-call");
    cluster.bind("oncall", "cutover-approve-qa");
    for (manifest, good) in corpus::decisions("oncall") {
        let what = manifest.to_string();
        let answer = cluster.dry_create(Some("oncall"), "cutoverdecisions", &manifest).await;
        assert_eq!(answer.is_ok(), good, "{what}: {answer:?}");
        wrong.extend(compare(&cluster, Some("oncall"), "cutoverdecisions", &what, &manifest).await);
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    cluster.close();
}

#[tokio::test]
async fn lint_reads_scalars_as_kubectl_does() {
    let Some(cluster) = Cluster::open("scalars").await else { return };
    let table = include_str!("../../src/lint/yaml/scalars.txt");
    let rows: Vec<(&str, Value)> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" => "))
        .map(|(text, want)| (text, serde_json::from_str(want).expect("JSON")))
        .collect();
    let mut yaml =
        "apiVersion: cutover.dev/v1alpha1\nkind: CutoverTemplate\nmetadata: {name: a}\nspec:\n  phases:\n".to_owned();
    for (i, (text, _)) in rows.iter().enumerate() {
        yaml.push_str(&format!("    k{i}: {text}\n"));
    }
    let args = ["create", "--dry-run=client", "--validate=false", "-o", "json", "-n", &cluster.namespace, "-f", "-"];
    let read: Value = serde_json::from_str(&kubectl(&args, Some(&yaml))).expect("kubectl prints JSON");
    for (i, (text, want)) in rows.iter().enumerate() {
        let found = &read["spec"]["phases"][format!("k{i}")];
        assert!(
            found == want || found.as_f64().is_some_and(|n| Some(n) == want.as_f64()),
            "{text}: kubectl reads {found}"
        );
    }
    cluster.close();
}
