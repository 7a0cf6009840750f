//! PURE. The restore of one route: it is read live, whatever its uid is now, and points to the old side again unless that
//! side is empty. Every restore moves the fence, so that a switch still on its way fails (P4).
//!
//! A restore depends on no Lease. What makes it the restore of *this* run's switch, and not of a later run's, is that after
//! the route was read something still said that this run may act: the Lease, or where that has lapsed the run itself, read
//! live. Others switch a route again only once this run is over; the patch tests the resourceVersion of that reading, so
//! whatever is done later, while this process is frozen for instance, makes it fail.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Live, Names, Position, Route, authorises, names};
use crate::api::ANNOTATION_FENCE;
use crate::api::run::{BlockCause, CutoverRun, RunStatus};
use crate::effect::protocol::{As, Exchange, JsonPatch, LiveRead, Next, Object, Send, Write, escaped, object, pods};
use crate::effect::{CallError, Class, Outcome, RestoreGuard};
use crate::endpoints;

/// The way back of a switch.
pub struct Back<'a> {
    /// What points to the old side again.
    pub route: &'a Route,
    /// Where it pointed before the switch.
    pub from: &'a Position,
    /// Where the switch pointed it.
    pub to: &'a Position,
    /// When it may.
    pub guard: &'a RestoreGuard,
    /// How long the write may take.
    pub limit: Duration,
    /// New value of the fence.
    pub fence: &'a str,
}

impl Back<'_> {
    /// To which side the route points: only what tells the two positions apart says so.
    fn names(&self, now: &Position) -> Names {
        let way = self.route.way();
        let [old, target] = way.difference(self.from, self.to);
        names(way, now, &old, &target)
    }

    fn fenced(&self, now: &Live) -> bool {
        now.annotations.as_ref().and_then(|a| a.get(ANNOTATION_FENCE)).is_some_and(|f| f == self.fence)
    }

    /// Tests what was read, sets the fence and, where the route points to the target, where it points.
    fn patch(&self, now: &Live, points: bool) -> JsonPatch {
        let way = self.route.way();
        let mut patch = way.test(JsonPatch::of(&now.uid).version(&now.resource_version), &now.at);
        if points {
            patch = way.point(patch, self.from);
        }
        match now.annotations {
            Some(_) => patch.add(&format!("/metadata/annotations/{}", escaped(ANNOTATION_FENCE)), self.fence),
            None => patch.add("/metadata/annotations", json!({ANNOTATION_FENCE: self.fence})),
        }
    }
}

/// What comes next of a restore that is made for this run.
///
/// # Errors
/// What is to be read or sent before there is an outcome.
pub fn restore(run: &Object, run_uid: &str, back: &Back<'_>, heard: &Exchange) -> Result<Outcome, Next> {
    let (old_side, target) = (back.route.pods(back.from), back.route.pods(back.to));
    let this = LiveRead::Object(back.route.object());
    let kind = back.route.object().resource.kind;
    let cannot_be_read = format!("the {kind} cannot be read");
    let live = |answer| object(answer).and_then(|object| back.route.live(object));
    let [found, counted] = heard.before([this.clone(), LiveRead::Pods(old_side.clone())])?;
    let before = match live(found) {
        Ok(now) => now,
        Err(e) if e.class == Class::NotFound => return Ok(Outcome::NotFound),
        Err(e) => return Ok(not_read(&cannot_be_read, &e)),
    };
    if let Some(sent) = heard.sent() {
        return match sent {
            Ok(_) => Ok(Outcome::Done),
            Err(e) if e.may_be_a_test() => Ok(match live(heard.after(this)?) {
                Ok(now) if back.names(&now.at) == Names::Old && back.fenced(&now) => Outcome::Done,
                Ok(now) if now.uid == before.uid && now.resource_version == before.resource_version => blocked(e),
                // Somebody wrote in between: the next try reads everything again.
                Ok(now) => {
                    let by = now.writer.map(|by| format!(" by {by}")).unwrap_or_default();
                    let why = format!("{} was written{by} at the same moment", back.route);
                    Outcome::Blocked { cause: BlockCause::Conflict, why, slow: false }
                }
                Err(again) => not_read(&cannot_be_read, &again),
            }),
            Err(e) => Ok(blocked(e)),
        };
    }
    let points = match back.names(&before.at) {
        // This restore took effect, though its answer was lost. Whoever has pointed the route elsewhere since is not
        // written over (P4).
        Names::Old | Names::Target | Names::Foreign if back.fenced(&before) => return Ok(Outcome::Done),
        Names::Old => false,
        Names::Target => true,
        Names::Foreign => return Ok(Outcome::Guarded { ready: 0, other: None, foreign: Some(before.at) }),
    };
    if points {
        let ready = match pods(counted) {
            Ok(old) => endpoints::ready_count(old, &old_side, &before.ports),
            Err(e) => return Ok(not_read("the pods of the old side cannot be listed", &e)),
        };
        if !back.guard.old_suffices(ready) {
            // Nothing of the side being left can prevent or delay the restore: it is only counted where the old side has too
            // few, and a count that cannot be had is none.
            let [counted] = heard.before([LiveRead::Pods(target.clone())])?;
            let other = pods(counted).ok().map(|pods| endpoints::ready_count(pods, &target, &before.ports));
            if !back.guard.allows(ready, other) {
                return Ok(Outcome::Guarded { ready, other, foreign: None });
            }
        }
    }
    if !heard.leads {
        let [found] = heard.before([LiveRead::Object(run.clone())])?;
        if let Err(why) = by_the_run(object(found), &run.name, run_uid, back) {
            return Ok(Outcome::Blocked { cause: BlockCause::Conflict, why, slow: false });
        }
    }
    let write = Write::Patch(back.route.object(), back.patch(&before, points));
    Err(Next::Send(Box::new(Send { write, by: As::AccountAlways, limit: Some(back.limit) })))
}

