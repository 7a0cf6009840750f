//! The application over real sockets of the loopback interface.

mod common;

use common::{Start, request};
use serde_json::json;

#[tokio::test]
async fn plain_paths_answer_with_their_headers() {
    let app = Start::new(&[("VERSION", "2.4.0"), ("COLOUR", "green")]).await;
    for path in [
        "/",
        "/health",
        "/api/health",
        "/ready",
        "/api/system/health/database",
        "/api/system/health/redis",
        "/api/system/health/supabase",
        "/api/system/health/google-cloud",
        "/api/stripe/health",
        "/v1/agents",
        "/api/recall/drill",
        "/api/echo?a=1",
    ] {
        let answer = request(app.addr, "GET", path, &[], "").await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("x-colour"), Some("green"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.header("strict-transport-security").is_some());
        assert!(answer.header("content-security-policy").is_some());
        let head = request(app.addr, "HEAD", path, &[], "").await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
    let root = request(app.addr, "GET", "/", &[], "").await.json();
    assert_eq!((&root["version"], &root["colour"]), (&json!("2.4.0"), &json!("green")));
    assert_eq!(request(app.addr, "GET", "/none", &[], "").await.status, 404);
    assert_eq!(request(app.addr, "POST", "/health", &[], "").await.status, 405);
    let redirect = request(app.addr, "GET", "/redirect", &[], "").await;
    assert_eq!((redirect.status, redirect.header("location")), (302, Some("/health")));
    assert_eq!(request(app.addr, "GET", "/big?bytes=100000", &[], "").await.body.len(), 100_000);
    assert_eq!(request(app.addr, "GET", "/big?bytes=x", &[], "").await.status, 400);
}

#[tokio::test]
async fn any_pod_verifies_a_pack_that_another_one_issued() {
    let (one, other) = (Start::new(&[]).await, Start::new(&[]).await);
    let generate = "/api/v1/audit/packs/generate";
    assert_eq!(request(one.addr, "POST", generate, &[], "{}").await.status, 401);
    let auth = [("Authorization", "Bearer t")];
    let issued = request(one.addr, "POST", generate, &auth, "{}").await.json();
    let id = issued["pack_id"].as_str().unwrap();
    for (id, valid) in [(id, true), ("pack-made-up", false)] {
        let path = format!("/api/v1/audit/packs/{id}/verify");
        let answer = request(other.addr, "POST", &path, &[], "").await.json();
        assert_eq!(answer["valid"], json!(valid), "{id}");
    }
}

#[tokio::test]
async fn echo_shows_the_request() {
    let app = Start::new(&[]).await;
    let headers = [("X-Test", "yes")];
    let echo = request(app.addr, "POST", "/api/echo?a=1&b=x%20y", &headers, r#"{"n":1}"#).await;
    let echo = echo.json();
    assert_eq!(echo["method"], json!("POST"));
    assert_eq!(echo["path"], json!("/api/echo"));
    assert_eq!(echo["query"], json!({"a": "1", "b": "x y"}));
    assert_eq!(echo["headers"]["x-test"], json!("yes"));
    assert_eq!(echo["body"], json!(r#"{"n":1}"#));
    assert_eq!(echo["json"], json!({"n": 1}));
}

#[tokio::test]
async fn faults_start_with_live_load_and_spare_probes() {
    let faults = [("FAULT_ERROR_RATE", "1"), ("FAULT_ONLY_AFTER_LIVE", "1")];
    let app = Start::new(&faults).await;
    assert_eq!(request(app.addr, "GET", "/", &[], "").await.status, 200);
    assert_eq!(request(app.addr, "GET", "/", &[("X-Load", "1")], "").await.status, 500);
    assert_eq!(request(app.addr, "GET", "/", &[], "").await.status, 500);
    assert_eq!(request(app.addr, "GET", "/ready", &[], "").await.status, 200);
    let probe = [("User-Agent", "kube-probe/1.36")];
    assert_eq!(request(app.addr, "GET", "/health", &probe, "").await.status, 200);
    let metrics = request(app.addr, "GET", "/metrics", &[], "").await.body;
    assert!(metrics.contains(r#"http_requests_total{code="200",app="sample","#), "{metrics}");
    let count = |code: u16| {
        let start = format!("http_requests_total{{code=\"{code}\"");
        let line = metrics.lines().find(|line| line.starts_with(&start)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!((count(200), count(500)), ("1".to_owned(), "2".to_owned()));
}

#[tokio::test]
async fn the_user_agent_of_the_load_counts_as_live() {
    let faults = [("FAULT_ERROR_RATE", "1"), ("FAULT_ONLY_AFTER_LIVE", "1")];
    let app = Start::new(&faults).await;
    let agent = [("User-Agent", "cutover-load")];
    assert_eq!(request(app.addr, "GET", "/", &agent, "").await.status, 500);
}

#[tokio::test]
async fn the_control_port_sets_faults_and_ends_the_process() {
    let app = Start::new(&[]).await;
    let fault = request(app.control, "POST", "/fault", &[], r#"{"ready":false}"#).await;
    assert_eq!(fault.status, 200);
    assert_eq!(request(app.addr, "GET", "/ready", &[], "").await.status, 503);
    for wrong in [r#"{"error_rate":7}"#, r#"{"errorrate":1}"#, ""] {
        assert_eq!(request(app.control, "POST", "/fault", &[], wrong).await.status, 400, "{wrong}");
    }
    let both = r#"{"ready":true,"error_rate":1}"#;
    request(app.control, "POST", "/fault", &[], both).await;
    assert_eq!(request(app.addr, "GET", "/ready", &[], "").await.status, 200);
    assert_eq!(request(app.addr, "GET", "/", &[], "").await.status, 500);
    let view = request(app.control, "GET", "/fault", &[], "").await.json();
    assert_eq!(view["error_rate"], json!(1.0));
    assert_eq!(request(app.control, "POST", "/exit?code=7", &[], "").await.status, 202);
    assert_eq!(app.run.await.unwrap(), 7);
}

#[tokio::test]
async fn a_crash_ends_the_process_with_code_1() {
    let app = Start::new(&[]).await;
    request(app.control, "POST", "/fault", &[], r#"{"crash":true}"#).await;
    assert_eq!(app.run.await.unwrap(), 1);
}

#[tokio::test]
async fn a_death_by_live_load_is_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let vars = [("FAULT_DIE_AFTER_LIVE_MS", "0"), ("FAULT_STATE_DIR", dir), ("POD_NAME", "p-1")];
    let app = Start::new(&vars).await;
    assert_eq!(request(app.addr, "GET", "/", &[], "").await.status, 200);
    assert!(!app.run.is_finished());
    request(app.addr, "GET", "/", &[("X-Load", "1")], "").await;
    assert_eq!(app.run.await.unwrap(), 1);
    // The restarted container is never ready and dies without any load.
    let again = Start::new(&vars).await;
    assert_eq!(request(again.addr, "GET", "/ready", &[], "").await.status, 503);
    assert_eq!(again.run.await.unwrap(), 1);
    // Another pod of the same release is not touched.
    let other = [("FAULT_DIE_AFTER_LIVE_MS", "0"), ("FAULT_STATE_DIR", dir), ("POD_NAME", "p-2")];
    let other = Start::new(&other).await;
    assert_eq!(request(other.addr, "GET", "/ready", &[], "").await.status, 200);
}

#[tokio::test]
async fn the_drain_answers_and_then_ends_with_code_0() {
    let app = Start::new(&[("DRAIN_MS", "2000")]).await;
    assert_eq!(request(app.addr, "GET", "/ready", &[], "").await.status, 200);
    // A request that runs on beyond the drain gets its answer.
    let addr = app.addr;
    let slow = tokio::spawn(async move { request(addr, "GET", "/slow?ms=2500", &[], "").await });
    // A connection that stays open without a request must not delay the end.
    let idle = tokio::net::TcpStream::connect(addr).await.unwrap();
    app.terminate.send(()).unwrap();
    while request(addr, "GET", "/ready", &[], "").await.status != 503 {}
    let answer = request(addr, "GET", "/", &[("Connection", "keep-alive")], "").await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(app.run.await.unwrap(), 0);
    assert_eq!(slow.await.unwrap().status, 200);
    drop(idle);
}
