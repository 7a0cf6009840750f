//! Where a Cutover's Prometheus is: the address of a Service of its namespace, remembered for a few seconds, or a URL.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tokio::time::Instant;

use super::convert;
use crate::api::cutover::Prometheus;
use crate::net::keys::{CALL_LIMIT, brief};
use crate::net::prometheus::Place;

/// How long the address of a Service is believed: queries may come ten times a second.
const FRESH: Duration = Duration::from_secs(5);
/// Most Services remembered; beyond it all are looked up anew.
const LIMIT: usize = 1024;

type Addresses = HashMap<(String, String), (std::net::IpAddr, Instant)>;

/// Addresses of Services by namespace and name.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<Addresses>>);

impl Places {
    /// `by_flag` is the URL in the operator's own flags, which alone may be private without another flag.
    pub(super) async fn find(
        &self,
        client: &Client,
        namespace: &str,
        prometheus: &Prometheus,
        by_flag: Option<&String>,
    ) -> Result<Place, String> {
        match (&prometheus.service, &prometheus.url) {
            (Some(service), _) => {
                let ip = self.address(client, namespace, &service.name).await?;
                Ok(Place::Service { name: service.name.clone(), ip, port: service.port })
            }
            (None, Some(url)) if by_flag == Some(url) => Ok(Place::Flag(url.clone())),
            (None, Some(url)) => Ok(Place::Url(url.clone())),
            (None, None) => Err("spec.prometheus has neither service nor url".into()),
        }
    }

    async fn address(&self, client: &Client, namespace: &str, name: &str) -> Result<std::net::IpAddr, String> {
        let key = (namespace.to_owned(), name.to_owned());
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some((ip, at)) = known
            && at.elapsed() < FRESH
        {
            return Ok(ip);
        }
        let api = Api::<Service>::namespaced(client.clone(), namespace);
        let found = match tokio::time::timeout(CALL_LIMIT, api.get_opt(name)).await {
            Ok(Ok(found)) => found.ok_or_else(|| format!("Service {name} does not exist"))?,
            Ok(Err(error)) => return Err(format!("Service {name} cannot be read: {}", brief(&error.to_string()))),
            Err(_) => return Err(format!("Service {name} cannot be read: no answer within 2s")),
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
        all.insert(key, (ip, Instant::now()));
        Ok(ip)
    }
}
