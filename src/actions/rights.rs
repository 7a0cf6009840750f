//! PURE. What to type where a right is missing, for whoever reads what a step or a restore says.

use super::Cx;

/// What to type where the ServiceAccount lacks a right.
pub(crate) fn remedy(cx: &Cx, verb: &str, resource: &str) -> String {
    let (ns, account) = (&cx.plan.namespace, cx.account());
    let role = format!("{account}-{verb}-{}", resource.split('.').next().unwrap_or(resource));
    format!(
        "grant ServiceAccount {account} the verb {verb} on {resource}: kubectl create role {role} -n {ns} --verb={verb} \
         --resource={resource} && kubectl create rolebinding {role} -n {ns} --role={role} --serviceaccount={ns}:{account}"
    )
}

/// What to type where the operator may not act as the ServiceAccount.
pub(crate) fn may_act_as(cx: &Cx) -> String {
    let (ns, account) = (&cx.plan.namespace, cx.account());
    let role = format!("{account}-act-as");
    format!(
        "let the operator act as ServiceAccount {account}: kubectl create role {role} -n {ns} --verb=impersonate \
         --resource=serviceaccounts --resource-name={account} && kubectl create rolebinding {role} -n {ns} --role={role} \
         --serviceaccount=cutover-system:cutover-operator"
    )
}

/// `patch services/web` → `patch`, `services`.
pub fn verb_and_resource(what: &str) -> (&str, &str) {
    let mut words = what.split_whitespace();
    let verb = words.next().unwrap_or("patch");
    (verb, words.next().unwrap_or("services").split('/').next().unwrap_or("services"))
}
