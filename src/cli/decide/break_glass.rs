//! `rollback --without-operator`: the operator is away, and users must go back now.
//!
//! The decision is made first, and an operator that answers it does the rest in the right order. Where nobody answers, the
//! selectors are put back with the operator's own patch and tests, under the user's rights; the operator finds them so when
//! it is back, and runs the undos.

use std::time::Duration;

use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::say::{self, Answer, Word};
use crate::act::by_hand;
use crate::api::decision::Verb;
use crate::api::run::{RunState, SwitchState};
use crate::cli::exit::{Exit, Failure};
use crate::cli::find::Found;
use crate::cli::output;
use crate::cli::rights::{OURS, Right};
use crate::cli::session::Session;
use crate::cli::text::{Glyph, Line, Page, Tone};
use crate::effect::Outcome;
use crate::writes::Run;

/// What it may ask.
pub(crate) const RIGHTS: [Right; 10] = [
    Right::need("get", OURS, "cutovers"),
    Right::need("list", OURS, "cutovers"),
    Right::need("get", OURS, "cutoverruns"),
    Right::need("list", OURS, "cutoverruns"),
    Right::need("get", "", "services"),
    Right::need("patch", "", "services"),
    Right::need("list", "", "pods"),
    Right::wish("create", OURS, "cutoverdecisions"),
    Right::wish("get", OURS, "cutoverdecisions"),
    Right::wish("watch", OURS, "cutoverdecisions"),
];

/// How long an operator that is there needs at most to answer.
const OPERATOR: Duration = Duration::from_secs(5);

/// What became of a Service.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Restored {
    service: String,
    restored: bool,
    /// Why not, or what was done.
    said: String,
}

/// Whether there is anything to put back.
///
/// # Errors
/// There is not.
pub(super) fn check(found: &Found) -> Result<(), Failure> {
    let name = found.cutover.name_any();
    let status = found.run.as_ref().and_then(|r| r.status.as_ref());
    let Some(status) = status else { return Err(super::no_run(found)) };
    if status.phase.is_over() || status.state == RunState::Closed {
        return Err(Failure::new(format!(
            "the run is over ({}), so it cannot be rolled back any more",
            status.phase.as_str()
        ))
        .next(format!("kubectl cutover status {name}"))
        .exit(Exit::Failed));
    }
    if status.switch.is_none() {
        return Err(Failure::new("nothing has been switched, so users are where they were")
            .next(format!("kubectl cutover abort {name}"))
            .exit(Exit::Failed));
    }
    Ok(())
}

pub(super) async fn roll_back(session: &Session, found: &Found, comment: Option<String>) -> Result<Exit, Failure> {
    match said(session, found, comment).await {
        Ok(answer @ (Answer::Accepted { .. } | Answer::Refused { .. })) => {
            eprintln!("the operator is there: it does this itself");
            super::print(session, found, Verb::Rollback, &answer)?;
            return Ok(answer.exit());
        }
        Ok(Answer::Open { decision }) => {
            eprintln!("the operator has not answered {decision} within 5s: going on without it")
        }
        // Users come first; the record of who said so is then in the audit log alone.
        Err(failure) => eprintln!("the decision could not be recorded ({failure}): going on without it"),
    }
    let Some((run, switch)) = found.run.as_ref().and_then(|r| Some((r, r.status.as_ref()?.switch.as_ref()?))) else {
        return Err(super::no_run(found));
    };
    let (run_name, uid) = (run.name_any(), run.metadata.uid.clone().unwrap_or_default());
    let mut done = vec![];
    for service in &switch.services {
        if !matches!(service.state, SwitchState::Claimed | SwitchState::Switched) {
            continue;
        }
        let run = Run { name: &run_name, uid: &uid };
        let outcome = by_hand::restore(session.cluster.client(), session.namespace(), run, service).await;
        let (restored, said) = told(&outcome);
        done.push(Restored { service: service.name.clone(), restored, said });
    }
    let names: Vec<String> = done.iter().map(|d| format!("service/{}", d.service)).collect();
    output::print(session.global.output, session.look, &done, &names, || page(&done))?;
    Ok(if done.iter().all(|d| d.restored) { Exit::Done } else { Exit::Failed })
}

/// Records the decision, and listens for an operator.
async fn said(session: &Session, found: &Found, comment: Option<String>) -> Result<Answer, Failure> {
    let comment = comment.or_else(|| Some("made by hand, without the operator".to_owned()));
    say::say(&session.cluster, found, Word::of(Verb::Rollback, comment), OPERATOR).await
}

fn told(outcome: &Outcome) -> (bool, String) {
    match outcome {
        Outcome::Done => (true, "points to the old side again".to_owned()),
        Outcome::Guarded { foreign: Some(_), .. } => {
            (false, "its selector is neither side's: point it by hand".to_owned())
        }
        Outcome::Guarded { ready, .. } => {
            (false, format!("the old side has {ready} ready endpoints: scale it up first, then say this again"))
        }
        Outcome::NotFound => (false, "there is no such Service any more".to_owned()),
        Outcome::Refused { why, forbidden: true } => (false, format!("you may not patch services: {why}")),
        Outcome::Refused { why, .. } | Outcome::Blocked { why, .. } => (false, why.clone()),
        Outcome::NotSent(why) | Outcome::Transient(why) | Outcome::Conflict(why) => {
            (false, format!("{why}; say it again"))
        }
        Outcome::Created { .. } | Outcome::NameCollision(_) | Outcome::Changed { .. } | Outcome::Answered(_) => {
            (false, "defect: an outcome that a restore does not have".to_owned())
        }
    }
}

fn page(done: &[Restored]) -> Page {
    let mut page = Page::new();
    for d in done {
        let (tone, glyph) = if d.restored { (Tone::Good, Glyph::Back) } else { (Tone::Bad, Glyph::Bad) };
        page.push(
            Line::new().sign(tone, glyph).tone(Tone::Strong, format!("Service {}", d.service)).text(": ").text(&d.said),
        );
    }
    page.push(Line::new().tone(Tone::Dim, "undos and the rollback's own steps wait for the operator"));
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures::{HOSTILE, shown};

    #[test]
    fn each_service_says_whether_its_users_are_back() {
        let of = |service: &str, outcome: &Outcome| {
            let (restored, said) = told(outcome);
            Restored { service: service.to_owned(), restored, said }
        };
        let guarded = |foreign: Option<crate::api::run::Selector>| Outcome::Guarded { ready: 0, other: None, foreign };
        let done = vec![
            of("web", &Outcome::Done),
            of("api", &guarded(None)),
            of("odd", &guarded(Some([("side".to_owned(), "red".to_owned())].into()))),
            of("gone", &Outcome::NotFound),
            of("mine", &Outcome::Refused { why: HOSTILE.to_owned(), forbidden: true }),
            of("busy", &Outcome::Transient("503".to_owned())),
        ];
        shown("rollback-without-operator", &done, &page(&done));
    }
}
