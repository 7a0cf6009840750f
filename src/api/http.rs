//! The action `http`: one request and what is expected of the answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use super::step::{Capture, KeyRef, is_false};

/// One request and what is expected of the answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.path), has(self.url), has(self.urlFrom)].filter(x, x).size() == 1", "message": "http has one of path (with to), url, urlFrom"},
    {"rule": "[has(self.body), has(self.bodyFrom), has(self.form), has(self.files)].filter(x, x).size() <= 1 || (has(self.form) && has(self.files) && !has(self.body) && !has(self.bodyFrom))",
     "message": "http has one of body, bodyFrom, form (files may go with form)"}
]))]
pub struct Http {
    /// The target's pods or the live Service; Target before the switch, Live after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<To>,
    /// Path and query; `${…}` is percent-encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^/"))]
    pub path: Option<String>,
    /// A whole URL instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^https?://"))]
    pub url: Option<String>,
    /// A whole URL from a Secret instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<FromSecret>,
    /// GET by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The Service whose port is meant, one of `spec.services`. Needed where two of them have the port; the first Service
    /// that has it by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub service: Option<String>,
    /// The Service port or its name; the first port of the first Service by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    pub port: Option<String>,
    /// http by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The Host header (and server name), never expanded; the address by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = "^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$"))]
    pub host: Option<String>,
    /// One ready pod, or every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<Pods>,
    /// Headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub headers: Vec<Header>,
    /// Headers with values from Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub headers_from: Vec<HeaderFrom>,
    /// The body; `${…}` is escaped as JSON. None by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub body: Option<String>,
    /// The body from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_from: Option<FromSecret>,
    /// Form fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub form: Vec<FormField>,
    /// Files of a multipart form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub files: Vec<FilePart>,
    /// CEL over `status headers body json latency`; any 2xx where none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 512)))]
    pub expect: Vec<String>,
    /// Values kept from the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub capture: Vec<Capture>,
    /// May be sent again when the answer is lost; false by default, GET, HEAD and OPTIONS may always.
    #[serde(default, skip_serializing_if = "is_false")]
    pub idempotent: bool,
}

/// A number of a JSON answer. The request is sent again and again, and must change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.path) != has(self.url)", "message": "http has either path or url"
}]))]
pub struct Endpoint {
    /// Path and query, through the live Service; `${…}` is expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub path: Option<String>,
    /// A URL instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^https?://"))]
    pub url: Option<String>,
    /// One of `spec.services`; by default the first that has the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub service: Option<String>,
    /// The Service port or its name; the first by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    pub port: Option<String>,
    /// http by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// Headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub headers: Vec<Header>,
    /// Headers with values from Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub headers_from: Vec<HeaderFrom>,
    /// Sent by POST; `${…}` is escaped as JSON. By default none, and it is a GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub body: Option<String>,
    /// The JSONPath of the number.
    #[schemars(length(min = 1, max = 256))]
    pub value: String,
}

/// Where a request goes: the target's pods or the live Service. By default `Target` before the switch and `Live` after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum To {
    /// A pod of the target side.
    Target,
    /// The live Service.
    Live,
}

/// Request methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    Get,
    Head,
    Options,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// Whether the method changes nothing by definition (RFC 9110 §9.2.1).
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options)
    }
}

/// Plain or TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

/// With `to: Target`: how many pods are asked; `Any` by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Pods {
    /// One ready pod.
    #[default]
    Any,
    /// Every ready pod; each must meet the expectations.
    All,
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// Its name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Its value; `${…}` is expanded.
    #[schemars(length(max = 2048))]
    pub value: String,
}

/// A header whose value comes from a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeaderFrom {
    /// Its name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Put before the value, such as `Bearer `; nothing by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub prefix: Option<String>,
    /// Where the value is.
    pub secret: KeyRef,
}

/// A text from a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FromSecret {
    /// Where it is.
    pub secret: KeyRef,
}

/// A field of a form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FormField {
    /// Its name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Its value; `${…}` is expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub value: Option<String>,
    /// From a Secret instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeyRef>,
}

/// A file of a multipart form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.configMap) != has(self.secret)", "message": "a file comes from either configMap or secret"
}]))]
pub struct FilePart {
    /// The form field.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// The file's name.
    #[schemars(length(min = 1, max = 255))]
    pub filename: String,
    /// Its media type; application/octet-stream by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub content_type: Option<String>,
    /// From a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeyRef>,
    /// From a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeyRef>,
}
