//! Carries out the requests of a look: one call of the API server each, and what its answer means.

use futures::StreamExt;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{Namespace, Service, ServiceAccount};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::error_boundary::InvalidObject;
use kube::core::{ApiResource, DeserializeGuard, PartialObjectMeta};
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Controller;
use crate::act::answer::{OpenDecision, Run, answer, status, take_up};
use crate::act::call::{CallError, call};
use crate::api::cutover::Cutover;
use crate::api::decision::CutoverDecision;
use crate::api::run::CutoverRun;
use crate::api::template::{ClusterCutoverTemplate, CutoverTemplate, Template, TemplateKind};
use crate::api::{FIELD_MANAGER, LABEL_CUTOVER};
use crate::effect::Outcome;
use crate::net::notify::Looked;
use crate::observe::scope::resource;
use crate::pilot::cutover::{Answer, Class, Failure, Key, Reply, Request, TakeUp, readable_run};

/// Answers on decisions under way at the same time.
const AT_ONCE: usize = 8;
/// Runs that are not closed.
const OPEN: &str = "status.state!=Closed";
/// Runs that are closed.
const CLOSED: &str = "status.state=Closed";

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self { class: error.class, text: error.text }
    }
}

/// Carries out a request about the Cutover `key`.
pub(super) async fn carry(cx: &Controller, key: &Key, request: Request) -> Result<Reply, Failure> {
    let (client, namespace) = (&cx.client, key.namespace.as_str());
    let cutovers: Api<Cutover> = Api::namespaced(client.clone(), namespace);
    let runs: Api<CutoverRun> = Api::namespaced(client.clone(), namespace);
    let write = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
    Ok(match request {
        Request::Cutover => {
            let api: Api<DeserializeGuard<Cutover>> = Api::namespaced(client.clone(), namespace);
            match call(api.get(&key.name)).await?.0 {
                Ok(cutover) => Reply::Cutover(Box::new(cutover)),
                Err(unreadable) => unreadable_cutover(unreadable),
            }
        }
        Request::Run(name) => Reply::Run(Box::new(call(runs.get(&name)).await?)),
        Request::Runs => Reply::Runs(all(&any_run(client, namespace), &of(key)).await?),
        Request::ClosedRuns => metadata(call(runs.list_metadata(&of(key).fields(CLOSED))).await?.items),
        Request::ActiveRuns => {
            Reply::Runs(all(&any_run(client, namespace), &ListParams::default().fields(OPEN)).await?)
        }
        Request::AllRuns => metadata(call(runs.list_metadata(&ListParams::default())).await?.items),
        Request::Decisions(most) => {
            let api: Api<DeserializeGuard<CutoverDecision>> = Api::namespaced(client.clone(), namespace);
            let fields = format!("spec.cutover={},status.state!=Answered", key.name);
            let list = call(api.list(&ListParams::default().fields(&fields).limit(most))).await?;
            Reply::Decisions(list.items.into_iter().filter_map(|guard| guard.0.ok()).collect())
        }
        Request::Service(name) => {
            let api: Api<Service> = Api::namespaced(client.clone(), namespace);
            Reply::Selector(call(api.get(&name)).await?.spec.and_then(|s| s.selector).unwrap_or_default())
        }
        Request::Namespace => {
            let api: Api<Namespace> = Api::all(client.clone());
            Reply::Namespace { going: call(api.get(namespace)).await?.metadata.deletion_timestamp.is_some() }
        }
        Request::Template(TemplateKind::CutoverTemplate, name) => {
            let api: Api<DeserializeGuard<CutoverTemplate>> = Api::namespaced(client.clone(), namespace);
            template(&api, &name, |t| t.spec.template).await?
        }
        Request::Template(TemplateKind::ClusterCutoverTemplate, name) => {
            let api: Api<DeserializeGuard<ClusterCutoverTemplate>> = Api::all(client.clone());
            template(&api, &name, |t| t.spec.template).await?
        }
        Request::Replicas(workload) => {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource(workload.kind));
            let found = call(api.get(&workload.name)).await?;
            Reply::Replicas(found.data.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1))
        }
        Request::Account(name) => {
            let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
            call(api.get(&name)).await?;
            Reply::Done
        }
        Request::ActAs(account) => {
            let api: Api<SelfSubjectReview> = Api::all(cx.identity.as_account(namespace, &account));
            call(api.create(&PostParams::default(), &SelfSubjectReview::default())).await?;
            Reply::Done
        }
        Request::Proof => Reply::Proof(cx.observer.proofs().read(client, namespace).await),
        Request::Receivers(account, receivers) => {
            let Looked { findings, unknown } = cx.observer.receivers(namespace, &account, &receivers).await;
            Reply::Receivers { findings, unknown }
        }
        // The look holds its turn; see `look`.
        Request::Turn => Reply::Done,
        Request::OlderHolder(cutover) => Reply::Holder(cx.known().older_holder(key, &cutover)),
        Request::PatchCutover(operations) => {
            let api: Api<DeserializeGuard<Cutover>> = Api::namespaced(client.clone(), namespace);
            let patch = patch(operations)?;
            match call(api.patch(&key.name, &PatchParams::default(), &patch)).await?.0 {
                Ok(cutover) => Reply::Cutover(Box::new(cutover)),
                Err(unreadable) => unreadable_cutover(unreadable),
            }
        }
        Request::PatchRun(name, operations) => {
            let (api, patch) = (any_run(client, namespace), patch(operations)?);
            Reply::Run(Box::new(readable_run(call(api.patch(&name, &PatchParams::default(), &patch)).await?)))
        }
        Request::WriteStatus(cutover) => {
            Reply::Cutover(Box::new(call(cutovers.replace_status(&key.name, &write, &cutover)).await?))
        }
        Request::ReopenRun(run) => {
            Reply::Run(Box::new(call(runs.replace_status(&run.name_any(), &write, &run)).await?))
        }
        Request::CreateRun(run) => Reply::Run(Box::new(call(runs.create(&write, &run)).await?)),
        Request::DeleteRun { name, uid } => {
            let preconditions = Some(Preconditions { uid, resource_version: None });
            call(runs.delete(&name, &DeleteParams { preconditions, ..DeleteParams::background() })).await?;
            Reply::Done
        }
        Request::Answer(answers) => {
            let written = answers.into_iter().map(|answer| write_answer(client.clone(), namespace, answer));
            Reply::Answers(futures::stream::iter(written).buffered(AT_ONCE).collect().await)
        }
        Request::TakeUp(TakeUp { name, uid, resource_version, at }) => {
            let seen = OpenDecision { name: &name, uid: &uid, resource_version: &resource_version };
            Reply::Answers(vec![take_up(client.clone(), namespace, &seen, at).await])
        }
    })
}

