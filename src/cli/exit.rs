//! How a command ends: its exit code, and what it says where it cannot do its work.

use std::fmt;
use std::process::ExitCode;

use super::rights::Right;
use super::text::harmless;

/// The exit code of a command; a pipeline branches on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done; what was waited for has come.
    Done,
    /// 1: the answer is no: the run failed or was aborted, a check fails, `lint` found an error, a decision was refused.
    Failed,
    /// 2: the run was rolled back.
    RolledBack,
    /// 3: the run waits for a person.
    Waits,
    /// 4: the time of `--timeout` is over.
    TimedOut,
    /// 5: the command could not do its work: no cluster, no such object, a missing right.
    NotKnown,
    /// 64: the command line is wrong.
    Usage,
    /// 128 and the number of the signal that ended it: 130 for Ctrl-C.
    Signal(u8),
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::RolledBack => 2,
            Self::Waits => 3,
            Self::TimedOut => 4,
            Self::NotKnown => 5,
            Self::Usage => 64,
            Self::Signal(number) => 128_u8.saturating_add(number),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do its work: one sentence, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong.
    pub says: String,
    /// The next command, or what else to do.
    pub next: Option<String>,
    /// The exit code.
    pub exit: Exit,
    /// The right that is missing, where that is the reason.
    pub missing: Option<Right>,
}

impl Failure {
    /// A failure with exit code 5.
    pub fn new(says: impl Into<String>) -> Self {
        Self { says: says.into(), next: None, exit: Exit::NotKnown, missing: None }
    }

    /// The same with the next command.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The same with another exit code.
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&harmless::line(&self.says))?;
        match &self.next {
            Some(next) => write!(f, "; next: {}", harmless::line(next)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
