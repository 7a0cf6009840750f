//! Reads Secrets and ConfigMaps as a Cutover's ServiceAccount. Errors name objects and keys, never values.

use std::collections::BTreeMap;

use bytes::Bytes;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};

use super::call::Unanswered;

/// A Secret or a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// By name.
    Secret(String),
    /// By name.
    ConfigMap(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "Secret {name}"),
            Self::ConfigMap(name) => write!(f, "ConfigMap {name}"),
        }
    }
}

/// What is in it.
pub struct Data {
    /// Values by key.
    pub values: BTreeMap<String, Bytes>,
    /// Annotations and managed fields.
    pub metadata: ObjectMeta,
}

/// Why there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The object is not there.
    NotFound(String),
    /// It may not be read, with the remedy.
    Refused(String),
    /// The API server could not be asked.
    Transient(String),
}

impl Unread {
    /// In words.
    pub fn text(self) -> String {
        match self {
            Self::NotFound(text) | Self::Refused(text) | Self::Transient(text) => text,
        }
    }
}

/// Reads one object with `account`, a client that acts as the ServiceAccount.
pub async fn read(account: &Client, namespace: &str, source: &Source) -> Result<Data, Unread> {
    let got = async {
        match source {
            Source::Secret(name) => {
                let secret = Api::<Secret>::namespaced(account.clone(), namespace).get(name).await?;
                let values = secret.data.unwrap_or_default().into_iter().map(|(k, v)| (k, Bytes::from(v.0)));
                Ok(Data { values: values.collect(), metadata: secret.metadata })
            }
            Source::ConfigMap(name) => {
                let map = Api::<ConfigMap>::namespaced(account.clone(), namespace).get(name).await?;
                let binary = map.binary_data.unwrap_or_default().into_iter().map(|(k, v)| (k, Bytes::from(v.0)));
                let text = map.data.unwrap_or_default().into_iter().map(|(k, v)| (k, Bytes::from(v)));
                Ok(Data { values: text.chain(binary).collect(), metadata: map.metadata })
            }
        }
    };
    match super::call::answered(got).await {
        Ok(data) => Ok(data),
        Err(Unanswered::Error(kube::Error::Api(status))) if status.code == 404 => {
            Err(Unread::NotFound(format!("{source} is not there")))
        }
        Err(Unanswered::Error(kube::Error::Api(status))) if status.code == 401 || status.code == 403 => {
            Err(Unread::Refused(format!(
                "{source} may not be read: {}; bind the ServiceAccount to a Role with verb get on it",
                brief(&status.message)
            )))
        }
        Err(error) => Err(Unread::Transient(format!("{source} cannot be read: {}", brief(&error.to_string())))),
    }
}

/// Reads several, each once.
pub(crate) async fn read_all(
    account: &Client,
    namespace: &str,
    sources: impl IntoIterator<Item = Source>,
) -> BTreeMap<Source, Result<Data, Unread>> {
    let wanted: std::collections::BTreeSet<Source> = sources.into_iter().collect();
    let reads = wanted.into_iter().map(async |source| {
        let data = read(account, namespace, &source).await;
        (source, data)
    });
    futures::future::join_all(reads).await.into_iter().collect()
}

/// The first 300 characters: what API servers say can be long.
pub(crate) fn brief(text: &str) -> String {
    let mut short: String = text.chars().take(300).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
