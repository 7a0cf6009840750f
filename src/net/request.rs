//! Carries out an [`effect::Request`](crate::effect::Request): Secrets in, addresses checked and pinned, one answer each.
//!
//! Errors name hosts, headers, Secrets and keys; never a value, a query string or a user of a URL.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::Full;
use kube::Client;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::address::Origin;
use super::body::{self, File};
use super::keys::{self, Data, Source, Unread};
use super::wire::{self, Route};
use super::{Asker, Net};
use super::{cookies, sealed};
use crate::api::Duration;
use crate::api::step::{HeaderFrom, KeyRef, Method, Scheme};
use crate::effect::sealed::Sealed;
use crate::effect::{Address, Request};
use crate::world::{HttpAnswer, HttpError, HttpResponse};

/// Longest body of an answer.
pub(crate) const BODY_LIMIT: usize = 64 * 1024;
/// Where a request does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses asked at once.
const AT_ONCE: usize = 64;

/// Set by the connection, and not by whoever writes a header.
const OURS: [&str; 8] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "keep-alive"];

/// A URL or an address, ready to be asked.
pub(super) struct Target {
    pub(super) to: SocketAddr,
    pub(super) tls: Option<String>,
    pub(super) host: String,
    pub(super) path: String,
}

impl Net {
    /// Sends a request to each of its addresses, or its URL. Bounded by the request's own timeout.
    pub(crate) async fn request(&self, asker: &Asker<'_>, request: &Request) -> Vec<HttpAnswer> {
        let span = if request.timeout.is_zero() { DEFAULT_TIMEOUT } else { request.timeout };
        let deadline = Instant::now() + span.std();
        let content = async { Content::read(asker.account, asker.namespace, request).await };
        let content = match timeout_at(deadline, content).await {
            Ok(content) => content,
            Err(_) => Err(HttpError::Unread("Secrets and ConfigMaps of the request: no time left".into())),
        };

        let sealed = content.as_ref().ok().and_then(|content| content.url.as_deref());
        if let Some(url) = request.url.as_deref().or(sealed) {
            let result = async {
                let content = content.as_ref().map_err(Clone::clone)?;
                let target = self.url(url, request.host.as_deref(), Origin::Url, deadline).await?;
                self.ask(asker, request, &target, content, deadline).await
            };
            // The host of a URL from a Secret may be what nobody should read.
            let from = if sealed.is_some() { "url".to_owned() } else { named(url) };
            let result = result.await.map_err(|e| if sealed.is_some() { hide_url(e) } else { e });
            return vec![HttpAnswer { from, result }];
        }
        if request.to.is_empty() {
            let nobody = || HttpError::NotSent("there is nobody to ask".into());
            return vec![HttpAnswer { from: String::new(), result: Err(content.err().unwrap_or_else(nobody)) }];
        }
        let content = &content;
        let answers: Vec<BoxFuture<'_, HttpAnswer>> = request
            .to
            .iter()
            .map(|address| -> BoxFuture<'_, _> {
                Box::pin(async move {
                    let result = async {
                        let content = content.as_ref().map_err(Clone::clone)?;
                        let target = self.address(asker, request, address, deadline).await?;
                        let answer = self.ask(asker, request, &target, content, deadline).await;
                        if let (Err(_), Some(service)) = (&answer, &address.service) {
                            self.forget(asker, service);
                        }
                        answer
                    };
                    HttpAnswer { from: address.name.clone(), result: result.await }
                })
            })
            .collect();
        futures::stream::iter(answers).buffered(AT_ONCE).collect().await
    }

    async fn ask(
        &self,
        asker: &Asker<'_>,
        request: &Request,
        target: &Target,
        content: &Content,
        deadline: Instant,
    ) -> Result<HttpResponse, HttpError> {
        let mut headers = content.headers.clone();
        if let Some((scope, answers)) = &content.session {
            let plain = target.tls.is_none() && request.to.is_empty();
            let sent = cookies::header(answers, scope, &target.path, plain, jiff::Timestamp::now());
            if let Some(mut value) = sent.and_then(|text| HeaderValue::from_str(&text).ok()) {
                value.set_sensitive(true);
                headers.insert(COOKIE, value);
            }
        }
        let message = message(method(request.method), target, &headers, content.body.clone())?;
        let route = Route {
            to: target.to,
            tls: target.tls.clone(),
            deadline,
            limit: BODY_LIMIT,
            roots: &self.inner.roots,
            namespace: asker.namespace,
            budget: &self.inner.budget,
        };
        wire::exchange(&route, message).await
    }

    async fn address(
        &self,
        asker: &Asker<'_>,
        request: &Request,
        address: &Address,
        deadline: Instant,
    ) -> Result<Target, HttpError> {
        let to = self.pinned(asker, address, deadline).await?;
        // A Service is called by its own address, whichever pod answers.
        let named = SocketAddr::new(own_ip(address)?, address.port);
        let server = || request.host.clone().unwrap_or_else(|| named.ip().to_string());
        Ok(Target {
            to,
            tls: (request.scheme == Scheme::Https).then(server),
            host: request.host.clone().unwrap_or_else(|| named.to_string()),
            path: request.path.clone(),
        })
    }

    /// Where an address of the namespace is asked: a pod there, or one that a Service leads to.
    pub(super) async fn pinned(
        &self,
        asker: &Asker<'_>,
        address: &Address,
        deadline: Instant,
    ) -> Result<SocketAddr, HttpError> {
        if let Some(service) = &address.service {
            return self.behind(asker, service, deadline).await;
        }
        let ip = own_ip(address)?;
        let checked = self.rules(Origin::Cluster, deadline).await?.check(ip, Origin::Cluster);
        checked.map_err(|why| HttpError::NotSent(format!("{} may not be asked: {ip} is {why}", address.name)))?;
        Ok(SocketAddr::new(ip, address.port))
    }

    /// Checks a URL and pins its address.
    pub(super) async fn url(
        &self,
        text: &str,
        host: Option<&str>,
        origin: Origin,
        deadline: Instant,
    ) -> Result<Target, HttpError> {
        let (url, name, port) = parsed(text)?;
        let ip = self.pin(name, origin, deadline).await?;
        Ok(target(&url, host, SocketAddr::new(ip, port)))
    }

    /// The address of a host that the rules allow.
    pub(super) async fn pin(
        &self,
        name: url::Host<String>,
        origin: Origin,
        deadline: Instant,
    ) -> Result<IpAddr, HttpError> {
        let rules = self.rules(origin, deadline).await?;
        let named = name.to_string();
        let pinned = timeout_at(deadline, self.inner.resolver.pin(name, &rules, origin)).await;
        let pinned = pinned.map_err(|_| HttpError::Unread(format!("{named} cannot be resolved: no time left")))?;
        pinned.map_err(HttpError::NotSent)
    }
}

