//! PURE. Receivers of notifications that cannot be told of anything are said on the Cutover when it is applied, and with each
//! run: in the condition `NotificationsFailing`, whose reason then is `ReceiverUnusable`. Nothing waits for this, no run and no
//! other part of a look. What is wrong is looked at again less and less often (as all that waits for somebody else), and with
//! each other look; what is right costs nothing until the Cutover changes or has its next run.

use std::time::Duration;

use kube::ResourceExt;

use super::known::Memo;
use super::look::AGAIN;
use super::order::{Reply, Request};
use super::replay::{Replay, Stop, another_kind};
use super::show::write_status;
use crate::api::condition::{reasons, set, types, unset};
use crate::api::cutover::Cutover;
use crate::decide::Note;
use crate::notify::Finding;

/// Looks at the receivers, if they are due, and writes what is found. Returns when to look again although nothing is heard.
///
/// # Errors
/// When what is found cannot be written.
pub fn check(look: &mut Replay<'_>) -> Result<Option<Duration>, Stop> {
    let Some(cutover) = look.stands() else { return Ok(None) };
    let mut status = cutover.status.clone().unwrap_or_default();
    let said = status.conditions.iter().find(|c| c.type_ == types::NOTIFICATIONS_FAILING).cloned();
    let ours = said.as_ref().is_some_and(|c| c.reason == reasons::RECEIVER_UNUSABLE);
    let now = (cutover.metadata.generation.unwrap_or_default(), status.runs);
    if cutover.spec.notify.is_empty() && !ours || look.seen().receivers == Some(now) {
        return Ok(None);
    }
    let (findings, unknown) = found(look, cutover)?;
    let text = findings.iter().map(|f| format!("{}: {}", f.field, f.why)).collect::<Vec<_>>().join(" | ");
    // A receiver that a run could not tell something says more than this.
    if said.is_none() || ours {
        match text.is_empty() {
            // What was wrong may be so still.
            true if unknown => {}
            true => unset(&mut status.conditions, types::NOTIFICATIONS_FAILING),
            false => {
                let (type_, reason) = (types::NOTIFICATIONS_FAILING, reasons::RECEIVER_UNUSABLE);
                set(&mut status.conditions, type_, true, reason, &text, look.now());
                for condition in status.conditions.iter_mut().filter(|c| c.type_ == type_) {
                    condition.observed_generation = cutover.metadata.generation;
                }
            }
        }
        let is_new = status.conditions.iter().find(|c| c.type_ == types::NOTIFICATIONS_FAILING).map(|c| &c.message)
            != said.as_ref().map(|c| &c.message);
        let uid = cutover.uid();
        write_status(look, cutover, status)?;
        if is_new && !text.is_empty() {
            let (reason, subject) = (reasons::RECEIVER_UNUSABLE.into(), "spec.notify".into());
            look.tell(uid, Note { warning: true, reason, subject, message: text.clone() });
        }
    }
    if text.is_empty() && !unknown {
        look.remember(Memo::Receivers(now.0, now.1));
        return Ok(None);
    }
    Ok(Some(AGAIN))
}

/// What stands in the way of notifications, and whether there may be more.
fn found(look: &mut Replay<'_>, cutover: &Cutover) -> Result<(Vec<Finding>, bool), Stop> {
    if cutover.spec.notify.is_empty() {
        return Ok((vec![], false));
    }
    let account = cutover.spec.service_account_name.clone();
    match look.ask(Request::Receivers(account, cutover.spec.notify.clone())) {
        Ok(Reply::Receivers { findings, unknown }) => Ok((findings.clone(), *unknown)),
        Ok(_) => Err(another_kind()),
        Err(Stop::Fails(_)) => Ok((vec![], true)),
        Err(stop) => Err(stop),
    }
}
