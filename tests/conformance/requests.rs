//! The requests, and what is noted of their answers: code and reason, whether the object has changed, whether its
//! resourceVersion has moved, and whether it is there at all.

use cutover::api::run::CutoverRun;
use cutover::api::{ANNOTATION_FENCE, CutoverDecision};
use cutover::effect::protocol::{JsonPatch, Object, Write, escaped};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::server::Server;

/// One object under test, and the lines about it.
struct Subject<'a> {
    server: &'a mut Server,
    object: Object,
    lines: &'a mut Vec<String>,
    /// Others write it, too: its resourceVersion says nothing.
    busy: bool,
}

/// What of an object its own writers write; the rest is the server's.
fn content(object: Option<&Value>) -> Value {
    let Some(object) = object else { return Value::Null };
    let meta = &object["metadata"];
    let going = meta.get("deletionTimestamp").is_some();
    json!({
        "annotations": meta["annotations"], "finalizers": meta["finalizers"], "going": going,
        "selector": object["spec"]["selector"], "suspend": object["spec"]["suspend"], "state": object["status"]["state"],
    })
}

fn text(object: Option<&Value>, key: &str) -> String {
    object.and_then(|o| o["metadata"][key].as_str()).unwrap_or_default().to_owned()
}

impl Subject<'_> {
    async fn now(&self) -> Option<Value> {
        self.server.get(&self.object).await
    }

    async fn uid(&self) -> String {
        text(self.now().await.as_ref(), "uid")
    }

    async fn version(&self) -> String {
        text(self.now().await.as_ref(), "resourceVersion")
    }

    async fn send(&mut self, what: &str, write: Write) {
        let before = self.now().await;
        let (code, reason, _) = self.server.send(&write).await;
        let after = self.now().await;
        let mut line = format!("{} {}: {what}: {code} {reason}", self.object.resource.kind, self.object.name);
        line.truncate(line.trim_end().len());
        line.push_str(match (&before, &after) {
            (_, None) => ", it is not there",
            (None, Some(_)) => ", it is there",
            (Some(_), Some(_)) if content(before.as_ref()) == content(after.as_ref()) => ", it is as it was",
            (Some(_), Some(_)) => ", it has changed",
        });
        let version = |of: &Option<Value>| text(of.as_ref(), "resourceVersion");
        if !self.busy && before.is_some() && after.is_some() {
            let moved = version(&before) != version(&after);
            line.push_str(if moved { ", the resourceVersion has moved" } else { ", the resourceVersion stands" });
        }
        self.lines.push(line);
    }

    async fn patch(&mut self, what: &str, patch: JsonPatch) {
        let write = Write::Patch(self.object.clone(), patch);
        self.send(what, write).await;
    }

    async fn create(&mut self, what: &str, mut body: Value) {
        let (resource, name) = (self.object.resource.clone(), self.object.name.clone());
        body["apiVersion"] = resource.api_version.into();
        body["kind"] = resource.kind.into();
        body["metadata"]["name"] = name.into();
        let write = Write::Create(self.object.clone(), body);
        self.send(what, write).await;
    }

    async fn delete(&mut self, what: &str, uid: &str, resource_version: Option<String>) {
        let write = Write::Delete { object: self.object.clone(), uid: uid.to_owned(), resource_version };
        self.send(what, write).await;
    }

    /// Replaces the status of a run.
    async fn status(&mut self, what: &str, uid: &str, resource_version: &str, state: &str) {
        let mut body = self.now().await.unwrap_or_else(|| {
            json!({
                "apiVersion": self.object.resource.api_version, "kind": self.object.resource.kind,
                "metadata": {"name": self.object.name}, "spec": run(),
            })
        });
        body["metadata"]["uid"] = uid.into();
        body["metadata"]["resourceVersion"] = resource_version.into();
        body["status"] = json!({"state": state});
        let write = Write::ReplaceStatus(self.object.clone(), body);
        self.send(what, write).await;
    }
}

fn run() -> Value {
    json!({"cutover": "web", "cutoverUID": "u", "planVersion": 1, "plan": {}})
}

fn selector(side: &str) -> Value {
    json!({"app": "web", "side": side})
}

