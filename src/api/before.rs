//! What a step that changes objects found before it: part of the journal of a run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::step::{WorkloadKind, WorkloadRef};

/// An object of the namespace that a step changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
}

/// Kinds of objects that steps change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ObjectKind {
    Deployment,
    StatefulSet,
    CronJob,
}

impl From<&WorkloadRef> for ObjectRef {
    fn from(workload: &WorkloadRef) -> Self {
        let kind = match workload.kind {
            WorkloadKind::Deployment => ObjectKind::Deployment,
            WorkloadKind::StatefulSet => ObjectKind::StatefulSet,
        };
        Self { kind, name: workload.name.clone() }
    }
}

/// An object before a change, journaled with the claim, for the automatic undo. No value of an environment stands here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Before {
    /// The workload or CronJob.
    #[serde(rename = "workload")]
    pub object: ObjectRef,
    /// Its uid.
    pub uid: String,
    /// Replicas before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Whether a CronJob was suspended before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
    /// What each variable was before: `absent`, `a value`, or where its value came from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Hashes of the pod template before and after: the run's own change is no change of the target by somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateChange>,
    /// Revisions of a Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionChange>,
    /// Whether the change has been made.
    #[serde(default)]
    pub done: bool,
    /// Why it was left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// What an annotation kept of it for the undo is gone: the run is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
}

impl Before {
    /// What is known of an object before it is looked at.
    pub fn of(object: ObjectRef, uid: &str) -> Self {
        Self {
            object,
            uid: uid.to_owned(),
            replicas: None,
            suspended: None,
            env: BTreeMap::new(),
            template: None,
            revision: None,
            done: false,
            left: None,
            forgotten: false,
        }
    }
}

/// Hashes of a pod template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateChange {
    /// When the change was claimed.
    pub from: String,
    /// After the change, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Revisions of a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevisionChange {
    /// The one it had.
    pub from: i64,
    /// The one it goes back to.
    pub to: i64,
}
