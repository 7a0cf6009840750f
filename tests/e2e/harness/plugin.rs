//! The command line, as a person of a test uses it.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::case::Case;

/// How a command ended.
#[derive(Debug)]
pub struct Told {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Told {
    /// The same, if the command ended with this code.
    pub fn with(self, code: i32) -> Result<Self> {
        ensure!(self.code == code, "exit code {} in place of {code}: {self:#?}", self.code);
        Ok(self)
    }

    /// The output as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("{self:#?}"))
    }

    /// Checks that all of these stand in what was printed.
    pub fn says(self, words: &[&str]) -> Result<Self> {
        let all = format!("{}{}", self.out, self.err);
        for word in words {
            ensure!(all.contains(word), "{word:?} is missing: {self:#?}");
        }
        Ok(self)
    }
}

/// The program.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_kubectl-cutover")
}

impl Case {
    /// Runs `kubectl cutover` in the namespace of the test; as `user`, or as the administrator.
    pub async fn plugin(&self, user: Option<&str>, arguments: &[&str]) -> Result<Told> {
        let mut command = tokio::process::Command::new(program());
        command.args(arguments).args(["-n", &self.ns]).stdin(Stdio::null()).kill_on_drop(true);
        command.env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
        if let Some(user) = user {
            command.args(["--as", user]);
        }
        let output = command.output().await.with_context(|| program().to_owned())?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).context("not UTF-8");
        Ok(Told {
            code: output.status.code().context("a signal")?,
            out: text(output.stdout)?,
            err: text(output.stderr)?,
        })
    }
}
