//! The few things the demonstration does with the API server. It acts as the user does, with the user's rights.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

use crate::scene::documents;

/// Field manager of what is applied, as a delivery pipeline would have one.
const DELIVERY: &str = "delivery";
const POLL: Duration = Duration::from_millis(250);

/// A cluster and the namespace of the demonstration in it.
#[derive(Clone)]
pub struct Cluster {
    /// The client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Cluster {
    /// Connects as the kubeconfig says and sees whether somebody answers.
    pub async fn connect(namespace: &str) -> Result<Self> {
        let client = Client::try_default().await.context("no cluster: set KUBECONFIG, or run `make demo`")?;
        let version = client.apiserver_version().await.context("the API server does not answer")?;
        if version.major == "1" && version.minor.trim_end_matches('+').parse::<u32>().is_ok_and(|minor| minor < 33) {
            bail!("Kubernetes 1.{} is too old: 1.33 or later is needed", version.minor);
        }
        Ok(Self { client, namespace: namespace.to_owned() })
    }

    /// Applies an object of the namespace, as `kubectl apply --server-side` does.
    pub async fn apply(&self, object: &Value) -> Result<()> {
        let mut object = object.clone();
        object["metadata"]["namespace"] = json!(self.namespace);
        // Role bindings of example files leave the namespace of their own accounts to the one who applies them.
        for subject in object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
            if subject["kind"] == "ServiceAccount" && subject["namespace"].is_null() {
                subject["namespace"] = json!(self.namespace);
            }
        }
        let name = object["metadata"]["name"].as_str().context("an object without a name")?.to_owned();
        let params = PatchParams::apply(DELIVERY).force();
        self.api_of(&object)?
            .patch(&name, &params, &Patch::Apply(&object))
            .await
            .with_context(|| format!("cannot apply {} {name}", object["kind"]))?;
        Ok(())
    }

    /// An object of the namespace as it is now, by the manifest of it.
    pub async fn get(&self, manifest: &Value) -> Result<Value> {
        let name = manifest["metadata"]["name"].as_str().context("an object without a name")?;
        let object = self.api_of(manifest)?.get(name).await;
        Ok(serde_json::to_value(object.with_context(|| format!("cannot read {} {name}", manifest["kind"]))?)?)
    }

    /// The API of the kind of an object.
    fn api_of(&self, object: &Value) -> Result<Api<DynamicObject>> {
        let (api_version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
        let (api_version, kind) = (api_version.context("no apiVersion")?, kind.context("no kind")?);
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Ok(Api::namespaced_with(self.client.clone(), &self.namespace, &resource))
    }

    /// Applies objects in their order.
    pub async fn apply_all(&self, objects: &[Value]) -> Result<()> {
        for object in objects {
            self.apply(object).await?;
        }
        Ok(())
    }

    /// Applies the files that a kustomization lists, in our namespace instead of the one that it names.
    pub async fn apply_folder(&self, folder: &Path) -> Result<()> {
        let read =
            |file: &Path| std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
        let list: Value = serde_saphyr::from_str(&read(&folder.join("kustomization.yaml"))?)?;
        for file in list["resources"].as_array().context("the kustomization lists no resources")? {
            let file = folder.join(file.as_str().context("a resource is not a file name")?);
            let mut objects = documents(&read(&file)?)?;
            for subject in objects
                .iter_mut()
                .flat_map(|o| o.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten())
            {
                if subject["namespace"] == list["namespace"] {
                    subject["namespace"] = json!(self.namespace);
                }
            }
            self.apply_all(&objects).await?;
        }
        Ok(())
    }

    /// Makes the namespace.
    pub async fn make_namespace(&self) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": self.namespace, "labels": {"app.kubernetes.io/part-of": "cutover-demo"},
        }});
        let params = PatchParams::apply(DELIVERY).force();
        api.patch(&self.namespace, &params, &Patch::Apply(&object)).await.context("cannot make the namespace")?;
        Ok(())
    }

    /// Deletes the namespace and waits until it is gone; says so when there was none.
    pub async fn delete_namespace(&self, within: Duration) -> Result<bool> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        if api.get_opt(&self.namespace).await?.is_none() {
            return Ok(false);
        }
        match api.delete(&self.namespace, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(true),
            // 409: it is already going away.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => {
                other.context("cannot delete the namespace")?;
            }
        }
        let gone = wait(within, || async { Ok(api.get_opt(&self.namespace).await?.is_none().then_some(())) }).await?;
        gone.with_context(|| format!("namespace {} is still there after {within:?}", self.namespace))?;
        Ok(true)
    }

    /// Waits until all wanted pods of a Deployment are ready and none of an older template is left.
    pub async fn wait_deployment(&self, name: &str, within: Duration) -> Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let ready = wait(within, || async { Ok(api.get_opt(name).await?.filter(is_rolled_out).map(|_| ())) }).await?;
        ready.with_context(|| format!("Deployment {name} is not ready after {within:?}"))
    }

    /// Waits until a pod is ready.
    pub async fn wait_pod(&self, name: &str, within: Duration) -> Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let ready = wait(within, || async { Ok(api.get_opt(name).await?.filter(is_ready).map(|_| ())) }).await?;
        ready.with_context(|| format!("pod {name} is not ready after {within:?}"))
    }

    /// The address of a Service.
    pub async fn service_address(&self, name: &str) -> Result<String> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let service = api.get(name).await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip).filter(|ip| ip != "None");
        let address = address.with_context(|| format!("Service {name} has no address"))?;
        Ok(if address.contains(':') { format!("[{address}]") } else { address })
    }

    /// A request to a pod or Service of the namespace through the API server, so that it works from anywhere.
    pub async fn proxy(&self, method: http::Method, to: &str, path: &str) -> Result<String> {
        let url = format!("/api/v1/namespaces/{}/{to}/proxy{path}", self.namespace);
        let request = http::Request::builder().method(method).uri(&url).body(Vec::new())?;
        self.client.request_text(request).await.with_context(|| url)
    }

    /// A GET through the API server.
    pub async fn proxy_get(&self, to: &str, path: &str) -> Result<String> {
        self.proxy(http::Method::GET, to, path).await
    }

    /// Waits until the operator runs and its kinds are known.
    pub async fn wait_operator(&self, namespace: &str, within: Duration) -> Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let ready = wait(within, || async {
            let all = api.list(&Default::default()).await?.items;
            Ok((!all.is_empty() && all.iter().all(is_rolled_out)).then_some(()))
        });
        ready.await?.with_context(|| {
            format!(
                "no operator runs in namespace {namespace}: install it with `make demo` or `kubectl apply -k deploy`"
            )
        })?;
        let kinds: Api<cutover::api::Cutover> = Api::namespaced(self.client.clone(), &self.namespace);
        kinds.list(&Default::default()).await.context("the cluster does not know Cutovers: apply crds/")?;
        Ok(())
    }
}

/// Asks until there is an answer, for at most this long.
pub async fn wait<T, F>(within: Duration, ask: impl Fn() -> F) -> Result<Option<T>>
where
    F: Future<Output = Result<Option<T>>>,
{
    let end = Instant::now() + within;
    loop {
        match ask().await {
            Ok(None) if Instant::now() < end => sleep(POLL).await,
            other => return other,
        }
    }
}

fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return false };
    let observed = status.observed_generation >= deployment.metadata.generation;
    let count = |n: Option<i32>| n.unwrap_or(0) == wanted;
    observed && count(status.updated_replicas) && count(status.available_replicas) && count(status.replicas)
}

/// Whether a pod takes requests.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none() && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}
