//! What a command asks of the API server: each call against the rights that it has declared, each failure as one sentence.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ClusterResourceScope, Resource};
use kube::{Client, Error};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exit::Failure;
use super::rights::{self, Right};

/// What stands before the words of an admission policy.
const POLICY: &str = " denied request: ";

/// A namespaced kind whose plural is known when it is compiled.
pub(crate) trait Kind: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned {}
impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned> Kind for K {}

/// What an optional read came to.
#[derive(Clone, Debug)]
pub(crate) enum Seen<T> {
    Known(T),
    /// The right that is missing.
    Hidden(Right),
}

impl<T> Seen<T> {
    /// What is known.
    pub(crate) fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Hidden(_) => None,
        }
    }
}

/// The API server as one command may use it.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    pub namespace: String,
    url: String,
    context: Option<String>,
    rights: &'static [Right],
    /// How long one request may take.
    limit: std::time::Duration,
}

impl Cluster {
    pub(crate) fn new(
        client: Client,
        namespace: String,
        url: String,
        context: Option<String>,
        rights: &'static [Right],
        limit: std::time::Duration,
    ) -> Self {
        Self { client, namespace, url, context, rights, limit }
    }

    /// The client itself, for calls that are no reads or writes of objects.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The client itself, for calls of the operator's own functions that need these rights.
    ///
    /// # Errors
    /// The command has not declared one of them.
    pub(crate) fn client_with(&self, rights: &[Right]) -> Result<Client, Failure> {
        match rights.iter().find(|r| !self.rights.contains(r)) {
            Some(right) => Err(undeclared(right.verb, &right.resource())),
            None => Ok(self.client.clone()),
        }
    }

    /// ` --context NAME` where one was given: for commands that are printed.
    pub(crate) fn context_flag(&self) -> String {
        self.context.as_ref().map(|c| format!(" --context {c}")).unwrap_or_default()
    }

    /// Who asks.
    pub(crate) async fn whoami(&self) -> Result<String, Failure> {
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let right = Right::need("create", "authentication.k8s.io", "selfsubjectreviews");
        let (params, review) = (PostParams::default(), SelfSubjectReview::default());
        let review = self.call(api.create(&params, &review), right, None).await?;
        let name = review.status.and_then(|s| s.user_info).and_then(|u| u.username).filter(|n| !n.is_empty());
        name.ok_or_else(|| Failure::new("the API server does not say who you are"))
    }

    /// Whether the API server would allow something to the user.
    pub(crate) async fn may(&self, review: &SelfSubjectAccessReview) -> Result<bool, Failure> {
        let right = Right::need("create", "authorization.k8s.io", "selfsubjectaccessreviews");
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = self.call(api.create(&PostParams::default(), review), right, None).await?;
        Ok(answer.status.is_some_and(|s| s.allowed))
    }

    /// An object of a namespace; none where there is no such object.
    pub(crate) async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, Failure>
    where
        K: Kind + Resource<Scope = NamespaceResourceScope>,
    {
        let right = self.declared::<K>("get", None)?;
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        self.call(api.get_opt(name), right, Some(namespace)).await
    }

