//! `sample`: the stand-in application and its jobs.

use clap::{Parser, Subcommand};
use sample::{
    app::{App, AppConfig, Listeners},
    jobs::{self, JobArgs},
};
use std::sync::Arc;

#[derive(Parser)]
#[command(version, about = "Stand-in application of the Cutover tests")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve HTTP; also what happens without a subcommand
    Serve,
    /// Do what a Job of a cutover does
    Job(JobArgs),
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    // Before anything else: a SIGTERM that comes early must not get lost.
    let terminated = sample::terminated()?;
    let code = match Cli::parse().command.unwrap_or(Command::Serve) {
        Command::Job(args) => i32::from(jobs::run(args, terminated).await),
        Command::Serve => {
            let config = AppConfig::from_env()?;
            let listeners = Listeners::bind(&config).await?;
            sample::app::run(Arc::new(App::new(config)), listeners, terminated).await
        }
    };
    // Does not wait for tasks: an injected crash has to cut connections off.
    std::process::exit(code)
}
