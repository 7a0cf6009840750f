//! The operator as a process of its own: started with its own account's rights, limited to one namespace, killed at will.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A running operator.
pub struct Operator {
    child: Child,
}

impl Operator {
    /// Starts it as the only one, with these arguments besides. Its log is appended to `log`.
    pub fn start(
        namespace: &str,
        kubeconfig: &Path,
        log: &Path,
        more: &[String],
        environment: &[(String, String)],
    ) -> Result<Self> {
        let mut more: Vec<&str> = more.iter().map(String::as_str).collect();
        more.push("--no-lease");
        Self::launch(namespace, kubeconfig, log, "operator", &more, environment)
    }

    /// Starts one of several: it leads while it holds the Lease of the namespace. `name` is that of its pod.
    pub fn candidate(namespace: &str, kubeconfig: &Path, log: &Path, name: &str, arguments: &[String]) -> Result<Self> {
        let more: Vec<&str> =
            ["--lease-namespace", namespace].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        Self::launch(namespace, kubeconfig, log, name, &more, &[])
    }

    fn launch(
        namespace: &str,
        kubeconfig: &Path,
        log: &Path,
        name: &str,
        more: &[&str],
        environment: &[(String, String)],
    ) -> Result<Self> {
        let listen: &[&str] = if more.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
        let out = open(log)?;
        let err = out.try_clone()?;
        let child = Command::new(program())
            .args(["run", "--namespace", namespace])
            .args(listen)
            .args(more)
            .envs(environment.iter().map(|(k, v)| (k, v)))
            .env("POD_NAME", name)
            .env("KUBECONFIG", kubeconfig)
            .env("RUST_LOG", std::env::var("CUTOVER_E2E_LOG").unwrap_or_else(|_| "info,cutover=debug".into()))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .context("the operator does not start")?;
        Ok(Self { child })
    }

    /// Ends it with SIGKILL, as a crash does.
    pub fn kill(&mut self) {
        // An error says that it has ended already, which `exited` reports.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status()?;
        ensure!(sent.success(), "kill -{name}: {sent}");
        Ok(())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did by itself.
    pub fn exited(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).with_context(|| path.display().to_string())
}

/// The last lines of a log.
pub fn tail(path: &PathBuf, lines: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The program built with these tests, or the one that `CUTOVER_E2E_OPERATOR` names.
fn program() -> PathBuf {
    std::env::var_os("CUTOVER_E2E_OPERATOR").map_or_else(|| env!("CARGO_BIN_EXE_cutover").into(), PathBuf::from)
}
