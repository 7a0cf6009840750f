//! Requests against real servers on the loopback address, which no flag could make reachable.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::api::Duration;
use crate::api::step::{FilePart, Header, HeaderFrom, KeyRef, Method, Scheme};
use crate::effect::sealed::{Piece, Place, Sealed};
use crate::effect::{Address, Request};
use crate::world::{HttpError, HttpResponse};

mod metrics;
mod notify;

impl Net {
    /// With all machines known: there are none.
    pub(in crate::net) fn for_tests(rules: AddressRules, roots: wire::Roots) -> Self {
        Self::for_tests_with(rules, roots, outgoing::Outgoing::default())
    }

    /// The same with what the operator's configuration says of notifications.
    fn for_tests_with(rules: AddressRules, roots: wire::Roots, outgoing: outgoing::Outgoing) -> Self {
        let net = Self::with_roots(rules, None, Threads::start().expect("threads"), outgoing, roots);
        net.forbid(Machines::Nodes, []);
        net.forbid(Machines::ApiServer, []);
        net
    }
}

/// What a server does with a connection once it has read a whole request.
#[derive(Clone)]
enum Then {
    Answer(Vec<u8>),
    Close,
    Hang,
}

/// A server and the requests it has read.
struct Server {
    at: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn new(then: Then) -> Self {
        Self::with(then, None).await
    }

    async fn answering(answer: &str) -> Self {
        Self::new(Then::Answer(answer.replace('\n', "\r\n").into_bytes())).await
    }

    async fn with(then: Then, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(vec![])));
        let all = seen.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (then, all, tls) = (then.clone(), all.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(tcp, then, all).await,
                        Some(tls) => {
                            if let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(tcp).await {
                                serve(stream, then, all).await;
                            }
                        }
                    }
                });
            }
        });
        Self { at, seen }
    }

    fn address(&self, name: &str) -> Address {
        Address { name: name.into(), ip: self.at.ip().to_string(), port: self.at.port(), service: None }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, then: Then, seen: Arc<Mutex<Vec<String>>>) {
    let mut got = vec![];
    loop {
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        got.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&got).into_owned();
        let complete = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
            body.len() >= length.map_or(0, |l| l.parse().unwrap())
        });
        if complete {
            seen.lock().unwrap().push(text);
            break;
        }
        if n == 0 {
            return;
        }
    }
    match then {
        Then::Answer(bytes) => {
            stream.write_all(&bytes).await.ok();
            stream.shutdown().await.ok();
        }
        Then::Close => {}
        Then::Hang => std::future::pending().await,
    }
}

/// An API server that knows one Secret and one ConfigMap, and forbids the Secret `closed`.
pub(super) fn account() -> kube::Client {
    let service = tower::service_fn(|request: http::Request<kube::client::Body>| async move {
        let failure = |code: u16, reason: &str, message: &str| {
            (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}))
        };
        let (code, body) = match request.uri().path().rsplit('/').next().unwrap() {
            "tokens" => (
                200,
                json!({"metadata": {"name": "tokens"}, "data": {"qa": "czNjcjN0Cg==", "bad": "YQBi", "body": "eyJhIjoxfQ=="}}),
            ),
            "pack" => (200, json!({"metadata": {"name": "pack"}, "data": {"rows.csv": "1,2\n"}})),
            "closed" => failure(403, "Forbidden", "User \"sa\" cannot get resource \"secrets\""),
            _ => failure(404, "NotFound", "not found"),
        };
        let body = serde_json::to_vec(&body).unwrap();
        let answer = http::Response::builder().status(code).body(kube::client::Body::from(body)).unwrap();
        Ok::<_, std::convert::Infallible>(answer)
    });
    kube::Client::new(service, "prod")
}

pub(super) fn asker(client: &kube::Client) -> Asker<'_> {
    Asker { operator: client, account: client, namespace: "prod", watched: None }
}

fn net() -> Net {
    Net::for_tests(AddressRules::for_tests(), wire::Roots::default())
}

