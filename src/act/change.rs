//! A change of an object: a patch that tests uid and what the change stands on. Never takes pods away that a Service
//! selects (P13).

use std::collections::BTreeMap;

use kube::Api;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use serde_json::Value;

use super::call::{CallError, Class, call};
use super::claims::Member;
use super::{Hands, claims, failed, patch, patch_params, read_again};
use crate::api::run::{ObjectKind, ObjectRef};
use crate::effect::change::{Edit, Now, operations, seen};
use crate::effect::env::without_values;
use crate::effect::{Change, Outcome, hash};
use crate::endpoints;

/// The change, as it is carried out.
pub struct Wanted<'a> {
    pub object: &'a ObjectRef,
    pub uid: &'a str,
    pub change: &'a Change,
    pub unless_live: &'a [String],
}

fn resource(kind: ObjectKind) -> ApiResource {
    match kind {
        ObjectKind::Deployment => ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&()),
        ObjectKind::StatefulSet => ApiResource::erase::<k8s_openapi::api::apps::v1::StatefulSet>(&()),
        ObjectKind::CronJob => ApiResource::erase::<k8s_openapi::api::batch::v1::CronJob>(&()),
    }
}

/// What was made of it: for a pod template, its hash.
fn made(wanted: &Wanted<'_>, now: &DynamicObject) -> Outcome {
    if !wanted.change.rolls_out() {
        return Outcome::Done;
    }
    Outcome::Changed { template: hash(now.data.pointer("/spec/template").unwrap_or(&Value::Null)) }
}

/// What a reading of the object says: the outcome, or what is still to be written.
fn settled(wanted: &Wanted<'_>, now: &DynamicObject) -> Result<Vec<Edit>, Outcome> {
    let ObjectRef { kind, name } = wanted.object;
    if now.metadata.uid.as_deref() != Some(wanted.uid) {
        return Err(Outcome::Conflict(format!("{kind:?} {name} was replaced by another of that name")));
    }
    match wanted.change.on(&seen(&now.data, now.metadata.annotations.as_ref())) {
        Now::Done => Err(made(wanted, now)),
        Now::Conflict(why) => Err(Outcome::Conflict(format!("{kind:?} {name}: {why}"))),
        Now::Edit(edits) => Ok(edits),
    }
}

/// Makes the change, or says why not.
pub async fn change(hands: &Hands, run_uid: &str, wanted: &Wanted<'_>) -> Outcome {
    let ObjectRef { kind, name } = wanted.object;
    let api = resource(*kind);
    let reader: Api<DynamicObject> = Api::namespaced_with(hands.reader.clone(), &hands.namespace, &api);
    let unreadable = |e: CallError| match e.class {
        Class::NotFound => Outcome::NotFound,
        _ => Outcome::Transient(format!("{kind:?} {name} cannot be read: {e}")),
    };
    let before = match call(reader.get(name)).await {
        Ok(before) => before,
        Err(e) => return unreadable(e),
    };
    let edits = match settled(wanted, &before) {
        Ok(edits) => edits,
        Err(outcome) => return outcome,
    };
    if wanted.change.takes_away(&before.data)
        && let Err(outcome) = serves_nobody(hands, run_uid, wanted, &before).await
    {
        return outcome;
    }
    let body = match patch(operations(wanted.uid, before.metadata.resource_version.as_deref(), &edits)) {
        Ok(body) => body,
        Err(e) => return failed(e),
    };
    let writer: Api<DynamicObject> = Api::namespaced_with(hands.writer.clone(), &hands.namespace, &api);
    let error = match call(writer.patch(name, &patch_params(), &body)).await {
        Ok(now) => return made(wanted, &now),
        Err(e) => CallError { text: without_values(&e.text, &edits), ..e },
    };
    if !read_again(&error) {
        return failed(error);
    }
    let now = match call(reader.get(name)).await {
        Ok(now) => now,
        Err(e) => return unreadable(e),
    };
    match settled(wanted, &now) {
        Err(outcome) => outcome,
        // Written by somebody else in between: the next try stands on the new reading.
        Ok(_)
            if error.class == Class::Conflict || now.metadata.resource_version != before.metadata.resource_version =>
        {
            Outcome::Transient(error.text)
        }
        Ok(_) => failed(error),
    }
}

/// Refuses to take away pods that a Service selects, one that another Cutover names included, or that another run is
/// about to make live; and to shrink a workload of a live side that no Service selects.
async fn serves_nobody(hands: &Hands, run_uid: &str, wanted: &Wanted<'_>, now: &DynamicObject) -> Result<(), Outcome> {
    let ObjectRef { kind, name } = wanted.object;
    let what = match wanted.change {
        Change::Scale { .. } => "is not shrunk",
        _ => "has the strategy Recreate, which takes all its pods away first, and is left as it is",
    };
    let mut services = wanted.unless_live.to_vec();
    let mut sides = vec![];
    if !services.is_empty() {
        match claims::claims(hands, run_uid).await {
            Ok(claims) => {
                if let Some(why) = claims.activates(wanted.object) {
                    return Err(Outcome::Refused { why: format!("{kind:?} {name} {what}: {why}"), forbidden: false });
                }
                if matches!(wanted.change, Change::Scale { .. }) {
                    sides.extend(claims.listed(wanted.object).cloned());
                }
                services.extend(claims.services);
            }
            Err(e) => return Err(Outcome::Transient(format!("what other Cutovers claim cannot be read: {e}"))),
        }
    }
    let labels: BTreeMap<String, String> = now
        .data
        .pointer("/spec/template/metadata/labels")
        .and_then(|l| serde_json::from_value(l.clone()).ok())
        .unwrap_or_default();
    for service in &services {
        match hands.service(service).await {
            Ok(s) if endpoints::matches(&labels, &s.selector) => {
                let why = format!("{kind:?} {name} {what}: Service {service} selects its pods");
                return Err(Outcome::Refused { why, forbidden: false });
            }
            // One that no Service selects belongs to what is live all the same, such as a worker.
            Ok(s) => {
                let live = |m: &&Member| m.services.contains(service) && endpoints::carries(&s.selector, &m.selector);
                if let Some(m) = sides.iter().find(live) {
                    let why =
                        format!("{kind:?} {name} {what}: it belongs to {}, and Service {service} points there", m.side);
                    return Err(Outcome::Refused { why, forbidden: false });
                }
            }
            Err(e) if e.class == Class::NotFound => {}
            Err(e) => return Err(Outcome::Transient(format!("Service {service} cannot be read: {e}"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn another_object_of_that_name_is_left_alone() {
        let object = ObjectRef { kind: ObjectKind::Deployment, name: "web".into() };
        let change = Change::Scale { from: 3, to: 0 };
        let wanted = Wanted { object: &object, uid: "u", change: &change, unless_live: &[] };
        let live = |uid: &str, replicas: u32| {
            let mut o = DynamicObject::new("web", &resource(ObjectKind::Deployment))
                .data(json!({"spec": {"replicas": replicas}}));
            o.metadata.uid = Some(uid.into());
            o
        };
        assert_eq!(settled(&wanted, &live("u", 3)).map(|e| e.len()), Ok(1));
        assert_eq!(settled(&wanted, &live("u", 0)), Err(Outcome::Done));
        assert!(matches!(settled(&wanted, &live("u", 5)), Err(Outcome::Conflict(_))));
        assert!(matches!(settled(&wanted, &live("v", 3)), Err(Outcome::Conflict(_))));
        let edits = settled(&wanted, &live("u", 3)).unwrap_or_default();
        assert!(patch(operations("u", Some("1"), &edits)).is_ok());
    }
}
