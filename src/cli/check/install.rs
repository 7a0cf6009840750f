//! Before an installation: the rights to make it, and whether there is one already.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Deserialize;

use super::ask::{attributes, may_i, within};
use super::definitions::{CRDS, PLURALS};
use super::model::Line;
use super::operator::Place;
use super::topics::{INSTALL_RIGHTS, OTHER_INSTALLATION};
use crate::api::{GROUP, VERSION};
use crate::cli::cluster::{Cluster, Seen};
use crate::cli::exit::Failure;

/// What an installation consists of, the definitions left out.
const PARTS: [&str; 10] = [
    include_str!("../../../deploy/access/namespace.yaml"),
    include_str!("../../../deploy/access/rbac.yaml"),
    include_str!("../../../deploy/admission/account.yaml"),
    include_str!("../../../deploy/admission/decision.yaml"),
    include_str!("../../../deploy/admission/journal.yaml"),
    include_str!("../../../deploy/admission/requester.yaml"),
    include_str!("../../../deploy/admission/template.yaml"),
    include_str!("../../../deploy/operator.yaml"),
    include_str!("../../../deploy/disruption.yaml"),
    include_str!("../../../deploy/network.yaml"),
];
/// Kinds that are in no namespace.
const OF_THE_CLUSTER: [&str; 6] = [
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "CustomResourceDefinition",
];

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Head {
    api_version: String,
    kind: String,
}

/// Each kind once: group and resource, and whether it is in a namespace.
fn kinds() -> BTreeMap<(String, String), bool> {
    let documents = PARTS.iter().flat_map(|text| text.split("\n---"));
    let mut all: BTreeMap<(String, String), bool> = documents
        .filter_map(|text| serde_saphyr::from_str::<Head>(text).ok())
        .filter(|head| !head.kind.is_empty())
        .map(|head| {
            let group = head.api_version.split_once('/').map_or("", |(g, _)| g).to_owned();
            let plural = head.kind.to_lowercase();
            let plural = match plural.strip_suffix('y') {
                Some(stem) => format!("{stem}ies"),
                None => format!("{plural}s"),
            };
            ((group, plural), !OF_THE_CLUSTER.contains(&head.kind.as_str()))
        })
        .collect();
    all.insert(("apiextensions.k8s.io".to_owned(), "customresourcedefinitions".to_owned()), false);
    all
}

/// Whether the user may install.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn rights(cluster: &Cluster) -> Result<Line, Failure> {
    let place = Place::of(None);
    let mut missing = vec![];
    let kinds = kinds();
    for ((group, resource), namespaced) in &kinds {
        let what = attributes("create", group, resource, None);
        let what = if *namespaced { within(&place.namespace, what) } else { what };
        match may_i(cluster, what).await? {
            Seen::Known(true) => {}
            Seen::Known(false) => missing.push(resource.clone()),
            Seen::Hidden(right) => return Ok(Line::hidden(INSTALL_RIGHTS, "whether you may install", right, None)),
        }
    }
    // A ClusterRole may only be given by who has its rights, or the verb `escalate`.
    let group = "rbac.authorization.k8s.io";
    let all = may_i(cluster, attributes("*", "*", "*", None)).await?;
    let escalate = may_i(cluster, attributes("escalate", group, "clusterroles", None)).await?;
    let gives = [all, escalate].iter().any(|s| s.known() == Some(&true));
    Ok(of_rights(kinds.len(), &missing, gives))
}

fn of_rights(kinds: usize, missing: &[String], gives: bool) -> Line {
    let remedy = "install as an administrator of the cluster: kubectl auth can-i '*' '*' --all-namespaces";
    match (missing, gives) {
        ([], true) => Line::ok(INSTALL_RIGHTS, format!("you may create all {kinds} kinds of an installation")),
        ([], false) => Line::warning(
            INSTALL_RIGHTS,
            "you may create all kinds of an installation, but give the operator's ClusterRole only rights that you have",
            remedy,
        ),
        (missing, _) => Line::failed(INSTALL_RIGHTS, format!("you may not create {}", missing.join(", ")), remedy),
    }
}

/// Whether Cutover is there already. `operator`: whom the policies name.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn other(cluster: &Cluster, operator: Option<&str>) -> Result<Line, Failure> {
    let mut found = vec![];
    for plural in PLURALS {
        let name = format!("{plural}.{GROUP}");
        match cluster.wish(cluster.get_global::<CustomResourceDefinition>(&name).await, CRDS)? {
            Seen::Known(None) => {}
            Seen::Known(Some(crd)) => found.push((name, crd.spec.versions.into_iter().map(|v| v.name).collect())),
            Seen::Hidden(right) => return Ok(Line::hidden(OTHER_INSTALLATION, "definitions", right, None)),
        }
    }
    Ok(of_other(&found, operator))
}

fn of_other(found: &[(String, Vec<String>)], operator: Option<&str>) -> Line {
    let strange = found.iter().find(|(_, versions)| !versions.iter().any(|v| v == VERSION));
    match (strange, found, operator) {
        (Some((name, versions)), ..) => Line::failed(
            OTHER_INSTALLATION,
            format!("{name} is there in version {}, not {VERSION}", versions.join(", ")),
            format!("kubectl get crd {name} -o yaml (uninstall what it belongs to, or upgrade it)"),
        ),
        (None, _, Some(operator)) => Line::warning(
            OTHER_INSTALLATION,
            format!("an installation is there, with operator {operator}"),
            "upgrade that one: helm upgrade cutover charts/cutover -n cutover-system --reset-then-reuse-values --wait",
        ),
        (None, [], None) => Line::ok(OTHER_INSTALLATION, "no other installation is in the cluster"),
        (None, _, None) => Line::warning(
            OTHER_INSTALLATION,
            "the definitions are there, without admission policies: an installation was taken away",
            "go on; of another release name or namespace add --take-ownership to helm install",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::model::State;

    #[test]
    fn every_kind_of_the_installation_is_asked_about() {
        let kinds = kinds();
        for (group, resource, namespaced) in [
            ("", "namespaces", false),
            ("", "serviceaccounts", true),
            ("apps", "deployments", true),
            ("admissionregistration.k8s.io", "validatingadmissionpolicies", false),
            ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", false),
            ("rbac.authorization.k8s.io", "clusterroles", false),
            ("rbac.authorization.k8s.io", "rolebindings", true),
            ("networking.k8s.io", "networkpolicies", true),
            ("apiextensions.k8s.io", "customresourcedefinitions", false),
        ] {
            assert_eq!(kinds.get(&(group.to_owned(), resource.to_owned())), Some(&namespaced), "{resource}: {kinds:?}");
        }
    }

    #[test]
    fn missing_rights_are_named() {
        assert_eq!(of_rights(3, &[], true).state, State::Ok);
        assert_eq!(of_rights(3, &[], false).state, State::Warning);
        let line = of_rights(3, &["clusterroles".into()], true);
        assert!(line.state == State::Failed && line.message.contains("clusterroles"), "{line:?}");
    }

    #[test]
    fn an_installation_that_is_there_is_told_and_one_of_another_version_fails() {
        let crd = |version: &str| vec![("cutovers.cutover.dev".to_owned(), vec![version.to_owned()])];
        assert_eq!(of_other(&[], None).state, State::Ok);
        assert_eq!(of_other(&crd(VERSION), Some("me")).state, State::Warning);
        assert_eq!(of_other(&crd(VERSION), None).state, State::Warning);
        assert_eq!(of_other(&crd("v2"), Some("me")).state, State::Failed);
    }
}
