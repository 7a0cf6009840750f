//! The operator: its Deployment and pods, its version, its Lease, its rights.

use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;

use super::ask;
use super::model::Line;
use super::topics::{OPERATOR_LEASE, OPERATOR_RIGHTS, OPERATOR_RUNNING, OPERATOR_VERSION};
use crate::cli::cluster::{Cluster, Seen};
use crate::cli::exit::Failure;
use crate::cli::rights::Right;
use crate::cli::text::time;
use crate::endpoints::why;
use crate::operator::preflight::rights;
use crate::world::convert;

pub(crate) const DEPLOYMENT: Right = Right::wish("get", "apps", "deployments");
pub(crate) const PODS: Right = Right::wish("list", "", "pods");
pub(crate) const LEASE: Right = Right::wish("get", "coordination.k8s.io", "leases");
/// The name of Deployment, account and Lease in every installation.
pub(crate) const NAME: &str = "cutover-operator";
const NAMESPACE: &str = "cutover-system";
/// Reviews under way at a time.
const AT_ONCE: usize = 8;

/// Where the operator is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub namespace: String,
    /// The name of its account.
    pub account: String,
}

impl Place {
    /// As the policies name the operator, else where an installation puts it.
    pub(crate) fn of(user: Option<&str>) -> Self {
        let named = user.and_then(|u| u.strip_prefix("system:serviceaccount:")?.split_once(':'));
        let (namespace, account) = named.unwrap_or((NAMESPACE, NAME));
        Self { namespace: namespace.to_owned(), account: account.to_owned() }
    }

    /// Its user name.
    pub(crate) fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.account)
    }
}

/// Looks at the operator. `now`: by the API server's clock. With the lines, the user name that its pods have.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn look(cluster: &Cluster, place: &Place, now: Timestamp) -> Result<(Vec<Line>, String), Failure> {
    let ns = place.namespace.as_str();
    let deployment = cluster.wish(cluster.get::<Deployment>(ns, NAME).await, DEPLOYMENT)?;
    let mut lines = vec![];
    let mut namespaces = vec![];
    let mut user = place.user();
    match &deployment {
        Seen::Hidden(right) => {
            for topic in [OPERATOR_RUNNING, OPERATOR_VERSION] {
                lines.push(Line::hidden(topic, format!("Deployment {NAME}"), *right, Some(ns)));
            }
        }
        Seen::Known(None) => lines.push(none(ns)),
        Seen::Known(Some(deployment)) => {
            namespaces = looks_at(deployment);
            user = runs_as(deployment, place);
            let params = ListParams::default().labels(&format!("app.kubernetes.io/name={NAME}"));
            let pods = cluster.wish(cluster.list::<Pod>(Some(ns), &params).await, PODS)?;
            lines.push(running(deployment, pods.known().map(Vec::as_slice).unwrap_or_default(), ns));
            lines.push(version(deployment, ns));
        }
    }
    lines.push(match cluster.wish(cluster.get::<Lease>(ns, NAME).await, LEASE)? {
        Seen::Known(found) => lease(found.as_ref(), now, ns),
        Seen::Hidden(right) => Line::hidden(OPERATOR_LEASE, format!("Lease {NAME}"), right, Some(ns)),
    });
    lines.push(may(cluster, &user, &place.namespace, &namespaces).await?);
    Ok((lines, user))
}

fn none(ns: &str) -> Line {
    Line::failed(
        OPERATOR_RUNNING,
        format!("there is no Deployment {NAME} in namespace {ns}: nothing drives Cutovers"),
        "helm install cutover charts/cutover -n cutover-system --create-namespace --wait --set image.repository=IMAGE, with the \
         place of your image (docs/install.md has the way without Helm)",
    )
}

fn running(deployment: &Deployment, pods: &[Pod], ns: &str) -> Line {
    let wanted = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let ready = deployment.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or(0);
    if wanted == 0 {
        let remedy = format!("kubectl scale deployment {NAME} -n {ns} --replicas=2");
        return Line::failed(OPERATOR_RUNNING, format!("Deployment {NAME} in {ns} is scaled to 0"), remedy);
    }
    if ready >= wanted {
        return Line::ok(OPERATOR_RUNNING, format!("{ready} of {wanted} pods of {NAME} in {ns} are ready"));
    }
    let views: Vec<_> = pods.iter().map(convert::pod).filter(|p| !p.terminating).collect();
    let cause = views.iter().find_map(why::not_ready).map(|cause| format!("; {}", cause.text)).unwrap_or_default();
    let message = format!("{ready} of {wanted} pods of {NAME} in {ns} are ready{cause}");
    let remedy = format!("kubectl logs deployment/{NAME} -n {ns} (it says why it is not ready)");
    match ready {
        0 => Line::failed(OPERATOR_RUNNING, message, remedy),
        _ => Line::warning(OPERATOR_RUNNING, message, remedy),
    }
}