fn key(name: &str, key: &str) -> KeyRef {
    KeyRef { name: name.into(), key: key.into() }
}

fn get(to: Vec<Address>) -> Request {
    Request { to, path: "/health?x=1".into(), timeout: Duration::from_secs(5), ..Request::default() }
}

async fn ask(request: &Request) -> Result<HttpResponse, HttpError> {
    let mut all = net().request(&asker(&account()), request).await;
    assert_eq!(all.len(), 1);
    all.remove(0).result
}

fn not_sent(result: Result<HttpResponse, HttpError>) -> String {
    match result {
        Err(HttpError::NotSent(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn lost(result: Result<HttpResponse, HttpError>) -> String {
    match result {
        Err(HttpError::Lost(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_is_sent_as_written_and_its_answer_read() {
    let server =
        Server::answering("HTTP/1.1 201 Created\nSet-Cookie: a=1\nset-cookie: b=2\nX-Y: z\ncontent-length: 2\n\n{}")
            .await;
    let request = Request {
        method: Method::Post,
        host: Some("shop.example".into()),
        headers: vec![Header { name: "X-Trace".into(), value: "t".into() }],
        headers_from: vec![HeaderFrom {
            name: "Authorization".into(),
            prefix: Some("Bearer ".into()),
            secret: key("tokens", "qa"),
        }],
        body: Some("{\"limit\":10}".into()),
        idempotency_key: Some("run/step/1".into()),
        ..get(vec![server.address("web-1")])
    };
    let answer = ask(&request).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (201, "{}"));
    assert_eq!(answer.headers["set-cookie"], "a=1, b=2");
    assert_eq!(answer.repeated.iter().collect::<Vec<_>>(), ["set-cookie"]);
    assert_eq!(answer.headers["x-y"], "z");
    let seen = server.seen().remove(0);
    assert!(seen.starts_with("POST /health?x=1 HTTP/1.1\r\n"), "{seen}");
    for line in [
        "host: shop.example",
        "x-trace: t",
        // the line break at the end of the Secret is left out
        "authorization: Bearer s3cr3t",
        "idempotency-key: run/step/1",
        "content-type: application/json",
        "content-length: 12",
        "connection: close",
    ] {
        assert!(seen.lines().any(|l| l == line), "{line} in {seen}");
    }
    assert!(seen.ends_with("\r\n\r\n{\"limit\":10}"), "{seen}");
}

#[tokio::test]
async fn bodies_come_from_secrets_forms_and_files() {
    let server = Server::answering("HTTP/1.1 200 OK\ncontent-length: 0\n\n").await;
    let post = Request { method: Method::Post, ..get(vec![server.address("a")]) };
    let from_secret = Request { body_from: Some(key("tokens", "body")), ..post.clone() };
    let (text, secret) = (|text: &str| Piece::Text(text.into()), |name: &str| Piece::Secret(key("tokens", name)));
    let sealed = |place, text: Vec<Piece>| Sealed { place, text };
    let form = vec![Header { name: "a b".into(), value: "1&2".into() }];
    let file = FilePart {
        name: "file".into(),
        filename: "rows.csv".into(),
        content_type: Some("text/csv".into()),
        config_map: Some(key("pack", "rows.csv")),
        secret: None,
    };
    for request in [
        from_secret,
        Request { form: form.clone(), ..post.clone() },
        Request { form: form.clone(), files: vec![file], ..post.clone() },
        Request {
            sealed: vec![
                sealed(Place::Header("X-Token".into()), vec![text("Bearer "), secret("qa")]),
                sealed(Place::Body, vec![text("{\"b\":\""), secret("body"), text("\"}")]),
            ],
            ..post.clone()
        },
        Request { form, sealed: vec![sealed(Place::Form(0), vec![secret("qa")])], ..post.clone() },
        post,
    ] {
        assert_eq!(ask(&request).await.unwrap().status, 200);
    }
    let seen = server.seen();
    assert!(seen[0].ends_with("\r\n\r\n{\"a\":1}") && seen[0].contains("application/json"), "{}", seen[0]);
    assert!(seen[1].ends_with("\r\n\r\na+b=1%262"), "{}", seen[1]);
    assert!(
        seen[2].contains("multipart/form-data; boundary=") && seen[2].contains("\r\n\r\n1,2\n\r\n--"),
        "{}",
        seen[2]
    );
    let (line, body) = ("x-token: Bearer s3cr3t", r#"{"b":"{\"a\":1}"}"#);
    assert!(seen[3].lines().any(|l| l == line) && seen[3].ends_with(body), "{}", seen[3]);
    assert!(seen[4].ends_with("\r\n\r\na+b=s3cr3t"), "{}", seen[4]);
    assert!(seen[5].contains("content-length: 0") && !seen[5].contains("content-type"), "{}", seen[5]);
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let elsewhere = Server::answering("HTTP/1.1 200 OK\ncontent-length: 0\n\n").await;
    let server =
        Server::answering(&format!("HTTP/1.1 302 Found\nlocation: http://{}/\ncontent-length: 0\n\n", elsewhere.at))
            .await;
    assert_eq!(ask(&get(vec![server.address("a")])).await.unwrap().status, 302);
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn the_head_of_a_resource_has_no_body() {
    let server = Server::answering("HTTP/1.1 200 OK\ncontent-length: 999\n\n").await;
    let answer = ask(&Request { method: Method::Head, ..get(vec![server.address("a")]) }).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert!(server.seen()[0].starts_with("HEAD "));
}

#[tokio::test]
async fn bodies_end_at_64_kib() {
    let answer = |n: usize, head: &str| {
        let mut all = format!("HTTP/1.1 200 OK\r\n{head}\r\n").into_bytes();
        all.extend(vec![b'x'; n]);
        Then::Answer(all)
    };
    let full = Server::new(answer(request::BODY_LIMIT, "content-length: 65536\r\n")).await;
    assert_eq!(ask(&get(vec![full.address("a")])).await.unwrap().body.len(), request::BODY_LIMIT);
    // without a length: until the connection closes
    for head in ["content-length: 65537\r\n", ""] {
        let more = Server::new(answer(request::BODY_LIMIT + 1, head)).await;
        assert_eq!(lost(ask(&get(vec![more.address("a")])).await), "answer larger than 64 KiB");
    }
}

/// A server that says that a gigabyte follows, and sends so much at a time forever; how much it could send.
async fn gigabyte(each: usize, pause: Duration) -> (Address, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await.unwrap();
        while tcp.write_all(&vec![b'x'; each]).await.is_ok() {
            count.fetch_add(each, Ordering::Relaxed);
            tokio::time::sleep(pause.std()).await;
        }
    });
    (Address { name: "endless".into(), ip: at.ip().to_string(), port: at.port(), service: None }, sent)
}

#[tokio::test]
async fn a_gigabyte_is_cut_off_whether_it_comes_fast_or_slowly() {
    let (fast, sent) = gigabyte(16 << 10, Duration::from_millis(0)).await;
    assert_eq!(lost(ask(&get(vec![fast])).await), "answer larger than 64 KiB");
    // What the sockets hold apart, nothing more is taken.
    assert!(sent.load(Ordering::Relaxed) < 16 << 20, "{} bytes were taken", sent.load(Ordering::Relaxed));
    let (slow, sent) = gigabyte(1, Duration::from_millis(5)).await;
    let request = Request { timeout: Duration::from_millis(300), ..get(vec![slow]) };
    assert!(lost(ask(&request).await).contains("no full answer within"));
    assert!(sent.load(Ordering::Relaxed) < request::BODY_LIMIT);
}

#[tokio::test]
async fn not_sent_is_told_from_lost() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = Address { name: "gone".into(), ip: nobody.ip().to_string(), port: nobody.port(), service: None };
    assert!(not_sent(ask(&get(vec![nobody])).await).contains("connection to 127.0.0.1:"));

    let closing = Server::new(Then::Close).await;
    lost(ask(&get(vec![closing.address("a")])).await);
    let garbage = Server::answering("SSH-2.0-OpenSSH\n").await;
    lost(ask(&get(vec![garbage.address("a")])).await);
    let short = Server::answering("HTTP/1.1 200 OK\ncontent-length: 10\n\nabc").await;
    assert!(lost(ask(&get(vec![short.address("a")])).await).contains("broke off"));
    let silent = Server::new(Then::Hang).await;
    let request = Request { timeout: Duration::from_millis(200), ..get(vec![silent.address("a")]) };
    assert!(lost(ask(&request).await).contains("no full answer within"));
    assert_eq!(silent.seen().len(), 1);

    let plain = Server::answering("HTTP/1.1 200 OK\ncontent-length: 0\n\n").await;
    let timeout = Duration::from_millis(500);
    let request = Request { scheme: Scheme::Https, timeout, ..get(vec![plain.address("a")]) };
    assert!(not_sent(ask(&request).await).contains("TLS handshake"));
}

#[tokio::test]
async fn what_secrets_lack_is_named_and_nothing_is_sent() {
    let server = Server::answering("HTTP/1.1 200 OK\ncontent-length: 0\n\n").await;
    let with = |name: &str, of: &str| Request {
        headers_from: vec![HeaderFrom { name: "X-Token".into(), prefix: None, secret: key(name, of) }],
        ..get(vec![server.address("a"), server.address("b")])
    };
    for (name, of, words) in [
        ("missing", "qa", "Secret missing is not there"),
        ("tokens", "prod", "Secret tokens has no key prod"),
        ("closed", "qa", "Secret closed may not be read"),
        ("tokens", "bad", "key bad of Secret tokens has characters"),
    ] {
        let answers = net().request(&asker(&account()), &with(name, of)).await;
        let from: Vec<_> = answers.iter().map(|a| a.from.as_str()).collect();
        assert_eq!(from, ["a", "b"]);
        for answer in answers {
            let why = not_sent(answer.result);
            assert!(why.contains(words), "{why}");
        }
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn one_silent_pod_does_not_hold_up_the_others() {
    let good = Server::answering("HTTP/1.1 200 OK\ncontent-length: 0\n\n").await;
    let silent = Server::new(Then::Hang).await;
    let to = vec![silent.address("slow"), good.address("one"), good.address("two")];
    let answers = net().request(&asker(&account()), &Request { timeout: Duration::from_millis(500), ..get(to) }).await;
    let got: Vec<_> = answers.iter().map(|a| (a.from.as_str(), a.result.is_ok())).collect();
    assert_eq!(got, [("slow", false), ("one", true), ("two", true)]);
}

#[tokio::test]
async fn urls_are_checked_and_nothing_of_them_is_told_but_the_host() {
    let server = Server::answering("HTTP/1.1 200 OK\ncontent-length: 0\n\n").await;
    let url = |text: String| Request { url: Some(text), timeout: Duration::from_secs(5), ..Request::default() };
    assert_eq!(ask(&url(format!("http://{}/a?b=c#d", server.at))).await.unwrap().status, 200);
    let seen = server.seen().remove(0);
    assert!(
        seen.starts_with("GET /a?b=c HTTP/1.1\r\n") && seen.contains(&format!("host: {}\r\n", server.at)),
        "{seen}"
    );

    for text in [
        "http://10.0.0.1/?token=hunter2",
        "http://169.254.169.254/?token=hunter2",
        "http://user:hunter2@127.0.0.1/",
        "ftp://127.0.0.1/hunter2",
        "http://hunter2 /",
        "http://127.0.0.1:1/?token=hunter2",
    ] {
        let answers = net().request(&asker(&account()), &url(text.into())).await;
        assert!(!format!("{answers:?}").contains("hunter2"), "{answers:?}");
        not_sent(answers.into_iter().next().unwrap().result);
    }
}

#[tokio::test]
async fn of_a_url_from_a_secret_not_even_the_host_is_told() {
    let server = Server::answering("HTTP/1.1 200 OK\ncontent-length: 0\n\n").await;
    let url = |text: String| {
        let sealed = vec![Sealed { place: Place::Url, text: vec![Piece::Text(text)] }];
        Request { sealed, timeout: Duration::from_secs(5), ..Request::default() }
    };
    let good = net().request(&asker(&account()), &url(format!("http://{}/hooks/hunter2\n", server.at))).await;
    assert!(good[0].result.is_ok() && good[0].from == "url", "{good:?}");
    assert!(server.seen().remove(0).starts_with("GET /hooks/hunter2 HTTP/1.1\r\n"));
    // Closed to the address rules as any other.
    for text in [
        "http://10.0.0.1/hunter2",
        "http://hunter2.example.com:1/",
        "http://user:hunter2@127.0.0.1/",
        "http://127.0.0.1:1/hunter2",
        "hunter2 http://10.0.0.1",
    ] {
        let answers = net().request(&asker(&account()), &url(text.into())).await;
        let said = format!("{answers:?}");
        assert!(!said.contains("hunter2") && !said.contains("10.0.0.1") && !said.contains("127.0.0.1"), "{said}");
        assert!(answers[0].result.is_err(), "{said}");
    }
    let missing = Request {
        sealed: vec![Sealed { place: Place::Url, text: vec![Piece::Secret(key("tokens", "none"))] }],
        ..url(String::new())
    };
    assert_eq!(not_sent(ask(&missing).await), "Secret tokens has no key none");
}

#[tokio::test]
async fn what_cannot_be_sent_is_said() {
    let server = Server::answering("HTTP/1.1 200 OK\ncontent-length: 0\n\n").await;
    let base = get(vec![server.address("a")]);
    let header = |name: &str, value: &str| vec![Header { name: name.into(), value: value.into() }];
    for (request, words) in [
        (Request { headers: header("Host", "x"), ..base.clone() }, "use the field host"),
        (Request { headers: header("Transfer-Encoding", "chunked"), ..base.clone() }, "set by the connection"),
        (Request { headers: header("X-A", "a\r\nX-B: b"), ..base.clone() }, "header X-A"),
        (Request { headers: header("a b", "c"), ..base.clone() }, "not the name of a header"),
        (Request { path: "/a b".into(), ..base.clone() }, "percent-encode"),
        (Request { to: vec![], ..base.clone() }, "nobody to ask"),
    ] {
        let why = not_sent(ask(&request).await);
        assert!(why.contains(words), "{why}");
    }
    assert!(server.seen().is_empty());
}

/// A server whose name is shop.example, and who vouches for it.
fn tls() -> (Arc<rustls::ServerConfig>, wire::Roots) {
    let certificate = CertificateDer::from(include_bytes!("testdata/server.der").to_vec());
    let key = PrivatePkcs8KeyDer::from(include_bytes!("testdata/server.key.der").to_vec());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(include_bytes!("testdata/ca.der").to_vec())).unwrap();
    (Arc::new(config), wire::Roots::of(roots))
}

#[tokio::test]
async fn a_server_is_known_by_its_certificate() {
    let (config, roots) = tls();
    let answer = Then::Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec());
    let server = Server::with(answer, Some(config)).await;
    let net = Net::for_tests(AddressRules::for_tests(), roots);

    let request = |host: Option<&str>| Request {
        scheme: Scheme::Https,
        host: host.map(Into::into),
        ..get(vec![server.address("a")])
    };
    let answer = net.request(&asker(&account()), &request(Some("shop.example"))).await.remove(0);
    assert_eq!(answer.result.unwrap().body, "ok");
    assert!(server.seen()[0].contains("host: shop.example\r\n"));
    for host in [Some("other.example"), None] {
        let why = not_sent(net.request(&asker(&account()), &request(host)).await.remove(0).result);
        assert!(why.contains("certificate"), "{why}");
    }
    // a root that is not ours
    let net = Net::for_tests(AddressRules::for_tests(), wire::Roots::of(rustls::RootCertStore::empty()));
    not_sent(net.request(&asker(&account()), &request(Some("shop.example"))).await.remove(0).result);
    assert_eq!(server.seen().len(), 1);
}
