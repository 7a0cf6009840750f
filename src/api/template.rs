//! `CutoverTemplate` and `ClusterCutoverTemplate`: what many Cutovers share, with parameters.
//!
//! What stands in the phases of a template is kept as it was written, since `${param.NAME}` may stand for a number or a
//! duration too; a Cutover that uses it is checked as a whole before its run starts ([`crate::plan::templates`]).

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema;

/// Steps and triggers for the Cutovers of a namespace.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cutover.dev",
    version = "v1alpha1",
    kind = "CutoverTemplate",
    namespaced,
    shortname = "cuttpl",
    category = "cutover-all",
    printcolumn(name = "Description", type_ = "string", json_path = ".spec.description"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CutoverTemplateSpec {
    /// What it holds.
    #[serde(flatten)]
    pub template: Template,
}

/// Steps and triggers for the Cutovers of all namespaces.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cutover.dev",
    version = "v1alpha1",
    kind = "ClusterCutoverTemplate",
    shortname = "ccuttpl",
    category = "cutover-all",
    printcolumn(name = "Description", type_ = "string", json_path = ".spec.description"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCutoverTemplateSpec {
    /// What it holds.
    #[serde(flatten)]
    pub template: Template,
}

/// What a template of either kind holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// What a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,
    /// What those who use it may or must say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub parameters: Vec<TemplateParameter>,
    /// Steps of phases, by the name of the phase, as in a Cutover: `preflight: {steps: […]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub phases: Option<Value>,
    /// `{triggers: […]}` as in a Cutover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub observe: Option<Value>,
    /// As in a Cutover.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::any_objects")]
    pub follow_up: Vec<Value>,
}

/// A parameter of a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateParameter {
    /// Used as `${param.NAME}`.
    #[schemars(schema_with = "schema::ident")]
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,
    /// What its value must be; String by default.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<ParameterType>,
    /// The value where none is given. Without it, one must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub default: Option<String>,
    /// Regular expression for the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub pattern: Option<String>,
}

/// What the value of a parameter must be; `String` by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ParameterType {
    /// Any text.
    #[default]
    String,
    /// A whole number; a field that holds the parameter alone gets a number.
    Integer,
    /// `true` or `false`; a field that holds the parameter alone gets a boolean.
    Boolean,
}

impl ParameterType {
    /// A value of it.
    pub(crate) const fn typical(self) -> &'static str {
        match self {
            Self::String => "x",
            Self::Integer => "1",
            Self::Boolean => "true",
        }
    }
}

/// A template used by a Cutover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateUse {
    /// `CutoverTemplate` (of the Cutover's namespace, the default) or `ClusterCutoverTemplate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<TemplateKind>,
    /// Its name.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// Where its steps stand in each phase: before the Cutover's own (the default) or after them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<TemplatePlace>,
    /// Values of its parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub parameters: Vec<ParameterValue>,
}

/// Which kind of template; `CutoverTemplate`, of the Cutover's namespace, by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TemplateKind {
    /// Of the Cutover's namespace.
    #[default]
    CutoverTemplate,
    /// Offered to all namespaces.
    ClusterCutoverTemplate,
}

impl TemplateKind {
    /// Its name, as in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CutoverTemplate => "CutoverTemplate",
            Self::ClusterCutoverTemplate => "ClusterCutoverTemplate",
        }
    }
}

/// Where the steps of a template stand; `Before` the Cutover's own by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TemplatePlace {
    /// Before the Cutover's own steps.
    #[default]
    Before,
    /// After the Cutover's own steps.
    After,
}

/// The value of a parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParameterValue {
    /// The parameter.
    #[schemars(schema_with = "schema::ident")]
    pub name: String,
    /// Its value, as text.
    #[schemars(length(max = 4096))]
    pub value: String,
}
