//! PURE. Notifications: who wants to hear of what, what is said, and in which form each kind of receiver takes it.
//!
//! A kind of receiver is a file here: [`Form`] says which requests it takes, and what an answer means.
//! Nothing here sends or reads anything; `net::notify` does.

use jiff::Timestamp;
use serde_json::Value;

use crate::api::duration::Duration;
use crate::api::notices::{Notice, Notices};
use crate::api::notify::{Notify, NotifyEvent};
use crate::api::phase::Phase;
use crate::api::run::{RunStatus, SwitchState};
use crate::api::step::KeyRef;
use crate::effect::letter::{Letter, RunOf};
use crate::journal::notices;
use crate::plan::Plan;

mod alertmanager;
mod cd_events;
pub(crate) mod mail;
mod pager_duty;
mod slack;
mod teams;
pub mod text;
mod usable;
mod webhook;
mod words;

pub use usable::{Finding, Found, usable};

/// Everything that receivers may hear of.
pub const ALL: [NotifyEvent; 24] = {
    use NotifyEvent::*;
    [
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
        AwaitingDecision,
        RollbackBlocked,
        SelectorDrift,
        OutcomeUnknown,
        NodeLost,
        MetricsInconclusive,
        Suspended,
        TriggerFired,
        Decision,
        Resolved,
        Retired,
    ]
};

/// What receivers hear of unless they say otherwise.
pub const USUAL: [NotifyEvent; 13] = [
    NotifyEvent::Preflight,
    NotifyEvent::Switching,
    NotifyEvent::Completed,
    NotifyEvent::RollingBack,
    NotifyEvent::RolledBack,
    NotifyEvent::Failed,
    NotifyEvent::Aborted,
    NotifyEvent::Superseded,
    NotifyEvent::AwaitingDecision,
    NotifyEvent::RollbackBlocked,
    NotifyEvent::SelectorDrift,
    NotifyEvent::OutcomeUnknown,
    NotifyEvent::NodeLost,
];

/// What ends an incident, or shows that somebody has it: receivers with incidents hear of it whatever they ask for.
const ENDS: [NotifyEvent; 7] = [
    NotifyEvent::Decision,
    NotifyEvent::Resolved,
    NotifyEvent::Completed,
    NotifyEvent::RolledBack,
    NotifyEvent::Failed,
    NotifyEvent::Aborted,
    NotifyEvent::Superseded,
];

/// Whether a receiver wants to hear of an event.
pub fn wants(receiver: &Notify, event: NotifyEvent) -> bool {
    let asked = match receiver.events.as_slice() {
        // Whoever takes events of this kind takes all of them, and is a program.
        [] => receiver.cd_events.is_some() || USUAL.contains(&event),
        events => events.contains(&event),
    };
    // Of which kind an offered one is, is known where it is sent: there what it does not want is left out.
    let keeps_incidents =
        receiver.pager_duty.is_some() || receiver.alertmanager.is_some() || receiver.offered.is_some();
    asked || keeps_incidents && ENDS.contains(&event)
}

/// The same for a receiver of which the kind is known, whoever offers it.
pub fn takes(receiver: &Notify, event: NotifyEvent) -> bool {
    wants(&Notify { offered: None, ..receiver.clone() }, event)
}

/// An incident is told again so often, unless the receiver says otherwise.
const UPDATES: Duration = Duration::from_mins(15);

/// How often a receiver is told again of what lasts. What reaches people is told of an incident every 15 minutes unless the
/// receiver says otherwise; an approval that a step waits for is none. Programs remind people by rules of their own.
pub fn remind_every(receiver: &Notify, event: NotifyEvent, journal: &RunStatus) -> Option<Duration> {
    if let Some(every) = receiver.remind_every {
        return Some(every).filter(|every| !every.is_zero());
    }
    let to_people =
        receiver.slack.is_some() || receiver.teams.is_some() || receiver.mail.is_some() || receiver.webhook.is_some();
    let is_incident = match event {
        NotifyEvent::AwaitingDecision => journal.question.is_some(),
        event => is_warning(event),
    };
    Some(UPDATES).filter(|_| to_people && is_incident)
}

/// Whether an event is bad news, or needs somebody.
pub fn is_warning(event: NotifyEvent) -> bool {
    use NotifyEvent::*;
    match event {
        RollingBack | RolledBack | Failed | Aborted | AwaitingDecision | RollbackBlocked | SelectorDrift
        | OutcomeUnknown | NodeLost | MetricsInconclusive | TriggerFired => true,
        Preflight | Preparing | Verifying | Switching | Confirming | Observing | Finishing | Completed | Superseded
        | Suspended | Decision | Resolved | Retired => false,
    }
}

