//! PURE. What stands behind a Service: one workload or two, and by which label the sides are told apart.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use serde_json::Value;

use crate::api::run::Selector;
use crate::api::step::{WorkloadKind, WorkloadRef};
use crate::cli::exit::Failure;
use crate::endpoints::matches;
use crate::world::convert;

/// Labels that say what something is, and so never which side.
const IDENTITY: [&str; 8] = ["app", "name", "component", "part-of", "k8s-app", "tier", "role", "managed-by"];
/// Labels that people use for the side.
const COLOURS: [&str; 8] = ["side", "color", "colour", "slot", "track", "version", "variant", "deployment"];

/// A workload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Work {
    pub kind: WorkloadKind,
    pub name: String,
    /// Labels of its pod template.
    pub labels: BTreeMap<String, String>,
    pub replicas: u32,
    pub ready: u32,
    /// The object.
    pub object: Value,
}

impl Work {
    /// `Deployment web`.
    pub(crate) fn shown(&self) -> String {
        format!("{:?} {}", self.kind, self.name)
    }

    /// `deployment/web`.
    pub(crate) fn resource(&self) -> String {
        format!("{}/{}", format!("{:?}", self.kind).to_lowercase(), self.name)
    }

    fn of(kind: WorkloadKind, name: String, object: Option<Value>) -> Option<Self> {
        let object = object?;
        let labels = object.pointer("/spec/template/metadata/labels")?;
        let labels = serde_json::from_value(labels.clone()).ok()?;
        let number = |path: &str| {
            let n = object.pointer(path).and_then(Value::as_u64);
            n.and_then(|n| u32::try_from(n).ok())
        };
        let replicas = number("/spec/replicas").unwrap_or(1);
        let ready = number("/status/readyReplicas").unwrap_or(0);
        Some(Self { kind, name, labels, replicas, ready, object })
    }
}

/// All workloads of a namespace.
pub(crate) fn works(deployments: &[Deployment], sets: &[StatefulSet]) -> Vec<Work> {
    let d = deployments
        .iter()
        .filter_map(|d| Work::of(WorkloadKind::Deployment, d.name_any(), serde_json::to_value(d).ok()));
    let s = sets.iter().filter_map(|s| Work::of(WorkloadKind::StatefulSet, s.name_any(), serde_json::to_value(s).ok()));
    d.chain(s).collect()
}

/// What the user says beside the Service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// The label that tells the sides apart, where there is none yet.
    pub label: Option<String>,
    /// The workloads, where more than two could be meant.
    pub workloads: Vec<String>,
    /// The workload that stays live.
    pub live: Option<String>,
}

/// What is there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Situation {
    pub service: String,
    /// The whole selector of the Service.
    pub selector: Selector,
    /// The label of the side.
    pub key: String,
    pub live: Work,
    pub live_value: String,
    /// The other side; none where it is still to be made.
    pub other: Option<Work>,
    pub other_value: String,
    /// The pods of the live workload have the label.
    pub labelled: bool,
    /// The Service asks for it.
    pub pinned: bool,
}

/// Looks at what is behind a Service.
///
/// # Errors
/// What stands in the way, with the next command.
pub(crate) fn find(service: &Service, works: &[Work], pods: &[Pod], said: &Said) -> Result<Situation, Failure> {
    let name = service.name_any();
    let ns = service.namespace().unwrap_or_default();
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        return Err(Failure::new(format!(
            "Service {name} is an ExternalName: it leads out of the cluster and selects no pods"
        ))
        .next(format!("kubectl get services -n {ns} (name one that selects pods)")));
    }
    let selector = spec.selector.unwrap_or_default();
    if selector.is_empty() {
        return Err(Failure::new(format!(
            "Service {name} has no selector: its endpoints are made by hand, so there is nothing to switch"
        ))
        .next(format!("kubectl edit service {name} -n {ns} (give it a selector that takes the pods of today)")));
    }
    strays(&name, &ns, &selector, pods)?;
    let (behind, beside) = candidates(&name, &ns, works, &selector, said)?;
    let (live, other) = choose(&name, behind, beside, said)?;
    let (key, live_value, other_value) = match &other {
        Some(other) => told_apart(&live, other, &selector)?,
        None => one_side(&live, &selector, said),
    };
    Ok(Situation {
        labelled: live.labels.get(&key) == Some(&live_value),
        pinned: selector.contains_key(&key),
        service: name,
        selector,
        key,
        live,
        live_value,
        other,
        other_value,
    })
}

/// Pods that the Service sends requests to and that no Deployment or StatefulSet owns.
fn strays(name: &str, ns: &str, selector: &Selector, pods: &[Pod]) -> Result<(), Failure> {
    let views = pods.iter().map(convert::pod).filter(|p| !p.terminating && matches(&p.labels, selector));
    let stray: Vec<String> = views.filter(|p| p.workload.is_none()).map(|p| p.name).take(3).collect();
    match stray.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "Service {name} sends requests to pods that no Deployment or StatefulSet owns: {}",
            stray.join(", ")
        ))
        .next(format!(
            "kubectl get pods {} -n {ns} -o yaml (run them by a Deployment, or change their labels)",
            stray.join(" ")
        ))),
    }
}

/// Labels that keep a workload from being selected, where they could be the label of a side.
fn differs<'a>(work: &'a Work, selector: &'a Selector) -> Option<Vec<&'a str>> {
    let mut keys = vec![];
    let mut equal = 0;
    for (key, value) in selector {
        match work.labels.get(key) {
            Some(v) if v == value => equal += 1,
            Some(_) if !is_identity(key) => keys.push(key.as_str()),
            Some(_) | None => return None,
        }
    }
    (equal > 0 && !keys.is_empty()).then_some(keys)
}

