//! PURE. Whether a receiver can be told of anything, by what its Secrets hold: said when the Cutover is applied, and not on the
//! night. What is found names fields, Secrets and keys, and never a value.

use super::{Secrets, form};
use crate::api::notify::Notify;
use crate::api::step::KeyRef;

/// Something that stands in the way of every notification of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Such as `spec.notify[on-call].slack.secret`.
    pub field: String,
    /// What is wrong, and what to do about it.
    pub why: String,
}

/// What is found of a receiver.
#[derive(Debug, Default)]
pub struct Found {
    /// Such as `spec.notify[on-call]`.
    at: String,
    pub findings: Vec<Finding>,
    /// The URLs that would be asked, by field: whether they may be is for the address rules to say.
    pub urls: Vec<(String, String)>,
}

impl Found {
    /// What is wrong with a field.
    pub fn say(&mut self, field: &str, why: impl Into<String>) {
        let field = if field.is_empty() { self.at.clone() } else { format!("{}.{field}", self.at) };
        self.findings.push(Finding { field, why: why.into() });
    }

    /// A key that holds a URL.
    pub(super) fn url(&mut self, field: &str, secrets: &Secrets<'_>, key: &KeyRef) {
        self.address(field, secrets.url(key));
    }

    /// The URL that a field leads to.
    pub(super) fn address(&mut self, field: &str, url: Result<String, String>) {
        match url {
            Ok(url) => self.urls.push((format!("{}.{field}", self.at), url)),
            Err(why) => self.say(field, why),
        }
    }

    /// A key that holds a text, in which `wrong` may find something.
    pub(super) fn text(
        &mut self,
        field: &str,
        secrets: &Secrets<'_>,
        key: &KeyRef,
        wrong: impl Fn(&str) -> Option<&'static str>,
    ) {
        let place = format!("Secret {}, key {}", key.name, key.key);
        match secrets.get(key) {
            Err(why) => self.say(field, why),
            Ok(text) if text.chars().any(char::is_control) => {
                self.say(field, format!("{place}: it has a line break or another character that cannot be sent"));
            }
            Ok(text) => {
                if let Some(why) = wrong(&text) {
                    self.say(field, format!("{place}: {why}"));
                }
            }
        }
    }

    /// Where an API is asked: another place if the Secret has a key `api-url`.
    pub(super) fn api(&mut self, field: &str, secrets: &Secrets<'_>, beside: &KeyRef, usual: &str) -> String {
        let at = secrets.api(beside, usual);
        if at.starts_with("https://") || at.starts_with("http://") {
            self.urls.push((format!("{}.{field}", self.at), at.clone()));
        } else {
            self.say(field, format!("Secret {}, key api-url: it is no URL of http or https", beside.name));
        }
        at
    }
}

/// Looks at what the Secrets of a receiver hold.
pub fn usable(receiver: &Notify, secrets: &Secrets<'_>) -> Found {
    let mut found = Found { at: format!("spec.notify[{}]", receiver.name), ..Found::default() };
    if let Some(form) = form(receiver) {
        form.look(secrets, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is found with a Secret that holds this.
    fn found(receiver: serde_json::Value, holds: &[(&str, &str)]) -> Found {
        let receiver: Notify = serde_json::from_value(receiver).expect("a receiver");
        let get = |key: &KeyRef| {
            let value = holds.iter().find(|(name, _)| *name == key.key);
            value.map(|(_, value)| (*value).to_owned()).ok_or_else(|| format!("Secret s has no key {}", key.key))
        };
        usable(&receiver, &Secrets(&get))
    }

    #[test]
    fn what_no_receiver_could_be_told_by_is_found_by_its_field() {
        let key = |key: &str| json!({"name": "s", "key": key});
        let slack = || json!({"name": "a", "slack": {"secret": key("k"), "channel": "C1"}});
        let pager = || json!({"name": "a", "pagerDuty": {"secret": key("k")}});
        let hook = || json!({"name": "a", "webhook": {"secret": key("k"), "signWith": key("sign")}});
        let table = [
            (hook(), &[("k", "https://a.example/x")][..], "webhook.signWith: Secret s has no key sign"),
            (hook(), &[("k", "canary"), ("sign", "x")], "webhook.secret: Secret s, key k: it is no URL"),
            (hook(), &[("k", "ftp://canary"), ("sign", "x")], "webhook.secret: Secret s, key k: it is no URL"),
            (hook(), &[("sign", "x")], "webhook.secret: Secret s has no key k"),
            (hook(), &[("k", " \n"), ("sign", "x")], "webhook.secret: Secret s, key k: it is empty"),
            (slack(), &[("k", "canary")], "slack.secret: Secret s, key k: it is no token of a bot"),
            (slack(), &[("k", "xoxb-\ncanary")], "slack.secret: Secret s, key k: it has a line break"),
            (slack(), &[("k", "x"), ("api-url", "canary")], "slack.secret: Secret s, key api-url: it is no URL"),
            (pager(), &[("k", "canary")], "pagerDuty.secret: Secret s, key k: it is no routing key"),
            (
                pager(),
                &[("k", "canary"), ("api-url", "https://events.eu.pagerduty.com/")],
                "pagerDuty.secret: Secret s, key k: it is no routing key",
            ),
            (json!({"name": "a", "teams": {"secret": key("k")}}), &[], "teams.secret: Secret s has no key k"),
            (json!({"name": "a", "cdEvents": {"secret": key("k")}}), &[], "cdEvents.secret: Secret s has no key k"),
            (
                json!({"name": "a", "alertmanager": {"secret": key("k")}}),
                &[],
                "alertmanager.secret: Secret s has no key k",
            ),
        ];
        for (receiver, holds, wanted) in table {
            let all = found(receiver, holds).findings;
            let said: Vec<String> = all.iter().map(|f| format!("{}: {}", f.field, f.why)).collect();
            let wanted = format!("spec.notify[a].{wanted}");
            assert!(said.len() == 1 && said[0].starts_with(&wanted), "{said:?}, and not {wanted}");
            assert!(!said[0].contains("canary"), "{said:?}");
        }
    }

    #[test]
    fn what_is_right_leaves_the_addresses_to_be_looked_at() {
        let secret = json!({"name": "s", "key": "k"});
        let slack = || json!({"name": "a", "slack": {"secret": secret, "channel": "C1"}});
        let table = [
            (slack(), &[("k", "xoxb-1-2\n")][..], "https://slack.com/api"),
            (slack(), &[("k", "own"), ("api-url", "http://chat.example/api/")], "http://chat.example/api"),
            (json!({"name": "a", "slack": {"secret": secret}}), &[("k", "https://h.example/x")], "https://h.example/x"),
            (
                json!({"name": "a", "pagerDuty": {"secret": secret}}),
                &[("k", "R0123456789ABCDEF0123456789ABCDE")],
                "https://events.pagerduty.com",
            ),
        ];
        for (receiver, holds, url) in table {
            let found = found(receiver, holds);
            assert_eq!(found.findings, []);
            let urls: Vec<&str> = found.urls.iter().map(|(_, url)| url.as_str()).collect();
            assert_eq!(urls, [url]);
        }
    }
}
