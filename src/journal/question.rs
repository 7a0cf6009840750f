//! PURE. What a question to people is about. On the wire it is a text, which is made and taken apart here alone.

use std::fmt;
use std::str::FromStr;

use crate::api::run::Question;
use crate::plan::Execution;
use crate::plan::execution::is_name;

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// `trigger/NAME`: it has fired.
    Trigger(String),
    /// `step/EXECUTION`: it has failed.
    Step(String),
    /// `observation`: too little of it was conclusive.
    Observation,
    /// `template`: somebody changed that of the target.
    Template,
    /// `undo`: whether a completed run is undone.
    Undo,
    /// `window`: it has ended before the switch.
    Window,
    /// `restore`: whether the undos run before the restore, which waits for an old side that cannot serve.
    Restore,
}

/// A text that names no subject of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no subject of a question")]
pub(crate) struct NoSubject(String);

impl Subject {
    /// Whether this is what a question is about.
    pub(crate) fn is_of(&self, question: Option<&Question>) -> bool {
        question.is_some_and(|q| q.subject.parse().as_ref() == Ok(self))
    }

    /// The trigger that has fired.
    pub(crate) fn into_trigger(self) -> Option<String> {
        match self {
            Self::Trigger(name) => Some(name),
            Self::Step(_) | Self::Observation | Self::Template | Self::Undo | Self::Window | Self::Restore => None,
        }
    }
}

const TRIGGER: &str = "trigger/";
const STEP: &str = "step/";
const OBSERVATION: &str = "observation";
const TEMPLATE: &str = "template";
const UNDO: &str = "undo";
const WINDOW: &str = "window";
const RESTORE: &str = "restore";

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trigger(name) => write!(f, "{TRIGGER}{name}"),
            Self::Step(name) => write!(f, "{STEP}{name}"),
            Self::Observation => f.write_str(OBSERVATION),
            Self::Template => f.write_str(TEMPLATE),
            Self::Undo => f.write_str(UNDO),
            Self::Window => f.write_str(WINDOW),
            Self::Restore => f.write_str(RESTORE),
        }
    }
}

impl FromStr for Subject {
    type Err = NoSubject;

    fn from_str(text: &str) -> Result<Self, NoSubject> {
        let no = || NoSubject(text.to_owned());
        if let Some(name) = text.strip_prefix(TRIGGER) {
            return is_name(name).then(|| Self::Trigger(name.to_owned())).ok_or_else(no);
        }
        if let Some(name) = text.strip_prefix(STEP) {
            return name.parse::<Execution>().map(|_| Self::Step(name.to_owned())).map_err(|_| no());
        }
        match text {
            OBSERVATION => Ok(Self::Observation),
            TEMPLATE => Ok(Self::Template),
            UNDO => Ok(Self::Undo),
            WINDOW => Ok(Self::Window),
            RESTORE => Ok(Self::Restore),
            _ => Err(no()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_has_one_text() {
        for (subject, text) in [
            (Subject::Trigger("errors".into()), "trigger/errors"),
            (Subject::Step("migrate".into()), "step/migrate"),
            (Subject::Step("check@nightly.2".into()), "step/check@nightly.2"),
            (Subject::Observation, "observation"),
            (Subject::Template, "template"),
            (Subject::Undo, "undo"),
            (Subject::Window, "window"),
            (Subject::Restore, "restore"),
        ] {
            assert_eq!(subject.to_string(), text);
            assert_eq!(text.parse(), Ok(subject), "{text}");
        }
    }

    #[test]
    fn what_is_no_subject_is_refused() {
        for text in ["", "trigger/", "trigger/a/b", "trigger/a@1", "step/", "step/a/b", "undo/a", "Undo", "restored"] {
            assert_eq!(text.parse::<Subject>(), Err(NoSubject(text.to_owned())));
        }
    }
}
