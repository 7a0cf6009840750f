//! `notify --dry-run`: what each receiver of notifications is sent of an event, made by the code that the operator sends with.
//! Needs no Secret, and sends nothing.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::exit::{Exit, Failure};
use super::find::find;
use super::global::Global;
use super::output;
use super::rights::READ;
use super::session::Session;
use super::text::{Line, Page, Tone};
use crate::api::notify::{Notify as Receiver, NotifyEvent};
use crate::api::run::CutoverRun;
use crate::api::step::KeyRef;
use crate::effect::letter::{Letter, RunOf};
use crate::notify::{ALL, Post, Secrets, form, sample, wants};
use crate::view;

/// What is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct Notify {
    /// A run, or a Cutover, whose newest run is meant.
    run: String,
    /// What they are told of.
    #[arg(long, value_parser = event_of)]
    event: NotifyEvent,
    /// This receiver alone.
    #[arg(long, value_name = "NAME")]
    receiver: Option<String>,
    /// Print the requests; none is sent, and no Secret is read.
    #[arg(long)]
    dry_run: bool,
}

/// What receivers are sent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sent {
    pub run: String,
    pub event: NotifyEvent,
    /// Whether it has happened in the run; where it has not, time and message are examples.
    pub happened: bool,
    pub receivers: Vec<ToReceiver>,
}

/// What a receiver is sent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToReceiver {
    pub name: String,
    /// Whether it hears of such events.
    pub wants: bool,
    /// In the order in which they are sent.
    pub requests: Vec<Sending>,
    /// Why there is nothing to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A request, with `<Secret NAME, key KEY>` in the place of each secret.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sending {
    pub method: String,
    pub url: String,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

impl Notify {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        if !self.dry_run {
            return Err(Failure::new("the operator alone sends notifications")
                .next("add --dry-run, which prints what it would send")
                .exit(Exit::Usage));
        }
        let session = Session::open(global, &READ).await?;
        let found = find(&session.cluster, Some(&self.run)).await?;
        let cutover = found.cutover.name_any();
        let Some(run) = found.run else {
            return Err(Failure::new(format!("Cutover {cutover} has had no run yet"))
                .next("start a run, or name one of another Cutover"));
        };
        let all = &found.cutover.spec.notify;
        let asked = |receiver: &&Receiver| self.receiver.as_ref().is_none_or(|name| *name == receiver.name);
        let receivers: Vec<&Receiver> = all.iter().filter(asked).collect();
        if let Some(name) = self.receiver.as_ref().filter(|_| receivers.is_empty()) {
            let names: Vec<&str> = all.iter().map(|r| r.name.as_str()).collect();
            let next = match names.is_empty() {
                true => "name receivers in spec.notify".to_owned(),
                false => format!("name one of {}", names.join(", ")),
            };
            return Err(Failure::new(format!("Cutover {cutover} has no receiver {name}")).next(next));
        }
        let sent = sent(&run, &receivers, self.event, Timestamp::now())?;
        let names = [format!("cutoverrun.cutover.dev/{}", run.name_any())];
        output::print(global.output, session.look, &sent, &names, || page(&sent))?;
        Ok(Exit::Done)
    }
}

/// The event of a name.
fn event_of(text: &str) -> Result<NotifyEvent, String> {
    let known = ALL.into_iter().find(|event| name(*event) == text);
    known.ok_or_else(|| format!("it is no event; name one of {}", ALL.map(name).join(", ")))
}

fn name(event: NotifyEvent) -> String {
    format!("{event:?}")
}

/// What receivers are sent of an event of a run.
///
/// # Errors
/// The run was written by another version, or has not begun.
pub(crate) fn sent(
    run: &CutoverRun,
    receivers: &[&Receiver],
    event: NotifyEvent,
    now: Timestamp,
) -> Result<Sent, Failure> {
    let name = run.name_any();
    let (Some(plan), Some(journal)) = (view::plan_of(run), &run.status) else {
        return Err(Failure::new(format!("run {name} cannot be read by this version, or has not begun")));
    };
    let of = RunOf { name: name.clone(), uid: run.uid().unwrap_or_default() };
    let (letter, happened) = sample(&plan, journal, of, event, now);
    let receivers = receivers.iter().map(|receiver| to(receiver, &letter)).collect();
    Ok(Sent { run: name, event, happened, receivers })
}

fn to(receiver: &Receiver, letter: &Letter) -> ToReceiver {
    let mut sent = ToReceiver {
        name: receiver.name.clone(),
        wants: wants(receiver, letter.event),
        requests: vec![],
        problem: None,
    };
    let keys = crate::notify::secrets(receiver);
    // What may stand beside a secret is not known; the usual place is shown.
    let get = |key: &KeyRef| match keys.contains(&key) {
        true => Ok(placeholder(key)),
        false => Err("it is not read".to_owned()),
    };
    let posts = match form(receiver) {
        Some(form) => form.posts(letter, &Secrets(&get), None),
        None if receiver.offered.is_some() => {
            Err("the operator's configuration offers it, and says which kind it is".into())
        }
        None => Err("this version knows no receiver of its kind".into()),
    };
    match posts {
        Ok(posts) => sent.requests = posts.into_iter().map(|post| sending(post, &keys)).collect(),
        Err(why) => sent.problem = Some(why),
    }
    sent
}

