//! Metrics from a source of the operator's configuration: a Prometheus of another namespace, behind a gateway that speaks
//! TLS with a certificate of its own authority and asks for a token and a tenant.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use cutover::api::Phase;
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::harness::case::secs;
use crate::harness::{Case, app, cluster, e2e, wait};

/// The name that the Cutover writes.
const SOURCE: &str = "monitoring/prometheus";
/// What the gateway wants to be shown.
const TOKEN: &str = "second-token";

/// What stands before a Prometheus: it passes on what has the right token and tenant.
struct Gateway {
    /// The real Prometheus.
    upstream: Mutex<String>,
    http: reqwest::Client,
    /// Passed on, refused.
    count: Mutex<(u64, u64)>,
}

impl Gateway {
    fn count(&self) -> (u64, u64) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn pass(State(gateway): State<Arc<Gateway>>, headers: HeaderMap, body: Bytes) -> (StatusCode, Bytes) {
    let shown = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let welcome = shown("authorization") == format!("Bearer {TOKEN}") && shown("x-scope-orgid") == "team-a";
    {
        let mut count = gateway.count.lock().unwrap_or_else(PoisonError::into_inner);
        if welcome {
            count.0 += 1;
        } else {
            count.1 += 1;
        }
    }
    if !welcome {
        return (StatusCode::UNAUTHORIZED, Bytes::from_static(b"who are you?"));
    }
    let upstream = gateway.upstream.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let request = gateway.http.post(format!("{upstream}/api/v1/query")).body(body);
    let answer = async {
        let answer = request.header("content-type", "application/x-www-form-urlencoded").send().await?;
        Ok::<_, reqwest::Error>((answer.status(), answer.bytes().await?))
    };
    answer.await.unwrap_or_else(|e| (StatusCode::BAD_GATEWAY, Bytes::from(e.to_string())))
}

/// Connections whose handshake succeeded.
struct Secured {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((tcp, from)) = self.listener.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(tcp).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A namespace with a Prometheus that scrapes the application of the test, and the gateway as its Service `gateway`.
struct Monitoring {
    namespace: String,
    gateway: Arc<Gateway>,
    /// The gateway's authority, in PEM.
    authority: String,
}

impl Monitoring {
    async fn start(t: &Case) -> Result<Self> {
        let namespace = format!("{}-metrics", t.ns);
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {"cutover.dev/e2e": "true"}},
        });
        cluster::apply(&t.client, &object, &namespace).await?;
        for object in cluster::documents(&app::prometheus(&t.ns))? {
            // The headless Service by which the pods are found stands beside them.
            let place = if object["metadata"]["name"] == "pods" { &t.ns } else { &namespace };
            cluster::apply(&t.client, &object, place).await?;
        }
        let services: Api<Service> = Api::namespaced(t.client.clone(), &namespace);
        let ip = services.get("prometheus").await?.spec.and_then(|s| s.cluster_ip).context("no address")?;

        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec![format!("gateway.{namespace}.svc")])?.signed_by(&key, &authority)?;
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;

        let node = node(t).await?;
        let listener = TcpListener::bind((node.as_str(), 0)).await.context("the gateway")?;
        let port = listener.local_addr()?.port();
        let gateway = Arc::new(Gateway {
            upstream: Mutex::new(format!("http://{ip}:9090")),
            http: reqwest::Client::builder().no_proxy().build()?,
            count: Mutex::default(),
        });
        let router = axum::Router::new().route("/api/v1/query", axum::routing::post(pass)).with_state(gateway.clone());
        let secured = Secured { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        tokio::spawn(async move { axum::serve(secured, router).await });
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "gateway"},
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]},
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "gateway-test", "labels": {"kubernetes.io/service-name": "gateway"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [node], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": port}],
        });
        for object in [service, slice] {
            cluster::apply(&t.client, &object, &namespace).await?;
        }
        Ok(Self { namespace, gateway, authority: authority.pem() })
    }

    /// The operator's configuration with this source.
    fn configuration(&self, t: &Case) -> String {
        let file = |name: &str| t.dir.join(name).display().to_string();
        let source = json!({
            "name": SOURCE,
            "service": {"namespace": self.namespace, "name": "gateway", "port": 443},
            "scheme": "https", "caFile": file("ca.crt"), "bearerTokenFile": file("token"), "tenant": "team-a",
        });
        json!({"prometheus": {"sources": [source]}}).to_string()
    }

    async fn remove(self, t: &Case) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(t.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        Ok(())
    }
}

/// The address of the node, on which this process is reached from within the cluster.
async fn node(t: &Case) -> Result<String> {
    let nodes = Api::<Node>::all(t.client.clone()).list(&ListParams::default()).await?;
    let addresses = nodes.items.iter().flat_map(|n| n.status.iter().flat_map(|s| s.addresses.iter().flatten()));
    addresses.filter(|a| a.type_ == "InternalIP").map(|a| a.address.clone()).next().context("the node has no address")
}

#[test]
fn a_source_of_the_operators_configuration_serves_every_namespace() {
    e2e("named_source", async |t: &Case| {
        let monitoring = Monitoring::start(t).await?;
        let played = play(t, &monitoring).await;
        monitoring.remove(t).await?;
        played
    });
}

async fn play(t: &Case, monitoring: &Monitoring) -> Result<()> {
    let gateway = monitoring.gateway.clone();
    let write = |name: &str, text: &str| std::fs::write(t.dir.join(name), text);
    write("ca.crt", &monitoring.authority)?;
    write("token", "first-token\n")?;
    write("config.yaml", &monitoring.configuration(t))?;
    t.arguments(&["--config", &t.dir.join("config.yaml").display().to_string()]);
    t.web().await?;
    t.start().await?;

    t.cutover("shop", "prometheus: {name: team/prometheus}\n").await?;
    let message = t.condition("shop", "Stalled", true, 20).await?;
    ensure!(message.contains("spec.prometheus.name") && message.contains(SOURCE), "{message}");

    let spec = "prometheus: {name: monitoring/prometheus}\n\
                    phases: {preflight: {steps: [{name: scraped, metric: {query: sum(up), expect: 'value >= 2.0'}, timeout: 10s, retry: {attempts: 20, every: 2s}}]}}\n\
                    switch: {timeout: 20s}\n\
                    observe: {for: 8s, every: 500ms, timeout: 3m, triggers: [{name: up, metric: {query: sum(up), below: '1'}}]}\n";
    t.cutover("shop", spec).await?;
    wait::poll("a query with the old token", secs(30), async || Ok((gateway.count().1 > 0).then_some(()))).await?;
    ensure!(gateway.count().0 == 0, "the gateway took the old token");
    // The operator runs on; the token has been replaced.
    write("token", TOKEN)?;
    let run = t.phase("shop", Phase::Observing, 90).await?;
    ensure!(gateway.count().0 > 0, "nothing came through the gateway");
    ensure!(run.spec.plan["prometheus"] == json!({"name": SOURCE}), "{}", run.spec.plan["prometheus"]);

    // Without its source the run neither completes nor goes back, and says why.
    t.kill();
    write("config.yaml", "prometheus: {sources: []}\n")?;
    t.restart_as_before()?;
    let message = t.condition("shop", "MetricsInconclusive", true, 30).await?;
    ensure!(message.contains("no source") && message.contains(SOURCE), "{message}");
    write("config.yaml", &monitoring.configuration(t))?;
    t.crash()?;
    t.ends("shop", Phase::Completed, 90).await?;
    Ok(())
}
