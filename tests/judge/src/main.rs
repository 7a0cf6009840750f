//! `judge`: replays every rule over every case, and writes tables and pictures.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use judge::cases::{self, Window};
use judge::{page, replay, results};

/// Replays rules that judge a release, over generated traffic
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Folder of the documentation, in which judging.md and the folder judging are written anew
    #[arg(long, default_value = "docs")]
    docs: PathBuf,
    /// Replays of each case
    #[arg(long, env = "REPLAYS", default_value_t = 10_000)]
    replays: u64,
    /// Replays of each case that is watched for two days; as many as of the others by default
    #[arg(long, env = "LONG_REPLAYS")]
    long: Option<u64>,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Only cases whose name has this in it; prints and writes nothing
    #[arg(long, env = "ONLY")]
    only: Option<String>,
    /// Draw tables and pictures anew from the results that are there
    #[arg(long)]
    draw: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let file = cli.docs.join(page::RESULTS);
    let rows = if cli.draw {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        results::read(&text)?
    } else {
        rows(cli)
    };
    if cli.only.is_some() {
        print!("{}", results::write(&rows));
        return Ok(());
    }
    print!("{}", page::goals(&rows));
    std::fs::write(&file, results::write(&rows)).with_context(|| file.display().to_string())?;
    for (name, wanted) in page::files(&cli.docs, &rows)? {
        let path = cli.docs.join(name);
        std::fs::write(&path, wanted).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn rows(cli: &Cli) -> Vec<results::Row> {
    let wanted = |case: &cases::Case| cli.only.as_ref().is_none_or(|only| case.name().contains(only));
    let cases: Vec<_> = cases::all().into_iter().filter(wanted).collect();
    let mut rows = vec![];
    let whole = Instant::now();
    for (n, case) in cases.iter().enumerate() {
        let began = Instant::now();
        let long = case.window == Window::Long.seconds();
        let times = cli.long.filter(|_| long).unwrap_or(cli.replays);
        let fired = replay::replay(case, times, cli.threads);
        let of = replay::rows(case, &fired);
        let days = if long { ", two days" } else { "" };
        eprintln!(
            "{:3} of {}: {}{days}: {:.1} s ({:.0} s in all); Cutover rolled back {:.2} %",
            n + 1,
            cases.len(),
            case.name(),
            began.elapsed().as_secs_f64(),
            whole.elapsed().as_secs_f64(),
            of[0].share() * 100.0
        );
        rows.extend(of);
    }
    rows
}
