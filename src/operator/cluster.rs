//! The connection to the API server, a probe of it, and the addresses that no request of a Cutover may reach.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client, Config};
use tokio_util::sync::CancellationToken;

use super::health::Health;
use crate::act::call::{CallError, call, call_within};
use crate::driver::manager::WATCH_SECONDS;
use crate::net::Net;

/// How often the API server is asked whether it answers.
const PROBE: Duration = Duration::from_secs(15);
/// How often nodes are looked at.
const NODES: Duration = Duration::from_secs(300);
/// Nodes of one page.
const PAGE: u32 = 200;

/// A client without retries of its own, and the address it talks to.
pub async fn connect() -> anyhow::Result<(Client, ::http::Uri)> {
    let mut config =
        Config::infer().await.context("no cluster: set KUBECONFIG, or run in a pod with a service account")?;
    // A retry inside the client would hold up a restore for minutes; the drivers pace their own.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(Duration::from_secs(10));
    // A watch is silent for up to a minute.
    config.read_timeout = Some(Duration::from_secs(u64::from(WATCH_SECONDS) + 15));
    config.reset_reader_on_write = true;
    let endpoint = config.cluster_url.clone();
    Ok((Client::try_from(config).context("the client of the cluster")?, endpoint))
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
pub fn own_addresses(endpoint: &::http::Uri) -> Vec<IpNet> {
    let from_env = std::env::var("KUBERNETES_SERVICE_HOST").ok();
    let hosts = [endpoint.host().map(str::to_owned), from_env];
    hosts.into_iter().flatten().filter_map(|h| address(&h)).collect()
}

fn address(text: &str) -> Option<IpNet> {
    text.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(IpNet::from)
}

/// Keeps the addresses of nodes and of the API server forbidden for requests; both come and go.
pub async fn keep_denied(client: Client, net: Net, endpoint: ::http::Uri, stop: CancellationToken) {
    let mut known: BTreeSet<IpNet> = own_addresses(&endpoint).into_iter().collect();
    loop {
        for found in [nodes(&client).await, api_servers(&client).await] {
            match found {
                Ok(list) => known.extend(list),
                Err(e) => {
                    tracing::warn!(error = %e, "addresses of nodes or of the API server cannot be read; those known stay forbidden")
                }
            }
        }
        net.deny(known.iter().copied().collect());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(NODES) => {}
        }
    }
}

async fn nodes(client: &Client) -> Result<Vec<IpNet>, CallError> {
    let api: Api<Node> = Api::all(client.clone());
    let mut found = vec![];
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = call_within(Duration::from_secs(10), api.list(&params)).await?;
        for node in &page.items {
            let addresses = node.status.iter().flat_map(|s| s.addresses.iter().flatten());
            found.extend(addresses.filter_map(|a| address(&a.address)));
        }
        match page.metadata.continue_.filter(|c| !c.is_empty()) {
            Some(next) => params = ListParams::default().limit(PAGE).continue_token(&next),
            None => return Ok(found),
        }
    }
}

async fn api_servers(client: &Client) -> Result<Vec<IpNet>, CallError> {
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    let service = call(services.get("kubernetes")).await?;
    let mut found: Vec<IpNet> = service
        .spec
        .iter()
        .flat_map(|s| s.cluster_ips.iter().flatten().chain(s.cluster_ip.iter()))
        .filter_map(|ip| address(ip))
        .collect();
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let of_it = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
    for slice in call(slices.list(&of_it)).await?.items {
        found.extend(slice.endpoints.iter().flatten().flat_map(|e| e.addresses.iter()).filter_map(|a| address(a)));
    }
    Ok(found)
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