/// The namespaces that its flags name; none: all.
fn looks_at(deployment: &Deployment) -> Vec<String> {
    let template = deployment.spec.as_ref().and_then(|s| s.template.spec.as_ref());
    let args = template.into_iter().flat_map(|s| &s.containers).flat_map(|c| c.args.iter().flatten());
    args.filter_map(|a| a.strip_prefix("--namespace=")).map(str::to_owned).collect()
}

/// The user name that its pods have.
fn runs_as(deployment: &Deployment, place: &Place) -> String {
    let template = deployment.spec.as_ref().and_then(|s| s.template.spec.as_ref());
    let account = template.and_then(|s| s.service_account_name.clone()).unwrap_or_else(|| "default".to_owned());
    Place { namespace: place.namespace.clone(), account }.user()
}

/// The version that a Deployment says: its label, else the tag of its image.
pub(crate) fn version_of(deployment: &Deployment) -> Option<String> {
    let label = deployment.labels().get("app.kubernetes.io/version").cloned();
    let image = || {
        let template = deployment.spec.as_ref().and_then(|s| s.template.spec.as_ref());
        let image = template?.containers.first()?.image.as_ref()?;
        let (_, tag) = image.split('@').next()?.rsplit_once(':')?;
        (!tag.contains('/')).then(|| tag.to_owned())
    };
    label.or_else(image)
}

