//! A simulated API server: what a real one does with a request, without admission and schemas. `tests/conformance` holds
//! it against a real one. Objects are JSON, as they are on the wire; nothing here knows what they are for.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use json_patch::PatchOperation;
use kube::core::{ApiResource, Status};
use serde_json::{Value, json};

use cutover::effect::protocol::{JsonPatch, Object, Write};

/// A request that was refused.
pub type Refused = Box<Status>;

/// Objects of one namespace, by plural and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApiServer {
    pub objects: BTreeMap<(String, String), Value>,
    /// How often each object was written, and each name created: the next resourceVersions and uids.
    pub versions: BTreeMap<String, u64>,
}

/// A refusal in the words of the API server.
fn refused(code: u16, reason: &str, message: String) -> Refused {
    Box::new(Status::failure(&message, reason).with_code(code))
}

/// What an object is called in messages.
fn said(resource: &ApiResource, name: &str) -> String {
    let group = if resource.group.is_empty() { String::new() } else { format!(".{}", resource.group) };
    format!("{}{group} \"{name}\"", resource.plural)
}

fn not_found(resource: &ApiResource, name: &str) -> Refused {
    refused(404, "NotFound", format!("{} not found", said(resource, name)))
}

fn conflict(resource: &ApiResource, name: &str, why: &str) -> Refused {
    refused(409, "Conflict", format!("Operation cannot be fulfilled on {}: {why}", said(resource, name)))
}

fn modified(resource: &ApiResource, name: &str) -> Refused {
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    conflict(resource, name, why)
}

fn invalid(message: &str) -> Refused {
    refused(422, "Invalid", message.to_owned())
}

fn text<'a>(object: &'a Value, path: &str) -> Option<&'a str> {
    object.pointer(path)?.as_str()
}

fn finalizers(object: &Value) -> Vec<&Value> {
    object.pointer("/metadata/finalizers").and_then(Value::as_array).into_iter().flatten().collect()
}

fn is_going(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
}

impl ApiServer {
    /// One that holds nothing, after so many writes.
    pub fn after(versions: BTreeMap<String, u64>) -> Self {
        Self { objects: BTreeMap::new(), versions }
    }

    /// Puts an object in place as it is.
    pub fn hold(&mut self, plural: &str, object: Value) {
        let name = text(&object, "/metadata/name").unwrap_or_default().to_owned();
        self.objects.insert((plural.to_owned(), name), object);
    }

    /// An object, if it is there.
    pub fn get(&self, resource: &ApiResource, name: &str) -> Result<&Value, Refused> {
        let found = self.objects.get(&(resource.plural.clone(), name.to_owned()));
        found.ok_or_else(|| not_found(resource, name))
    }

    /// The objects of a kind that a field selector selects.
    pub fn list(&self, resource: &ApiResource, fields: &str) -> Result<Vec<Value>, Refused> {
        let terms = fields.split(',').filter(|term| !term.is_empty()).map(|term| {
            let (field, value, equal) = match term.split_once("!=") {
                Some((field, value)) => (field, value, false),
                None => {
                    let (field, value) = term.split_once('=').unwrap_or((term, ""));
                    (field, value.trim_start_matches('='), true)
                }
            };
            if !["metadata.name", "metadata.namespace"].contains(&field) && !selectable(&resource.plural, field) {
                return Err(refused(400, "BadRequest", format!("field label not supported: {field}")));
            }
            Ok((format!("/{}", field.replace('.', "/")), value, equal))
        });
        let terms: Vec<_> = terms.collect::<Result<_, _>>()?;
        let all = self.objects.iter().filter(|((plural, _), _)| *plural == resource.plural).map(|(_, object)| object);
        // A field that is not there is empty.
        let fits = |o: &&Value| terms.iter().all(|(at, value, equal)| (text(o, at).unwrap_or("") == *value) == *equal);
        Ok(all.filter(fits).cloned().collect())
    }

    /// Carries a write out; answered is the object as it is then.
    pub fn send(&mut self, write: &Write) -> Result<Value, Refused> {
        match write {
            Write::Create(object, body) => self.create(object, body),
            Write::Patch(object, patch) => self.patch(object, patch),
            Write::ReplaceStatus(object, body) => self.replace_status(object, body),
            Write::Delete { object, uid, resource_version } => self.delete(object, uid, resource_version.as_deref()),
        }
    }

    fn next(&mut self, of: String) -> u64 {
        let n = self.versions.entry(of).or_insert(0);
        *n += 1;
        *n
    }

    fn create(&mut self, Object { resource, name }: &Object, body: &Value) -> Result<Value, Refused> {
        if self.get(resource, name).is_ok() {
            return Err(refused(409, "AlreadyExists", format!("{} already exists", said(resource, name))));
        }
        let mut object = body.clone();
        object["metadata"]["name"] = name.as_str().into();
        object["metadata"]["uid"] =
            format!("{name}-uid-{}", self.next(format!("{}-uids/{name}", resource.plural))).into();
        // A status is written by itself.
        if let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
        Ok(self.store(resource, name, object))
    }

