//! PURE. The ValidatingAdmissionPolicies of `deploy/admission`, evaluated over what is to be created, as far as this can be
//! judged without knowing who asks and what he may do.

use std::collections::BTreeMap;

use kube::core::cel::{AdmissionRequest, VapEvaluator, VapExpression};
use serde_json::Value;

use super::objects::Object;
use super::schema::Checked;
use super::{Code, Finding};

const POLICIES: [&str; 5] = [
    include_str!("../../deploy/admission/account.yaml"),
    include_str!("../../deploy/admission/decision.yaml"),
    include_str!("../../deploy/admission/journal.yaml"),
    include_str!("../../deploy/admission/requester.yaml"),
    include_str!("../../deploy/admission/template.yaml"),
];
/// What only the API server knows.
const UNKNOWN: [&str; 2] = ["authorizer", "request.userInfo"];
/// Most variables of a policy that stand in one another.
const MAX_NESTED: usize = 8;

/// A validation that cannot be judged without a cluster, since it depends on who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unjudged {
    /// The policy.
    pub policy: String,
    /// The expression, its variables written out.
    pub expression: String,
}

struct Policy {
    name: String,
    resources: Vec<String>,
    judged: Vec<VapExpression>,
    unjudged: Vec<Unjudged>,
}

/// The validations that are left to the API server.
pub fn unjudged() -> Vec<Unjudged> {
    policies().into_iter().flat_map(|policy| policy.unjudged).collect()
}

/// Checks objects as they would be created.
pub(super) fn check(read: &[(&Object, Checked)], findings: &mut Vec<Finding>) {
    let policies = policies();
    for (object, checked) in read.iter().filter(|(_, checked)| checked.right) {
        let resource = format!("{}s", object.kind.to_lowercase());
        for policy in policies.iter().filter(|p| p.resources.contains(&resource) && !p.judged.is_empty()) {
            let request = AdmissionRequest {
                operation: "CREATE".into(),
                name: object.name.clone(),
                namespace: object.namespace.clone().unwrap_or_default(),
                ..AdmissionRequest::default()
            };
            let evaluator = VapEvaluator::builder().object(checked.value.clone()).request(request).build();
            for result in evaluator.evaluate(&policy.judged).into_iter().filter(|result| !result.passed) {
                let message = format!("{}: {}", policy.name, result.message.unwrap_or_default());
                findings.push(object.finding(Code::Policy, "spec", message, "correct it"));
            }
        }
    }
}

fn policies() -> Vec<Policy> {
    let documents = POLICIES.iter().flat_map(|text| super::yaml::read(text).documents);
    let policies = documents.filter(|document| document.text_at(&["kind"]) == Some("ValidatingAdmissionPolicy"));
    policies.map(|document| policy(&document.to_json())).collect()
}

fn policy(document: &Value) -> Policy {
    let (name, spec) = (document["metadata"]["name"].as_str().unwrap_or_default(), &document["spec"]);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let variables: BTreeMap<String, String> = spec["variables"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|variable| text(&variable["name"]).zip(text(&variable["expression"])))
        .collect();
    let resources = spec["matchConstraints"]["resourceRules"].as_array().into_iter().flatten();
    let resources = resources.flat_map(|rule| rule["resources"].as_array().into_iter().flatten()).filter_map(text);
    let mut out = Policy { name: name.to_owned(), resources: resources.collect(), judged: vec![], unjudged: vec![] };
    for validation in spec["validations"].as_array().into_iter().flatten() {
        let expression = written_out(validation["expression"].as_str().unwrap_or_default(), &variables);
        if UNKNOWN.iter().any(|unknown| expression.contains(unknown)) {
            out.unjudged.push(Unjudged { policy: name.to_owned(), expression });
        } else {
            out.judged.push(VapExpression {
                expression,
                message: text(&validation["message"]),
                message_expression: text(&validation["messageExpression"]).map(|m| written_out(&m, &variables)),
            });
        }
    }
    out
}

/// An expression with its variables in their places.
fn written_out(expression: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = expression.to_owned();
    for _ in 0..MAX_NESTED {
        let Some(at) = out.find("variables.") else { break };
        let rest = &out[at + "variables.".len()..];
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let Some(value) = variables.get(&name) else { break };
        out = out.replace(&format!("variables.{name}"), &format!("({value})"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_to_the_api_server_is_known() {
        let left: Vec<(String, bool)> =
            unjudged().into_iter().map(|u| (u.policy, u.expression.contains("variables."))).collect();
        let count = |name: &str| left.iter().filter(|(policy, _)| policy == name).count();
        let counts =
            ["account", "decision", "journal", "requester", "template"].map(|n| count(&format!("cutover-{n}")));
        assert_eq!(counts, [9, 3, 4, 1, 1]);
        assert!(left.iter().all(|(_, holds)| !holds), "every variable is written out");
        let judged: Vec<String> = policies().into_iter().flat_map(|p| p.judged).map(|j| j.expression).collect();
        assert_eq!(judged.len(), 2, "{judged:?}");
        assert!(judged.iter().all(|expression| expression.contains("request.operation != 'UPDATE'")), "{judged:?}");
    }
}
