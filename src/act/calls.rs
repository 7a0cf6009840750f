//! Reads and sends what `writes` says: reads as the operator, writes as the account. Each call has its own time limit.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, DynamicObject, ListParams, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::Value;

use super::call::{CALL_LIMIT, CallError, call, call_within, insist};
use crate::api::FIELD_MANAGER;
use crate::effect::protocol::{Answer, As, Exchange, LiveAnswer, LiveRead, Object, Send, Write};
use crate::net::Asker;
use crate::world::convert;

/// What an executor needs.
pub(super) struct Clients {
    /// The operator, for reads.
    pub reader: Client,
    /// The Cutover's ServiceAccount, for writes; it refuses them when this operator's Lease has lapsed.
    pub writer: Client,
    /// The same account for a restore, which depends on no Lease.
    pub(crate) always: Client,
    /// The operator, for writes of its own.
    pub operator: Client,
    pub namespace: String,
    /// Users wait for this: a read that is not answered is asked again beside itself.
    pub urgent: bool,
    /// Who is named as the writer of fields.
    pub manager: &'static str,
}

impl Clients {
    /// One client for everything: what is written is the operator's own.
    pub(super) fn of_operator(client: Client, namespace: &str) -> Self {
        let [reader, writer, always, operator] = [(); 4].map(|()| client.clone());
        Self {
            reader,
            writer,
            always,
            operator,
            namespace: namespace.to_owned(),
            urgent: false,
            manager: FIELD_MANAGER,
        }
    }

    /// For whom requests are sent.
    pub(super) fn asker(&self) -> Asker<'_> {
        Asker { operator: &self.reader, account: &self.writer, namespace: &self.namespace, watched: None }
    }

    fn api(&self, client: &Client, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), &self.namespace, resource)
    }

    /// Reads all of these together.
    pub(super) async fn look(&self, heard: &mut Exchange, looks: Vec<LiveRead>) {
        let answers = join_all(looks.iter().map(|look| self.read(look))).await;
        looks.into_iter().zip(answers).for_each(|(look, answer)| heard.read(look, answer));
    }

    async fn ask<T, F>(&self, limit: std::time::Duration, ask: impl Fn() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        if self.urgent { insist(limit, ask).await } else { call_within(limit, ask()).await }
    }

    async fn read(&self, look: &LiveRead) -> Answer {
        match look {
            LiveRead::Object(Object { resource, name }) => {
                let api = self.api(&self.reader, resource);
                json(&self.ask(CALL_LIMIT, || api.get(name)).await?).map(LiveAnswer::Object)
            }
            LiveRead::Pods(selector) => {
                let labels: Vec<String> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
                let api: Api<Pod> = Api::namespaced(self.reader.clone(), &self.namespace);
                let params = ListParams::default().labels(&labels.join(","));
                let limit = if self.urgent { CALL_LIMIT } else { Exchange::FRESH };
                let list = self.ask(limit, || api.list(&params)).await?;
                Ok(LiveAnswer::Pods(list.items.iter().map(convert::pod).collect()))
            }
            LiveRead::List { resource, fields } => {
                let params = match fields.as_str() {
                    "" => ListParams::default(),
                    fields => ListParams::default().fields(fields),
                };
                let found = call(self.api(&self.reader, resource).list(&params)).await?;
                found.items.iter().map(json).collect::<Result<_, _>>().map(LiveAnswer::List)
            }
        }
    }

    /// Sends a write, once; answered is the object as it is then.
    pub(super) async fn send(&self, send: &Send) -> Result<Value, CallError> {
        let client = match send.by {
            As::Account => &self.writer,
            As::AccountAlways => &self.always,
            As::Operator => &self.operator,
        };
        let limit = send.limit.unwrap_or(CALL_LIMIT);
        let post = PostParams { dry_run: false, field_manager: Some(self.manager.into()) };
        match &send.write {
            Write::Create(object, body) => {
                let kind = &object.resource.kind;
                let body: DynamicObject = serde_json::from_value(body.clone())
                    .map_err(|e| CallError::invalid(format!("not a {kind}: {e}")))?;
                json(&call_within(limit, self.api(client, &object.resource).create(&post, &body)).await?)
            }
            Write::Patch(object, patch) => {
                let params = PatchParams { field_manager: Some(self.manager.into()), ..PatchParams::default() };
                let body = patch.body()?;
                json(&call_within(limit, self.api(client, &object.resource).patch(&object.name, &params, &body)).await?)
            }
            Write::ReplaceStatus(object, body) => {
                let body: DynamicObject =
                    serde_json::from_value(body.clone()).map_err(|e| CallError::invalid(e.to_string()))?;
                let api = self.api(client, &object.resource);
                json(&call_within(limit, api.replace_status(&object.name, &post, &body)).await?)
            }
            Write::Delete { object, uid, resource_version } => {
                let params = DeleteParams {
                    propagation_policy: Some(PropagationPolicy::Background),
                    preconditions: Some(Preconditions {
                        uid: Some(uid.clone()),
                        resource_version: resource_version.clone(),
                    }),
                    ..DeleteParams::default()
                };
                let api = self.api(client, &object.resource);
                call_within(limit, api.delete(&object.name, &params)).await.map(|_| Value::Null)
            }
        }
    }
}

fn json(object: &DynamicObject) -> Result<Value, CallError> {
    serde_json::to_value(object).map_err(|e| CallError::transient(format!("the answer cannot be read: {e}")))
}
