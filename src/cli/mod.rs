//! `kubectl cutover`: what people see and say, and what pipelines wait for. Acts with nothing but the user's own rights.
//!
//! A command reads (through [`cluster`], which holds it to the rights that it has declared), makes a model of what it read
//! (pure; the schema of `--output json`), and shows that as a page. Text from outside is made harmless by the page.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod check;
mod cluster;
mod exit;
mod find;
mod global;
mod init;
mod needs;
mod output;
mod rights;
mod session;
mod status;
mod text;

pub use exit::{Exit, Failure};
use global::Global;

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
    /// Whether cluster, installation, rights and Cutovers are in order.
    Check(check::Check),
    /// What a Service needs to be switched: prints it, or applies it.
    Init(init::Init),
}

/// The program `kubectl-cutover`.
pub fn main() -> ExitCode {
    // Before anything opens a connection: two crates could provide TLS, this one does.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return end(Err(Failure::new("a TLS provider was installed already")));
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
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return end(Err(Failure::new(format!("no threads: {e}")))),
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
