//! PURE. What a claimed effect comes to: from the effect and what has been heard of its objects follows what is read or
//! sent next, or the outcome. `act` and the simulated cluster of the tests only carry that out, so that both judge alike.
//!
//! Each effect sends at most one request, with tests of its own, and is not tried again here: the driver decides about
//! another try. Two effects send a second one. An answer is followed by one that says whose the decision is; nothing
//! depends on that one. The Secret of a run is created where the patch that adds values finds none. After a failure that
//! may be a failed test the object is read again, which says what the failure means.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::run::CutoverRun;
use crate::api::{GROUP, VERSION};
use crate::effect::letter::{Letter, RunOf};
use crate::effect::protocol::{Exchange, Next, Notification, Object};
use crate::effect::{Effect, Outcome};
use crate::route;

pub mod answer;
mod change;
mod claims;
mod jobs;
mod pods;
mod secrets;

/// The run that an effect belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    pub name: &'a str,
    pub uid: &'a str,
}

impl Run<'_> {
    /// What an object has that goes with the run.
    fn as_owner(&self) -> Value {
        json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "CutoverRun", "name": self.name, "uid": self.uid,
        })
    }
}

/// What comes next of an effect.
pub fn next(run: Run<'_>, effect: &Effect, heard: &Exchange) -> Next {
    match judged(run, effect, heard) {
        Ok(outcome) => Next::End(outcome),
        Err(next) => next,
    }
}

fn judged(run: Run<'_>, effect: &Effect, heard: &Exchange) -> Result<Outcome, Next> {
    match effect {
        Effect::CreateJob { name, manifest } => jobs::create(name, manifest, heard),
        Effect::StartJob { name, uid } => jobs::start(name, uid, heard),
        Effect::DeleteJob { name, uid, resource_version } => {
            jobs::delete(name, uid, resource_version.as_deref(), heard)
        }
        Effect::OwnJob { name, uid } => jobs::own(run, name, uid, heard),
        Effect::Keep { key: _, secret, cutover, values } => {
            secrets::keep(run, &secrets::Kept { secret, cutover, values }, heard)
        }
        Effect::OwnSecret { name } => secrets::own(run, name, heard),
        Effect::Answer { decision, uid, resource_version, result, at, accepted } => {
            let status = answer::status(result, *at, accepted.then(|| run.name.to_owned()));
            let seen = answer::OpenDecision { name: decision, uid, resource_version };
            answer::answer(&seen, &status, Some(run), heard)
        }
        Effect::TakeUp { decision, uid, resource_version, at } => {
            answer::take_up(&answer::OpenDecision { name: decision, uid, resource_version }, *at, heard)
        }
        // Once: whether an answer came is for the step to judge (P1).
        Effect::Send { key: _, request } => Err(Next::Ask(Box::new(request.clone()))),
        Effect::Notify { receiver, letter, thread } => {
            let run = RunOf { name: run.name.to_owned(), uid: run.uid.to_owned() };
            let letter = Letter { run, ..(**letter).clone() };
            Err(Next::Notify(Box::new(Notification { receiver: (**receiver).clone(), letter, thread: thread.clone() })))
        }
        Effect::Switch { route, uid, resource_version, from, to, min_ready } => {
            route::switch(&route::Claim { route, uid, resource_version, from, to }, *min_ready, heard)
        }
        Effect::Restore { route, from, to, guard, limit, beside: _, fence } => {
            let limit = Duration::from_millis(limit.as_millis());
            let back = route::Back { route, from, to, guard, limit, fence };
            route::restore(&Object::of::<CutoverRun>(run.name), run.uid, &back, heard)
        }
        Effect::Change { why: _, object, uid, change, unless_live } => {
            change::change(run.uid, &change::ClaimedChange { object, uid, change, unless_live }, heard)
        }
        Effect::DeletePod { name, uid, workload, unless_live } => {
            pods::delete(run.uid, &pods::Doomed { name, uid, workload, unless_live }, heard)
        }
    }
}