fn numbers(version: &str) -> Option<(u64, u64, u64)> {
    let plain = version.trim_start_matches('v').split(['-', '+']).next()?;
    let mut parts = plain.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

fn version(deployment: &Deployment, ns: &str) -> Line {
    let mine = env!("CARGO_PKG_VERSION");
    let image = format!("kubectl get deployment {NAME} -n {ns} -o jsonpath='{{..image}}'");
    let Some(theirs) = version_of(deployment) else {
        return Line::unknown(OPERATOR_VERSION, "neither label nor image of the operator says its version", image);
    };
    match (numbers(&theirs), numbers(mine)) {
        (Some(a), Some(b)) if a == b => Line::ok(OPERATOR_VERSION, format!("operator and plugin are {mine}")),
        (Some(a), Some(b)) if a < b => Line::warning(
            OPERATOR_VERSION,
            format!("the operator is older ({theirs}) than this plugin ({mine})"),
            "upgrade it: helm upgrade cutover charts/cutover -n cutover-system --reset-then-reuse-values --wait",
        ),
        (Some(_), Some(_)) => Line::warning(
            OPERATOR_VERSION,
            format!("the operator is newer ({theirs}) than this plugin ({mine})"),
            format!("install the plugin of version {theirs}"),
        ),
        _ => Line::unknown(OPERATOR_VERSION, format!("{theirs} is no version to compare with {mine}"), image),
    }
}

fn lease(found: Option<&Lease>, now: Timestamp, ns: &str) -> Line {
    let log = format!("kubectl logs deployment/{NAME} -n {ns}");
    let spec = found.and_then(|l| l.spec.as_ref());
    let holder = spec.and_then(|s| s.holder_identity.as_deref()).filter(|h| !h.is_empty());
    let renewed = spec.and_then(|s| s.renew_time.as_ref()).map(|t| t.0);
    let lasts = spec.and_then(|s| s.lease_duration_seconds).unwrap_or(15);
    let (Some(holder), Some(renewed)) = (holder, renewed) else {
        let message = format!("no replica holds the Lease {NAME} in {ns}: nothing is driven");
        return Line::failed(OPERATOR_LEASE, message, log);
    };
    let age = now.duration_since(renewed);
    // The date of an answer has whole seconds.
    if age > SignedDuration::from_secs(i64::from(lasts) + 1) {
        let message =
            format!("the Lease is held by {holder}, and was not renewed for {}: nothing is driven", time::long(age));
        return Line::failed(OPERATOR_LEASE, message, log);
    }
    if age < SignedDuration::from_secs(-60) {
        let message = format!("the operator's clock is {} ahead of that of the API server", time::long(age.abs()));
        return Line::warning(OPERATOR_LEASE, message, "look at the time service of its node");
    }
    Line::ok(OPERATOR_LEASE, format!("{holder} leads"))
}

/// Whether the operator has the rights that an installation gives it.
async fn may(cluster: &Cluster, user: &str, lease: &str, namespaces: &[String]) -> Result<Line, Failure> {
    let wanted = rights::wanted(namespaces, Some(lease));
    let count = wanted.len();
    // The first says whether the user may ask at all.
    let mut wanted = wanted.into_iter();
    let mut missing = vec![];
    if let Some(first) = wanted.next() {
        match ask::may(cluster, user, first.clone()).await? {
            Seen::Hidden(_) => {
                return Ok(Line::hidden(OPERATOR_RIGHTS, "the rights of the operator", ask::REVIEW, None));
            }
            Seen::Known(true) => {}
            Seen::Known(false) => missing.push(rights::words(&first)),
        }
    }
    let rest: Vec<Option<String>> = futures::stream::iter(wanted)
        .map(|right| async move {
            let allowed = ask::may(cluster, user, right.clone()).await?;
            Ok::<_, Failure>(matches!(allowed, Seen::Known(false)).then(|| rights::words(&right)))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    missing.extend(rest.into_iter().flatten());
    Ok(match missing.first() {
        None => Line::ok(OPERATOR_RIGHTS, format!("{user} has all {count} rights of its installation")),
        Some(first) => {
            let more = if missing.len() > 1 { format!(" and {} more", missing.len() - 1) } else { String::new() };
            Line::failed(
                OPERATOR_RIGHTS,
                format!("the operator ({user}) may not {first}{more}"),
                "kubectl apply --server-side -k deploy/access (or upgrade the chart)",
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::model::State;
    use serde_json::json;

    fn deployment(label: Option<&str>, image: &str, replicas: i32, ready: i32) -> Deployment {
        let labels = label.map(|l| json!({"app.kubernetes.io/version": l})).unwrap_or_else(|| json!({}));
        serde_json::from_value(json!({
            "metadata": {"name": NAME, "labels": labels},
            "spec": {"replicas": replicas, "selector": {}, "template": {"spec": {"containers": [
                {"name": "operator", "image": image, "args": ["run", "--namespace=a", "--namespace=b"]}]}}},
            "status": {"readyReplicas": ready},
        }))
        .expect("a Deployment")
    }

    #[test]
    fn the_operators_place_comes_from_the_policy() {
        assert_eq!(Place::of(None).user(), "system:serviceaccount:cutover-system:cutover-operator");
        let place = Place::of(Some("system:serviceaccount:ops:cut"));
        assert_eq!((place.namespace.as_str(), place.account.as_str()), ("ops", "cut"));
        assert_eq!(looks_at(&deployment(None, "a", 1, 1)), ["a", "b"]);
        assert_eq!(runs_as(&deployment(None, "a", 1, 1), &place), "system:serviceaccount:ops:default");
    }

    #[test]
    fn an_older_and_a_newer_operator_are_told_apart() {
        let of = |label: Option<&str>, image: &str| version(&deployment(label, image, 1, 1), "s");
        let mine = env!("CARGO_PKG_VERSION");
        assert_eq!(of(Some(mine), "x").state, State::Ok);
        assert_eq!(of(None, &format!("r:5000/cutover:{mine}")).state, State::Ok);
        assert!(of(Some("0.0.1"), "x").message.contains("older"));
        assert!(of(None, "r/cutover:99.0.0").message.contains("newer"));
        assert_eq!(of(None, "r:5000/cutover").state, State::Unknown);
        assert_eq!(of(None, "r/cutover@sha256:abc").state, State::Unknown);
    }

    #[test]
    fn pods_that_are_not_ready_fail_when_none_is_left() {
        assert_eq!(running(&deployment(None, "a", 2, 2), &[], "s").state, State::Ok);
        assert_eq!(running(&deployment(None, "a", 2, 1), &[], "s").state, State::Warning);
        assert_eq!(running(&deployment(None, "a", 2, 0), &[], "s").state, State::Failed);
        assert_eq!(running(&deployment(None, "a", 0, 0), &[], "s").state, State::Failed);
    }

    #[test]
    fn a_lease_that_nobody_renews_fails() {
        let now: Timestamp = "2026-11-29T22:00:30Z".parse().expect("a time");
        let of = |renewed: &str, holder: &str| {
            let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 3, "renewTime": renewed});
            lease(serde_json::from_value(json!({"spec": spec})).ok().as_ref(), now, "s")
        };
        assert_eq!(of("2026-11-29T22:00:28.000000Z", "a").state, State::Ok);
        let old = of("2026-11-29T22:00:00.000000Z", "a");
        assert!(old.state == State::Failed && old.message.contains("30s"), "{old:?}");
        assert_eq!(of("2026-11-29T22:00:28.000000Z", "").state, State::Failed);
        assert_eq!(of("2026-11-29T22:02:00.000000Z", "a").state, State::Warning);
        assert_eq!(lease(None, now, "s").state, State::Failed);
    }
}
