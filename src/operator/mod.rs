//! The process: flags, clients, telemetry, health, and the tasks that make up the operator.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::act::Actor;
use crate::api;
use crate::controller::{self, Controller};
use crate::driver::Context;
use crate::driver::manager::{self, Namespaces};
use crate::driver::told::told;
use crate::meter::Meter;
use crate::net::identity::Identity;
use crate::net::leadership::Leadership;
use crate::net::{AddressRules, Net};
use crate::observe::Observer;
use crate::pilot::cutover::{Setup, sweep};
use crate::publish::Publisher;
use crate::threads::Threads;

mod apart;
mod cluster;
mod config;
mod connections;
mod health;
mod http;
mod lease;
mod otlp;
pub(crate) mod preflight;
mod push;
mod telemetry;
mod traffic;

use apart::Pulse;
use config::Config;
use health::Health;

/// How long the drivers and looks of an ending operator may take; the Lease is given back after them. With the
/// traces that is no more than what Kubernetes gives the pod (10 s).
const LAST_WORDS: Duration = Duration::from_secs(6);
/// How long giving the Lease back may take.
const LAST_RENEWAL: Duration = Duration::from_secs(2);

/// How long traces that are still to be exported may hold up the end.
const LAST_TRACES: Duration = Duration::from_secs(2);

/// Flags of `cutover run`.
#[derive(clap::Args, Clone, Debug)]
pub struct Flags {
    /// Only Cutovers of this namespace; may be repeated. Without it: all.
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    pub namespaces: Vec<String>,
    /// The operator's configuration, in YAML: the sources of metrics and receivers of notifications that
    /// Cutovers may name. Read at the start.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A private range that URLs in Cutovers may reach; may be repeated.
    #[arg(long, value_name = "CIDR")]
    pub(crate) allow_private: Vec<IpNet>,
    /// URLs in Cutovers may not reach public addresses.
    #[arg(long)]
    pub(crate) forbid_public: bool,
    /// Name server for URLs in Cutovers, instead of the system's.
    #[arg(long, value_name = "IP:PORT")]
    pub dns: Option<SocketAddr>,
    /// How long a decision is kept that no run has: one that was never answered, or that names a run which is not there. At
    /// least 10s.
    #[arg(long, default_value = "24h", value_parser = keep_decisions, value_name = "TIME")]
    pub(crate) keep_decisions: Duration,
    /// Where /metrics, /readyz and /livez are served.
    #[arg(long, alias = "metrics-addr", default_value = "0.0.0.0:8080", value_name = "IP:PORT")]
    pub listen: SocketAddr,
    /// Where the trace of each run goes once it is closed, by OTLP over HTTP, such as http://collector.monitoring.svc:4318.
    /// Without it the variables OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT are heeded.
    #[arg(long, value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    /// The Lease.
    #[command(flatten)]
    pub lease: lease::LeaseFlags,
    /// Log lines for people or for machines. RUST_LOG filters them.
    #[arg(long, value_enum, default_value_t = telemetry::Format::Text)]
    pub(crate) log_format: telemetry::Format,
}

fn keep_decisions(text: &str) -> Result<Duration, String> {
    let keep = text.parse::<api::duration::Duration>().map_err(|e| e.to_string())?.std();
    if keep < sweep::LEAST {
        return Err(format!("at least {}s: decisions are answered within seconds", sweep::LEAST.as_secs()));
    }
    Ok(keep)
}

/// Runs until a signal.
///
/// # Errors
/// When flags or the configuration are wrong, the cluster is not configured, or the address cannot be listened on.
pub fn run(flags: Flags) -> anyhow::Result<()> {
    telemetry::start(flags.log_format)?;
    let config = flags.config.as_deref().map(config::load).transpose()?.unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads())
        .enable_all()
        .build()
        .context("the runtime")?;
    runtime.block_on(serve(flags, config))
}

/// Threads of the runtime. The operator waits far more than it works; on a large node one thread for each core would only
/// cost memory.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 4)
}

