//! What is asked on the command line.

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::choose::Pick;
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::{Format, Global};
use crate::cli::text::time;

/// What is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Goal {
    /// The run has completed.
    #[default]
    Completed,
    /// The Services point to the new side and their endpoints have followed.
    Switched,
    /// A person is waited for, or the run is over.
    Waiting,
}

impl Goal {
    /// The word on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Switched => "switched",
            Self::Waiting => "waiting",
        }
    }
}

/// What the flags mean together.
const MORE: &str = "\
On a terminal it is a live screen with keys for approve, reject, decide, suspend, abort and rollback (? shows them). \
With --until, --timeout or --exit-when-waiting, and where standard input or output is no terminal, it prints a line for each change and \
ends with an exit code; -o json prints one JSON object a line.

Which run: the one of what the Cutover asks for now. Right after `kubectl apply` the operator has not looked at it yet; an \
older run that has completed is then not taken for the new one. To watch a certain run name it as run/NAME or with --run.

Exit codes: 0 what was waited for has come; 1 the run failed, was aborted or superseded, or the release is refused; 2 it \
was rolled back; 3 it waits for a person (with --until waiting or --exit-when-waiting); 4 --timeout is over; 5 it could \
not be found out; 64 the command line is wrong; 130 after Ctrl-C.";

/// What is watched, and until when.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = MORE)]
pub(crate) struct Watch {
    /// A Cutover or a run; without one, the only Cutover of the namespace.
    pub name: Option<String>,
    /// Wait until this is so. A gate on the way is printed with its command and waited for, unless --exit-when-waiting.
    #[arg(long, value_name = "WHAT", value_enum)]
    pub until: Option<Goal>,
    /// Give up after this time, such as 45m, with exit code 4; without it there is no bound.
    #[arg(long, value_name = "TIME", value_parser = time::duration)]
    pub timeout: Option<Duration>,
    /// End with exit code 3 as soon as a person is waited for.
    #[arg(long)]
    pub exit_when_waiting: bool,
    /// Wait until the Cutover asks for this release (version, tag or revision) and watch its run: for pipelines that push
    /// to Git and do not know when it is applied.
    #[arg(long, value_name = "VERSION")]
    pub for_release: Option<String>,
    /// Watch the run of this name, which need not exist yet.
    #[arg(long, value_name = "NAME", conflicts_with = "for_release")]
    pub run: Option<String>,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Screen,
    Lines,
    Json,
}

impl Watch {
    /// How it is shown.
    ///
    /// # Errors
    /// In a form in which a stream of changes cannot be.
    pub(crate) fn shown(&self, global: &Global) -> Result<Shown, Failure> {
        let waits = self.until.is_some() || self.timeout.is_some() || self.exit_when_waiting;
        match global.output {
            Some(Format::Json) => Ok(Shown::Json),
            Some(Format::Yaml | Format::Name | Format::Patch) => {
                Err(Failure::new("watch prints lines, or with -o json one JSON object a line").exit(Exit::Usage))
            }
            None if waits || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() => Ok(Shown::Lines),
            None => Ok(Shown::Screen),
        }
    }

    /// Which run is meant, where the command line says so.
    pub(crate) fn pick(&self) -> Option<Pick> {
        let named = self.run.as_ref().map(|r| r.strip_prefix("run/").unwrap_or(r));
        let named = named.map(|name| Pick::Named(name.to_owned()));
        named.or_else(|| self.for_release.clone().map(Pick::Release))
    }
}
