//! Every kind of receiver with every event: what is sent, written down, and nothing in it that steers whoever shows it.

use serde_json::{Value, json};

use super::*;
use crate::api::cutover::Release;
use crate::api::notify::{Mail, NotifyTo, Slack, Webhook};
use crate::api::run::Question;

pub(super) const HOSTILE: &str = "\u{1b}[2J<!channel> [x](http://evil.example) *now*\u{202e}\n\"}, {\"a\": 1";

fn key(name: &str) -> KeyRef {
    KeyRef { name: "receivers".into(), key: name.into() }
}

fn receivers() -> Vec<Notify> {
    let to = || Some(NotifyTo { secret: key("url") });
    let named = |name: &str| Notify {
        name: name.into(),
        events: vec![],
        remind_every: None,
        texts: Default::default(),
        webhook: None,
        slack: None,
        pager_duty: None,
        teams: None,
        mail: None,
        alertmanager: None,
        cd_events: None,
        offered: None,
    };
    let webhook = Webhook { secret: key("url"), sign_with: Some(key("key")) };
    let bot = Slack { secret: key("token"), channel: Some("C1".into()) };
    let hook = Slack { secret: key("url"), channel: None };
    vec![
        Notify { webhook: Some(webhook), ..named("webhook") },
        Notify { slack: Some(bot), ..named("slack-bot") },
        Notify { slack: Some(hook), ..named("slack-webhook") },
        Notify { pager_duty: Some(NotifyTo { secret: key("token") }), ..named("pager-duty") },
        Notify { teams: to(), ..named("teams") },
        Notify { mail: Some(mail()), ..named("mail") },
        Notify { alertmanager: to(), ..named("alertmanager") },
        Notify { cd_events: to(), ..named("cd-events") },
    ]
}

pub(super) fn mail() -> Mail {
    let to = vec!["team@shop.example".into(), "lead@shop.example".into()];
    Mail { secret: key("mail"), from: "cutover@shop.example".into(), to }
}

pub(super) fn secret(key: &KeyRef) -> Result<String, String> {
    match key.key.as_str() {
        "url" => Ok("https://receiver.example/in?token=canary\n".into()),
        "mail" => Ok("smtps://cutover:canary@mail.example".into()),
        "token" | "key" => Ok("canary".into()),
        other => Err(format!("Secret {} has no key {other}", key.name)),
    }
}

pub(super) fn letter(event: NotifyEvent, message: &str) -> Letter {
    let at = |second: i64| jiff::Timestamp::from_second(1_795_000_000 + second).expect("a time");
    Letter {
        id: "0011223344".into(),
        event,
        again: false,
        at: at(300),
        namespace: "prod".into(),
        cutover: "shop".into(),
        run: RunOf { name: "shop-7".into(), uid: "run-uid".into() },
        phase: Phase::RolledBack,
        message: message.into(),
        release: Release { version: Some("2.4.0".into()), requested_by: Some(message.into()), ..Release::default() },
        services: vec!["web".into()],
        from: "blue".into(),
        to: "green".into(),
        old_release: Some("2.3.1".into()),
        live: Some("blue".into()),
        began: Some(at(0)),
        cause: Some(message.into()),
        ongoing: None,
        next: Some("kubectl cutover status shop -n prod".into()),
        images: vec!["registry.example/team/shop:2.4.0@sha256:abcd".into()],
    }
}

/// Everything that is sent to a receiver.
fn posts(receiver: &Notify, letter: &Letter, thread: Option<&str>) -> Vec<Post> {
    form(receiver).expect("a known kind").posts(letter, &Secrets(&secret), thread).expect("it can be said")
}

#[test]
fn what_each_kind_is_sent_of_a_rollback_is_written_down() {
    let mut all = serde_json::Map::new();
    for receiver in receivers() {
        let sent = posts(&receiver, &letter(NotifyEvent::RolledBack, "trigger errors: 0.07"), Some("C1/171.42"));
        let shown = sent.iter().map(|post| {
            let body = said(post);
            let headers: Vec<String> = post.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            json!({"url": post.url, "headers": headers, "contentType": post.content_type, "body": body})
        });
        all.insert(receiver.name.clone(), shown.collect());
    }
    let text = format!("{:#}\n", Value::Object(all));
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/notify/testdata/rolled-back.json");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &text).expect("it can be written");
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(known == text, "{} is not what is sent: UPDATE_EXPECT=1 writes it anew\n{text}", file.display());
}

