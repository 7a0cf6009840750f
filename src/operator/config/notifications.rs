//! The part `notifications` of the configuration: receivers that Cutovers may name, and the proxy.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::{is_name, only};
use crate::api::notify::{Mail, Notify, NotifyTo, Slack, Webhook};
use crate::api::step::KeyRef;
use crate::net::outgoing::{Offer, Outgoing, Proxy, key_of};
use crate::plan::notify::is_address;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Written {
    /// `http://HOST:PORT`.
    #[serde(default)]
    proxy: Option<String>,
    /// Ends of names that are asked without it.
    #[serde(default)]
    no_proxy: Vec<String>,
    #[serde(default)]
    receivers: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenReceiver {
    /// What Cutovers write.
    name: String,
    /// Whose Cutovers may name it; all where it is absent.
    #[serde(default)]
    namespaces: Option<Vec<String>>,
    #[serde(default)]
    webhook: Option<WrittenWebhook>,
    #[serde(default)]
    slack: Option<WrittenSlack>,
    #[serde(default)]
    pager_duty: Option<WrittenTo>,
    #[serde(default)]
    teams: Option<WrittenTo>,
    #[serde(default)]
    alertmanager: Option<WrittenTo>,
    #[serde(default)]
    cd_events: Option<WrittenTo>,
    #[serde(default)]
    mail: Option<WrittenMail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenTo {
    secret_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenMail {
    secret_file: PathBuf,
    from: String,
    to: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenWebhook {
    secret_file: PathBuf,
    #[serde(default)]
    sign_with_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenSlack {
    secret_file: PathBuf,
    #[serde(default)]
    channel: Option<String>,
}

/// # Errors
/// What is refused: the field, what is wrong with it, and what to write.
pub(super) fn read(written: Written) -> Result<Outgoing, String> {
    let Written { proxy, no_proxy, receivers } = written;
    let mut offers = BTreeMap::new();
    for (i, one) in receivers.into_iter().enumerate() {
        let at = format!("notifications.receivers[{i}]");
        let given: WrittenReceiver = serde_json::from_value(one).map_err(|e| format!("{at}: {e}"))?;
        let name = given.name.clone();
        if !is_name(&name) {
            return Err(format!(
                "{at}.name: {name:?} is not a name; use up to 253 letters, digits and - . _ / between a letter or digit \
                 at each end, such as platform/on-call"
            ));
        }
        if offers.insert(name.clone(), offer(given, &at)?).is_some() {
            return Err(format!("{at}.name: {name} is the name of another receiver already; give each its own"));
        }
    }
    if proxy.is_none() && !no_proxy.is_empty() {
        return Err("notifications.noProxy: it goes with proxy; name one, or leave it out".into());
    }
    if let Some(wrong) = no_proxy.iter().find(|end| end.trim_matches('.').is_empty() || end.contains(['*', '/', ':'])) {
        return Err(format!("notifications.noProxy: {wrong:?} is not the end of a name; write it as .example.com"));
    }
    let proxy = proxy.map(|text| self::proxy(&text, no_proxy)).transpose()?;
    Ok(Outgoing::new(offers, proxy))
}

fn offer(given: WrittenReceiver, at: &str) -> Result<Offer, String> {
    let WrittenReceiver { name: _, namespaces, webhook, slack, pager_duty, teams, alertmanager, cd_events, mail } =
        given;
    let kinds = [
        webhook.is_some(),
        slack.is_some(),
        pager_duty.is_some(),
        teams.is_some(),
        alertmanager.is_some(),
        cd_events.is_some(),
        mail.is_some(),
    ];
    if kinds.into_iter().filter(|there| *there).count() != 1 {
        return Err(format!(
            "{at}: give exactly one of webhook, slack, pagerDuty, teams, mail, alertmanager or cdEvents"
        ));
    }
    let file = |field: &str, path: PathBuf| -> Result<KeyRef, String> {
        key_of(&path).map_err(|why| format!("{at}.{field}: {why}"))
    };
    let to = |kind: &str, to: Option<WrittenTo>| {
        let key = to.map(|to| file(&format!("{kind}.secretFile"), to.secret_file)).transpose()?;
        Ok::<_, String>(key.map(|secret| NotifyTo { secret }))
    };
    let webhook = webhook.map(|w| {
        let sign_with = w.sign_with_file.map(|path| file("webhook.signWithFile", path)).transpose()?;
        Ok::<_, String>(Webhook { secret: file("webhook.secretFile", w.secret_file)?, sign_with })
    });
    let slack =
        slack.map(|s| Ok::<_, String>(Slack { secret: file("slack.secretFile", s.secret_file)?, channel: s.channel }));
    let mail = mail.map(|m| {
        if let Some(wrong) = [&m.from].into_iter().chain(&m.to).find(|address| !is_address(address)) {
            return Err(format!("{at}.mail: {wrong:?} is no mail address; write name@domain alone, in ASCII"));
        }
        if m.to.is_empty() {
            return Err(format!("{at}.mail.to: it names nobody; write one address at least"));
        }
        Ok(Mail { secret: file("mail.secretFile", m.secret_file)?, from: m.from, to: m.to })
    });
    let receiver = Notify {
        name: String::new(),
        events: vec![],
        remind_every: None,
        texts: BTreeMap::new(),
        webhook: webhook.transpose()?,
        slack: slack.transpose()?,
        pager_duty: to("pagerDuty", pager_duty)?,
        teams: to("teams", teams)?,
        mail: mail.transpose()?,
        alertmanager: to("alertmanager", alertmanager)?,
        cd_events: to("cdEvents", cd_events)?,
        offered: None,
    };
    Ok(Offer { receiver, namespaces: namespaces.map(|list| only(list, at)).transpose()? })
}

fn proxy(text: &str, direct: Vec<String>) -> Result<Proxy, String> {
    let at = "notifications.proxy";
    let shape = "write http://HOST:PORT";
    let url = url::Url::parse(text).map_err(|e| format!("{at}: not a URL ({e}); {shape}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{at}: it carries a user or a password, which this version does not send; {shape}"));
    }
    let bare = url.path().trim_matches('/').is_empty() && url.query().is_none() && url.fragment().is_none();
    match (url.scheme(), url.host(), url.port_or_known_default()) {
        ("http", Some(host), Some(port)) if bare => Ok(Proxy { host: host.to_owned(), port, direct }),
        _ => Err(format!("{at}: it is spoken to by plain HTTP, and has no path; {shape}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    #[test]
    fn receivers_are_offered_by_name_and_their_secrets_are_files() {
        let yaml = "
notifications:
  proxy: http://proxy.corp.example:3128
  noProxy: [.corp.example]
  receivers:
  - name: platform/on-call
    namespaces: [shop]
    pagerDuty: {secretFile: /etc/cutover/secrets/pager/routing-key}
  - {name: audit, webhook: {secretFile: /s/url, signWithFile: /s/key}}
  - {name: chat, slack: {secretFile: /s/token, channel: C1}}
  - {name: letters, mail: {secretFile: /s/mail, from: cutover@shop.example, to: [team@shop.example]}}
";
        let config = parse(yaml).expect("a configuration");
        let names: Vec<&String> = config.outgoing.offers().map(|(name, _)| name).collect();
        assert_eq!(names, ["audit", "chat", "letters", "platform/on-call"]);
        assert_eq!(config.offered.receivers.names.len(), 4);
        assert_eq!(config.offered.receivers.only["platform/on-call"], ["shop".to_owned()].into());
        let key = config.outgoing.offers().find_map(|(_, offer)| offer.receiver.pager_duty.clone()).expect("a pager");
        assert_eq!((key.secret.name.as_str(), key.secret.key.as_str()), ("/etc/cutover/secrets/pager", "routing-key"));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_write() {
        let receivers = [
            ("{teams: {secretFile: /a/b}}", "[0]: missing field `name`"),
            ("{name: a b, teams: {secretFile: /a/b}}", "[0].name: \"a b\" is not a name"),
            ("{name: a}", "[0]: give exactly one of webhook"),
            ("{name: a, teams: {secretFile: /a/b}, slack: {secretFile: /a/b}}", "[0]: give exactly one of webhook"),
            ("{name: a, teams: {secretFile: b}}", "[0].teams.secretFile: b is not a whole path"),
            ("{name: a, webhook: {secretFile: /a/b, signWithFile: b}}", "[0].webhook.signWithFile: b is not"),
            ("{name: a, teams: {secret: /a/b}}", "[0]: unknown field `secret`"),
            ("{name: a, namespaces: [], teams: {secretFile: /a/b}}", "[0].namespaces: it names none"),
            (
                "{name: a, teams: {secretFile: /a/b}}, {name: a, teams: {secretFile: /a/b}}",
                "[1].name: a is the name of another receiver",
            ),
        ];
        for (receiver, wanted) in receivers {
            let why = parse(&format!("notifications: {{receivers: [{receiver}]}}")).expect_err(receiver);
            let wanted = format!("notifications.receivers{wanted}");
            assert!(why.starts_with(&wanted), "{receiver}: wanted {wanted}, got {why}");
        }
        let table = [
            ("proxy: 'https://p:1'", "notifications.proxy: it is spoken to by plain HTTP"),
            ("proxy: 'http://p:1/x'", "notifications.proxy: it is spoken to"),
            ("proxy: 'p'", "notifications.proxy: not a URL"),
            ("proxy: 'http://me:secret@p:1'", "notifications.proxy: it carries a user"),
            ("noProxy: [.a]", "notifications.noProxy: it goes with proxy"),
            ("proxy: 'http://p:1', noProxy: ['*.a']", "notifications.noProxy: \"*.a\" is not"),
            ("prxy: 'http://p:1'", "notifications: unknown field `prxy`"),
        ];
        for (yaml, wanted) in table {
            let why = parse(&format!("notifications: {{{yaml}}}")).expect_err(yaml);
            assert!(why.starts_with(wanted) && !why.contains("secret"), "{yaml}: {why}");
        }
    }
}
