//! The program `kubectl-cutover`, which kubectl runs as `kubectl cutover`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cutover::cli::main()
}
