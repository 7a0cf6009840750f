//! Answers [`Read::DryRun`](crate::effect::Read::DryRun): every write that a run may need, tried on the API server as the
//! ServiceAccount with `dryRun: All`, so that admission and rights are asked and nothing is stored.

use futures::StreamExt;
use futures::future::BoxFuture;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{Observer, RunScope, resource, scope};
use crate::api::FIELD_MANAGER;
use crate::api::run::{ObjectKind, ObjectRef};
use crate::api::step::WorkloadKind;
use crate::effect::change::{Edit, Now, patch, seen};
use crate::effect::env::without_values;
use crate::effect::protocol::JsonPatch;
use crate::effect::{Change, DryRun};
use crate::net::call::{Unanswered, answered};
use crate::net::keys::brief;
use crate::world::{DryRunRefusal, ResourceAnswer};

/// Tried at once.
const AT_ONCE: usize = 8;

/// Why a write would not be made.
pub(super) struct Refusal {
    pub(super) why: String,
    pub(super) forbidden: bool,
    pub(super) transient: bool,
}

impl Refusal {
    pub(super) fn transient(why: String) -> Self {
        Self { why, forbidden: false, transient: true }
    }
    pub(super) fn last(why: String) -> Self {
        Self { why, forbidden: false, transient: false }
    }
}

pub(super) async fn all(observer: &Observer, scope: &RunScope, runs: &[DryRun]) -> Vec<DryRunRefusal> {
    let tries = Tries {
        reader: observer.client.clone(),
        account: observer.account(scope),
        namespace: &scope.namespace,
        manager: FIELD_MANAGER,
    };
    tries.all(runs).await.into_iter().flatten().collect()
}

/// Tries writes as whoever the client speaks for: for each, why it would be refused. `manager`: under which name.
pub(crate) async fn as_user(
    client: &Client,
    namespace: &str,
    manager: &str,
    runs: &[DryRun],
) -> Vec<Option<DryRunRefusal>> {
    Tries { reader: client.clone(), account: client.clone(), namespace, manager }.all(runs).await
}

fn what(run: &DryRun) -> String {
    match run {
        DryRun::Job { step, .. } => format!("create jobs for step {step}"),
        DryRun::Point { route, .. } => format!("patch {}/{}", route.object().resource.plural, route.name),
        DryRun::Change { object, .. } => format!("patch {}/{}", api_of(object.kind).plural, object.name),
        DryRun::DeletePod(name) => format!("delete pods/{name}"),
        DryRun::Secret(_) => "create secrets".into(),
        DryRun::Look(of) => format!("get {}/{}", resource::guess(of), of.name),
    }
}

struct Tries<'a> {
    reader: Client,
    account: Client,
    namespace: &'a str,
    /// The field manager of each write.
    manager: &'a str,
}