/// A URL that may be asked as far as it says, its host and its port.
pub(super) fn parsed(text: &str) -> Result<(Url, url::Host<String>, u16), HttpError> {
    let refuse = |why: String| HttpError::NotSent(why);
    let url = Url::parse(text).map_err(|e| refuse(format!("the URL is not valid: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse(format!("the URL's scheme is {}: only http and https are spoken", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("the URL carries a user or a password: use headersFrom with a Secret".into()));
    }
    let (Some(name), Some(port)) = (url.host().map(|host| host.to_owned()), url.port_or_known_default()) else {
        return Err(refuse("the URL has no host".into()));
    };
    Ok((url, name, port))
}

/// What is asked at an address for a URL.
pub(super) fn target(url: &Url, host: Option<&str>, to: SocketAddr) -> Target {
    let name = url.host_str().unwrap_or_default();
    let bare = match url.host() {
        // without the brackets
        Some(url::Host::Ipv6(ip)) => ip.to_string(),
        _ => name.to_owned(),
    };
    let authority = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    Target {
        to,
        tls: (url.scheme() == "https").then(|| host.map_or(bare, str::to_owned)),
        host: host.map_or(authority, str::to_owned),
        path,
    }
}

fn own_ip(address: &Address) -> Result<IpAddr, HttpError> {
    address.ip.parse().map_err(|_| HttpError::NotSent(format!("{} has no usable address", address.name)))
}

/// The host of a URL, for evidence; the rest of it may carry what nobody should read.
fn named(url: &str) -> String {
    Url::parse(url).ok().and_then(|u| u.host_str().map(str::to_owned)).unwrap_or_default()
}

/// An error of a request to a URL from a Secret: the URL, its host and what a resolver or a server said of them are left out.
fn hide_url(error: HttpError) -> HttpError {
    match error {
        HttpError::NotSent(_) => HttpError::NotSent(
            "the URL from the Secret is not valid, its host is unknown or may not be asked, or does not take connections".into(),
        ),
        HttpError::Unread(_) => HttpError::Unread("the URL from the Secret cannot be resolved at present".into()),
        HttpError::Lost(_) => HttpError::Lost("the URL from the Secret was asked".into()),
    }
}

/// Headers and body, Secrets filled in.
struct Content {
    headers: HeaderMap,
    body: Bytes,
    /// A URL from a Secret.
    url: Option<String>,
    /// The cookies of a session, and the place that gets them.
    session: Option<(String, Vec<Bytes>)>,
}

impl Content {
    async fn read(account: &Client, namespace: &str, request: &Request) -> Result<Self, HttpError> {
        let from_headers = request.headers_from.iter().map(|h| Source::Secret(h.secret.name.clone()));
        let from_body = request.body_from.iter().map(|k| Source::Secret(k.name.clone()));
        let from_files = request.files.iter().filter_map(|f| match (&f.secret, &f.config_map) {
            (Some(key), _) => Some(Source::Secret(key.name.clone())),
            (None, Some(key)) => Some(Source::ConfigMap(key.name.clone())),
            (None, None) => None,
        });
        let sealed = request.sealed.iter().flat_map(Sealed::secrets).map(|key| Source::Secret(key.name.clone()));
        let all = from_headers.chain(from_body).chain(from_files).chain(sealed);
        let read = keys::read_all(account, namespace, all).await;
        let unread = read.values().find_map(|found| match found {
            Err(Unread::Transient(why)) => Some(why.clone()),
            Err(Unread::NotFound(_) | Unread::Refused(_)) | Ok(_) => None,
        });
        match unread {
            Some(why) => Err(HttpError::Unread(why)),
            None => Self::of(request, &read).map_err(HttpError::NotSent),
        }
    }

    fn of(request: &Request, read: &Read) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for header in &request.headers {
            let value = HeaderValue::from_str(&header.value);
            let value =
                value.map_err(|_| format!("header {}: its value has characters no header may have", header.name));
            headers.append(header_name(&header.name)?, value?);
        }
        let mut filled = sealed::fill(request, read)?;
        for (name, line) in filled.headers {
            let value = HeaderValue::from_bytes(&line);
            let mut value =
                value.map_err(|_| format!("header {name}: the Secret holds characters no header may have"))?;
            value.set_sensitive(true);
            headers.append(header_name(&name)?, value);
        }
        for header in &request.headers_from {
            let (name, value) = secret_header(header, read)?;
            headers.append(name, value);
        }
        if let Some(key) = &request.idempotency_key {
            let value = HeaderValue::from_str(key).map_err(|_| "the Idempotency-Key is not valid".to_owned())?;
            headers.entry(HeaderName::from_static("idempotency-key")).or_insert(value);
        }

        let (media_type, body) = if !request.files.is_empty() {
            let files = request.files.iter().map(|f| {
                let source = match (&f.secret, &f.config_map) {
                    (Some(key), _) => (Source::Secret(key.name.clone()), key),
                    (None, Some(key)) => (Source::ConfigMap(key.name.clone()), key),
                    (None, None) => return Err(format!("file {}: neither configMap nor secret is named", f.name)),
                };
                Ok(File {
                    field: &f.name,
                    name: &f.filename,
                    media_type: f.content_type.as_deref().unwrap_or("application/octet-stream"),
                    content: value(read, &source.0, source.1)?,
                })
            });
            body::multipart(&filled.form, &files.collect::<Result<Vec<_>, String>>()?)
        } else if !filled.form.is_empty() {
            ("application/x-www-form-urlencoded".into(), body::urlencoded(&filled.form))
        } else {
            let body = match (filled.body.take().or_else(|| request.body.clone()), &request.body_from) {
                (Some(text), _) => Some(Bytes::from(text)),
                (None, Some(key)) => Some(value(read, &Source::Secret(key.name.clone()), key)?),
                (None, None) => None,
            };
            match body {
                Some(body) => (body::media_type(&body).into(), body),
                None => return Ok(Self { headers, body: Bytes::new(), url: filled.url, session: filled.session }),
            }
        };
        let media_type = HeaderValue::from_str(&media_type).map_err(|_| "the media type is not valid".to_owned())?;
        if request.files.is_empty() {
            headers.entry(CONTENT_TYPE).or_insert(media_type);
        } else {
            // the boundary in it is ours
            headers.insert(CONTENT_TYPE, media_type);
        }
        Ok(Self { headers, body, url: filled.url, session: filled.session })
    }
}

/// Secrets and ConfigMaps, as far as they could be read.
pub(super) type Read = std::collections::BTreeMap<Source, Result<Data, Unread>>;

/// What a key of one of them holds.
pub(super) fn value(read: &Read, source: &Source, key: &KeyRef) -> Result<Bytes, String> {
    match read.get(source) {
        Some(Ok(data)) => data.values.get(&key.key).cloned().ok_or_else(|| format!("{source} has no key {}", key.key)),
        Some(Err(why)) => Err(why.clone().text()),
        None => Err(format!("{source} was not read")),
    }
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    let parsed: HeaderName = name.parse().map_err(|_| format!("header {name:?}: not the name of a header"))?;
    match parsed.as_str() {
        "host" => Err("header Host: use the field host".into()),
        ours if OURS.contains(&ours) => Err(format!("header {name}: set by the connection itself, leave it out")),
        _ => Ok(parsed),
    }
}

/// A header with a value from a Secret.
pub(super) fn secret_header(header: &HeaderFrom, read: &Read) -> Result<(HeaderName, HeaderValue), String> {
    let source = Source::Secret(header.secret.name.clone());
    let secret = value(read, &source, &header.secret)?;
    // A line break at the end is how most editors and `echo` write Secrets.
    let mut line = header.prefix.clone().unwrap_or_default().into_bytes();
    line.extend_from_slice(secret.trim_ascii_end());
    let mut value = HeaderValue::from_bytes(&line).map_err(|_| {
        format!("header {}: key {} of {source} has characters no header may have", header.name, header.secret.key)
    })?;
    value.set_sensitive(true);
    Ok((header_name(&header.name)?, value))
}

/// Puts a message together.
pub(super) fn message(
    method: http::Method,
    target: &Target,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<http::Request<Full<Bytes>>, HttpError> {
    let path: http::uri::PathAndQuery =
        target.path.parse().map_err(|_| HttpError::NotSent("the path is not valid: percent-encode it".into()))?;
    let host = HeaderValue::from_str(&target.host).map_err(|_| HttpError::NotSent("the host is not valid".into()))?;
    // Some servers refuse a POST that does not say that it has no body.
    let silent = body.is_empty() && matches!(method, http::Method::POST | http::Method::PUT | http::Method::PATCH);
    let mut message = http::Request::new(Full::new(body));
    *message.method_mut() = method;
    *message.uri_mut() = path.into();
    let all = message.headers_mut();
    all.insert(HOST, host);
    all.insert(ACCEPT, HeaderValue::from_static("*/*"));
    all.insert(USER_AGENT, HeaderValue::from_static(concat!("cutover/", env!("CARGO_PKG_VERSION"))));
    for name in headers.keys() {
        all.remove(name);
    }
    for (name, value) in headers {
        all.append(name, value.clone());
    }
    all.insert(CONNECTION, HeaderValue::from_static("close"));
    if silent {
        all.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Ok(message)
}

fn method(method: Method) -> http::Method {
    match method {
        Method::Get => http::Method::GET,
        Method::Head => http::Method::HEAD,
        Method::Options => http::Method::OPTIONS,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Patch => http::Method::PATCH,
        Method::Delete => http::Method::DELETE,
    }
}
