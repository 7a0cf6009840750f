//! Impersonation: every write to the user's objects and every Secret read is made as the Cutover's ServiceAccount.

use kube::Client;

/// Hands out clients that act as a ServiceAccount of a namespace.
#[derive(Clone)]
pub struct Identity {
    base: Client,
}

impl Identity {
    /// From the operator's own client.
    pub fn new(base: Client) -> Self {
        Self { base }
    }

    /// A client that acts as `system:serviceaccount:NAMESPACE:ACCOUNT`, over the operator's own connections.
    pub(crate) fn as_account(&self, namespace: &str, account: &str) -> Client {
        let user = http::HeaderValue::from_str(&format!("system:serviceaccount:{namespace}:{account}"));
        let base = self.base.clone();
        let service = tower::service_fn(move |mut request: http::Request<kube::client::Body>| {
            // A name that cannot be a header value cannot be an account either: the request then carries an account
            // that does not exist, and is refused.
            let user = user.as_ref().map_or_else(|_| http::HeaderValue::from_static("system:nobody"), Clone::clone);
            request.headers_mut().insert("Impersonate-User", user);
            let base = base.clone();
            async move { base.send(request).await }
        });
        Client::new(service, namespace)
    }
}
