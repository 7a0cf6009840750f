//! The admission policies: whether they stand, are bound and are those of this version, and whether a forgery is denied.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::api::PostParams;
use serde_json::Value;

use super::definitions::told;
use super::model::Line;
use super::topics::{POLICIES_BOUND, POLICIES_PROVEN};
use crate::api::decision::CutoverDecision;
use crate::cli::cluster::{Cluster, Seen};
use crate::cli::exit::Failure;
use crate::cli::rights::{OURS, Right};
use crate::observe::forgery;
use crate::policies::{self, Amiss};

pub(crate) const POLICIES: Right = Right::wish("get", "admissionregistration.k8s.io", "validatingadmissionpolicies");
pub(crate) const BINDINGS: Right =
    Right::wish("get", "admissionregistration.k8s.io", "validatingadmissionpolicybindings");
pub(crate) const FORGE: Right = Right::wish("create", OURS, "cutoverdecisions");

/// A policy and its binding, as far as they are there.
pub(crate) struct Pair {
    name: &'static str,
    ours: &'static str,
    policy: Option<Value>,
    binding: Option<Value>,
}

/// Reads the policies.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn read(cluster: &Cluster) -> Result<Seen<Vec<Pair>>, Failure> {
    let mut all = vec![];
    for (name, ours) in policies::OURS {
        let policy = cluster.wish(cluster.get_global::<ValidatingAdmissionPolicy>(name).await, POLICIES)?;
        let binding = cluster.wish(cluster.get_global::<ValidatingAdmissionPolicyBinding>(name).await, BINDINGS)?;
        let (policy, binding) = match (policy, binding) {
            (Seen::Known(policy), Seen::Known(binding)) => (policy, binding),
            (Seen::Hidden(right), _) | (_, Seen::Hidden(right)) => return Ok(Seen::Hidden(right)),
        };
        let value = |o: Option<serde_json::Result<Value>>| o.and_then(Result::ok);
        let policy = value(policy.map(serde_json::to_value));
        all.push(Pair { name, ours, policy, binding: value(binding.map(serde_json::to_value)) });
    }
    Ok(Seen::Known(all))
}

/// The user name of the operator that the policies let write runs.
pub(crate) fn operator(pairs: &Seen<Vec<Pair>>) -> Option<String> {
    let named = |p: &Pair| p.policy.as_ref().and_then(|p| policies::operators(p).into_iter().next());
    pairs.known()?.iter().find_map(named)
}

/// Whether they stand, for the operator of this user name.
pub(crate) fn bound(pairs: &Seen<Vec<Pair>>, operator: &str) -> Vec<Line> {
    let pairs = match pairs {
        Seen::Known(pairs) => pairs,
        Seen::Hidden(right) => return vec![Line::hidden(POLICIES_BOUND, "the policies", *right, None)],
    };
    let mut lines = vec![];
    for Pair { name, ours, policy, binding } in pairs {
        let (Some(policy), Some(binding)) = (policy, binding) else {
            let message =
                format!("admission policy {name} is missing or not bound, so anybody may forge what it guards");
            lines.push(Line::failed(POLICIES_BOUND, message, policies::REMEDY));
            continue;
        };
        lines.extend(policies::judge(name, ours, policy, binding, operator).iter().map(|amiss| match amiss {
            Amiss::Other(text) => told(POLICIES_BOUND, text, Line::warning),
            Amiss::Weak(text) | Amiss::Owner(text) => told(POLICIES_BOUND, text, Line::failed),
        }));
    }
    if lines.is_empty() {
        let names: Vec<&str> = pairs.iter().map(|p| p.name).collect();
        lines.push(Line::ok(POLICIES_BOUND, format!("{} stand, are bound and deny", names.join(", "))));
    }
    lines
}

