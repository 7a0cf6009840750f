//! Small programs that Jobs run in the tests.

use crate::fetch::{self, Answer};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::{Args, Subcommand};
use hyper::Method;
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
    /// Put a file into an object store
    Put {
        /// The file
        file: std::path::PathBuf,
        /// Where to, such as http://HOST:PORT/objects/KEY
        url: String,
    },
    /// Get an object into a file
    Get {
        /// Where from
        url: String,
        /// The file
        file: std::path::PathBuf,
    },
    /// Delete an object
    Delete {
        /// Which
        url: String,
    },
    /// Send a request and print the status of the answer; 000 where there is none
    Ask {
        /// Where
        url: String,
        /// Method
        #[arg(long, default_value_t = Method::GET)]
        method: Method,
        /// Bearer token
        #[arg(long)]
        token: Option<String>,
        /// Body
        #[arg(long, default_value = "")]
        body: String,
        /// Print the body of the answer instead of its status
        #[arg(long)]
        text: bool,
    },
    /// Ask an application for some time, and say how it answered: the percentile that 95 of 100 answers kept to, and errors
    Load {
        /// Where
        url: String,
        /// Requests
        #[arg(long, default_value_t = 200)]
        requests: u32,
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
        Job::Put { file, url } => return transfer(put(&file, &url).await),
        Job::Get { url, file } => return transfer(get(&url, &file).await),
        Job::Delete { url } => {
            return transfer(fetch::send(Method::DELETE, &url, Bytes::new()).await.and_then(good).map(|_| 0));
        }
        Job::Ask { url, method, token, body, text } => {
            match fetch::send_as(token.as_deref(), method, &url, body.into()).await {
                Ok(answer) if text => println!("{}", String::from_utf8_lossy(&answer.body)),
                Ok(answer) => println!("{}", answer.status.as_u16()),
                Err(error) => {
                    eprintln!("{error:#}");
                    println!("000");
                }
            }
        }
        Job::Load { url, requests } => return load(&url, requests).await,
        Job::Print { lines } => lines.iter().for_each(|line| println!("{line}")),
    }
    0
}

async fn put(file: &Path, url: &str) -> Result<usize> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let count = bytes.len();
    good(fetch::send(Method::PUT, url, bytes.into()).await?).map(|_| count)
}

async fn get(url: &str, file: &Path) -> Result<usize> {
    let answer = good(fetch::send(Method::GET, url, Bytes::new()).await?)?;
    std::fs::write(file, &answer.body).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(answer.body.len())
}

fn good(answer: Answer) -> Result<Answer> {
    ensure!(answer.status.is_success(), "the object store answered {}", answer.status);
    Ok(answer)
}

fn transfer(bytes: Result<usize>) -> u8 {
    match bytes {
        Ok(bytes) => {
            println!("object bytes={bytes}");
            0
        }
        Err(error) => {
            eprintln!("{error:#}");
            1
        }
    }
}

/// One request after another: enough to see whether the new side answers as it should.
async fn load(url: &str, requests: u32) -> u8 {
    let mut times = vec![];
    let mut errors = 0;
    for _ in 0..requests {
        let began = std::time::Instant::now();
        match fetch::send(Method::GET, url, Bytes::new()).await {
            Ok(answer) if !answer.status.is_server_error() => {}
            _ => errors += 1,
        }
        times.push(began.elapsed());
    }
    times.sort();
    let p95 = times.get(times.len() * 95 / 100).map_or(0, |time| time.as_millis());
    println!("load requests={requests} errors={errors} p95_ms={p95}");
    leave_message(&json!({"requests": requests, "errors": errors, "p95_ms": u64::try_from(p95).unwrap_or(u64::MAX)}));
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
