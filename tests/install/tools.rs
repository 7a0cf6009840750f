//! helm, kubectl and other programs, run in the project's folder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The namespace that docs and plain manifests name.
pub const SYSTEM: &str = "cutover-system";
/// The chart.
pub const CHART: &str = "charts/cutover";

/// A file of the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Its text.
pub fn text(path: &str) -> String {
    std::fs::read_to_string(project(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Whether the tests have helm and kubectl, without which they fail unless CUTOVER_E2E=skip.
pub fn tools(what: &str) -> bool {
    let found = ["helm", "kubectl"].iter().all(|t| Command::new(t).arg("--help").output().is_ok());
    found || skipped(what, "helm or kubectl is not on PATH")
}

/// Whether the tests have a cluster.
pub fn cluster(what: &str) -> bool {
    std::env::var_os("KUBECONFIG").is_some() || skipped(what, "KUBECONFIG is not set")
}

/// A test is skipped only where somebody says so; then this is false.
pub fn skipped(what: &str, why: &str) -> bool {
    let said = std::env::var("CUTOVER_E2E").is_ok_and(|v| v == "skip");
    assert!(said, "{what}: {why}: `make test` brings all up; `make test-unit` sets CUTOVER_E2E=skip");
    println!("skipped: {what}: {why}, and CUTOVER_E2E=skip");
    false
}

/// Runs a program with an input. The error is what it wrote to standard error.
pub fn feed(program: &str, args: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(args)
        .current_dir(project(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{program}: {e}"))?;
    let mut stdin = child.stdin.take().ok_or("standard input is not piped")?;
    stdin.write_all(input.as_bytes()).map_err(|e| format!("{program}: {e}"))?;
    drop(stdin);
    let output = child.wait_with_output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Runs a program; the error is what it wrote to standard error.
pub fn run(program: &str, args: &[&str]) -> Result<String, String> {
    feed(program, args, "")
}

/// Runs kubectl, which must succeed.
pub fn kubectl(args: &[&str]) -> String {
    run("kubectl", args).unwrap_or_else(|e| panic!("kubectl {}: {e}", args.join(" ")))
}

/// Runs helm, which must succeed.
pub fn helm(args: &[&str]) -> String {
    run("helm", args).unwrap_or_else(|e| panic!("helm {}: {e}", args.join(" ")))
}

/// Where the image is, which the chart wants to be told.
pub const IMAGE: &str = "image.repository=docker.io/cutover/cutover";

/// Renders the chart with further arguments.
pub fn template(more: &[&str]) -> Result<String, String> {
    run("helm", &[&["template", "cutover", CHART, "--namespace", SYSTEM, "--set", IMAGE], more].concat())
}

/// The objects of a YAML text.
pub fn objects(yaml: &str) -> Vec<Value> {
    let documents = format!("\n{yaml}");
    let parsed = documents.split("\n---\n").map(|d| d.trim_start_matches("---\n"));
    parsed
        .filter(|d| d.lines().any(|l| !l.trim().is_empty() && !l.starts_with('#')))
        .map(|d| serde_saphyr::from_str(d).unwrap_or_else(|e| panic!("not YAML: {e}\n{d}")))
        .collect()
}

/// Waits until `look` gives something; a minute at most.
pub fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < limit, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