#[test]
fn what_is_said_of_each_event_is_written_down() {
    let mut text = String::new();
    let mut say = |letter: &Letter| {
        let words = text::text(letter, &text::Texts::new()).expect("it can be said");
        text.push_str(&format!("{:?}: {}\n{words}\n\n", letter.event, text::title(letter)));
    };
    for event in ALL {
        say(&letter(event, "what the run says"));
    }
    // As it is told again every quarter of an hour, while Services differ.
    say(&Letter { again: true, live: None, ..letter(NotifyEvent::RollingBack, "trigger errors: 0.07 above 0.05") });
    let unnamed = Letter { old_release: None, began: None, cause: None, ..letter(NotifyEvent::RolledBack, "") };
    say(&Letter { release: Release::default(), ..unnamed });
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/notify/testdata/texts.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &text).expect("it can be written");
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(known == text, "{} is not what is said: UPDATE_EXPECT=1 writes it anew\n{text}", file.display());
}

#[test]
fn people_are_told_of_an_incident_every_quarter_of_an_hour_unless_they_say_otherwise() {
    let quarter = Some(Duration::from_mins(15));
    let journal = RunStatus::default();
    let told: Vec<String> = receivers()
        .iter()
        .filter(|r| remind_every(r, NotifyEvent::RollingBack, &journal) == quarter)
        .map(|r| r.name.clone())
        .collect();
    assert_eq!(told, ["webhook", "slack-bot", "slack-webhook", "teams", "mail"], "programs remind by their own rules");
    let of = |every: Option<Duration>, event, journal: &RunStatus| {
        remind_every(&Notify { remind_every: every, ..receivers().remove(1) }, event, journal)
    };
    assert_eq!(of(None, NotifyEvent::RollbackBlocked, &journal), quarter);
    assert_eq!(of(None, NotifyEvent::AwaitingDecision, &journal), None, "an approval is no incident");
    let (subject, text) = ("trigger/errors".into(), "go on?".into());
    let question = Question { subject, text, at: jiff::Timestamp::UNIX_EPOCH, until: None, default_rollback: true };
    let asked = RunStatus { question: Some(question), ..RunStatus::default() };
    assert_eq!(of(None, NotifyEvent::AwaitingDecision, &asked), quarter);
    let hour = Some(Duration::from_mins(60));
    assert_eq!(of(hour, NotifyEvent::AwaitingDecision, &journal), hour, "whoever asks for it");
    assert_eq!(of(Some(Duration::from_millis(0)), NotifyEvent::RollingBack, &journal), None);
}

#[test]
fn hostile_words_steer_nobody_and_stay_within_their_text() {
    for receiver in receivers() {
        for event in ALL {
            for post in posts(&receiver, &letter(event, HOSTILE), Some("C1/171.42")) {
                let body = said(&post);
                assert!(post.body.len() < 16_384, "{}: {} bytes", receiver.name, post.body.len());
                let mut texts = vec![];
                collect(&body, &receiver.name, &mut texts);
                for text in texts {
                    let steers = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
                    assert!(!text.contains(steers), "{} {event:?}: {text:?}", receiver.name);
                    assert!(
                        !(receiver.slack.is_some() && text.contains("<!")),
                        "{event:?} addresses a channel: {text}"
                    );
                    assert!(!(receiver.teams.is_some() && text.contains("](http")), "{event:?} has a link: {text}");
                }
            }
        }
    }
}

/// What a post says: JSON whatever was written, and plain text of a mail.
fn said(post: &Post) -> Value {
    match post.content_type.starts_with("text/plain") {
        true => {
            let subject = post.headers.iter().filter(|(name, _)| *name == "Subject").map(|(_, value)| value.as_str());
            subject.chain(post.body.lines()).collect()
        }
        false => serde_json::from_str(&post.body).expect("JSON, whatever was written"),
    }
}

/// The texts that are shown to people; a program gets the words as they are.
fn collect(value: &Value, kind: &str, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|v| collect(v, kind, texts)),
        Value::Object(all) => {
            let raw = |key: &str| match kind {
                "webhook" => !matches!(key, "title" | "text"),
                "cd-events" => key == "customData",
                _ => false,
            };
            all.iter().filter(|(key, _)| !raw(key)).for_each(|(_, v)| collect(v, kind, texts));
        }
        _ => {}
    }
}

