//! What the figures were taken on: without that they mean nothing.

use std::path::Path;

use anyhow::{Context, Result};

/// Name and value of everything that matters.
pub async fn describe(client: &kube::Client, operator: &Path) -> Result<Vec<(String, String)>> {
    let version = client.apiserver_version().await.context("the API server does not answer")?;
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = field("/proc/meminfo", "MemTotal").and_then(|m| m.split_whitespace().next()?.parse::<f64>().ok());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let size = std::fs::metadata(operator).with_context(|| operator.display().to_string())?.len() as f64 / 1_048_576.0;
    let fsync = match std::env::var("CUTOVER_ETCD_FSYNC").as_deref() {
        Ok("1") => "syncs to disk",
        _ => "does NOT sync to disk (set CUTOVER_ETCD_FSYNC=1)",
    };
    let build = if operator.iter().any(|part| part == "release") { "release" } else { "NOT a release build" };
    Ok([
        ("machine", format!("{cores} × {cpu}, {:.0} GiB", memory.unwrap_or_default() / 1_048_576.0)),
        ("kernel", kernel.trim().to_owned()),
        ("load before", load),
        ("Kubernetes", version.git_version),
        ("etcd", fsync.to_owned()),
        ("operator", format!("{build}, {size:.1} MiB on disk")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec())
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
