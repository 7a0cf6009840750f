//! Notifications: through a proxy, from files of the operator, and the look beforehand.

use url::Host;

use super::super::notify::Looked;
use super::super::outgoing::{Offer, Outgoing, Proxy};
use super::*;
use crate::api::notify::Notify;
use crate::effect::Outcome;
use crate::effect::letter::Told;
use crate::effect::protocol::Notification;

/// The host in the certificate of the tests' server.
const NAME: &str = "shop.example";

fn receiver(value: serde_json::Value) -> Notify {
    serde_json::from_value(value).expect("a receiver")
}

/// An account that may read one Secret, which holds this.
fn holding(values: &[(&str, String)]) -> kube::Client {
    let data: serde_json::Map<String, serde_json::Value> =
        values.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let data = Arc::new(data);
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let data = data.clone();
        async move {
            let found = request.uri().path().ends_with("/secrets/team");
            let encoded: serde_json::Map<String, serde_json::Value> = data
                .iter()
                .map(|(key, value)| {
                    let bytes = k8s_openapi::ByteString(value.as_str().unwrap_or_default().as_bytes().to_vec());
                    (key.clone(), serde_json::to_value(bytes).expect("JSON"))
                })
                .collect();
            let body = match found {
                true => json!({"metadata": {"name": "team"}, "data": encoded}),
                false => {
                    json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": ""})
                }
            };
            let body = serde_json::to_vec(&body).expect("JSON");
            let answer = http::Response::builder().status(if found { 200 } else { 404 });
            Ok::<_, std::convert::Infallible>(answer.body(kube::client::Body::from(body)).expect("an answer"))
        }
    });
    kube::Client::new(service, "prod")
}

fn letter() -> crate::effect::letter::Letter {
    let f = crate::actions::fixtures::Fixture::new();
    let run = crate::effect::letter::RunOf { name: "shop-1".into(), uid: "u".into() };
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    crate::notify::sample(&f.plan, &f.journal, run, crate::api::notify::NotifyEvent::Switching, now).0
}

async fn tell(net: &Net, client: &kube::Client, receiver: Notify) -> Told {
    let it = Notification { receiver, letter: letter(), thread: None };
    match net.notify(&asker(client), &it).await {
        Outcome::Told(told) => told,
        other => panic!("{other:?}"),
    }
}

/// A proxy that leads wherever it is asked to one server, or refuses; what it was asked.
async fn proxy(server: SocketAddr, answer: &'static str) -> (Proxy, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a proxy");
    let (at, asked) = (listener.local_addr().expect("an address"), Arc::new(Mutex::new(vec![])));
    let seen = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut head = vec![];
                while !head.ends_with(b"\r\n\r\n") {
                    match client.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
                seen.lock().unwrap().push(line);
                client.write_all(answer.as_bytes()).await.ok();
                if let Ok(mut server) = tokio::net::TcpStream::connect(server).await {
                    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
                }
            });
        }
    });
    (Proxy { host: Host::Ipv4(std::net::Ipv4Addr::LOCALHOST), port: at.port(), direct: vec![] }, asked)
}

const LED: &str = "HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n";

fn teams() -> Notify {
    receiver(json!({"name": "team", "teams": {"secret": {"name": "team", "key": "url"}}}))
}

#[tokio::test]
async fn https_leaves_through_the_proxy_which_resolves_the_name() {
    let (config, roots) = tls();
    let server =
        Server::with(Then::Answer(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec()), Some(config));
    let server = server.await;
    let (proxy, asked) = proxy(server.at, LED).await;
    let outgoing = Outgoing::new(Default::default(), Some(proxy));
    // No loopback address would do for a receiver: the proxy alone is the administrator's.
    let net = Net::for_tests_with(AddressRules::for_tests(), roots, outgoing);
    let client = holding(&[("url", format!("https://{NAME}/hook?sig=canary"))]);
    let told = tell(&net, &client, teams()).await;
    assert!(matches!(&told, Told::Received { answer, .. } if answer == "202"), "{told:?}");
    assert_eq!(*asked.lock().unwrap(), [format!("CONNECT {NAME}:443 HTTP/1.1")]);
    let seen = server.seen().remove(0);
    assert!(seen.starts_with("POST /hook?sig=canary HTTP/1.1") && seen.contains("host: shop.example"), "{seen}");
}

#[tokio::test]
async fn what_a_proxy_refuses_is_told_and_written_addresses_are_held_to_the_rules() {
    let (proxy, asked) = proxy("127.0.0.1:9".parse().expect("an address"), "HTTP/1.1 403 Forbidden\r\n\r\n").await;
    let outgoing = Outgoing::new(Default::default(), Some(proxy));
    let net = Net::for_tests_with(AddressRules::for_tests(), wire::Roots::default(), outgoing);
    let why = |told: Told| match told {
        Told::Not { why, .. } => why,
        Told::Received { .. } => panic!("{told:?}"),
    };
    let told = why(tell(&net, &holding(&[("url", "https://hooks.example/canary".into())]), teams()).await);
    assert!(told.contains("does not lead to hooks.example:443: it answered 403") && !told.contains("canary"), "{told}");
    for private in ["https://10.0.0.1/", "https://169.254.169.254/", "https://[fd00::1]/"] {
        let told = why(tell(&net, &holding(&[("url", private.into())]), teams()).await);
        assert!(told.contains("may not be asked"), "{private}: {told}");
    }
    assert_eq!(asked.lock().unwrap().len(), 1, "the proxy was not asked for these");
}

