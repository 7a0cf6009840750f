//! PURE. Who has written a field of an object, and what may write it again: its managed fields, the file that `kubectl
//! apply` was last given, and the marks that tools leave on what they keep.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use crate::api::FIELD_MANAGER;

/// Where `kubectl apply` keeps the file that it was last given.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A field that a run writes and others may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `spec.selector` of a Service: one field to server-side apply. Its parts are the labels.
    Selector,
    /// `spec.replicas` of a workload, which has no parts.
    Replicas,
    /// The variables of a workload's containers; its parts are their names.
    Environment,
}

/// The fields of a Service that are looked at.
pub(super) const OF_SERVICE: &[Field] = &[Field::Selector];
/// The fields of a workload that are looked at.
pub(super) const OF_WORKLOAD: &[Field] = &[Field::Replicas, Field::Environment];

/// Somebody else than the operator who has written a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The field manager.
    pub manager: String,
    /// By server-side apply.
    pub applies: bool,
    /// Through a subresource, such as `scale`.
    pub through: Option<String>,
    /// When it last changed anything that it owns.
    pub at: Option<Timestamp>,
    /// The parts that it has written, where the managed fields tell parts apart.
    pub parts: BTreeSet<String>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.manager, if self.applies { "Apply" } else { "Update" })?;
        match self.at {
            Some(at) => write!(f, " at {at:.0})"),
            None => write!(f, ")"),
        }
    }
}

/// A tool that keeps objects as Git has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    ArgoCd,
    Flux,
    Helm,
}

/// Who has written a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// The operator itself left out.
    pub owners: Vec<Owner>,
    /// The parts that stand in the file that `kubectl apply` was last given; `replicas` for a field without parts.
    pub filed: BTreeSet<String>,
}

/// Who keeps what of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Whose marks it carries.
    pub tool: Option<Tool>,
    /// By field.
    pub fields: BTreeMap<Field, Ownership>,
}

impl Kept {
    /// Who keeps these fields of an object.
    pub(super) fn of(meta: &ObjectMeta, fields: &[Field]) -> Self {
        let entries = meta.managed_fields.as_deref().unwrap_or_default();
        let last = meta.annotations.as_ref().and_then(|a| a.get(LAST_APPLIED));
        let last: Value = last.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let ownership = |field: Field| Ownership {
            owners: entries.iter().filter_map(|entry| owner(entry, field)).collect(),
            filed: filed(&last, field),
        };
        Self { tool: tool(meta), fields: fields.iter().map(|field| (*field, ownership(*field))).collect() }
    }

    /// Who else has written a field last.
    pub fn last(&self, field: Field) -> Option<&Owner> {
        self.fields.get(&field)?.owners.iter().max_by_key(|owner| owner.at)
    }
}

fn tool(meta: &ObjectMeta) -> Option<Tool> {
    let value = |key: &str| {
        let of = |map: &Option<BTreeMap<String, String>>| map.as_ref().and_then(|m| m.get(key)).cloned();
        of(&meta.labels).or_else(|| of(&meta.annotations))
    };
    let marked = |keys: [&str; 2]| keys.into_iter().any(|key| value(key).is_some());
    if marked(["argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance"]) {
        return Some(Tool::ArgoCd);
    }
    if marked(["kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"]) {
        return Some(Tool::Flux);
    }
    (value("app.kubernetes.io/managed-by").as_deref() == Some("Helm")).then_some(Tool::Helm)
}

fn owner(entry: &ManagedFieldsEntry, field: Field) -> Option<Owner> {
    let manager = entry.manager.clone().filter(|m| m != FIELD_MANAGER)?;
    let fields = &entry.fields_v1.as_ref()?.0;
    let parts = match field {
        Field::Selector => fields.pointer("/f:spec/f:selector").map(|_| BTreeSet::new())?,
        Field::Replicas => fields.pointer("/f:spec/f:replicas").map(|_| BTreeSet::new())?,
        Field::Environment => Some(variables(fields)).filter(|names| !names.is_empty())?,
    };
    Some(Owner {
        manager,
        applies: entry.operation.as_deref() == Some("Apply"),
        through: entry.subresource.clone().filter(|s| !s.is_empty()),
        at: entry.time.as_ref().map(|t| t.0),
        parts,
    })
}

