//! `kubectl cutover watch` as a process: its lines as they come, and its exit code.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Case;
use super::wait;

/// The plugin built with these tests.
pub const PLUGIN: &str = env!("CARGO_BIN_EXE_kubectl-cutover");

/// A watch.
pub struct Watching {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Watching {
    /// Starts one as the person on call.
    pub fn start(t: &Case, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(PLUGIN);
        command.args(["--as", super::app::PEOPLE[0]]);
        Self::of(t, command, arguments)
    }

    /// Starts one with a kubeconfig of its own.
    pub fn with(t: &Case, kubeconfig: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(PLUGIN);
        command.env("KUBECONFIG", kubeconfig);
        Self::of(t, command, arguments)
    }

    fn of(t: &Case, mut command: Command, arguments: &[&str]) -> Result<Self> {
        command.args(["-n", &t.ns, "watch"]).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let lines = follow(child.stdout.take().context("no output")?);
        let errors = follow(child.stderr.take().context("no errors")?);
        Ok(Self { child, lines, errors })
    }

    /// What it has printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it has complained of so far.
    pub fn errors(&self) -> String {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Waits for a line.
    pub async fn says(&mut self, wanted: &str, bound: Duration) -> Result<String> {
        let what = format!("a line with {wanted:?}");
        let said = wait::poll(&what, bound, async || {
            if let Some(line) = self.lines().into_iter().find(|l| l.contains(wanted)) {
                return Ok(Some(line));
            }
            match self.child.try_wait()? {
                Some(how) => bail!("it ended with {how} and never said {wanted:?}: {}", self.errors()),
                None => Ok(None),
            }
        });
        let said = said.await;
        said.with_context(|| format!("it said\n{}", self.lines().join("\n")))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until it has ended; its exit code.
    pub async fn exit(&mut self, bound: Duration) -> Result<i32> {
        let ended = wait::poll("the watch ends", bound, async || Ok(self.child.try_wait()?)).await;
        let ended = ended.with_context(|| format!("it said\n{}\n{}", self.lines().join("\n"), self.errors()))?;
        ended.code().with_context(|| format!("it ended with {ended}"))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has seen.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines as they come.
fn follow(from: impl std::io::Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let to = lines.clone();
    std::thread::spawn(move || {
        use std::io::BufRead;
        for line in std::io::BufReader::new(from).lines().map_while(Result::ok) {
            to.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    lines
}