async fn serve(flags: Flags, config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let listener = tokio::net::TcpListener::bind(flags.listen)
        .await
        .with_context(|| format!("--listen {}: cannot be listened on", flags.listen))?;
    tracing::info!(listen = ?listener.local_addr(), "health and metrics are served");
    let meter = Meter::new().context("metrics")?;
    let (traces, exporting) = otlp::start(flags.otlp_endpoint.as_deref(), meter.clone())?;
    let (client, endpoint) = cluster::connect(meter.clone(), &instance()).await?;
    let identity = Identity::new(client.clone());
    // The tests of this crate know one more field.
    #[allow(clippy::needless_update)]
    let rules = AddressRules {
        allow_private: flags.allow_private.clone(),
        allow_public: !flags.forbid_public,
        deny: cluster::own_addresses(&endpoint),
        ..AddressRules::default()
    };
    let threads = Threads::start().context("threads for what tenants compute")?;
    let net = Net::new(rules, flags.dns, threads.clone(), config.outgoing);
    let watches = meter.watches().clone();
    let observer =
        Observer::new(client.clone(), identity.clone(), net.clone(), config.sources, watches, threads.clone());
    let health = Arc::new(Health::new(meter.watches().clone()));
    let (shared, ended, of) = (observer.clone(), stop.clone(), flags.namespaces.clone());
    tokio::spawn(async move {
        tokio::select! {
            ((), ()) = async { tokio::join!(shared.watch_nodes(), shared.watch_ours(&of)) } => {}
            () = ended.cancelled() => {}
        }
    });
    tokio::spawn(cluster::keep_forbidden(client.clone(), net.clone(), observer.clone(), stop.clone()));
    // Before anything else is asked: the cluster may be away for a while.
    let pages = http::Pages::new(health.clone(), meter.clone());
    tokio::spawn(http::serve(listener, Arc::new(pages), stop.clone()));
    push::start(config.pushes, client.clone(), stop.clone()).await?;
    let operator = tokio::select! {
        name = operator_name(&client) => name,
        signal = signalled() => {
            tracing::info!(signal = signal?, "stopping before the API server answered");
            return Ok(());
        }
    };
    let publisher = Publisher::start(client.clone(), meter.clone(), instance());
    let election = Election::prepare(&flags.lease, &health, &meter);
    // What writes claims and Cutovers asks the Lease each time. What only reads does not, nor do Events: they tell what
    // has happened, and change nothing.
    let writer = election.leadership.guard(client.clone());
    let seen = observer.clone();
    let drivers = Arc::new(Context {
        client: writer.clone(),
        actor: Actor::new(client.clone(), identity.clone(), net.clone(), election.leadership.clone()),
        observer,
        publisher: publisher.clone(),
        meter: meter.clone(),
        traces,
        threads: threads.clone(),
    });
    let setup = Setup { operator: operator.clone(), offered: config.offered };
    let controller = Controller::new(writer.clone(), identity, publisher, meter.clone(), seen, setup, threads);
    let controller = Arc::new(controller);
    let mut checks = preflight::Preflight::new(
        client.clone(),
        &operator,
        &flags.namespaces,
        flags.lease.namespace(),
        health.clone(),
        election.leadership.clone(),
    );
    checks.first().await;
    tokio::spawn(checks.run(stop.clone()));
    let namespaces = Namespaces(flags.namespaces.clone());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), operator, namespaces = ?flags.namespaces, "started");

    tokio::spawn(cluster::probe(client.clone(), health.clone(), stop.clone()));
    let (tell, runs) = told();
    let leads = || election.leads.clone();
    let manage = tokio::spawn(manager::run(drivers, namespaces.clone(), tell, leads(), stop.clone()));
    let control = tokio::spawn(controller::run(controller, namespaces.clone(), runs, leads(), stop.clone()));
    let (keep, over) = (flags.keep_decisions, stop.clone());
    let sweep = tokio::spawn(controller::sweep::run(writer, namespaces, keep, leads(), over));

    let mut work = tokio::spawn(async move { tokio::try_join!(manage, control, sweep).map(drop) });
    let give_back = CancellationToken::new();
    let pulse = Pulse::default();
    tokio::spawn(pulse.clone().beat());
    let mut keeping = {
        let end = give_back.clone();
        apart::begin("lease", move || election.keep(pulse, end))?
    };
    tokio::select! {
        signal = signalled() => {
            tracing::info!(signal = signal?, "stopping");
        }
        // None of them ends by itself: whatever happened, a new process is better than half of this one.
        ended = &mut work => {
            stop.cancel();
            bail!("a part of the operator ended: {ended:?}");
        }
        ended = &mut keeping => bail!("the keeper of the Lease ended: {ended:?}"),
    }
    health.stopping();
    stop.cancel();
    if tokio::time::timeout(LAST_WORDS, &mut work).await.is_err() {
        tracing::warn!("not everything ended in time; what was under way is picked up by the next operator");
    }
    give_back.cancel();
    if tokio::time::timeout(LAST_RENEWAL, keeping).await.is_err() {
        tracing::warn!("the Lease was not given back in time; it runs out by itself");
    }
    if let Some(exporting) = exporting {
        // The queue ends with the last driver; what is in it is still sent, if the collector takes it at once.
        tokio::time::timeout(LAST_TRACES, exporting).await.ok();
    }
    Ok(())
}

