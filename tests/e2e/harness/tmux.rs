//! A terminal that tests type into and look at.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::seen::program;
use super::{Case, wait};

/// A terminal with a shell, of a tmux server of its own.
pub struct Tmux {
    program: PathBuf,
    socket: PathBuf,
}

impl Tmux {
    /// Opens one of so many columns and rows.
    pub fn open(t: &Case, columns: u16, rows: u16) -> Result<Self> {
        let program = program("tmux", "tmux").context("there is no tmux: install it (Debian's package tmux)")?;
        let tmux = Self { program, socket: t.dir.join("tmux") };
        let size = [columns.to_string(), rows.to_string()];
        // A shell without a history, a prompt of its own, and files of the user's.
        let shell = "env -i PATH=/usr/bin:/bin TERM=screen-256color LANG=C.UTF-8 PS1='$ ' /bin/sh";
        tmux.ask(&["-f", "/dev/null", "new-session", "-d", "-x", &size[0], "-y", &size[1], shell])?;
        Ok(tmux)
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let done =
            Command::new(&self.program).arg("-S").arg(&self.socket).args(arguments).env_remove("TMUX").output()?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        ensure!(done.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(said)
    }

    /// Types a text, as it is.
    pub fn text(&self, text: &str) -> Result<()> {
        self.ask(&["send-keys", "-l", text]).map(drop)
    }

    /// Presses a key, such as `Enter`, `C-c` or `PageDown`.
    pub fn key(&self, key: &str) -> Result<()> {
        self.ask(&["send-keys", key]).map(drop)
    }

    /// Makes it another size.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        self.ask(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]).map(drop)
    }

    /// What it shows.
    pub fn screen(&self) -> Result<String> {
        self.ask(&["capture-pane", "-p"])
    }

    /// Waits until it shows something; all that it shows then.
    pub async fn shows(&self, wanted: &str, bound: Duration) -> Result<String> {
        let what = format!("{wanted:?} on the screen");
        let shown = wait::poll(&what, bound, async || Ok(Some(self.screen()?).filter(|s| s.contains(wanted)))).await;
        shown.with_context(|| format!("the screen:\n{}", self.screen().unwrap_or_default()))
    }

    /// Presses Esc, and waits until the window in front has gone. A key that came at once would make another one with it.
    pub async fn leave(&self, bound: Duration) -> Result<()> {
        self.key("Escape")?;
        let gone =
            wait::poll("no window", bound, async || Ok((!self.screen()?.contains("Esc goes back")).then_some(())));
        gone.await.with_context(|| format!("the screen:\n{}", self.screen().unwrap_or_default()))
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // It has ended where its shell has.
        let _ = self.ask(&["kill-server"]);
    }
}
