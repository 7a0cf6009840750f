//! `bench`: what the operator costs and how fast it is, on a real cluster whose etcd syncs to disk. Writes a table, JSON
//! and a picture. Every figure is taken from outside: the audit log, `/proc`, the load generator.

mod figures;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use more of it")]
mod harness;
mod machine;
mod operator;
mod paper;
mod picture;
mod report;
mod stage;
mod standin;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use figures::{Bench, connections, crowd, dead, hostile, metric, size, switch, traffic};
use harness::cluster;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use operator::{Launcher, Operator};
use report::Report;

/// Longest time of everything.
const WHOLE: Duration = Duration::from_secs(60 * 60);

/// Measures the operator on a real cluster
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The operator's program; a release build
    #[arg(long)]
    operator: PathBuf,
    /// Folder for the results
    #[arg(long)]
    out: PathBuf,
    /// Repetitions of each figure
    #[arg(long, env = "REPS", default_value_t = 20)]
    reps: usize,
    /// A short run: 3 repetitions, at most 300 idle Cutovers
    #[arg(long, env = "QUICK", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    quick: bool,
    /// Only these: metric, prometheus, killed, dead, switch, traffic, connections, crowd, large, hostile, size
    #[arg(long, env = "ONLY", value_delimiter = ',')]
    only: Vec<String>,
    /// Further arguments of the operator
    #[arg(long = "operator-argument", allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::time::timeout(WHOLE, whole(&cli)).await {
        Ok(Ok(report)) => match report.missed().as_slice() {
            _ if !report.failures.is_empty() => ExitCode::FAILURE,
            [] => ExitCode::SUCCESS,
            missed => {
                eprintln!("bench: missed its target: {}", missed.join("; "));
                // A result all the same, other than one that lacks a figure.
                ExitCode::from(3)
            }
        },
        Ok(Err(error)) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
        Err(_) => {
            eprintln!("bench: not over after {WHOLE:?}");
            ExitCode::from(2)
        }
    }
}

/// Measures and writes.
async fn whole(cli: &Cli) -> Result<Report> {
    let client = cluster::client(None).await?;
    cluster::install(&client).await.context("installing the operator's kinds and rights")?;
    std::fs::create_dir_all(&cli.out).with_context(|| cli.out.display().to_string())?;
    let kubeconfig = cli.out.join("kubeconfig");
    std::fs::write(&kubeconfig, cluster::operator_kubeconfig(&client, None).await?)?;
    let configuration = cli.out.join("config.yaml");
    std::fs::write(&configuration, metric::configuration())?;
    let configuration = ["--config".to_owned(), configuration.display().to_string()];
    let log = cli.out.join("operator.log");
    std::fs::write(&log, "")?;
    let report = Report {
        started: Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        machine: machine::describe(&client, &cli.operator).await?,
        figures: vec![],
        requests: vec![],
        failures: vec![],
    };
    let mut bench = Bench {
        node: node(&client).await?,
        client,
        launcher: Launcher {
            program: cli.operator.clone(),
            kubeconfig,
            log,
            arguments: cli.arguments.iter().cloned().chain(configuration).collect(),
        },
        quick: cli.quick,
        reps: if cli.quick { 3 } else { cli.reps.max(1) },
        crowds: if cli.quick { vec![0, 300] } else { vec![0, 1000, 3000, 10_000] },
        report,
    };
    measure(cli, &mut bench).await;
    write(&cli.out, &bench.report)?;
    print!("{}", bench.report.text());
    std::fs::remove_file(cli.out.join("kubeconfig"))?;
    Ok(bench.report)
}

/// Every figure; one that fails is named in the report, and the others are measured all the same.
async fn measure(cli: &Cli, bench: &mut Bench) {
    let mut running: Option<Operator> = None;
    for name in [
        "metric",
        "prometheus",
        "killed",
        "dead",
        "switch",
        "traffic",
        "connections",
        "crowd",
        "large",
        "hostile",
        "size",
    ] {
        if !(cli.only.is_empty() || cli.only.iter().any(|o| o == name)) {
            continue;
        }
        eprintln!("== {name}");
        let began = Instant::now();
        let result = async {
            if running.is_none() {
                running = Some(bench.launcher.start()?);
            }
            match name {
                "metric" => metric::standin(bench).await,
                "prometheus" => metric::prometheus(bench).await,
                "killed" => dead::killed(bench).await,
                "dead" => dead::then_metric(bench).await,
                "switch" => switch::switch(bench).await,
                "traffic" => traffic::lost(bench).await,
                "connections" => connections::follow(bench).await,
                "crowd" => crowd::crowd(bench, &mut running).await,
                "hostile" => hostile::hostile(bench, &running).await,
                "large" => crowd::large(bench, &mut running).await,
                _ => size::size(bench, &mut running).await,
            }
        };
        let result: Result<()> = result.await;
        if let Err(error) = result {
            eprintln!("  failed: {error:#}");
            bench.report.failures.push(format!("{name}: {error:#}"));
        }
        eprintln!("  {:.0} s", began.elapsed().as_secs_f64());
        // Partial results are worth something should the rest fail.
        if let Err(error) = write(&cli.out, &bench.report) {
            eprintln!("  {error:#}");
        }
    }
}

fn write(folder: &Path, report: &Report) -> Result<()> {
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    };
    file("bench.txt", report.text())?;
    file("bench.json", serde_json::to_string_pretty(report)? + "\n")?;
    file("bench.svg", picture::svg(report))
}

async fn node(client: &kube::Client) -> Result<String> {
    let nodes: Api<Node> = Api::all(client.clone());
    let list = nodes.list(&ListParams::default()).await?;
    let addresses = list.items.iter().flat_map(|n| n.status.iter().flat_map(|s| s.addresses.iter().flatten()));
    let internal = addresses.filter(|a| a.type_ == "InternalIP").map(|a| a.address.clone()).next();
    internal.context("the node has no address")
}
