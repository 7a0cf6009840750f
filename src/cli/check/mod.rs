//! `check`: whether the cluster, the installation, the rights and the Cutovers are in order. Reads, asks for reviews of
//! rights, and sends one dry run; writes nothing.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;
use tokio::time::Instant;

use super::cluster::{Cluster, Seen};
use super::exit::{Exit, Failure};
use super::global::Global;
use super::output;
use super::rights::{OURS, Right};
use super::session::Session;
use super::text::time;
use crate::api::cutover::Cutover;

mod account;
mod ask;
mod beside;
#[cfg(test)]
mod beside_tests;
mod definitions;
pub(crate) mod facts;
mod install;
mod metrics;
pub(crate) mod model;
pub(crate) mod operator;
pub(crate) mod page;
pub(crate) mod policies;
mod server;
pub(crate) mod sides;
#[cfg(test)]
mod sides_tests;
pub(crate) mod topics;

use facts::{Facts, Planned};
use model::{Line, Report, State};
use operator::Place;

const CUTOVER: Right = Right::wish("get", OURS, "cutovers");
const CUTOVERS: Right = Right::wish("list", OURS, "cutovers");

/// What `check` may ask.
pub(crate) const RIGHTS: [Right; 22] = [
    CUTOVER,
    CUTOVERS,
    policies::FORGE,
    policies::POLICIES,
    policies::BINDINGS,
    definitions::CRDS,
    operator::DEPLOYMENT,
    operator::LEASE,
    facts::SERVICES,
    facts::DEPLOYMENTS,
    facts::STATEFUL_SETS,
    facts::PODS,
    facts::SLICES,
    facts::AUTOSCALERS,
    facts::BUDGETS,
    facts::TEMPLATES,
    facts::CLUSTER_TEMPLATES,
    metrics::PROXY,
    account::ASKS[0],
    account::ASKS[1],
    account::ASKS[2],
    account::ASKS[3],
];

/// Between two looks of `--wait`.
const PAUSE: Duration = Duration::from_secs(2);

/// What is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct Check {
    /// A Cutover; without one, all of the namespace.
    name: Option<String>,
    /// Before an installation: the cluster, and your rights to install.
    #[arg(long, conflicts_with_all = ["name", "all_namespaces"])]
    pre: bool,
    /// The Cutovers of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "name")]
    all_namespaces: bool,
    /// Look again until nothing fails, for so long at most, such as 2m.
    #[arg(long, value_name = "TIME", value_parser = time::duration)]
    wait: Option<Duration>,
}

