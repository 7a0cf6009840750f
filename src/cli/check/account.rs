//! The account that a Cutover acts as: whether it exists, what it may do, and whether the operator may act as it. And what
//! the user may do.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt;

use super::ask::{self, attributes, may, may_i, within};
use super::facts::Planned;
use super::model::Line;
use super::operator::Place;
use super::topics::{ACCOUNT_EXISTS, ACCOUNT_RIGHTS, IMPERSONATION, YOUR_RIGHTS};
use crate::actions::rights::{act_as, grant};
use crate::api::cutover::Cutover;
use crate::cli::cluster::{Cluster, Seen};
use crate::cli::exit::Failure;
use crate::cli::needs::{self, Rule};
use crate::cli::rights::{OURS, Right};
use crate::plan::Action;

pub(crate) const ACCOUNT: Right = Right::wish("get", "", "serviceaccounts");
/// Verbs on `cutovers/run`, as the policy asks for them.
const VERBS: [&str; 7] = ["abort", "rollback", "retry", "resolve", "suspend", "resume", "revalidate"];
/// Reviews under way at a time.
const AT_ONCE: usize = 8;

/// The lines about the account of a Cutover.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn look(
    cluster: &Cluster,
    cutover: &Cutover,
    planned: Option<&Planned>,
    operator: &Place,
) -> Result<Vec<Line>, Failure> {
    let ns = cutover.namespace().unwrap_or_default();
    let account = match cutover.spec.service_account_name.trim() {
        "" => "cutover",
        name => name,
    };
    let mut lines = vec![];
    let found = cluster.wish(cluster.get::<ServiceAccount>(&ns, account).await, ACCOUNT)?;
    let missing = matches!(found, Seen::Known(None));
    lines.push(match found {
        Seen::Known(Some(_)) => Line::ok(ACCOUNT_EXISTS, format!("ServiceAccount {account} exists")),
        Seen::Known(None) => Line::failed(
            ACCOUNT_EXISTS,
            format!("ServiceAccount {account} does not exist in namespace {ns}"),
            format!("kubectl create serviceaccount {account} -n {ns}"),
        ),
        Seen::Hidden(right) => Line::hidden(ACCOUNT_EXISTS, format!("ServiceAccount {account}"), right, Some(&ns)),
    });
    for account in &cutover.spec.job_service_accounts {
        match cluster.wish(cluster.get::<ServiceAccount>(&ns, account).await, ACCOUNT)? {
            Seen::Known(Some(_)) => {}
            Seen::Known(None) => lines.push(Line::failed(
                ACCOUNT_EXISTS,
                format!("ServiceAccount {account} of spec.jobServiceAccounts does not exist in namespace {ns}"),
                format!("kubectl create serviceaccount {account} -n {ns}, or take it from the list"),
            )),
            Seen::Hidden(right) => {
                lines.push(Line::hidden(ACCOUNT_EXISTS, format!("ServiceAccount {account}"), right, Some(&ns)));
            }
        }
    }
    let what = within(&ns, attributes("impersonate", "", "serviceaccounts", Some(account)));
    lines.push(match may(cluster, &operator.user(), what).await? {
        Seen::Known(true) => Line::ok(IMPERSONATION, format!("the operator may act as {account}")),
        Seen::Known(false) => Line::failed(
            IMPERSONATION,
            format!("the operator may not act as ServiceAccount {account}"),
            act_as(&ns, account, &format!("{}:{}", operator.namespace, operator.account)),
        ),
        Seen::Hidden(right) => Line::hidden(IMPERSONATION, "whether the operator may act as it", right, Some(&ns)),
    });
    if let Some(Planned { spec, plan: Ok(plan) }) = planned
        && !missing
    {
        lines.extend(may_do(cluster, &ns, account, &needs::rules(spec, plan)).await?);
    }
    Ok(lines)
}

