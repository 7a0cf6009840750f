//! PURE. The executions of a plan's steps. Each has one record in the journal, and gates, Jobs and requests are named after
//! it. On the wire it is a text, which is made and taken apart here alone.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// One execution of a step, or of what belongs to it. A step's own name has none of `/`, `@` and `#`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Execution {
    /// `STEP`: the first one, and in most runs the only one.
    First(String),
    /// `STEP@ROUND`: a further one.
    Again(String, Round),
    /// `undo/STEP`: its undo.
    Undo(String),
    /// `approve/STEP`: the gate before its undo.
    Approval(String),
}

/// Which further execution of a step it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Round {
    /// `N`: the round of the follow-up that runs the step first.
    Nth(u32),
    /// `FOLLOW-UP.N`: the round of another follow-up.
    Of(String, u32),
    /// `revalidate-N`: the checks made again for the Nth time.
    Revalidation(usize),
}

/// A text that names no execution: nothing that this version has written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no execution of a step")]
pub(crate) struct NoExecution(String);

const UNDO: &str = "undo/";
const APPROVE: &str = "approve/";
const ROUND: char = '@';
const REVALIDATE: &str = "revalidate-";

impl Execution {
    /// The name of the step.
    pub(crate) fn step(&self) -> &str {
        match self {
            Self::First(step) | Self::Again(step, _) | Self::Undo(step) | Self::Approval(step) => step,
        }
    }

    /// The name of the step, if it is executed in a further round of a follow-up.
    pub(crate) fn into_round_of(self) -> Option<String> {
        match self {
            Self::Again(step, Round::Nth(_) | Round::Of(..)) => Some(step),
            Self::First(_) | Self::Again(_, Round::Revalidation(_)) | Self::Undo(_) | Self::Approval(_) => None,
        }
    }

    /// Whether it is the step itself that is executed, and not what belongs to its undo.
    pub(crate) fn is_of_step(&self) -> bool {
        match self {
            Self::First(_) | Self::Again(..) => true,
            Self::Undo(_) | Self::Approval(_) => false,
        }
    }
}

/// The name of the execution of a step's undo.
pub fn undo_name(step: &str) -> String {
    Execution::Undo(step.to_owned()).to_string()
}

/// The name of the gate before a step's undo.
pub(crate) fn approval_name(step: &str) -> String {
    Execution::Approval(step.to_owned()).to_string()
}

fn hash10(of: &str) -> String {
    Sha256::digest(of).iter().take(5).map(|b| format!("{b:02x}")).collect()
}

/// The name of the Secret of a run, which holds its sensitive captures.
pub(crate) fn secret_name(cutover: &str, run_uid: &str) -> String {
    format!("{cutover}-captures-{}", hash10(run_uid))
}

/// The key under which the Secret of a run holds what an attempt captured: no other attempt writes it.
pub(crate) fn secret_key(capture: &str, execution: &str, attempt: u32) -> String {
    format!("{capture}.{}.{attempt}", step_label(execution))
}

/// The name of the Job of an attempt: the same for the same run, execution and attempt, forever, and no other's.
pub fn job_name(run_uid: &str, execution: &str, attempt: u32) -> String {
    let hash = hash10(&format!("{run_uid}\n{execution}\n{attempt}"));
    let step: String = step_label(execution).chars().take(30).collect();
    format!("{}-{hash}", step.trim_end_matches('-'))
}

/// An execution as the value of a label: neither a slash nor an at sign can stand there.
pub(crate) fn step_label(execution: &str) -> String {
    execution.replace(['/', '@'], "-")
}

impl fmt::Display for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First(step) => f.write_str(step),
            Self::Again(step, round) => write!(f, "{step}{ROUND}{round}"),
            Self::Undo(step) => write!(f, "{UNDO}{step}"),
            Self::Approval(step) => write!(f, "{APPROVE}{step}"),
        }
    }
}

impl FromStr for Execution {
    type Err = NoExecution;

    fn from_str(text: &str) -> Result<Self, NoExecution> {
        let name = |name: &str| is_name(name).then(|| name.to_owned()).ok_or_else(|| NoExecution(text.to_owned()));
        if let Some(step) = text.strip_prefix(UNDO) {
            return Ok(Self::Undo(name(step)?));
        }
        if let Some(step) = text.strip_prefix(APPROVE) {
            return Ok(Self::Approval(name(step)?));
        }
        match text.split_once(ROUND) {
            None => Ok(Self::First(name(text)?)),
            Some((step, round)) => {
                let round = Round::read(round).ok_or_else(|| NoExecution(text.to_owned()))?;
                Ok(Self::Again(name(step)?, round))
            }
        }
    }
}

impl Round {
    fn read(text: &str) -> Option<Self> {
        let read = match text.rsplit_once('.') {
            Some((follow_up, n)) => Self::Of(Some(follow_up).filter(|name| is_name(name))?.to_owned(), n.parse().ok()?),
            None => match text.strip_prefix(REVALIDATE) {
                Some(n) => Self::Revalidation(n.parse().ok()?),
                None => Self::Nth(text.parse().ok()?),
            },
        };
        // Numbers are written in one way.
        (read.to_string() == text).then_some(read)
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nth(n) => write!(f, "{n}"),
            Self::Of(follow_up, n) => write!(f, "{follow_up}.{n}"),
            Self::Revalidation(n) => write!(f, "{REVALIDATE}{n}"),
        }
    }
}

/// Whether it can be the name of a step, a trigger or a follow-up, as far as the texts of executions and keys rest on it.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', ROUND, '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_execution_has_one_text() {
        let step = || "migrate".to_owned();
        for (execution, text) in [
            (Execution::First(step()), "migrate"),
            (Execution::Undo(step()), "undo/migrate"),
            (Execution::Approval(step()), "approve/migrate"),
            (Execution::Again(step(), Round::Nth(2)), "migrate@2"),
            (Execution::Again(step(), Round::Of("nightly".into(), 1)), "migrate@nightly.1"),
            (Execution::Again(step(), Round::Revalidation(3)), "migrate@revalidate-3"),
            // A follow-up may have any name.
            (Execution::Again(step(), Round::Of("revalidate-3".into(), 2)), "migrate@revalidate-3.2"),
            (Execution::First("undo".into()), "undo"),
        ] {
            assert_eq!(execution.to_string(), text);
            assert_eq!(text.parse(), Ok(execution.clone()), "{text}");
            assert_eq!(execution.step(), if text == "undo" { "undo" } else { "migrate" });
        }
    }

    #[test]
    fn what_no_version_writes_names_no_execution() {
        for text in [
            "",
            "/",
            "undo/",
            "approve/",
            "trigger/errors",
            "undo/undo/a",
            "undo/a@2",
            "a@",
            "@2",
            "a@2@3",
            "a@b",
            "a@02",
            "a@+2",
            "a@-1",
            "a@.1",
            "a@b.",
            "a@b.01",
            "a@revalidate-",
            "a@revalidate-x",
            "a#1",
            "a@4294967296",
        ] {
            let read: Result<Execution, _> = text.parse();
            assert_eq!(read, Err(NoExecution(text.to_owned())));
        }
    }
}
