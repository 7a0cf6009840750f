//! What came of a decision is written on it, where no driver does it: see [`crate::writes::answer`].

use crate::api::decision::DecisionStatus;
use crate::effect::protocol::{Heard, Next};
use crate::effect::{CallError, Outcome};
use crate::writes::answer as judged;

pub use crate::writes::answer::{Seen, status};

use super::calls::Clients;

/// Writes it as the operator itself.
pub async fn answer(client: kube::Client, namespace: &str, seen: &Seen<'_>, status: &DecisionStatus) -> Outcome {
    let clients = Clients::of_operator(client, namespace);
    let mut heard = Heard::default();
    loop {
        match judged::answer(seen, status, &heard) {
            Ok(outcome) => return outcome,
            Err(Next::Look(looks)) => clients.look(&mut heard, looks).await,
            Err(Next::Send(send)) => heard.wrote(clients.send(&send).await),
            Err(Next::Ask(_) | Next::End(_)) => {
                return CallError::invalid("an answer to a decision asks nobody").outcome();
            }
        }
    }
}
