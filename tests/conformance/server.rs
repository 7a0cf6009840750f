//! Either server, asked in the same way.

use std::process::Command;
use std::time::{Duration, Instant};

use cutover::effect::protocol::{Object, Write};
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::core::{ApiResource, Status};
use serde_json::{Value, json};

use crate::apiserver::ApiServer;

/// In whose name everything is written: the policies of `deploy/` may be there, and admit the operator alone.
const OPERATOR: &str = "system:serviceaccount:cutover-system:cutover-operator";

/// A server.
pub enum Server {
    Simulated(ApiServer),
    Real(Real),
}

/// A namespace of a real one.
pub struct Real {
    client: Client,
    namespace: String,
}

/// Code, reason and body of an answer.
pub type Answer = (u16, String, Value);

fn refused(status: &Status) -> Answer {
    (status.code, status.reason.clone(), Value::Null)
}

impl Real {
    /// None where no cluster is given.
    pub async fn open() -> Option<Self> {
        std::env::var_os("KUBECONFIG")?;
        kubectl(&["apply", "--server-side", "--force-conflicts", "-k", "crds"]);
        for kind in ["cutoverruns", "cutoverdecisions"] {
            let definition = format!("crd/{kind}.cutover.dev");
            kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &definition]);
        }
        let client = Client::try_default().await.expect("KUBECONFIG names a cluster");
        let namespace = format!("conformance-{}", std::process::id());
        kubectl(&["create", "namespace", &namespace]);
        Some(Self { client, namespace })
    }

    fn path(&self, resource: &ApiResource) -> String {
        let root = if resource.group.is_empty() { "api" } else { "apis" };
        format!("/{root}/{}/namespaces/{}/{}", resource.api_version, self.namespace, resource.plural)
    }

    async fn ask(&self, method: Method, path: &str, content: &str, body: Option<&Value>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", content)
            .header("Impersonate-User", OPERATOR)
            .header("Impersonate-Group", "system:masters")
            .body(Body::from(body.map(Value::to_string).unwrap_or_default().into_bytes()))
            .expect("a request can be built");
        let answer = self.client.send(request).await.expect("the API server answers");
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("an answer ends").to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let reason = if code < 400 { "" } else { body["reason"].as_str().unwrap_or_default() };
        (code, reason.to_owned(), body)
    }

    async fn send(&self, write: &Write) -> Answer {
        let json = "application/json";
        match write {
            Write::Create(Object { resource, .. }, body) => {
                self.ask(Method::POST, &self.path(resource), json, Some(body)).await
            }
            Write::Patch(Object { resource, name }, patch) => {
                let path = format!("{}/{name}", self.path(resource));
                self.ask(Method::PATCH, &path, "application/json-patch+json", Some(&patch.operations())).await
            }
            Write::ReplaceStatus(Object { resource, name }, body) => {
                let path = format!("{}/{name}/status", self.path(resource));
                self.ask(Method::PUT, &path, json, Some(body)).await
            }
            Write::Delete { object: Object { resource, name }, uid, resource_version } => {
                let mut preconditions = json!({"uid": uid});
                if let Some(version) = resource_version {
                    preconditions["resourceVersion"] = version.as_str().into();
                }
                let body = json!({
                    "apiVersion": "v1", "kind": "DeleteOptions",
                    "propagationPolicy": "Background", "preconditions": preconditions,
                });
                self.ask(Method::DELETE, &format!("{}/{name}", self.path(resource)), json, Some(&body)).await
            }
        }
    }

    async fn get(&self, Object { resource, name }: &Object) -> Option<Value> {
        let path = format!("{}/{name}", self.path(resource));
        let (code, _, body) = self.ask(Method::GET, &path, "application/json", None).await;
        (code == 200).then_some(body)
    }

    async fn list(&self, resource: &ApiResource, selector: &str) -> Answer {
        let path = format!("{}?{}", self.path(resource), selector.replace('!', "%21"));
        self.ask(Method::GET, &path, "application/json", None).await
    }
}

impl Server {
    pub fn simulated() -> Self {
        Self::Simulated(ApiServer::default())
    }

    /// Sends a write.
    pub async fn send(&mut self, write: &Write) -> Answer {
        match self {
            Self::Real(real) => real.send(write).await,
            Self::Simulated(server) => match server.send(write) {
                Ok(object) => (if matches!(write, Write::Create(..)) { 201 } else { 200 }, String::new(), object),
                Err(status) => refused(&status),
            },
        }
    }

    /// Reads an object.
    pub async fn get(&self, object: &Object) -> Option<Value> {
        match self {
            Self::Real(real) => real.get(object).await,
            Self::Simulated(server) => server.get(&object.resource, &object.name).ok().cloned(),
        }
    }

    /// Code, reason and names of what a field selector selects.
    pub async fn list(&self, resource: &ApiResource, fields: &str) -> (u16, String, Vec<String>) {
        let (code, reason, items) = match self {
            Self::Real(real) => {
                let fields = fields.replace('=', "%3D").replace(',', "%2C");
                let (code, reason, body) = real.list(resource, &format!("fieldSelector={fields}")).await;
                (code, reason, body["items"].as_array().cloned().unwrap_or_default())
            }
            Self::Simulated(server) => match server.list(resource, fields) {
                Ok(items) => (200, String::new(), items),
                Err(status) => (status.code, status.reason.clone(), vec![]),
            },
        };
        let mut names: Vec<String> =
            items.iter().filter_map(|o| o["metadata"]["name"].as_str()).map(str::to_owned).collect();
        names.sort();
        (code, reason, names)
    }

    /// How many pods a Job has once its controller has looked at it: as many as are `expected`, if that many ever come.
    pub async fn pods_of(&mut self, job: &Object, expected: usize) -> usize {
        match self {
            Self::Simulated(server) => {
                server.controllers();
                server.pods_of(&job.name)
            }
            Self::Real(real) => {
                let limit = Instant::now() + Duration::from_secs(30);
                loop {
                    let found = real.get(job).await.unwrap_or_default();
                    let looked_at = match found["spec"]["suspend"].as_bool() {
                        // The controller writes it once it has seen that the Job is suspended.
                        Some(true) => found["status"]["conditions"]
                            .as_array()
                            .is_some_and(|all| all.iter().any(|c| c["type"] == "Suspended" && c["status"] == "True")),
                        _ => true,
                    };
                    let pods = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
                    let selector = format!("labelSelector=batch.kubernetes.io/job-name%3D{}", job.name);
                    let (_, _, body) = real.list(&pods, &selector).await;
                    let count = body["items"].as_array().map_or(0, Vec::len);
                    if looked_at && count == expected || Instant::now() > limit {
                        return count;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Removes what was made.
    pub fn close(self) {
        if let Self::Real(real) = self {
            kubectl(&["delete", "namespace", &real.namespace, "--wait=false"]);
        }
    }
}

fn kubectl(args: &[&str]) {
    let output = Command::new("kubectl").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.expect("kubectl is in the PATH (tests/cluster/cluster exec puts it there)");
    assert!(output.status.success(), "kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
}
