//! The Lease: watched by every replica, renewed by the one that leads, given back when it stops. What a holder may do
//! with it, and what one may do that cannot renew it, stands in `net::leadership`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::act::call::{CallError, Class, call_within};
use crate::meter::Meter;
use crate::net::leadership::Leadership;
use crate::net::watch::{Named, watch as watch_for_ever};

mod candidate;

use candidate::{Candidate, Change};

/// The Lease of the operator.
pub const NAME: &str = "cutover-operator";
/// The watch, as `/readyz` names it.
pub(crate) const WATCH: &str = "the Lease";
/// One renewal that hangs must not be the last one before the Lease may be taken.
const LIMIT: Duration = Duration::from_millis(900);
/// Tries to give the Lease back.
const LAST_TRIES: u32 = 3;

/// Flags about the Lease.
#[derive(clap::Args, Clone, Debug)]
pub struct LeaseFlags {
    /// Where the Lease is that one of several replicas holds. Without it there is no Lease, and this must be the only
    /// process.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub(crate) lease_namespace: Option<String>,
    /// This is the only process: no Lease is asked for.
    #[arg(long)]
    pub(crate) no_lease: bool,
}

impl LeaseFlags {
    /// The namespace of the Lease, if there is to be one.
    pub fn namespace(&self) -> Option<&str> {
        self.lease_namespace.as_deref().filter(|ns| !self.no_lease && !ns.is_empty())
    }
}

/// A name that no other process has: that of the pod, and something of this process alone.
pub fn identity(instance: &str) -> String {
    format!("{instance}_{:016x}", RandomState::new().build_hasher().finish())
}

/// Keeps this process a candidate, and the Lease renewed while it leads.
pub(crate) struct Keeper {
    api: Api<Lease>,
    candidate: Candidate,
    leadership: Leadership,
    leads: watch::Sender<bool>,
    meter: Meter,
}

impl Keeper {
    /// `leads` is told when this process begins and ceases to lead; `leadership` says until when it may write.
    pub fn new(
        client: Client,
        namespace: &str,
        identity: &str,
        leadership: Leadership,
        leads: watch::Sender<bool>,
        meter: Meter,
    ) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, candidate: Candidate::new(NAME, identity), leadership, leads, meter }
    }

    /// Runs until `stop`; gives the Lease back then.
    pub async fn run(mut self, stop: CancellationToken) {
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let mut events = watch_for_ever(self.meter.watches(), self.api.clone(), config, &Named::needed(WATCH));
        let mut listed = false;
        loop {
            let due = self.candidate.due();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(event) = events.next() => match event {
                    Ok(Event::Init) => listed = false,
                    Ok(Event::InitApply(lease) | Event::Apply(lease)) => {
                        listed = true;
                        self.saw(Some(lease));
                    }
                    Ok(Event::InitDone) if listed => {}
                    Ok(Event::InitDone | Event::Delete(_)) => self.saw(None),
                    Err(e) => tracing::warn!(error = %e, "the watch of the Lease failed"),
                },
                () = until(due) => self.write().await,
            }
        }
        self.release().await;
    }

    fn saw(&mut self, lease: Option<Lease>) {
        let before = self.candidate.holder().to_owned();
        match self.candidate.saw(lease, Instant::now()) {
            Change::Lost { to } => {
                self.leadership.ended();
                self.tell();
                tracing::warn!(to, "the Lease is held by another operator: drivers are stopped");
            }
            Change::None if !self.candidate.leads() && before != self.candidate.holder() => {
                tracing::info!(holder = self.candidate.holder(), "following");
            }
            Change::None => {}
        }
    }

    fn tell(&self) {
        let leads = self.candidate.leads();
        self.leads.send_if_modified(|now| std::mem::replace(now, leads) != leads);
        self.meter.leader(leads && self.leadership.holds());
    }

    /// Takes or renews the Lease.
    async fn write(&mut self) {
        let started = Instant::now();
        let first = !self.candidate.leads();
        match self.put(&self.candidate.wanted(jiff::Timestamp::now())).await {
            Ok(lease) => {
                let until = self.candidate.wrote(lease, started);
                self.leadership.renewed(until);
                self.tell();
                if first {
                    tracing::info!("leading");
                }
            }
            Err(e) => self.failed(e).await,
        }
    }

    async fn put(&self, lease: &Lease) -> Result<Lease, CallError> {
        let params = PostParams { field_manager: Some(crate::api::FIELD_MANAGER.into()), ..PostParams::default() };
        if lease.metadata.resource_version.is_some() {
            call_within(LIMIT, self.api.replace(NAME, &params, lease)).await
        } else {
            call_within(LIMIT, self.api.create(&params, lease)).await
        }
    }

    async fn failed(&mut self, error: CallError) {
        if matches!(error.class, Class::Conflict | Class::NotFound) {
            // Written by somebody else, or by ourselves when the answer was lost. The watch may be slow or broken.
            match call_within(LIMIT, self.api.get_opt(NAME)).await {
                Ok(lease) => self.saw(lease),
                Err(e) => tracing::warn!(error = %e, "the Lease cannot be read"),
            }
        } else {
            tracing::warn!(%error, leads = self.candidate.leads(), "the Lease cannot be written");
        }
        self.candidate.failed(Instant::now());
        self.meter.leader(self.candidate.leads() && self.leadership.holds());
    }

    /// Gives the Lease back, so that a follower takes it at once. Nothing is written any more when this is called.
    async fn release(&mut self) {
        self.leadership.ended();
        for _ in 0..LAST_TRIES {
            if !self.candidate.leads() {
                break;
            }
            let Some(lease) = self.candidate.released() else { break };
            match self.put(&lease).await {
                Ok(_) => {
                    self.candidate.resigned();
                    tracing::info!("the Lease is given back");
                }
                Err(e) => self.failed(e).await,
            }
        }
        self.tell();
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
