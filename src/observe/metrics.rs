//! Where a run's metrics come from: a Service, remembered for a few seconds, or a URL; and with whose options.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tokio::time::Instant;

use super::convert;
use crate::api::prometheus::Prometheus;
use crate::api::step::Scheme;
use crate::effect::ServicePort;
use crate::net::call::answered;
use crate::net::keys::brief;
use crate::net::prometheus::{Access, Location};
use crate::net::sources::{Sources, Spot};
use crate::world::PortView;

/// How long the address of a Service is believed: queries may come ten times a second.
const FRESH: Duration = Duration::from_secs(5);
/// Most Services remembered; beyond it all are looked up anew.
const LIMIT: usize = 1024;

/// Who says that a Service is asked.
#[derive(Clone, Copy)]
enum Whose {
    /// Its configuration, which no tenant writes: the Service is asked by its own address, wherever it leads.
    Operator,
    /// A Cutover of its namespace.
    Cutover,
}

/// A Service as it was.
#[derive(Clone)]
struct Found {
    ip: IpAddr,
    ports: Vec<PortView>,
    at: Instant,
}

/// Services by namespace and name.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<(String, String), Found>>>);

impl Places {
    /// What a Cutover of `namespace` says, with the sources that the operator's configuration has now.
    pub(super) async fn find<'a>(
        &self,
        client: &Client,
        namespace: &str,
        prometheus: &'a Prometheus,
        sources: &'a Sources,
    ) -> Result<(Location, Access<'a>), String> {
        let own = Access::Cutover(prometheus);
        match prometheus {
            Prometheus { name: Some(name), .. } => {
                let source = sources.get(name, namespace)?;
                let place = match &source.spot {
                    Spot::Service { namespace, name, port, scheme } => {
                        self.service(client, namespace, name, *port, *scheme, Whose::Operator).await?
                    }
                    Spot::Url(url) => Location::Configured(url.clone()),
                };
                Ok((place, Access::Operator(source)))
            }
            Prometheus { service: Some(of), scheme, .. } => {
                let scheme = scheme.unwrap_or_default();
                Ok((self.service(client, namespace, &of.name, of.port, scheme, Whose::Cutover).await?, own))
            }
            Prometheus { url: Some(url), .. } => Ok((Location::Url(url.clone()), own)),
            _ => Err("spec.prometheus has none of service, url and name".into()),
        }
    }

    async fn service(
        &self,
        client: &Client,
        namespace: &str,
        name: &str,
        port: u16,
        scheme: Scheme,
        whose: Whose,
    ) -> Result<Location, String> {
        let found = self.found(client, namespace, name).await?;
        let through = match whose {
            Whose::Operator => None,
            Whose::Cutover => {
                let named = found.ports.iter().find(|p| p.port == port);
                let named = named.ok_or_else(|| format!("Service {namespace}/{name} has no port {port}"))?;
                Some(ServicePort { name: name.to_owned(), port: named.name.clone() })
            }
        };
        let (host, tls) = (format!("{name}.{namespace}.svc"), scheme == Scheme::Https);
        Ok(Location::Service { host, ip: found.ip, port, through, tls })
    }

    async fn found(&self, client: &Client, namespace: &str, name: &str) -> Result<Found, String> {
        let key = (namespace.to_owned(), name.to_owned());
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(found) = known.filter(|found| found.at.elapsed() < FRESH) {
            return Ok(found);
        }
        let api = Api::<Service>::namespaced(client.clone(), namespace);
        let name = format!("{namespace}/{name}");
        let found = match answered(api.get_opt(&key.1)).await {
            Ok(found) => found.ok_or_else(|| format!("Service {name} does not exist"))?,
            Err(error) => return Err(format!("Service {name} cannot be read: {}", brief(&error.to_string()))),
        };
        let view = convert::service(&found);
        if view.external_name {
            return Err(format!("Service {name} is of type ExternalName, which is never followed"));
        }
        let ip = view.cluster_ip.and_then(|ip| ip.parse().ok());
        let ip = ip.ok_or_else(|| format!("Service {name} has no address of its own (it is headless)"))?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= LIMIT {
            all.clear();
        }
        let found = Found { ip, ports: view.ports, at: Instant::now() };
        all.insert(key, found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::api::prometheus::ServicePort as OfService;
    use crate::net::sources::Source;

    /// An API server whose every Service `prometheus` has an address that tells the namespace.
    fn client() -> Client {
        let service = tower::service_fn(|request: http::Request<kube::client::Body>| async move {
            let (code, body) = match request.uri().path() {
                "/api/v1/namespaces/monitoring/services/prometheus" => {
                    (200, json!({"spec": {"clusterIP": "10.96.0.1"}}))
                }
                "/api/v1/namespaces/prod/services/prometheus" => {
                    (200, json!({"spec": {"clusterIP": "10.96.0.2", "ports": [{"name": "web", "port": 9090}]}}))
                }
                _ => (404, json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"})),
            };
            let body = kube::client::Body::from(serde_json::to_vec(&body).unwrap_or_default());
            http::Response::builder().status(code).body(body)
        });
        Client::new(service, "default")
    }

    fn sources() -> Sources {
        let source = |spot| Source { bearer_token_file: Some("/token".into()), ..Source::of(spot) };
        let (namespace, name) = ("monitoring".to_owned(), "prometheus".to_owned());
        let service = Spot::Service { namespace, name, port: 9090, scheme: Scheme::Https };
        let url = Spot::Url("http://10.1.2.3:9090".into());
        let all = [("monitoring/prometheus".to_owned(), source(service)), ("central".to_owned(), source(url))];
        BTreeMap::from(all).into()
    }

    async fn found(prometheus: Prometheus) -> Result<(Location, bool), String> {
        let sources = sources();
        let found = Places::default().find(&client(), "prod", &prometheus, &sources).await;
        found.map(|(place, access)| (place, matches!(access, Access::Operator(_))))
    }

    fn named(name: &str) -> Prometheus {
        Prometheus { name: Some(name.into()), ..Prometheus::default() }
    }

    fn place(host: &str, ip: &str, tls: bool, through: Option<ServicePort>) -> Location {
        Location::Service { host: host.into(), ip: ip.parse().expect("an address"), port: 9090, through, tls }
    }

    #[tokio::test]
    async fn a_source_has_its_own_place_and_credentials() {
        let service = place("prometheus.monitoring.svc", "10.96.0.1", true, None);
        assert_eq!(found(named("monitoring/prometheus")).await, Ok((service, true)));
        assert_eq!(found(named("central")).await, Ok((Location::Configured("http://10.1.2.3:9090".into()), true)));
        let of = |port| {
            let service = Some(OfService { name: "prometheus".into(), port });
            Prometheus { service, ..Prometheus::default() }
        };
        // One of the namespace is asked by its pods: its own address leads wherever its slices say.
        let through = Some(ServicePort { name: "prometheus".into(), port: Some("web".into()) });
        assert_eq!(found(of(9090)).await, Ok((place("prometheus.prod.svc", "10.96.0.2", false, through), false)));
        assert_eq!(found(of(80)).await, Err("Service prod/prometheus has no port 80".into()));
    }

    #[tokio::test]
    async fn who_writes_the_url_of_a_source_gets_nothing_of_it() {
        let url = "http://10.1.2.3:9090".to_owned();
        let written = Prometheus { url: Some(url.clone()), ..Prometheus::default() };
        assert_eq!(found(written).await, Ok((Location::Url(url), false)));
    }

    #[tokio::test]
    async fn a_source_that_is_gone_is_said_to_be() {
        let why = found(named("team/prometheus")).await.expect_err("gone");
        let words =
            "no source \"team/prometheus\" for namespace prod any more; it offers: central, monitoring/prometheus";
        assert!(why.contains(words), "{why}");
    }
}
