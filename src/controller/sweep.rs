//! Looks every hour for decisions that no run has, for all Cutovers together, and carries out what
//! [`crate::pilot::cutover::sweep`] says of them. Nothing waits for it: its requests are few at a time and paced.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Preconditions, PropagationPolicy};
use kube::core::DeserializeGuard;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::act::answer::{OpenDecision, Run, own};
use crate::act::call::{CallError, call};
use crate::api::decision::CutoverDecision;
use crate::api::run::CutoverRun;
use crate::driver::manager::Namespaces;
use crate::effect::{Class, Outcome};
use crate::pilot::cutover::sweep::{Fate, MOST, Stray, again, first, stray};

/// Objects asked for at a time.
const PAGE: u32 = 500;
/// Pause after each request.
const PACE: Duration = Duration::from_millis(50);

/// Sweeps until `stop`, while `leads` says so. Decisions that no run has are kept for `keep`.
pub async fn run(
    client: Client,
    namespaces: Namespaces,
    keep: Duration,
    mut leads: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let mut pause = first(keep);
    loop {
        let led = tokio::select! {
            led = leads.wait_for(|leads| *leads) => led.is_ok(),
            () = stop.cancelled() => return,
        };
        if !led {
            // Nobody says any more who leads: the process ends.
            return stop.cancelled().await;
        }
        let work = async {
            tokio::time::sleep(pause).await;
            sweep(&client, &namespaces, keep).await
        };
        pause = tokio::select! {
            dealt_with = work => again(keep, dealt_with),
            Ok(_) = leads.wait_for(|leads| !*leads) => first(keep),
            () = stop.cancelled() => return,
        };
    }
}

/// One sweep. How many decisions it has dealt with.
async fn sweep(client: &Client, namespaces: &Namespaces, keep: Duration) -> usize {
    let mut sweep = Sweep { client, now: Timestamp::now(), keep, runs: BTreeMap::new(), deleted: 0, given: 0 };
    for decisions in namespaces.apis(client) {
        if let Err(error) = sweep.all(&decisions).await {
            tracing::warn!(%error, "decisions that no run has stay where they are for now");
        }
    }
    let Sweep { deleted, given, .. } = sweep;
    if deleted + given > 0 {
        tracing::info!(deleted, given, "decisions that no run had are deleted, or given to the run that they name");
    }
    deleted + given
}

struct Sweep<'a> {
    client: &'a Client,
    /// When it began.
    now: Timestamp,
    keep: Duration,
    /// By namespace: the names of its runs by uid, read since then.
    runs: BTreeMap<String, BTreeMap<String, String>>,
    deleted: usize,
    given: usize,
}

impl Sweep<'_> {
    /// Deals with all decisions of these namespaces, as long as nothing fails.
    async fn all(&mut self, decisions: &Api<DeserializeGuard<CutoverDecision>>) -> Result<(), CallError> {
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = call(decisions.list(&params)).await?;
            // What another version wrote and this one cannot read is left to that version.
            let readable = page.items.into_iter().filter_map(|guard| guard.0.ok());
            let strays: Vec<Stray> = readable.filter_map(|d| stray(&d, self.now, self.keep)).collect();
            for stray in strays {
                if self.deleted + self.given >= MOST {
                    return Ok(());
                }
                self.deal_with(&stray).await?;
            }
            let Some(next) = page.metadata.continue_.filter(|token| !token.is_empty()) else { return Ok(()) };
            params = params.continue_token(&next);
            tokio::time::sleep(PACE).await;
        }
    }

    async fn deal_with(&mut self, stray: &Stray) -> Result<(), CallError> {
        let runs = match self.runs.entry(stray.namespace.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(runs(self.client, &stray.namespace).await?),
        };
        match stray.fate(runs) {
            Fate::Stays => return Ok(()),
            Fate::Goes => self.deleted += usize::from(delete(self.client, stray).await?),
            Fate::IsOf(run) => {
                let run = Run { name: run, uid: &stray.run_uid };
                let Stray { namespace, name, uid, resource_version, .. } = stray;
                let seen = OpenDecision { name, uid, resource_version };
                match own(self.client.clone(), namespace, &seen, run).await {
                    Outcome::Done => self.given += 1,
                    Outcome::NotFound | Outcome::Conflict(_) => {}
                    other => return Err(CallError::transient(format!("decision {namespace}/{name}: {other:?}"))),
                }
            }
        }
        tokio::time::sleep(PACE).await;
        Ok(())
    }
}

/// The names of all runs of a namespace, by uid.
async fn runs(client: &Client, namespace: &str) -> Result<BTreeMap<String, String>, CallError> {
    let api: Api<CutoverRun> = Api::namespaced(client.clone(), namespace);
    let (mut names, mut params) = (BTreeMap::new(), ListParams::default().limit(PAGE));
    loop {
        let page = call(api.list_metadata(&params)).await?;
        names.extend(page.items.into_iter().filter_map(|run| run.metadata.uid.zip(run.metadata.name)));
        let Some(next) = page.metadata.continue_.filter(|token| !token.is_empty()) else { return Ok(names) };
        params = params.continue_token(&next);
        tokio::time::sleep(PACE).await;
    }
}

/// Deletes it as it was read. False: it has gone, or has changed since.
async fn delete(client: &Client, stray: &Stray) -> Result<bool, CallError> {
    let api: Api<CutoverDecision> = Api::namespaced(client.clone(), &stray.namespace);
    let preconditions =
        Preconditions { uid: Some(stray.uid.clone()), resource_version: Some(stray.resource_version.clone()) };
    let params = DeleteParams {
        preconditions: Some(preconditions),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match call(api.delete(&stray.name, &params)).await {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.class, Class::NotFound | Class::Conflict) => Ok(false),
        Err(e) => Err(e),
    }
}
