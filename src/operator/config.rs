//! The operator's configuration: a YAML file, read at the start. What it does not know, and what could not work, is refused
//! by its field.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use super::push::{self, Pushes};
use crate::api::step::Scheme;
use crate::net::outgoing::Outgoing;
use crate::net::sources::{Enforce, Source, Sources, Spot};
use crate::plan::metrics::is_tenant;
use crate::plan::{Offered, Receivers};

mod notifications;

/// Where Prometheus listens unless the configuration says.
const PORT: u16 = 9090;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Sources of metrics.
    pub sources: Sources,
    /// What Cutovers may name.
    pub offered: Offered,
    /// Who may push.
    pub pushes: Option<Pushes>,
    /// Receivers of notifications, and the proxy.
    pub outgoing: Outgoing,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    prometheus: Value,
    #[serde(default)]
    pushes: Value,
    #[serde(default)]
    notifications: Value,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPrometheus {
    /// The source of Cutovers that name none.
    #[serde(default)]
    default: Option<String>,
    #[serde(default)]
    sources: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenSource {
    /// What Cutovers write. Without `url` and `service`: NAMESPACE/SERVICE.
    name: String,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    service: Option<WrittenService>,
    /// Of the Service that `name` names.
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    scheme: Option<Scheme>,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    bearer_token_file: Option<PathBuf>,
    #[serde(default)]
    tenant: Option<String>,
    /// Whose Cutovers may ask it; all where it is absent.
    #[serde(default)]
    namespaces: Option<Vec<String>>,
    #[serde(default)]
    enforce: Option<WrittenEnforce>,
}

/// As what the namespace of a Cutover is sent with its queries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEnforce {
    #[serde(default)]
    header: Option<String>,
    #[serde(default)]
    parameter: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenService {
    namespace: String,
    name: String,
    #[serde(default)]
    port: Option<u16>,
}

/// Reads the file. Files that it names and that cannot be read yet are warned of, since a query reads them anew.
///
/// # Errors
/// When the file cannot be read or is refused: the field, what is wrong with it, and what to write.
pub fn load(path: &Path) -> anyhow::Result<Config> {
    let at = || format!("--config {}", path.display());
    let text = std::fs::read_to_string(path).with_context(at)?;
    let config = parse(&text).map_err(anyhow::Error::msg).with_context(at)?;
    for (name, source) in config.sources.iter() {
        tracing::info!(source = name, default = config.offered.default.as_ref() == Some(name), "a source of metrics");
        for why in source.unreadable() {
            tracing::warn!(source = name, "{why}; queries of this source are inconclusive until it can");
        }
    }
    for (name, offer) in config.outgoing.offers() {
        let namespaces = offer.namespaces.as_ref();
        tracing::info!(receiver = name, ?namespaces, "a receiver of notifications");
    }
    Ok(config)
}

fn parse(text: &str) -> Result<Config, String> {
    // Nothing but comments is no value at all.
    let empty = text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#'));
    let value: Value =
        if empty { Value::Null } else { serde_saphyr::from_str(text).map_err(|e| format!("not YAML: {e}"))? };
    let written: Written = read(value, "the file")?;
    let WrittenPrometheus { default, sources: list } = read(written.prometheus, "prometheus")?;
    let mut sources = BTreeMap::new();
    for (i, one) in list.into_iter().enumerate() {
        let at = format!("prometheus.sources[{i}]");
        let given: WrittenSource = serde_json::from_value(one).map_err(|e| format!("{at}: {e}"))?;
        let name = given.name.clone();
        let source = source(given, &at)?;
        if sources.insert(name.clone(), source).is_some() {
            return Err(format!("{at}.name: {name} is the name of another source already; give each its own"));
        }
    }
    let names: BTreeSet<String> = sources.keys().cloned().collect();
    if let Some(default) = default.as_ref().filter(|d| !names.contains(*d)) {
        let offered = if names.is_empty() {
            "there are none".to_owned()
        } else {
            names.into_iter().collect::<Vec<_>>().join(", ")
        };
        return Err(format!(
            "prometheus.default: {default:?} is not the name of a source (of prometheus.sources: {offered}); name one \
             of them, or leave default out"
        ));
    }
    let only = sources.iter().filter_map(|(name, source)| Some((name.clone(), source.namespaces.clone()?))).collect();
    let pushes = push::read(written.pushes)?;
    let outgoing = notifications::read(read(written.notifications, "notifications")?)?;
    let receivers = Receivers {
        names: outgoing.offers().map(|(name, _)| name.clone()).collect(),
        only: outgoing.offers().filter_map(|(name, offer)| Some((name.clone(), offer.namespaces.clone()?))).collect(),
    };
    Ok(Config { sources: sources.into(), offered: Offered { names, default, only, receivers }, outgoing, pushes })
}

/// An absent part is an empty one.
fn read<T: Default + serde::de::DeserializeOwned>(value: Value, at: &str) -> Result<T, String> {
    match value {
        Value::Null => Ok(T::default()),
        value => serde_json::from_value(value).map_err(|e| format!("{at}: {e}")),
    }
}

fn source(given: WrittenSource, at: &str) -> Result<Source, String> {
    let WrittenSource { name, url, service, port, scheme, ca_file, bearer_token_file, tenant, namespaces, enforce } =
        given;
    if !is_name(&name) {
        return Err(format!(
            "{at}.name: {name:?} is not a name; use up to 253 letters, digits and - . _ / between a letter or digit at \
             each end, such as monitoring/prometheus"
        ));
    }
    if port.is_some() && (url.is_some() || service.is_some()) {
        return Err(format!(
            "{at}.port: port goes with a name of the form NAMESPACE/SERVICE; write it into url or service"
        ));
    }
    let of_service = |namespace: String, name: String, port: Option<u16>, field: &str| {
        let port = port.unwrap_or(PORT);
        let legal = is_label(&namespace) && is_label(&name) && port > 0;
        let spot = Spot::Service { namespace, name, port, scheme: scheme.unwrap_or_default() };
        if legal {
            Ok(spot)
        } else {
            Err(format!("{field}: not a Service; give namespace, name and a port from 1 to 65535"))
        }
    };
    let spot = match (url, service) {
        (Some(_), Some(_)) => return Err(format!("{at}: both url and service are given; give one of them")),
        (Some(url), None) => {
            check_url(&url).map_err(|why| format!("{at}.url: {why}"))?;
            if scheme.is_some() {
                return Err(format!("{at}.scheme: a URL has its own; leave scheme out and begin url with https://"));
            }
            Spot::Url(url)
        }
        (None, Some(of)) => of_service(of.namespace, of.name, of.port, &format!("{at}.service"))?,
        (None, None) => match name.split_once('/') {
            Some((namespace, name)) => of_service(namespace.to_owned(), name.to_owned(), port, &format!("{at}.name"))?,
            None => {
                return Err(format!(
                    "{at}: nothing says where {name} is; give url or service, or a name of the form NAMESPACE/SERVICE"
                ));
            }
        },
    };
    let tls = match &spot {
        Spot::Service { scheme, .. } => *scheme == Scheme::Https,
        Spot::Url(url) => url.starts_with("https://"),
    };
    if ca_file.is_some() && !tls {
        return Err(format!(
            "{at}.caFile: without https there is no certificate to check; set scheme: https (or begin url with \
             https://), or leave caFile out"
        ));
    }
    for (field, file) in [("caFile", &ca_file), ("bearerTokenFile", &bearer_token_file)] {
        if let Some(file) = file.as_ref().filter(|f| !f.is_absolute()) {
            return Err(format!("{at}.{field}: {} is not a whole path; begin it with /", file.display()));
        }
    }
    if let Some(tenant) = tenant.as_ref().filter(|t| !is_tenant(t)) {
        return Err(format!("{at}.tenant: {tenant:?} cannot be a header; use printable ASCII without spaces"));
    }
    let namespaces = namespaces.map(|list| only(list, at)).transpose()?;
    let enforce = enforce.map(|given| enforced(given, &spot, tenant.is_some(), at)).transpose()?;
    Ok(Source { spot, ca_file, bearer_token_file, tenant, namespaces, enforce })
}

fn only(list: Vec<String>, at: &str) -> Result<BTreeSet<String>, String> {
    if list.is_empty() {
        return Err(format!("{at}.namespaces: it names none; name those that may ask, or leave it out for all"));
    }
    if let Some(wrong) = list.iter().find(|name| !is_label(name)) {
        return Err(format!("{at}.namespaces: {wrong:?} is not the name of a namespace"));
    }
    Ok(list.into_iter().collect())
}

/// Headers that say something else.
const TAKEN: [&str; 8] = [
    "authorization",
    "content-type",
    "content-length",
    "host",
    "connection",
    "transfer-encoding",
    "accept",
    "user-agent",
];
/// Parameters of a query that Prometheus itself knows.
const OF_QUERY: [&str; 5] = ["query", "time", "timeout", "limit", "stats"];

fn enforced(given: WrittenEnforce, spot: &Spot, tenant: bool, at: &str) -> Result<Enforce, String> {
    match (given.header, given.parameter) {
        (Some(header), None) => {
            let name: http::HeaderName = header.parse().map_err(|_| {
                format!("{at}.enforce.header: {header:?} is not the name of a header; such as X-Scope-OrgID")
            })?;
            if TAKEN.contains(&name.as_str()) || name.as_str() == "x-scope-orgid" && tenant {
                return Err(format!("{at}.enforce.header: {header} says something else already; name another one"));
            }
            Ok(Enforce::Header(name))
        }
        (None, Some(parameter)) => {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            if parameter.is_empty() || !parameter.bytes().all(legal) || OF_QUERY.contains(&parameter.as_str()) {
                return Err(format!(
                    "{at}.enforce.parameter: {parameter:?} cannot be one; use letters and digits, such as namespace"
                ));
            }
            let of_url =
                |url: &str| url::Url::parse(url).is_ok_and(|url| url.query_pairs().any(|(n, _)| n == parameter));
            if matches!(spot, Spot::Url(url) if of_url(url)) {
                return Err(format!("{at}.enforce.parameter: the url has {parameter} already; leave it out there"));
            }
            Ok(Enforce::Parameter(parameter))
        }
        _ => Err(format!("{at}.enforce: give either header or parameter")),
    }
}

/// As the field `spec.prometheus.name` of Cutovers.
fn is_name(text: &str) -> bool {
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 253
        && end(text.chars().next())
        && end(text.chars().last())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._/".contains(c))
}

/// The name of a namespace or Service.
fn is_label(text: &str) -> bool {
    let end = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 63
        && end(text.bytes().next())
        && end(text.bytes().last())
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

fn check_url(text: &str) -> Result<(), String> {
    let shape = "write http://HOST:PORT or https://HOST, with a path if there is one";
    let url = url::Url::parse(text).map_err(|e| format!("not a URL ({e}); {shape}"))?;
    if !(text.starts_with("http://") || text.starts_with("https://")) || url.host_str().is_none_or(str::is_empty) {
        return Err(format!("not a URL of http or https; {shape}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it carries a user or a password; use bearerTokenFile".into());
    }
    if url.fragment().is_some() {
        return Err(format!("it has a part behind #, which is never sent; {shape}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(yaml: &str) -> Source {
        let config = parse(yaml).unwrap_or_else(|why| panic!("{yaml}: {why}"));
        let mut all = config.sources.iter();
        let (Some((_, source)), None) = (all.next(), all.next()) else { panic!("not one source: {yaml}") };
        source.clone()
    }

    fn service(scheme: Scheme, port: u16) -> Spot {
        Spot::Service { namespace: "monitoring".into(), name: "prometheus".into(), port, scheme }
    }

    #[test]
    fn a_name_is_enough_and_everything_can_be_said() {
        let bare = Source::of(service(Scheme::Http, 9090));
        assert_eq!(one("prometheus: {sources: [{name: monitoring/prometheus}]}"), bare);
        let other = "prometheus: {sources: [{name: monitoring/prometheus, port: 80}]}";
        assert_eq!(one(other).spot, service(Scheme::Http, 80));
        let url = "prometheus: {sources: [{name: central, url: 'https://thanos.example.com/prefix?dedup=true'}]}";
        assert_eq!(one(url).spot, Spot::Url("https://thanos.example.com/prefix?dedup=true".into()));
        let whole = "
prometheus:
  default: metrics
  sources:
  - name: metrics
    service: {namespace: monitoring, name: prometheus, port: 9091}
    scheme: https
    caFile: /etc/cutover/secrets/prometheus/ca.crt
    bearerTokenFile: /etc/cutover/secrets/prometheus/token
    tenant: team-a
";
        let source = one(whole);
        assert_eq!(source.spot, service(Scheme::Https, 9091));
        assert_eq!(source.ca_file.as_deref(), Some(Path::new("/etc/cutover/secrets/prometheus/ca.crt")));
        assert_eq!(source.bearer_token_file.as_deref(), Some(Path::new("/etc/cutover/secrets/prometheus/token")));
        assert_eq!(source.tenant.as_deref(), Some("team-a"));
        let offered = parse(whole).expect("a configuration").offered;
        assert_eq!((offered.default.as_deref(), offered.names.len()), (Some("metrics"), 1));
    }

    #[test]
    fn a_source_may_be_for_some_namespaces_and_hold_queries_to_them() {
        let yaml = "prometheus: {sources: [{name: a/b, namespaces: [shop, cart], enforce: {parameter: namespace}}, {name: c/d}]}";
        let config = parse(yaml).expect("a configuration");
        let get = |name: &str, namespace: &str| config.sources.get(name, namespace).map(|s| s.enforce.clone());
        assert_eq!(get("a/b", "shop"), Ok(Some(Enforce::Parameter("namespace".into()))));
        let why = get("a/b", "other").expect_err("not offered");
        assert!(why.contains("no source \"a/b\" for namespace other") && why.ends_with("it offers: c/d"), "{why}");
        assert_eq!(get("c/d", "other"), Ok(None));
        assert_eq!(config.offered.only.len(), 1);
        let header = one("prometheus: {sources: [{name: a/b, enforce: {header: X-Scope-OrgID}}]}");
        assert_eq!(header.enforce, Some(Enforce::Header("x-scope-orgid".parse().expect("a header"))));
    }

    #[test]
    fn nothing_is_a_configuration_too() {
        for empty in ["", "# later\n", "{}", "prometheus:\n", "prometheus: {sources: []}"] {
            assert_eq!(parse(empty), Ok(Config::default()), "{empty:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_write() {
        let table = [
            (
                "promtheus: {}",
                "the file: unknown field `promtheus`, expected one of `prometheus`, `pushes`, `notifications`",
            ),
            ("prometheus: {source: []}", "prometheus: unknown field `source`, expected `default` or `sources`"),
            ("prometheus: [a", "not YAML"),
            ("prometheus: {sources: {name: a}}", "prometheus: invalid type: map, expected a sequence"),
            ("prometheus: {default: a/b}", "prometheus.default: \"a/b\" is not the name of a source"),
            ("prometheus: {default: b, sources: [{name: a/b}]}", "(of prometheus.sources: a/b)"),
            (
                "prometheus: {sources: [{name: a/b}, {name: a/b, port: 1}]}",
                "prometheus.sources[1].name: a/b is the name of",
            ),
        ];
        let sources = [
            ("{name: a/b, sheme: https}", ": unknown field `sheme`, expected one of `name`, `url`, `service`"),
            ("{url: 'http://p'}", ": missing field `name`"),
            ("{name: /b}", ".name: \"/b\" is not a name"),
            ("{name: 'a b'}", ".name: \"a b\" is not a name"),
            ("{name: prometheus}", ": nothing says where prometheus is"),
            ("{name: a/b/c}", ".name: not a Service"),
            ("{name: A/b}", ".name: not a Service"),
            ("{name: a/b, port: 0}", ".name: not a Service"),
            ("{name: a/b, port: http}", ": invalid type: string \"http\", expected u16"),
            ("{name: a/b, port: 1, url: 'http://p'}", ".port: port goes with a name"),
            ("{name: a, url: 'http://p', service: {namespace: a, name: b}}", ": both url and service"),
            ("{name: a, service: {namespace: a, name: b, prot: 1}}", ": unknown field `prot`"),
            ("{name: a, service: {namespace: a, name: B}}", ".service: not a Service"),
            ("{name: a, url: 'prometheus:9090'}", ".url: not a URL of http or https"),
            ("{name: a, url: 'ftp://p'}", ".url: not a URL of http or https"),
            ("{name: a, url: 'http://'}", ".url: not a URL"),
            ("{name: a, url: '/metrics'}", ".url: not a URL"),
            ("{name: a, url: 'http://me:secret@p'}", ".url: it carries a user or a password; use bearerTokenFile"),
            ("{name: a, url: 'http://p/#x'}", ".url: it has a part behind #"),
            ("{name: a, url: 'https://p', scheme: https}", ".scheme: a URL has its own"),
            ("{name: a/b, scheme: ftp}", ": unknown variant `ftp`"),
            ("{name: a/b, caFile: /ca.crt}", ".caFile: without https"),
            ("{name: a, url: 'http://p', caFile: /ca.crt}", ".caFile: without https"),
            ("{name: a/b, bearerTokenFile: token}", ".bearerTokenFile: token is not a whole path"),
            ("{name: a/b, namespaces: []}", ".namespaces: it names none"),
            ("{name: a/b, namespaces: [A]}", ".namespaces: \"A\" is not the name"),
            ("{name: a/b, enforce: {}}", ".enforce: give either header or parameter"),
            ("{name: a/b, enforce: {header: a, parameter: b}}", ".enforce: give either"),
            ("{name: a/b, enforce: {header: 'a b'}}", ".enforce.header: \"a b\" is not"),
            ("{name: a/b, enforce: {header: Authorization}}", ".enforce.header: Authorization says something else"),
            (
                "{name: a/b, tenant: x, enforce: {header: X-Scope-OrgID}}",
                ".enforce.header: X-Scope-OrgID says something else",
            ),
            ("{name: a/b, enforce: {parameter: query}}", ".enforce.parameter: \"query\" cannot be one"),
            ("{name: a/b, enforce: {parameter: 'a&b'}}", ".enforce.parameter: \"a&b\" cannot be one"),
            (
                "{name: a, url: 'http://p/?ns=x', enforce: {parameter: ns}}",
                ".enforce.parameter: the url has ns already",
            ),
            ("{name: a/b, tenant: 'a b'}", ".tenant: \"a b\" cannot be a header"),
        ];
        for (yaml, wanted) in table {
            let why = parse(yaml).expect_err(yaml);
            assert!(why.contains(wanted), "{yaml}: {why}");
        }
        for (source, wanted) in sources {
            let why = parse(&format!("prometheus: {{sources: [{source}]}}")).expect_err(source);
            let wanted = format!("prometheus.sources[0]{wanted}");
            assert!(why.starts_with(&wanted), "{source}: wanted {wanted}, got {why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn the_file_is_named_when_it_is_refused() {
        let path = std::env::temp_dir().join(format!("cutover-config-{}.yaml", std::process::id()));
        std::fs::write(&path, "prometheus: {sources: [{name: a/b, scheme: https, caFile: /nowhere/ca.crt}]}")
            .expect("written");
        let config = load(&path).expect("a file that is not there yet is no mistake");
        assert!(config.offered.names.contains("a/b"));
        std::fs::write(&path, "prometheus: {x: 1}").expect("written");
        let why = format!("{:#}", load(&path).expect_err("refused"));
        std::fs::remove_file(&path).expect("removed");
        assert!(why.contains("--config /") && why.contains("unknown field `x`"), "{why}");
        assert!(format!("{:#}", load(&path).expect_err("gone")).contains("--config /"));
    }
}
