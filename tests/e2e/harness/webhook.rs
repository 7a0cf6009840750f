//! An admission webhook that the test itself serves: it must admit each update of a Service of the test's namespace, and
//! of no other. What it does with a request may change at any time; a request that is held then stays held.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::case::{Case, secs};
use super::wait;

/// What a webhook does with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Does {
    /// Admits it at once.
    Admits,
    /// Admits it after this time.
    AdmitsAfter(Duration),
    /// Never answers.
    Hangs,
    /// Denies it.
    Denies,
    /// Answers 500.
    Fails,
    /// Closes every connection.
    IsDown,
}

/// Which kind of webhook it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Validating,
    Mutating,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Validating => "ValidatingWebhookConfiguration",
            Self::Mutating => "MutatingWebhookConfiguration",
        }
    }
}

struct Inner {
    does: watch::Sender<Does>,
    asked: AtomicU64,
}

/// A webhook that the API server asks.
pub struct Webhook {
    inner: Arc<Inner>,
    configurations: Api<DynamicObject>,
    configuration: String,
    /// The name that the API server gives when it tells of it.
    pub name: String,
}

impl Webhook {
    /// Serves it on loopback, has the API server ask it, and waits until it does. `timeout`: how long the API server
    /// waits for an answer, in seconds.
    pub async fn start(t: &Case, kind: Kind, timeout: u32, does: Does) -> Result<Self> {
        let inner = Arc::new(Inner { does: watch::Sender::new(Does::Admits), asked: AtomicU64::new(0) });
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.self_signed(&key)?;
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}/", listener.local_addr()?);
        let listener = Tls { listener, acceptor: TlsAcceptor::from(Arc::new(tls)), inner: inner.clone() };
        let app = axum::Router::new().fallback(review).with_state(inner.clone());
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("webhook: {error}");
            }
        });
        let configuration = t.ns.clone();
        let name = format!("{configuration}.example.com");
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind.as_str(),
            "metadata": {"name": configuration},
            "webhooks": [{
                "name": name, "sideEffects": "None", "timeoutSeconds": timeout, "failurePolicy": "Fail",
                "admissionReviewVersions": ["v1"],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": t.ns}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["services"]}],
                "clientConfig": {"url": url, "caBundle": ByteString(certificate.pem().into_bytes())},
            }],
        }))?;
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind.as_str()));
        let configurations = Api::all_with(t.client.clone(), &resource);
        configurations.create(&PostParams::default(), &object).await?;
        let webhook = Self { inner, configurations, configuration, name };
        // From here on it is taken away, whatever happens.
        let asked = wait::poll("the API server asks the webhook", secs(20), async || {
            let name = t.api::<Service>().list(&Default::default()).await?.items.pop().context("a Service")?;
            let name = name.metadata.name.unwrap_or_default();
            let times = webhook.asked().to_string();
            t.merge::<Service>(&name, json!({"metadata": {"labels": {"asked": times}}})).await?;
            Ok((webhook.asked() > 0).then_some(()))
        });
        if let Err(error) = asked.await {
            webhook.remove().await?;
            return Err(error);
        }
        webhook.now(does);
        Ok(webhook)
    }

    /// From now on it does this; what it holds it goes on holding.
    pub fn now(&self, does: Does) {
        self.inner.does.send_replace(does);
    }

    /// How often it has been asked.
    pub fn asked(&self) -> u64 {
        self.inner.asked.load(Ordering::Relaxed)
    }

    /// The API server asks it no more.
    pub async fn remove(&self) -> Result<()> {
        self.configurations.delete(&self.configuration, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Runs the body of a test; the webhook is taken away however it ends.
    pub async fn during<T>(self, body: impl AsyncFnOnce(&Self) -> Result<T>) -> Result<T> {
        let result = body(&self).await;
        let removed = self.remove().await;
        let result = result?;
        removed?;
        Ok(result)
    }

    /// Waits until it has been asked so many times more.
    pub async fn asked_again(&self, times: u64, bound: u64) -> Result<()> {
        let goal = self.asked() + times;
        wait::poll("the webhook is asked", secs(bound), async || Ok((self.asked() >= goal).then_some(()))).await
    }
}

async fn review(State(inner): State<Arc<Inner>>, body: Bytes) -> Response {
    inner.asked.fetch_add(1, Ordering::Relaxed);
    let does = inner.does.borrow().clone();
    let allowed = match does {
        Does::Admits => true,
        Does::AdmitsAfter(time) => {
            tokio::time::sleep(time).await;
            true
        }
        Does::Hangs => std::future::pending().await,
        Does::Denies => false,
        Does::Fails => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        }
        Does::IsDown => {
            // A connection that was kept open: a body that fails before its first byte makes the server close it.
            let cut = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("down")) });
            return Response::new(Body::from_stream(cut));
        }
    };
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let said =
        json!({"uid": review["request"]["uid"], "allowed": allowed, "status": {"message": "frozen by the test"}});
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": said});
    let mut response = Response::new(Body::from(answer.to_string()));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

/// A listener that speaks TLS.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    inner: Arc<Inner>,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            let down = *self.inner.does.borrow() == Does::IsDown;
            if !down && let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
