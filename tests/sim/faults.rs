//! What goes wrong between the operator and the API server, by the script's word.

use jiff::Timestamp;

use cutover::effect::Effect;

/// Which requests a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum On {
    Switch,
    Restore,
    Create,
    Start,
    Delete,
    Own,
    /// A value that goes into the run's Secret.
    Keep,
    Answer,
    Change,
    DeletePod,
    Send,
    /// A notification; its name is the receiver's.
    Notify,
    /// The claim: a write of the run's status.
    Status,
    DryRun,
    Refresh,
    /// Any other read.
    Read,
}

/// What becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// 403.
    Forbidden,
    /// 422 that is no failed test.
    Invalid,
    /// 409 on a status write; elsewhere a failed test.
    Conflict,
    /// 503, nothing applied.
    Transient,
    /// Applied, and the reply lost.
    Lost,
    /// Carried out, after somebody else wrote an annotation of the object.
    Annotated,
}

/// A fault that stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub on: On,
    pub kind: Kind,
    /// Of this object alone.
    #[serde(default)]
    pub name: Option<String>,
    /// This many requests; all where absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// Set by the script from `for`.
    #[serde(skip)]
    pub until: Option<Timestamp>,
}

/// The faults of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// The fault that befalls a request, counted down.
    pub fn strike(&mut self, on: On, name: &str, now: Timestamp) -> Option<Kind> {
        self.0.retain(|f| f.until.is_none_or(|u| u > now) && f.times != Some(0));
        let fault = self.0.iter_mut().find(|f| f.on == on && f.name.as_deref().is_none_or(|n| name.contains(n)))?;
        if let Some(times) = &mut fault.times {
            *times -= 1;
        }
        Some(fault.kind)
    }
}

/// What an effect is called here, and the object it is about.
pub fn on_effect(effect: &Effect) -> (On, &str) {
    match effect {
        Effect::CreateJob { name, .. } => (On::Create, name),
        Effect::StartJob { name, .. } => (On::Start, name),
        Effect::DeleteJob { name, .. } => (On::Delete, name),
        Effect::OwnJob { name, .. } | Effect::OwnSecret { name } => (On::Own, name),
        Effect::Keep { key, .. } => (On::Keep, &key.execution),
        Effect::Answer { decision, .. } | Effect::TakeUp { decision, .. } => (On::Answer, decision),
        Effect::Send { key, .. } => (On::Send, &key.execution),
        Effect::Notify { receiver, .. } => (On::Notify, &receiver.name),
        Effect::Switch { route, .. } => (On::Switch, &route.name),
        Effect::Restore { route, .. } => (On::Restore, &route.name),
        Effect::DeletePod { name, .. } => (On::DeletePod, name),
        Effect::Change { object, .. } => (On::Change, &object.name),
    }
}
