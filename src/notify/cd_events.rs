//! CDEvents 0.5 over CloudEvents (HTTP, structured): what the specification has an event for is that event, everything else a
//! custom one of `dev.cdeventsx.cutover-run`.

use serde_json::{Map, Value, json};

use super::text;
use super::{Found, Post, Secrets};
use crate::api::notify::{NotifyEvent, NotifyTo};
use crate::effect::letter::Letter;

/// The version of the specification.
const SPEC: &str = "0.5.0";

pub(super) struct Form<'a> {
    pub to: &'a NotifyTo,
}

/// Type and subject of an event of the specification; none: it is a custom one.
fn standard(event: NotifyEvent) -> Vec<(&'static str, &'static str)> {
    use NotifyEvent::*;
    match event {
        Completed => vec![("dev.cdevents.service.upgraded.0.3.0", "service")],
        RollingBack => vec![("dev.cdevents.incident.detected.0.3.0", "incident")],
        RolledBack => vec![
            ("dev.cdevents.service.rolledback.0.3.0", "service"),
            ("dev.cdevents.incident.resolved.0.3.0", "incident"),
        ],
        Retired => vec![("dev.cdevents.service.removed.0.3.0", "old")],
        _ => vec![],
    }
}

impl super::Form for Form<'_> {
    fn look(&self, secrets: &Secrets<'_>, found: &mut Found) {
        found.url("cdEvents.secret", secrets, &self.to.secret);
    }

    fn posts(&self, letter: &Letter, secrets: &Secrets<'_>, _: Option<&str>) -> Result<Vec<Post>, String> {
        let url = secrets.url(&self.to.secret)?;
        let standard = standard(letter.event).into_iter().enumerate();
        let mut events: Vec<Value> =
            standard.map(|(n, (type_, subject))| cd_event(letter, type_, subject, n)).collect();
        if events.is_empty() {
            events.push(custom(letter));
        }
        let post = |event| Post { content_type: "application/cloudevents+json", ..Post::json(url.clone(), &event) };
        Ok(events.into_iter().map(post).collect())
    }
}

fn source(letter: &Letter) -> String {
    format!("/cutover.dev/{}/{}", letter.namespace, letter.cutover)
}

/// The CloudEvent around a CDEvent: both have the same id, source, type and time.
fn envelope(letter: &Letter, id: &str, type_: &str, subject_id: &str, subject: &Value, custom: Option<Value>) -> Value {
    let mut data = json!({
        "context": {
            "version": SPEC,
            "id": id,
            "source": source(letter),
            "type": type_,
            "timestamp": letter.at.to_string(),
        },
        "subject": subject,
    });
    if let Some(custom) = custom {
        data["customData"] = custom;
        data["customDataContentType"] = json!("application/json");
    }
    json!({
        "specversion": "1.0",
        "id": id,
        "source": source(letter),
        "type": type_,
        "subject": subject_id,
        "time": letter.at.to_string(),
        "datacontenttype": "application/json",
        "data": data,
    })
}

fn cd_event(letter: &Letter, type_: &str, subject: &str, nth: usize) -> Value {
    let id = format!("{}-{nth}", letter.id);
    let environment = json!({"id": letter.namespace});
    let mut content = Map::new();
    content.insert("environment".into(), environment);
    let subject_id = match subject {
        "incident" => {
            content.insert("description".into(), json!(text::title(letter)));
            content.insert("service".into(), json!({"id": letter.cutover}));
            format!("{}/{}", letter.namespace, letter.run.name)
        }
        side => {
            // The side that the event is about: the one that is left where it is removed, the one with users otherwise.
            let removed = side == "old";
            if !removed && let Some(artifact) = artifact(letter) {
                content.insert("artifactId".into(), json!(artifact));
            }
            let side = if removed { &letter.from } else { letter.live.as_ref().unwrap_or(&letter.to) };
            format!("{}/{}/{side}", letter.namespace, letter.cutover)
        }
    };
    envelope(letter, &id, type_, &subject_id, &json!({"id": subject_id, "content": content}), Some(facts(letter)))
}

fn custom(letter: &Letter) -> Value {
    let what = format!("{:?}", letter.event).to_ascii_lowercase();
    let type_ = format!("dev.cdeventsx.cutover-run.{what}.0.1.0");
    let subject_id = format!("{}/{}", letter.namespace, letter.run.name);
    let subject = json!({"id": subject_id, "content": {"phase": letter.phase.as_str()}});
    envelope(letter, &letter.id, &type_, &subject_id, &subject, Some(facts(letter)))
}

fn facts(letter: &Letter) -> Value {
    serde_json::to_value(letter).unwrap_or_default()
}

/// The first image of what has users now, as a package URL; only one with a digest has one.
fn artifact(letter: &Letter) -> Option<String> {
    if letter.live.as_ref() != Some(&letter.to) {
        return None;
    }
    let (name, digest) = letter.images.iter().find_map(|image| image.split_once("@sha256:"))?;
    let bare = name.rsplit('/').next().unwrap_or(name).split(':').next().unwrap_or(name);
    let at = name.rsplit_once('/').map(|(at, _)| format!("?repository_url={at}/{bare}")).unwrap_or_default();
    Some(format!("pkg:oci/{bare}@sha256%3A{digest}{at}"))
}
