//! `rollback --without-operator`: the operator is away, and users must go back now.
//!
//! The decision is made first, and an operator that answers it does the rest in the right order. Where nobody answers, the
//! selectors are put back with the operator's own patch and tests, under the user's rights; the operator finds them so when
//! it is back, and runs the undos.

use std::time::Duration;

use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::refused;
use super::say::{self, Answer, Word};
use crate::act::by_hand;
use crate::api::decision::Verb;
use crate::api::run::{BlockCause, SwitchState};
use crate::cli::exit::{Exit, Failure};
use crate::cli::find::Found;
use crate::cli::output;
use crate::cli::rights::{OURS, Right, refused_user, subject};
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

/// The Role of `deploy/tenant/people.yaml` that has these rights, and the verb of the decision.
const ROLE: &str = "cutover-break-glass";

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

/// Whether there is anything to put back. A rollback that has begun and was left by the operator is no reason against it.
///
/// # Errors
/// There is not: why, and the whole command that does what was meant.
pub(super) fn check(found: &Found, flags: &str) -> Result<(), Failure> {
    let Some(status) = found.run.as_ref().and_then(|r| r.status.as_ref()) else { return Err(super::no_run(found)) };
    let begun = status.ending.is_some() && status.switch.as_ref().is_some_and(|s| s.restored_at.is_none());
    match begun && !status.phase.is_over() {
        true => Ok(()),
        false => refused::check(Verb::Rollback, found, flags),
    }
}

/// Records the decision, waits for an operator, and puts the selectors back where none answers.
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
        let (restored, said) = told(&outcome, session.namespace());
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

/// All that this command needs at once, in place of one right a try.
fn ask(namespace: &str, why: &str) -> String {
    let whom = subject(refused_user(why));
    format!(
        "ask whoever manages access for the Role {ROLE}, which kubectl cutover init prints: kubectl create rolebinding {ROLE} \
         --role={ROLE} {whom} -n {namespace}"
    )
}

fn told(outcome: &Outcome, namespace: &str) -> (bool, String) {
    match outcome {
        Outcome::Done => (true, "points to the old side again".to_owned()),
        Outcome::Guarded { foreign: Some(_), .. } => {
            (false, "its selector is neither side's: point it by hand".to_owned())
        }
        Outcome::Guarded { ready, .. } => {
            (false, format!("the old side has {ready} ready endpoints: scale it up first, then say this again"))
        }
        Outcome::NotFound => (false, "there is no such Service any more".to_owned()),
        Outcome::Refused { why, forbidden: true } | Outcome::Blocked { why, cause: BlockCause::Permission, .. } => {
            (false, format!("{why}; next: {}", ask(namespace, why)))
        }
        Outcome::Refused { why, .. } | Outcome::Blocked { why, .. } => (false, why.clone()),
        Outcome::NotSent(why) | Outcome::Transient(why) | Outcome::Conflict(why) => {
            (false, format!("{why}; say it again"))
        }
        Outcome::Created { .. }
        | Outcome::NameCollision(_)
        | Outcome::Changed { .. }
        | Outcome::Answered(_)
        | Outcome::Told(_) => (false, "defect: an outcome that a restore does not have".to_owned()),
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
    use serde_json::json;

    use super::*;
    use crate::cli::fixtures::{HOSTILE, at, cutover, observing, run, shown};

    #[test]
    fn a_rollback_that_the_operator_has_left_is_taken_further() {
        let found = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut status = observing();
            change(&mut status);
            let runs = vec![run(2, "2.4.0", Some(status))];
            Found { cutover: cutover("2.4.0", json!({})), run: runs.last().cloned(), runs }
        };
        let ending = json!({"phase": "RolledBack", "reason": "Decision", "message": "m", "at": at(9)});
        let flags = " -n prod";
        assert_eq!(check(&found(&|_| {}), flags), Ok(()));
        assert_eq!(check(&found(&|s| s["ending"] = ending.clone()), flags), Ok(()));
        let restored = check(
            &found(&|s| {
                s["ending"] = ending.clone();
                s["switch"]["restoredAt"] = json!(at(9));
            }),
            flags,
        );
        assert!(restored.is_err_and(|f| f.says.contains("ending already")));
        let over = check(&found(&|s| s["phase"] = json!("RolledBack")), flags).expect_err("over");
        assert_eq!(over.next.as_deref(), Some("kubectl cutover status web -n prod"));
    }

    #[test]
    fn the_sample_role_has_the_rights_that_the_command_declares_and_no_others() {
        let people = include_str!("../../../deploy/tenant/people.yaml");
        let named = format!("  name: {ROLE}\n");
        let role = people.split("\n---\n").find(|document| document.contains(&named)).expect("the Role");
        let role: k8s_openapi::api::rbac::v1::Role = serde_saphyr::from_str(role).expect("a Role");
        let mut given = vec![];
        for rule in role.rules.into_iter().flatten() {
            assert_eq!((&rule.resource_names, &rule.non_resource_urls), (&None, &None));
            for (group, resource) in
                rule.api_groups.iter().flatten().flat_map(|g| rule.resources.iter().flatten().map(move |r| (g, r)))
            {
                given.extend(rule.verbs.iter().map(|verb| format!("{verb} {resource} of '{group}'")));
            }
        }
        let declared = RIGHTS.iter().map(|r| format!("{} {} of '{}'", r.verb, r.resource, r.group));
        // The admission policy of decisions asks for the verb itself.
        let mut wanted: Vec<String> = declared.chain([format!("rollback cutovers/run of '{OURS}'")]).collect();
        given.sort();
        wanted.sort();
        assert_eq!(given, wanted);
    }

    #[test]
    fn each_service_says_whether_its_users_are_back() {
        let of = |service: &str, outcome: &Outcome| {
            let (restored, said) = told(outcome, "prod");
            Restored { service: service.to_owned(), restored, said }
        };
        let guarded = |foreign: Option<crate::api::run::Selector>| Outcome::Guarded { ready: 0, other: None, foreign };
        let why =
            "services \"theirs\" is forbidden: User \"otto@example.com\" cannot get resource \"services\"".to_owned();
        let forbidden = Outcome::Blocked { cause: BlockCause::Permission, why, slow: false };
        let done = vec![
            of("web", &Outcome::Done),
            of("api", &guarded(None)),
            of("odd", &guarded(Some([("side".to_owned(), "red".to_owned())].into()))),
            of("gone", &Outcome::NotFound),
            of("mine", &Outcome::Refused { why: HOSTILE.to_owned(), forbidden: true }),
            of("theirs", &forbidden),
            of("busy", &Outcome::Transient("503".to_owned())),
        ];
        shown("rollback-without-operator", &done, &page(&done));
    }
}
