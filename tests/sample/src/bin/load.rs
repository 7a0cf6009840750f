//! `load`: open-loop load generator that counts lost requests.

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use sample::load::{Load, LoadConfig, LoadHandle, await_answer, duration, serve};
use std::{path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    time::{interval, timeout},
};

/// Puts constant load on a URL and prints a JSON report
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// http://HOST:PORT/PATH
    #[arg(long)]
    url: String,
    /// Requests per second of the main pool
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Connections of the main pool
    #[arg(long, value_enum, default_value_t = PoolKind::Fresh)]
    pool: PoolKind,
    /// Requests per second of a second pool with kept-alive connections
    #[arg(long, default_value_t = 0.0)]
    keepalive_rate: f64,
    /// Largest age of a kept-alive connection
    #[arg(long, default_value = "1s", value_parser = duration)]
    keepalive_age: Duration,
    /// Clients of each of HTTP/1.1, HTTP/2, gRPC and websockets that never close their connection by themselves
    #[arg(long, default_value_t = 0)]
    lasting: usize,
    /// How often each of them asks over it
    #[arg(long, default_value = "200ms", value_parser = duration)]
    lasting_every: Duration,
    /// They connect only when told `connect`
    #[arg(long)]
    lasting_later: bool,
    /// How long to send; without it until SIGTERM, `stop` or the bound
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// Bound on the time
    #[arg(long, default_value = "15m", value_parser = duration)]
    max_duration: Duration,
    /// Bound on the number of requests
    #[arg(long, default_value_t = 500_000)]
    max_requests: u64,
    /// Wait at most this long for a first answer, before anything is counted: an address that is not served yet loses
    /// nothing
    #[arg(long, value_parser = duration)]
    await_answer: Option<Duration>,
    /// A request without a full answer after this time is lost
    #[arg(long, default_value = "5s", value_parser = duration)]
    timeout: Duration,
    /// Value of the Host header instead of the URL's
    #[arg(long)]
    host: Option<String>,
    /// Also write the report to this file
    #[arg(long)]
    report: Option<PathBuf>,
    /// Print a line to stderr every second
    #[arg(long)]
    progress: bool,
    /// Read lines `mark NAME`, `connect` and `stop` from stdin
    #[arg(long)]
    stdin: bool,
    /// Read lines `mark NAME`, `connect` and `stop` that are appended to this file
    #[arg(long)]
    control: Option<PathBuf>,
    /// Serve GET /report, POST /mark/NAME, POST /connect and POST /stop on this address
    #[arg(long)]
    serve: Option<String>,
    /// With --serve: how long to go on serving the report after the end
    #[arg(long, default_value = "10m", value_parser = duration)]
    linger: Duration,
    /// Exit with code 2 when requests were lost
    #[arg(long)]
    fail_on_lost: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum PoolKind {
    Fresh,
    Keepalive,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut terminated = Box::pin(sample::terminated()?);
    let cli = Cli::parse();
    let mut config = LoadConfig::new(&cli.url)?;
    (config.fresh_rate, config.keepalive_rate) = match cli.pool {
        PoolKind::Fresh => (cli.rate, cli.keepalive_rate),
        PoolKind::Keepalive => (0.0, cli.rate + cli.keepalive_rate),
    };
    config.keepalive_age = cli.keepalive_age;
    (config.lasting, config.lasting_every) = (cli.lasting, cli.lasting_every);
    config.lasting_later = cli.lasting_later;
    config.duration = cli.duration;
    config.max_duration = cli.max_duration;
    config.max_requests = cli.max_requests;
    config.timeout = cli.timeout;
    if let Some(host) = cli.host {
        config.host = host;
    }
    if let Some(within) = cli.await_answer {
        await_answer(&config, within).await.with_context(|| format!("--await-answer: {}", cli.url))?;
    }
    let listener = match &cli.serve {
        Some(addr) => Some(TcpListener::bind(addr).await.with_context(|| addr.clone())?),
        None => None,
    };

    let load = Load::start(config);
    let serving = listener.is_some();
    if let Some(listener) = listener {
        tokio::spawn(serve(listener, load.clone()));
    }
    if cli.stdin {
        tokio::spawn(read_stdin(load.clone()));
    }
    if let Some(path) = cli.control {
        tokio::spawn(read_control(load.clone(), path));
    }
    if cli.progress {
        tokio::spawn(progress(load.clone()));
    }

    let mut ended = false;
    let report = tokio::select! {
        report = load.wait() => report,
        () = &mut terminated => {
            ended = true;
            load.stop().await
        }
    };
    let text = serde_json::to_string_pretty(&report)?;
    println!("{text}");
    if let Some(path) = &cli.report {
        std::fs::write(path, format!("{text}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if serving && !ended {
        let _ = timeout(cli.linger, terminated).await;
    }
    // Not a plain return: the thread that reads stdin would hold the process back.
    std::process::exit(if cli.fail_on_lost && report.lost > 0 { 2 } else { 0 })
}

async fn read_stdin(load: LoadHandle) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        obey(&load, &line);
    }
}

/// Follows a file to which the caller appends; it may appear later.
async fn read_control(load: LoadHandle, path: PathBuf) {
    let mut done = 0;
    let mut tick = interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let new = text.get(done..).unwrap_or_default();
        // A line counts once it is whole.
        let whole = new.rfind('\n').map_or(0, |end| end + 1);
        new[..whole].lines().for_each(|line| obey(&load, line));
        done += whole;
    }
}

fn obey(load: &LoadHandle, line: &str) {
    match line.trim().split_once(' ') {
        Some(("mark", name)) => {
            load.mark(name.trim());
        }
        None if line.trim() == "stop" => {
            let load = load.clone();
            tokio::spawn(async move { load.stop().await });
        }
        None if line.trim() == "connect" => {
            load.connect();
        }
        None if line.trim().is_empty() => {}
        _ => eprintln!("load: neither `mark NAME`, `connect` nor `stop`: {line}"),
    }
}

async fn progress(load: LoadHandle) {
    let mut tick = interval(Duration::from_secs(1));
    tick.tick().await;
    loop {
        tick.tick().await;
        let now = load.snapshot();
        let mark = now.marks.last().map_or("", |mark| mark.name.as_str());
        eprintln!(
            "load: mark={mark} sent={} ok={} app_errors={} lost={} not_sent={} in_flight={}",
            now.sent, now.ok, now.app_errors, now.lost, now.not_sent, now.in_flight,
        );
    }
}