impl Check {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let session = Session::open(global, &RIGHTS).await?;
        let until = self.wait.map(|wait| Instant::now() + wait);
        loop {
            let report = match self.look(&session).await {
                Ok(report) => report,
                // An API server that is still starting, or a name that is still to come.
                Err(failure) if until.is_none_or(|until| Instant::now() + PAUSE > until) => return Err(failure),
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let over = until.is_none_or(|until| Instant::now() + PAUSE > until);
            if !report.ok && !over {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let names: Vec<String> = report.checks.iter().map(|l| l.id.to_owned()).collect();
            output::print(global.output, session.look, &report, &names, || page::page(&report))?;
            return Ok(match (report.ok, until) {
                (true, _) => Exit::Done,
                (false, None) => Exit::Failed,
                (false, Some(_)) => Exit::TimedOut,
            });
        }
    }

    async fn look(&self, session: &Session) -> Result<Report, Failure> {
        let cluster = &session.cluster;
        let (mut lines, server) = server::look(cluster).await?;
        let pairs = policies::read(cluster).await?;
        let named = policies::operator(&pairs);
        let place = Place::of(named.as_deref());
        if self.pre {
            lines.push(install::rights(cluster).await?);
            lines.push(install::other(cluster, named.as_deref()).await?);
            return Ok(report(cluster, lines).await);
        }
        let definitions = definitions::look(cluster).await?;
        let served =
            definitions.iter().all(|l| l.id != topics::CRD_VERSION.id || !l.message.contains("does not serve"));
        lines.extend(definitions);
        let (of_operator, user) = operator::look(cluster, &place, server.unwrap_or_else(Timestamp::now)).await?;
        lines.extend(of_operator);
        // Whom the policies let write, and who runs.
        lines.extend(policies::bound(&pairs, &user));
        if served {
            lines.push(policies::proven(cluster).await?);
            lines.extend(self.cutovers(session, &place).await?);
        }
        Ok(report(cluster, lines).await)
    }

    /// The lines about Cutovers, namespace by namespace.
    async fn cutovers(&self, session: &Session, place: &Place) -> Result<Vec<Line>, Failure> {
        let cluster = &session.cluster;
        let namespace = (!self.all_namespaces).then(|| session.namespace().to_owned());
        let shown = namespace.as_ref().map_or("the cluster".to_owned(), |n| format!("namespace {n}"));
        let read = cluster.list::<Cutover>(namespace.as_deref(), &ListParams::default()).await;
        let all = match cluster.wish(read, CUTOVERS)? {
            Seen::Known(all) => all,
            Seen::Hidden(right) => {
                return Ok(vec![Line::hidden(topics::CUTOVERS, "the Cutovers", right, namespace.as_deref())]);
            }
        };
        // As `kubectl get -o name` has it, too.
        let name = self.name.as_ref().map(|n| n.rsplit('/').next().unwrap_or(n).to_owned());
        let wanted = |c: &&Cutover| name.as_ref().is_none_or(|name| *name == c.name_any());
        let mut chosen: Vec<&Cutover> = all.iter().filter(wanted).collect();
        if let (Some(name), true) = (&name, chosen.is_empty()) {
            let names: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
            let failure = Failure::new(format!("{shown} has no Cutover {name}"));
            return Err(match names.is_empty() {
                true => failure.next(format!("kubectl cutover status -A{}", cluster.context_flag())),
                false => failure.next(format!("name one of {}", names.join(", "))),
            });
        }
        chosen.sort_by_key(|c| (c.namespace(), c.name_any()));
        let count = chosen.len();
        let many = if count == 1 { "Cutover" } else { "Cutovers" };
        let mut lines = vec![Line::ok(topics::CUTOVERS, format!("{shown} has {count} {many} to look at"))];
        let mut facts: Option<(String, Facts)> = None;
        for cutover in chosen {
            let ns = cutover.namespace().unwrap_or_default();
            if facts.as_ref().is_none_or(|(of, _)| *of != ns) {
                facts = Some((ns.clone(), Facts::read(cluster, &ns).await?));
            }
            let Some((_, facts)) = &facts else { continue };
            let of_this = one(cluster, cutover, &all, facts, place).await?;
            lines.extend(of_this.into_iter().map(|l| l.of(&ns, &cutover.name_any())));
        }
        Ok(lines)
    }
}

/// The report; what is to be asked for is asked for the user by name.
async fn report(cluster: &Cluster, lines: Vec<Line>) -> Report {
    let user = if lines.iter().any(Line::asks_for_user) { cluster.whoami().await.ok() } else { None };
    Report::of(lines, user.as_deref())
}

/// What keeps the next run of a Cutover from starting, or from an end: the failed lines about what stands around it.
pub(crate) fn in_the_way(
    cutover: &Cutover,
    all: &[Cutover],
    planned: &Planned,
    facts: &Facts,
    now: Timestamp,
) -> Vec<Line> {
    let mut lines = sides::services(cutover, facts);
    // A Service that is wrong makes the sides wrong, too.
    let served = lines.iter().all(|l| l.state != State::Failed);
    lines.extend(sides::claimed(cutover, all));
    lines.extend(sides::workloads(cutover, facts));
    if served {
        lines.extend(sides::sides(cutover, Some(planned), facts, now));
    }
    lines.extend(planned.plan.as_ref().ok().and_then(|plan| sides::unstarted(cutover, plan, facts)));
    lines.retain(|l| l.state == State::Failed);
    lines
}

/// The lines about one Cutover.
async fn one(
    cluster: &Cluster,
    cutover: &Cutover,
    all: &[Cutover],
    facts: &Facts,
    place: &Place,
) -> Result<Vec<Line>, Failure> {
    let ns = cutover.namespace().unwrap_or_default();
    let planned = facts::planned(cluster, cutover, facts).await?;
    let planned = planned.known();
    let flags = format!(" -n {ns}{}", cluster.context_flag());
    let mut lines = account::look(cluster, cutover, planned, place).await?;
    lines.push(account::you(cluster, cutover, planned).await?);
    lines.extend(metrics::look(cluster, cutover, planned).await?);
    lines.push(sides::accepted(cutover, planned));
    lines.extend(sides::services(cutover, facts));
    lines.extend(sides::claimed(cutover, all));
    lines.extend(sides::workloads(cutover, facts));
    lines.extend(sides::sides(cutover, planned, facts, Timestamp::now()));
    lines.extend(sides::overlap(cutover, facts));
    lines.extend(beside::selector_owner(cutover, facts));
    lines.extend(beside::workload_owner(planned, facts, Timestamp::now()));
    lines.extend(beside::autoscalers(cutover, planned, facts));
    lines.extend(beside::budgets(cutover, facts));
    lines.extend(beside::conditions(cutover, &flags));
    Ok(lines)
}
