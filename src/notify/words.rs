//! What is said of an event where the Cutover has no words of its own: an announcement, how far it is, how it ended, what is
//! wrong, and how that stands when it is told again.

use super::text::release;
use crate::api::duration::Duration;
use crate::api::notify::NotifyEvent;
use crate::effect::letter::Letter;

/// Some sentences, and on a line of its own what the run says beside them.
pub(super) fn of(letter: &Letter) -> String {
    let said = sentences(letter);
    let beside = letter.cause.as_ref().filter(|_| tells_the_cause(letter.event)).unwrap_or(&letter.message);
    let cause = if tells_the_cause(letter.event) { "Cause: " } else { "" };
    match beside.trim().is_empty() {
        true => said,
        false => format!("{said}\n{cause}{beside}"),
    }
}

/// Whether what counts is why the run does not complete.
fn tells_the_cause(event: NotifyEvent) -> bool {
    use NotifyEvent::*;
    matches!(event, RollingBack | RolledBack | Failed | Aborted)
}

fn sentences(letter: &Letter) -> String {
    let (from, to) = (&letter.from, &letter.to);
    let services = letter.services.join(", ");
    let old = letter.old_release.as_ref().map_or(from.clone(), |release| format!("{from} ({release})"));
    let version = release(letter);
    let new = if version.is_empty() { to.clone() } else { format!("{to} ({version})") };
    let users = match &letter.live {
        Some(side) => format!("Users are on {side}."),
        None => format!("Some users are on {from}, some on {to}."),
    };
    let still = if letter.again { "still " } else { "" };
    let took = letter.began.map(|began| letter.at.duration_since(began).as_secs().max(0).unsigned_abs());
    let took = took.map(|s| format!(" The release took {}.", Duration::from_secs(s))).unwrap_or_default();
    match letter.event {
        NotifyEvent::Preflight => {
            let by = letter.release.requested_by.as_ref().map(|by| format!(" {by} asked for it.")).unwrap_or_default();
            format!(
                "A release of {services} from {old} to {new} has begun.{by} Users stay on {from} until {to} has passed its checks."
            )
        }
        NotifyEvent::Preparing => format!("What {to} needs before the switch is being done. Users are on {from}."),
        NotifyEvent::Verifying => format!("{new} is being checked before it has users. Users are on {from}."),
        NotifyEvent::Switching => format!("Users of {services} are being moved from {old} to {new}."),
        NotifyEvent::Confirming => format!("Users are on {to}. It is being checked by the way that they take."),
        NotifyEvent::Observing => {
            format!("Users are on {to}. It is being watched, and {from} is kept for the way back.")
        }
        NotifyEvent::Finishing => {
            format!("Users are on {to}. It has been watched for long enough; what is left is being done.")
        }
        NotifyEvent::Completed => format!("{new} has the users of {services}.{took} Nobody needs to do anything."),
        NotifyEvent::RollingBack => format!("{new} is not good enough: users are {still}being moved back to {old}."),
        NotifyEvent::RolledBack => format!("The way back is done. {users}{took}"),
        NotifyEvent::Failed => format!("The release to {new} has failed. {users}"),
        NotifyEvent::Aborted => format!("The release to {new} was stopped. {users}"),
        NotifyEvent::Superseded => format!("The release to {new} makes way for a newer one. {users}"),
        NotifyEvent::AwaitingDecision => format!("The release to {new} {still}waits for a person to decide. {users}"),
        NotifyEvent::RollbackBlocked => {
            format!("Users {still}cannot be moved back to {old}, which is tried again and again. {users}")
        }
        NotifyEvent::SelectorDrift => {
            format!("A selector of {services} {still}is not as this release has left it. The release waits.")
        }
        NotifyEvent::OutcomeUnknown => {
            format!("A person {still}has to find out what a step has done: it cannot be known from here. {users}")
        }
        NotifyEvent::NodeLost => format!("Pods are gone with their node, which is no fault of {new}. {users}"),
        NotifyEvent::MetricsInconclusive => format!("A metric says neither good nor bad of {new}. {users}"),
        NotifyEvent::Suspended => {
            format!("The release to {new} was suspended: it goes on when somebody resumes it. {users}")
        }
        NotifyEvent::TriggerFired => format!("Something is wrong with {new}. {users}"),
        NotifyEvent::Decision => format!("A decision on the release to {new} counts. {users}"),
        NotifyEvent::Resolved => format!("The release to {new} goes on. {users}"),
        NotifyEvent::Retired => format!("{old} has no pods any more: there is no way back to it. {users}"),
    }
}
