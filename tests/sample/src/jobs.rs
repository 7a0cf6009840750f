//! Small programs that Jobs run in the tests.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// `sample job …`
#[derive(Args, Debug)]
pub struct JobArgs {
    /// Print the CUTOVER_* variables as `env KEY=VALUE` lines first
    #[arg(long, global = true)]
    env: bool,
    #[command(subcommand)]
    job: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Pretend to write a backup
    Backup {
        /// Size to report
        #[arg(long, default_value_t = 1_048_576)]
        bytes: u64,
        /// File to report
        #[arg(long, default_value = "/backups/sample.dump")]
        file: String,
    },
    /// Pretend to migrate the database
    Migrate,
    /// Pretend to take the migration back
    MigrateRollback,
    /// Fail
    Fail {
        /// Exit code
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
        code: u8,
    },
    /// Do nothing for some milliseconds
    Sleep {
        /// Milliseconds
        ms: u64,
    },
    /// Print lines
    Print {
        /// Lines to print
        lines: Vec<String>,
    },
}

/// Runs one job and returns the exit code.
pub async fn run(args: JobArgs, terminated: impl Future<Output = ()>) -> u8 {
    if args.env {
        for line in env_lines(
            std::env::vars_os()
                .filter_map(|(key, value)| Some((key.into_string().ok()?, value.to_string_lossy().into_owned()))),
        ) {
            println!("{line}");
        }
    }
    match args.job {
        Job::Backup { bytes, file } => {
            println!("backup bytes={bytes} file={file}");
            leave_message(&json!({"bytes": bytes, "file": file}));
        }
        Job::Migrate => {
            println!("migration 42 applied");
            leave_message(&json!({"migration": 42}));
        }
        Job::MigrateRollback => {
            println!("migration 42 rolled back");
            leave_message(&json!({"migration": 41}));
        }
        Job::Fail { code } => {
            println!("failing with code {code}");
            leave_message(&json!({"error": "asked to fail", "code": code}));
            return code;
        }
        Job::Sleep { ms } => {
            println!("sleeping {ms} ms");
            // As PID 1 the process gets no default action for SIGTERM.
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(ms)) => println!("slept {ms} ms"),
                () = terminated => {
                    println!("terminated");
                    return 143;
                }
            }
        }
        Job::Print { lines } => lines.iter().for_each(|line| println!("{line}")),
    }
    0
}

fn env_lines(vars: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let mut lines: Vec<_> =
        vars.filter(|(key, _)| key.starts_with("CUTOVER_")).map(|(key, value)| format!("env {key}={value}")).collect();
    lines.sort();
    lines
}

/// Leaves a termination message for the kubelet.
fn leave_message(message: &Value) {
    let path = match std::env::var("TERMINATION_LOG") {
        Ok(path) => path,
        // The kubelet makes the file beforehand. Outside of a container there is
        // none, and none should be made in /dev.
        Err(_) if Path::new("/dev/termination-log").exists() => "/dev/termination-log".to_owned(),
        Err(_) => return,
    };
    if let Err(error) = std::fs::write(&path, message.to_string()) {
        eprintln!("cannot write the termination message to {path}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_of_cutover_are_shown() {
        let vars = [("PATH", "/bin"), ("CUTOVER_B", "2 3"), ("CUTOVER_A", "1"), ("XCUTOVER_", "")];
        let vars = vars.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(env_lines(vars.into_iter()), ["env CUTOVER_A=1", "env CUTOVER_B=2 3"]);
    }
}
