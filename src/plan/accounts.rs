//! PURE. As which ServiceAccounts the pods of Jobs run (DESIGN §7, accounts of Jobs): the Cutover's own, those that it lists,
//! or none. A pod that names none is one of `default`, whose token is withheld unless the Cutover lists it, too.

use serde_json::{Map, Value};

/// The account of a pod that names none.
const DEFAULT: &str = "default";
const MOUNTS: &str = "automountServiceAccountToken";
/// The fields that name a pod's account; the second one is the old name of the first, which the API server still reads.
const NAMES: [&str; 2] = ["serviceAccountName", "serviceAccount"];
/// What a projected volume proves the pod's account with.
const PROOFS: [&str; 2] = ["serviceAccountToken", "podCertificate"];

/// What a Job's pod would do with an account that is not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unlisted {
    /// The field below the pod's spec.
    pub field: String,
    pub message: String,
    pub remedy: String,
}

/// What the spec of a Job's pod asks for and may not have. `own`: the Cutover's account, `listed`: `jobServiceAccounts`.
pub(crate) fn check(own: &str, listed: &[String], spec: &Value) -> Vec<Unlisted> {
    let is_listed = |name: &str| listed.iter().any(|l| l == name);
    let mut found = vec![];
    let names = NAMES.into_iter().filter_map(|field| Some((field, spec[field].as_str().filter(|n| !n.is_empty())?)));
    for (field, name) in names.clone().filter(|(_, name)| *name != own && !is_listed(name)) {
        found.push(Unlisted {
            field: field.to_owned(),
            message: format!("Jobs of this Cutover may not run as ServiceAccount {name}"),
            remedy: add(name),
        });
    }
    if names.count() == 0 && own != DEFAULT && !is_listed(DEFAULT) {
        let said = spec[MOUNTS].as_bool() == Some(true);
        let field = said.then(|| MOUNTS.to_owned()).into_iter().chain(proofs(spec));
        found.extend(field.map(|field| Unlisted {
            field,
            message: format!("a pod without an account gets no token of ServiceAccount {DEFAULT}"),
            remedy: format!("leave it out, name an account of this Cutover, or {}", add(DEFAULT)),
        }));
    }
    found
}

/// Withholds the token of an account that the pod does not name and the Cutover does not list.
pub(crate) fn withhold(own: &str, listed: &[String], spec: &mut Map<String, Value>) {
    let named = NAMES.iter().any(|field| spec.get(*field).and_then(Value::as_str).is_some_and(|n| !n.is_empty()));
    if !named && own != DEFAULT && !listed.iter().any(|l| l == DEFAULT) {
        spec.insert(MOUNTS.to_owned(), Value::Bool(false));
    }
}

fn add(name: &str) -> String {
    format!("add {name} to spec.jobServiceAccounts, for which whoever writes the Cutover needs the verb `use` on it")
}

/// The volumes that prove the pod's account.
fn proofs(spec: &Value) -> impl Iterator<Item = String> {
    let volumes = spec["volumes"].as_array().into_iter().flatten().enumerate();
    volumes.flat_map(|(v, volume)| {
        let sources = volume["projected"]["sources"].as_array().into_iter().flatten().enumerate();
        sources.filter_map(move |(s, source)| {
            let proof = PROOFS.into_iter().find(|proof| !source[*proof].is_null())?;
            Some(format!("volumes[{v}].projected.sources[{s}].{proof}"))
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(listed: &[&str], spec: &Value) -> Vec<String> {
        let listed: Vec<String> = listed.iter().map(|l| (*l).to_owned()).collect();
        check("cutover", &listed, spec).into_iter().map(|u| u.field).collect()
    }

    #[test]
    fn a_pod_runs_as_the_cutovers_account_or_a_listed_one() {
        for field in NAMES {
            assert_eq!(fields(&[], &json!({field: "other"})), [field]);
            assert!(fields(&["other"], &json!({field: "other"})).is_empty());
            assert!(fields(&[], &json!({field: "cutover"})).is_empty());
            assert_eq!(fields(&["other"], &json!({field: "default"})), [field], "default is one like all others");
        }
        // What the API server fills in beside a name is judged as well.
        assert_eq!(fields(&[], &json!({"serviceAccountName": "cutover", "serviceAccount": "other"})), [NAMES[1]]);
        let found = check("cutover", &[], &json!({"serviceAccountName": "other"}));
        assert!(found[0].message.contains("may not run as ServiceAccount other"));
        assert!(found[0].remedy.contains("add other to spec.jobServiceAccounts"));
    }

    #[test]
    fn a_pod_without_an_account_gets_no_token() {
        for none in [json!({}), json!({"serviceAccountName": ""}), json!({"serviceAccountName": null})] {
            assert!(fields(&[], &none).is_empty());
            let mut spec = none.as_object().expect("an object").clone();
            withhold("cutover", &[], &mut spec);
            assert_eq!(spec[MOUNTS], false);
        }
        let mount = json!({MOUNTS: true});
        assert_eq!(fields(&[], &mount), [MOUNTS]);
        let source = |what: &str| json!({"volumes": [{"name": "a"}, {"name": "b", "projected": {"sources": [{"secret": {}}, {what: {}}]}}]});
        for proof in PROOFS {
            assert_eq!(fields(&[], &source(proof)), [format!("volumes[1].projected.sources[1].{proof}")]);
            assert!(fields(&["default"], &source(proof)).is_empty());
        }
        assert!(fields(&["default"], &mount).is_empty());
        let mut listed = mount.as_object().expect("an object").clone();
        withhold("cutover", &["default".to_owned()], &mut listed);
        withhold("default", &[], &mut listed);
        assert_eq!(listed[MOUNTS], true);
        let mut named = json!({"serviceAccountName": "cutover"}).as_object().expect("an object").clone();
        withhold("cutover", &[], &mut named);
        assert!(!named.contains_key(MOUNTS), "the Cutover's own account is the author's to use");
    }
}
