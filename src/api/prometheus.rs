//! Where the metrics of a Cutover come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::http::{HeaderFrom, Scheme};
use super::schema;
use super::step::KeyRef;

/// Where metrics come from: a Service of the namespace, a URL, or a source that the operator's configuration offers to all
/// namespaces. Which one, and its options, are fixed when a run starts; what stands in Secrets, ConfigMaps and the
/// operator's files is read at each query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.service), has(self.url), has(self.name)].filter(x, x).size() == 1",
    "message": "prometheus has exactly one of service, url or name"
}, {
    "rule": "!has(self.name) || !(has(self.scheme) || has(self.caFrom) || has(self.tenant) || has(self.headersFrom))",
    "message": "with name, scheme, caFrom, tenant and headersFrom belong to the operator's configuration"
}, {
    "rule": "!has(self.scheme) || has(self.service)",
    "message": "scheme goes with service; a url has its own"
}]))]
pub struct Prometheus {
    /// A Service of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServicePort>,
    /// A URL, such as `https://prometheus.example.com`; `/api/v1/query` is put behind its path. Private addresses only as
    /// far as the operator's flags allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^https?://"))]
    pub url: Option<String>,
    /// A source of the operator's configuration, such as `monitoring/prometheus`. It has its own address, authority,
    /// token and tenant, so no other field is given with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::source_name")]
    pub name: Option<String>,
    /// How `service` is spoken to; http by default. With https its certificate must be for `SERVICE.NAMESPACE.svc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// Certificate authorities that are trusted for this source, instead of the operator's own; those by default. Read at
    /// each query as the Cutover's ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_from: Option<CaFrom>,
    /// Sent as header `X-Scope-OrgID`, by which servers such as Mimir and Cortex tell tenants apart; not sent by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 150), regex(pattern = "^[!-~]+$"))]
    pub tenant: Option<String>,
    /// Headers with values from Secrets, sent nowhere else; none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub headers_from: Vec<HeaderFrom>,
}

/// Certificate authorities in PEM, one or several, in a key of an object of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.configMap) != has(self.secret)", "message": "caFrom has either configMap or secret"
}]))]
pub struct CaFrom {
    /// In a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeyRef>,
    /// In a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeyRef>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServicePort {
    /// The Service.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}