/// Sends everything; a line for each request.
pub async fn all(server: &mut Server) -> Vec<String> {
    let mut lines = vec![];
    service(server, &mut lines).await;
    runs(server, &mut lines).await;
    fields(server, &mut lines).await;
    jobs(server, &mut lines).await;
    lines
}

/// Patches and their tests.
async fn service(server: &mut Server, lines: &mut Vec<String>) {
    let mut s = Subject { server, object: Object::of::<Service>("web"), lines, busy: false };
    let body = json!({"spec": {"selector": selector("blue"), "ports": [{"name": "http", "port": 80}]}});
    s.patch("a patch before it is there", JsonPatch::default().add("/metadata/annotations", json!({"a": "b"}))).await;
    s.create("created", body.clone()).await;
    s.create("created again", body.clone()).await;
    let (uid, first) = (s.uid().await, s.version().await);
    let at = "/spec/selector";
    let tested = JsonPatch::of(&uid).version(&first).test(at, selector("blue"));
    s.patch("tests that hold, another selector", tested.clone().add(at, selector("green"))).await;
    s.patch("the same patch again", tested.add(at, selector("green"))).await;
    s.patch("a uid that is another", JsonPatch::of("another").add(at, selector("blue"))).await;
    s.patch("a resourceVersion that is over", JsonPatch::of(&uid).version(&first).add(at, selector("blue"))).await;
    s.patch("a selector that is another", JsonPatch::of(&uid).test(at, selector("red")).add(at, selector("blue")))
        .await;
    s.patch("a part of the selector", JsonPatch::of(&uid).test(at, json!({"side": "green"}))).await;
    s.patch("a test of what is not there", JsonPatch::default().test("/spec/nothing", "x")).await;
    s.patch("a test that fails at the end", JsonPatch::default().add(at, selector("blue")).test(at, selector("red")))
        .await;
    s.patch("what is not there is replaced", JsonPatch::default().replace("/metadata/annotations/a", "b")).await;
    s.patch("what is not there is removed", JsonPatch::default().remove("/metadata/annotations")).await;
    let fence = format!("/metadata/annotations/{}", escaped(ANNOTATION_FENCE));
    s.patch("a member of a map that is not there", JsonPatch::default().add(&fence, "f")).await;
    s.patch("the map", JsonPatch::of(&uid).add("/metadata/annotations", json!({"a": "b"}))).await;
    s.patch("a member of the map", JsonPatch::of(&uid).test("/metadata/annotations/a", "b").add(&fence, "f")).await;
    s.patch("what is there already", JsonPatch::of(&uid).add(at, selector("green")).add(&fence, "f")).await;
    s.patch("no operation", JsonPatch::default()).await;
    s.patch("only tests", JsonPatch::of(&uid).test(at, selector("green"))).await;
    let stale = JsonPatch::default().replace("/metadata/resourceVersion", first.as_str()).add(at, selector("blue"));
    s.patch("a resourceVersion that is over, written", stale).await;
    let other = JsonPatch::default().replace("/metadata/uid", "another").add(at, selector("blue"));
    s.patch("another uid, written", other).await;
    s.delete("deleted by another uid", "another", None).await;
    s.delete("deleted by a resourceVersion that is over", &uid, Some(first)).await;
    let now = s.version().await;
    s.delete("deleted by uid and resourceVersion", &uid, Some(now)).await;
    s.delete("deleted again", &uid, None).await;
    s.patch("a patch after that", JsonPatch::of(&uid).add(at, selector("blue"))).await;
    s.create("created anew", body).await;
    let again = s.uid().await;
    s.lines.push(format!("Service web: the uid is {}", if again == uid { "the same" } else { "another" }));
    s.patch("a patch of the one before", JsonPatch::of(&uid).add(at, selector("green"))).await;
}

