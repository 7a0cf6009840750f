//! The connection to the API server, a probe of it, and the addresses that no request of a Cutover may reach.

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
use crate::net::room::Room;
use crate::net::watches::SECONDS;
use crate::net::{Machines, Net};
use crate::observe::{Observer, machines};

/// How often the API server is asked whether it answers.
const PROBE: Duration = Duration::from_secs(15);
/// How often the addresses of the API server are looked at, and the first pause where that fails.
const SERVERS: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How often it is said that the nodes are still those that were told.
const CONFIRM: Duration = Duration::from_secs(20);

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
    Ok((Room::default().guard(client.build()), endpoint))
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

/// Tells `net` which addresses are those of nodes and of the API server, which no request may reach. Both come and go; while
/// they are not known, no request is sent.
pub(crate) async fn keep_forbidden(client: Client, net: Net, observer: Observer, stop: CancellationToken) {
    let servers = async {
        let mut pause = FIRST_PAUSE;
        loop {
            let look = match machines::api_server(&client).await {
                Ok(addresses) => {
                    net.forbid(Machines::ApiServer, addresses);
                    pause = FIRST_PAUSE;
                    SERVERS
                }
                Err(error) => {
                    tracing::warn!(%error, "the addresses of the API server cannot be read");
                    let now = pause;
                    pause = (pause * 2).min(SERVERS);
                    now
                }
            };
            tokio::time::sleep(look).await;
        }
    };
    let nodes = async {
        let mut told = observer.node_addresses();
        let mut confirm = tokio::time::interval(CONFIRM);
        loop {
            tokio::select! {
                changed = told.changed() => if changed.is_err() { return },
                // Nothing is asked for this: an open watch says that all is as it was.
                _ = confirm.tick() => if !observer.knows_nodes() { continue },
            }
            if let Some(addresses) = told.borrow_and_update().clone() {
                net.forbid(Machines::Nodes, addresses.iter().copied());
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        ((), ()) = async { tokio::join!(servers, nodes) } => {}
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
