//! `demo`: three releases, one after another, under constant load on a real cluster.
//!
//! It does what a team with a delivery pipeline does: applies manifests and watches. Everything that happens to the
//! traffic is done by the operator.

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use cutover::api::Phase;
use demo::cluster::{self, Cluster};
use demo::load::Load;
use demo::outcome::{self, Row};
use demo::scene::{RELEASES, Release, SERVICE_NAME, Scenery};
use demo::screen::{Look, Screen};
use demo::{follow, trouble};
use jiff::Timestamp;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Longest time of the whole demonstration.
const WHOLE: Duration = Duration::from_secs(8 * 60);
/// Longest time of one release.
const ONE_RELEASE: Duration = Duration::from_secs(150);
/// Load before the first change and after the last one, so that both sides of every switch are seen.
const LOAD_ALONE: Duration = Duration::from_secs(2);
/// Longest wait after a rollback for clients that keep their connection to the side that was left.
const FOLLOW: Duration = Duration::from_secs(10);

/// Three releases under constant load: a good one, one with errors, one whose pods die
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Namespace of the demonstration: made, and deleted at the end
    #[arg(long, default_value = "cutover-demo")]
    namespace: String,
    /// Namespace in which the operator runs
    #[arg(long, default_value = "cutover-system")]
    operator_namespace: String,
    /// Manifests that a tenant applies: its ServiceAccount and rights
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/tenant"))]
    tenant: PathBuf,
    /// Image of the stand-in application and the load generator
    #[arg(long, default_value = "docker.io/cutover/sample:dev")]
    sample_image: String,
    /// Image of Prometheus
    #[arg(long, default_value = "docker.io/cutover/prometheus:1")]
    prometheus_image: String,
    /// How that Prometheus finds the pods
    #[arg(long, value_enum, default_value_t = Discovery::Dns)]
    discovery: Discovery,
    /// Leave everything running for a look around
    #[arg(long, env = "KEEP", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    keep: bool,
    /// Form of the table at the end; with json everything else goes to stderr
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Discovery {
    Dns,
    Kubernetes,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    // Another provider may be compiled in by a dependency: say which one is meant.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let screen = Screen::new(cli.output == Output::Json);
    let cluster = match Cluster::connect(&cli.namespace).await {
        Ok(cluster) => cluster,
        Err(error) => {
            screen.say(Look::Red, &format!("demo: {error:#}"));
            return ExitCode::from(2);
        }
    };
    let mut rows = Vec::new();
    let mut interrupted = false;
    let played = tokio::select! {
        played = timeout(WHOLE, play(&cli, &cluster, &screen, &mut rows)) => {
            played.unwrap_or_else(|_| Err(anyhow::anyhow!("not over after {WHOLE:?}")))
        }
        _ = tokio::signal::ctrl_c() => {
            interrupted = true;
            Ok(())
        }
    };
    if let Err(error) = &played {
        screen.heading("The demonstration could not go on");
        screen.say(Look::Red, &format!("  {error:#}"));
        trouble::show(&cluster, &screen, &cli.operator_namespace).await;
    }
    if interrupted {
        screen.say(Look::Yellow, "  Interrupted.");
    }
    let good = finale(&cli, &screen, &rows) && played.is_ok() && !interrupted;
    if cli.keep {
        show_around(&cli, &screen);
    } else {
        screen.explain(&format!("Taking namespace {} away.", cli.namespace));
        if let Err(error) = cluster.delete_namespace(Duration::from_secs(90)).await {
            screen.say(Look::Yellow, &format!("  {error:#}"));
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Everything up to the last release. Rows are added as they come, so that a failure does not lose them.
async fn play(cli: &Cli, cluster: &Cluster, screen: &Screen, rows: &mut Vec<Row>) -> Result<()> {
    let scenery = Scenery {
        namespace: cli.namespace.clone(),
        sample_image: cli.sample_image.clone(),
        prometheus_image: cli.prometheus_image.clone(),
        kubernetes_discovery: cli.discovery == Discovery::Kubernetes,
    };
    prepare(cli, cluster, screen, &scenery).await?;
    for (index, release) in RELEASES.iter().enumerate() {
        screen.heading(&format!(
            "Release {} of {}: {} to {}, expected to end {}",
            index + 1,
            RELEASES.len(),
            release.version,
            release.side,
            release.expected
        ));
        screen.explain(release.about);
        rows.push(run(cluster, screen, &scenery, release, index + 1).await?);
    }
    Ok(())
}

/// Puts everything on stage, whatever an earlier demonstration left there.
async fn prepare(cli: &Cli, cluster: &Cluster, screen: &Screen, scenery: &Scenery) -> Result<()> {
    screen.heading("Setting the stage");
    if cluster.delete_namespace(Duration::from_secs(90)).await? {
        screen.explain("An earlier demonstration was there and is gone.");
    }
    cluster.make_namespace().await?;
    cluster.wait_operator(&cli.operator_namespace, Duration::from_secs(90)).await?;
    cluster.apply_folder(&cli.tenant).await.context("the tenant's ServiceAccount and rights")?;
    cluster.apply_all(&scenery.application()?).await?;
    cluster.apply_all(&scenery.prometheus()?).await?;
    for name in ["creditai-blue", "creditai-green", "prometheus"] {
        cluster.wait_deployment(name, Duration::from_secs(120)).await?;
    }
    screen.explain(&format!(
        "Namespace {}: Service {SERVICE_NAME} points to creditai-blue (2.3.1, 3 pods); creditai-green has 3 pods too.
        A Prometheus scrapes every pod each second. The operator acts here as ServiceAccount cutover, with the
        rights that deploy/tenant grants it in this namespace, and with no others.",
        cli.namespace
    ));
    Ok(())
}

/// One release: load, new image on the idle side, Cutover, end.
async fn run(cluster: &Cluster, screen: &Screen, scenery: &Scenery, release: &Release, number: usize) -> Result<Row> {
    let load = Load::start(cluster, scenery, number).await?;
    wait_metrics(cluster).await?;
    screen.explain(&format!(
        "Load: 200 requests a second on fresh connections and 50 on kept-alive ones; {} is live. Once {} is, 12 clients
        connect to it that never close their connection: three each of HTTP/1.1, HTTP/2, gRPC and websockets.",
        release.from, release.side
    ));
    sleep(LOAD_ALONE).await;
    cluster.apply(&scenery.deployment(release)?).await?;
    let applied = Timestamp::now();
    cluster.apply(&scenery.cutover(release)?).await?;
    screen.line(&format!(
        "      $ kubectl apply -f cutover.yaml   # release.version: {}, activate: {}",
        release.version, release.side
    ));
    let (name, journal) = follow::follow(cluster, screen, &load, release, ONE_RELEASE).await?;
    if journal.phase == Phase::RolledBack {
        // Who stays all the same is named in the row.
        let gone = || async { Ok((load.report().await?.lasting_on(release.side).1 == 0).then_some(())) };
        cluster::wait(FOLLOW, gone).await?;
    }
    sleep(LOAD_ALONE).await;
    let report = load.stop().await?;
    let row = outcome::row(release, applied, &journal, &report)?;
    let ending = journal.ending.as_ref().map(|ending| format!(": {}", ending.message)).unwrap_or_default();
    screen.line(&format!("  Run {name} ended {}{ending}", journal.phase));
    screen.explain(&in_words(&row, release));
    Ok(row)
}

/// Waits until Prometheus has two samples of the load, so that rates exist.
async fn wait_metrics(cluster: &Cluster) -> Result<()> {
    let query = "/api/v1/query?query=sum(rate(http_requests_total%7Bcode%3D%22200%22%7D%5B5s%5D))%20%3E%20100";
    let asked = cluster::wait(Duration::from_secs(60), || async {
        // Not ready yet, or a pod that is just going away: asked again.
        let answer = cluster.proxy(http::Method::GET, "services/prometheus:9090", query).await.unwrap_or_default();
        Ok(answer.contains("\"value\"").then_some(()))
    });
    asked.await?.context("Prometheus does not see the load on the application")
}

fn in_words(row: &Row, release: &Release) -> String {
    let total = row.fresh.sent + row.kept_alive.sent;
    let mut text = format!(
        "{total} requests during this release; lost {} on fresh and {} on kept-alive connections.",
        row.fresh.lost, row.kept_alive.lost
    );
    if let Some(time) = row.trigger_to_restored_seconds {
        text += &format!("\n{time:.2} s from the trigger to the selector on the old side.");
    }
    if let Some(time) = row.errors_for_seconds {
        text += &format!("\nUsers met errors for {time:.1} s, from the first one to the last one.");
    }
    if let Some(lasting) = row.lasting.as_ref().filter(|lasting| lasting.clients > 0) {
        text += &format!(
            "\n{} clients that never close their connection (HTTP/1.1, HTTP/2, gRPC, websocket) were on {}; {} moved to {}",
            lasting.clients, release.side, lasting.moved, release.from
        );
        if let (Some(pods), Some(closed)) = (lasting.pods, lasting.restored_to_closed_seconds) {
            text += &format!(".\nIts {pods} pods were ended {closed:.1} s after the restore");
        }
        match lasting.closed_to_moved_seconds {
            Some(time) if time >= 0.0 => text += &format!("; the last client was there {time:.1} s later"),
            Some(_) => text += "; every client was there before, since its pod had died",
            None => {}
        }
        text.push('.');
    }
    text
}

/// The table; says whether all is well.
fn finale(cli: &Cli, screen: &Screen, rows: &[Row]) -> bool {
    let complete = rows.len() == RELEASES.len();
    let good = complete && rows.iter().all(|row| row.problems.is_empty());
    if cli.output == Output::Json {
        println!("{}", serde_json::json!({"ok": good, "releases": rows}));
    } else if !rows.is_empty() {
        screen.heading("All releases");
        screen.line(&outcome::table(rows));
    }
    for row in rows {
        for problem in &row.problems {
            screen.say(Look::Red, &format!("  {}: {problem}", row.release));
        }
    }
    if good {
        screen.line("");
        screen.say(
            Look::Green,
            "Every release ended as it should, and no planned switch lost a request on a fresh connection.",
        );
        screen.explain(
            "LOST: refused, reset, cut off or unanswered. A kept-alive connection stays with its pod until it is closed
            (here after 1 s); a switch moves new connections. LONG CONNECTIONS: never closed by their client; they follow
            a rollback when the pods of the side that was left are ended. APP ERRORS: answers with 5xx, which the release
            gave.",
        );
    }
    good
}

fn show_around(cli: &Cli, screen: &Screen) {
    let ns = &cli.namespace;
    screen.heading("Kept for a look around (KEEP=1)");
    for (command, about) in [
        (format!("kubectl get cutovers,cutoverruns -n {ns}"), "where everything stands"),
        (format!("kubectl describe cutoverrun -n {ns}"), "what was done and seen, step by step"),
        (format!("kubectl get service {SERVICE_NAME} -n {ns} -o jsonpath='{{.spec.selector}}'"), "what is live"),
        (format!("kubectl get events -n {ns} --sort-by=.lastTimestamp"), "what happened"),
        (
            format!("kubectl logs -n {} -l app.kubernetes.io/name=cutover-operator", cli.operator_namespace),
            "what the operator says",
        ),
        (format!("kubectl delete namespace {ns}"), "when you are done"),
    ] {
        screen.line(&format!("  {command}   # {about}"));
    }
    if std::env::var_os("CUTOVER_NETNS").is_some() {
        screen.explain(
            "On the test cluster put `tests/cluster/cluster exec` before each; `tests/cluster/cluster down` ends it.",
        );
    }
}
