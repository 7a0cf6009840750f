//! PURE DATA. A request out.

use super::sealed::Sealed;
use crate::api::duration::Duration;
use crate::api::step::{FilePart, Header, HeaderFrom, KeyRef, Method, Scheme};

/// A request out. Addresses are already those of pods and Services, or a URL to be checked and pinned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Whom to ask: every one of these, or the URL.
    pub to: Vec<Address>,
    /// Path and query for `to`, expanded and encoded.
    pub path: String,
    /// A URL instead of `to`, expanded.
    pub url: Option<String>,
    /// Plain or TLS, for `to`.
    pub scheme: Scheme,
    /// Host header and server name.
    pub host: Option<String>,
    pub method: Method,
    /// Headers, expanded.
    pub headers: Vec<Header>,
    /// Headers from Secrets, read as the ServiceAccount.
    pub(crate) headers_from: Vec<HeaderFrom>,
    /// The body, expanded.
    pub body: Option<String>,
    /// The body from a Secret.
    pub(crate) body_from: Option<KeyRef>,
    /// Form fields, expanded.
    pub form: Vec<Header>,
    /// Files.
    pub files: Vec<FilePart>,
    /// What values of Secrets go into.
    pub sealed: Vec<Sealed>,
    /// For everything together.
    pub timeout: Duration,
    /// Sent as `Idempotency-Key` with a request that may change something.
    pub(crate) idempotency_key: Option<String>,
}

/// A pod's or Service's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// For evidence, such as a pod's name.
    pub name: String,
    /// IP.
    pub ip: String,
    /// Port.
    pub port: u16,
    /// For a Service, whose own address is above: nothing is sent there, but to a pod that it leads to when it is asked.
    pub service: Option<ServicePort>,
}

/// A port of a Service of the run's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePort {
    /// Of the Service.
    pub name: String,
    /// The port's name; none where it has none.
    pub port: Option<String>,
}
