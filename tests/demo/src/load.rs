//! The load generator, seen from outside: it runs as a pod and is spoken to through the API server.

use anyhow::{Context, Result};
use http::Method;
use jiff::Timestamp;
use sample::load::{PoolReport, Report, Span};
use std::time::Duration;

use crate::cluster::Cluster;
use crate::scene::{SERVICE_NAME, Scenery};

/// Load on the Service during one release.
pub struct Load {
    cluster: Cluster,
    pod: String,
}

impl Load {
    /// Starts a pod that sends at once; the pod bounds the load by itself should this program die.
    pub async fn start(cluster: &Cluster, scenery: &Scenery, number: usize) -> Result<Self> {
        let pod = format!("load-{number}");
        let address = cluster.service_address(SERVICE_NAME).await?;
        cluster.apply(&scenery.load(&pod, &address)?).await?;
        cluster.wait_pod(&pod, Duration::from_secs(60)).await?;
        Ok(Self { cluster: cluster.clone(), pod })
    }

    /// The numbers so far.
    pub async fn report(&self) -> Result<Report> {
        self.ask(Method::GET, "/report").await
    }

    /// Ends the load and waits for the last answer.
    pub async fn stop(&self) -> Result<Report> {
        self.ask(Method::POST, "/stop").await
    }

    /// Lets the clients connect that never close their connection by themselves.
    pub async fn connect(&self) -> Result<()> {
        self.send(Method::POST, "/connect").await.map(drop)
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Report> {
        let text = self.send(method, path).await?;
        serde_json::from_str(&text).context("the load generator's report cannot be read")
    }

    async fn send(&self, method: Method, path: &str) -> Result<String> {
        self.cluster.proxy(method, &format!("pods/{}:9099", self.pod), path).await
    }
}

/// A pool of the report; a pool that never began counts as empty.
pub fn pool<'a>(report: &'a Report, name: &str) -> Option<&'a PoolReport> {
    report.pools.get(name)
}

/// How long users met errors or lost requests: from the first one to the last one, in both pools.
pub fn trouble(report: &Report) -> Option<Duration> {
    let spans: Vec<&Span> =
        report.pools.values().flat_map(|pool| [pool.app_errors_at.as_ref(), pool.lost_at.as_ref()]).flatten().collect();
    let first = spans.iter().filter_map(|span| span.first.parse::<Timestamp>().ok()).min()?;
    let last = spans.iter().filter_map(|span| span.last.parse::<Timestamp>().ok()).max()?;
    last.duration_since(first).try_into().ok()
}
