//! Whether the operator has the rights that its installation gives it, asked of the API server one by one.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Deserialize;

use super::{Finding, Weight};
use crate::act::call::{CallError, call};

/// What an installation grants, a ClusterRole and a Role for the namespace of the Lease.
const GRANTED: &str = include_str!("../../../deploy/access/rbac.yaml");
/// Resources that are in no namespace: asked for as such wherever the operator looks.
const OF_THE_CLUSTER: [&str; 5] = [
    "namespaces",
    "nodes",
    "clustercutovertemplates",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
];
/// Reviews under way at a time; each more would be one more connection to keep.
const AT_ONCE: usize = 2;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Role {
    kind: String,
    rules: Vec<RightsRule>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RightsRule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    resource_names: Vec<String>,
    verbs: Vec<String>,
}

/// The rights to ask about.
pub struct Rights {
    operator: String,
    wanted: Vec<ResourceAttributes>,
    /// Those that were missing last; `None`: not asked yet. What was there is not asked for again.
    missing: Option<Vec<ResourceAttributes>>,
}

impl Rights {
    /// For an operator that looks at these namespaces (none: all) and has its Lease there.
    pub fn new(operator: &str, namespaces: &[String], lease: Option<&str>) -> Self {
        Self { operator: operator.into(), wanted: wanted(namespaces, lease), missing: None }
    }

    /// Asks about what is not known to be there.
    pub async fn look(&mut self, client: &Client) -> Result<Vec<Finding>, CallError> {
        let ask = self.missing.clone().unwrap_or_else(|| self.wanted.clone());
        let answers = futures::stream::iter(ask)
            .map(|right| async move { allowed(client, right.clone()).await.map(|yes| (right, yes)) })
            .buffered(AT_ONCE);
        let answers: Vec<(ResourceAttributes, bool)> = answers.try_collect().await?;
        let missing: Vec<ResourceAttributes> = answers.into_iter().filter(|(_, yes)| !yes).map(|(r, _)| r).collect();
        let found = missing.iter().map(|right| {
            let text = format!(
                "the operator ({}) may not {}: apply deploy/access/rbac.yaml of this version (or upgrade the chart)",
                self.operator,
                words(right)
            );
            Finding::new(Weight::NotReady, text)
        });
        let found = found.collect();
        self.missing = Some(missing);
        Ok(found)
    }
}

/// The right, as people say it.
pub(crate) fn words(right: &ResourceAttributes) -> String {
    let word = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut resource = word(&right.resource);
    if let Some(sub) = &right.subresource {
        resource = format!("{resource}/{sub}");
    }
    if let Some(group) = right.group.as_ref().filter(|g| !g.is_empty()) {
        resource = format!("{resource}.{group}");
    }
    let name = right.name.as_ref().map(|n| format!(" {n}")).unwrap_or_default();
    let place = match right.namespace.as_deref().unwrap_or_default() {
        "" => String::new(),
        namespace => format!(" in namespace {namespace}"),
    };
    format!("{} {resource}{name}{place}", word(&right.verb))
}

async fn allowed(client: &Client, right: ResourceAttributes) -> Result<bool, CallError> {
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(right), non_resource_attributes: None };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = call(api.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|s| s.allowed))
}

/// All that the operator needs in these namespaces (none: everywhere), with its Lease there.
pub(crate) fn wanted(namespaces: &[String], lease: Option<&str>) -> Vec<ResourceAttributes> {
    let mut all = vec![];
    let roles = GRANTED.split("\n---").filter_map(|text| serde_saphyr::from_str::<Role>(text).ok());
    for role in roles {
        let everywhere: Vec<Option<String>> = match (role.kind.as_str(), lease) {
            ("ClusterRole", _) if namespaces.is_empty() => vec![None],
            ("ClusterRole", _) => namespaces.iter().cloned().map(Some).collect(),
            ("Role", Some(lease)) => vec![Some(lease.to_owned())],
            _ => continue,
        };
        for rule in &role.rules {
            let names: Vec<Option<&String>> = if rule.resource_names.is_empty() {
                vec![None]
            } else {
                rule.resource_names.iter().map(Some).collect()
            };
            for (group, resource) in rule.api_groups.iter().flat_map(|g| rule.resources.iter().map(move |r| (g, r))) {
                let (plain, sub) = resource.split_once('/').map_or((resource.as_str(), None), |(r, s)| (r, Some(s)));
                let places = if OF_THE_CLUSTER.contains(&plain) { &vec![None] } else { &everywhere };
                for (place, verb) in places.iter().flat_map(|p| rule.verbs.iter().map(move |v| (p, v))) {
                    all.extend(names.iter().map(|name| ResourceAttributes {
                        group: Some(group.clone()),
                        resource: Some(plain.to_owned()),
                        subresource: sub.map(str::to_owned),
                        verb: Some(verb.clone()),
                        namespace: place.clone(),
                        name: name.cloned(),
                        ..ResourceAttributes::default()
                    }));
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(namespaces: &[&str], lease: Option<&str>) -> Vec<String> {
        let namespaces: Vec<String> = namespaces.iter().map(|n| (*n).to_owned()).collect();
        wanted(&namespaces, lease).iter().map(words).collect()
    }

    #[test]
    fn all_that_the_installation_grants_is_asked_for_where_it_is_needed() {
        let all = said(&[], Some("cutover-system"));
        for right in [
            "list pods",
            "get pods/log",
            "update cutoverruns/status.cutover.dev",
            "update leases.coordination.k8s.io cutover-operator in namespace cutover-system",
            "get validatingadmissionpolicies.admissionregistration.k8s.io cutover-journal",
        ] {
            assert!(all.iter().any(|r| r == right), "{right} is not in {all:?}");
        }
        let some = said(&["a", "b"], None);
        assert!(some.iter().any(|r| r == "list pods in namespace b") && some.iter().any(|r| r == "get namespaces"));
        assert!(!some.iter().any(|r| r.contains("leases")), "no Lease, no right to it: {some:?}");
    }
}
