//! PURE. Receivers of notifications: what of them is refused, and what their own words may name.

use serde_json::Value;

use super::refuse::Refusals;
use super::vars::references;
use crate::api::Duration;
use crate::api::notify::{Notify, NotifyEvent};

/// The key of texts that are for every event without a text of its own.
pub(crate) const DEFAULT: &str = "Default";

/// What may be named in a text; what is not known of a run is empty.
pub(crate) const NAMES: [&str; 17] = [
    "event",
    "message",
    "cutover",
    "namespace",
    "run",
    "phase",
    "release.version",
    "release.revision",
    "release.tag",
    "release.requestedBy",
    "target",
    "old",
    "live",
    "services",
    "began",
    "cause",
    "next",
];

/// Reminders come no more often.
pub(crate) const SHORTEST_REMINDER: Duration = Duration::from_mins(1);

/// Looks at every receiver.
pub(super) fn check(receivers: &[Notify], refusals: &mut Refusals) {
    for receiver in receivers {
        let field = format!("spec.notify[{}]", receiver.name);
        if receiver.remind_every.is_some_and(|every| every < SHORTEST_REMINDER) {
            refusals.add(format!("{field}.remindEvery"), "it is shorter than 1m", "write 1m or more");
        }
        for (key, text) in &receiver.texts {
            let place = format!("{field}.texts.{key}");
            if key != DEFAULT && !is_event(key) {
                let remedy = format!("name an event, or {DEFAULT} for all that have no text of their own");
                refusals.add(&place, format!("{key} is no event"), &remedy);
                continue;
            }
            match references(text) {
                Err(why) => refusals.add(&place, why.to_string(), "correct it"),
                Ok(names) => {
                    for name in names.iter().filter(|name| !NAMES.contains(&name.as_str())) {
                        let remedy = format!("name one of {}", NAMES.join(", "));
                        refusals.add(&place, format!("${{{name}}} means nothing here"), &remedy);
                    }
                }
            }
        }
    }
}

fn is_event(name: &str) -> bool {
    serde_json::from_value::<NotifyEvent>(Value::String(name.to_owned())).is_ok()
}
