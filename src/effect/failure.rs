//! PURE. What a failed request to the API server means: for the effect that it belongs to, and for whoever has to help.

use super::Outcome;
use crate::api::run::BlockCause;

/// What a failed call means. Everything that is not certain is `Transient`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The object is not there.
    NotFound,
    /// The object is there already, or is not as it was.
    Conflict,
    /// A right is missing.
    Forbidden,
    /// Refused for good: schema, policy, quota, or a failed `test` of a patch.
    Invalid,
    /// 429, 5xx, a time-out, no connection, an answer that cannot be read: nothing is known.
    Transient,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CallError {
    pub class: Class,
    /// What stood in its way.
    pub cause: BlockCause,
    /// It was not answered in its time.
    pub late: bool,
    /// What the API server, or the network, said.
    pub text: String,
}

impl CallError {
    /// Nothing is known.
    pub fn transient(text: impl Into<String>) -> Self {
        Self::new(Class::Transient, text)
    }

    /// Refused for good.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(Class::Invalid, text)
    }

    /// A failure of this class, of which no more is known.
    pub fn new(class: Class, text: impl Into<String>) -> Self {
        let cause = match class {
            Class::NotFound => BlockCause::ServiceGone,
            Class::Conflict => BlockCause::Conflict,
            Class::Forbidden => BlockCause::Permission,
            Class::Invalid => BlockCause::Refused,
            Class::Transient => BlockCause::Unreachable,
        };
        Self { class, cause, late: false, text: text.into() }
    }

    /// Whether a patch may have failed in its tests, so that the object must be read again before anything is said.
    pub(crate) fn may_be_a_test(&self) -> bool {
        matches!(self.class, Class::Invalid | Class::Conflict)
    }

    /// The outcome where no second reading explains the failure better.
    pub fn outcome(self) -> Outcome {
        match self.class {
            Class::NotFound => Outcome::NotFound,
            Class::Conflict => Outcome::Conflict(self.text),
            Class::Forbidden => Outcome::Refused { why: self.text, forbidden: true },
            Class::Invalid => Outcome::Refused { why: self.text, forbidden: false },
            Class::Transient => Outcome::Transient(self.text),
        }
    }
}
