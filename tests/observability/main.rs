//! What is said about metrics is true: the reference names each with its labels, rules and dashboard name none that does
//! not exist, every alert has its cases and its remedy. `UPDATE_EXPECT=1` rewrites the table of the reference and the chart's copy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use cutover::meter::{Family, Meter};
use serde_json::Value;

const RULES: &str = "deploy/monitoring/rules.yaml";
const CASES: &str = "deploy/monitoring/rules_test.yaml";
const DASHBOARD: &str = "deploy/monitoring/dashboard.json";
const REFERENCE: &str = "docs/observability.md";

fn text(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn families() -> Vec<Family> {
    Meter::new().expect("names are unique").families().to_vec()
}

/// The alerts by name.
fn alerts() -> BTreeMap<String, Value> {
    let groups = yaml(RULES);
    let rules = groups["groups"].as_array().into_iter().flatten().flat_map(|g| g["rules"].as_array()).flatten();
    rules.map(|r| (r["alert"].as_str().expect("an alert").to_owned(), r.clone())).collect()
}

/// All texts below `expr` and `query` of a document.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match inner {
                    Value::String(text) if matches!(key.as_str(), "expr" | "query" | "definition") => {
                        found.push(text.clone());
                    }
                    inner => expressions(inner, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| expressions(inner, found)),
        _ => {}
    }
}

/// The metrics that a text names, each with the label matchers behind it.
fn named(text: &str) -> Vec<(String, String)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = vec![];
    for (at, _) in text.match_indices("cutover_").chain(text.match_indices("process_")) {
        if text[..at].chars().next_back().is_some_and(word) {
            continue;
        }
        let name: String = text[at..].chars().take_while(|c| word(*c)).collect();
        let rest = &text[at + name.len()..];
        let matchers = rest.strip_prefix('{').and_then(|r| r.split_once('}')).map(|(inside, _)| inside.to_owned());
        found.push((name, matchers.unwrap_or_default()));
    }
    found
}

/// The metric of a series' name; a histogram has three.
fn family<'a>(families: &'a [Family], name: &str) -> Option<&'a Family> {
    let histogram = |f: &&Family| {
        let ends = ["_bucket", "_sum", "_count"];
        f.kind == "histogram" && ends.iter().any(|end| name.strip_suffix(end) == Some(f.name))
    };
    families.iter().find(|f| f.name == name && f.kind != "histogram").or_else(|| families.iter().find(histogram))
}

#[test]
fn rules_and_dashboard_name_only_what_the_operator_exposes() {
    let families = families();
    let mut seen = BTreeSet::new();
    for (path, document) in [(RULES, yaml(RULES)), (DASHBOARD, serde_json::from_str(&text(DASHBOARD)).expect("JSON"))] {
        let mut all = vec![];
        expressions(&document, &mut all);
        assert!(all.len() > 10, "{path} was not understood");
        for expression in &all {
            for (name, matchers) in named(expression) {
                let of = family(&families, &name);
                let of = of.unwrap_or_else(|| panic!("{path}: no metric {name}: {expression}"));
                seen.insert(of.name);
                for matcher in matchers.split(',').filter(|m| !m.is_empty()) {
                    check_matcher(path, of, matcher);
                }
            }
        }
    }
    // What nobody looks at need not be exposed.
    let unused: Vec<&str> = families.iter().map(|f| f.name).filter(|n| !seen.contains(n)).collect();
    assert!(unused.is_empty(), "neither a rule nor the dashboard shows {unused:?}");
}

/// The label exists, and so does each value that is named.
fn check_matcher(path: &str, family: &Family, matcher: &str) {
    let (label, value) = matcher.split_once('=').unwrap_or_else(|| panic!("{path}: {matcher}"));
    let label = label.trim().trim_end_matches('!');
    // Added by the scrape, or by the client library.
    if matches!(label, "job" | "instance" | "le") {
        return;
    }
    let values = family.labels.iter().find(|(l, _)| *l == label).map(|(_, v)| v);
    let values = values.unwrap_or_else(|| panic!("{path}: {} has no label {label}", family.name));
    for value in value.trim_start_matches('~').trim_matches('"').split('|') {
        assert!(values.contains(&value), "{path}: {}: {label} is never {value}, only {values:?}", family.name);
    }
}

