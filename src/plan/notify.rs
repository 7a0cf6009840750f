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

/// Looks at every receiver. `offered`: those of the operator's configuration that may be named.
pub(super) fn check(receivers: &[Notify], offered: &[&str], refusals: &mut Refusals) {
    for receiver in receivers {
        let field = format!("spec.notify[{}]", receiver.name);
        if let Some(name) = receiver.offered.as_ref().filter(|name| !offered.contains(&name.as_str())) {
            let list = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
            refusals.add(
                format!("{field}.offered"),
                format!("the operator's configuration has no receiver {name:?} for this namespace; it offers: {list}"),
                "name one that is offered, or have this one added (chart value notifications.receivers)",
            );
        }
        if receiver.remind_every.is_some_and(|every| !every.is_zero() && every < SHORTEST_REMINDER) {
            refusals.add(format!("{field}.remindEvery"), "it is shorter than 1m", "write 1m or more, or 0s for never");
        }
        if let Some(mail) = &receiver.mail {
            let all = [("from".to_owned(), &mail.from)].into_iter();
            let to = mail.to.iter().enumerate().map(|(n, to)| (format!("to[{n}]"), to));
            for (name, address) in all.chain(to).filter(|(_, address)| !is_address(address)) {
                let place = format!("{field}.mail.{name}");
                refusals.add(place, format!("{address:?} is no mail address"), "write name@domain alone, in ASCII");
            }
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

/// An address alone, of characters that every mail server takes.
pub(crate) fn is_address(text: &str) -> bool {
    text.is_ascii() && !text.contains(['"', ',']) && text.parse::<lettre::Address>().is_ok()
}

fn is_event(name: &str) -> bool {
    serde_json::from_value::<NotifyEvent>(Value::String(name.to_owned())).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_receiver_that_is_not_offered_is_refused_with_those_that_are() {
        let receiver: Notify = serde_json::from_value(json!({"name": "a", "offered": "pager"})).expect("a receiver");
        let said = |offered: &[&str]| {
            let mut refusals = Refusals::default();
            check(std::slice::from_ref(&receiver), offered, &mut refusals);
            refusals.0.into_iter().map(|r| (r.field, r.message)).collect::<Vec<_>>()
        };
        assert_eq!(said(&["chat", "pager"]), []);
        let why = |list: &str| {
            let text =
                format!("the operator's configuration has no receiver \"pager\" for this namespace; it offers: {list}");
            vec![("spec.notify[a].offered".to_owned(), text)]
        };
        assert_eq!(said(&["audit", "chat"]), why("audit, chat"));
        assert_eq!(said(&[]), why("none"));
    }

    fn refused(receiver: Value) -> Vec<String> {
        let receiver: Notify = serde_json::from_value(receiver).expect("a receiver");
        let mut refusals = Refusals::default();
        check(&[receiver], &[], &mut refusals);
        refusals.0.into_iter().map(|r| r.field.replace("spec.notify[ops].", "")).collect()
    }

    #[test]
    fn receivers_that_could_tell_nobody_are_refused() {
        let secret = json!({"name": "s", "key": "k"});
        let to = [
            "c@d.example",
            "e@f.example, g@h.example",
            "é@i.example",
            "j@k.example\r\nBcc: l@m.example",
            "Eve <e@f.example>",
        ];
        let mail = json!({"secret": secret, "from": "a@b.example", "to": to});
        let found = refused(json!({"name": "ops", "mail": mail, "remindEvery": "30s", "texts": {"Done": "x"}}));
        assert_eq!(found, ["remindEvery", "mail.to[1]", "mail.to[2]", "mail.to[3]", "mail.to[4]", "texts.Done"]);
        let found = refused(json!({"name": "ops", "slack": {"secret": secret}, "remindEvery": "0s"}));
        assert_eq!(found, Vec::<String>::new(), "0s is never");
    }
}
