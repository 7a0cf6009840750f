//! Carries out effects on the simulated cluster: what is read and sent, and what the answers mean, is said by
//! `cutover::writes`, as it is for `cutover::act`.

use cutover::effect::letter::Told;
use cutover::effect::protocol::{Exchange, Next, Write};
use cutover::effect::{CallError, Effect, Outcome};
use cutover::net::call::CALL_LIMIT;
use cutover::world::{HttpAnswer, HttpError};
use cutover::writes::{Run, next};
use kube::core::Status;
use serde_json::Value;

use super::cluster::{Cluster, Who, Wrote};
use super::faults::{Kind, on_effect};
use super::promises;

/// Carries out one effect, or lets a fault befall its request.
pub fn act(cluster: &mut Cluster, effect: &Effect) -> Outcome {
    let (on, name) = on_effect(effect);
    match cluster.faults.strike(on, name, cluster.now) {
        Some(Kind::Annotated) => {
            cluster.annotate(name, "kubectl-annotate");
            real(cluster, effect)
        }
        fault => with(cluster, effect, fault),
    }
}

/// Carries out one effect.
pub fn real(cluster: &mut Cluster, effect: &Effect) -> Outcome {
    with(cluster, effect, None)
}

/// Carries out one effect whose request this befalls.
pub fn with(cluster: &mut Cluster, effect: &Effect, fault: Option<Kind>) -> Outcome {
    let before = cluster.audit.len();
    let outcome = carry_out(cluster, effect, fault);
    promises::at_write(cluster, effect, before);
    outcome
}

fn carry_out(cluster: &mut Cluster, effect: &Effect, fault: Option<Kind>) -> Outcome {
    let (name, uid) = cluster.run.clone();
    let run = Run { name: &name, uid: &uid };
    let mut heard = Exchange::default();
    heard.leads = true;
    loop {
        match next(run, effect, &heard) {
            Next::End(outcome) => return outcome,
            Next::Read(looks) => {
                for look in looks {
                    let answer = cluster.look(&look);
                    heard.read(look, answer);
                }
            }
            Next::Send(send) => {
                // A short try stands beside a long one, which has the time.
                let short = matches!(effect, Effect::Restore { beside: true, .. });
                if !short && send.limit.is_some_and(|limit| limit < CALL_LIMIT) {
                    cluster.broken.push(format!("{} has less time than every call", effect.key()));
                }
                heard.wrote(sent(cluster, effect, &send.write, fault));
            }
            Next::Notify(it) => {
                let wrote = Wrote::Told {
                    receiver: it.receiver.name.clone(),
                    notice: it.letter.id.clone(),
                    event: it.letter.event,
                };
                return Outcome::Told(match fault {
                    None => {
                        cluster.wrote(Who::Us, wrote);
                        Told::Received { answer: "200".into(), thread: Some("thread".into()) }
                    }
                    Some(Kind::Lost) => {
                        cluster.wrote(Who::Us, wrote);
                        Told::Not { why: "the answer was lost".into(), pause: None }
                    }
                    Some(_) => Told::Not { why: "it answered 503".into(), pause: None },
                });
            }
            Next::Ask(request) => {
                let failed =
                    |error| Outcome::Answered(vec![HttpAnswer { from: "operator".into(), result: Err(error) }]);
                if fault.is_some_and(|fault| fault != Kind::Lost) {
                    return failed(HttpError::NotSent("connection refused".into()));
                }
                if let Effect::Send { key, .. } = effect {
                    cluster.wrote(Who::Us, Wrote::Sent { key: key.to_string() });
                }
                let answers = cluster.ask(&request);
                return match fault {
                    None => Outcome::Answered(answers),
                    Some(_) => failed(HttpError::Lost("the connection broke".into())),
                };
            }
        }
    }
}

/// The answer to a write that this befalls.
fn sent(cluster: &mut Cluster, effect: &Effect, write: &Write, fault: Option<Kind>) -> Result<Value, CallError> {
    let refused = |code: u16, reason: &str, message: &str| {
        Err(CallError::from(kube::Error::Api(Box::new(Status::failure(message, reason).with_code(code)))))
    };
    let (_, name) = on_effect(effect);
    let restore = matches!(effect, Effect::Restore { .. });
    match fault {
        // Annotated: that befell the object before.
        None | Some(Kind::Annotated) => cluster.send(write),
        Some(Kind::Lost) => cluster.send(write).and(Err(CallError::transient("the reply was lost"))),
        Some(Kind::Transient) if restore => refused(503, "ServiceUnavailable", "503 the server is unable to handle it"),
        Some(Kind::Transient) => {
            refused(503, "ServiceUnavailable", "503 the server is currently unable to handle the request")
        }
        Some(Kind::Forbidden) => {
            let user = "User \"system:serviceaccount:prod:cutover\" cannot do this";
            refused(403, "Forbidden", &format!("{name} is forbidden: {user}"))
        }
        Some(Kind::Invalid) if restore => {
            refused(403, "Forbidden", "admission webhook \"deny.example.com\" denied the request")
        }
        Some(Kind::Invalid) => refused(403, "Forbidden", &format!("{name}: denied by a policy")),
        Some(Kind::Conflict) => refused(409, "Conflict", &format!("{name} was changed by somebody else")),
    }
}
