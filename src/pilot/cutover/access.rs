//! PURE. Whether the operator may act as a Cutover's ServiceAccount, and the commands that make it so.

use super::order::{Class, Request};
use super::replay::{Replay, Stop};

/// `None`: the account exists and the operator may act as it. Otherwise what is missing, with the remedy.
pub fn missing(look: &mut Replay<'_>, account: &str) -> Result<Option<String>, Stop> {
    let (operator, namespace) = (&look.setup().operator, &look.key().namespace);
    match look.ask_opt(Request::Account(account.to_owned())) {
        Ok(Some(_)) => {}
        Ok(None) => {
            let what = format!("ServiceAccount {account} does not exist");
            return Ok(Some(remedy(&what, true, operator, namespace, account)));
        }
        // The operator cannot read ServiceAccounts: whether it may act as this one is still to be seen.
        Err(Stop::Fails(failure)) if failure.class == Class::Forbidden => {}
        Err(stop) => return Err(stop),
    }
    // Everybody may ask who he is: a refusal is about impersonation.
    match look.ask(Request::ActAs(account.to_owned())) {
        Ok(_) => Ok(None),
        Err(Stop::Fails(failure)) if failure.class == Class::Forbidden => {
            let what = format!("the operator may not act as ServiceAccount {account}");
            Ok(Some(remedy(&what, false, operator, namespace, account)))
        }
        Err(stop) => Err(stop),
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
