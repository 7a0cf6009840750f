//! PURE. How an effect is carried out: what is read, what is sent, and what has been heard so far. `writes` says what comes
//! next, as a function of the effect and of what was heard; whoever carries it out only reads and sends.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ApiResource;
use serde_json::{Value, json};

use super::letter::Letter;
use super::{CallError, Outcome, Request};
use crate::api::notify::Notify;
use crate::api::run::Selector;
use crate::world::PodView;

/// An object of the run's namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub resource: ApiResource,
    pub name: String,
}

impl Object {
    /// An object of a kind that is known when this is compiled.
    pub fn of<K: kube::Resource<DynamicType = ()>>(name: &str) -> Self {
        Self { resource: ApiResource::erase::<K>(&()), name: name.to_owned() }
    }
}

/// Something to be read live, in the run's namespace and as the operator.
#[derive(Clone, Debug, PartialEq)]
pub enum LiveRead {
    /// One object.
    Object(Object),
    /// The pods that have all of these labels. They are worth nothing after [`Exchange::FRESH`].
    Pods(Selector),
    /// The objects of a kind that a field selector selects; all where it is empty.
    List { resource: ApiResource, fields: String },
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub enum LiveAnswer {
    /// An object, as the API server shows it.
    Object(Value),
    /// Pods.
    Pods(Vec<PodView>),
    /// The items of a list.
    List(Vec<Value>),
}

/// The answer to a [`LiveRead`].
pub type Answer = Result<LiveAnswer, CallError>;

/// A write. What it makes of a Secret is not printed (P9).
#[derive(Clone, PartialEq)]
pub enum Write {
    /// Creates an object.
    Create(Object, Value),
    /// Patches an object.
    Patch(Object, JsonPatch),
    /// Replaces the status of an object; the body has uid and resourceVersion, which are tested.
    ReplaceStatus(Object, Value),
    /// Deletes an object, and afterwards what it owns.
    Delete {
        object: Object,
        /// Precondition.
        uid: String,
        /// Precondition.
        resource_version: Option<String>,
    },
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, object, body): (_, _, Option<&dyn std::fmt::Debug>) = match self {
            Self::Create(object, body) => ("Create", object, Some(body)),
            Self::Patch(object, patch) => ("Patch", object, Some(patch)),
            Self::ReplaceStatus(object, body) => ("ReplaceStatus", object, Some(body)),
            Self::Delete { object, .. } => ("Delete", object, None),
        };
        let mut out = f.debug_tuple(name);
        out.field(&object.resource.kind).field(&object.name);
        match body.filter(|_| object.resource.kind != "Secret") {
            Some(body) => out.field(body).finish(),
            None => out.finish_non_exhaustive(),
        }
    }
}

/// As whom a write is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// The Cutover's ServiceAccount, while this operator may write.
    Account,
    /// The same account, whether this operator may write or not.
    AccountAlways,
    /// The operator itself, while it may write.
    Operator,
}

/// A write as it is sent, once.
#[derive(Clone, Debug, PartialEq)]
pub struct Send {
    pub write: Write,
    pub by: As,
    /// How long it may take, where that is another time than for every call.
    pub limit: Option<Duration>,
}

/// A notification on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    pub receiver: Notify,
    pub letter: Letter,
    /// What the receiver calls the message of this run.
    pub thread: Option<String>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Read these, together.
    Read(Vec<LiveRead>),
    /// Send this.
    Send(Box<Send>),
    /// Send this request out; its answers are the outcome.
    Ask(Box<Request>),
    /// Send this notification; what its receiver answers is the outcome.
    Notify(Box<Notification>),
    /// It is over.
    End(Outcome),
}

impl Next {
    /// A write as the Cutover's ServiceAccount.
    pub fn send(write: Write) -> Self {
        Self::Send(Box::new(Send { write, by: As::Account, limit: None }))
    }
}

/// What has been heard so far.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// Whether this operator may write, asked after everything that was read.
    pub leads: bool,
    /// How long the readings took, from the first on.
    pub took: Duration,
    before: Vec<(LiveRead, Answer)>,
    sent: Vec<Result<Value, CallError>>,
    after: Vec<(LiveRead, Answer)>,
}

impl Exchange {
    /// A reading older than this is no ground for a switch (P5).
    pub const FRESH: Duration = Duration::from_secs(1);

    /// Takes in what was read.
    pub fn read(&mut self, look: LiveRead, answer: Answer) {
        if self.sent.is_empty() { &mut self.before } else { &mut self.after }.push((look, answer));
    }

    /// Takes in the answer to a write: the object as it is then.
    pub fn wrote(&mut self, answer: Result<Value, CallError>) {
        self.sent.push(answer);
    }

    /// The answer to the write, once it was sent.
    pub fn sent(&self) -> Option<&Result<Value, CallError>> {
        self.sent.first()
    }

    /// The answer to the write that followed the first, where there is one.
    pub(crate) fn followed(&self) -> Option<&Result<Value, CallError>> {
        self.sent.get(1)
    }