fn is_identity(key: &str) -> bool {
    IDENTITY.contains(&key.rsplit('/').next().unwrap_or(key))
}

/// Workloads that the Service selects, and those that it would select with another label of a side.
type Candidates = (Vec<Work>, Vec<Work>);

fn candidates(name: &str, ns: &str, works: &[Work], selector: &Selector, said: &Said) -> Result<Candidates, Failure> {
    let named = |w: &&Work| {
        said.workloads.is_empty() || said.workloads.iter().any(|n| *n == w.name || n.to_lowercase() == w.resource())
    };
    for wanted in &said.workloads {
        if !works.iter().any(|w| *wanted == w.name || wanted.to_lowercase() == w.resource()) {
            return Err(Failure::new(format!("namespace {ns} has no Deployment or StatefulSet {wanted}"))
                .next(format!("kubectl get deployments,statefulsets -n {ns}")));
        }
    }
    let behind: Vec<Work> = works.iter().filter(named).filter(|w| matches(&w.labels, selector)).cloned().collect();
    let beside: Vec<Work> = works.iter().filter(named).filter(|w| differs(w, selector).is_some()).cloned().collect();
    if behind.is_empty() {
        let pairs: Vec<String> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
        return Err(Failure::new(format!("no Deployment or StatefulSet has the pods that Service {name} selects"))
            .next(format!("kubectl get pods -n {ns} -l {}", pairs.join(","))));
    }
    let all: Vec<&Work> = behind.iter().chain(&beside).collect();
    if all.len() > 2 {
        let names: Vec<String> = all.iter().map(|w| w.shown()).collect();
        return Err(Failure::new(format!(
            "{} workloads could be sides of Service {name}: {}",
            all.len(),
            names.join(", ")
        ))
        .next(format!("kubectl cutover init {name} -n {ns} --workloads {},{}", all[0].name, all[1].name)));
    }
    Ok((behind, beside))
}

/// Which of them is live.
fn choose(name: &str, behind: Vec<Work>, beside: Vec<Work>, said: &Said) -> Result<(Work, Option<Work>), Failure> {
    let mut both = behind.iter();
    let (first, second) = (both.next().cloned(), both.next().cloned());
    let Some(first) = first else { return Err(Failure::new(format!("nothing is behind Service {name}"))) };
    let Some(second) = second else { return Ok((first, beside.into_iter().next())) };
    // The Service sends requests to both.
    let live = match (&said.live, first.ready > 0, second.ready > 0) {
        (Some(live), ..) if *live == first.name => 0,
        (Some(live), ..) if *live == second.name => 1,
        (None, true, false) => 0,
        (None, false, true) => 1,
        _ => {
            return Err(Failure::new(format!(
                "Service {name} sends requests to both {} and {}: it is not known which one stays live",
                first.shown(),
                second.shown()
            ))
            .next(format!("kubectl cutover init {name} --live {}", first.name)));
        }
    };
    Ok(if live == 0 { (first, Some(second)) } else { (second, Some(first)) })
}

/// The label that tells two workloads apart.
fn told_apart(live: &Work, other: &Work, selector: &Selector) -> Result<(String, String, String), Failure> {
    let mut keys: Vec<&String> = live
        .labels
        .iter()
        .filter(|(k, v)| other.labels.get(*k).is_some_and(|o| o != *v) && !is_identity(k))
        .map(|(k, _)| k)
        .collect();
    // That of the Service before others, and usual names before others.
    let usual = |k: &str| COLOURS.iter().position(|c| *c == k).unwrap_or(COLOURS.len());
    keys.sort_by_key(|k| (!selector.contains_key(*k), usual(k)));
    let key = keys.first().map(|k| (*k).clone());
    let values = key.and_then(|k| Some((live.labels.get(&k)?.clone(), other.labels.get(&k)?.clone(), k)));
    match values {
        Some((a, b, key)) => Ok((key, a, b)),
        None => Err(Failure::new(format!(
            "the pods of {} and {} have no label with different values, so no selector tells them apart",
            live.shown(),
            other.shown()
        ))
        .next("give each pod template a label of its own, such as side: blue and side: green")),
    }
}

/// The label of a side that stands alone, its value, and that of the other one.
fn one_side(live: &Work, selector: &Selector, said: &Said) -> (String, String, String) {
    let in_service = COLOURS.iter().find(|c| selector.contains_key(**c)).map(|c| (*c).to_owned());
    let key = said.label.clone().or(in_service).unwrap_or_else(|| COLOURS[0].to_owned());
    let value = live.labels.get(&key).cloned().unwrap_or_else(|| {
        // A name that says it already.
        let named = live.name.ends_with("-green");
        if named { "green".to_owned() } else { "blue".to_owned() }
    });
    let other = if value == "green" { "blue" } else { "green" };
    (key, value, other.to_owned())
}

impl Situation {
    /// The reference of the live side's workload.
    pub(crate) fn live_ref(&self) -> WorkloadRef {
        WorkloadRef { kind: self.live.kind, name: self.live.name.clone() }
    }

    /// The reference of the other side's, which may still have to be made.
    pub(crate) fn other_ref(&self) -> WorkloadRef {
        match &self.other {
            Some(other) => WorkloadRef { kind: other.kind, name: other.name.clone() },
            None => WorkloadRef { kind: self.live.kind, name: self.other_name() },
        }
    }

    /// The name of the other side's workload.
    fn other_name(&self) -> String {
        let stem = self.live.name.strip_suffix(&format!("-{}", self.live_value)).unwrap_or(&self.live.name);
        format!("{stem}-{}", self.other_value)
    }
}
