//! PURE. Where a plan's metrics come from: what a Cutover says, checked against what the operator's configuration offers.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::http::Scheme;
use crate::api::prometheus::Prometheus;

use super::refuse::Refusals;
use super::request;
use super::scope::{self, Scope};

/// The header that `tenant` is.
const TENANT: &str = "x-scope-orgid";

/// Sources of metrics that the operator's configuration offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Their names.
    pub names: BTreeSet<String>,
    /// The one for Cutovers that name none.
    pub default: Option<String>,
    /// The namespaces of those that are not offered to all.
    pub only: BTreeMap<String, BTreeSet<String>>,
    /// Receivers of notifications.
    pub receivers: Receivers,
}

/// Receivers of notifications that the operator's configuration offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receivers {
    /// Their names.
    pub names: BTreeSet<String>,
    /// The namespaces of those that are not offered to all.
    pub only: BTreeMap<String, BTreeSet<String>>,
}

impl Receivers {
    /// Those that Cutovers of a namespace may name.
    pub(super) fn of<'a>(&'a self, namespace: &str) -> Vec<&'a str> {
        let offered = |name: &&String| self.only.get(*name).is_none_or(|only| only.contains(namespace));
        self.names.iter().filter(offered).map(String::as_str).collect()
    }
}

impl Offered {
    /// Whether Cutovers of a namespace may name it.
    fn offers(&self, name: &str, namespace: &str) -> bool {
        self.names.contains(name) && self.only.get(name).is_none_or(|only| only.contains(namespace))
    }

    /// What is offered to a namespace, in words.
    fn list(&self, namespace: &str) -> String {
        let names = self.names.iter().filter(|name| self.offers(name, namespace));
        let names: Vec<&str> = names.map(String::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

/// What the plan holds: what the Cutover says, or else the default by its name, where that is offered to the namespace.
pub(super) fn resolve(
    given: Option<&Prometheus>,
    namespace: &str,
    offered: &Offered,
    refusals: &mut Refusals,
) -> Option<Prometheus> {
    let Some(given) = given else {
        let default = offered.default.clone().filter(|name| offered.offers(name, namespace));
        return default.map(|name| Prometheus { name: Some(name), ..Prometheus::default() });
    };
    check(given, "spec.prometheus", namespace, offered, refusals);
    Some(given.clone())
}

/// Checks where a source of metrics or of alerts is said to be, in the field `at`.
pub(super) fn check(given: &Prometheus, at: &str, namespace: &str, offered: &Offered, refusals: &mut Refusals) {
    let what = at.rsplit('.').next().unwrap_or(at);
    let places = [given.service.is_some(), given.url.is_some(), given.name.is_some()];
    if places.into_iter().filter(|p| *p).count() != 1 {
        let message = format!("{what} has exactly one of service, url or name");
        return refusals.add(at, message, "give exactly one of them");
    }
    if let Some(name) = &given.name {
        check_name(name, given, at, namespace, offered, refusals);
        return;
    }
    if let Some(url) = &given.url {
        refusals.require(
            !url.contains("${"),
            format!("{at}.url"),
            "variables are not expanded here",
            "write the URL out",
        );
        request::check_url(url, &format!("{at}.url"), refusals);
        refusals.require(
            given.scheme.is_none(),
            format!("{at}.scheme"),
            "scheme goes with service, and the URL has its own",
            "leave scheme out and begin the URL with https:// or http://",
        );
    }
    let tls = given.scheme == Some(Scheme::Https) || given.url.as_ref().is_some_and(|url| url.starts_with("https://"));
    if let Some(from) = &given.ca_from {
        refusals.require(
            from.config_map.is_some() != from.secret.is_some(),
            format!("{at}.caFrom"),
            "caFrom has either configMap or secret",
            "give exactly one of them",
        );
        refusals.require(
            tls,
            format!("{at}.caFrom"),
            "without https there is no certificate to check",
            "set scheme: https for a service, begin a URL with https://, or leave caFrom out",
        );
    }
    if let Some(tenant) = &given.tenant {
        refusals.require(
            is_tenant(tenant),
            format!("{at}.tenant"),
            "this cannot be the value of a header",
            "use 1 to 150 printable ASCII characters without spaces",
        );
        refusals.require(
            !given.headers_from.iter().any(|h| h.name.eq_ignore_ascii_case(TENANT)),
            format!("{at}.tenant"),
            "headersFrom gives the header X-Scope-OrgID too",
            "give the tenant once",
        );
    }
    request::check_headers_from(&given.headers_from, at, refusals);
}

fn check_name(name: &str, given: &Prometheus, at: &str, namespace: &str, offered: &Offered, refusals: &mut Refusals) {
    let others = [
        ("scheme", given.scheme.is_some()),
        ("caFrom", given.ca_from.is_some()),
        ("tenant", given.tenant.is_some()),
        ("headersFrom", !given.headers_from.is_empty()),
    ];
    for (field, _) in others.into_iter().filter(|(_, there)| *there) {
        refusals.add(
            format!("{at}.{field}"),
            format!("{field} of a source with a name belongs to the operator's configuration"),
            "leave it out here, or name the place by service or url",
        );
    }
    refusals.require(
        offered.offers(name, namespace),
        format!("{at}.name"),
        format!(
            "the operator's configuration has no source {name:?} for namespace {namespace}; it offers: {}",
            offered.list(namespace)
        ),
        "name one that is offered, or have this one added to the operator's configuration (chart value \
         prometheus.sources)",
    );
}

/// Whether a text can be the value of the tenant's header.
pub(crate) fn is_tenant(text: &str) -> bool {
    (1..=150).contains(&text.len()) && text.bytes().all(|b| (b'!'..=b'~').contains(&b))
}

/// Refuses empty queries and variables, which are never put into a query language.
pub(super) fn check_query(query: &str, field: &str, scope: &Scope, refusals: &mut Refusals) {
    refusals.require(!query.trim().is_empty(), field, "the query is empty", "write PromQL that gives one number");
    refusals.require(
        !scope::holds_variable(query, scope),
        field,
        "variables are not expanded in queries",
        "write the value out, or compare with captures.<name> in expect",
    );
}

/// Refuses a metric where no Prometheus is known.
pub(super) fn needs_prometheus(has_prometheus: bool, at: &str, refusals: &mut Refusals) {
    refusals.require(
        has_prometheus,
        at,
        "no Prometheus is known",
        "set spec.prometheus, or have the operator's configuration name a default (chart value prometheus.default)",
    );
}
