//! The connection to the API server, a probe of it, and the addresses that no request of a Cutover may reach.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tokio_util::sync::CancellationToken;

use super::connections::{Connections, Doubt};
use super::health::Health;
use super::traffic::Counted;
use crate::act::call::call;
use crate::meter::Meter;
use crate::net::Net;
use crate::net::watches::SECONDS;
use crate::observe::machines;

/// How often the API server is asked whether it answers.
const PROBE: Duration = Duration::from_secs(15);
/// How often nodes are looked at.
const MACHINES: Duration = Duration::from_secs(60);

/// A client without retries of its own, whose requests are counted, leave dead connections and carry the name of this
/// replica, which the audit log then has; and the address it talks to.
pub async fn connect(meter: Meter, instance: &str) -> anyhow::Result<(Client, ::http::Uri)> {
    let mut config =
        Config::infer().await.context("no cluster: set KUBECONFIG, or run in a pod with a service account")?;
    // A retry inside the client would hold up a restore for minutes; the drivers pace their own.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(Duration::from_secs(10));
    // A watch is silent for up to a minute.
    config.read_timeout = Some(Duration::from_secs(u64::from(SECONDS) + 10));
    config.reset_reader_on_write = true;
    let agent = format!("cutover/{} ({instance})", env!("CARGO_PKG_VERSION"));
    if let Ok(agent) = ::http::HeaderValue::from_str(&agent) {
        config.headers.push((::http::header::USER_AGENT, agent));
    }
    let (endpoint, namespace, doubt) = (config.cluster_url.clone(), config.default_namespace.clone(), Doubt::default());
    let connections = Connections::open(config, doubt.clone()).context("the client of the cluster")?;
    let client = ClientBuilder::new(connections, namespace).with_layer(&Counted { meter, doubt });
    Ok((client.build(), endpoint))
}

/// Asks the API server again and again whether it answers.
pub async fn probe(client: Client, health: Arc<Health>, stop: CancellationToken) {
    loop {
        health.read(call(client.apiserver_version()).await.is_ok());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PROBE) => {}
        }
    }
}

/// The API server as the operator itself reaches it.
pub(crate) fn own_addresses(endpoint: &::http::Uri) -> Vec<IpNet> {
    let from_env = std::env::var("KUBERNETES_SERVICE_HOST").ok();
    let hosts = [endpoint.host().map(str::to_owned), from_env];
    hosts.into_iter().flatten().filter_map(|h| address(&h)).collect()
}

fn address(text: &str) -> Option<IpNet> {
    text.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(IpNet::from)
}

/// Keeps the addresses of nodes and of the API server forbidden for requests; both come and go.
pub(crate) async fn keep_denied(client: Client, net: Net, endpoint: ::http::Uri, stop: CancellationToken) {
    let mut known: BTreeSet<IpNet> = own_addresses(&endpoint).into_iter().collect();
    loop {
        // Those known stay forbidden: an address that was a node's a minute ago may still be one.
        match machines::addresses(&client).await {
            Ok(list) => known.extend(list),
            Err(e) => tracing::warn!(error = %e, "addresses of nodes and of the API server cannot be read"),
        }
        net.deny(known.iter().copied().collect());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(MACHINES) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_servers_own_address_is_forbidden_whatever_its_form() {
        let of = |url: &str| own_addresses(&url.parse().expect("a URL"));
        assert!(of("https://10.0.0.1:6443").contains(&"10.0.0.1/32".parse().expect("net")));
        assert!(of("https://[fd00::1]:6443").contains(&"fd00::1/128".parse().expect("net")));
    }
}
