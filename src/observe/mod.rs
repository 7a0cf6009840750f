//! READS. Cluster and network → [`Sighting`]s and [`Reading`]s. Imports no decision, writes nothing.
//!
//! What the operator's own account must be allowed (cluster-wide; everything else is read or tried as the Cutover's
//! ServiceAccount):
//!
//! | group | resource | verbs | for |
//! |---|---|---|---|
//! | `cutover.dev` | cutovers, cutoverdecisions | get, list, watch | the Cutover and people's words that have no answer yet |
//! | core | services, pods | get, list, watch | selectors, ports, readiness, restarts |
//! | core | namespaces | get | a namespace that is going away |
//! | core | pods/log | get | what Jobs and the pods of sides wrote |
//! | `metrics.k8s.io` | pods | list | memory and CPU of the target's pods, while a trigger watches them |
//! | core | nodes | list, watch | addresses that no request may go to; whether pods are lost with their node |
//! | `discovery.k8s.io` | endpointslices | get, list, watch | convergence; addresses of the API server |
//! | `apps` | deployments, statefulsets | get, list, watch | counts and templates |
//! | `apps` | replicasets | list | revisions of a Deployment |
//! | `batch` | jobs | get, list, watch | Jobs of a run |
//! | `batch` | cronjobs | get | whether one is suspended, and its running Jobs |
//! | core | events | list | why a Job has no pod, or why its pod does not start |
//! | `policy` | poddisruptionbudgets | list | whether the labels of a Job's pod make it count there |
//! | core | serviceaccounts | impersonate | granted by a namespace, for the one account |
//!
//! As the ServiceAccount: get on the Secrets and ConfigMaps that steps name and on the objects of `resource`, and dry runs
//! of every write.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::notify::Notify;
use crate::api::prometheus::Prometheus;
use crate::api::trigger::Alertmanager;
pub use crate::effect::RunScope;
use crate::effect::{AlertsOf, Read, Request};
use crate::net::alerts::Alerts;
use crate::net::identity::Identity;
use crate::net::notify::Looked;
use crate::net::prometheus::{Access, Asked, Location, Query};
use crate::net::sources::Sources;
use crate::net::watches::Watches;
use crate::net::{Asker, Net};
use crate::plan::Plan;
use crate::threads::Threads;
pub use crate::world::convert;
use crate::world::{AlertsAnswer, NumbersAnswer, QueryAnswer, Reading, Sighting};

mod changed;
mod configuration;
pub(crate) mod dry_run;
mod events;
pub(crate) mod feed;
pub(crate) mod forgery;
mod job_result;
mod kept;
mod logs;
pub(crate) mod machines;
mod metrics;
mod nodes;
mod ours;
pub(crate) mod proof;
mod refresh;
mod resource;
pub mod scope;
mod selectors;
mod space;
mod state;
mod usage;
mod waits;

/// Reads for any run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Observer {
    client: kube::Client,
    identity: Identity,
    net: Net,
    sources: Sources,
    places: metrics::Places,
    waits: waits::Waits,
    watches: Watches,
    nodes: nodes::Nodes,
    spaces: space::Spaces,
    ours: ours::Ours,
    proofs: proof::Proofs,
    threads: Threads,
}

impl Observer {
    /// Reads with `client`, and as a Cutover's ServiceAccount through `identity`. `sources`: those of metrics that the
    /// operator's configuration offers; `watches`: where all are known; `threads`: where what was read is worked through.
    pub(crate) fn new(
        client: kube::Client,
        identity: Identity,
        net: Net,
        sources: Sources,
        watches: Watches,
        threads: Threads,
    ) -> Self {
        Self {
            client,
            identity,
            net,
            sources,
            places: metrics::Places::default(),
            waits: waits::Waits::default(),
            watches,
            nodes: nodes::Nodes::default(),
            spaces: space::Spaces::default(),
            ours: ours::Ours::default(),
            proofs: proof::Proofs::default(),
            threads,
        }
    }