#[tokio::test]
async fn a_proxy_that_talks_nonsense_holds_up_nothing() {
    for (answer, wanted) in [("SSH-2.0-x\r\n\r\n", "does not speak HTTP/1"), ("HTTP/1.1 200 OK\r\n", "early eof")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a proxy");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                client.write_all(answer.as_bytes()).await.ok();
            }
        });
        let proxy = Proxy { host: Host::Ipv4(std::net::Ipv4Addr::LOCALHOST), port, direct: vec![] };
        let outgoing = Outgoing::new(Default::default(), Some(proxy));
        let net = Net::for_tests_with(AddressRules::for_tests(), wire::Roots::default(), outgoing);
        let told = tell(&net, &holding(&[("url", "https://hooks.example/".into())]), teams()).await;
        let text = format!("{told:?}");
        // One that closes with our bytes unread resets the connection.
        assert!(text.contains(wanted) || text.contains("reset"), "{text}");
    }
}

#[tokio::test]
async fn an_offered_receiver_is_told_with_the_operators_files_and_tenants_hear_nothing_of_them() {
    let server = Server::answering("HTTP/1.1 202 Accepted\ncontent-length: 0\n\n").await;
    let folder = std::env::temp_dir().join(format!("cutover-receivers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("url");
    let key = super::super::outgoing::key_of(&file).expect("a file");
    let kind = receiver(json!({"name": "", "teams": {"secret": {"name": key.name, "key": key.key}}}));
    let offers = [("platform".to_owned(), Offer { receiver: kind, namespaces: None })].into();
    let outgoing = Outgoing::new(offers, None);
    let net = Net::for_tests_with(AddressRules::for_tests(), wire::Roots::default(), outgoing);
    // Its own Secrets are not read.
    let client = holding(&[]);
    let given = receiver(json!({"name": "on-call", "offered": "platform"}));

    let missing = tell(&net, &client, given.clone()).await;
    let looked = net.receivers(&client, "prod", std::slice::from_ref(&given)).await;
    std::fs::write(&file, format!("http://{}/hook\n", server.at)).expect("written");
    let told = tell(&net, &client, given.clone()).await;
    let after = net.receivers(&client, "prod", std::slice::from_ref(&given)).await;
    std::fs::remove_dir_all(&folder).expect("removed");

    let Told::Not { why, .. } = missing else { panic!("{missing:?}") };
    let hidden = |text: &str| !text.contains("cutover-receivers") && !text.contains("127.0.0.1");
    assert!(why.contains("operator's receiver platform cannot be told") && hidden(&why), "{why}");
    assert_eq!(looked.findings.len(), 1);
    assert!(
        looked.findings[0].field == "spec.notify[on-call].offered" && hidden(&looked.findings[0].why),
        "{looked:?}"
    );
    assert!(matches!(&told, Told::Received { answer, .. } if answer == "202"), "{told:?}");
    assert_eq!(after, Looked::default());
    assert!(server.seen()[0].starts_with("POST /hook HTTP/1.1"));
}

#[tokio::test]
async fn an_event_that_the_kind_of_an_offered_receiver_does_not_take_is_not_sent() {
    let kind = receiver(json!({"name": "", "teams": {"secret": {"name": "/nowhere", "key": "url"}}}));
    let offers = [("platform".to_owned(), Offer { receiver: kind, namespaces: None })].into();
    let net = Net::for_tests_with(AddressRules::for_tests(), wire::Roots::default(), Outgoing::new(offers, None));
    let given = receiver(json!({"name": "a", "offered": "platform", "events": ["Completed"]}));
    let told = tell(&net, &holding(&[]), given).await;
    assert!(matches!(&told, Told::Received { answer, .. } if answer == "nothing to send"), "{told:?}");
}

#[tokio::test]
async fn a_look_finds_what_is_wrong_and_asks_nobody() {
    let server = Server::answering("HTTP/1.1 200 OK\ncontent-length: 0\n\n").await;
    let net = net();
    let look = async |url: String| {
        let client = holding(&[("url", url)]);
        net.receivers(&client, "prod", &[teams()]).await
    };
    assert_eq!(look(format!("http://{}/hook", server.at)).await, Looked::default());
    assert!(server.seen().is_empty(), "it was only looked at");
    for (url, wanted) in [
        ("http://10.0.0.1/canary", "10.0.0.1 may not be asked"),
        ("https://canary:canary@hooks.example/", "carries a user or a password"),
        ("https://", "not valid"),
        ("canary", "it is no URL"),
    ] {
        let looked = look(url.into()).await;
        let found = &looked.findings;
        assert!(found.len() == 1 && found[0].field == "spec.notify[team].teams.secret", "{looked:?}");
        assert!(found[0].why.contains(wanted) && !found[0].why.contains("canary"), "{looked:?}");
    }
    let client = holding(&[]);
    let other = receiver(json!({"name": "x", "teams": {"secret": {"name": "none", "key": "url"}}}));
    let looked = net.receivers(&client, "prod", &[other]).await;
    assert!(looked.findings.len() == 1 && looked.findings[0].why.contains("Secret none is not there"), "{looked:?}");
}
