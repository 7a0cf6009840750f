//! A restore that a person makes while no operator is there: the same reads, the same patch and the same tests, with the
//! person's own rights. No Lease stands behind it, so the run itself, read live, says whether it may ([`crate::route`]).

use kube::Client;

use super::calls::Clients;
use crate::api::run::{CutoverRun, ServiceSwitch};
use crate::effect::protocol::{Exchange, Next, Object};
use crate::effect::{CallError, Outcome, RestoreGuard};
use crate::route::{self, Back, Route};
use crate::writes::Run;

/// The writer that `managedFields` names.
pub(crate) const MANAGER: &str = "kubectl-cutover";

/// Points one Service of a switch back to the side that it came from, if that side has at least one ready endpoint: the same
/// bound as the operator's once it has waited for more.
pub(crate) async fn restore(client: Client, namespace: &str, run: Run<'_>, switch: &ServiceSwitch) -> Outcome {
    let clients = Clients { urgent: true, manager: MANAGER, ..Clients::of_operator(client, namespace) };
    // Another fence than the operator's own: it adopts what it has not written itself, and its record says so.
    let fence = format!("{}-by-hand", run.uid);
    let (route, guard) = (Route::of(switch), RestoreGuard { min_ready: 1, any: true });
    let back = Back {
        route: &route,
        from: &switch.from,
        to: &switch.to,
        guard: &guard,
        limit: crate::net::call::CALL_LIMIT * 5,
        fence: &fence,
    };
    let object = Object::of::<CutoverRun>(run.name);
    let mut heard = Exchange::default();
    loop {
        match route::restore(&object, run.uid, &back, &heard) {
            Ok(outcome) => return outcome,
            Err(Next::Read(looks)) => clients.look(&mut heard, looks).await,
            Err(Next::Send(send)) => heard.wrote(clients.send(&send).await),
            Err(Next::Ask(_) | Next::Notify(_) | Next::End(_)) => {
                return CallError::invalid("a restore asks nobody").outcome();
            }
        }
    }
}
