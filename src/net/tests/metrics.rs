//! Queries of Prometheus: what is sent, by whom it is known, and that credentials go where they belong.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};

use super::super::prometheus::{Access, Asked, Location, Query};
use super::super::sources::{Enforce, Source, Spot};
use super::*;
use crate::api::prometheus::{CaFrom, Prometheus};
use crate::world::QueryAnswer;

const SECONDS: Duration = Duration::from_secs(5);

fn half() -> Then {
    let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"0.5"]}]}}"#;
    Then::Answer(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

fn place(server: &Server, tls: bool) -> Location {
    Location::Service {
        host: "prometheus.monitoring.svc".into(),
        ip: server.at.ip(),
        port: server.at.port(),
        through: None,
        tls,
    }
}

async fn ask(net: &Net, account: &kube::Client, place: &Location, access: Access<'_>) -> QueryAnswer {
    let query = Query { source: Asked { place, access, timeout: SECONDS }, query: "up", at: None };
    net.query(&asker(account), &query).await
}

fn inconclusive(answer: QueryAnswer) -> String {
    match answer {
        QueryAnswer::Inconclusive(why) => why,
        other => panic!("{other:?}"),
    }
}

async fn of_cutover(server: &Server, headers: &[HeaderFrom], timeout: Duration) -> QueryAnswer {
    let options = Prometheus { headers_from: headers.to_vec(), ..Prometheus::default() };
    let (place, access) = (place(server, false), Access::Cutover(&options));
    let at = Some("2026-11-20T01:02:03.5Z".parse().unwrap());
    let query = Query { source: Asked { place: &place, access, timeout }, query: "sum(up) > 0", at };
    net().query(&asker(&account()), &query).await
}

#[tokio::test]
async fn prometheus_is_asked_for_one_value_at_a_time() {
    let server = Server::new(half()).await;
    let header = HeaderFrom { name: "Authorization".into(), prefix: None, secret: key("tokens", "qa") };
    let answer = of_cutover(&server, std::slice::from_ref(&header), SECONDS).await;
    assert_eq!(answer, QueryAnswer::Value(0.5));
    let seen = server.seen().remove(0);
    assert!(seen.starts_with("POST /api/v1/query HTTP/1.1\r\n") && seen.contains("authorization: s3cr3t"), "{seen}");
    assert!(seen.contains(&format!("host: prometheus.monitoring.svc:{}\r\n", server.at.port())), "{seen}");
    assert!(!seen.contains("x-scope-orgid"), "{seen}");
    let form =
        "query=sum%28up%29+%3E+0&time=2026-11-20T01%3A02%3A03.5Z&timeout=5000ms&nocache=1&partial_response=false";
    assert!(seen.ends_with(form), "{seen}");

    let options = Prometheus { tenant: Some("team-a".into()), ..Prometheus::default() };
    let url = Location::Url(format!("http://{}/base/?tenant=a", server.at));
    assert_eq!(ask(&net(), &account(), &url, Access::Cutover(&options)).await, QueryAnswer::Value(0.5));
    let seen = &server.seen()[1];
    assert!(seen.starts_with("POST /base/api/v1/query?tenant=a HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("x-scope-orgid: team-a\r\n"), "{seen}");
}

#[tokio::test]
async fn only_the_operators_configuration_reaches_private_addresses() {
    let (options, source) = (Prometheus::default(), source(None, None));
    let private = "http://10.0.0.1:9/".to_owned();
    let short = |place, access| {
        let timeout = Duration::from_millis(300);
        Query { source: Asked { place, access, timeout }, query: "1", at: None }
    };
    let (url, configured) = (Location::Url(private.clone()), Location::Configured(private));
    let why = net().query(&asker(&account()), &short(&url, Access::Cutover(&options))).await;
    assert!(inconclusive(why).contains("private address"));
    // Nobody is there, but it is tried.
    let why = inconclusive(net().query(&asker(&account()), &short(&configured, Access::Operator(&source))).await);
    assert!(!why.contains("private address") && !why.contains("may not be asked"), "{why}");
    let metadata = Location::Configured("http://169.254.169.254/".into());
    let why = inconclusive(net().query(&asker(&account()), &short(&metadata, Access::Operator(&source))).await);
    assert!(why.contains("metadata"), "{why}");
}

#[tokio::test]
async fn a_prometheus_in_trouble_is_inconclusive() {
    let big = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(2 * 1024 * 1024)).into_bytes();
    let header = HeaderFrom { name: "Authorization".into(), prefix: None, secret: key("missing", "qa") };
    let cases = [
        (Then::Answer(big), vec![], SECONDS, "larger than 1024 KiB"),
        (Then::Close, vec![], SECONDS, ""),
        (Then::Hang, vec![], Duration::from_millis(200), "within"),
        (Then::Close, vec![header], SECONDS, "Secret missing is not there"),
    ];
    for (then, headers, timeout, words) in cases {
        let server = Server::new(then).await;
        let why = inconclusive(of_cutover(&server, &headers, timeout).await);
        assert!(why.contains(words), "{words}: {why}");
    }
}

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cutover-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn source(ca_file: Option<&Path>, bearer_token_file: Option<&Path>) -> Source {
    Source {
        ca_file: ca_file.map(Path::to_owned),
        bearer_token_file: bearer_token_file.map(Path::to_owned),
        ..Source::of(Spot::Url("unused: the place is given".into()))
    }
}

#[tokio::test]
async fn a_query_carries_the_namespace_that_the_configuration_enforces() {
    let server = Server::new(half()).await;
    let held = |enforce| Source { enforce: Some(enforce), ..source(None, None) };
    let header = held(Enforce::Header("x-scope-orgid".parse().unwrap()));
    ask(&net(), &account(), &place(&server, false), Access::Operator(&header)).await;
    assert!(server.seen()[0].contains("x-scope-orgid: prod\r\n"), "{}", server.seen()[0]);
    let parameter = held(Enforce::Parameter("namespace".into()));
    ask(&net(), &account(), &place(&server, false), Access::Operator(&parameter)).await;
    assert!(server.seen()[1].starts_with("POST /api/v1/query?namespace=prod HTTP/1.1\r\n"), "{}", server.seen()[1]);
}

/// An authority, and a server with a certificate of it for the Service.
async fn secured(then: Then) -> (String, Server) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["prometheus.monitoring.svc".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    (authority.pem(), Server::with(then, Some(Arc::new(config))).await)
}

/// As on a system that trusts no authority at all.
fn trusting_nobody() -> Net {
    Net::for_tests(AddressRules::for_tests(), wire::Roots::of(rustls::RootCertStore::empty()))
}

#[tokio::test]
async fn a_source_is_known_by_its_own_authority() {
    let folder = Folder::new("authority");
    let (pem, server) = secured(half()).await;
    let (other, _) = secured(half()).await;
    let net = trusting_nobody();
    let asked = async |net: &Net, file: Option<&Path>| {
        let source = source(file, None);
        ask(net, &account(), &place(&server, true), Access::Operator(&source)).await
    };
    let file = folder.file("ca.crt", &format!("# ours\n{other}\n{pem}"));
    assert_eq!(asked(&net, Some(&file)).await, QueryAnswer::Value(0.5), "one of several authorities");

    let why = inconclusive(asked(&net, None).await);
    assert!(why.contains("TLS handshake with prometheus.monitoring.svc"), "{why}");
    // Instead of the operator's own: what those vouch for does not count.
    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::pem::PemObject;
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let trusting = Net::for_tests(AddressRules::for_tests(), wire::Roots::of(roots));
    assert_eq!(asked(&trusting, None).await, QueryAnswer::Value(0.5));
    let stranger = folder.file("other.crt", &other);
    let why = inconclusive(asked(&trusting, Some(&stranger)).await);
    assert!(why.contains("certificate"), "{why}");

    for (content, words) in [("", "no certificate in PEM"), ("-----BEGIN CERTIFICATE-----\n!\n", "PEM")] {
        let file = folder.file("bad.crt", content);
        let why = inconclusive(asked(&trusting, Some(&file)).await);
        assert!(why.contains(words) && why.contains("caFile") && why.contains("bad.crt"), "{why}");
    }
    assert_eq!(server.seen().len(), 2, "nothing else was sent");
}

#[tokio::test]
async fn a_token_is_read_at_each_query() {
    let folder = Folder::new("token");
    let (pem, server) = secured(half()).await;
    let (ca, token) = (folder.file("ca.crt", &pem), folder.file("token", "first\n"));
    let source = Source { tenant: Some("team-a".into()), ..source(Some(&ca), Some(&token)) };
    let net = trusting_nobody();
    let asked = async || ask(&net, &account(), &place(&server, true), Access::Operator(&source)).await;
    assert_eq!(asked().await, QueryAnswer::Value(0.5));
    folder.file("token", "second");
    assert_eq!(asked().await, QueryAnswer::Value(0.5));
    let seen = server.seen();
    for (seen, token) in seen.iter().zip(["first", "second"]) {
        assert!(seen.contains(&format!("authorization: Bearer {token}\r\n")), "{seen}");
        assert!(seen.contains("x-scope-orgid: team-a\r\n"), "{seen}");
    }

    for (content, words) in [(" \n", "is empty"), ("top\nsecret", "characters no header may have")] {
        folder.file("token", content);
        let why = inconclusive(asked().await);
        assert!(why.contains("bearerTokenFile") && why.contains(words) && !why.contains("top"), "{why}");
    }
    std::fs::remove_file(&token).unwrap();
    let why = inconclusive(asked().await);
    assert!(why.contains("bearerTokenFile") && why.contains("cannot be read"), "{why}");
    assert_eq!(server.seen().len(), 2, "without its token nothing is sent");
}

#[tokio::test]
async fn a_token_does_not_follow_a_redirect() {
    let folder = Folder::new("redirect");
    let elsewhere = Server::new(half()).await;
    let redirect =
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n", elsewhere.at);
    let server = Server::new(Then::Answer(redirect.into_bytes())).await;
    let source = source(None, Some(&folder.file("token", "t")));
    let why = inconclusive(ask(&net(), &account(), &place(&server, false), Access::Operator(&source)).await);
    assert!(why.contains("status 307"), "{why}");
    assert!(elsewhere.seen().is_empty());
}

/// An API server with one ConfigMap, `authorities`.
fn with_authorities(pem: &str) -> kube::Client {
    let map = json!({"metadata": {"name": "authorities"}, "data": {"ca.crt": pem}});
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let found = request.uri().path() == "/api/v1/namespaces/prod/configmaps/authorities";
        let missing =
            json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "no"});
        let (code, body) = if found { (200, map.clone()) } else { (404, missing) };
        let body = kube::client::Body::from(serde_json::to_vec(&body).unwrap());
        let answer = http::Response::builder().status(code).body(body).unwrap();
        std::future::ready(Ok::<_, std::convert::Infallible>(answer))
    });
    kube::Client::new(service, "prod")
}