/// Sends a forged approval as a dry run: it must be denied.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn proven(cluster: &Cluster) -> Result<Line, Failure> {
    let namespace = cluster.namespace.clone();
    let (api, right) = cluster.api::<CutoverDecision>("create", None, &namespace)?;
    let decision = forgery::decision(forgery::approval("cutover-check", "none", "none", "none"));
    let params = PostParams { dry_run: true, field_manager: None };
    // The answer itself is looked at: which policy denies is what counts.
    let denied = async {
        match api.create(&params, &decision).await {
            Ok(_) => Ok(Answer::Admitted),
            Err(kube::Error::Api(status)) if status.message.contains(forgery::POLICY) => Ok(Answer::Denied),
            Err(e) => Err(e),
        }
    };
    Ok(of_forgery(cluster.call(denied, right, Some(&namespace)).await, &namespace))
}

/// What became of a forgery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Admitted,
    Denied,
}

fn of_forgery(sent: Result<Answer, Failure>, namespace: &str) -> Line {
    match sent {
        Ok(Answer::Admitted) => Line::failed(
            POLICIES_PROVEN,
            format!(
                "a forged approval would be admitted: the policy {} is missing, unbound or weakened",
                forgery::POLICY
            ),
            policies::REMEDY,
        ),
        Ok(Answer::Denied) => Line::ok(POLICIES_PROVEN, "a forged approval, sent as a dry run, is denied"),
        Err(f) if f.missing.is_some() => {
            Line::hidden(POLICIES_PROVEN, "whether a forgery is denied", FORGE, Some(namespace))
        }
        Err(f) => Line::unknown(
            POLICIES_PROVEN,
            format!("a forged approval is not denied by {}: {}", forgery::POLICY, f.says),
            f.next.unwrap_or_else(|| policies::REMEDY.to_owned()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::model::State;

    const OPERATOR: &str = "system:serviceaccount:cutover-system:cutover-operator";

    fn pairs(drop_name: &str) -> Seen<Vec<Pair>> {
        let of = |(name, ours): (&'static str, &'static str)| {
            let mut documents = ours.split("\n---").map(|t| serde_saphyr::from_str::<Value>(t).expect("YAML"));
            let (policy, binding) = (documents.next(), documents.next().filter(|_| name != drop_name));
            Pair { name, ours, policy, binding }
        };
        Seen::Known(policies::OURS.into_iter().map(of).collect())
    }

    #[test]
    fn ours_stand_and_name_their_operator() {
        let all = pairs("");
        assert_eq!(operator(&all).as_deref(), Some(OPERATOR));
        let lines = bound(&all, OPERATOR);
        assert_eq!((lines.len(), lines[0].state), (1, State::Ok), "{lines:?}");
    }

    #[test]
    fn one_that_is_not_bound_and_one_of_another_operator_fail() {
        let lines = bound(&pairs("cutover-decision"), OPERATOR);
        assert!(lines[0].state == State::Failed && lines[0].message.contains("cutover-decision"), "{lines:?}");
        let lines = bound(&pairs(""), "system:serviceaccount:other:cutover-operator");
        assert!(lines[0].state == State::Failed && lines[0].message.contains("another installation"), "{lines:?}");
        assert_eq!(bound(&Seen::Hidden(POLICIES), OPERATOR)[0].state, State::Unknown);
    }

    #[test]
    fn a_forgery_that_is_admitted_fails_and_one_that_cannot_be_tried_is_unknown() {
        assert_eq!(of_forgery(Ok(Answer::Admitted), "prod").state, State::Failed);
        assert_eq!(of_forgery(Ok(Answer::Denied), "prod").state, State::Ok);
        assert_eq!(of_forgery(Err(Failure::new("no such namespace")), "prod").state, State::Unknown);
        let forbidden = Failure { missing: Some(FORGE), ..Failure::new("you may not") };
        let line = of_forgery(Err(forbidden), "prod");
        assert_eq!(
            (line.state, line.missing.as_deref()),
            (State::Unknown, Some("create cutoverdecisions.cutover.dev"))
        );
    }
}
