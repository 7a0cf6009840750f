//! Answers [`Read::Resource`](crate::effect::Read::Resource): any object of the namespace but Secrets, read as the
//! ServiceAccount, whose right it is.

use kube::api::{DynamicObject, GetParams, GroupVersionKind, Request};
use kube::core::ApiResource;
use kube::core::discovery::Scope;
use kube::{Client, Resource};

use crate::effect::ResourceOf;
use crate::net::call::in_time;
use crate::net::keys::brief;
use crate::threads::Threads;
use crate::world::ResourceAnswer;

/// Largest object, as JSON: what is evaluated must stay bounded.
const MAX_SIZE: usize = 256 * 1024;

pub(super) async fn read(threads: &Threads, account: &Client, namespace: &str, of: &ResourceOf) -> ResourceAnswer {
    let what = format!("{} {}", of.kind, of.name);
    match ask(account, namespace, of).await {
        // It may be as large as the API server lets one be.
        Ok(text) => threads.run(namespace, move || object(&what, &text)).await,
        Err(answer) => answer,
    }
}

/// The object as text; else what the question comes to.
pub(super) async fn ask(account: &Client, namespace: &str, of: &ResourceOf) -> Result<String, ResourceAnswer> {
    let unread = |late| Err(ResourceAnswer::Unread(format!("{} {}: {late}", of.kind, of.name)));
    in_time(look(account, namespace, of)).await.unwrap_or_else(unread)
}

async fn look(account: &Client, namespace: &str, of: &ResourceOf) -> Result<String, ResourceAnswer> {
    let what = format!("{} {}", of.kind, of.name);
    let gvk = kind(of);
    let (resource, capabilities) = match kube::discovery::pinned_kind(account, &gvk).await {
        Ok(found) => found,
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return Err(ResourceAnswer::Forbidden { resource: guess(of), why: brief(&status.message) });
        }
        Err(kube::Error::Api(status)) if status.code != 404 => {
            return Err(ResourceAnswer::Unread(format!("{what}: {}", brief(&status.message))));
        }
        Err(kube::Error::Discovery(_) | kube::Error::Api(_)) => {
            return Err(ResourceAnswer::Unread(format!("the cluster has no kind {} in {}", of.kind, of.api_version)));
        }
        Err(error) => return Err(ResourceAnswer::Unread(format!("{what}: {}", brief(&error.to_string())))),
    };
    if capabilities.scope != Scope::Namespaced {
        return Err(ResourceAnswer::Unread(format!(
            "{} is not in a namespace: only objects of its own are read",
            of.kind
        )));
    }
    // Whatever it is called: where the values of Secrets are is never asked.
    if resource.group.is_empty() && resource.plural == "secrets" {
        return Err(ResourceAnswer::Unread("Secrets are not read as objects".into()));
    }
    let at = DynamicObject::url_path(&resource, Some(namespace));
    let request = match Request::new(at).get(&of.name, &GetParams::default()) {
        Ok(request) => request,
        Err(error) => return Err(ResourceAnswer::Unread(format!("{what}: {error}"))),
    };
    account.request_text(request).await.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 404 => ResourceAnswer::NotFound,
        kube::Error::Api(status) if status.code == 403 => {
            ResourceAnswer::Forbidden { resource: rbac(&resource), why: brief(&status.message) }
        }
        error => ResourceAnswer::Unread(format!("{what}: {}", brief(&error.to_string()))),
    })
}

/// What is shown of an object.
fn object(what: &str, text: &str) -> ResourceAnswer {
    let object = serde_json::from_str(text).and_then(|mut object: DynamicObject| {
        object.metadata.managed_fields = None;
        serde_json::to_value(&object)
    });
    match object {
        Ok(value) if value.to_string().len() <= MAX_SIZE => ResourceAnswer::Found(value),
        Ok(_) => ResourceAnswer::Unread(format!("{what} is larger than {} KiB", MAX_SIZE / 1024)),
        Err(error) => ResourceAnswer::Unread(format!("{what} cannot be understood: {error}")),
    }
}

fn kind(of: &ResourceOf) -> GroupVersionKind {
    let (group, version) = of.api_version.split_once('/').unwrap_or(("", &of.api_version));
    GroupVersionKind::gvk(group, version, &of.kind)
}

/// As RBAC most likely names it, where the cluster was not asked.
pub(super) fn guess(of: &ResourceOf) -> String {
    rbac(&ApiResource::from_gvk(&kind(of)))
}

fn rbac(resource: &ApiResource) -> String {
    if resource.group.is_empty() { resource.plural.clone() } else { format!("{}.{}", resource.plural, resource.group) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_named_as_rbac_does() {
        let of = |api_version: &str, kind: &str| {
            guess(&ResourceOf { api_version: api_version.into(), kind: kind.into(), name: "x".into() })
        };
        assert_eq!(of("v1", "ConfigMap"), "configmaps");
        assert_eq!(of("apps/v1", "Deployment"), "deployments.apps");
        assert_eq!(of("networking.k8s.io/v1", "NetworkPolicy"), "networkpolicies.networking.k8s.io");
    }
}