/// Asks about every verb of the rules.
async fn may_do(cluster: &Cluster, ns: &str, account: &str, rules: &[Rule]) -> Result<Vec<Line>, Failure> {
    let user = format!("system:serviceaccount:{ns}:{account}");
    let mut asked = vec![];
    for rule in rules {
        for verb in &rule.verbs {
            // Rights to create know no names.
            let names: Vec<Option<&str>> = match rule.names.as_slice() {
                [] => vec![None],
                names => names.iter().map(|n| Some(n.as_str())).collect(),
            };
            asked.extend(names.into_iter().map(|name| (rule, *verb, name)));
        }
    }
    let user = user.as_str();
    let answers: Vec<_> = futures::stream::iter(asked)
        .map(|(rule, verb, name)| async move {
            let what = within(ns, attributes(verb, &rule.group, &rule.resource, name));
            may(cluster, user, what).await.map(|answer| (rule, verb, name, answer))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let count = answers.len();
    let mut lines: Vec<Line> = vec![];
    for (rule, verb, name, answer) in answers {
        match answer {
            Seen::Known(true) => {}
            Seen::Hidden(right) => {
                return Ok(vec![Line::hidden(ACCOUNT_RIGHTS, "what the account may do", right, Some(ns))]);
            }
            Seen::Known(false) => {
                let resource = rule.full_resource();
                let name = name.map(|n| format!(" {n}")).unwrap_or_default();
                let message = format!("ServiceAccount {account} may not {verb} {resource}{name} ({})", rule.why);
                lines.push(Line::failed(ACCOUNT_RIGHTS, message, grant(ns, account, verb, &resource)));
            }
        }
    }
    if lines.is_empty() {
        lines.push(Line::ok(
            ACCOUNT_RIGHTS,
            format!("ServiceAccount {account} has all {count} rights that a run needs"),
        ));
    }
    Ok(lines)
}

/// What the user may do with a Cutover.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn you(cluster: &Cluster, cutover: &Cutover, planned: Option<&Planned>) -> Result<Line, Failure> {
    let ns = cutover.namespace().unwrap_or_default();
    let name = cutover.name_any();
    let account = cutover.spec.service_account_name.trim();
    let account = if account.is_empty() { "cutover" } else { account };
    let own = |verb: &str, resource: &str| within(&ns, attributes(verb, OURS, resource, Some(&name)));
    // The policy asks for the verb on each account that the Cutover or its Jobs act as.
    let accounts = std::iter::once(account).chain(cutover.spec.job_service_accounts.iter().map(String::as_str));
    let uses = accounts.map(|name| within(&ns, attributes("use", "", "serviceaccounts", Some(name))));
    let mut questions =
        vec![("release".to_owned(), std::iter::once(own("patch", "cutovers")).chain(uses).collect::<Vec<_>>())];
    questions.extend(VERBS.iter().map(|verb| ((*verb).to_owned(), vec![own(verb, "cutovers/run")])));
    for role in roles(planned) {
        questions.push((format!("approve as {role}"), vec![own("approve", &format!("cutovers/{role}"))]));
    }
    let words = within(&ns, attributes("create", OURS, "cutoverdecisions", None));
    let mut allowed = vec![];
    let mut denied = vec![];
    for (what, rights) in questions {
        let mut all = true;
        for right in rights {
            match may_i(cluster, right).await? {
                Seen::Known(yes) => all &= yes,
                Seen::Hidden(right) => return Ok(Line::hidden(YOUR_RIGHTS, "what you may do", right, None)),
            }
        }
        if all { allowed.push(what) } else { denied.push(what) }
    }
    let speaks = matches!(may_i(cluster, words).await?, Seen::Known(true));
    Ok(of_rights(&ns, &allowed, &denied, speaks))
}

/// The roles of the approvals of a plan, in their order.
fn roles(planned: Option<&Planned>) -> Vec<String> {
    let plan = planned.and_then(|p| p.plan.as_ref().ok());
    let mut roles: Vec<String> = vec![];
    for step in plan.iter().flat_map(|p| &p.steps) {
        let of_step = match &step.action {
            Action::Approval(approval) => Some(approval),
            _ => None,
        };
        let of_undo = step.undo.as_ref().and_then(|u| u.approval.as_ref());
        for role in of_step.into_iter().chain(of_undo).flat_map(|a| &a.roles) {
            if !roles.contains(&role.name) {
                roles.push(role.name.clone());
            }
        }
    }
    roles
}

fn of_rights(ns: &str, allowed: &[String], denied: &[String], speaks: bool) -> Line {
    let not = match denied {
        [] => String::new(),
        some => format!("; you may not {}", some.join(", ")),
    };
    let decides = allowed.iter().any(|a| a != "release");
    match (allowed, decides && !speaks) {
        (_, true) => Line::warning(
            YOUR_RIGHTS,
            format!("you may {}, and yet create no CutoverDecision, which says it{not}", allowed.join(", ")),
            "",
        )
        .asks(Right::wish("create", OURS, "cutoverdecisions"), Some(ns)),
        ([], _) => Line::ok(YOUR_RIGHTS, "you may look and do nothing else".to_owned()),
        (some, false) => Line::ok(YOUR_RIGHTS, format!("you may {}{not}", some.join(", "))),
    }
}

/// All that is asked here.
pub(crate) const ASKS: [Right; 4] = [ACCOUNT, ask::SELF_REVIEW, ask::REVIEW, ask::LOCAL_REVIEW];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::model::State;

    #[test]
    fn verbs_without_the_right_to_say_them_are_told() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let line = of_rights("prod", &words(&["rollback"]), &words(&["release"]), false);
        assert!(line.state == State::Warning && line.message.contains("CutoverDecision"), "{line:?}");
        let line = of_rights("prod", &words(&["rollback"]), &words(&["release"]), true);
        assert_eq!(line.message, "you may rollback; you may not release");
        assert_eq!(of_rights("prod", &words(&["release"]), &[], false).state, State::Ok);
        assert_eq!(of_rights("prod", &[], &words(&["release"]), false).message, "you may look and do nothing else");
    }
}