#[tokio::test]
async fn a_cutover_names_authorities_in_its_namespace() {
    let (pem, server) = secured(half()).await;
    let asked = async |ca_from: CaFrom, pem: &str| {
        let options = Prometheus { ca_from: Some(ca_from), ..Prometheus::default() };
        ask(&trusting_nobody(), &with_authorities(pem), &place(&server, true), Access::Cutover(&options)).await
    };
    let map = |name: &str, of: &str| CaFrom { config_map: Some(key(name, of)), secret: None };
    assert_eq!(asked(map("authorities", "ca.crt"), &pem).await, QueryAnswer::Value(0.5));
    let secret = CaFrom { config_map: None, secret: Some(key("authorities", "ca.crt")) };
    for (from, pem, words) in [
        (map("authorities", "other.crt"), pem.as_str(), "ConfigMap authorities has no key other.crt"),
        (map("gone", "ca.crt"), pem.as_str(), "ConfigMap gone is not there"),
        (secret, pem.as_str(), "Secret authorities is not there"),
        (map("authorities", "ca.crt"), "hello", "key ca.crt of ConfigMap authorities: no certificate in PEM"),
    ] {
        let why = inconclusive(asked(from, pem).await);
        assert!(why.contains(words), "{words}: {why}");
    }
    assert_eq!(server.seen().len(), 1);
}
