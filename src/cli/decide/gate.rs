//! `approve` and `reject`: what the gate is about is shown first, and the token is the one of what was shown.

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};

use super::say::Word;
use super::{RIGHTS, Say, finish};
use crate::api::decision::Verb;
use crate::cli::ask;
use crate::cli::cluster::Cluster;
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::rights::{OURS, subject};
use crate::cli::session::Session;
use crate::cli::status::model::{self, Status};
use crate::cli::status::{page, read};

/// A word on a gate.
#[derive(Args, Clone, Debug)]
pub(crate) struct Gate {
    #[command(flatten)]
    say: Say,
    /// In which role; otherwise the one that is missing and that you may act in.
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// The token of what you have looked at before; refused where the gate stands on something else by now.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

impl Gate {
    pub(crate) async fn run(self, global: &Global, verb: Verb) -> Result<Exit, Failure> {
        let session = Session::open(global, &RIGHTS).await?;
        let reading = read::read(&session.cluster, self.say.name.as_deref()).await?;
        let status = Status::of(&reading, &session.flags(), Timestamp::now());
        let Some(gate) = status.gate.clone() else {
            let next = status.next.clone();
            return Err(Failure::new(format!("no gate of {} waits: {}", status.cutover, status.says()))
                .next(next.unwrap_or_else(|| format!("kubectl cutover status {}{}", status.cutover, session.flags())))
                .exit(Exit::Failed));
        };
        if let Some(token) = self.token.as_ref().filter(|t| **t != gate.token) {
            return Err(Failure::new(format!(
                "gate {} stands on something else than token {token}: look again",
                gate.name
            ))
            .next(format!("kubectl cutover status {}{}", status.cutover, session.flags()))
            .exit(Exit::Failed));
        }
        if verb == Verb::Approve && gate.excluded.is_some() && gate.excluded == Some(session.cluster.whoami().await?) {
            return Err(Failure::new(format!(
                "you have asked for this release, and gate {} wants the approval of somebody else",
                gate.name
            ))
            .next(format!("ask somebody else to say: kubectl cutover approve {}{}", status.cutover, session.flags()))
            .exit(Exit::Failed));
        }
        eprint!("{}", page::page(&status, session.look, Timestamp::now()).show(session.look));
        let role = match &self.role {
            Some(role) if gate.roles.iter().any(|r| r.name == *role) => role.clone(),
            Some(role) => {
                let roles: Vec<&str> = gate.roles.iter().map(|r| r.name.as_str()).collect();
                return Err(Failure::new(format!("gate {} has no role {role}", gate.name))
                    .next(format!("choose one of {}", roles.join(", "))));
            }
            None => own_role(&session, &status.cutover, &gate, verb).await?,
        };
        let what = format!("{verb:?} gate {} of {}/{} as {role}?", gate.name, status.namespace, status.cutover);
        ask::confirm(&what, self.say.how.yes)?;
        let word = Word {
            gate: Some(gate.name),
            role: Some(role),
            token: Some(gate.token),
            ..Word::of(verb, self.say.how.comment)
        };
        finish(&session, &reading.found, word, self.say.how.wait).await
    }
}

/// The role that is missing and that the user may act in.
async fn own_role(session: &Session, cutover: &str, gate: &model::Gate, verb: Verb) -> Result<String, Failure> {
    let missing = gate.roles.iter().filter(|r| (r.by.len() as u64) < u64::from(r.wanted)).map(|r| r.name.clone());
    let missing: Vec<String> = missing.collect();
    let mut own = vec![];
    for role in &missing {
        if may(&session.cluster, cutover, role, verb).await? {
            own.push(role.clone());
        }
    }
    match own.as_slice() {
        [role] => Ok(role.clone()),
        [] => Err(Failure::new(format!(
            "you may not {} in any role that is missing: {}",
            verb_word(verb),
            missing.join(", ")
        ))
        .next(ask_for(
            session,
            verb,
            missing.first().map_or("ROLE", String::as_str),
            &session.cluster.whoami().await?,
        ))),
        some => {
            Err(Failure::new(format!("you may act in several roles: {}", some.join(", ")))
                .next("choose one with --role"))
        }
    }
}

/// What somebody who manages access is asked for.
fn ask_for(session: &Session, verb: Verb, role: &str, me: &str) -> String {
    let ns = session.namespace();
    format!(
        "ask whoever manages access for the verb {} on cutovers.cutover.dev/{role} in namespace {ns}; where the Role of \
         kubectl cutover init stands: kubectl create rolebinding cutover-approve-{role} --role=cutover-approve-{role} {} -n {ns}",
        verb_word(verb),
        subject(Some(me)),
    )
}

fn verb_word(verb: Verb) -> String {
    format!("{verb:?}").to_lowercase()
}

/// Whether the user may approve or reject in a role.
pub(crate) async fn may(cluster: &Cluster, cutover: &str, role: &str, verb: Verb) -> Result<bool, Failure> {
    let attributes = ResourceAttributes {
        group: Some(OURS.into()),
        resource: Some("cutovers".into()),
        subresource: Some(role.into()),
        name: Some(cutover.into()),
        namespace: Some(cluster.namespace.clone()),
        verb: Some(verb_word(verb)),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None };
    cluster.may(&SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() }).await
}
