//! Other servers with Prometheus's API, as real processes on loopback: they count for the default rule what Prometheus
//! counts, and answer exactly what the operator asks. `tests/run sources` runs this; the servers take minutes to build.

use std::path::{Path, PathBuf};
use std::process::{Command as Build, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cutover::net::prometheus::EXACT;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

#[path = "../e2e/harness/counted.rs"]
mod counted;
#[path = "../e2e/harness/remote_write.rs"]
mod remote_write;
#[path = "../e2e/harness/wait.rs"]
#[allow(dead_code, reason = "most of it waits for objects of a cluster")]
mod wait;

use counted::counted;
use remote_write::{Sample, Series, write};

const READY: Duration = Duration::from_secs(60);

/// A client, once TLS has its provider.
fn http() -> Result<reqwest::Client> {
    // The other test may have done it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().no_proxy().build()?)
}

/// The program of a server, which is built if it is missing.
fn built(name: &str) -> Result<String> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources/tools");
    let output = Build::new(tools).arg(name).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{name} cannot be built");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

async fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

/// An empty folder for the data of a server.
fn folder(name: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sources-{name}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Starts a server, which ends with what is returned, and waits until it is ready.
async fn start(program: &str, args: &[String], ready: &str) -> Result<Child> {
    let mut command = Command::new(program);
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut server = command.spawn().with_context(|| program.to_owned())?;
    let client = http()?;
    wait::poll(ready, READY, async || {
        ensure!(server.try_wait()?.is_none(), "{program} {args:?} has ended");
        Ok(client.get(ready).send().await.is_ok_and(|answer| answer.status().is_success()).then_some(()))
    })
    .await?;
    Ok(server)
}

fn text(value: &serde_json::Value) -> String {
    value["data"]["result"][0]["value"][1].as_str().unwrap_or_default().to_owned()
}

/// One number each second, the seconds of the clock, up to now.
async fn clock(to: &str) -> Result<i64> {
    let now = jiff::Timestamp::now().as_second();
    let samples = (now - 120..=now).map(|at| (at * 1000, Sample::Float(at as f64))).collect();
    write(to, &[Series { labels: vec![("__name__", "clock".to_owned())], samples }]).await?;
    Ok(now)
}

/// A number of a server that answers without what the operator adds to its question.
async fn plainly(url: &str, query: &str, time: i64) -> Result<String> {
    let client = http()?;
    let time = time.to_string();
    let pairs = [("query", query), ("time", &time)];
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let answer = client.get(format!("{url}/api/v1/query?{query}")).send().await?.text().await?;
    Ok(text(&serde_json::from_str(&answer)?))
}

#[tokio::test]
#[ignore = "builds VictoriaMetrics: make night PARTS=sources"]
async fn victoria_metrics_counts_as_prometheus_does_and_answers_for_the_time_asked_for() -> Result<()> {
    let (program, folder, port) = (built("victoriametrics")?, folder("victoriametrics")?, free_port().await?);
    let url = format!("http://127.0.0.1:{port}");
    let args = [
        format!("-storageDataPath={}", folder.display()),
        format!("-httpListenAddr=127.0.0.1:{port}"),
        "-retentionPeriod=1d".into(),
    ];
    let _server = start(&program, &args, &format!("{url}/health")).await?;
    let to = format!("{url}/api/v1/write");
    // It has no native histograms of Prometheus.
    counted(&to, &url, false).await?;
    let now = clock(&to).await?;
    let latest = now.to_string();
    wait::poll("the latest sample is seen", READY, async || {
        Ok((text(&counted::asked(&url, "clock", now).await?) == latest).then_some(()))
    })
    .await?;
    // What the operator adds is needed: without it the answer is of up to 30 s before.
    let before = plainly(&url, "clock", now).await?;
    ensure!(before != latest, "{EXACT:?} is not needed any more");
    Ok(())
}
