//! PURE. What the Cutovers and runs of a namespace claim, read live right before something is shrunk (P13).

use std::collections::BTreeSet;

use kube::core::ApiResource;
use serde_json::Value;

use crate::api::Cutover;
use crate::api::run::{CutoverRun, ObjectRef, Selector};
use crate::api::step::WorkloadRef;
use crate::effect::CallError;
use crate::effect::protocol::{Exchange, LiveRead, Next, list};

/// Claimed by all Cutovers, and by the runs under way that are not the one that asks.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Claims {
    /// Services that any Cutover names.
    pub services: BTreeSet<String>,
    /// Workloads that another run activates, with the run's name.
    targets: Vec<(WorkloadRef, String)>,
    /// Workloads of all sides: one that no Service selects is live where the Services of its Cutover point to its side.
    sides: Vec<Member>,
}

/// A workload, the side that it is listed under, and the Services that may point to that side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    workload: WorkloadRef,
    /// The side's name.
    pub side: String,
    /// The side's labels.
    pub selector: Selector,
    /// The Services of its Cutover.
    pub services: BTreeSet<String>,
}

impl Claims {
    /// Why a workload is spoken for by another run, if it is.
    pub(crate) fn activates(&self, object: &ObjectRef) -> Option<String> {
        self.targets
            .iter()
            .find(|(w, _)| ObjectRef::from(w) == *object)
            .map(|(_, run)| format!("run {run} activates it"))
    }

    /// The sides that a workload is listed under.
    pub fn listed<'a>(&'a self, object: &'a ObjectRef) -> impl Iterator<Item = &'a Member> {
        self.sides.iter().filter(move |m| ObjectRef::from(&m.workload) == *object)
    }

    /// Read off the objects as they stand: one that another version wrote is no reason to see less.
    fn of(cutovers: &[Value], runs: &[Value], own: &str) -> Self {
        let names = |list: Option<&Value>, key: &str| -> Vec<String> {
            let all = list.and_then(Value::as_array).into_iter().flatten();
            all.filter_map(|v| v.pointer(key).and_then(Value::as_str)).map(str::to_owned).collect()
        };
        let services = cutovers.iter().flat_map(|c| names(c.pointer("/spec/services"), "/name")).collect();
        let sides = cutovers.iter().flat_map(|c| {
            let services: BTreeSet<String> = names(c.pointer("/spec/services"), "/name").into_iter().collect();
            let sides = c.pointer("/spec/sides").and_then(Value::as_array).cloned().unwrap_or_default();
            sides.into_iter().flat_map(move |side| members(&side, &services))
        });
        let others = runs.iter().filter(|r| text(r, "/metadata/uid") != Some(own));
        let targets = others.flat_map(|run| {
            let list = run.pointer("/spec/plan/target/workloads").cloned().unwrap_or_default();
            let list: Vec<WorkloadRef> = serde_json::from_value(list).unwrap_or_default();
            let name = text(run, "/metadata/name").unwrap_or_default();
            list.into_iter().map(|w| (w, name.to_owned())).collect::<Vec<_>>()
        });
        Self { services, targets: targets.collect(), sides: sides.collect() }
    }
}

fn members(side: &Value, services: &BTreeSet<String>) -> Vec<Member> {
    let name = side.get("name").and_then(Value::as_str).unwrap_or_default();
    let selector: Selector =
        side.get("selector").and_then(|s| serde_json::from_value(s.clone()).ok()).unwrap_or_default();
    let list: Vec<WorkloadRef> =
        side.get("workloads").and_then(|w| serde_json::from_value(w.clone()).ok()).unwrap_or_default();
    let member =
        |workload| Member { workload, side: name.into(), selector: selector.clone(), services: services.clone() };
    // A side without labels names nothing: no Service can point to it.
    if selector.is_empty() { vec![] } else { list.into_iter().map(member).collect() }
}

fn text<'a>(object: &'a Value, path: &str) -> Option<&'a str> {
    object.pointer(path)?.as_str()
}

/// What all of them claim, as read.
///
/// # Errors
/// What is still to be read.
pub fn claims(own: &str, heard: &Exchange) -> Result<Result<Claims, CallError>, Next> {
    let cutovers = LiveRead::List { resource: ApiResource::erase::<Cutover>(&()), fields: String::new() };
    let runs =
        LiveRead::List { resource: ApiResource::erase::<CutoverRun>(&()), fields: "status.state!=Closed".to_owned() };
    let [cutovers, runs] = heard.before([cutovers, runs])?;
    Ok(list(cutovers).and_then(|cutovers| Ok(Claims::of(cutovers, list(runs)?, own))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::run::ObjectKind;

    #[test]
    fn services_of_all_and_targets_of_others() {
        let object = |uid: &str, mut data: Value| {
            data["metadata"] = json!({"name": uid, "uid": uid});
            data
        };
        let run = |uid: &str, name: &str| {
            let target = json!({"workloads": [{"kind": "Deployment", "name": name}]});
            object(uid, json!({"spec": {"plan": {"target": target}}}))
        };
        let cutovers = [
            object("a", json!({"spec": {"services": [{"name": "web"}]}})),
            object("b", json!({"spec": {"services": [{"name": "api"}, {"name": "web"}], "unknown": 1}})),
            object("c", json!({})),
        ];
        let sides = json!([
            {"name": "blue", "selector": {"side": "blue"}, "workloads": [{"kind": "Deployment", "name": "worker-blue"}]},
            {"name": "odd", "selector": {}, "workloads": [{"kind": "Deployment", "name": "odd"}]},
        ]);
        let with_sides = [object("d", json!({"spec": {"services": [{"name": "web"}], "sides": sides}}))];
        let worker = ObjectRef { kind: ObjectKind::Deployment, name: "worker-blue".into() };
        let claims = Claims::of(&with_sides, &[], "own");
        let listed: Vec<_> = claims.listed(&worker).map(|m| (m.side.as_str(), m.services.contains("web"))).collect();
        assert_eq!((listed, claims.sides.len()), (vec![("blue", true)], 1));
        let claims = Claims::of(&cutovers, &[run("own", "web-blue"), run("other", "api-green")], "own");
        assert_eq!(claims.services.iter().collect::<Vec<_>>(), ["api", "web"]);
        let workload = |name: &str| ObjectRef { kind: ObjectKind::Deployment, name: name.into() };
        assert_eq!(claims.activates(&workload("web-blue")), None);
        assert_eq!(claims.activates(&workload("api-green")).as_deref(), Some("run other activates it"));
    }
}
