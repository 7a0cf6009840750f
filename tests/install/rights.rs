//! The operator's rights are those that it uses: read from the API server's audit log after every other test has run.
//! `make test` runs it last; alone it would find most rights unused.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::tools::{SYSTEM, objects, skipped, text};

/// Granted, and rightly not seen in a test run.
const UNSEEN: &[(&str, &str)] = &[
    // Asked for only where the API server runs the admission plugin OwnerReferencesPermissionEnforcement.
    ("cutover.dev cutovers/finalizers update", "owner of a run, with blockOwnerDeletion"),
    // The operators of the end-to-end tests are limited to a namespace and take part in no election.
    ("coordination.k8s.io leases create", "election"),
    ("coordination.k8s.io leases get", "election"),
    ("coordination.k8s.io leases list", "election"),
    ("coordination.k8s.io leases watch", "election"),
    ("coordination.k8s.io leases update", "election"),
    ("coordination.k8s.io leases patch", "election"),
];

/// A right, as `GROUP RESOURCE VERB`.
fn right(group: &str, resource: &str, verb: &str) -> String {
    format!("{} {resource} {verb}", if group.is_empty() { "core" } else { group })
}

fn granted() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for object in objects(&text("deploy/access/rbac.yaml")) {
        for rule in object["rules"].as_array().into_iter().flatten() {
            let words = |field: &str| -> Vec<&str> {
                rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
            };
            for group in words("apiGroups") {
                for resource in words("resources") {
                    all.extend(words("verbs").iter().map(|verb| right(group, resource, verb)));
                }
            }
        }
    }
    all
}

#[test]
fn no_right_reaches_secrets_impersonates_or_is_a_wildcard() {
    for right in granted() {
        assert!(!right.contains("secrets"), "{right}");
        assert!(!right.contains("impersonate"), "{right}");
        assert!(!right.contains('*'), "{right}");
    }
}

/// The log and those rotated away.
fn logs(current: &Path) -> Vec<PathBuf> {
    let folder = current.parent().unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let audit = |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("audit"));
    entries.flatten().map(|e| e.path()).filter(audit).collect()
}

/// What the operator itself did, and what it was refused by RBAC; requests made as somebody else are left out.
fn seen() -> Option<(BTreeSet<String>, BTreeSet<String>)> {
    let current = PathBuf::from(std::env::var_os("CUTOVER_AUDIT_LOG")?);
    let operator = format!("system:serviceaccount:{SYSTEM}:cutover-operator");
    let (mut used, mut refused) = (BTreeSet::new(), BTreeSet::new());
    let granted = granted();
    let in_its_place =
        |object: &Value| object["apiGroup"] != "coordination.k8s.io" || object["namespace"].as_str() == Some(SYSTEM);
    for log in logs(&current) {
        let lines = std::fs::read(&log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        for line in String::from_utf8_lossy(&lines).lines().filter(|l| l.contains(&operator)) {
            // The last line may be half written.
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let object = &event["objectRef"];
            let word = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            if event["user"]["username"] != operator.as_str()
                || !event["impersonatedUser"].is_null()
                || object.is_null()
            {
                continue;
            }
            let resource = match object["subresource"].as_str() {
                Some(sub) => format!("{}/{sub}", word(&object["resource"])),
                None => word(&object["resource"]),
            };
            let right = right(&word(&object["apiGroup"]), &resource, &word(&event["verb"]));
            match word(&event["annotations"]["authorization.k8s.io/decision"]).as_str() {
                "allow" => drop(used.insert(right)),
                // An uninstallation takes its rights from under an operator that still runs: what is granted, and was
                // refused in that moment, is no missing right. The Lease's are granted in one namespace alone.
                "forbid" if granted.contains(&right) && in_its_place(object) => {}
                "forbid" if !word(&event["responseStatus"]["message"]).contains("impersonate") => {
                    refused.insert(format!("{right}: {}", word(&event["responseStatus"]["message"])));
                }
                _ => {}
            }
        }
    }
    Some((used, refused))
}

#[test]
#[ignore = "reads what all other tests left in the audit log; `make test` runs it last"]
fn every_right_is_used_and_none_is_missing() {
    let Some((used, refused)) = seen() else {
        skipped("rights against the audit log", "CUTOVER_AUDIT_LOG is not set");
        return;
    };
    assert!(refused.is_empty(), "RBAC refused the operator:\n{}", refused.into_iter().collect::<Vec<_>>().join("\n"));
    let excused = |r: &&String| UNSEEN.iter().any(|(right, _)| right == r);
    let granted = granted();
    let unused: Vec<&String> = granted.difference(&used).filter(|r| !excused(r)).collect();
    println!("{} rights granted, {} used", granted.len(), granted.intersection(&used).count());
    assert!(unused.is_empty(), "granted but never used in any test: {unused:#?}");
}