/// The names of the variables in managed fields: elements of `env` are told apart by `k:{"name":"MODE"}`.
fn variables(fields: &Value) -> BTreeSet<String> {
    let lists = ["f:containers", "f:initContainers"];
    let containers = lists.into_iter().filter_map(|l| fields["f:spec"]["f:template"]["f:spec"][l].as_object());
    let envs = containers.flat_map(|all| all.values()).filter_map(|c| c["f:env"].as_object());
    let key = |key: &String| {
        let key: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
        key["name"].as_str().map(str::to_owned)
    };
    envs.flat_map(|env| env.keys()).filter_map(key).collect()
}

/// What of a field stands in a file.
fn filed(file: &Value, field: Field) -> BTreeSet<String> {
    match field {
        Field::Selector => file["spec"]["selector"].as_object().into_iter().flat_map(|s| s.keys().cloned()).collect(),
        Field::Replicas if file["spec"]["replicas"].is_number() => ["replicas".to_owned()].into(),
        Field::Replicas => BTreeSet::new(),
        Field::Environment => {
            let lists = ["containers", "initContainers"];
            let containers =
                lists.into_iter().filter_map(|list| file["spec"]["template"]["spec"][list].as_array()).flatten();
            let variables = containers.filter_map(|c| c["env"].as_array()).flatten();
            variables.filter_map(|v| v["name"].as_str().map(str::to_owned)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).expect("metadata")
    }

    fn entry(manager: &str, operation: &str, at: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "time": at, "fieldsType": "FieldsV1",
            "fieldsV1": fields})
    }

    #[test]
    fn whoever_else_wrote_a_field_last_is_known() {
        let selector = json!({"f:spec": {"f:selector": {}}});
        let kept = Kept::of(
            &meta(json!({"managedFields": [
                entry("kubectl-patch", "Update", "2026-03-01T10:00:00Z", selector.clone()),
                entry("argocd-controller", "Apply", "2026-03-01T11:00:00Z", selector.clone()),
                entry("cutover", "Update", "2026-03-01T12:00:00Z", selector),
                entry("kubelet", "Update", "2026-03-01T13:00:00Z", json!({"f:spec": {"f:ports": {}}})),
            ]})),
            OF_SERVICE,
        );
        let last = kept.last(Field::Selector).map(ToString::to_string);
        assert_eq!(last.as_deref(), Some("argocd-controller (Apply at 2026-03-01T11:00:00Z)"));
        assert_eq!(Kept::of(&meta(json!({})), OF_SERVICE).last(Field::Selector), None);
    }

    #[test]
    fn replicas_and_variables_are_told_apart_and_so_is_what_a_file_has() {
        let env = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {
            "f:env": {".": {}, "k:{\"name\":\"MODE\"}": {".": {}, "f:name": {}}}}}}}}});
        let file = json!({"spec": {"replicas": 2, "template": {"spec": {"containers": [{"env": [{"name": "A"}]}]}}}});
        let mut scaled =
            entry("kube-controller-manager", "Update", "2026-03-01T10:00:00Z", json!({"f:spec": {"f:replicas": {}}}));
        scaled["subresource"] = "scale".into();
        let kept = Kept::of(
            &meta(json!({"managedFields": [entry("helm", "Apply", "2026-03-01T10:00:00Z", env), scaled],
                "annotations": {LAST_APPLIED: file.to_string()}})),
            OF_WORKLOAD,
        );
        let of = |field| &kept.fields[&field];
        assert!(of(Field::Replicas).owners.iter().all(|o| o.through.as_deref() == Some("scale")));
        assert_eq!(of(Field::Replicas).filed, ["replicas".to_owned()].into());
        assert_eq!(of(Field::Environment).owners[0].parts, ["MODE".to_owned()].into());
        assert_eq!(of(Field::Environment).filed, ["A".to_owned()].into());
    }

    #[test]
    fn a_tool_is_known_by_its_marks() {
        let of = |value: Value| Kept::of(&meta(value), OF_SERVICE).tool;
        assert_eq!(of(json!({"annotations": {"argocd.argoproj.io/tracking-id": "x"}})), Some(Tool::ArgoCd));
        assert_eq!(of(json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}})), Some(Tool::Flux));
        assert_eq!(of(json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}})), Some(Tool::Helm));
        assert_eq!(of(json!({"labels": {"app.kubernetes.io/managed-by": "jane"}})), None);
    }
}