#[test]
fn the_reference_names_every_metric_with_its_labels() {
    let mut table = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for family in families() {
        let labels: Vec<String> = family
            .labels
            .iter()
            .map(|(label, values)| {
                let version = label == &"version";
                format!("`{label}`: {}", if version { "the version".into() } else { values.join(", ") })
            })
            .collect();
        let help = family.help;
        table.push_str(&format!("| `{}` | {} | {} | {help} |\n", family.name, family.kind, labels.join("; ")));
    }
    let (begin, end) = ("<!-- metrics: written by the test -->\n", "<!-- end -->");
    let page = text(REFERENCE);
    let (head, rest) = page.split_once(begin).expect("the page has a place for the table");
    let (found, tail) = rest.split_once(end).expect("the table has an end");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(REFERENCE);
        std::fs::write(file, format!("{head}{begin}{table}{end}{tail}")).expect("docs/ can be written");
        return;
    }
    let hint = "UPDATE_EXPECT=1 cargo test --test observability";
    assert!(found == table, "the table of {REFERENCE} is not what the operator exposes: {hint}");
}

#[test]
fn the_chart_has_the_same_rules() {
    let copy = "charts/cutover/files/alerts.yaml";
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(copy), text(RULES)).expect("charts/ can be written");
    }
    assert!(text(copy) == text(RULES), "{copy} is not {RULES}: UPDATE_EXPECT=1 cargo test --test observability");
}

#[test]
fn every_alert_says_what_to_do() {
    let page = text(REFERENCE);
    for (name, rule) in alerts() {
        assert!(page.contains(&format!("### {name}\n")), "{REFERENCE} has no section {name}");
        let runbook = format!("{REFERENCE}#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"].as_str(), Some(runbook.as_str()), "{name}");
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["page", "ticket", "info"].contains(&severity), "{name}: severity {severity}");
    }
    let sections = page.lines().filter_map(|l| l.strip_prefix("### Cutover")).count();
    assert_eq!(sections, alerts().len(), "{REFERENCE} has a section about an alert that does not exist");
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let cases = yaml(CASES);
    let all = cases["tests"].as_array().into_iter().flatten().flat_map(|t| t["alert_rule_test"].as_array()).flatten();
    let mut known: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for case in all {
        let fires = case["exp_alerts"].as_array().is_some_and(|list| !list.is_empty());
        known.entry(case["alertname"].as_str().unwrap_or_default().to_owned()).or_default().insert(fires);
    }
    for name in alerts().keys() {
        assert_eq!(known.get(name).map(BTreeSet::len), Some(2), "{CASES}: {name} needs both");
    }
    for name in known.keys() {
        assert!(alerts().contains_key(name), "{CASES}: there is no alert {name}");
    }
}

/// `promtool`: named by PROMTOOL, on the path, or where the test cluster unpacks it.
fn promtool() -> Option<PathBuf> {
    let cache = std::env::var_os("CUTOVER_CACHE").map(PathBuf::from).or_else(|| {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).map(|b| b.join("cutover"))
    });
    let unpacked = cache.map(|c| c.join("debian/prometheus/usr/bin/promtool"));
    let named = std::env::var_os("PROMTOOL").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("promtool"));
    named.into_iter().chain(on_path).chain(unpacked).find(|file| file.is_file())
}

#[test]
fn promtool_accepts_the_rules_and_their_cases() {
    let Some(promtool) = promtool() else {
        assert!(
            std::env::var("CUTOVER_E2E").is_ok_and(|v| v == "skip"),
            "there is no promtool: `tests/cluster/cluster package prometheus` unpacks it; PROMTOOL names another one"
        );
        eprintln!("skipped: there is no promtool, and CUTOVER_E2E=skip");
        return;
    };
    for (what, file) in [("check", RULES), ("test", CASES)] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let run = Command::new(&promtool).args([what, "rules"]).arg(folder.join(file)).output();
        let run = run.unwrap_or_else(|e| panic!("{}: {e}", promtool.display()));
        let said = [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(run.status.success() && said.contains("SUCCESS"), "promtool {what} rules {file}:\n{said}");
        println!("{said}");
    }
}
