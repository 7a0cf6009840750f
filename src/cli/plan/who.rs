//! Who may approve, as far as the RBAC of the namespace can be read: users and groups by their bindings. Other authorisers
//! of the API server (webhooks) are not asked.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::ResourceExt;
use kube::api::ListParams;

use crate::cli::cluster::{Cluster, Seen};
use crate::cli::exit::Failure;
use crate::cli::rights::{OURS, Right};

const RBAC: &str = "rbac.authorization.k8s.io";
const ROLES: Right = Right::wish("list", RBAC, "roles");
const BINDINGS: Right = Right::wish("list", RBAC, "rolebindings");
const CLUSTER_ROLES: Right = Right::wish("list", RBAC, "clusterroles");
const CLUSTER_BINDINGS: Right = Right::wish("list", RBAC, "clusterrolebindings");

/// What is asked about gates.
pub(super) const RIGHTS: [Right; 5] = [
    ROLES,
    BINDINGS,
    CLUSTER_ROLES,
    CLUSTER_BINDINGS,
    Right::need("create", "authorization.k8s.io", "selfsubjectaccessreviews"),
];

/// The bindings of a namespace, each with its rules.
pub(super) struct People {
    bound: Vec<(Vec<Subject>, Vec<PolicyRule>)>,
}

/// Reads them; none where a part may not be read, which is said.
pub(super) async fn read(cluster: &Cluster, hidden: &mut Vec<String>) -> Result<Option<People>, Failure> {
    let (namespace, all) = (Some(cluster.namespace.as_str()), ListParams::default());
    let roles = cluster.wish(cluster.list::<Role>(namespace, &all).await, ROLES)?;
    let bindings = cluster.wish(cluster.list::<RoleBinding>(namespace, &all).await, BINDINGS)?;
    let wide_roles = cluster.wish(cluster.list_global::<ClusterRole>(&all).await, CLUSTER_ROLES)?;
    let wide = cluster.wish(cluster.list_global::<ClusterRoleBinding>(&all).await, CLUSTER_BINDINGS)?;
    let (Seen::Known(roles), Seen::Known(bindings), Seen::Known(wide_roles), Seen::Known(wide)) =
        (roles, bindings, wide_roles, wide)
    else {
        hidden.push("who may approve is not shown: you may not list roles and their bindings".to_owned());
        return Ok(None);
    };
    let rules = |of: &RoleRef| match of.kind.as_str() {
        "ClusterRole" => wide_roles.iter().find(|r| r.name_any() == of.name).and_then(|r| r.rules.clone()),
        _ => roles.iter().find(|r| r.name_any() == of.name).and_then(|r| r.rules.clone()),
    };
    let own = bindings.into_iter().map(|b| (b.subjects.unwrap_or_default(), rules(&b.role_ref).unwrap_or_default()));
    let wide = wide.into_iter().map(|b| (b.subjects.unwrap_or_default(), rules(&b.role_ref).unwrap_or_default()));
    Ok(Some(People { bound: own.chain(wide).collect() }))
}

impl People {
    /// Users and groups that may approve in a role. Accounts and users of the system may not, whatever RBAC says.
    pub(super) fn may_approve(&self, cutover: &str, role: &str) -> Vec<String> {
        let grants = |rules: &[PolicyRule]| rules.iter().any(|rule| allows(rule, cutover, role));
        let mut names: Vec<String> = self
            .bound
            .iter()
            .filter(|(_, rules)| grants(rules))
            .flat_map(|(subjects, _)| subjects)
            .filter_map(person)
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

fn person(subject: &Subject) -> Option<String> {
    match subject.kind.as_str() {
        "User" if !subject.name.starts_with("system:") => Some(subject.name.clone()),
        "Group" if subject.name != "system:masters" => Some(format!("group {}", subject.name)),
        _ => None,
    }
}

fn allows(rule: &PolicyRule, cutover: &str, role: &str) -> bool {
    let has = |list: &Option<Vec<String>>, wanted: &[&str]| list.iter().flatten().any(|x| wanted.contains(&x.as_str()));
    let resource = format!("cutovers/{role}");
    let named = rule.resource_names.as_ref().is_none_or(|names| names.is_empty() || names.iter().any(|n| n == cutover));
    let verbs = rule.verbs.iter().any(|v| v == "approve" || v == "*");
    verbs
        && named
        && has(&rule.api_groups, &[OURS, "*"])
        && has(&rule.resources, &[&resource, "*", &format!("*/{role}")])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bindings_say_who_may_approve() {
        let rules = |rules: serde_json::Value| serde_json::from_value::<Vec<PolicyRule>>(rules).expect("rules");
        let subjects = |s: serde_json::Value| serde_json::from_value::<Vec<Subject>>(s).expect("subjects");
        let qa = rules(json!([{"apiGroups": ["cutover.dev"], "resources": ["cutovers/qa"], "verbs": ["approve"]}]));
        let other = rules(
            json!([{"apiGroups": ["cutover.dev"], "resources": ["cutovers/qa"], "verbs": ["approve"], "resourceNames": ["other"]}]),
        );
        let people = People {
            bound: vec![
                (
                    subjects(
                        json!([{"kind": "User", "name": "jane"}, {"kind": "Group", "name": "testers"}, {"kind": "ServiceAccount", "name": "bot"}]),
                    ),
                    qa,
                ),
                (subjects(json!([{"kind": "User", "name": "omar"}])), other),
            ],
        };
        assert_eq!(people.may_approve("shop", "qa"), ["group testers", "jane"]);
        assert_eq!(people.may_approve("other", "qa"), ["group testers", "jane", "omar"]);
        assert_eq!(people.may_approve("shop", "board"), [] as [&str; 0]);
    }
}