/// Stands for a secret while a request is made: a URL, as some must be.
fn placeholder(key: &KeyRef) -> String {
    format!("https://secret.invalid/{}/{}", key.name, key.key)
}

fn sending(post: Post, keys: &[&KeyRef]) -> Sending {
    let shown = |text: &str| {
        keys.iter().fold(text.to_owned(), |text, key| {
            text.replace(&placeholder(key), &format!("<Secret {}, key {}>", key.name, key.key))
        })
    };
    let mut headers: BTreeMap<String, String> =
        post.headers.iter().map(|(name, value)| ((*name).to_owned(), shown(value))).collect();
    if let Some(signature) = headers.get_mut("Cutover-Signature") {
        // It is made with the key, which nobody has read.
        "v0=<HMAC-SHA256 with the key of signWith>".clone_into(signature);
    }
    headers.insert("Content-Type".into(), post.content_type.into());
    let body = shown(&post.body);
    Sending {
        method: "POST".into(),
        url: shown(&post.url),
        headers,
        body: serde_json::from_str(&body).unwrap_or(Value::String(body)),
    }
}

pub(crate) fn page(sent: &Sent) -> Page {
    let mut page = Page::new();
    let mut head = Line::new().tone(Tone::Strong, name(sent.event)).text(format!(" of run {}", sent.run));
    if !sent.happened {
        head = head.tone(Tone::Warn, "  it has not happened: time and message are examples");
    }
    page.push(head);
    if sent.receivers.is_empty() {
        page.push(Line::new().tone(Tone::Dim, "  nobody is told: the Cutover has no receivers in spec.notify"));
    }
    for receiver in &sent.receivers {
        page.push(Line::new());
        let mut head = Line::new().tone(Tone::Strong, &receiver.name);
        if !receiver.wants {
            head = head.tone(Tone::Dim, "  does not hear of this: events does not name it");
        }
        page.push(head);
        if let Some(problem) = &receiver.problem {
            page.push(Line::new().text("  ").tone(Tone::Bad, problem));
        } else if receiver.requests.is_empty() {
            page.push(Line::new().text("  ").tone(Tone::Dim, "nothing: its kind has nothing to say of this"));
        }
        for request in &receiver.requests {
            page.push(Line::new().text(format!("  {} {}", request.method, request.url)));
            for (name, value) in &request.headers {
                page.push(Line::new().text("  ").tone(Tone::Dim, format!("{name}: {value}")));
            }
            for line in format!("{:#}", request.body).lines() {
                page.push(Line::new().text(format!("  {line}")));
            }
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::fixtures::{HOSTILE, object, observing, run, shown, time};

    fn receivers(text: &str) -> Vec<Receiver> {
        let key = |key: &str| json!({"name": "team", "key": key});
        let text = json!({"Default": text});
        vec![
            object(json!({"name": "hook", "webhook": {"secret": key("url"), "signWith": key("sign")}, "texts": text})),
            object(json!({"name": "ops", "slack": {"secret": key("token"), "channel": "C1"}, "texts": text})),
            object(json!({"name": "on-call", "pagerDuty": {"secret": key("routing")}, "texts": text})),
            object(json!({"name": "alerts", "alertmanager": {"secret": key("alerts")}, "events": ["Completed"]})),
        ]
    }

    fn of(event: NotifyEvent, text: &str) -> Sent {
        let all = receivers(text);
        let all: Vec<&Receiver> = all.iter().collect();
        sent(&run(2, "2.4.0", Some(observing())), &all, event, time(20)).expect("it can be said")
    }

    #[test]
    fn what_has_happened_is_shown_as_it_was_told_with_secrets_named() {
        let sent = of(NotifyEvent::Switching, HOSTILE);
        assert!(sent.happened && sent.receivers.iter().map(|r| r.wants).eq([true, true, true, false]));
        let text = serde_json::to_string(&sent).expect("JSON");
        assert!(!text.contains("secret.invalid"), "{text}");
        for wanted in ["<Secret team, key url>", "Bearer <Secret team, key token>", "\"<Secret team, key routing>\""] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        shown("notify", &sent, &page(&sent));
    }

    #[test]
    fn what_has_not_happened_is_an_example_and_what_cannot_be_said_has_its_reason() {
        let sent = of(NotifyEvent::RolledBack, "${nothing}");
        assert!(!sent.happened);
        let problems: Vec<bool> = sent.receivers.iter().map(|r| r.problem.is_some()).collect();
        assert_eq!(problems, [true, true, true, false], "the texts name nothing that is known");
        shown("notify-example", &sent, &page(&sent));
    }

    #[test]
    fn each_event_has_the_name_that_a_cutover_writes() {
        for event in ALL {
            assert_eq!(serde_json::to_value(event).expect("JSON"), json!(name(event)));
            assert_eq!(event_of(&name(event)), Ok(event));
        }
    }
}