/// What a notice says of a run.
pub fn letter(plan: &Plan, journal: &RunStatus, notice: &Notice) -> Letter {
    let images = journal.images.iter().filter(|r| r.side == plan.target.name);
    let ongoing = notices::ongoing(journal).map(|(event, _)| event);
    Letter {
        id: notice.id.clone(),
        event: notice.event,
        again: notice.again,
        at: notice.at,
        namespace: plan.namespace.clone(),
        cutover: plan.cutover.clone(),
        run: RunOf::default(),
        phase: notice.phase,
        message: notice.message.clone(),
        release: plan.release.clone(),
        services: plan.services.clone(),
        from: plan.old.name.clone(),
        to: plan.target.name.clone(),
        old_release: journal.old_release.clone(),
        live: live(plan, journal),
        began: journal.timeline.first().map(|m| m.at),
        cause: journal.ending.as_ref().map(|e| e.message.clone()),
        ongoing,
        next: next(plan, journal, notice.event),
        images: images.flat_map(|r| r.image_ids.first().or(Some(&r.image)).cloned()).collect(),
    }
}

/// What is said of an event of a run: of the last such event that its journal knows, or else of an example, and whether it has
/// happened.
pub fn sample(plan: &Plan, journal: &RunStatus, run: RunOf, event: NotifyEvent, now: Timestamp) -> (Letter, bool) {
    let all = notices::between(&RunStatus::default(), journal, now);
    let known = all.into_iter().rfind(|happened| happened.event == event);
    let has_happened = known.is_some();
    let happened = known.unwrap_or_else(|| notices::Happened {
        event,
        at: journal.timeline.last().map_or(now, |moment| moment.at),
        phase: journal.phase,
        subject: String::new(),
        message: format!("{event:?}, which has not happened in this run"),
    });
    let mut one = Notices::default();
    notices::add(&mut one, &run.uid, happened, None);
    let notice = one.pending.pop().unwrap_or_default();
    (Letter { run, ..letter(plan, journal, &notice) }, has_happened)
}

/// The side that all Services lead to, by what the run itself has done.
fn live(plan: &Plan, journal: &RunStatus) -> Option<String> {
    let Some(switch) = &journal.switch else { return Some(plan.old.name.clone()) };
    let on_target = |state: SwitchState| match state {
        SwitchState::Switched => Some(true),
        SwitchState::Restored | SwitchState::Refused => Some(false),
        SwitchState::Claimed | SwitchState::Gone => None,
    };
    let sides: Vec<Option<bool>> = switch.services.iter().map(|s| on_target(s.state)).collect();
    let all = |side: bool| !sides.is_empty() && sides.iter().all(|s| *s == Some(side));
    if all(true) { Some(plan.target.name.clone()) } else { all(false).then(|| plan.old.name.clone()) }
}

/// What somebody may do about it: a whole command.
fn next(plan: &Plan, journal: &RunStatus, event: NotifyEvent) -> Option<String> {
    let command = |verb: &str| Some(format!("kubectl cutover {verb} {} -n {}", plan.cutover, plan.namespace));
    match event {
        NotifyEvent::AwaitingDecision
        | NotifyEvent::OutcomeUnknown
        | NotifyEvent::RollbackBlocked
        | NotifyEvent::SelectorDrift
        | NotifyEvent::NodeLost
        | NotifyEvent::MetricsInconclusive
        | NotifyEvent::TriggerFired
        | NotifyEvent::RollingBack
        | NotifyEvent::RolledBack
        | NotifyEvent::Failed => command("status"),
        NotifyEvent::Suspended => command("resume"),
        NotifyEvent::Observing | NotifyEvent::Confirming if journal.phase != Phase::RollingBack => command("rollback"),
        _ => None,
    }
}

/// A request to a receiver: by HTTP, or a mail where the URL is that of a mail server.
#[derive(Clone, Debug, PartialEq)]
pub struct Post {
    /// Secret, like everything that is read with it: it stands in no text.
    pub url: String,
    /// Beside `Content-Type`; of a mail as they are read, not yet encoded.
    pub headers: Vec<(&'static str, String)>,
    /// Names those of `headers` that hold a secret.
    pub sensitive: &'static [&'static str],
    pub content_type: &'static str,
    pub body: String,
}

