//! What a notification says in words: a title, a text, and the facts. The words are the operator's own or the Cutover's, in
//! which `${…}` stands for a fact, as everywhere in a Cutover. Nothing in them steers whatever shows them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::words;
use crate::api::notify::NotifyEvent;
use crate::effect::letter::Letter;
use crate::harmless;
use crate::plan::notify::{DEFAULT, NAMES};
use crate::plan::vars::{Escape, Vars};

/// Longest text, in characters.
const LONGEST: usize = 2048;

/// The Cutover's own words, by event.
pub type Texts = BTreeMap<String, String>;

/// One line.
pub fn title(letter: &Letter) -> String {
    let release = release(letter);
    let what = if release.is_empty() { letter.cutover.clone() } else { format!("{} {release}", letter.cutover) };
    let again = if letter.again { " (still)" } else { "" };
    harmless::line(&format!("{what}: {}{again}", headline(letter))).into_owned()
}

/// What is released, where it has a name.
pub(super) fn release(letter: &Letter) -> String {
    let r = &letter.release;
    r.version.as_ref().or(r.tag.as_ref()).or(r.revision.as_ref()).cloned().unwrap_or_default()
}

fn headline(letter: &Letter) -> String {
    let (from, to) = (&letter.from, &letter.to);
    match letter.event {
        NotifyEvent::Preflight => format!("the release to {to} has begun"),
        NotifyEvent::Preparing => "preparing".into(),
        NotifyEvent::Verifying => format!("verifying {to}, which has no users yet"),
        NotifyEvent::Switching => format!("switching users from {from} to {to}"),
        NotifyEvent::Confirming => format!("users are on {to}; confirming"),
        NotifyEvent::Observing => format!("users are on {to}; observing"),
        NotifyEvent::Finishing => format!("users stay on {to}; finishing"),
        NotifyEvent::Completed => format!("released: {to} is live"),
        NotifyEvent::RollingBack => format!("rolling back to {from}"),
        NotifyEvent::RolledBack => format!("rolled back: users are on {from} again"),
        NotifyEvent::Failed => format!("failed; users stayed on {from}"),
        NotifyEvent::Aborted => format!("aborted; users stayed on {from}"),
        NotifyEvent::Superseded => "a newer release takes its place".into(),
        NotifyEvent::AwaitingDecision => "a person must decide".into(),
        NotifyEvent::RollbackBlocked => format!("the rollback to {from} is blocked"),
        NotifyEvent::SelectorDrift => "somebody else has changed a selector".into(),
        NotifyEvent::OutcomeUnknown => "it is not known what a step did".into(),
        NotifyEvent::NodeLost => "a node is lost; nothing is judged".into(),
        NotifyEvent::MetricsInconclusive => "a metric gives no verdict".into(),
        NotifyEvent::Suspended => "suspended".into(),
        NotifyEvent::TriggerFired => "a trigger has fired".into(),
        NotifyEvent::Decision => "a person has decided".into(),
        NotifyEvent::Resolved => "nothing stands in its way any more".into(),
        NotifyEvent::Retired => format!("{from} has been scaled down"),
    }
}

/// Some lines: the Cutover's own words, or the operator's.
///
/// # Errors
/// What is wrong with the Cutover's own text.
pub fn text(letter: &Letter, texts: &Texts) -> Result<String, String> {
    let own = texts.get(&format!("{:?}", letter.event)).or_else(|| texts.get(DEFAULT));
    let text = match own {
        Some(own) => vars(letter).expand(own, Escape::Form).map_err(|e| e.to_string())?,
        None => words::of(letter),
    };
    let lines: Vec<String> = text.lines().map(|line| harmless::line(line).into_owned()).collect();
    Ok(lines.join("\n").chars().take(LONGEST).collect())
}

/// The facts as pairs, for receivers that show a table.
pub fn facts(letter: &Letter) -> Vec<(&'static str, String)> {
    let version = release(letter);
    let from = letter.old_release.as_ref().map_or(letter.from.clone(), |r| format!("{} ({r})", letter.from));
    let to = if version.is_empty() { letter.to.clone() } else { format!("{} ({version})", letter.to) };
    let mut all = vec![
        ("Cutover", format!("{}/{}", letter.namespace, letter.cutover)),
        ("Run", letter.run.name.clone()),
        ("From", from),
        ("To", to),
    ];
    let more = [
        ("Users are on", letter.live.clone()),
        ("Cause", letter.cause.clone().filter(|cause| *cause != letter.message)),
        ("Requested by", letter.release.requested_by.clone()),
        ("At", Some(format!("{:.0}", letter.at))),
        ("Next", letter.next.clone()),
    ];
    all.extend(more.into_iter().filter_map(|(name, value)| Some((name, value?))));
    all.into_iter().map(|(name, value)| (name, harmless::line(&value).into_owned())).collect()
}

fn vars(letter: &Letter) -> Vars {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let r = &letter.release;
    let values = [
        format!("{:?}", letter.event),
        letter.message.clone(),
        letter.cutover.clone(),
        letter.namespace.clone(),
        letter.run.name.clone(),
        letter.phase.as_str().to_owned(),
        text(&r.version),
        text(&r.revision),
        text(&r.tag),
        text(&r.requested_by),
        letter.to.clone(),
        letter.from.clone(),
        text(&letter.live),
        letter.services.join(", "),
        letter.began.map(|at| format!("{at:.0}")).unwrap_or_default(),
        text(&letter.cause),
        text(&letter.next),
    ];
    Vars::of(NAMES.into_iter().map(str::to_owned).zip(values.into_iter().map(Value::String)))
}
