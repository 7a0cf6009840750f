//! Reads the templates that a Cutover uses, at the moment at which its run starts: what changes later changes the next run.

use kube::core::DeserializeGuard;
use kube::{Api, Client};

use crate::act::call::{CallError, Class, call};
use crate::api::cutover::CutoverSpec;
use crate::api::template::{ClusterCutoverTemplate, CutoverTemplate, Template, TemplateKind};
use crate::plan::Refusal;
use crate::plan::templates::{Expanded, Found, expand};

/// The spec with all of its templates, or why there is none.
///
/// # Errors
/// When a template cannot be read for now.
pub async fn expanded(
    client: &Client,
    namespace: &str,
    spec: &CutoverSpec,
) -> Result<Result<Expanded, Vec<Refusal>>, CallError> {
    let mut found = vec![];
    for (i, usage) in spec.templates.iter().enumerate() {
        let read = match usage.kind.unwrap_or_default() {
            TemplateKind::CutoverTemplate => {
                let api: Api<DeserializeGuard<CutoverTemplate>> = Api::namespaced(client.clone(), namespace);
                get(&api, &usage.name)
                    .await?
                    .map(|guard| guard.0.map(|t| (t.metadata, t.spec.template)).map_err(Box::new))
            }
            TemplateKind::ClusterCutoverTemplate => {
                let api: Api<DeserializeGuard<ClusterCutoverTemplate>> = Api::all(client.clone());
                get(&api, &usage.name)
                    .await?
                    .map(|guard| guard.0.map(|t| (t.metadata, t.spec.template)).map_err(Box::new))
            }
        };
        match read.transpose() {
            Ok(read) => found.push(read.map(|(metadata, template)| of(metadata, template))),
            Err(why) => {
                let kind = usage.kind.unwrap_or_default().as_str();
                return Ok(Err(vec![Refusal {
                    field: format!("spec.templates[{i}].name"),
                    message: format!("{kind} {} cannot be read: {}", usage.name, why.error),
                    remedy: "correct the template, or apply the CRDs of this operator's version".into(),
                }]));
            }
        }
    }
    Ok(expand(namespace, spec, &found))
}

fn of(metadata: kube::api::ObjectMeta, template: Template) -> Found {
    Found { uid: metadata.uid.unwrap_or_default(), generation: metadata.generation.unwrap_or_default(), template }
}

async fn get<K>(api: &Api<K>, name: &str) -> Result<Option<K>, CallError>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match call(api.get(name)).await {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.class == Class::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
