//! A workload's replicas: a patch that tests uid and the present count. Never shrinks pods that a Service selects (P13).

use std::collections::BTreeMap;

use kube::Api;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use serde_json::{Value, json};

use super::call::{Class, call};
use super::{Hands, failed, patch, patch_params, read_again};
use crate::api::step::{WorkloadKind, WorkloadRef};
use crate::effect::Outcome;
use crate::endpoints;

/// The change, as it is carried out.
pub struct Wanted<'a> {
    pub workload: &'a WorkloadRef,
    pub uid: &'a str,
    pub from: u32,
    pub to: u32,
    pub unless_live: &'a [String],
}

fn operations(wanted: &Wanted<'_>) -> Value {
    json!([
        {"op": "test", "path": "/metadata/uid", "value": wanted.uid},
        {"op": "test", "path": "/spec/replicas", "value": wanted.from},
        {"op": "replace", "path": "/spec/replicas", "value": wanted.to},
    ])
}

fn resource(kind: WorkloadKind) -> ApiResource {
    match kind {
        WorkloadKind::Deployment => ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&()),
        WorkloadKind::StatefulSet => ApiResource::erase::<k8s_openapi::api::apps::v1::StatefulSet>(&()),
    }
}

/// What a reading of the workload says about the change, if it settles it.
fn settled(wanted: &Wanted<'_>, now: &DynamicObject) -> Option<Outcome> {
    let name = &wanted.workload.name;
    if now.metadata.uid.as_deref() != Some(wanted.uid) {
        return Some(Outcome::Conflict(format!(
            "{:?} {name} was replaced by another of that name",
            wanted.workload.kind
        )));
    }
    let replicas = now.data.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    if replicas == u64::from(wanted.to) {
        return Some(Outcome::Done);
    }
    (replicas != u64::from(wanted.from)).then(|| {
        Outcome::Conflict(format!(
            "{:?} {name} has {replicas} replicas, expected {}",
            wanted.workload.kind, wanted.from
        ))
    })
}

/// Scales, or says why not.
pub async fn scale(hands: &Hands, wanted: &Wanted<'_>) -> Outcome {
    let kind = resource(wanted.workload.kind);
    let name = &wanted.workload.name;
    let reader: Api<DynamicObject> = Api::namespaced_with(hands.reader.clone(), &hands.namespace, &kind);
    let now = match call(reader.get(name)).await {
        Ok(now) => now,
        Err(e) if e.class == Class::NotFound => return Outcome::NotFound,
        Err(e) => return Outcome::Transient(format!("{:?} {name} cannot be read: {e}", wanted.workload.kind)),
    };
    if let Some(outcome) = settled(wanted, &now) {
        return outcome;
    }
    if wanted.to < wanted.from {
        let labels: BTreeMap<String, String> = now
            .data
            .pointer("/spec/template/metadata/labels")
            .and_then(|l| serde_json::from_value(l.clone()).ok())
            .unwrap_or_default();
        for service in wanted.unless_live {
            match hands.service(service).await {
                Ok(s) if endpoints::matches(&labels, &s.selector) => {
                    let why =
                        format!("{:?} {name} is not shrunk: Service {service} selects its pods", wanted.workload.kind);
                    return Outcome::Refused { why, forbidden: false };
                }
                Ok(_) => {}
                Err(e) if e.class == Class::NotFound => {}
                Err(e) => return Outcome::Transient(format!("Service {service} cannot be read: {e}")),
            }
        }
    }
    let body = match patch(operations(wanted)) {
        Ok(body) => body,
        Err(e) => return failed(e),
    };
    let writer: Api<DynamicObject> = Api::namespaced_with(hands.writer.clone(), &hands.namespace, &kind);
    match call(writer.patch(name, &patch_params(), &body)).await {
        Ok(_) => Outcome::Done,
        Err(e) if read_again(&e) => match call(reader.get(name)).await {
            Ok(now) => settled(wanted, &now).unwrap_or_else(|| match e.class {
                Class::Conflict => Outcome::Transient(e.text),
                _ => failed(e),
            }),
            Err(again) if again.class == Class::NotFound => Outcome::NotFound,
            Err(again) => Outcome::Transient(format!("{:?} {name} cannot be read: {again}", wanted.workload.kind)),
        },
        Err(e) => failed(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_somebody_else_set_is_left_alone() {
        let workload = WorkloadRef { kind: WorkloadKind::Deployment, name: "web".into() };
        let wanted = Wanted { workload: &workload, uid: "u", from: 3, to: 0, unless_live: &[] };
        let live = |uid: &str, replicas: u32| {
            let mut o = DynamicObject::new("web", &resource(WorkloadKind::Deployment))
                .data(json!({"spec": {"replicas": replicas}}));
            o.metadata.uid = Some(uid.into());
            o
        };
        assert_eq!(settled(&wanted, &live("u", 3)), None);
        assert_eq!(settled(&wanted, &live("u", 0)), Some(Outcome::Done));
        assert!(matches!(settled(&wanted, &live("u", 5)), Some(Outcome::Conflict(_))));
        assert!(matches!(settled(&wanted, &live("v", 3)), Some(Outcome::Conflict(_))));
        assert!(patch(operations(&wanted)).is_ok());
    }
}
