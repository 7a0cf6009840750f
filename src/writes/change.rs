//! PURE. A change of an object: a patch that tests uid and what the change stands on. Never takes pods away that a Service
//! selects (P13).

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::CronJob;
use serde_json::Value;

use super::claims::{self, Member};
use crate::api::run::{ObjectKind, ObjectRef};
use crate::effect::change::{Edit, Now, patch};
use crate::effect::env::without_values;
use crate::effect::protocol::{Exchange, LiveRead, Next, Object, Write, object};
use crate::effect::{CallError, Change, Class, Outcome, hash};
use crate::endpoints;
use crate::route::Route;

/// The change, as it was claimed.
pub(crate) struct ClaimedChange<'a> {
    pub object: &'a ObjectRef,
    pub uid: &'a str,
    pub change: &'a Change,
    pub(crate) unless_live: &'a [String],
}

fn this(object: &ObjectRef) -> Object {
    match object.kind {
        ObjectKind::Deployment => Object::of::<Deployment>(&object.name),
        ObjectKind::StatefulSet => Object::of::<StatefulSet>(&object.name),
        ObjectKind::CronJob => Object::of::<CronJob>(&object.name),
    }
}

fn version(object: &Value) -> Option<&str> {
    object.pointer("/metadata/resourceVersion")?.as_str()
}

/// What was made of it: for a pod template, its hash.
fn made(wanted: &ClaimedChange<'_>, now: &Value) -> Outcome {
    if !wanted.change.rolls_out() {
        return Outcome::Done;
    }
    Outcome::Changed { template: hash(now.pointer("/spec/template").unwrap_or(&Value::Null)) }
}

/// What a reading of the object says: the outcome, or what is still to be written.
fn settled(wanted: &ClaimedChange<'_>, now: &Value) -> Result<Vec<Edit>, Outcome> {
    let ObjectRef { kind, name } = wanted.object;
    if now.pointer("/metadata/uid").and_then(Value::as_str) != Some(wanted.uid) {
        return Err(Outcome::Conflict(format!("{kind:?} {name} was replaced by another of that name")));
    }
    match wanted.change.on(now) {
        Now::Done => Err(made(wanted, now)),
        Now::Conflict(why) => Err(Outcome::Conflict(format!("{kind:?} {name}: {why}"))),
        Now::Edit(edits) => Ok(edits),
    }
}

/// What comes next of a change that is made for this run.
pub fn change(run_uid: &str, wanted: &ClaimedChange<'_>, heard: &Exchange) -> Result<Outcome, Next> {
    let ObjectRef { kind, name } = wanted.object;
    let unreadable = |e: CallError| match e.class {
        Class::NotFound => Outcome::NotFound,
        _ => Outcome::Transient(format!("{kind:?} {name} cannot be read: {e}")),
    };
    let look = LiveRead::Object(this(wanted.object));
    let [found] = heard.before([look.clone()])?;
    let before = match object(found) {
        Ok(before) => before,
        Err(e) => return Ok(unreadable(e)),
    };
    let edits = match settled(wanted, before) {
        Ok(edits) => edits,
        Err(outcome) => return Ok(outcome),
    };
    let Some(sent) = heard.sent() else {
        if wanted.change.takes_away(before) {
            let scales = matches!(wanted.change, Change::Scale { .. });
            let what = if scales {
                "is not shrunk"
            } else {
                "has the strategy Recreate, which takes all its pods away first, and is left as it is"
            };
            let labels = before.pointer("/spec/template/metadata/labels");
            let of = Taken { object: wanted.object, what: &format!("{kind:?} {name} {what}"), whole: scales, labels };
            if let Some(outcome) = serves_somebody(run_uid, &of, wanted.unless_live, heard)? {
                return Ok(outcome);
            }
        }
        return Err(Next::send(Write::Patch(this(wanted.object), patch(wanted.uid, version(before), &edits))));
    };
    let error = match sent {
        Ok(now) => return Ok(made(wanted, now)),
        Err(e) => CallError { text: without_values(&e.text, &edits), ..e.clone() },
    };
    if !error.may_be_a_test() {
        return Ok(error.outcome());
    }
    let now = match object(heard.after(look)?) {
        Ok(now) => now,
        Err(e) => return Ok(unreadable(e)),
    };
    Ok(match settled(wanted, now) {
        Err(outcome) => outcome,
        // Written by somebody else in between: the next try stands on the new reading.
        Ok(_) if error.class == Class::Conflict || version(now) != version(before) => Outcome::Transient(error.text),
        Ok(_) => error.outcome(),
    })
}

