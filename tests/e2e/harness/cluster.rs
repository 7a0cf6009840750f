//! The cluster itself: clients of several users, the custom resources, the operator's rights and the admission policies.

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The namespace of the operator's account.
pub const SYSTEM: &str = "cutover-system";
/// The operator's account.
pub const OPERATOR: &str = "cutover-operator";

/// The operator's user name.
pub fn operator_user() -> String {
    format!("system:serviceaccount:{SYSTEM}:{OPERATOR}")
}

/// The configuration of `KUBECONFIG`, as another user where one is named.
pub async fn config(user: Option<&str>) -> Result<Config> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::from_kubeconfig(&KubeConfigOptions::default()).await.context("KUBECONFIG")?;
    config.auth_info.impersonate = user.map(str::to_owned);
    Ok(config)
}

/// A client of the administrator, or of a person.
pub async fn client(user: Option<&str>) -> Result<Client> {
    Ok(Client::try_from(config(user).await?)?)
}

/// A kubeconfig for the operator's account; through `server` instead of the API server where one is named.
pub async fn operator_kubeconfig(client: &Client, server: Option<&str>) -> Result<String> {
    kubeconfig_of(client, SYSTEM, OPERATOR, server).await
}

/// A kubeconfig for any account.
pub async fn kubeconfig_of(client: &Client, namespace: &str, account: &str, server: Option<&str>) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
    let token = answer.status.context("no token was issued")?.token;
    let admin = Kubeconfig::read()?;
    let mut cluster = admin.clusters.first().and_then(|c| c.cluster.clone()).context("KUBECONFIG has no cluster")?;
    if let Some(server) = server {
        cluster.server = Some(server.to_owned());
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = None;
    }
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
        "clusters": [{"name": "e2e", "cluster": serde_json::to_value(&cluster)?}],
        "users": [{"name": "operator", "user": {"token": token}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "operator"}}],
    });
    Ok(text.to_string())
}

/// The documents of a YAML text.
pub fn documents(yaml: &str) -> Result<Vec<Value>> {
    let mut all = vec![];
    for text in format!("\n{yaml}").split("\n---") {
        let value: Value = serde_saphyr::from_str(text).with_context(|| format!("YAML: {text}"))?;
        match value {
            Value::Null => {}
            Value::Object(map) if map.is_empty() => {}
            value => all.push(value),
        }
    }
    Ok(all)
}

const CLUSTER_SCOPED: &[&str] = &[
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// Where an object of any kind lives.
pub fn api_of(client: &Client, object: &Value, namespace: &str) -> Result<Api<DynamicObject>> {
    let kind = object["kind"].as_str().context("kind")?;
    let version = object["apiVersion"].as_str().context("apiVersion")?;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Ok(if CLUSTER_SCOPED.contains(&kind) {
        Api::all_with(client.clone(), &resource)
    } else {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
        Api::namespaced_with(client.clone(), namespace, &resource)
    })
}

/// Applies an object as a user of `kubectl apply --server-side --validate=strict` does.
pub async fn apply(client: &Client, object: &Value, namespace: &str) -> kube::Result<DynamicObject> {
    let api = api_of(client, object, namespace).map_err(|e| kube::Error::Service(e.into()))?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let params = PatchParams::apply("e2e").force().validation_strict();
    api.patch(name, &params, &Patch::Apply(object)).await
}

static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// Installs what a cluster needs once: kinds, the operator's rights, policies.
pub async fn install(client: &Client) -> Result<()> {
    INSTALLED
        .get_or_try_init(|| async {
            for (file, yaml) in super::app::installation()? {
                for object in documents(&yaml).with_context(|| file.clone())? {
                    apply(client, &object, SYSTEM).await.with_context(|| format!("{file}: {}", object["kind"]))?;
                }
            }
            let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
            for plural in ["cutovers", "cutoverruns", "cutoverdecisions", "cutovertemplates", "clustercutovertemplates"]
            {
                let name = format!("{plural}.cutover.dev");
                let established = await_condition(crds.clone(), &name, conditions::is_crd_established());
                tokio::time::timeout(std::time::Duration::from_secs(20), established)
                    .await
                    .with_context(|| format!("{name} is not established"))??;
            }
            super::wait::poll(
                "nodes that have been Ready for a minute",
                std::time::Duration::from_secs(120),
                async || settled(client).await,
            )
            .await
        })
        .await?;
    Ok(())
}

/// On a node that has become Ready within the last minute pods may be taken for lost with it, and nothing is judged.
async fn settled(client: &Client) -> Result<Option<()>> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let minute_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(61);
    let ready = |n: &Node| {
        let mut conditions = n.status.iter().flat_map(|s| s.conditions.iter().flatten());
        let ready = conditions.find(|c| c.type_ == "Ready" && c.status == "True");
        ready.is_some_and(|c| c.last_transition_time.as_ref().is_none_or(|at| at.0 < minute_ago))
    };
    Ok(nodes.items.iter().all(ready).then_some(()))
}