    /// What is proven of decisions, for whoever judges those that no run does.
    pub(crate) fn proofs(&self) -> proof::Proofs {
        self.proofs.clone()
    }

    /// Watches the nodes for all runs, forever.
    pub(crate) async fn watch_nodes(&self) {
        self.nodes.clone().watch(self.client.clone(), &self.watches).await;
    }

    /// The addresses of all nodes, as that watch has told them; `None` until it has told them all.
    pub(crate) fn node_addresses(&self) -> tokio::sync::watch::Receiver<Option<Arc<BTreeSet<IpAddr>>>> {
        self.nodes.follow_addresses()
    }

    /// Whether what the watch of nodes has told is still so.
    pub(crate) fn knows_nodes(&self) -> bool {
        self.watches.current(nodes::WATCH)
    }

    /// Watches Cutovers and decisions of these namespaces (none: of all) for all runs, forever.
    pub(crate) async fn watch_ours(&self, namespaces: &[String]) {
        self.ours.watch(&self.source(), namespaces).await;
    }

    fn source(&self) -> space::Source {
        space::Source { client: self.client.clone(), board: self.watches.clone(), waits: self.waits.clone() }
    }

    /// What a run hears of the shared watches. Those of its namespace that it needs are begun.
    pub(crate) fn feed(&self, scope: &RunScope, plan: &Plan) -> feed::Feed {
        let subscriber = feed::Subscriber::new(feed::Wants::of(scope, plan));
        let space = self.spaces.join(&self.source(), &subscriber);
        self.ours.join(&subscriber);
        feed::Feed::new(subscriber, space, self.ours.clone(), self.nodes.follow())
    }

    /// Reads everything live (the effect of [`Read::Refresh`]); ends with [`Sighting::Refreshed`] if all could
    /// be read, else with [`Sighting::Unread`]. The time is that from which on all of it was read.
    /// Of `known_jobs`, those that are not there are reported as such.
    pub async fn refresh(&self, scope: &RunScope, plan: &Plan, known_jobs: &[String]) -> (Timestamp, Vec<Sighting>) {
        refresh::refresh(self, scope, plan, known_jobs).await
    }

    /// Answers any read but [`Read::Refresh`]. Bounded in time and size by the read itself.
    pub async fn read(&self, scope: &RunScope, read: &Read) -> Reading {
        match read {
            Read::Http(request) => Reading::Http(self.http(scope, request).await),
            Read::Query { query, at, timeout } => Reading::Query(self.query(scope, query, *at, *timeout).await),
            Read::Numbers { query, at, timeout } => Reading::Numbers(self.numbers(scope, query, *at, *timeout).await),
            Read::Alerts(of) => Reading::Alerts(self.alerts(scope, of).await),
            Read::Keys { config, container } => {
                Reading::Keys(configuration::read(self, scope, config, container.as_ref()).await)
            }
            Read::JobResult { job, uid, log } => {
                Reading::Job(job_result::read(&self.client, &scope.namespace, job, uid, *log).await)
            }
            Read::Resource(of) => {
                Reading::Resource(resource::read(&self.threads, &self.account(scope), &scope.namespace, of).await)
            }
            Read::Tls(of) => {
                let account = self.account(scope);
                Reading::Tls(self.net.certificate(&self.asker(scope, &account), of).await)
            }
            Read::Usage(of) => Reading::Usage(usage::read(&self.client, &scope.namespace, of).await),
            Read::Logs(of) => {
                Reading::Logs(logs::read(&self.net, &self.threads, &self.client, &scope.namespace, of).await)
            }
            Read::DryRun(runs) => Reading::DryRun(dry_run::all(self, scope, runs).await),
            Read::CronJob(name) => Reading::CronJob(changed::cron_job(&self.client, &scope.namespace, name).await),
            Read::Revisions(name) => Reading::Revisions(changed::revisions(&self.client, &scope.namespace, name).await),
            Read::Nodes(names) => Reading::Nodes(nodes::read(&self.client, names).await),
            Read::Events(of) => Reading::Events(events::read(&self.client, &scope.namespace, of).await),
            Read::Selectors => Reading::Selectors(selectors::read(&self.client, &scope.namespace).await),
            Read::Proof => Reading::Proof(self.proofs.read(&self.client, &scope.namespace).await),
            Read::Refresh => Reading::Refreshed,
        }
    }