/// Pods that are about to be taken away.
pub(super) struct Taken<'a> {
    /// The workload that they belong to.
    pub object: &'a ObjectRef,
    /// What a refusal says is not done.
    pub what: &'a str,
    /// Whether the workload is made smaller: then one that no Service selects belongs to what is live all the same.
    pub whole: bool,
    /// Their labels.
    pub labels: Option<&'a Value>,
}

/// Refuses to take away pods that a Service selects, one that another Cutover names included, or that another run is
/// about to make live; and to shrink a workload of a live side that no Service selects.
pub(super) fn serves_somebody(
    run_uid: &str,
    taken: &Taken<'_>,
    unless_live: &[String],
    heard: &Exchange,
) -> Result<Option<Outcome>, Next> {
    let refused = |why: String| Ok(Some(Outcome::Refused { why: format!("{}: {why}", taken.what), forbidden: false }));
    let mut services = unless_live.to_vec();
    let mut sides = vec![];
    if !services.is_empty() {
        match claims::claims(run_uid, heard)? {
            Ok(claims) => {
                if let Some(why) = claims.activates(taken.object) {
                    return refused(why);
                }
                if taken.whole {
                    sides.extend(claims.listed(taken.object).cloned());
                }
                services.extend(claims.services);
            }
            Err(e) => return Ok(Some(Outcome::Transient(format!("what other Cutovers claim cannot be read: {e}")))),
        }
    }
    let labels: BTreeMap<String, String> =
        taken.labels.and_then(|labels| serde_json::from_value(labels.clone()).ok()).unwrap_or_default();
    for service in &services {
        let route = Route::service(service);
        let [found] = heard.before([LiveRead::Object(route.object())])?;
        match object(found).and_then(|found| route.live(found)) {
            Ok(now) if endpoints::matches(&labels, &route.pods(&now.at)) => {
                return refused(format!("{route} selects its pods"));
            }
            // One that no Service selects belongs to what is live all the same, such as a worker.
            Ok(now) => {
                let live = |m: &&Member| m.services.contains(service) && now.points_to(&route, &m.selector);
                if let Some(m) = sides.iter().find(live) {
                    return refused(format!("it belongs to {}, and {route} points there", m.side));
                }
            }
            Err(e) if e.class == Class::NotFound => {}
            Err(e) => return Ok(Some(Outcome::Transient(format!("{route} cannot be read: {e}")))),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn another_object_of_that_name_is_left_alone() {
        let object = ObjectRef { kind: ObjectKind::Deployment, name: "web".into() };
        let change = Change::Scale { from: 3, to: 0 };
        let wanted = ClaimedChange { object: &object, uid: "u", change: &change, unless_live: &[] };
        let live = |uid: &str, replicas: u32| json!({"metadata": {"uid": uid}, "spec": {"replicas": replicas}});
        assert_eq!(settled(&wanted, &live("u", 3)).map(|e| e.len()), Ok(1));
        assert_eq!(settled(&wanted, &live("u", 0)), Err(Outcome::Done));
        assert!(matches!(settled(&wanted, &live("u", 5)), Err(Outcome::Conflict(_))));
        assert!(matches!(settled(&wanted, &live("v", 3)), Err(Outcome::Conflict(_))));
        let edits = settled(&wanted, &live("u", 3)).unwrap_or_default();
        assert!(patch("u", Some("1"), &edits).body().is_ok());
    }
}
