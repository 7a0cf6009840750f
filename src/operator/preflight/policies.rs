//! Whether the admission policies of this version stand, and whose they are. They belong to the whole cluster, and name the
//! one operator that may write runs and status: so a second installation is found, and finds itself out.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Finding, Weight};
use crate::act::call::{CallError, Class, call};

/// The policies of this version, by name.
pub(crate) const OURS: [(&str, &str); 5] = [
    ("cutover-account", include_str!("../../../deploy/admission/account.yaml")),
    ("cutover-decision", include_str!("../../../deploy/admission/decision.yaml")),
    ("cutover-journal", include_str!("../../../deploy/admission/journal.yaml")),
    ("cutover-requester", include_str!("../../../deploy/admission/requester.yaml")),
    ("cutover-template", include_str!("../../../deploy/admission/template.yaml")),
];
/// Variables that an installation sets for itself.
const SETTINGS: [&str; 3] = ["operators", "systemApprovers", "gitops"];
pub(crate) const REMEDY: &str = "installed with Helm: upgrade the chart; otherwise: kubectl apply --server-side -k deploy/admission of this version";

/// Looks at them as the operator of this user name.
pub async fn look(client: &Client, operator: &str) -> Result<Vec<Finding>, CallError> {
    let mut found = vec![];
    for (name, text) in OURS {
        let (policy, binding) = tokio::join!(
            get::<ValidatingAdmissionPolicy>(client, name),
            get::<ValidatingAdmissionPolicyBinding>(client, name)
        );
        let (Some(policy), Some(binding)) = (policy?, binding?) else {
            let text = format!(
                "admission policy {name} is missing or not bound, so anybody may forge what it guards: {REMEDY}"
            );
            found.push(Finding::new(Weight::NotReady, text));
            continue;
        };
        // Without the right to look there is nothing to compare; the missing right is told.
        let (Reading::Is(policy), Reading::Is(binding)) = (policy, binding) else { continue };
        found.extend(judge(name, text, &policy, &binding, operator));
    }
    Ok(found)
}

enum Reading {
    Is(Value),
    Forbidden,
}

async fn get<K>(client: &Client, name: &str) -> Result<Option<Reading>, CallError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let invalid = |e: serde_json::Error| CallError::invalid(e.to_string());
    match call(Api::<K>::all(client.clone()).get(name)).await {
        Ok(object) => serde_json::to_value(object).map(|v| Some(Reading::Is(v))).map_err(invalid),
        Err(e) if e.class == Class::NotFound => Ok(None),
        Err(e) if e.class == Class::Forbidden => Ok(Some(Reading::Forbidden)),
        Err(e) => Err(e),
    }
}

/// What is amiss with a policy and its binding, for the operator of this user name. `ours`: the text of this version.
pub(crate) fn judge(name: &str, ours: &str, policy: &Value, binding: &Value, operator: &str) -> Vec<Finding> {
    let mut found = vec![];
    if let Some(owners) = setting(policy, "operators")
        && !owners.contains(&format!("\"{operator}\""))
    {
        let text = format!(
            "another installation owns this cluster: admission policy {name} lets {owners} write runs, and this operator is \
             {operator}. One installation serves all namespaces: remove this one, or make it the owner (uninstall the \
             other, then apply this one again)"
        );
        found.push(Finding::new(Weight::MayNotWrite, text));
    }
    let denies = binding["spec"]["validationActions"].as_array().is_some_and(|list| list.iter().any(|a| a == "Deny"));
    if policy["spec"]["failurePolicy"] == "Ignore" || !denies || binding["spec"]["policyName"] != name {
        let text = format!("admission policy {name} does not deny (failurePolicy, validationActions): {REMEDY}");
        found.push(Finding::new(Weight::NotReady, text));
    }
    let mut documents = ours.split("\n---").filter_map(|text| serde_saphyr::from_str::<Value>(text).ok());
    let wanted = documents.next().unwrap_or_default();
    if !covers(&policy["spec"], &wanted["spec"]) || !everything(&binding["spec"]) {
        let text = format!("admission policy {name}, or its binding, is not that of this version: {REMEDY}");
        found.push(Finding::new(Weight::Told, text));
    }
    found
}

/// The text of a variable that an installation sets.
fn setting<'a>(policy: &'a Value, name: &str) -> Option<&'a str> {
    let variables = policy["spec"]["variables"].as_array()?;
    variables.iter().find(|v| v["name"] == name)?["expression"].as_str()
}

