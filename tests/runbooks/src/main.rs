//! `runbooks`: every example to its good end and, by its own triggers, back, on a real cluster.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use demo::cluster::Cluster;
use demo::scene::Scenery;
use demo::screen::{Look, Screen};
use demo::trouble;
use kube::Client;
use runbooks::example::{self, Example};
use runbooks::play::Stage;
use runbooks::report::{Row, table};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Plays the examples on a cluster and prints a row for each release
#[derive(Clone, Parser)]
#[command(version)]
struct Cli {
    /// Only these: EXAMPLE, or EXAMPLE/SCENARIO
    only: Vec<String>,
    /// Only the scenarios that `make test` plays
    #[arg(long)]
    quick: bool,
    /// Examples that are played at the same time, each in a namespace of its own
    #[arg(long, default_value_t = 2)]
    parallel: usize,
    /// Folder of the examples
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"))]
    examples: PathBuf,
    /// Namespace in which the operator runs
    #[arg(long, default_value = "cutover-system")]
    operator_namespace: String,
    /// Manifests that a team applies: its ServiceAccount and rights
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/tenant"))]
    tenant: PathBuf,
    /// Image of the stand-in application and the load generator
    #[arg(long, default_value = "docker.io/cutover/sample:dev")]
    sample_image: String,
    /// Image of Prometheus
    #[arg(long, default_value = "docker.io/cutover/prometheus:1")]
    prometheus_image: String,
    /// Prometheus finds pods through the API server instead of DNS
    #[arg(long)]
    kubernetes_discovery: bool,
    /// Leave everything there for a look around
    #[arg(long, env = "KEEP", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    keep: bool,
    /// Form of the result; with json everything else goes to stderr
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
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
    let screen = Arc::new(Screen::new(cli.output == Output::Json));
    match all(&cli, &screen).await {
        Ok(rows) => finale(&cli, &screen, &rows),
        Err(error) => {
            screen.say(Look::Red, &format!("runbooks: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// The examples, with the scenarios that are asked for.
fn chosen(cli: &Cli) -> Result<Vec<Example>> {
    let mut examples = example::all(&cli.examples)?;
    for example in &mut examples {
        let name = example.name.clone();
        example.scenarios.scenarios.retain(|scenario| {
            let full = format!("{name}/{}", scenario.name);
            let named = cli.only.is_empty() || cli.only.iter().any(|only| *only == name || *only == full);
            named && (scenario.quick || !cli.quick)
        });
    }
    examples.retain(|example| !example.scenarios.scenarios.is_empty());
    anyhow::ensure!(!examples.is_empty(), "no scenario is called {}", cli.only.join(" or "));
    Ok(examples)
}

async fn all(cli: &Cli, screen: &Arc<Screen>) -> Result<Vec<Row>> {
    let examples = chosen(cli)?;
    let cluster = Cluster::connect("default").await?;
    cluster.wait_operator(&cli.operator_namespace, Duration::from_secs(90)).await?;
    if !runbooks::play::has_audit_log() {
        screen.say(Look::Yellow, "CUTOVER_AUDIT_LOG names no audit log: promises that only it shows are not checked");
    }
    let places = Arc::new(Semaphore::new(cli.parallel.max(1)));
    let mut playing = JoinSet::new();
    for (number, example) in examples.into_iter().enumerate() {
        let (cli, screen, client) = (cli.clone(), screen.clone(), cluster.client.clone());
        let places = places.clone();
        playing.spawn(async move {
            let _place = places.acquire().await;
            (number, one(&cli, &screen, &client, &example).await)
        });
    }
    let mut rows = vec![];
    while let Some(played) = playing.join_next().await {
        rows.push(played?);
    }
    rows.sort_by_key(|(number, _)| *number);
    Ok(rows.into_iter().flat_map(|(_, rows)| rows).collect())
}

/// An example, scenario by scenario. What cannot be played is a row with a problem, and the rest is left out.
async fn one(cli: &Cli, screen: &Screen, client: &Client, example: &Example) -> Vec<Row> {
    let scenery = Scenery {
        namespace: String::new(),
        sample_image: cli.sample_image.clone(),
        prometheus_image: cli.prometheus_image.clone(),
        kubernetes_discovery: cli.kubernetes_discovery,
    };
    let mut rows = vec![];
    let stage = match Stage::new(client, example, scenery) {
        Ok(stage) => stage,
        Err(error) => {
            let row = |scenario| Row::failed(example, scenario, format!("{error:#}"));
            return example.scenarios.scenarios.iter().map(row).collect();
        }
    };
    screen.say(Look::Dim, &format!("{}: setting the stage", example.name));
    let mut set = stage.set(&cli.tenant).await;
    if set.is_ok() {
        set = stage.wait_metrics().await;
    }
    for scenario in &example.scenarios.scenarios {
        let played = match &set {
            Ok(()) => stage.play(scenario).await,
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        let row = match played {
            Ok((row, run)) => {
                if !row.problems.is_empty() {
                    screen.heading(&format!("{}/{}: what happened", example.name, scenario.name));
                    let plan = cutover::view::plan_of(&run);
                    let seen = cutover::view::Run::of(&run, plan.as_ref());
                    for event in seen.iter().flat_map(demo::follow::events) {
                        screen.line(&format!("  {}  {}", event.at.strftime("%H:%M:%S%.3f"), event.text));
                    }
                }
                row
            }
            Err(error) => Row::failed(example, scenario, format!("{error:#}")),
        };
        let good = row.problems.is_empty();
        let look = if good { Look::Green } else { Look::Red };
        screen.say(
            look,
            &format!("{}/{}: {} by {}, {:.0} s", row.example, row.scenario, row.ended, row.why, row.seconds),
        );
        for problem in &row.problems {
            screen.say(Look::Red, &format!("  {problem}"));
        }
        rows.push(row);
        if !good {
            trouble::show(&stage.cluster, screen, &cli.operator_namespace).await;
            break;
        }
    }
    if !cli.keep
        && let Err(error) = stage.clear().await
    {
        screen.say(Look::Yellow, &format!("{}: {error:#}", example.name));
    }
    rows
}

fn finale(cli: &Cli, screen: &Screen, rows: &[Row]) -> ExitCode {
    let good = rows.iter().all(|row| row.problems.is_empty());
    if cli.output == Output::Json {
        println!("{}", serde_json::json!({"ok": good, "scenarios": rows}));
    } else {
        screen.heading("All scenarios");
        screen.line(&table(rows));
        screen.line("");
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
