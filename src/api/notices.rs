//! What receivers of notifications are still to hear of a run, and what they have received.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::notify::NotifyEvent;
use super::phase::Phase;

/// Notifications of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notices {
    /// What somebody is still to hear of, in the order in which it happened; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub pending: Vec<Notice>,
    /// By the name of the receiver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub receivers: BTreeMap<String, ReceiverRecord>,
    /// When something that comes and goes was last told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<NotifyEvent, Timestamp>,
    /// How many left for want of room before everybody had received them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u32,
}

impl Notices {
    /// Whether there never was anything in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Something that receivers are to hear of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Follows from the run, the event and the time: the same however often it is sent.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    pub event: NotifyEvent,
    /// The phase of the run at that time.
    pub phase: Phase,
    /// In words.
    pub message: String,
    /// It was told before, and still is so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// The receivers that have not received it; absent while it is not known who wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub to: Option<Vec<String>>,
}

/// What a receiver has received, and how it fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverRecord {
    /// How many notices it has received.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub received: u32,
    /// How many it was not given, after an hour of trying.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub given_up: u32,
    /// The last receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<NoticeReceipt>,
    /// Tries in a row without a receipt.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u32,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Not tried again before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// What the receiver calls the message of this run, such as Slack's `ts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
}

/// A receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoticeReceipt {
    /// The notice.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// What the receiver answered, such as `200`.
    pub answer: String,
    /// The try that was received.
    pub attempt: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}