/// Selects the runs of a Cutover.
fn of(key: &Key) -> ListParams {
    ListParams::default().labels(&format!("{LABEL_CUTOVER}={}", key.name))
}

fn metadata(list: Vec<PartialObjectMeta<CutoverRun>>) -> Reply {
    Reply::Metadata(list.into_iter().map(|run| run.metadata).collect())
}

fn unreadable_cutover(unreadable: InvalidObject) -> Reply {
    Reply::Unreadable { metadata: Box::new(unreadable.metadata), error: unreadable.error }
}

/// The runs of a namespace as whatever they are.
fn any_run(client: &kube::Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<CutoverRun>(&()))
}

/// Lists runs. One that another version wrote and that this one cannot read hides none of the others.
async fn all(runs: &Api<DynamicObject>, params: &ListParams) -> Result<Vec<CutoverRun>, CallError> {
    Ok(call(runs.list(params)).await?.items.into_iter().map(readable_run).collect())
}

fn patch(operations: Value) -> Result<Patch<()>, Failure> {
    serde_json::from_value(operations).map(Patch::Json).map_err(|e| Failure::new(Class::Invalid, e.to_string()))
}

async fn template<K>(
    api: &Api<DeserializeGuard<K>>,
    name: &str,
    says: impl FnOnce(K) -> Template,
) -> Result<Reply, CallError>
where
    K: ResourceExt + Clone + DeserializeOwned + std::fmt::Debug,
{
    Ok(match call(api.get(name)).await?.0 {
        Ok(found) => Reply::Template {
            uid: found.uid().unwrap_or_default(),
            generation: found.meta().generation.unwrap_or_default(),
            template: Box::new(says(found)),
        },
        Err(unreadable) => Reply::UnreadableTemplate(unreadable.error),
    })
}

async fn write_answer(client: kube::Client, namespace: &str, wanted: Answer) -> Outcome {
    let Answer { name, uid, resource_version, run_uid, said } = wanted;
    let seen = OpenDecision { name: &name, uid: &uid, resource_version: &resource_version };
    let owner = said.owner.as_deref().map(|name| Run { name, uid: &run_uid });
    answer(client, namespace, &seen, &status(&said.result, said.at, said.run.clone()), owner).await
}

/// Who the operator is, for the commands that grant it a right.
pub(crate) async fn operator_name(client: &kube::Client) -> Result<String, CallError> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let answer = call(api.create(&PostParams::default(), &SelfSubjectReview::default())).await?;
    Ok(answer.status.and_then(|s| s.user_info).and_then(|u| u.username).unwrap_or_default())
}
