//! Who is told of what happens to a Cutover's runs, and where.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::schema;
use super::step::KeyRef;

/// A receiver of notifications.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.webhook), has(self.slack), has(self.pagerDuty), has(self.teams), has(self.mail), has(self.alertmanager), has(self.cdEvents), has(self.offered)].filter(x, x).size() == 1",
    "message": "a receiver has exactly one kind"
}]))]
pub struct Notify {
    /// Its name.
    #[schemars(schema_with = "schema::name40")]
    pub name: String,
    /// What it hears of; the usual by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub events: Vec<NotifyEvent>,
    /// What lasts is told again this often, 1m at least, 0s never. By default people are told of an incident each 15m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_every: Option<Duration>,
    /// Own words by event, with `${…}`; `Default` is for all others. The operator's by default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 2048}))]
    pub texts: BTreeMap<String, String>,
    /// A POST of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// One message a run, which changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<Slack>,
    /// By a routing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pager_duty: Option<NotifyTo>,
    /// The URL of a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teams: Option<NotifyTo>,
    /// Mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,
    /// An Alertmanager's URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<NotifyTo>,
    /// The URL of what takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cd_events: Option<NotifyTo>,
    /// One of the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub offered: Option<String>,
}

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotifyTo {
    /// Where it is kept.
    pub secret: KeyRef,
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Where its URL is kept.
    pub secret: KeyRef,
    /// For an HMAC-SHA256 over time and body; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_with: Option<KeyRef>,
}

/// Slack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slack {
    /// A webhook's URL, or with `channel` a bot's token.
    pub secret: KeyRef,
    /// The id of the bot's channel; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 80))]
    pub channel: Option<String>,
}

/// Mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mail {
    /// Where the URL of the server is kept.
    pub secret: KeyRef,
    /// The sender.
    #[schemars(length(min = 3, max = 254))]
    pub from: String,
    /// The receivers.
    #[schemars(length(min = 1, max = 8), inner(length(min = 3, max = 254)))]
    pub to: Vec<String>,
}

/// What a receiver may hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum NotifyEvent {
    /// The run has begun.
    #[default]
    Preflight,
    Preparing,
    Verifying,
    Switching,
    Confirming,
    Observing,
    Finishing,
    Completed,
    RollingBack,
    RolledBack,
    Failed,
    Aborted,
    Superseded,
    /// A person must decide.
    AwaitingDecision,
    RollbackBlocked,
    SelectorDrift,
    OutcomeUnknown,
    NodeLost,
    MetricsInconclusive,
    Suspended,
    /// A trigger has fired, whatever its severity.
    TriggerFired,
    /// A person's decision counted.
    Decision,
    /// What stood in the way of the run does not any more.
    Resolved,
    /// The old side has been scaled down for good.
    Retired,
}
