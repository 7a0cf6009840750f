//! Everything that `status` and `watch` show, as it was read.

use futures::future::join3;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;

use crate::cli::cluster::{Cluster, Seen};
use crate::cli::exit::Failure;
use crate::cli::find::{Found, find};
use crate::cli::rights::{OURS, Right};

/// What one look at a Cutover has found.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub found: Found,
    pub deployments: Seen<Vec<Deployment>>,
    pub stateful_sets: Seen<Vec<StatefulSet>>,
    pub pods: Seen<Vec<Pod>>,
}

const DEPLOYMENTS: Right = Right::wish("list", "apps", "deployments");
const STATEFUL_SETS: Right = Right::wish("list", "apps", "statefulsets");
const PODS: Right = Right::wish("list", "", "pods");

/// What `status` may ask.
pub(crate) const RIGHTS: [Right; 7] = [
    Right::need("get", OURS, "cutovers"),
    Right::need("list", OURS, "cutovers"),
    Right::need("get", OURS, "cutoverruns"),
    Right::need("list", OURS, "cutoverruns"),
    DEPLOYMENTS,
    STATEFUL_SETS,
    PODS,
];

/// Looks once.
///
/// # Errors
/// The Cutover cannot be found or read. What else cannot be read is hidden.
pub(crate) async fn read(cluster: &Cluster, name: Option<&str>) -> Result<Reading, Failure> {
    let found = find(cluster, name).await?;
    around(cluster, found).await
}

/// Reads what is shown beside a Cutover and its run.
pub(crate) async fn around(cluster: &Cluster, found: Found) -> Result<Reading, Failure> {
    let (namespace, all) = (Some(cluster.namespace.as_str()), ListParams::default());
    let (deployments, stateful_sets, pods) =
        join3(cluster.list(namespace, &all), cluster.list(namespace, &all), cluster.list(namespace, &all)).await;
    Ok(Reading {
        found,
        deployments: cluster.wish(deployments, DEPLOYMENTS)?,
        stateful_sets: cluster.wish(stateful_sets, STATEFUL_SETS)?,
        pods: cluster.wish(pods, PODS)?,
    })
}
