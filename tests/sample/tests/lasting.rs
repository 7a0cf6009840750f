//! Clients that never close their connection by themselves, in every protocol of the application: they stay where they are
//! while new connections go elsewhere, and move, without a loss, when the pod that they are connected to ends.

mod common;

use common::{Start, request};
use sample::load::{Load, LoadConfig, LoadHandle, Report, serve};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

/// Clients of each protocol.
const CLIENTS: usize = 3;
/// In all four.
const ALL: usize = 4 * CLIENTS;

/// What a Service does: each new connection is led to the present target, and stays there.
struct Service {
    addr: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
}

impl Service {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, target) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(target)));
        let present = target.clone();
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let to = *present.lock().unwrap();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(to).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { addr, target }
    }

    fn select(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
    }
}

fn config(addr: SocketAddr) -> LoadConfig {
    let mut config = LoadConfig::new(&format!("http://{addr}/")).unwrap();
    (config.fresh_rate, config.lasting) = (0.0, CLIENTS);
    config.lasting_every = Duration::from_millis(20);
    config
}

async fn until(load: &LoadHandle, test: impl Fn(&Report) -> bool) -> Report {
    loop {
        let report = load.snapshot();
        assert!(!report.finished, "{report:#?}");
        if test(&report) {
            return report;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn answers(report: &Report) -> u64 {
    report.lasting.values().flat_map(|kind| &kind.clients).map(|client| client.answers).min().unwrap_or_default()
}

#[tokio::test]
async fn clients_stay_until_their_pod_ends_and_then_move_without_a_loss() {
    let green = Start::new(&[("COLOUR", "green"), ("POD_NAME", "g-1"), ("DRAIN_MS", "300")]).await;
    let blue = Start::new(&[("COLOUR", "blue"), ("POD_NAME", "b-1")]).await;
    let service = Service::to(green.addr).await;
    let load = Load::start(config(service.addr));
    let before = until(&load, |report| report.lasting_on("green") == (ALL, ALL)).await;

    service.select(blue.addr);
    let later = until(&load, |report| answers(report) >= answers(&before) + 3).await;
    assert_eq!(later.lasting_on("green"), (ALL, ALL), "new connections alone go to the other side");

    let ends = jiff::Timestamp::now();
    green.terminate.send(()).unwrap();
    until(&load, |report| report.lasting_on("blue") == (ALL, ALL)).await;
    assert_eq!(green.run.await.unwrap(), 0);
    let report = load.stop().await;
    assert_eq!((report.ended_by.as_deref(), report.sent), (Some("stop"), 0));
    let names: Vec<&str> = report.lasting.keys().map(String::as_str).collect();
    assert_eq!(names, ["grpc", "http1", "http2", "websocket"]);
    for (name, kind) in &report.lasting {
        assert_eq!((kind.lost, kind.app_errors, kind.ok), (0, 0, kind.sent), "{name}: {kind:#?}");
        assert_eq!(kind.connections, 2 * CLIENTS as u64, "{name}: one connection for each pod");
        assert!(kind.left("green", ends).iter().all(Option::is_some) && kind.left("blue", ends).is_empty(), "{name}");
        assert!(kind.clients.iter().all(|client| client.pod.as_deref() == Some("b-1")), "{name}");
    }
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

#[tokio::test]
async fn a_pod_that_dies_is_a_loss_to_every_client() {
    let dies = Start::new(&[("COLOUR", "green")]).await;
    let load = Load::start(config(dies.addr));
    until(&load, |report| report.lasting_on("green") == (ALL, ALL)).await;
    request(dies.control, "POST", "/fault", &[], r#"{"crash":true}"#).await;
    let report = until(&load, |report| report.lasting.values().all(|kind| kind.lost > 0)).await;
    assert!(report.lasting.values().all(|kind| !kind.losses.is_empty()));
}

#[tokio::test]
async fn errors_of_the_application_are_no_losses() {
    let app = Start::new(&[("FAULT_ERROR_RATE", "1")]).await;
    let load = Load::start(config(app.addr));
    // The websocket is refused with an error, again and again.
    let report = until(&load, |report| report.lasting.values().all(|kind| kind.app_errors > 2)).await;
    assert!(report.lasting.values().all(|kind| (kind.lost, kind.ok) == (0, 0)), "{report:#?}");
}

#[tokio::test]
async fn clients_that_are_to_wait_connect_when_they_are_told() {
    let app = Start::new(&[("COLOUR", "blue")]).await;
    let mut config = config(app.addr);
    config.lasting_later = true;
    config.fresh_rate = 100.0;
    let load = Load::start(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, load.clone()));
    let before = until(&load, |report| report.ok > 5).await;
    assert!(before.lasting.values().all(|kind| kind.connections == 0));
    assert_eq!(request(addr, "POST", "/connect", &[], "").await.status, 200);
    until(&load, |report| report.lasting_on("blue") == (ALL, ALL)).await;
    load.stop().await;
    assert_eq!(request(addr, "POST", "/connect", &[], "").await.status, 409);
}
