//! `kubectl cutover`: what people see and say, and what pipelines wait for. Acts with nothing but the user's own rights.
//!
//! A command reads (through [`cluster`], which holds it to the rights that it has declared), makes a model of what it read
//! (pure; the schema of `--output json`), and shows that as a page. Text from outside is made harmless by the page.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod ask;
mod bundle;
mod check;
mod cluster;
mod complete;
mod decide;
mod exit;
mod find;
#[cfg(test)]
mod fixtures;
mod global;
mod history;
mod init;
mod lint;
mod logs;
mod needs;
mod notify;
mod output;
#[cfg(feature = "fuzz")]
pub mod pages;
mod plan;
pub mod reference;
mod release;
mod report;
mod rights;
#[cfg(test)]
mod schema;
mod session;
mod status;
mod text;
mod trace;
mod watch;

use crate::api::decision::Verb;
pub use exit::{Exit, Failure};
use global::Global;
pub use rights::Right;

/// See and steer production cutovers.
#[derive(Parser, Debug)]
#[command(name = "kubectl-cutover", bin_name = "kubectl cutover", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// What happens, why, and what to do.
    Status(status::Status),
    /// The same, live; for pipelines lines and an exit code.
    Watch(watch::Watch),
    /// Whether cluster, installation, rights and Cutovers are in order.
    Check(check::Check),
    /// What a Service needs to be switched: prints it, or applies it.
    Init(init::Init),
    /// What a run would do now; nothing is stored.
    Plan(plan::PlanOf),
    /// What differs between the next run and the newest one, or between two runs.
    Diff(plan::Diff),
    /// The runs of a Cutover: outcome, duration, cause, who.
    History(history::History),
    /// The record of a run, to be handed in: Markdown, HTML, JSON, or a statement to be signed.
    Report(report::Print),
    /// What the Jobs of a run wrote.
    Logs(logs::Logs),
    /// Who moved a Service's selector, when, and why.
    Trace(trace::Trace),
    /// What receivers of notifications are sent of an event.
    Notify(notify::Notify),
    /// An archive for whoever is to help: objects, Events, logs, versions; no secrets.
    Bundle(bundle::Bundle),
    /// Set up the idle side with a new release, and activate it.
    Release(release::Release),
    /// Check manifests without a cluster.
    Lint(lint::Lint),
    /// Say yes to the gate that waits.
    Approve(decide::Gate),
    /// Say no to the gate that waits.
    Reject(decide::Gate),
    /// Let steps and observation stand still; triggers and rollback do not.
    Suspend(decide::Say),
    /// Let them go on.
    Resume(decide::Say),
    /// Call the run off before the switch.
    Abort(decide::Say),
    /// Put the selectors back, then undo what was done.
    Rollback(decide::Rollback),
    /// Start the release once more after a run that is over.
    Retry(decide::Say),
    /// Say what a step did whose result was lost, or answer a question.
    Resolve(decide::Resolve),
    /// Make the checks of a completed run again.
    Revalidate(decide::Say),
    /// Write the man pages into a folder.
    #[command(hide = true)]
    Man {
        /// The folder.
        folder: std::path::PathBuf,
    },
}

/// The program `kubectl-cutover`.
pub fn main() -> ExitCode {
    // Before anything opens a connection: two crates could provide TLS, this one does.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return end(Err(Failure::new("a TLS provider was installed already")));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return end(Err(Failure::new(format!("no threads: {e}")))),
    };
    let mut arguments = std::env::args_os();
    let program = arguments.next().map(std::path::PathBuf::from).unwrap_or_default();
    if program.file_stem().is_some_and(|name| name == complete::PROGRAM) {
        let answer = runtime.block_on(complete::answer(arguments.collect()));
        return end(output::write(&answer).map(|()| Exit::Done));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let exit = if e.use_stderr() { Exit::Usage } else { Exit::Done };
            return match e.print() {
                Ok(()) => exit.into(),
                Err(_) => Exit::Usage.into(),
            };
        }
    };
    end(runtime.block_on(cli.run()))
}

impl Cli {
    async fn run(self) -> Result<Exit, Failure> {
        let global = &self.global;
        match self.command {
            Command::Status(status) => status.run(global).await,
            Command::Check(check) => check.run(global).await,
            Command::Init(init) => init.run(global).await,
            Command::Plan(plan) => plan.run(global).await,
            Command::Diff(diff) => diff.run(global).await,
            Command::History(history) => history.run(global).await,
            Command::Report(report) => report.run(global).await,
            Command::Logs(logs) => logs.run(global).await,
            Command::Trace(trace) => trace.run(global).await,
            Command::Notify(notify) => notify.run(global).await,
            Command::Bundle(bundle) => bundle.run(global).await,
            Command::Release(release) => release.run(global).await,
            Command::Watch(watch) => watch.run(global).await,
            Command::Lint(lint) => lint.run(global),
            Command::Approve(gate) => gate.run(global, Verb::Approve).await,
            Command::Reject(gate) => gate.run(global, Verb::Reject).await,
            Command::Suspend(say) => say.run(global, Verb::Suspend).await,
            Command::Resume(say) => say.run(global, Verb::Resume).await,
            Command::Abort(say) => say.run(global, Verb::Abort).await,
            Command::Rollback(rollback) => rollback.run(global).await,
            Command::Retry(say) => say.run(global, Verb::Retry).await,
            Command::Resolve(resolve) => resolve.run(global).await,
            Command::Revalidate(say) => say.run(global, Verb::Revalidate).await,
            Command::Man { folder } => reference::man(&folder),
        }
    }
}

fn end(result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit.into()
        }
    }
}
