//! PURE. The admission policies of this version, and what is amiss with those that a cluster has. They belong to the whole
//! cluster, and name the one operator that may write runs and status: so a second installation is found, and finds itself
//! out.

use serde_json::Value;

/// The policies of this version, by name.
pub(crate) const OURS: [(&str, &str); 5] = [
    ("cutover-account", include_str!("../deploy/admission/account.yaml")),
    ("cutover-decision", include_str!("../deploy/admission/decision.yaml")),
    ("cutover-journal", include_str!("../deploy/admission/journal.yaml")),
    ("cutover-requester", include_str!("../deploy/admission/requester.yaml")),
    ("cutover-template", include_str!("../deploy/admission/template.yaml")),
];
/// Those without which anybody may say anything in another's name, or write a journal.
pub(crate) const GUARDS: [&str; 2] = ["cutover-decision", "cutover-journal"];
/// Variables that an installation sets for itself.
const SETTINGS: [&str; 3] = ["operators", "systemApprovers", "gitops"];
pub(crate) const REMEDY: &str = "installed with Helm: upgrade the chart; otherwise: kubectl apply --server-side -k deploy/admission of this version";

/// Something amiss with a policy or its binding, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Amiss {
    /// It lets another operator write, and not this one.
    Owner(String),
    /// It denies nothing.
    Weak(String),
    /// It is not that of this version.
    Other(String),
}

impl Amiss {
    /// What it is, and what to do.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Owner(text) | Self::Weak(text) | Self::Other(text) => text,
        }
    }
}

/// What is amiss with a policy and its binding, for the operator of this user name. `ours`: the text of this version.
pub(crate) fn judge(name: &str, ours: &str, policy: &Value, binding: &Value, operator: &str) -> Vec<Amiss> {
    let mut found = vec![];
    if let Some(owners) = setting(policy, "operators")
        && !owners.contains(&format!("\"{operator}\""))
    {
        let text = format!(
            "another installation owns this cluster: admission policy {name} lets {owners} write runs, and this operator is \
             {operator}. One installation serves all namespaces: remove this one, or make it the owner (uninstall the \
             other, then apply this one again)"
        );
        found.push(Amiss::Owner(text));
    }
    let denies = binding["spec"]["validationActions"].as_array().is_some_and(|list| list.iter().any(|a| a == "Deny"));
    if policy["spec"]["failurePolicy"] == "Ignore" || !denies || binding["spec"]["policyName"] != name {
        let text = format!("admission policy {name} does not deny (failurePolicy, validationActions): {REMEDY}");
        found.push(Amiss::Weak(text));
    }
    let mut documents = ours.split("\n---").filter_map(|text| serde_saphyr::from_str::<Value>(text).ok());
    let wanted = documents.next().unwrap_or_default();
    if !covers(&policy["spec"], &wanted["spec"]) || !everything(&binding["spec"]) {
        let text = format!("admission policy {name}, or its binding, is not that of this version: {REMEDY}");
        found.push(Amiss::Other(text));
    }
    found
}

/// That one of them is not there, or nothing binds it.
pub(crate) fn missing(name: &str) -> Amiss {
    Amiss::Weak(format!(
        "admission policy {name} is missing or not bound, so anybody may forge what it guards: {REMEDY}"
    ))
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

    fn amiss(name: &str, change: impl FnOnce(&mut Value, &mut Value), operator: &str) -> Vec<&'static str> {
        let (mut policy, mut binding, text) = pair(name);
        change(&mut policy, &mut binding);
        let kind = |amiss| match amiss {
            Amiss::Owner(_) => "owner",
            Amiss::Weak(_) => "weak",
            Amiss::Other(_) => "other",
        };
        judge(name, text, &policy, &binding, operator).into_iter().map(kind).collect()
    }

    #[test]
    fn ours_pass_as_the_api_server_shows_them() {
        for (name, _) in OURS {
            assert_eq!(amiss(name, |_, _| (), OPERATOR), [""; 0], "{name}");
        }
        let setting = |policy: &mut Value, _: &mut Value| {
            policy["spec"]["variables"][0]["expression"] = json!(format!("[\"{OPERATOR}\",\"jane\"]"));
        };
        assert_eq!(amiss("cutover-journal", setting, OPERATOR), [""; 0], "one more writer is a setting");
        let (policy, ..) = pair("cutover-journal");
        assert_eq!(operators(&policy), [OPERATOR]);
        let (none, ..) = pair("cutover-account");
        assert!(operators(&none).is_empty());
    }

    #[test]
    fn a_second_installation_finds_itself_out() {
        let other = "system:serviceaccount:elsewhere:cutover-operator";
        assert_eq!(amiss("cutover-journal", |_, _| (), other), ["owner"]);
        assert_eq!(amiss("cutover-journal", |_, _| (), "system:serviceaccount:cutover-system:cutover"), ["owner"]);
    }

    #[test]
    fn weakened_policies_are_told() {
        let ignored = |p: &mut Value, _: &mut Value| p["spec"]["failurePolicy"] = json!("Ignore");
        assert_eq!(amiss("cutover-account", ignored, OPERATOR), ["weak", "other"]);
        let audited = |_: &mut Value, b: &mut Value| b["spec"]["validationActions"] = json!(["Audit"]);
        assert_eq!(amiss("cutover-account", audited, OPERATOR), ["weak"]);
        let fewer = |p: &mut Value, _: &mut Value| drop(p["spec"]["validations"].as_array_mut().map(Vec::pop));
        assert_eq!(amiss("cutover-decision", fewer, OPERATOR), ["other"]);
        let partial = |_: &mut Value, b: &mut Value| {
            b["spec"]["matchResources"] = json!({"namespaceSelector": {"matchLabels": {"a": "b"}}});
        };
        assert_eq!(amiss("cutover-decision", partial, OPERATOR), ["other"]);
    }
}
