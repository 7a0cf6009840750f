//! Questions to the API server that are no reads of objects: who may do what, and plain answers with their headers.

use http::HeaderMap;
use http_body_util::BodyExt;
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
    SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{ObjectMeta, PostParams};
use kube::client::Body;

use crate::cli::cluster::{Cluster, Seen};
use crate::cli::exit::Failure;
use crate::cli::rights::Right;

pub(crate) const SELF_REVIEW: Right = Right::wish("create", "authorization.k8s.io", "selfsubjectaccessreviews");
pub(crate) const REVIEW: Right = Right::wish("create", "authorization.k8s.io", "subjectaccessreviews");
pub(crate) const LOCAL_REVIEW: Right = Right::wish("create", "authorization.k8s.io", "localsubjectaccessreviews");

/// What is asked about.
pub(crate) fn attributes(verb: &str, group: &str, resource: &str, name: Option<&str>) -> ResourceAttributes {
    let (resource, sub) = resource.split_once('/').map_or((resource, None), |(r, s)| (r, Some(s)));
    ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: sub.map(str::to_owned),
        name: name.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}

/// The same in a namespace.
pub(crate) fn within(namespace: &str, attributes: ResourceAttributes) -> ResourceAttributes {
    ResourceAttributes { namespace: Some(namespace.to_owned()), ..attributes }
}

/// Whether the user may do that.
pub(crate) async fn may_i(cluster: &Cluster, what: ResourceAttributes) -> Result<Seen<bool>, Failure> {
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(what), ..Default::default() };
    let answer = cluster.may(&SelfSubjectAccessReview { spec, ..Default::default() }).await;
    cluster.wish(answer, SELF_REVIEW)
}

/// Whether somebody else may do that.
pub(crate) async fn may(cluster: &Cluster, user: &str, what: ResourceAttributes) -> Result<Seen<bool>, Failure> {
    let namespace = what.namespace.clone();
    let spec = SubjectAccessReviewSpec {
        user: Some(user.to_owned()),
        groups: Some(groups(user)),
        resource_attributes: Some(what),
        ..Default::default()
    };
    if let Some(namespace) = &namespace {
        let metadata = ObjectMeta { namespace: Some(namespace.clone()), ..Default::default() };
        let review = LocalSubjectAccessReview { metadata, spec: spec.clone(), status: None };
        let answer = cluster.create(namespace, &review, &PostParams::default()).await;
        match cluster.wish(answer.map(|a| a.status.is_some_and(|s| s.allowed)), LOCAL_REVIEW)? {
            Seen::Known(allowed) => return Ok(Seen::Known(allowed)),
            // The right for the whole cluster would do.
            Seen::Hidden(_) => {}
        }
    }
    let answer = cluster.create_global(&SubjectAccessReview { spec, ..Default::default() }).await;
    match cluster.wish(answer.map(|a| a.status.is_some_and(|s| s.allowed)), REVIEW)? {
        Seen::Known(allowed) => Ok(Seen::Known(allowed)),
        Seen::Hidden(right) => Ok(Seen::Hidden(if namespace.is_some() { LOCAL_REVIEW } else { right })),
    }
}

/// The groups of a ServiceAccount: a review has no other than those that it names.
fn groups(user: &str) -> Vec<String> {
    let mut all = vec!["system:authenticated".to_owned()];
    if let Some((namespace, _)) = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
        all.push("system:serviceaccounts".to_owned());
        all.push(format!("system:serviceaccounts:{namespace}"));
    }
    all
}

/// An answer of the API server to a plain GET.
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// The clock of whoever answered.
    pub(crate) fn date(&self) -> Option<Timestamp> {
        let date = self.headers.get(http::header::DATE)?.to_str().ok()?;
        jiff::fmt::rfc2822::parse(date).ok().map(|z| z.timestamp())
    }
}

/// GETs a path.
///
/// # Errors
/// Nobody answers.
pub(crate) async fn get(cluster: &Cluster, path: &str) -> Result<Answer, Failure> {
    let request = http::Request::get(path).header(http::header::ACCEPT, "application/json").body(Body::empty());
    let request = request.map_err(|e| Failure::new(format!("{path} is no path: {e}")))?;
    let client = cluster.client();
    let answer = async {
        let (parts, body) = client.send(request).await?.into_parts();
        Ok((parts, body.collect().await?.to_bytes()))
    };
    // A path is no object: whoever may not read it gets an answer that says so.
    let right = Right::need("get", "", "paths");
    let (parts, body) = cluster.call(answer, right, None).await?;
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        text: String::from_utf8_lossy(&body).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_the_groups_that_its_token_would_have() {
        let groups = groups("system:serviceaccount:prod:cutover");
        assert_eq!(groups, ["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:prod"]);
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::DATE, http::HeaderValue::from_static("Sun, 29 Nov 2026 22:16:50 GMT"));
        let answer = Answer { status: 200, headers, text: String::new() };
        assert_eq!(answer.date().map(|d| d.to_string()).as_deref(), Some("2026-11-29T22:16:50Z"));
    }
}