impl Post {
    fn json(url: impl Into<String>, body: &Value) -> Self {
        Self {
            url: url.into(),
            headers: vec![],
            sensitive: &[],
            content_type: "application/json",
            body: body.to_string(),
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What a receiver's Secrets hold, by where they are kept; a key beside it in the same Secret may be named.
pub struct Secrets<'a>(pub &'a (dyn Fn(&KeyRef) -> Result<String, String> + Sync));

impl Secrets<'_> {
    fn get(&self, key: &KeyRef) -> Result<String, String> {
        let text = (self.0)(key)?;
        let text = text.trim();
        match text.is_empty() {
            true => Err(format!("Secret {}, key {}: it is empty", key.name, key.key)),
            false => Ok(text.to_owned()),
        }
    }

    /// The URL that a key holds.
    fn url(&self, key: &KeyRef) -> Result<String, String> {
        self.url_of(key, &["https://", "http://"])
    }

    /// One that begins in one of these ways.
    fn url_of(&self, key: &KeyRef, begin: &[&str]) -> Result<String, String> {
        let text = self.get(key)?;
        match begin.iter().any(|begin| text.starts_with(begin)) {
            true => Ok(text),
            false => {
                let begin = begin.join(" or ");
                Err(format!("Secret {}, key {}: it is no URL: it does not begin with {begin}", key.name, key.key))
            }
        }
    }

    /// Where an API is asked: another place if the Secret has a key `api-url`.
    fn api(&self, beside: &KeyRef, usual: &str) -> String {
        let key = KeyRef { name: beside.name.clone(), key: "api-url".into() };
        let other = (self.0)(&key).ok().filter(|url| !url.trim().is_empty());
        other.map_or_else(|| usual.to_owned(), |url| url.trim().trim_end_matches('/').to_owned())
    }
}

/// An answer of a receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Response<'a> {
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// As far as it was read; it belongs in no status.
    pub body: &'a [u8],
}

/// What it means.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was taken.
    Taken {
        /// Such as `200`.
        answer: String,
        /// What the receiver calls the message.
        thread: Option<String>,
    },
    /// It was not.
    Not {
        /// Why, without anything that the receiver may have written but a code.
        why: String,
        /// Seconds that it asks for.
        pause: Option<u64>,
    },
}

/// How a kind of receiver takes a letter.
pub trait Form {
    /// The requests of a letter, in order; none where this kind has nothing to say of it.
    ///
    /// # Errors
    /// A Secret or template that cannot be used, in words.
    fn posts(&self, letter: &Letter, secrets: &Secrets<'_>, thread: Option<&str>) -> Result<Vec<Post>, String>;

    /// Looks at what the Secrets hold, before there is anything to say.
    fn look(&self, secrets: &Secrets<'_>, found: &mut Found);

    /// What an answer means.
    fn answer(&self, response: &Response<'_>) -> Answer {
        by_status(response)
    }
}

/// By the status alone, as nearly all kinds have it.
fn by_status(response: &Response<'_>) -> Answer {
    match response.status {
        200..=299 => Answer::Taken { answer: response.status.to_string(), thread: None },
        300..=399 => {
            Answer::Not { why: format!("it answered {}: redirects are not followed", response.status), pause: None }
        }
        status => Answer::Not { why: format!("it answered {status}"), pause: response.retry_after },
    }
}

/// The keys of Secrets that a receiver names.
pub fn secrets(receiver: &Notify) -> Vec<&KeyRef> {
    let plain = [&receiver.pager_duty, &receiver.teams, &receiver.alertmanager, &receiver.cd_events];
    let mut keys: Vec<&KeyRef> = plain.into_iter().flatten().map(|to| &to.secret).collect();
    keys.extend(receiver.webhook.iter().flat_map(|to| [Some(&to.secret), to.sign_with.as_ref()]).flatten());
    keys.extend(receiver.slack.iter().map(|to| &to.secret));
    keys.extend(receiver.mail.iter().map(|to| &to.secret));
    keys
}

/// How a receiver takes letters; none where it names no kind that is known.
pub fn form(receiver: &Notify) -> Option<Box<dyn Form + Send + Sync + '_>> {
    let texts = &receiver.texts;
    let webhook =
        receiver.webhook.as_ref().map(|to| Box::new(webhook::Form { to, texts }) as Box<dyn Form + Send + Sync>);
    webhook
        .or_else(|| receiver.slack.as_ref().map(|to| Box::new(slack::Form { to, texts }) as _))
        .or_else(|| receiver.pager_duty.as_ref().map(|to| Box::new(pager_duty::Form { to, texts }) as _))
        .or_else(|| receiver.teams.as_ref().map(|to| Box::new(teams::Form { to, texts }) as _))
        .or_else(|| receiver.mail.as_ref().map(|to| Box::new(mail::Form { to, texts }) as _))
        .or_else(|| receiver.alertmanager.as_ref().map(|to| Box::new(alertmanager::Form { to, texts }) as _))
        .or_else(|| receiver.cd_events.as_ref().map(|to| Box::new(cd_events::Form { to }) as _))
}

#[cfg(test)]
mod tests;
