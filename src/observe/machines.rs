//! Addresses of nodes and of the API server, to which no request may go (DESIGN §7).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::net::call::{Unanswered, answered};

/// Longest list of nodes read at once.
const PAGE: u32 = 500;

/// For [`crate::net::Net::deny`]; to be read at the start and every minute or so.
pub async fn addresses(client: &Client) -> Result<Vec<IpNet>, Unanswered> {
    let mut all = BTreeSet::<IpAddr>::new();
    let nodes = Api::<Node>::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = answered(nodes.list(&params)).await?;
        for node in &page.items {
            let addresses = node.status.iter().flat_map(|s| s.addresses.iter().flatten());
            // Host names are no addresses; what they resolve to is a node's address already.
            all.extend(addresses.filter_map(|a| a.address.parse::<IpAddr>().ok()));
        }
        match page.metadata.continue_.filter(|c| !c.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => break,
        }
    }
    let service = answered(Api::<Service>::namespaced(client.clone(), "default").get("kubernetes")).await?;
    let spec = service.spec.unwrap_or_default();
    let own = spec.cluster_ips.into_iter().flatten().chain(spec.cluster_ip);
    all.extend(own.filter_map(|ip| ip.parse::<IpAddr>().ok()));
    let of_server = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
    let slices = answered(Api::<EndpointSlice>::namespaced(client.clone(), "default").list(&of_server)).await?;
    let endpoints = slices.items.iter().flat_map(|s| s.endpoints.iter().flatten()).flat_map(|e| &e.addresses);
    all.extend(endpoints.filter_map(|ip| ip.parse::<IpAddr>().ok()));
    Ok(all.into_iter().map(IpNet::from).collect())
}