#[test]
fn an_incident_is_opened_taken_and_closed_and_only_then_over() {
    let pager = receivers().swap_remove(3);
    let actions = |event| -> Vec<String> {
        let sent = posts(&pager, &letter(event, "why"), None);
        let bodies = sent.iter().map(|p| serde_json::from_str::<Value>(&p.body).expect("JSON"));
        bodies.map(|b| b["event_action"].as_str().unwrap_or("change").to_owned()).collect()
    };
    assert_eq!(actions(NotifyEvent::RollingBack), ["trigger"]);
    assert_eq!(actions(NotifyEvent::Decision), ["acknowledge"]);
    assert_eq!(actions(NotifyEvent::RolledBack), ["resolve", "change"]);
    assert_eq!(actions(NotifyEvent::Switching), ["change"]);
    assert_eq!(actions(NotifyEvent::Verifying), Vec::<String>::new());
    for end in ENDS {
        let only = Notify { events: vec![NotifyEvent::RollingBack], ..pager.clone() };
        assert!(wants(&only, end), "{end:?} is heard of whatever was asked for");
    }
}

#[test]
fn what_answers_mean() {
    let all = receivers();
    let of = |n: usize, status: u16, retry_after: Option<u64>, body: &str| {
        let response = Response { status, retry_after, body: body.as_bytes() };
        form(&all[n]).expect("a known kind").answer(&response)
    };
    let taken =
        |answer: &str, thread: Option<&str>| Answer::Taken { answer: answer.into(), thread: thread.map(str::to_owned) };
    let not = |why: &str, pause| Answer::Not { why: why.into(), pause };
    assert_eq!(of(0, 204, None, ""), taken("204", None));
    assert_eq!(of(0, 302, None, ""), not("it answered 302: redirects are not followed", None));
    assert_eq!(of(0, 429, Some(30), "canary"), not("it answered 429", Some(30)), "what it says stands nowhere");
    assert_eq!(of(1, 200, None, r#"{"ok": true, "channel": "C1", "ts": "17.4"}"#), taken("200", Some("C1/17.4")));
    assert_eq!(
        of(1, 200, None, r#"{"ok": false, "error": "channel_not_found"}"#),
        not("Slack answered channel_not_found", None)
    );
    assert_eq!(
        of(1, 200, None, r#"{"ok": false, "error": "<script>"}"#),
        not("Slack's answer is not understood", None)
    );
    assert_eq!(of(1, 200, None, "no JSON"), not("Slack's answer is not understood", None));
}

#[test]
fn own_words_take_the_place_of_the_operators() {
    let mut texts = text::Texts::new();
    texts.insert("Default".into(), "${cutover} ${event}: ${message}${live}".into());
    texts.insert("RolledBack".into(), "on ${old} again, ${release.version}, $${literal}".into());
    let of = |event| text::text(&letter(event, "m"), &texts).expect("it can be said");
    assert_eq!(of(NotifyEvent::RolledBack), "on blue again, 2.4.0, ${literal}");
    assert_eq!(of(NotifyEvent::Failed), "shop Failed: mblue");
    texts.insert("Failed".into(), "${secret}".into());
    assert!(text::text(&letter(NotifyEvent::Failed, "m"), &texts).is_err(), "a name that means nothing");
}

#[test]
fn a_secret_that_is_of_no_use_is_named_without_its_value() {
    let empty = |_: &KeyRef| Ok(" \n".to_owned());
    let no_url = |_: &KeyRef| Ok("canary".to_owned());
    for receiver in receivers() {
        let form = form(&receiver).expect("a known kind");
        let letter = letter(NotifyEvent::RolledBack, "m");
        let why = form.posts(&letter, &Secrets(&empty), None).expect_err("it is empty");
        assert!(why.contains("Secret receivers, key") && why.contains("empty"), "{}: {why}", receiver.name);
        if let Err(why) = form.posts(&letter, &Secrets(&no_url), None) {
            assert!(why.contains("no URL") && !why.contains("canary"), "{}: {why}", receiver.name);
        }
    }
}
