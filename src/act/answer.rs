//! What came of a decision is written on it, and whose it is, where no driver does it: see [`crate::writes::answer`].

use crate::api::decision::DecisionStatus;
use crate::effect::protocol::{Exchange, Next};
use crate::effect::{CallError, Outcome};
use crate::writes::answer as judged;

pub use crate::writes::Run;
pub use crate::writes::answer::{OpenDecision, status};

use super::calls::Clients;

/// Writes it as the operator itself. `owner`: the run that the decision names, if there is one.
pub async fn answer(
    client: kube::Client,
    namespace: &str,
    seen: &OpenDecision<'_>,
    status: &DecisionStatus,
    owner: Option<Run<'_>>,
) -> Outcome {
    write(client, namespace, |heard| judged::answer(seen, status, owner, heard)).await
}

/// Gives an answered decision to the run that it names.
pub(crate) async fn own(client: kube::Client, namespace: &str, seen: &OpenDecision<'_>, run: Run<'_>) -> Outcome {
    write(client, namespace, |heard| judged::own(seen, run, heard)).await
}

/// Takes a decision up as the operator itself.
pub async fn take_up(client: kube::Client, namespace: &str, seen: &OpenDecision<'_>, at: jiff::Timestamp) -> Outcome {
    write(client, namespace, |heard| judged::take_up(seen, at, heard)).await
}

async fn write(client: kube::Client, namespace: &str, next: impl Fn(&Exchange) -> Result<Outcome, Next>) -> Outcome {
    let clients = Clients::of_operator(client, namespace);
    let mut heard = Exchange::default();
    loop {
        match next(&heard) {
            Ok(outcome) => return outcome,
            Err(Next::Read(looks)) => clients.look(&mut heard, looks).await,
            Err(Next::Send(send)) => heard.wrote(clients.send(&send).await),
            Err(Next::Ask(_) | Next::Notify(_) | Next::End(_)) => {
                return CallError::invalid("an answer to a decision asks nobody").outcome();
            }
        }
    }
}
