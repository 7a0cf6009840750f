//! Addresses of the API server, to which no request may go (DESIGN §7). Those of nodes come from their watch.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::net::call::{Unanswered, answered};

/// For [`crate::net::Net::forbid`]; to be read at the start and every minute or so.
pub async fn api_server(client: &Client) -> Result<BTreeSet<IpAddr>, Unanswered> {
    let service = answered(Api::<Service>::namespaced(client.clone(), "default").get("kubernetes")).await?;
    let spec = service.spec.unwrap_or_default();
    let own = spec.cluster_ips.into_iter().flatten().chain(spec.cluster_ip);
    let of_server = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
    let slices = answered(Api::<EndpointSlice>::namespaced(client.clone(), "default").list(&of_server)).await?;
    let endpoints = slices.items.into_iter().flat_map(|s| s.endpoints.into_iter().flatten());
    let all = own.chain(endpoints.flat_map(|endpoint| endpoint.addresses));
    Ok(all.filter_map(|ip| ip.parse().ok()).collect())
}