    /// An object of the whole cluster.
    pub(crate) async fn get_global<K>(&self, name: &str) -> Result<Option<K>, Failure>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        let right = self.declared::<K>("get", None)?;
        let api: Api<K> = Api::all(self.client.clone());
        self.call(api.get_opt(name), right, None).await
    }

    /// The objects of a namespace, or with `None` of all of them.
    pub(crate) async fn list<K>(&self, namespace: Option<&str>, params: &ListParams) -> Result<Vec<K>, Failure>
    where
        K: Kind + Resource<Scope = NamespaceResourceScope>,
    {
        let right = self.declared::<K>("list", None)?;
        let api: Api<K> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        self.call(api.list(params), right, namespace).await.map(|l| l.items)
    }

    /// Objects of the whole cluster.
    pub(crate) async fn list_global<K>(&self, params: &ListParams) -> Result<Vec<K>, Failure>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        let right = self.declared::<K>("list", None)?;
        let api: Api<K> = Api::all(self.client.clone());
        self.call(api.list(params), right, None).await.map(|l| l.items)
    }

    /// Creates an object.
    pub(crate) async fn create<K>(&self, namespace: &str, object: &K, params: &PostParams) -> Result<K, Failure>
    where
        K: Kind + Resource<Scope = NamespaceResourceScope> + Serialize,
    {
        let right = self.declared::<K>("create", None)?;
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        self.call(api.create(params, object), right, Some(namespace)).await
    }

    /// Creates an object of the whole cluster, such as a review of rights.
    pub(crate) async fn create_global<K>(&self, object: &K) -> Result<K, Failure>
    where
        K: Kind + Resource<Scope = ClusterResourceScope> + Serialize,
    {
        let right = self.declared::<K>("create", None)?;
        let api: Api<K> = Api::all(self.client.clone());
        self.call(api.create(&PostParams::default(), object), right, None).await
    }

    /// Patches an object. A test of the patch that fails is `Ok(None)`: somebody else has changed the object.
    pub(crate) async fn patch<K>(
        &self,
        namespace: &str,
        name: &str,
        params: &PatchParams,
        patch: &Patch<impl Serialize + Debug>,
    ) -> Result<Option<K>, Failure>
    where
        K: Kind + Resource<Scope = NamespaceResourceScope>,
    {
        let right = self.declared::<K>("patch", None)?;
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let patched = async {
            match api.patch(name, params, patch).await {
                Ok(object) => Ok(Some(object)),
                Err(Error::Api(status)) if status.code == 409 => Ok(None),
                Err(Error::Api(status)) if status.code == 422 && status.message.contains("test operation") => Ok(None),
                Err(e) => Err(e),
            }
        };
        self.call(patched, right, Some(namespace)).await
    }

    /// One call, within the time that a request may take.
    pub(crate) async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
        right: Right,
        namespace: Option<&str>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.limit, call).await {
            Ok(answer) => answer.map_err(|e| self.failure(e, right, namespace)),
            Err(_) => Err(Failure::new(format!("the cluster at {} did not answer within {:?}", self.url, self.limit))
                .next(format!("kubectl cluster-info{}", self.context_flag()))),
        }
    }

    /// For watches and logs: the API, once the right is declared.
    pub(crate) fn api<K>(
        &self,
        verb: &'static str,
        sub: Option<&str>,
        namespace: &str,
    ) -> Result<(Api<K>, Right), Failure>
    where
        K: Kind + Resource<Scope = NamespaceResourceScope>,
    {
        let right = self.declared::<K>(verb, sub)?;
        Ok((Api::namespaced(self.client.clone(), namespace), right))
    }

    /// The declared right for a call.
    fn declared<K: Kind>(&self, verb: &str, sub: Option<&str>) -> Result<Right, Failure> {
        let (group, plural) = (K::group(&()), K::plural(&()));
        let resource = sub.map_or_else(|| plural.to_string(), |s| format!("{plural}/{s}"));
        let same = |r: &&Right| r.verb == verb && r.group == group && r.resource == resource;
        self.rights.iter().find(same).copied().ok_or_else(|| undeclared(verb, &resource))
    }

    /// One sentence about a failed call.
    pub(crate) fn failure(&self, error: Error, right: Right, namespace: Option<&str>) -> Failure {
        match error {
            Error::Api(status) if status.message.contains(POLICY) => {
                // A policy speaks in words of its own, which name the remedy.
                let why = status.message.split_once(POLICY).map_or("", |(_, why)| why);
                Failure::new(format!("refused by a policy: {why}")).exit(super::Exit::Failed)
            }
            Error::Api(status)
                if status.code == 403 && status.reason == "Forbidden" && status.message.contains(" cannot ") =>
            {
                rights::missing(right, namespace, rights::refused_user(&status.message))
            }
            Error::Api(status) if status.code == 401 => {
                Failure::new("the API server does not know you: your login has ended, or was never valid")
                    .next(format!("kubectl auth whoami{}", self.context_flag()))
            }
            Error::Api(status) if status.code == 404 && right.group == rights::OURS => {
                let gone =
                    status.message.contains("not found") && !status.message.contains("the server could not find");
                match gone {
                    true => Failure::new(status.message.clone()),
                    false => Failure::new("Cutover is not installed in this cluster")
                        .next(format!("kubectl cutover check --pre{}", self.context_flag())),
                }
            }
            Error::Api(status) => Failure::new(format!("the API server refused to {right}: {}", status.message)),
            other => Failure::new(format!("the cluster at {} does not answer: {}", self.url, chain(&other)))
                .next(format!("kubectl cluster-info{}", self.context_flag())),
        }
    }

    /// What an optional read came to: a missing right hides, any other failure fails.
    pub(crate) fn wish<T>(&self, read: Result<T, Failure>, right: Right) -> Result<Seen<T>, Failure> {
        match read {
            Ok(value) => Ok(Seen::Known(value)),
            Err(f) if right.optional && f.missing.is_some() => Ok(Seen::Hidden(right)),
            Err(f) => Err(f),
        }
    }
}

fn undeclared(verb: &str, resource: &str) -> Failure {
    Failure::new(format!("defect: this command has not declared that it needs to {verb} {resource}"))
}

/// The innermost reason of an error: the outer ones say no more.
fn chain(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
