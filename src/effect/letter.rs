//! PURE DATA. What a notification says, from plan, journal and notice alone: each kind of receiver gets it in its own form.

use jiff::Timestamp;
use serde::Serialize;

use crate::api::cutover::Release;
use crate::api::duration::Duration;
use crate::api::notify::NotifyEvent;
use crate::api::phase::Phase;

/// What a notification says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    /// The same however often it is sent: receivers that can tell by it that they have it already.
    pub id: String,
    pub event: NotifyEvent,
    /// It was told before, and still is so.
    pub again: bool,
    /// When it happened.
    pub at: Timestamp,
    pub namespace: String,
    /// The Cutover.
    pub cutover: String,
    /// The run; filled in where it is sent.
    pub run: RunOf,
    /// The phase of the run when it happened.
    pub phase: Phase,
    /// In words.
    pub message: String,
    pub release: Release,
    pub services: Vec<String>,
    /// The side that was live when the run began.
    pub from: String,
    /// The side that is activated.
    pub to: String,
    /// What was released on `from`, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_release: Option<String>,
    /// The side that users are on as far as is known; none while Services differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    /// When the run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// Why the run does not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What lasts when it is sent, and needs somebody or is a rollback under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ongoing: Option<NotifyEvent>,
    /// What somebody may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The images of the target, as its pods ran them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
}

/// What became of a letter.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// It was received.
    Received {
        /// What the receiver answered, such as `200`.
        answer: String,
        /// What it calls the message.
        thread: Option<String>,
    },
    /// It was not, as far as is known.
    Not {
        why: String,
        /// The pause that the receiver asks for.
        pause: Option<Duration>,
    },
}

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunOf {
    pub name: String,
    pub uid: String,
}
