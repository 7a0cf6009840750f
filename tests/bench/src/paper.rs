//! A node that exists on paper alone: nothing runs on it, and the bench writes the status of its pods as a kubelet would. So
//! a machine with two cores has a thousand pods.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::app::{self, Colour};
use crate::harness::cluster;

/// Its name.
pub const NODE: &str = "bench-paper";
/// How often it says that it is there; the cluster misses it after 40 s.
const BEAT: Duration = Duration::from_secs(10);
/// Statuses written at the same time.
const AT_ONCE: usize = 24;

/// The node. Its pods are ready as long as this is kept.
pub struct Paper {
    client: Client,
    tasks: JoinSet<()>,
}

impl Paper {
    /// Makes the node, and sees to its pods from now on.
    pub async fn start(client: &Client) -> Result<Self> {
        beat(client).await?;
        let mut tasks = JoinSet::new();
        let ours = client.clone();
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                if let Err(error) = beat(&ours).await {
                    eprintln!("  the paper node: {error:#}");
                }
            }
        });
        let ours = client.clone();
        tasks.spawn(async move {
            if let Err(error) = pods(ours).await {
                eprintln!("  the pods of the paper node: {error:#}");
            }
        });
        Ok(Self { client: client.clone(), tasks })
    }

    /// Takes the node away.
    pub async fn remove(mut self) -> Result<()> {
        self.tasks.shutdown().await;
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.delete(NODE, &DeleteParams::default()).await.context("deleting the paper node")?;
        Ok(())
    }
}

/// The node is there and well.
async fn beat(client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let params = PatchParams::apply("bench").force();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE},
        // Whatever is not for it goes elsewhere.
        "spec": {"unschedulable": true}});
    nodes.patch(NODE, &params, &Patch::Apply(&node)).await.context("the paper node")?;
    let now = Timestamp::now();
    let second = format!("{:.0}", now.round(jiff::Unit::Second)?);
    let ready = json!({"type": "Ready", "status": "True", "reason": "Paper", "message": "on paper",
        "lastHeartbeatTime": second, "lastTransitionTime": second});
    let status =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "status": {"conditions": [ready]}});
    nodes.patch_status(NODE, &params, &Patch::Apply(&status)).await.context("the paper node's status")?;
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NODE},
        "spec": {"holderIdentity": NODE, "leaseDurationSeconds": 40, "renewTime": format!("{now:.6}")}});
    leases.patch(NODE, &params, &Patch::Apply(&lease)).await.context("the paper node's lease")?;
    Ok(())
}

/// Makes every pod of the node ready once it is there.
async fn pods(client: Client) -> Result<()> {
    let all: Api<Pod> = Api::all(client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={NODE}"));
    let next = &AtomicU32::new(0);
    watcher(all, config)
        .default_backoff()
        .applied_objects()
        .map_err(anyhow::Error::from)
        .try_for_each_concurrent(AT_ONCE, |pod| {
            let client = client.clone();
            async move {
                let has = pod.status.as_ref().is_some_and(|s| s.pod_ip.is_some());
                if has || pod.metadata.deletion_timestamp.is_some() {
                    return Ok(());
                }
                let number = next.fetch_add(1, Ordering::Relaxed) % 60_000;
                let ip = format!("10.77.{}.{}", number / 250, number % 250 + 1);
                let api: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
                let status = Patch::Merge(json!({"status": status(&ip)}));
                match api.patch_status(&pod.name_any(), &PatchParams::default(), &status).await {
                    // One that is gone needs none.
                    Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
                    other => other.map(drop).context("the status of a pod"),
                }
            }
        })
        .await
}

fn status(ip: &str) -> Value {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |of: &str| json!({"type": of, "status": "True", "lastTransitionTime": now});
    let conditions = ["Initialized", "ContainersReady", "Ready", "PodScheduled"].map(condition);
    json!({
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": now,
        "conditions": conditions,
        "containerStatuses": [{"name": "app", "image": "docker.io/cutover/sample:dev", "imageID": "paper", "ready": true,
            "restartCount": 0, "started": true, "state": {"running": {"startedAt": now}}}],
    })
}

/// The Deployment `APP-COLOUR` with so many pods on the node.
pub fn deployment(app: &str, colour: &str, replicas: u32) -> Result<Value> {
    let yaml = app::deployment(app, &Colour::new(colour).replicas(replicas));
    let mut object = cluster::documents(&yaml)?.pop().context("no Deployment")?;
    object["spec"]["template"]["spec"]["nodeName"] = json!(NODE);
    // Nobody would confirm that they have ended.
    object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(0);
    Ok(object)
}
