//! PURE. What the controller keeps of a Cutover at which nothing happens. It is read straight from the wire: steps and
//! managed fields are passed over and never built, so that thousands of idle Cutovers cost little, also at the start.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::Deserialize;
use serde_json::Value;

use super::intent;
use crate::api::FINALIZER;
use crate::api::condition::reasons;
use crate::api::cutover::{Cutover, Intent, RunRef, ServiceRef};
use crate::api::template::{TemplateKind, TemplateUse};

/// A Cutover, as far as the watch needs to know it. Never fails to be read: one that makes no sense is not quiet, and
/// the look at it tells what is wrong.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Wire")]
pub struct Digest {
    /// Name, namespace, uid, versions, times and finalizers; nothing else.
    pub metadata: ObjectMeta,
    /// Names of the Services it switches.
    pub services: Vec<String>,
    /// The templates it uses, by kind and name.
    pub templates: Vec<(TemplateKind, String)>,
    /// Whether nothing about it needs a look: everything wanted was started, and what was started is over.
    pub quiet: bool,
    /// Of a quiet one, what its Services ask of pods as long as the side is live that was live last; nothing where none was.
    pub rests_on: BTreeMap<String, String>,
    /// Whether it says that a receiver of notifications cannot be told of anything.
    pub unusable: bool,
}

#[derive(Deserialize)]
struct Wire {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
}

// Values and not types: an object that another version wrote must not end the watch of all the others.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    services: Value,
    sides: Value,
    templates: Value,
    activate: Value,
    release: Value,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    observed_generation: Option<i64>,
    started: Value,
    run: Value,
    live: Option<String>,
    conditions: Vec<Says>,
}

/// A condition, as far as it may be about receivers.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Says {
    reason: String,
}

/// A side, as far as a Service shows it.
#[derive(Deserialize)]
struct SideOf {
    name: String,
    selector: BTreeMap<String, String>,
}

impl From<Wire> for Digest {
    fn from(wire: Wire) -> Self {
        let Wire { metadata, spec, status } = wire;
        let live = status.as_ref().and_then(|status| status.live.clone());
        let says = |status: &Status| status.conditions.iter().any(|c| c.reason == reasons::RECEIVER_UNUSABLE);
        let unusable = status.as_ref().is_some_and(says);
        let quiet = status.is_some_and(|status| is_quiet(&metadata, &spec, status));
        let sides: Vec<SideOf> = serde_json::from_value(spec.sides).unwrap_or_default();
        let live = sides.into_iter().find(|side| quiet && live.as_ref() == Some(&side.name));
        let rests_on = live.map(|side| side.selector).unwrap_or_default();
        let services: Vec<ServiceRef> = serde_json::from_value(spec.services).unwrap_or_default();
        let templates: Vec<TemplateUse> = serde_json::from_value(spec.templates).unwrap_or_default();
        let templates = templates.into_iter().map(|t| (t.kind.unwrap_or_default(), t.name)).collect();
        let metadata = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            finalizers: metadata.finalizers,
            ..ObjectMeta::default()
        };
        Self {
            metadata,
            services: services.into_iter().map(|s| s.name).collect(),
            templates,
            quiet,
            rests_on,
            unusable,
        }
    }
}

fn is_quiet(metadata: &Meta, spec: &Spec, status: Status) -> bool {
    let held = metadata.finalizers.iter().flatten().any(|f| f == FINALIZER);
    if metadata.deletion_timestamp.is_some() || held || status.observed_generation != metadata.generation {
        return false;
    }
    let wanted = serde_json::json!({"activate": spec.activate, "release": spec.release});
    let intent = |value: Value| serde_json::from_value::<Intent>(value).ok();
    let (Some(wanted), Some(started)) = (intent(wanted), intent(status.started)) else { return false };
    let born = match serde_json::from_value::<Option<RunRef>>(status.run) {
        Ok(run) => run.is_none_or(|r| r.uid.is_some()),
        Err(_) => false,
    };
    intent::same(&wanted, &started) && born
}