    /// Whether the receivers of a Cutover could be told of something, by what its account may read. No request is sent to them.
    pub(crate) async fn receivers(&self, namespace: &str, account: &str, receivers: &[Notify]) -> Looked {
        self.net.receivers(&self.identity.as_account(namespace, account), namespace, receivers).await
    }

    /// A client that acts as the ServiceAccount.
    fn account(&self, scope: &RunScope) -> kube::Client {
        self.identity.as_account(&scope.namespace, &scope.service_account)
    }

    fn asker<'a>(&'a self, scope: &'a RunScope, account: &'a kube::Client) -> Asker<'a> {
        Asker { operator: &self.client, account, namespace: &scope.namespace, watched: Some(&self.spaces) }
    }

    async fn http(&self, scope: &RunScope, request: &Request) -> Vec<crate::world::HttpAnswer> {
        let account = self.account(scope);
        self.net.request(&self.asker(scope, &account), request).await
    }

    async fn query(
        &self,
        scope: &RunScope,
        query: &str,
        at: Option<Timestamp>,
        timeout: crate::api::Duration,
    ) -> QueryAnswer {
        let (place, access) = match self.prometheus(scope).await {
            Ok(found) => found,
            Err(why) => return QueryAnswer::Inconclusive(why),
        };
        let query = Query { source: Asked { place: &place, access, timeout }, query, at };
        let account = self.account(scope);
        self.net.query(&self.asker(scope, &account), &query).await
    }

    async fn numbers(
        &self,
        scope: &RunScope,
        query: &str,
        at: Timestamp,
        timeout: crate::api::Duration,
    ) -> NumbersAnswer {
        let (place, access) = match self.prometheus(scope).await {
            Ok(found) => found,
            Err(why) => return NumbersAnswer::Inconclusive(why),
        };
        let query = Query { source: Asked { place: &place, access, timeout }, query, at: Some(at) };
        let account = self.account(scope);
        self.net.numbers(&self.asker(scope, &account), &query).await
    }

    async fn alerts(&self, scope: &RunScope, of: &AlertsOf) -> AlertsAnswer {
        let account = self.account(scope);
        let asker = self.asker(scope, &account);
        let Some(alertmanager) = &of.alertmanager else {
            return match self.prometheus(scope).await {
                Ok((place, access)) => {
                    let source = Asked { place: &place, access, timeout: of.timeout };
                    self.net.alerts(&asker, Alerts::Prometheus(source), of).await
                }
                Err(why) => AlertsAnswer::Inconclusive(why),
            };
        };
        let Alertmanager { service, url, name } = alertmanager.clone();
        let place = Prometheus { service, url, name, ..Prometheus::default() };
        match self.places.find(&self.client, &scope.namespace, &place, &self.sources).await {
            Ok((place, access)) => {
                let source = Asked { place: &place, access, timeout: of.timeout };
                self.net.alerts(&asker, Alerts::Alertmanager(source), of).await
            }
            Err(why) => AlertsAnswer::Inconclusive(format!("Alertmanager: {why}")),
        }
    }

    /// Where the metrics of a run come from.
    async fn prometheus<'a>(&'a self, scope: &'a RunScope) -> Result<(Location, Access<'a>), String> {
        let prometheus = scope.prometheus.as_ref().ok_or("the plan names no Prometheus: set spec.prometheus")?;
        let found = self.places.find(&self.client, &scope.namespace, prometheus, &self.sources).await;
        found.map_err(|why| format!("Prometheus: {why}"))
    }
}
