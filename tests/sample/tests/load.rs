//! The load generator against services that answer well, badly and not at all.

mod common;

use common::{Start, request};
use sample::load::{Load, LoadConfig, Report, serve};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Ends by its count, so that tests depend on no clock.
fn config(addr: SocketAddr, requests: u64) -> LoadConfig {
    let mut config = LoadConfig::new(&format!("http://{addr}/")).unwrap();
    config.max_requests = requests;
    config
}

/// A service that does `answer` with each connection after reading a request.
async fn service<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            tokio::spawn(answer(stream));
        }
    });
    addr
}

fn adds_up(report: &Report) {
    assert!(report.finished);
    assert_eq!(report.in_flight, 0);
    let ends = report.ok + report.app_errors + report.answered_4xx + report.lost;
    assert_eq!(report.sent, ends);
    let marks = |field: fn(&sample::load::MarkReport) -> u64| -> u64 { report.marks.iter().map(field).sum() };
    assert_eq!(marks(|mark| mark.sent), report.sent);
    assert_eq!(marks(|mark| mark.lost), report.lost);
}

#[tokio::test]
async fn both_pools_count_good_answers() {
    let app = Start::new(&[("COLOUR", "blue")]).await;
    let mut config = config(app.addr, 60);
    config.keepalive_rate = 200.0;
    config.keepalive_age = Duration::from_secs(600);
    let report = Load::start(config).wait().await;
    adds_up(&report);
    assert_eq!((report.ok, report.lost), (60, 0));
    assert_eq!(report.ended_by.as_deref(), Some("max-requests"));
    let (fresh, kept) = (&report.pools["fresh"], &report.pools["keepalive"]);
    assert_eq!(fresh.colours["blue"].count + kept.colours["blue"].count, 60);
    assert_eq!(fresh.connections, fresh.sent);
    assert!(kept.connections <= kept.sent);
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

#[tokio::test]
async fn a_server_error_is_not_a_loss() {
    let app = Start::new(&[("FAULT_ERROR_RATE", "0.5")]).await;
    let report = Load::start(config(app.addr, 20)).wait().await;
    adds_up(&report);
    assert_eq!((report.ok, report.app_errors, report.lost), (10, 10, 0));
}

#[tokio::test]
async fn a_refused_connection_is_a_loss() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let report = Load::start(config(addr, 25)).wait().await;
    adds_up(&report);
    let fresh = &report.pools["fresh"];
    assert_eq!((report.lost, fresh.lost_kinds["refused"], fresh.losses.len()), (25, 25, 20));
    assert_eq!((fresh.losses[0].kind.as_str(), fresh.losses[0].mark.as_str()), ("refused", "start"));
}

#[tokio::test]
async fn a_reset_is_a_loss() {
    let addr = service(|stream| async move { stream.set_zero_linger().unwrap() }).await;
    let mut config = config(addr, 20);
    config.keepalive_rate = 200.0;
    let report = Load::start(config).wait().await;
    adds_up(&report);
    assert_eq!(report.lost, 20);
    for pool in report.pools.values() {
        assert_eq!(pool.lost_kinds.get("reset"), Some(&pool.lost), "{:?}", pool.losses);
    }
}

#[tokio::test]
async fn half_an_answer_is_a_loss() {
    let addr = service(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    })
    .await;
    let report = Load::start(config(addr, 5)).wait().await;
    adds_up(&report);
    assert_eq!((report.lost, report.pools["fresh"].lost_kinds["closed"]), (5, 5));
}

#[tokio::test]
async fn silence_is_a_loss() {
    let addr = service(|stream| async move {
        let _open: TcpStream = stream;
        std::future::pending().await
    })
    .await;
    let mut config = config(addr, 5);
    config.timeout = Duration::from_millis(20);
    let report = Load::start(config).wait().await;
    adds_up(&report);
    assert_eq!((report.lost, report.pools["fresh"].lost_kinds["timeout"]), (5, 5));
}

#[tokio::test]
async fn a_kept_connection_closed_by_the_server_is_replaced() {
    // Announces keep-alive, yet closes after each answer. A request may meet the
    // close before or after it is written; no request may go missing in the count.
    let addr = service(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let mut config = config(addr, 30);
    (config.fresh_rate, config.keepalive_rate) = (0.0, 500.0);
    let report = Load::start(config).wait().await;
    adds_up(&report);
    assert_eq!(report.sent, 30);
}

#[tokio::test]
async fn requests_belong_to_the_mark_before_them() {
    let app = Start::new(&[]).await;
    let mut config = config(app.addr, 1_000_000);
    config.fresh_rate = 500.0;
    let load = Load::start(config);
    while load.snapshot().ok < 10 {
        tokio::task::yield_now().await;
    }
    // From here on the service errs, and only requests after it can see that.
    assert!(load.mark("errors"));
    request(app.control, "POST", "/fault", &[], r#"{"error_rate":1}"#).await;
    while load.snapshot().app_errors < 10 {
        tokio::task::yield_now().await;
    }
    let report = load.stop().await;
    adds_up(&report);
    assert_eq!(report.ended_by.as_deref(), Some("stop"));
    assert!(!load.mark("late"));
    let names: Vec<_> = report.marks.iter().map(|mark| mark.name.as_str()).collect();
    assert_eq!(names, ["start", "errors"]);
    assert_eq!(report.marks[0].until.as_ref(), Some(&report.marks[1].from));
    assert!(report.mark("errors").unwrap().app_errors > 0);
}

#[tokio::test]
async fn report_and_marks_over_http() {
    let app = Start::new(&[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, Load::start(config(app.addr, 1_000_000))));
    assert_eq!(request(addr, "POST", "/mark/switch", &[], "").await.status, 200);
    let so_far: Report = serde_json::from_str(&request(addr, "GET", "/report", &[], "").await.body).unwrap();
    assert!(!so_far.finished);
    assert_eq!(so_far.marks[1].name, "switch");
    let end: Report = serde_json::from_str(&request(addr, "POST", "/stop", &[], "").await.body).unwrap();
    adds_up(&end);
    assert_eq!(request(addr, "POST", "/mark/late", &[], "").await.status, 409);
    assert_eq!(request(addr, "GET", "/none", &[], "").await.status, 404);
}
