//! The CustomResourceDefinitions, changed or taken away for a while: they are put back as they were, however a test ends.

use std::panic::AssertUnwindSafe;

use anyhow::{Context, Result};
use futures::FutureExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::case::secs;
use super::wait;

/// The definitions as they are installed.
pub struct Definitions {
    api: Api<CustomResourceDefinition>,
    known: Vec<CustomResourceDefinition>,
}

impl Definitions {
    /// Runs the body of a test, and puts everything back.
    pub async fn during(client: &Client, body: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        let mut known = api.list(&Default::default()).await?.items;
        known.retain(|d| d.spec.group == "cutover.dev");
        let definitions = Self { api, known };
        let result = AssertUnwindSafe(body(&definitions)).catch_unwind().await;
        let back = definitions.put_back().await.context("putting the definitions back");
        match result {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        back
    }

    /// Patches the definition of a kind, by its plural.
    pub async fn change(&self, plural: &str, operations: Value) -> Result<()> {
        let patch: json_patch::Patch = serde_json::from_value(operations)?;
        let name = format!("{plural}.cutover.dev");
        self.api.patch(&name, &PatchParams::default(), &Patch::Json::<()>(patch)).await?;
        Ok(())
    }

    /// Deletes them all, and with them every object of theirs.
    pub async fn delete(&self) -> Result<()> {
        for definition in &self.known {
            self.api.delete(&definition.name_any(), &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// Waits until none is left.
    pub async fn gone(&self, bound: u64) -> Result<()> {
        wait::until(self.api.clone(), "no definition of ours", secs(bound), |all| {
            Ok(all.values().all(|d| d.spec.group != "cutover.dev").then_some(()))
        })
        .await
    }

    /// Installs them as they were, and waits until they are served.
    pub async fn put_back(&self) -> Result<()> {
        for definition in &self.known {
            let name = definition.name_any();
            // One that is on its way out comes to its end first.
            wait::poll(&format!("{name} can be put back"), secs(120), async || {
                let mut put = definition.clone();
                let written = match self.api.get_opt(&name).await? {
                    Some(now) if now.metadata.deletion_timestamp.is_some() => return Ok(None),
                    Some(now) => {
                        put.metadata = now.metadata;
                        self.api.replace(&name, &PostParams::default(), &put).await
                    }
                    None => {
                        let ObjectMeta { labels, annotations, .. } = put.metadata;
                        put.metadata =
                            ObjectMeta { name: Some(name.clone()), labels, annotations, ..Default::default() };
                        put.status = None;
                        self.api.create(&PostParams::default(), &put).await
                    }
                };
                match written {
                    Ok(_) => Ok(Some(())),
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
                    Err(error) => Err(error.into()),
                }
            })
            .await?;
        }
        wait::until(self.api.clone(), "the definitions are served", secs(30), |all| {
            let served = |d: &CustomResourceDefinition| {
                let name = d.name_any();
                let conditions = all.get(&name).and_then(|d| d.status.as_ref()).and_then(|s| s.conditions.as_ref());
                conditions.is_some_and(|list| list.iter().any(|c| c.type_ == "Established" && c.status == "True"))
            };
            Ok(self.known.iter().all(served).then_some(()))
        })
        .await
    }
}
