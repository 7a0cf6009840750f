//! PURE. A pod is deleted, so that its connections end: once, by its uid, and never one that a Service selects (P13).

use k8s_openapi::api::core::v1::Pod;
use kube::core::ApiResource;
use serde_json::Value;

use super::change::{Taken, serves_somebody};
use crate::api::run::ObjectRef;
use crate::effect::protocol::{Exchange, LiveRead, Next, Object, Write, list};
use crate::effect::{Class, Outcome};

/// The pod, as it was claimed.
pub struct Doomed<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub workload: &'a ObjectRef,
    pub unless_live: &'a [String],
}

/// What comes next of it. A pod that is gone, or going, or another one of that name, needs nothing more.
pub fn delete(run_uid: &str, pod: &Doomed<'_>, heard: &Exchange) -> Result<Outcome, Next> {
    // The operator may list pods, which is enough for one.
    let resource = ApiResource::erase::<Pod>(&());
    let [found] = heard.before([LiveRead::List { resource, fields: format!("metadata.name={}", pod.name) }])?;
    let found = match list(found) {
        Ok(items) => items.first(),
        Err(e) => return Ok(Outcome::Transient(format!("pod {} cannot be read: {e}", pod.name))),
    };
    let text = |object: &Value, path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let Some(now) = found.filter(|now| text(now, "/metadata/uid").as_deref() == Some(pod.uid)) else {
        return Ok(Outcome::Done);
    };
    if text(now, "/metadata/deletionTimestamp").is_some() && heard.sent().is_none() {
        return Ok(Outcome::Done);
    }
    let Some(sent) = heard.sent() else {
        let what = format!("pod {} is not deleted", pod.name);
        let labels = now.pointer("/metadata/labels");
        let of = Taken { object: pod.workload, what: &what, whole: false, labels };
        if let Some(outcome) = serves_somebody(run_uid, &of, pod.unless_live, heard)? {
            return Ok(outcome);
        }
        let (object, uid) = (Object::of::<Pod>(pod.name), pod.uid.to_owned());
        return Err(Next::send(Write::Delete { object, uid, resource_version: None }));
    };
    Ok(match sent {
        // A conflict: another pod has the name by now.
        Ok(_) => Outcome::Done,
        Err(e) if matches!(e.class, Class::NotFound | Class::Conflict) => Outcome::Done,
        Err(e) => e.clone().outcome(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::run::ObjectKind;
    use crate::effect::protocol::LiveAnswer;
    use crate::effect::{CallError, protocol::Answer};

    fn delete_of(uid: &str, heard: &Exchange) -> Result<Outcome, Next> {
        let workload = ObjectRef { kind: ObjectKind::StatefulSet, name: "web".into() };
        let services = ["web".to_owned()];
        delete("run", &Doomed { name: "web-0", uid, workload: &workload, unless_live: &services }, heard)
    }

    /// Reads what is asked for: the pod of uid `u`, no other run or Cutover, and a Service that selects `side`.
    fn heard(side: &str, leaving: bool) -> Exchange {
        let mut heard = Exchange::default();
        for _ in 0..8 {
            let Err(Next::Read(looks)) = delete_of("u", &heard) else { break };
            for look in looks {
                let answer: Answer = match &look {
                    LiveRead::List { resource, .. } if resource.plural == "pods" => {
                        let mut meta = json!({"name": "web-0", "uid": "u", "labels": {"app": "web", "side": "green"}});
                        if leaving {
                            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
                        }
                        Ok(LiveAnswer::List(vec![json!({"metadata": meta})]))
                    }
                    LiveRead::List { .. } => Ok(LiveAnswer::List(vec![])),
                    _ => {
                        let selector = json!({"app": "web", "side": side});
                        let meta = json!({"uid": "s", "resourceVersion": "1"});
                        Ok(LiveAnswer::Object(json!({"metadata": meta, "spec": {"selector": selector}})))
                    }
                };
                heard.read(look, answer);
            }
        }
        heard
    }

    #[test]
    fn a_pod_is_deleted_by_its_uid_and_only_if_no_service_selects_it() {
        assert!(
            matches!(delete_of("u", &heard("green", false)), Ok(Outcome::Refused { why, .. }) if why.contains("web"))
        );
        let mut of_the_other = heard("blue", false);
        let Err(Next::Send(sent)) = delete_of("u", &of_the_other) else { panic!("not sent") };
        let Write::Delete { object, uid, .. } = sent.write else { panic!("no deletion") };
        assert_eq!((object.name.as_str(), uid.as_str()), ("web-0", "u"));
        of_the_other.wrote(Err(CallError::transient("a time-out")));
        assert!(matches!(delete_of("u", &of_the_other), Ok(Outcome::Transient(_))));
    }

    #[test]
    fn one_that_is_gone_or_going_is_done_and_another_of_its_name_is_left_alone() {
        assert_eq!(delete_of("u", &heard("blue", true)), Ok(Outcome::Done));
        assert_eq!(delete_of("former", &heard("blue", false)), Ok(Outcome::Done));
    }
}
