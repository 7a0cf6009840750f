//! A connection to the API server: plain requests under any name, so that the answers are those a person would get.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};

/// The account of the operator as deployed.
pub const OPERATOR: &str = "system:serviceaccount:cutover-system:cutover-operator";

/// A namespace of its own for a test, with the definitions and policies installed.
pub struct Cluster {
    client: Client,
    /// The namespace, as a tenant has it.
    pub namespace: String,
}

impl Cluster {
    /// Installs what is under test; none where no cluster is given and CUTOVER_E2E=skip.
    pub async fn open(test: &str) -> Option<Self> {
        if std::env::var_os("KUBECONFIG").is_none() {
            let said = std::env::var("CUTOVER_E2E").is_ok_and(|v| v == "skip");
            assert!(said, "{test}: KUBECONFIG is not set: run `make test`, or `make test-unit` without a cluster");
            println!("skipped: {test}: no cluster given, and CUTOVER_E2E=skip");
            return None;
        }
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            kubectl(&["apply", "--server-side", "--force-conflicts", "-k", "deploy/overlays/dev"], None);
        });
        let client = Client::try_default().await.expect("KUBECONFIG names a cluster");
        let cluster = Self { client, namespace: format!("admission-{test}-{}", std::process::id()) };
        kubectl(&["create", "namespace", &cluster.namespace], None);
        let tenant = kubectl(&["kustomize", "deploy/tenant"], None);
        let tenant = tenant.replace("namespace: prod\n", &format!("namespace: {}\n", cluster.namespace));
        kubectl(&["apply", "-f", "-"], Some(&tenant));
        cluster.policies_are_active().await;
        Some(cluster)
    }

    /// Policies take effect a moment after they are written.
    async fn policies_are_active(&self) {
        let limit = Instant::now() + Duration::from_secs(30);
        let probes = [
            ("cutoverruns", json!({"spec": {"cutover": "x", "cutoverUID": "x", "planVersion": 1, "plan": {}}})),
            ("cutoverdecisions", json!({"spec": {"cutover": "x", "runUID": "x", "decision": "Abort", "by": "x"}})),
        ];
        for (resource, body) in probes {
            // The group lets the stranger past RBAC, so that only a policy can refuse.
            loop {
                let answer = self.post_as_master(resource, "stranger", &named(body.clone(), resource, "probe")).await;
                match answer {
                    Err(text) if text.contains("ValidatingAdmissionPolicy") => break,
                    other => assert!(Instant::now() < limit, "the policy on {resource} is not active: {other:?}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Asks again until the answer is a refusal: policies take effect a moment after they are written.
    pub async fn refused_soon(&self, what: &str, ask: impl AsyncFn() -> Result<Value, String>) -> String {
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            match ask().await {
                Err(text) => return text,
                Ok(_) => assert!(Instant::now() < limit, "{what} is admitted"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn post_as_master(&self, resource: &str, user: &str, body: &Value) -> Result<Value, String> {
        let path = format!("{}?dryRun=All", self.path(resource));
        self.request(Method::POST, &path, Some(user), Some("system:masters"), "application/json", body).await
    }

    /// The path of a kind of the group in the namespace.
    pub fn path(&self, resource: &str) -> String {
        format!("/apis/cutover.dev/v1alpha1/namespaces/{}/{resource}", self.namespace)
    }

    /// Sends a request, as `user` where one is given; the error is the API server's message.
    async fn request(
        &self,
        method: Method,
        path: &str,
        user: Option<&str>,
        group: Option<&str>,
        content: &str,
        body: &Value,
    ) -> Result<Value, String> {
        let mut request = Request::builder().method(method).uri(path).header("Content-Type", content);
        if let Some(user) = user {
            request = request.header("Impersonate-User", user);
        }
        if let Some(group) = group {
            request = request.header("Impersonate-Group", group);
        }
        let request = request.body(body.to_string().into_bytes()).expect("a request can be built");
        match self.client.request::<Value>(request).await {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(other) => panic!("{path}: {other}"),
        }
    }

    /// Creates an object as strict clients do, without keeping it.
    pub async fn dry_create(&self, user: Option<&str>, resource: &str, body: &Value) -> Result<Value, String> {
        let path = format!("{}?dryRun=All&fieldValidation=Strict", self.path(resource));
        self.request(Method::POST, &path, user, None, "application/json", body).await
    }

    /// Creates an object.
    pub async fn create(&self, user: Option<&str>, resource: &str, body: &Value) -> Result<Value, String> {
        self.request(Method::POST, &self.path(resource), user, None, "application/json", body).await
    }

    /// Merges `body` into `resource/name` or a subresource of it.
    pub async fn merge(&self, user: Option<&str>, object: &str, body: &Value) -> Result<Value, String> {
        self.request(Method::PATCH, &self.path(object), user, None, "application/merge-patch+json", body).await
    }

    /// Deletes an object after its dependents.
    pub async fn delete(&self, user: Option<&str>, object: &str) -> Result<Value, String> {
        let options = json!({"propagationPolicy": "Foreground"});
        self.request(Method::DELETE, &self.path(object), user, None, "application/json", &options).await
    }

    /// Whether the object exists.
    pub async fn exists(&self, object: &str) -> bool {
        self.request(Method::GET, &self.path(object), None, None, "application/json", &Value::Null).await.is_ok()
    }

    /// Creates any object of the core API without keeping it.
    pub async fn dry_create_at(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.request(Method::POST, &format!("{path}?dryRun=All"), None, None, "application/json", body).await
    }

    /// Whether RBAC allows it.
    pub async fn allowed(&self, user: &str, attributes: Value) -> bool {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": attributes},
        });
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let answer = self.request(Method::POST, path, None, None, "application/json", &review).await;
        answer.expect("access can be reviewed")["status"]["allowed"] == json!(true)
    }

    /// Gives a user a Role of `deploy/tenant`, or one made for the test.
    pub fn bind(&self, user: &str, role: &str) {
        let name = format!("{user}-{role}");
        let role = format!("--role={role}");
        let args = ["create", "rolebinding", &name, &role, &format!("--user={user}"), "-n", &self.namespace];
        kubectl(&args, None);
    }

    /// Gives a Role of `deploy/tenant` to a group, or to a ServiceAccount of the namespace (`flag`: group, serviceaccount).
    pub fn bind_to(&self, flag: &str, name: &str, role: &str) {
        let (binding, role) = (format!("{name}-{role}"), format!("--role={role}"));
        let subject = if flag == "group" { name.to_owned() } else { format!("{}:{name}", self.namespace) };
        let subject = format!("--{flag}={subject}");
        kubectl(&["create", "rolebinding", &binding, &role, &subject, "-n", &self.namespace], None);
    }

    /// The user name of a ServiceAccount of the namespace.
    pub fn account(&self, name: &str) -> String {
        format!("system:serviceaccount:{}:{name}", self.namespace)
    }

    /// Creates an object without keeping it, as a user of a group.
    pub async fn dry_create_in_group(
        &self,
        (user, group): (&str, &str),
        resource: &str,
        body: &Value,
    ) -> Result<Value, String> {
        let path = format!("{}?dryRun=All", self.path(resource));
        self.request(Method::POST, &path, Some(user), Some(group), "application/json", body).await
    }

    /// Creates an object that is in no namespace, without keeping it.
    pub async fn dry_create_wide(&self, user: &str, resource: &str, body: &Value) -> Result<Value, String> {
        let path = format!("/apis/cutover.dev/v1alpha1/{resource}?dryRun=All");
        self.request(Method::POST, &path, Some(user), None, "application/json", body).await
    }

    /// Gives a user every right that RBAC can give on the group's kinds, but no verb of people and no account.
    pub fn give_all_writes(&self, user: &str) {
        let manifest = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "all-writes", "namespace": self.namespace},
            "rules": [{
                "apiGroups": ["cutover.dev"], "resources": ["cutovers", "cutovers/status", "cutoverruns",
                    "cutoverruns/status", "cutoverruns/finalizers", "cutoverdecisions",
                    "cutoverdecisions/status", "cutovertemplates"],
                "verbs": ["get", "create", "update", "patch", "delete"],
            }],
        });
        kubectl(&["apply", "-f", "-"], Some(&manifest.to_string()));
        self.bind(user, "all-writes");
    }

    /// Waits until the object is gone; the garbage collector does the work.
    pub async fn await_gone(&self, object: &str) {
        let limit = Instant::now() + Duration::from_secs(60);
        while self.exists(object).await {
            assert!(Instant::now() < limit, "{object} is still there");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Removes the namespace; the cluster does so in its own time.
    pub fn close(self) {
        kubectl(&["delete", "namespace", &self.namespace, "--wait=false"], None);
    }

    /// Removes the namespace with all that is in it and waits for the end.
    pub fn close_and_wait(self) {
        kubectl(&["delete", "namespace", &self.namespace, "--timeout=90s"], None);
    }
}

/// A file of the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Gives a body its kind and a name.
pub fn named(mut body: Value, resource: &str, name: &str) -> Value {
    let kind = match resource {
        "cutovers" => "Cutover",
        "cutoverruns" => "CutoverRun",
        "cutovertemplates" => "CutoverTemplate",
        "clustercutovertemplates" => "ClusterCutoverTemplate",
        _ => "CutoverDecision",
    };
    body["apiVersion"] = json!("cutover.dev/v1alpha1");
    body["kind"] = json!(kind);
    body["metadata"]["name"] = json!(name);
    body
}

/// Runs kubectl in the project's folder; its output.
pub fn kubectl(args: &[&str], input: Option<&str>) -> String {
    let mut child = Command::new("kubectl")
        .args(args)
        .current_dir(project(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl is in the PATH (tests/cluster/cluster exec puts it there)");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin.write_all(input.unwrap_or_default().as_bytes()).expect("kubectl reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("kubectl ends");
    assert!(output.status.success(), "kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
