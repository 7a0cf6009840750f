//! WRITES. [`Claimed`]`<Effect>` → [`Outcome`]. Each executor makes its own live reads, carries its own tests, and each of
//! its API calls has its own 2 s time limit; nothing is retried here: the driver decides about another try.

use serde_json::Value;

use crate::effect::{Claimed, Effect, Outcome};
use crate::net::Net;
use crate::net::identity::Identity;
use crate::net::leadership::Leadership;
use crate::observe::Scope;
use crate::world::{HttpAnswer, HttpError};

pub mod answer;
pub mod authority;
pub mod call;
mod change;
mod claims;
mod jobs;
mod live;
mod restore;
mod switch;

use call::{CallError, Class};

/// Carries out effects.
#[derive(Clone)]
pub struct Actor {
    client: kube::Client,
    identity: Identity,
    net: Net,
    leadership: Leadership,
}

/// What an executor needs: reads are the operator's own, writes are made as the account.
struct Hands {
    /// The operator, for reads.
    reader: kube::Client,
    /// The Cutover's ServiceAccount, for writes; it refuses them when this operator's Lease has lapsed.
    writer: kube::Client,
    /// The same account for a restore, which depends on no Lease; [`restore`] says what authorises it instead.
    restorer: kube::Client,
    leadership: Leadership,
    namespace: String,
}

impl Actor {
    /// Reads with the operator's own client, writes through `identity` while `leadership` holds, and sends requests
    /// through `net`.
    pub fn new(client: kube::Client, identity: Identity, net: Net, leadership: Leadership) -> Self {
        Self { client, identity, net, leadership }
    }

    /// Carries out one effect as the Cutover's ServiceAccount.
    pub async fn act(&self, scope: &Scope, effect: &Claimed<Effect>) -> Outcome {
        if let (Effect::Send { .. }, Err(why)) = (effect.get(), self.leadership.permit()) {
            let not_sent = HttpAnswer { from: "operator".into(), result: Err(HttpError::NotSent(why.to_string())) };
            return Outcome::Answered(vec![not_sent]);
        }
        let account = self.identity.as_account(&scope.namespace, &scope.service_account);
        let hands = Hands {
            reader: self.client.clone(),
            writer: self.leadership.guard(account.clone()),
            restorer: account,
            leadership: self.leadership.clone(),
            namespace: scope.namespace.clone(),
        };
        match effect.get() {
            Effect::CreateJob { name, manifest } => jobs::create(&hands, name, manifest).await,
            Effect::StartJob { name, uid } => jobs::start(&hands, name, uid).await,
            Effect::DeleteJob { name, uid, resource_version } => {
                jobs::delete(&hands, name, uid, resource_version.as_deref()).await
            }
            Effect::OwnJob { name, uid } => jobs::own(&hands, scope, name, uid).await,
            Effect::Answer { decision, uid, resource_version, result, at, accepted } => {
                let run = accepted.then(|| scope.run.clone());
                let status = answer::status(result, *at, run);
                let seen = answer::Seen { name: decision, uid, resource_version };
                answer::answer(self.leadership.guard(self.client.clone()), &hands.namespace, &seen, &status).await
            }
            // Once: whether an answer came is for the step to judge (P1).
            Effect::Send { key: _, request } => {
                Outcome::Answered(self.net.request(&hands.writer, &hands.namespace, request).await)
            }
            Effect::Switch { service, uid, resource_version, from, to, min_ready } => {
                let wanted = switch::Wanted { service, uid, resource_version, from, to, min_ready: *min_ready };
                switch::switch(&hands, &wanted).await
            }
            Effect::Restore { service, from, to, guard, limit, fence } => {
                let limit = std::time::Duration::from_millis(limit.as_millis());
                restore::restore(&hands, scope, &restore::Wanted { service, from, to, guard, limit, fence }).await
            }
            Effect::Change { why: _, object, uid, change, unless_live } => {
                let wanted = change::Wanted { object, uid, change, unless_live };
                change::change(&hands, &scope.run_uid, &wanted).await
            }
        }
    }
}

/// A JSON patch of these operations.
fn patch(operations: Value) -> Result<kube::api::Patch<()>, CallError> {
    serde_json::from_value(operations)
        .map(kube::api::Patch::Json)
        .map_err(|e| CallError::invalid(format!("not a JSON patch: {e}")))
}

fn patch_params() -> kube::api::PatchParams {
    kube::api::PatchParams { field_manager: Some(crate::api::FIELD_MANAGER.into()), ..Default::default() }
}

/// The outcome of a failure that a second reading could not explain better.
fn failed(error: CallError) -> Outcome {
    match error.class {
        Class::NotFound => Outcome::NotFound,
        Class::Conflict => Outcome::Conflict(error.text),
        Class::Forbidden => Outcome::Refused { why: error.text, forbidden: true },
        Class::Invalid => Outcome::Refused { why: error.text, forbidden: false },
        Class::Transient => Outcome::Transient(error.text),
    }
}

/// Whether a failed patch may have failed in its tests, so that the object must be read again.
fn read_again(error: &CallError) -> bool {
    matches!(error.class, Class::Invalid | Class::Conflict)
}
