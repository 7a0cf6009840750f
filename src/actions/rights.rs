//! PURE. What to type where a right is missing, for whoever reads what a step or a restore says.

use super::Cx;

/// What to type where the ServiceAccount lacks a right.
pub(crate) fn remedy(cx: &Cx, verb: &str, resource: &str) -> String {
    grant(&cx.plan.namespace, cx.account(), verb, resource)
}

/// The same for an account of a namespace.
pub(crate) fn grant(ns: &str, account: &str, verb: &str, resource: &str) -> String {
    let role = format!("{account}-{verb}-{}", resource.split('.').next().unwrap_or(resource));
    format!(
        "grant ServiceAccount {account} the verb {verb} on {resource}: kubectl create role {role} -n {ns} --verb={verb} \
         --resource={resource} && kubectl create rolebinding {role} -n {ns} --role={role} --serviceaccount={ns}:{account}"
    )
}

/// What to type where the operator may not act as the ServiceAccount.
pub(crate) fn may_act_as(cx: &Cx) -> String {
    act_as(&cx.plan.namespace, cx.account(), "cutover-system:cutover-operator")
}

/// The same for an account of a namespace, and an operator with this account (`NAMESPACE:NAME`).
pub(crate) fn act_as(ns: &str, account: &str, operator: &str) -> String {
    let role = format!("{account}-act-as");
    format!(
        "let the operator act as ServiceAccount {account}: kubectl create role {role} -n {ns} --verb=impersonate \
         --resource=serviceaccounts --resource-name={account} && kubectl create rolebinding {role} -n {ns} --role={role} \
         --serviceaccount={operator}"
    )
}

/// `patch services/web` → `patch`, `services`.
pub fn verb_and_resource(what: &str) -> (&str, &str) {
    let mut words = what.split_whitespace();
    let verb = words.next().unwrap_or("patch");
    (verb, words.next().unwrap_or("services").split('/').next().unwrap_or("services"))
}
