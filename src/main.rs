//! The program `cutover`: `run` is the operator, `crd` prints what it needs installed.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cutover::operator::{self, Flags};

/// Executes production cutovers and rolls them back by itself.
#[derive(Parser)]
#[command(name = "cutover", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator. The cluster is that of KUBECONFIG, or the one it runs in.
    Run(Box<Flags>),
    /// Print the CustomResourceDefinitions: `cutover crd | kubectl apply --server-side -f -`.
    Crd,
}

fn main() -> ExitCode {
    // Before anything opens a connection: two crates could provide TLS, this one does.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("cutover: a TLS provider was installed already");
        return ExitCode::FAILURE;
    }
    let result = match Cli::parse().command {
        Command::Run(flags) => operator::run(*flags),
        Command::Crd => print_crds(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("cutover: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_crds() -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    for (_, text) in cutover::api::crd::yaml()? {
        writeln!(out, "---\n{text}")?;
    }
    Ok(())
}