/// The status and its address; finalizers.
async fn runs(server: &mut Server, lines: &mut Vec<String>) {
    let mut s = Subject { server, object: Object::of::<CutoverRun>("web-1"), lines, busy: false };
    s.create("created, with a status", json!({"spec": run(), "status": {"state": "Closed"}})).await;
    let (uid, first) = (s.uid().await, s.version().await);
    let stored = s.now().await.unwrap_or_default();
    s.lines.push(format!("CutoverRun web-1: the state is {}", stored["status"]["state"]));
    s.status("its status", &uid, &first, "Active").await;
    s.status("its status, by a resourceVersion that is over", &uid, &first, "Closed").await;
    let now = s.version().await;
    s.status("its status, by another uid", "another", &now, "Closed").await;
    s.status("the same status", &uid, &now, "Active").await;
    s.patch("the status with the rest", JsonPatch::of(&uid).add("/status/state", "Closed")).await;
    let list = "/metadata/finalizers";
    s.patch("a finalizer", JsonPatch::of(&uid).add(list, json!(["example.com/held"]))).await;
    s.delete("deleted while it is held", &uid, None).await;
    s.delete("deleted again", &uid, None).await;
    let more = JsonPatch::of(&uid).add(&format!("{list}/-"), "example.com/late");
    s.patch("another finalizer", more).await;
    s.patch("an annotation", JsonPatch::of(&uid).add("/metadata/annotations", json!({"a": "b"}))).await;
    let now = s.version().await;
    s.status("its status, though it is going", &uid, &now, "Closed").await;
    let first_of = format!("{list}/0");
    s.patch("a finalizer that is not there", JsonPatch::default().test(&first_of, "x").remove(&first_of)).await;
    s.patch("no finalizer", JsonPatch::default().test(&first_of, "example.com/held").remove(&first_of)).await;
    s.status("the status of what is gone", &uid, &now, "Closed").await;
}

/// Fields by which objects can be selected.
async fn fields(server: &mut Server, lines: &mut Vec<String>) {
    for (name, state) in [("none", None), ("active", Some("Active")), ("closed", Some("Closed"))] {
        let mut s = Subject { server, object: Object::of::<CutoverRun>(name), lines, busy: false };
        s.create("created", json!({"spec": run()})).await;
        if let Some(state) = state {
            let (uid, version) = (s.uid().await, s.version().await);
            s.status("its status", &uid, &version, state).await;
        }
    }
    let runs = ApiResource::erase::<CutoverRun>(&());
    let decisions = ApiResource::erase::<CutoverDecision>(&());
    let services = ApiResource::erase::<Service>(&());
    for (resource, fields) in [
        (&runs, ""),
        (&runs, "status.state!=Closed"),
        (&runs, "status.state=Closed"),
        (&runs, "status.state=Closed,metadata.name=active"),
        (&runs, "metadata.name=none"),
        (&runs, "status.phase=Pending"),
        (&decisions, "spec.runUID=u,status.state!=Answered"),
        (&decisions, "spec.by=jane"),
        (&services, "metadata.name=web"),
        (&services, "spec.selector=web"),
    ] {
        let (code, reason, names) = server.list(resource, fields).await;
        let answer = format!("{code} {reason}");
        lines.push(format!("{} where {fields:?}: {}: {}", resource.kind, answer.trim_end(), names.join(", ")));
    }
}

/// Suspended Jobs, and one that is started.
async fn jobs(server: &mut Server, lines: &mut Vec<String>) {
    let mut s = Subject { server, object: Object::of::<Job>("migrate"), lines, busy: true };
    let container = json!({"name": "main", "image": "docker.io/cutover/busybox:1", "command": ["true"]});
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container]}});
    let body = json!({"spec": {"suspend": true, "template": template}});
    s.create("created suspended", body.clone()).await;
    s.create("created again", body).await;
    let (uid, first) = (s.uid().await, s.version().await);
    let pods = s.server.pods_of(&s.object, 0).await;
    s.lines.push(format!("Job migrate: {pods} pods"));
    let start = |uid: &str| JsonPatch::of(uid).test("/spec/suspend", true).replace("/spec/suspend", false);
    s.patch("started by another uid", start("another")).await;
    s.patch("started", start(&uid)).await;
    let pods = s.server.pods_of(&s.object, 1).await;
    s.lines.push(format!("Job migrate: {pods} pods"));
    s.patch("started again", start(&uid)).await;
    s.delete("deleted by the resourceVersion before it was started", &uid, Some(first)).await;
    s.delete("deleted by another uid", "another", None).await;
    s.delete("deleted", &uid, None).await;
    s.delete("deleted again", &uid, None).await;
}
