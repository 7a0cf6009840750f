//! Waits until a workload has rolled out.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::runtime::watcher;

use crate::api::step::{WorkloadKind, WorkloadRef};
use crate::cli::cluster::Cluster;
use crate::cli::exit::{Exit, Failure};

/// How far a rollout is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rollout {
    Done,
    Under(String),
    Stuck(String),
}

/// Waits for at most `patience`.
///
/// # Errors
/// It does not come in that time, or cannot.
pub(crate) async fn wait(cluster: &Cluster, workload: &WorkloadRef, patience: Duration) -> Result<(), Failure> {
    let name = format!("{:?}/{}", workload.kind, workload.name);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", workload.name));
    let mut last = String::new();
    let followed = async {
        match workload.kind {
            WorkloadKind::Deployment => {
                let (api, _) = cluster.api::<Deployment>("list", None, &cluster.namespace)?;
                let mut stream = std::pin::pin!(kube::runtime::WatchStreamExt::applied_objects(watcher(api, config)));
                while let Some(seen) = stream.next().await {
                    let Ok(seen) = seen else { continue };
                    match told(&name, of_deployment(&seen), &mut last) {
                        None => {}
                        Some(end) => return end,
                    }
                }
            }
            WorkloadKind::StatefulSet => {
                let (api, _) = cluster.api::<StatefulSet>("list", None, &cluster.namespace)?;
                let mut stream = std::pin::pin!(kube::runtime::WatchStreamExt::applied_objects(watcher(api, config)));
                while let Some(seen) = stream.next().await {
                    let Ok(seen) = seen else { continue };
                    match told(&name, of_stateful_set(&seen), &mut last) {
                        None => {}
                        Some(end) => return end,
                    }
                }
            }
        }
        Err(Failure::new(format!("{name} cannot be watched any more")))
    };
    let ended = tokio::time::timeout(patience, followed).await;
    ended.unwrap_or_else(|_| {
        Err(Failure::new(format!("{name} has not rolled out within {patience:?}; nothing was activated"))
            .next(format!("kubectl rollout status {name} -n {}", cluster.namespace.clone()).to_lowercase())
            .exit(Exit::TimedOut))
    })
}

/// Prints what is new, and says how it ended.
fn told(name: &str, rollout: Rollout, last: &mut String) -> Option<Result<(), Failure>> {
    match rollout {
        Rollout::Done => Some(Ok(())),
        Rollout::Stuck(why) => Some(Err(Failure::new(format!(
            "{name} does not roll out: {why}; nothing was activated"
        ))
        .exit(Exit::Failed))),
        Rollout::Under(what) => {
            if what != *last {
                eprintln!("{name}: {what}");
                *last = what;
            }
            None
        }
    }
}

fn of_deployment(d: &Deployment) -> Rollout {
    let wanted = d.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let Some(status) = &d.status else { return Rollout::Under("not seen by its controller yet".into()) };
    if status.observed_generation < d.metadata.generation {
        return Rollout::Under("not seen by its controller yet".into());
    }
    let stuck = status.conditions.iter().flatten().find(|c| c.reason.as_deref() == Some("ProgressDeadlineExceeded"));
    if let Some(c) = stuck {
        return Rollout::Stuck(c.message.clone().unwrap_or_default());
    }
    let [updated, available, all] =
        [status.updated_replicas, status.available_replicas, status.replicas].map(|n| n.unwrap_or(0));
    match updated >= wanted && available >= wanted && all <= wanted {
        true => Rollout::Done,
        false => Rollout::Under(format!("{updated} of {wanted} updated, {available} available")),
    }
}

fn of_stateful_set(s: &StatefulSet) -> Rollout {
    let wanted = s.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let Some(status) = &s.status else { return Rollout::Under("not seen by its controller yet".into()) };
    if status.observed_generation < s.metadata.generation {
        return Rollout::Under("not seen by its controller yet".into());
    }
    let [updated, ready] = [status.updated_replicas, status.ready_replicas].map(|n| n.unwrap_or(0));
    match updated >= wanted && ready >= wanted && status.current_revision == status.update_revision {
        true => Rollout::Done,
        false => Rollout::Under(format!("{updated} of {wanted} updated, {ready} ready")),
    }
}
