//! Looks at the admission policies for the start checks.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Finding, Weight};
use crate::act::call::{CallError, Class, call};
use crate::policies::{self, Amiss};

impl From<Amiss> for Finding {
    fn from(amiss: Amiss) -> Self {
        let weight = match amiss {
            Amiss::Owner(_) => Weight::MayNotWrite,
            Amiss::Weak(_) => Weight::NotReady,
            Amiss::Other(_) => Weight::Told,
        };
        Self::new(weight, amiss.text())
    }
}

/// Looks at them as the operator of this user name.
pub async fn look(client: &Client, operator: &str) -> Result<Vec<Finding>, CallError> {
    let mut found = vec![];
    for (name, text) in policies::OURS {
        let (policy, binding) = tokio::join!(
            get::<ValidatingAdmissionPolicy>(client, name),
            get::<ValidatingAdmissionPolicyBinding>(client, name)
        );
        let (Some(policy), Some(binding)) = (policy?, binding?) else {
            found.push(policies::missing(name).into());
            continue;
        };
        // Without the right to look there is nothing to compare; the missing right is told.
        let (Reading::Is(policy), Reading::Is(binding)) = (policy, binding) else { continue };
        found.extend(policies::judge(name, text, &policy, &binding, operator).into_iter().map(Finding::from));
    }
    Ok(found)
}

enum Reading {
    Is(Value),
    Forbidden,
}

async fn get<K>(client: &Client, name: &str) -> Result<Option<Reading>, CallError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let invalid = |e: serde_json::Error| CallError::invalid(e.to_string());
    match call(Api::<K>::all(client.clone()).get(name)).await {
        Ok(object) => serde_json::to_value(object).map(|v| Some(Reading::Is(v))).map_err(invalid),
        Err(e) if e.class == Class::NotFound => Ok(None),
        Err(e) if e.class == Class::Forbidden => Ok(Some(Reading::Forbidden)),
        Err(e) => Err(e),
    }
}
