//! WRITES. [`Claimed`]`<Effect>` → [`Outcome`]. What is read and sent, and what the answers mean, is said by
//! [`crate::writes`]; here it is only carried out. Nothing is retried: the driver decides about another try. Only what a restore
//! reads is asked again beside itself while nobody answers.

use crate::effect::protocol::{Exchange, Next};
use crate::effect::{Claimed, Effect, Outcome};
use crate::net::Net;
use crate::net::identity::Identity;
use crate::net::leadership::Leadership;
use crate::net::room::urgent;
use crate::observe::RunScope;
use crate::world::{HttpAnswer, HttpError};
use crate::writes::{self, Run};

pub mod answer;
pub(crate) mod by_hand;
mod calls;

pub use crate::net::call;

use calls::Clients;

/// Carries out effects.
#[derive(Clone)]
pub struct Actor {
    client: kube::Client,
    identity: Identity,
    net: Net,
    leadership: Leadership,
}

impl Actor {
    /// Reads with the operator's own client, writes through `identity` while `leadership` holds, and sends requests
    /// through `net`.
    pub fn new(client: kube::Client, identity: Identity, net: Net, leadership: Leadership) -> Self {
        Self { client, identity, net, leadership }
    }

    /// Carries out one effect as the Cutover's ServiceAccount.
    pub async fn act(&self, scope: &RunScope, effect: &Claimed<Effect>) -> Outcome {
        let account = self.identity.as_account(&scope.namespace, &scope.service_account);
        let restores = matches!(effect.get(), Effect::Restore { .. });
        let clients = Clients {
            reader: if restores { urgent(self.client.clone()) } else { self.client.clone() },
            writer: self.leadership.guard(account.clone()),
            always: urgent(account),
            operator: self.leadership.guard(self.client.clone()),
            namespace: scope.namespace.clone(),
            urgent: restores,
            manager: crate::api::FIELD_MANAGER,
        };
        let run = Run { name: &scope.run, uid: &scope.run_uid };
        let began = tokio::time::Instant::now();
        let mut heard = Exchange::default();
        loop {
            heard.leads = self.leadership.holds();
            heard.took = began.elapsed();
            match writes::next(run, effect.get(), &heard) {
                Next::End(outcome) => return outcome,
                Next::Read(looks) => clients.look(&mut heard, looks).await,
                Next::Send(send) => heard.wrote(clients.send(&send).await),
                Next::Notify(notification) => {
                    if let Err(why) = self.leadership.permit() {
                        return Outcome::Transient(why.to_string());
                    }
                    return self.net.notify(&clients.asker(), &notification).await;
                }
                Next::Ask(request) => {
                    let answers = match self.leadership.permit() {
                        Ok(()) => self.net.request(&clients.asker(), &request).await,
                        Err(why) => {
                            vec![HttpAnswer {
                                from: "operator".into(),
                                result: Err(HttpError::NotSent(why.to_string())),
                            }]
                        }
                    };
                    return Outcome::Answered(answers);
                }
            }
        }
    }
}