impl Tries<'_> {
    /// For each, why it would be refused.
    async fn all(&self, runs: &[DryRun]) -> Vec<Option<DryRunRefusal>> {
        let answer = |run| -> BoxFuture<'_, Option<DryRunRefusal>> {
            Box::pin(async move {
                let Refusal { why, forbidden, transient } = self.one(run).await.err()?;
                Some(DryRunRefusal { what: what(run), why: brief(&why), forbidden, transient })
            })
        };
        let answers: Vec<_> = runs.iter().map(answer).collect();
        futures::stream::iter(answers).buffered(AT_ONCE).collect().await
    }

    fn params(&self) -> PatchParams {
        PatchParams { dry_run: true, field_manager: Some(self.manager.into()), ..PatchParams::default() }
    }

    async fn one(&self, run: &DryRun) -> Result<(), Refusal> {
        match run {
            DryRun::Job { manifest, .. } => self.create::<Job>(manifest).await,
            DryRun::Secret(manifest) => self.create::<Secret>(manifest).await,
            DryRun::Point { route, test, to } => {
                let (object, patch) = (route.object(), route.rehearsal(test.as_ref(), to));
                let api = Api::<DynamicObject>::namespaced_with(self.account.clone(), self.namespace, &object.resource);
                call(api.patch(&object.name, &self.params(), &body(&patch)?)).await.map(drop)
            }
            DryRun::Change { object, change } => self.change(object, change.as_ref()).await,
            DryRun::DeletePod(name) => {
                let api = Api::<Pod>::namespaced(self.account.clone(), self.namespace);
                let params = DeleteParams { dry_run: true, ..DeleteParams::default() };
                match answered(api.delete(name, &params)).await {
                    // Rights are asked first: one that is not there may be deleted.
                    Err(Unanswered::Error(kube::Error::Api(status))) if status.is_not_found() => Ok(()),
                    answer => answer.map(drop).map_err(refusal),
                }
            }
            DryRun::Look(of) => match resource::ask(&self.account, self.namespace, of).await {
                Ok(_) | Err(ResourceAnswer::Found(_) | ResourceAnswer::NotFound) => Ok(()),
                Err(ResourceAnswer::Forbidden { why, .. }) => Err(Refusal { why, forbidden: true, transient: false }),
                Err(ResourceAnswer::Unread(why)) => Err(Refusal::transient(why)),
            },
        }
    }

    async fn create<K: kube::Resource<DynamicType = ()>>(&self, manifest: &Value) -> Result<(), Refusal> {
        let resource = ApiResource::erase::<K>(&());
        let api = Api::<DynamicObject>::namespaced_with(self.account.clone(), self.namespace, &resource);
        let object: DynamicObject = serde_json::from_value(manifest.clone())
            .map_err(|e| Refusal::last(format!("the manifest is not an object: {e}")))?;
        let params = PostParams { dry_run: true, field_manager: Some(self.manager.into()) };
        match answered(api.create(&params, &object)).await {
            // That of a former try, which says that it is admitted.
            Err(Unanswered::Error(kube::Error::Api(status))) if status.is_already_exists() => Ok(()),
            answer => answer.map(drop).map_err(refusal),
        }
    }

    /// The patch of a change, as far as the object is what the change stands on; else one that writes what is there.
    async fn change(&self, object: &ObjectRef, change: Option<&Change>) -> Result<(), Refusal> {
        let resource = api_of(object.kind);
        let reader = Api::<DynamicObject>::namespaced_with(self.reader.clone(), self.namespace, &resource);
        let Some(now) = call(reader.get_opt(&object.name)).await? else {
            return Err(Refusal::last(format!("{:?} {} does not exist", object.kind, object.name)));
        };
        let edits = match change.map(|c| c.on(&seen(&now.data, now.metadata.annotations.as_ref()))) {
            Some(Now::Edit(edits)) => edits,
            Some(Now::Conflict(why)) => return Err(Refusal::last(why)),
            Some(Now::Done) | None => vec![present(object.kind, &now.data)],
        };
        let uid = now.metadata.uid.as_deref().unwrap_or_default();
        let patch = patch(uid, now.metadata.resource_version.as_deref(), &edits);
        let api = Api::<DynamicObject>::namespaced_with(self.account.clone(), self.namespace, &resource);
        match call(api.patch(&object.name, &self.params(), &body(&patch)?)).await {
            Ok(_) => Ok(()),
            // Its tests may have failed, since somebody wrote in between.
            Err(refusal) => match call(reader.get_opt(&object.name)).await? {
                Some(again) if again.metadata.resource_version != now.metadata.resource_version => {
                    Err(Refusal::transient(without_values(&refusal.why, &edits)))
                }
                _ => Err(Refusal { why: without_values(&refusal.why, &edits), ..refusal }),
            },
        }
    }
}

fn api_of(kind: ObjectKind) -> ApiResource {
    match kind {
        ObjectKind::Deployment => scope::resource(WorkloadKind::Deployment),
        ObjectKind::StatefulSet => scope::resource(WorkloadKind::StatefulSet),
        ObjectKind::CronJob => ApiResource::erase::<CronJob>(&()),
    }
}

/// What is there already, written once more: the replicas, or whether it is suspended.
fn present(kind: ObjectKind, data: &Value) -> Edit {
    let (path, default) = match kind {
        ObjectKind::Deployment | ObjectKind::StatefulSet => ("/spec/replicas", json!(1)),
        ObjectKind::CronJob => ("/spec/suspend", json!(false)),
    };
    let value = data.pointer(path).cloned().unwrap_or(default);
    Edit { path: path.into(), test: Some(value.clone()), value }
}

fn body(patch: &JsonPatch) -> Result<Patch<()>, Refusal> {
    patch.body().map_err(|e| Refusal::last(format!("the patch cannot be made: {e}")))
}

pub(super) async fn call<T>(future: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Refusal> {
    answered(future).await.map_err(refusal)
}

fn refusal(error: Unanswered) -> Refusal {
    let status = match error {
        Unanswered::Error(kube::Error::Api(status)) => status,
        Unanswered::Error(other) => return Refusal::transient(other.to_string()),
        Unanswered::Late => return Refusal::transient("the API server did not answer within 2s".into()),
    };
    let why = status.message.clone();
    match status.code {
        // RBAC's own wording; a quota or a policy says 403 too, and is no missing right.
        403 => Refusal { forbidden: why.contains("User \"") && why.contains(" cannot "), transient: false, why },
        // 401: a token being rotated; 409: somebody wrote in between.
        401 | 408 | 409 | 429 => Refusal::transient(why),
        400..=499 => Refusal::last(why),
        _ => Refusal::transient(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn said(code: u16, message: &str) -> Refusal {
        refusal(kube::Error::Api(Box::new(Status::failure(message, "").with_code(code))).into())
    }

    #[test]
    fn a_missing_right_is_told_from_a_quota_and_from_a_busy_server() {
        let rbac = said(403, "services \"web\" is forbidden: User \"system:serviceaccount:a:b\" cannot patch resource");
        assert!(rbac.forbidden && !rbac.transient);
        let quota = said(403, "pods \"x\" is forbidden: exceeded quota: q");
        assert!(!quota.forbidden && !quota.transient);
        for code in [401, 409, 429, 500, 503] {
            assert!(said(code, "busy").transient, "{code}");
        }
        assert!(!said(422, "invalid").transient);
    }
}