/// The user names that a policy lets write runs and status; none where it names none.
pub(crate) fn operators(policy: &Value) -> Vec<String> {
    // A list of plain texts is written alike in CEL and in JSON.
    setting(policy, "operators").and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default()
}

/// Whether a binding takes everything in: one with a selector leaves something out.
fn everything(spec: &Value) -> bool {
    let all = |v: &Value| v.is_null() || v.as_object().is_some_and(serde_json::Map::is_empty);
    let resources = &spec["matchResources"];
    all(&resources["namespaceSelector"])
        && all(&resources["objectSelector"])
        && resources["excludeResourceRules"].is_null()
}

/// Whether all that `ours` says stands in `theirs`, where the API server has filled in what we left out.
fn covers(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::Object(t), Value::Object(o)) => {
            let set = |v: &serde_json::Map<String, Value>| {
                v.get("name").and_then(Value::as_str).is_some_and(|n| SETTINGS.contains(&n))
            };
            if set(t) && set(o) {
                return t.get("name") == o.get("name");
            }
            o.iter().all(|(key, ours)| t.get(key).is_some_and(|theirs| covers(theirs, ours)))
        }
        (Value::Array(t), Value::Array(o)) => t.len() == o.len() && t.iter().zip(o).all(|(t, o)| covers(t, o)),
        (Value::String(t), Value::String(o)) => t.trim() == o.trim(),
        _ => theirs == ours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const OPERATOR: &str = "system:serviceaccount:cutover-system:cutover-operator";

    fn pair(name: &str) -> (Value, Value, &'static str) {
        let text = OURS.iter().find(|(n, _)| *n == name).expect("ours").1;
        let mut documents = text.split("\n---").map(|t| serde_saphyr::from_str::<Value>(t).expect("YAML"));
        let (mut policy, binding) = (documents.next().expect("policy"), documents.next().expect("binding"));
        // As the API server fills it in.
        policy["spec"]["matchConstraints"]["matchPolicy"] = json!("Equivalent");
        policy["spec"]["matchConstraints"]["resourceRules"][0]["scope"] = json!("*");
        (policy, binding, text)
    }

    fn weights(name: &str, change: impl FnOnce(&mut Value, &mut Value), operator: &str) -> Vec<Weight> {
        let (mut policy, mut binding, text) = pair(name);
        change(&mut policy, &mut binding);
        judge(name, text, &policy, &binding, operator).into_iter().map(|f| f.weight).collect()
    }

    #[test]
    fn ours_pass_as_the_api_server_shows_them() {
        for (name, _) in OURS {
            assert_eq!(weights(name, |_, _| (), OPERATOR), vec![], "{name}");
        }
        let setting = |policy: &mut Value, _: &mut Value| {
            policy["spec"]["variables"][0]["expression"] = json!(format!("[\"{OPERATOR}\",\"jane\"]"));
        };
        assert_eq!(weights("cutover-journal", setting, OPERATOR), vec![], "one more writer is a setting");
        let (policy, ..) = pair("cutover-journal");
        assert_eq!(operators(&policy), [OPERATOR]);
        let (none, ..) = pair("cutover-account");
        assert!(operators(&none).is_empty());
    }

    #[test]
    fn a_second_installation_finds_itself_out() {
        let other = "system:serviceaccount:elsewhere:cutover-operator";
        assert_eq!(weights("cutover-journal", |_, _| (), other), [Weight::MayNotWrite]);
        assert_eq!(
            weights("cutover-journal", |_, _| (), "system:serviceaccount:cutover-system:cutover"),
            [Weight::MayNotWrite]
        );
    }

    #[test]
    fn weakened_policies_are_told() {
        let ignored = |p: &mut Value, _: &mut Value| p["spec"]["failurePolicy"] = json!("Ignore");
        assert_eq!(weights("cutover-account", ignored, OPERATOR), [Weight::NotReady, Weight::Told]);
        let audited = |_: &mut Value, b: &mut Value| b["spec"]["validationActions"] = json!(["Audit"]);
        assert_eq!(weights("cutover-account", audited, OPERATOR), [Weight::NotReady]);
        let fewer = |p: &mut Value, _: &mut Value| drop(p["spec"]["validations"].as_array_mut().map(Vec::pop));
        assert_eq!(weights("cutover-decision", fewer, OPERATOR), [Weight::Told]);
        let partial = |_: &mut Value, b: &mut Value| {
            b["spec"]["matchResources"] = json!({"namespaceSelector": {"matchLabels": {"a": "b"}}});
        };
        assert_eq!(weights("cutover-decision", partial, OPERATOR), [Weight::Told]);
    }
}