/// The same kind as [`Cutover`], read in another way.
impl Resource for Digest {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Cutover::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        Cutover::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        Cutover::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        Cutover::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::ResourceExt;
    use serde_json::json;

    fn idle() -> Value {
        json!({
            "apiVersion": "cutover.dev/v1alpha1", "kind": "Cutover",
            "metadata": {"name": "web", "namespace": "a", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"fieldsV1": {"f:spec": {}}}]},
            "spec": {
                "services": [{"name": "web"}, {"name": "api"}], "activate": "blue", "release": {"version": "1"},
                "sides": [
                    {"name": "blue", "selector": {"side": "blue"}, "workloads": []},
                    {"name": "green", "selector": {"side": "green"}, "workloads": []},
                ],
            },
            "status": {"observedGeneration": 3, "started": {"activate": "blue", "release": {"version": "1"}},
                "runs": 1, "run": {"name": "web-1", "uid": "u"}, "live": "blue", "conditions": []},
        })
    }

    fn with(path: &str, value: Value) -> Digest {
        let mut object = idle();
        *object.pointer_mut(path).expect("there") = value;
        serde_json::from_value(object).expect("a digest")
    }

    #[test]
    fn an_idle_cutover_costs_no_look() {
        assert!(with("/metadata/generation", json!(3)).quiet);
        assert!(!with("/metadata/generation", json!(4)).quiet);
        assert!(!with("/spec/activate", json!("green")).quiet);
        assert!(!with("/spec/release", json!({"version": "2"})).quiet);
        assert!(with("/spec/release", json!({"version": "1", "requestedBy": "jane"})).quiet, "asked by somebody else");
        assert!(!with("/spec/release", Value::Null).quiet);
        assert!(!with("/status/run", json!({"name": "web-2"})).quiet);
        assert!(!with("/status", Value::Null).quiet);
        assert!(!with("/metadata", json!({"name": "web", "generation": 3, "finalizers": [FINALIZER]})).quiet);
        let going = json!({"name": "web", "generation": 3, "deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert!(!with("/metadata", going).quiet);
        assert!(with("/status/run", Value::Null).quiet, "idle from its first sight on");
    }

    #[test]
    fn one_whose_receivers_are_wrong_rests_and_is_known_for_it() {
        let says =
            |reason: &str| with("/status/conditions", json!([{"type": "NotificationsFailing", "reason": reason}]));
        let wrong = says("ReceiverUnusable");
        assert!(wrong.unusable && wrong.quiet && !wrong.rests_on.is_empty());
        assert!(!says("NotDelivered").unusable);
    }

    #[test]
    fn what_others_need_to_know_is_kept_and_the_rest_is_not() {
        let digest = with("/metadata/generation", json!(3));
        assert_eq!(digest.services, ["web", "api"]);
        assert_eq!((digest.name_any(), digest.namespace()), ("web".into(), Some("a".into())));
        assert_eq!((digest.uid(), digest.resource_version()), (Some("u".into()), Some("7".into())));
        assert_eq!(digest.rests_on, [("side".to_owned(), "blue".to_owned())].into());
        assert!(with("/spec/activate", json!("green")).rests_on.is_empty(), "a run is to begin");
        assert!(digest.metadata.creation_timestamp.is_some() && digest.metadata.managed_fields.is_none());
    }

    #[test]
    fn what_makes_no_sense_is_read_all_the_same_and_looked_at() {
        assert!(with("/spec/services", json!("web")).services.is_empty());
        assert!(!with("/spec/release", json!(7)).quiet);
        assert!(!with("/status/started", json!([1])).quiet);
        assert!(!with("/status/run", json!("web-1")).quiet);
    }

    #[test]
    fn it_is_asked_for_as_the_kind_that_it_digests() {
        assert_eq!(Digest::url_path(&(), Some("a")), Cutover::url_path(&(), Some("a")));
    }
}
