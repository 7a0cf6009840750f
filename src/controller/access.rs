//! Whether the operator may act as a Cutover's ServiceAccount, and the commands that make it so.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;

use crate::act::call::{CallError, Class, call};
use crate::net::identity::Identity;

/// Who the operator is, for the commands that grant it a right.
pub async fn operator_name(client: &kube::Client) -> Result<String, CallError> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let answer = call(api.create(&PostParams::default(), &SelfSubjectReview::default())).await?;
    Ok(answer.status.and_then(|s| s.user_info).and_then(|u| u.username).unwrap_or_default())
}

/// `None`: the account exists and the operator may act as it. Otherwise what is missing, with the remedy.
pub async fn missing(
    client: &kube::Client,
    identity: &Identity,
    operator: &str,
    namespace: &str,
    account: &str,
) -> Result<Option<String>, CallError> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    match call(accounts.get(account)).await {
        Ok(_) => {}
        Err(e) if e.class == Class::NotFound => {
            let what = format!("ServiceAccount {account} does not exist");
            return Ok(Some(remedy(&what, true, operator, namespace, account)));
        }
        // The operator cannot read ServiceAccounts: whether it may act as this one is still to be seen.
        Err(e) if e.class == Class::Forbidden => {}
        Err(e) => return Err(e),
    }
    // Everybody may ask who he is: a refusal is about impersonation.
    let reviews: Api<SelfSubjectReview> = Api::all(identity.as_account(namespace, account));
    match call(reviews.create(&PostParams::default(), &SelfSubjectReview::default())).await {
        Ok(_) => Ok(None),
        Err(e) if e.class == Class::Forbidden => {
            let what = format!("the operator may not act as ServiceAccount {account}");
            Ok(Some(remedy(&what, false, operator, namespace, account)))
        }
        Err(e) => Err(e),
    }
}

/// The commands, to be pasted as they are. The namespace is a variable of the shell, since a condition's message ends
/// after 1,024 characters.
fn remedy(what: &str, create: bool, operator: &str, namespace: &str, account: &str) -> String {
    let subject = match operator.strip_prefix("system:serviceaccount:").and_then(|s| s.split_once(':')) {
        Some((ns, name)) => format!("--serviceaccount={ns}:{name}"),
        None => format!("--user={operator}"),
    };
    let mut commands = vec![];
    if create {
        let bind =
            |role: &str| format!("kubectl -n $N create rolebinding {role} --role={role} --serviceaccount=$N:{account}");
        let jobs = format!("{account}-jobs");
        commands.push(format!("kubectl -n $N create serviceaccount {account}"));
        commands.push(format!(
            "kubectl -n $N create role {account} --verb=get,patch \
             --resource=services,deployments.apps,statefulsets.apps"
        ));
        commands.push(format!("kubectl -n $N create role {jobs} --verb=get,create,patch,delete --resource=jobs.batch"));
        commands.push(bind(account));
        commands.push(bind(&jobs));
    }
    let role = format!("{account}-impersonate");
    commands.push(format!(
        "kubectl -n $N create role {role} --verb=impersonate --resource=serviceaccounts --resource-name={account}"
    ));
    commands.push(format!("kubectl -n $N create rolebinding {role} --role={role} {subject}"));
    format!("{what}; run: N={namespace}; {}", commands.join(" && "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_fits_a_condition_and_names_the_operator_as_it_is() {
        let operator = "system:serviceaccount:cutover-system:cutover-operator";
        let text = remedy("ServiceAccount cutover does not exist", true, operator, &"n".repeat(40), "cutover");
        assert!(text.len() <= 1024, "{}", text.len());
        assert!(text.ends_with("--serviceaccount=cutover-system:cutover-operator"));
        assert!(remedy("x", false, "admin", "a", "b").ends_with("--user=admin"));
    }
}
