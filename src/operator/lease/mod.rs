//! The Lease: watched by every replica, renewed by the one that leads, given back when it stops. What a holder may do
//! with it, and what one may do that cannot renew it, stands in `net::leadership`. Who writes it when is decided by
//! `candidate`; no write holds up the next, nor what the watch tells.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::act::call::{CallError, Class, call_within, insist};
use crate::effect::protocol::JsonPatch;
use crate::meter::Meter;
use crate::net::leadership::Leadership;
use crate::net::watch::{Named, watch as watch_for_ever};

mod candidate;

use candidate::{Candidate, Change, WORTH, Write};

/// The Lease of the operator.
pub const NAME: &str = "cutover-operator";
/// The watch, as `/readyz` names it.
pub(crate) const WATCH: &str = "the Lease";
/// A reading of the Lease.
const READ_LIMIT: Duration = Duration::from_millis(900);
/// Tries to give the Lease back where they fail, and how long each may take; whoever ends the process bounds them all.
const LAST_TRIES: (u32, Duration) = (3, Duration::from_secs(2));

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

/// What came of a call.
enum Done {
    Wrote(Result<Lease, CallError>),
    Read(Result<Option<Lease>, CallError>),
}

/// Keeps this process a candidate, and the Lease renewed while it leads.
pub(crate) struct Keeper {
    api: Api<Lease>,
    candidate: Candidate,
    leadership: Leadership,
    leads: watch::Sender<bool>,
    meter: Meter,
    /// Calls under way.
    calls: FuturesUnordered<BoxFuture<'static, Done>>,
    /// One of them is a reading.
    reading: bool,
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
        let candidate = Candidate::new(NAME, identity);
        Self { api, candidate, leadership, leads, meter, calls: FuturesUnordered::new(), reading: false }
    }

    /// Runs until `stop`; gives the Lease back then.
    pub async fn run(mut self, stop: CancellationToken) {
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let mut events = watch_for_ever(self.meter.watches(), self.api.clone(), config, &Named::needed(WATCH));
        let mut listed = false;
        loop {
            let due = self.candidate.due(Instant::now());
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
                Some(done) = self.calls.next() => self.done(done),
                () = until(due) => self.write(),
            }
        }
        self.release().await;
    }

    fn saw(&mut self, lease: Option<Lease>) {
        let before = self.candidate.holder().to_owned();
        match self.candidate.saw(lease, Instant::now()) {
            Change::Renewed { until, first } => {
                self.leadership.renewed(until);
                if first {
                    tracing::info!("leading");
                }
            }
            Change::Lost { to } => {
                self.leadership.ended();
                tracing::warn!(to, "the Lease is held by another operator: drivers are stopped");
            }
            Change::None if !self.candidate.leads() && before != self.candidate.holder() => {
                tracing::info!(holder = self.candidate.holder(), "following");
            }
            Change::None => {}
        }
        self.tell();
    }

    fn tell(&self) {
        let leads = self.candidate.leads();
        self.leads.send_if_modified(|now| std::mem::replace(now, leads) != leads);
        self.meter.leader(leads && self.leadership.holds());
    }

    /// Takes or renews the Lease, if that is due.
    fn write(&mut self) {
        let Some(write) = self.candidate.write(Instant::now(), jiff::Timestamp::now()) else { return };
        let api = self.api.clone();
        let holder = held_by(self.candidate.identity());
        let put = PostParams { field_manager: Some(crate::api::FIELD_MANAGER.into()), ..PostParams::default() };
        self.calls.push(Box::pin(async move {
            Done::Wrote(match write {
                Write::Take(lease) if lease.metadata.resource_version.is_some() => {
                    call_within(WORTH, api.replace(NAME, &put, &lease)).await
                }
                Write::Take(lease) => call_within(WORTH, api.create(&put, &lease)).await,
                Write::Renew(time) => match holder.replace("/spec/renewTime", json!(time)).body() {
                    Ok(renewal) => call_within(WORTH, send(&api, &renewal)).await,
                    Err(error) => Err(error),
                },
            })
        }));
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Wrote(Ok(lease)) => self.saw(Some(lease)),
            Done::Wrote(Err(error)) => {
                if somebody_elses(&error) {
                    // Or our own, when an answer was lost. The watch may be slow or broken.
                    self.read();
                } else {
                    tracing::warn!(%error, leads = self.candidate.leads(), "the Lease cannot be written");
                }
                self.candidate.failed(Instant::now());
                self.tell();
            }
            Done::Read(read) => {
                self.reading = false;
                match read {
                    Ok(lease) => self.saw(lease),
                    Err(error) => tracing::warn!(%error, "the Lease cannot be read"),
                }
            }
        }
    }

    fn read(&mut self) {
        if !std::mem::replace(&mut self.reading, true) {
            let api = self.api.clone();
            let read = async move { Done::Read(call_within(READ_LIMIT, api.get_opt(NAME)).await) };
            self.calls.push(Box::pin(read));
        }
    }

    /// Gives the Lease back, so that a follower takes it at once. Nothing is written any more when this is called.
    async fn release(&mut self) {
        self.leadership.ended();
        // Renewals that arrive later find another holder, or none.
        self.calls.clear();
        let given_back = match held_by(self.candidate.identity()).replace("/spec/holderIdentity", "").body() {
            Ok(patch) => patch,
            Err(error) => return tracing::error!(%error, "the Lease cannot be given back"),
        };
        for _ in 0..LAST_TRIES.0 {
            if !self.candidate.leads() {
                break;
            }
            match insist(LAST_TRIES.1, || send(&self.api, &given_back)).await {
                Ok(_) => {
                    self.candidate.resigned();
                    tracing::info!("the Lease is given back");
                }
                Err(error) if somebody_elses(&error) => self.candidate.resigned(),
                Err(error) => tracing::warn!(%error, "the Lease cannot be given back"),
            }
        }
        self.tell();
    }
}

/// A change of the Lease that takes effect only while `identity` holds it.
fn held_by(identity: &str) -> JsonPatch {
    JsonPatch::default().test("/spec/holderIdentity", identity)
}

async fn send(api: &Api<Lease>, patch: &Patch<()>) -> Result<Lease, kube::Error> {
    let params = PatchParams { field_manager: Some(crate::api::FIELD_MANAGER.into()), ..PatchParams::default() };
    api.patch(NAME, &params, patch).await
}

/// Whether the Lease is not as the writer of it thought.
fn somebody_elses(error: &CallError) -> bool {
    matches!(error.class, Class::Conflict | Class::NotFound | Class::Invalid)
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
