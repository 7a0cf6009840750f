//! Answers [`Read::Resource`](crate::effect::Read::Resource): any object of the namespace but Secrets, read as the
//! ServiceAccount, whose right it is.

use kube::api::{DynamicObject, GroupVersionKind};
use kube::core::ApiResource;
use kube::core::discovery::Scope;
use kube::{Api, Client};

use crate::effect::ResourceOf;
use crate::net::call::in_time;
use crate::net::keys::brief;
use crate::world::ResourceAnswer;

/// Largest object, as JSON: what is evaluated must stay bounded.
const MAX_SIZE: usize = 256 * 1024;

pub(super) async fn read(account: &Client, namespace: &str, of: &ResourceOf) -> ResourceAnswer {
    let unread = |late| ResourceAnswer::Unread(format!("{} {}: {late}", of.kind, of.name));
    in_time(look(account, namespace, of)).await.unwrap_or_else(unread)
}

async fn look(account: &Client, namespace: &str, of: &ResourceOf) -> ResourceAnswer {
    let what = format!("{} {}", of.kind, of.name);
    let gvk = kind(of);
    let (resource, capabilities) = match kube::discovery::pinned_kind(account, &gvk).await {
        Ok(found) => found,
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return ResourceAnswer::Forbidden { resource: guess(of), why: brief(&status.message) };
        }
        Err(kube::Error::Api(status)) if status.code != 404 => {
            return ResourceAnswer::Unread(format!("{what}: {}", brief(&status.message)));
        }
        Err(kube::Error::Discovery(_) | kube::Error::Api(_)) => {
            return ResourceAnswer::Unread(format!("the cluster has no kind {} in {}", of.kind, of.api_version));
        }
        Err(error) => return ResourceAnswer::Unread(format!("{what}: {}", brief(&error.to_string()))),
    };
    if capabilities.scope != Scope::Namespaced {
        return ResourceAnswer::Unread(format!("{} is not in a namespace: only objects of its own are read", of.kind));
    }
    // Whatever it is called: where the values of Secrets are is never asked.
    if resource.group.is_empty() && resource.plural == "secrets" {
        return ResourceAnswer::Unread("Secrets are not read as objects".into());
    }
    let api = Api::<DynamicObject>::namespaced_with(account.clone(), namespace, &resource);
    let mut object = match api.get_opt(&of.name).await {
        Ok(Some(object)) => object,
        Ok(None) => return ResourceAnswer::NotFound,
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return ResourceAnswer::Forbidden { resource: rbac(&resource), why: brief(&status.message) };
        }
        Err(error) => return ResourceAnswer::Unread(format!("{what}: {}", brief(&error.to_string()))),
    };
    object.metadata.managed_fields = None;
    match serde_json::to_value(&object) {
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