/// Who the operator is, for the commands it prints. Asked again until the API server answers.
async fn operator_name(client: &kube::Client) -> String {
    let mut pause = Duration::from_millis(200);
    loop {
        match controller::operator_name(client).await {
            Ok(name) => return name,
            Err(e) => tracing::warn!(error = %e, "the API server does not say who the operator is; asking again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// Whether this process may lead, and whether it does.
struct Election {
    leadership: Leadership,
    leads: watch::Receiver<bool>,
    tell: watch::Sender<bool>,
    /// Whose Lease is kept; without one this process leads.
    namespace: Option<String>,
    meter: Meter,
}

impl Election {
    fn prepare(flags: &lease::LeaseFlags, health: &Arc<Health>, meter: &Meter) -> Self {
        let namespace = flags.namespace().map(str::to_owned);
        let alone = namespace.is_none();
        if alone {
            tracing::info!(
                "no Lease: this process is taken for the only operator (--lease-namespace names one's place)"
            );
            meter.leader(true);
        } else {
            health.needs(lease::WATCH);
        }
        let (tell, leads) = watch::channel(alone);
        let leadership = if alone { Leadership::sole() } else { Leadership::none() };
        Self { leadership, leads, tell, namespace, meter: meter.clone() }
    }

    /// Until `stop`; without a Lease there is nothing else to do. On a thread of its own, with a client of its own: nothing
    /// that drivers do holds up a renewal. A process whose drivers stand still must not keep the Lease: it ends.
    async fn keep(self, pulse: Pulse, stop: CancellationToken) -> anyhow::Result<()> {
        let keep = async {
            let Some(namespace) = &self.namespace else {
                stop.cancelled().await;
                return Ok(());
            };
            let (client, _) = cluster::connect(self.meter.clone(), &instance()).await?;
            let identity = lease::identity(&instance());
            tracing::info!(namespace, lease = lease::NAME, identity, "a candidate");
            lease::Keeper::new(client, namespace, &identity, self.leadership, self.tell, self.meter).run(stop).await;
            Ok(())
        };
        tokio::select! {
            kept = keep => kept,
            () = pulse.gone() => {
                tracing::error!("the runtime of the drivers stands still: this process ends");
                std::process::exit(1);
            }
        }
    }
}

fn instance() -> String {
    std::env::var("POD_NAME").unwrap_or_else(|_| format!("cutover-{}", std::process::id()))
}

async fn signalled() -> anyhow::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT")?;
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_make_a_command_line() {
        use clap::{Args, FromArgMatches};
        let command = Flags::augment_args(clap::Command::new("run"));
        command.clone().debug_assert();
        let parse = |args: &[&str]| {
            let all = std::iter::once("run").chain(args.iter().copied());
            let matches = command.clone().try_get_matches_from(all).expect("flags");
            Flags::from_arg_matches(&matches).expect("flags").lease
        };
        assert_eq!(parse(&["--lease-namespace", "a"]).namespace(), Some("a"));
        assert_eq!(parse(&["--lease-namespace", "a", "--no-lease"]).namespace(), None);
        assert_eq!(parse(&["--lease-namespace", ""]).namespace(), None);
        let day = Duration::from_secs(24 * 3600);
        assert_eq!((keep_decisions("24h"), keep_decisions("10s")), (Ok(day), Ok(sweep::LEAST)));
        assert!(keep_decisions("9s").is_err() && keep_decisions("soon").is_err());
    }
}
