//! Every condition type and reason, in one place.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub mod reasons;
pub mod types;

/// A word that people meet in conditions, Events and log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word itself.
    pub name: &'static str,
    /// What it means.
    pub means: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Each row is a constant, its word, what that means, and what to do.
macro_rules! words {
    ($($name:ident = $word:literal, $means:literal, $remedy:literal;)*) => {
        $(#[doc = $means]
        pub const $name: &str = $word;)*

        /// All of them.
        pub const ALL: &[super::Word] = &[
            $(super::Word { name: $word, means: $means, remedy: $remedy }),*
        ];
    };
}
use words;

/// Longest message of a condition, in characters; of one that lists what was found, the longest that Kubernetes takes.
const LONGEST: (usize, usize) = (1024, 32_768);

/// Sets a condition; the transition time moves only when the status does. Whole seconds, as the wire has them.
pub fn set(list: &mut Vec<Condition>, type_: &str, status: bool, reason: &str, message: &str, now: Timestamp) {
    let message: String = message.chars().take(LONGEST.0).collect();
    set_whole(list, type_, status, reason, &message, now);
}

/// The same with a long message.
pub fn set_whole(list: &mut Vec<Condition>, type_: &str, status: bool, reason: &str, message: &str, now: Timestamp) {
    let status = if status { "True" } else { "False" };
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let message: String = message.chars().take(LONGEST.1).collect();
    if let Some(c) = list.iter_mut().find(|c| c.type_ == type_) {
        if c.status != status {
            c.last_transition_time = now;
        }
        c.status = status.into();
        c.reason = reason.into();
        c.message = message;
    } else {
        list.push(Condition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.into(),
            message,
            last_transition_time: now,
            observed_generation: None,
        });
    }
}

/// Removes a condition.
pub fn unset(list: &mut Vec<Condition>, type_: &str) {
    list.retain(|c| c.type_ != type_);
}