    /// All of its operations, or none. What they make of the object is then an update like any other.
    fn patch(&mut self, Object { resource, name }: &Object, patch: &JsonPatch) -> Result<Value, Refused> {
        let before = self.get(resource, name)?.clone();
        let operations: Vec<PatchOperation> = serde_json::from_value(patch.operations())
            .map_err(|e| refused(400, "BadRequest", format!("error decoding patch: {e}")))?;
        let mut after = before.clone();
        json_patch::patch(&mut after, &operations)
            .map_err(|_| invalid("the server rejected our request due to an error in our request"))?;
        if after["metadata"]["uid"] != before["metadata"]["uid"] {
            return Err(invalid(&format!("{} is invalid: metadata.uid: field is immutable", said(resource, name))));
        }
        // The status has an address of its own.
        after["status"] = before["status"].clone();
        self.update(resource, name, &before, after)
    }

    fn replace_status(&mut self, Object { resource, name }: &Object, body: &Value) -> Result<Value, Refused> {
        let before = self.get(resource, name)?.clone();
        let mut after = before.clone();
        for tested in ["uid", "resourceVersion"] {
            if let Some(given) = body["metadata"].get(tested) {
                after["metadata"][tested] = given.clone();
            }
        }
        after["status"] = body["status"].clone();
        self.update(resource, name, &before, after)
    }

    fn update(
        &mut self,
        resource: &ApiResource,
        name: &str,
        before: &Value,
        mut after: Value,
    ) -> Result<Value, Refused> {
        let (uid, has) = (text(&after, "/metadata/uid"), text(before, "/metadata/uid"));
        if uid != has {
            let (uid, has) = (uid.unwrap_or_default(), has.unwrap_or_default());
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {has}");
            return Err(conflict(resource, name, &why));
        }
        if text(&after, "/metadata/resourceVersion") != text(before, "/metadata/resourceVersion") {
            return Err(modified(resource, name));
        }
        if is_going(before) && finalizers(&after).iter().any(|f| !finalizers(before).contains(f)) {
            let why = "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted";
            return Err(invalid(&format!("{} is invalid: {why}", said(resource, name))));
        }
        if after["status"].is_null()
            && let Some(map) = after.as_object_mut()
        {
            map.remove("status");
        }
        if is_going(&after) && finalizers(&after).is_empty() {
            self.objects.remove(&(resource.plural.clone(), name.to_owned()));
            return Ok(after);
        }
        // What changes nothing is not written.
        if after == *before {
            return Ok(after);
        }
        Ok(self.store(resource, name, after))
    }

    fn delete(
        &mut self,
        Object { resource, name }: &Object,
        uid: &str,
        resource_version: Option<&str>,
    ) -> Result<Value, Refused> {
        let mut object = self.get(resource, name)?.clone();
        let has = text(&object, "/metadata/uid").unwrap_or_default();
        if has != uid {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {has}");
            return Err(conflict(resource, name, &why));
        }
        let has = text(&object, "/metadata/resourceVersion").unwrap_or_default();
        if let Some(version) = resource_version.filter(|version| *version != has) {
            let why = format!(
                "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {has}"
            );
            return Err(conflict(resource, name, &why));
        }
        if finalizers(&object).is_empty() {
            self.objects.remove(&(resource.plural.clone(), name.to_owned()));
            return Ok(object);
        }
        if is_going(&object) {
            return Ok(object);
        }
        object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        Ok(self.store(resource, name, object))
    }

    fn store(&mut self, resource: &ApiResource, name: &str, mut object: Value) -> Value {
        let version = self.next(format!("{}/{name}", resource.plural));
        object["metadata"]["resourceVersion"] = version.to_string().into();
        self.hold(&resource.plural, object.clone());
        object
    }

    /// What the controllers of the cluster do next: a Job that is not suspended gets its pod.
    pub fn controllers(&mut self) {
        let jobs = self.objects.iter().filter(|((plural, _), _)| plural == "jobs").map(|((_, name), job)| (name, job));
        let runs = jobs.filter(|(_, job)| !job.pointer("/spec/suspend").and_then(Value::as_bool).unwrap_or(false));
        let pods: Vec<Value> = runs
            .map(|(name, job)| {
                let owner =
                    json!({"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]});
                json!({
                    "metadata": {
                        "name": format!("{name}-abcde"), "ownerReferences": [owner],
                        "labels": {"batch.kubernetes.io/job-name": name},
                    },
                    "spec": job["spec"]["template"]["spec"],
                })
            })
            .collect();
        pods.into_iter().for_each(|pod| self.hold("pods", pod));
    }

    /// The pods that a Job has.
    pub fn pods_of(&self, job: &str) -> usize {
        let all = self.objects.iter().filter(|((plural, _), _)| plural == "pods");
        all.filter(|(_, pod)| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job).count()
    }
}

/// Whether the definition of a kind lets its objects be selected by a field.
fn selectable(plural: &str, field: &str) -> bool {
    static FIELDS: OnceLock<BTreeMap<String, Vec<String>>> = OnceLock::new();
    let fields = FIELDS.get_or_init(|| {
        let all = cutover::api::crd::all().expect("the definitions can be made");
        let of = |crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
            let fields = crd.spec.versions.into_iter().flat_map(|v| v.selectable_fields.unwrap_or_default());
            (crd.spec.names.plural, fields.map(|f| f.json_path.trim_start_matches('.').to_owned()).collect())
        };
        all.into_iter().map(of).collect()
    });
    fields.get(plural).is_some_and(|all| all.iter().any(|f| f == field))
}