    /// What was read before anything was written, in the order of `looks`.
    ///
    /// # Errors
    /// What is still to be read.
    pub fn before<const N: usize>(&self, looks: [LiveRead; N]) -> Result<[&Answer; N], Next> {
        find(&self.before, looks)
    }

    /// What was read after a write had failed.
    ///
    /// # Errors
    /// What is still to be read.
    pub fn after(&self, look: LiveRead) -> Result<&Answer, Next> {
        find(&self.after, [look]).map(|[answer]| answer)
    }
}

fn find<const N: usize>(heard: &[(LiveRead, Answer)], looks: [LiveRead; N]) -> Result<[&Answer; N], Next> {
    let answer = |look: &LiveRead| heard.iter().find(|(of, _)| of == look).map(|(_, answer)| answer);
    let found: Vec<&Answer> = looks.iter().filter_map(answer).collect();
    found.try_into().map_err(|_| Next::Read(looks.into_iter().filter(|look| answer(look).is_none()).collect()))
}

/// The object that was read.
///
/// # Errors
/// Why it was not.
pub fn object(answer: &Answer) -> Result<&Value, CallError> {
    match answer {
        Ok(LiveAnswer::Object(object)) => Ok(object),
        Ok(LiveAnswer::Pods(_) | LiveAnswer::List(_)) => {
            Err(CallError::transient("a list was read instead of an object"))
        }
        Err(e) => Err(e.clone()),
    }
}

/// The items of the list that was read.
///
/// # Errors
/// Why it was not.
pub fn list(answer: &Answer) -> Result<&[Value], CallError> {
    match answer {
        Ok(LiveAnswer::List(items)) => Ok(items),
        Ok(LiveAnswer::Pods(_) | LiveAnswer::Object(_)) => {
            Err(CallError::transient("an object was read instead of a list"))
        }
        Err(e) => Err(e.clone()),
    }
}

/// The pods that were read.
///
/// # Errors
/// Why they were not.
pub fn pods(answer: &Answer) -> Result<&[PodView], CallError> {
    match answer {
        Ok(LiveAnswer::Pods(pods)) => Ok(pods),
        Ok(LiveAnswer::List(_) | LiveAnswer::Object(_)) => {
            Err(CallError::transient("something else was read than pods"))
        }
        Err(e) => Err(e.clone()),
    }
}

/// A JSON patch: its operations take effect together or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonPatch(Vec<Value>);

impl JsonPatch {
    /// One that takes effect only on the object of this uid.
    pub fn of(uid: &str) -> Self {
        Self::default().test("/metadata/uid", uid)
    }

    /// One that takes a finalizer away, by a test of its place; `None` where it is not there.
    pub(crate) fn without_finalizer(meta: &ObjectMeta, finalizer: &str) -> Option<Self> {
        let at = meta.finalizers.iter().flatten().position(|f| f == finalizer)?;
        let path = format!("/metadata/finalizers/{at}");
        Some(Self::default().test(&path, finalizer).remove(&path))
    }

    /// And only in this version of it.
    #[must_use]
    pub fn version(self, resource_version: &str) -> Self {
        self.test("/metadata/resourceVersion", resource_version)
    }

    /// And only where this stands at `path`.
    #[must_use]
    pub fn test(self, path: &str, value: impl Into<Value>) -> Self {
        self.with(json!({"op": "test", "path": path, "value": value.into()}))
    }

    /// Sets a member, whether it is there already or not; adds to a list at `/-`.
    #[must_use]
    pub fn add(self, path: &str, value: impl Into<Value>) -> Self {
        self.with(json!({"op": "add", "path": path, "value": value.into()}))
    }

    /// Sets a member that is there.
    #[must_use]
    pub fn replace(self, path: &str, value: impl Into<Value>) -> Self {
        self.with(json!({"op": "replace", "path": path, "value": value.into()}))
    }

    /// Takes a member away.
    #[must_use]
    pub fn remove(self, path: &str) -> Self {
        self.with(json!({"op": "remove", "path": path}))
    }

    fn with(mut self, operation: Value) -> Self {
        self.0.push(operation);
        self
    }

    /// As it is sent.
    pub fn operations(&self) -> Value {
        Value::Array(self.0.clone())
    }

    /// As the client sends it.
    ///
    /// # Errors
    /// A path that is none.
    pub fn body(&self) -> Result<kube::api::Patch<()>, CallError> {
        serde_json::from_value(self.operations())
            .map(kube::api::Patch::Json)
            .map_err(|e| CallError::invalid(format!("not a JSON patch: {e}")))
    }
}

/// A member of a map as a part of a path.
pub fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finalizer_is_removed_by_a_patch_that_tests_its_place() {
        let with = |list: &[&str]| ObjectMeta {
            finalizers: Some(list.iter().map(|f| (*f).to_owned()).collect()),
            ..ObjectMeta::default()
        };
        let patch = JsonPatch::without_finalizer(&with(&["other", "ours"]), "ours").map(|p| p.operations());
        assert_eq!(patch.map(|p| p[1]["path"].clone()), Some(json!("/metadata/finalizers/1")));
        assert_eq!(JsonPatch::without_finalizer(&with(&["other"]), "ours"), None);
    }
}
