//! Requests out: the address rules (resolve, check, pin), the connection, Prometheus; and whose name API requests carry.
//!
//! Decides nothing about a run. Everything is bounded in time and size, nothing is sent twice.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use ipnet::IpNet;

pub mod address;
mod body;
pub mod call;
pub mod identity;
pub mod keys;
pub(crate) mod leadership;
pub mod prometheus;
pub mod request;
mod resolve;
pub mod sources;
mod tls;
pub(crate) mod watch;
pub(crate) mod watches;
mod wire;
mod x509;

pub(crate) use address::AddressRules;

/// Sends requests under the address rules. Cheap to clone.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Inner>,
}

struct Inner {
    rules: RwLock<Arc<AddressRules>>,
    resolver: resolve::Resolver,
    roots: wire::Roots,
}

impl Net {
    /// Under these rules; names are resolved by the system's name servers, or by `dns`. Never fails: what is missing
    /// (name servers, root certificates) fails the requests that need it.
    pub fn new(rules: AddressRules, dns: Option<SocketAddr>) -> Self {
        Self::with_roots(rules, dns, wire::Roots::default())
    }

    fn with_roots(rules: AddressRules, dns: Option<SocketAddr>, roots: wire::Roots) -> Self {
        Self {
            inner: Arc::new(Inner {
                rules: RwLock::new(Arc::new(rules)),
                resolver: resolve::Resolver::new(dns),
                roots,
            }),
        }
    }

    /// Replaces [`AddressRules::deny`]; nodes come and go.
    pub fn deny(&self, deny: Vec<IpNet>) {
        Arc::make_mut(&mut self.inner.rules.write().unwrap_or_else(PoisonError::into_inner)).deny = deny;
    }

    fn rules(&self) -> Arc<AddressRules> {
        self.inner.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests;
