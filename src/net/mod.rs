//! Requests out: the address rules (resolve, check, pin), the connection, Prometheus; and whose name API requests carry.
//!
//! Decides nothing about a run. Everything is bounded in time and size, nothing is sent twice.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch::Sender;

pub mod address;
pub(crate) mod alerts;
mod body;
mod budget;
pub mod call;
mod cookies;
pub(crate) mod endpoints;
pub mod identity;
pub mod keys;
pub(crate) mod leadership;
mod machines;
mod mail;
pub(crate) mod notify;
pub(crate) mod outgoing;
pub mod prometheus;
pub mod request;
mod resolve;
pub(crate) mod room;
mod sealed;
pub mod sources;
mod tls;
pub(crate) mod watch;
pub(crate) mod watches;
pub(crate) mod wire;
pub(crate) mod x509;

pub(crate) use address::AddressRules;
pub(crate) use machines::Machines;

use crate::threads::Threads;

/// Sends requests under the address rules. Cheap to clone.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Inner>,
}

struct Inner {
    known: Sender<machines::Known>,
    resolver: resolve::Resolver,
    roots: wire::Roots,
    endpoints: endpoints::Endpoints,
    budget: budget::Budget,
    threads: Threads,
    outgoing: outgoing::Outgoing,
}

/// For whom something is asked.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// The operator itself, which looks up where Services lead.
    pub operator: &'a kube::Client,
    /// A client that acts as the Cutover's ServiceAccount, as which Secrets and ConfigMaps are read.
    pub account: &'a kube::Client,
    /// The Cutover's.
    pub namespace: &'a str,
    /// What is watched of it; none where the API server is to be asked.
    pub watched: Option<&'a dyn endpoints::Watched>,
}

impl Net {
    /// Under these rules, which are closed until [`Net::forbid`] has told of all machines; names are resolved by the system's name servers, or by `dns`. Never fails: what is missing
    /// (name servers, root certificates) fails the requests that need it.
    /// Answers and authorities are read on `threads`; notifications leave as `outgoing` says.
    pub(crate) fn new(
        rules: AddressRules,
        dns: Option<SocketAddr>,
        threads: Threads,
        outgoing: outgoing::Outgoing,
    ) -> Self {
        Self::with_roots(rules, dns, threads, outgoing, wire::Roots::default())
    }

    fn with_roots(
        rules: AddressRules,
        dns: Option<SocketAddr>,
        threads: Threads,
        outgoing: outgoing::Outgoing,
        roots: wire::Roots,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                known: Sender::new(machines::Known::new(rules)),
                resolver: resolve::Resolver::new(dns),
                roots,
                endpoints: endpoints::Endpoints::default(),
                budget: budget::Budget::default(),
                threads,
                outgoing,
            }),
        }
    }

    /// Before a log is read for a namespace: waits for room among those of all.
    pub(crate) async fn room_for_log(&self, namespace: &str) -> Option<budget::Taken> {
        self.inner.budget.log(namespace).await
    }

    /// A part of a log was read: waits as long as it takes at the pace of a namespace.
    pub(crate) async fn logged(&self, namespace: &str, bytes: usize) {
        self.inner.budget.logged(namespace, bytes).await;
    }
}

#[cfg(test)]
mod tests;