/// Asks the run itself whether it may.
fn by_the_run(found: Result<&Value, CallError>, run: &str, uid: &str, back: &Back<'_>) -> Result<(), String> {
    let read = |found: &Value| {
        serde_json::from_value::<CutoverRun>(found.clone()).map_err(|e| CallError::transient(e.to_string()))
    };
    match found.and_then(read) {
        Ok(found) if found.metadata.uid.as_deref() == Some(uid) => {
            let journal: RunStatus = found.status.unwrap_or_default();
            if authorises(&journal, back.route, back.from, back.to) {
                Ok(())
            } else {
                Err(format!(
                    "this operator may not write, and run {run} has no switch of {} to reverse any more",
                    back.route.name
                ))
            }
        }
        Ok(_) => Err(format!("this operator may not write, and run {run} is not the one that was driven")),
        Err(e) if e.class == Class::NotFound => Err(format!("this operator may not write, and run {run} is gone")),
        Err(e) => Err(format!("this operator may not write, and run {run} cannot be read: {e}")),
    }
}

/// A write that failed, as the API server answered it.
fn blocked(e: &CallError) -> Outcome {
    Outcome::Blocked { cause: e.cause, why: e.text.clone(), slow: e.late }
}

/// A reading that failed: nothing was written.
fn not_read(what: &str, e: &CallError) -> Outcome {
    Outcome::Blocked { cause: e.cause, why: format!("{what}: {e}"), slow: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::run::Selector;
    use crate::effect::protocol::LiveAnswer;

    fn map(pairs: &[(&str, &str)]) -> Selector {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn with(test: impl FnOnce(&Back<'_>)) {
        let (from, to) = (map(&[("app", "web"), ("side", "blue")]), map(&[("app", "web"), ("side", "green")]));
        let (guard, route) = (RestoreGuard { min_ready: 1, any: false }, Route::service("web"));
        let limit = Duration::from_secs(2);
        test(&Back { route: &route, from: &from, to: &to, guard: &guard, limit, fence: "f1" });
    }

    fn live(at: Selector, annotations: Option<&[(&str, &str)]>) -> Live {
        let (uid, resource_version) = ("u".to_owned(), "7".to_owned());
        Live { uid, resource_version, at, ports: vec![], writer: None, annotations: annotations.map(map) }
    }

    #[test]
    fn the_fence_moves_even_where_the_route_is_right() {
        with(|w| {
            let now = live(map(&[("app", "web"), ("side", "blue")]), Some(&[("x", "y")]));
            let patch = w.patch(&now, false);
            assert_eq!(
                patch.operations()[3],
                json!({"op": "add", "path": "/metadata/annotations/cutover.dev~1fence", "value": "f1"})
            );
            assert!(patch.body().is_ok());
            assert!(!w.fenced(&now));
            assert!(w.fenced(&live(Selector::new(), Some(&[(ANNOTATION_FENCE, "f1")]))));
        });
    }

    #[test]
    fn a_route_without_annotations_gets_the_map() {
        with(|w| {
            let list = w.patch(&live(map(&[("app", "web"), ("side", "green")]), None), true).operations();
            assert_eq!(list[2]["value"]["side"], "green");
            assert_eq!(
                list[3],
                json!({"op": "add", "path": "/spec/selector", "value": {"app": "web", "side": "blue"}})
            );
            assert_eq!(
                list[4],
                json!({"op": "add", "path": "/metadata/annotations", "value": {"cutover.dev/fence": "f1"}})
            );
        });
    }

    #[test]
    fn without_the_lease_the_run_is_asked_after_the_route_was_read() {
        with(|back| {
            let run = Object::of::<CutoverRun>("web-1");
            let service = json!({"metadata": {"uid": "u"}, "spec": {"selector": {"app": "web", "side": "blue"}}});
            let mut heard = Exchange::default();
            heard.read(LiveRead::Object(back.route.object()), Ok(LiveAnswer::Object(service)));
            heard.read(LiveRead::Pods(back.route.pods(back.from)), Ok(LiveAnswer::Pods(vec![])));
            assert_eq!(restore(&run, "r", back, &heard), Err(Next::Read(vec![LiveRead::Object(run.clone())])));
            let mut asked = heard.clone();
            asked.read(LiveRead::Object(run.clone()), Ok(LiveAnswer::Object(json!({"metadata": {"uid": "another"}}))));
            assert!(matches!(restore(&run, "r", back, &asked), Ok(Outcome::Blocked { .. })), "not that run's");
            heard.leads = true;
            assert!(matches!(restore(&run, "r", back, &heard), Err(Next::Send(_))));
        });
    }
}
