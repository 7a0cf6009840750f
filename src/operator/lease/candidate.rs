//! Who may lead, and until when: what is known of the Lease, and what follows from it. No I/O; every moment is given.
//!
//! A candidate takes a Lease that is free, or that has not changed for its duration by the candidate's own monotonic
//! clock. Every write is a compare-and-swap on the resourceVersion it last saw, so one that missed a renewal cannot take.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use tokio::time::Instant;

/// A Lease that did not change for this long may be taken. Whole seconds: it stands in the Lease.
pub(crate) const DURATION: Duration = Duration::from_secs(3);
/// The holder renews this often.
pub(crate) const RENEW: Duration = Duration::from_secs(1);
/// The holder stops writing this much earlier than others may take the Lease: clocks differ in speed, and a write needs
/// a moment from being allowed to being sent.
const MARGIN: Duration = Duration::from_millis(500);
/// Pause after a write of the Lease that failed.
const RETRY: Duration = Duration::from_millis(250);
/// Of a duration that another holder names, this much is believed.
const LONGEST: Duration = Duration::from_secs(60);

/// What is known of the Lease.
struct Known {
    lease: Option<Lease>,
    /// From when on somebody else may take it.
    free_at: Instant,
}

/// One process that wants to lead.
pub(crate) struct Candidate {
    name: String,
    identity: String,
    known: Option<Known>,
    leads: bool,
    next: Option<Instant>,
}

/// What a look at the Lease changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that matters.
    None,
    /// We led, and somebody else holds it now.
    Lost { to: String },
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|s| s.holder_identity.as_deref()).unwrap_or_default()
}

fn version(lease: &Lease) -> Option<&str> {
    lease.metadata.resource_version.as_deref()
}

/// Whether `now` is not newer than `then`. Versions are integers that grow; others are taken as newer when they differ.
fn stale(then: &Lease, now: &Lease) -> bool {
    let number = |l: &Lease| version(l).and_then(|v| v.parse::<u128>().ok());
    match (number(then), number(now)) {
        (Some(then_n), Some(now_n)) if then.metadata.uid == now.metadata.uid => now_n <= then_n,
        _ => version(then) == version(now),
    }
}

impl Candidate {
    /// Nothing known yet. `identity` is unique to the process.
    pub fn new(name: &str, identity: &str) -> Self {
        Self { name: name.into(), identity: identity.into(), known: None, leads: false, next: None }
    }

    /// Whether it leads; whether it may still write is another question (`Leadership`).
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Who holds the Lease, as far as known.
    pub fn holder(&self) -> &str {
        self.known.as_ref().and_then(|k| k.lease.as_ref()).map_or("", holder)
    }

    /// The Lease as it was just seen (`None`: it does not exist).
    pub fn saw(&mut self, lease: Option<Lease>, now: Instant) -> Change {
        let before = self.known.as_ref().and_then(|k| k.lease.as_ref());
        if let (Some(then), Some(new)) = (before, &lease)
            && stale(then, new)
        {
            return Change::None;
        }
        let others = |l: &Lease| !holder(l).is_empty() && holder(l) != self.identity;
        let free_at = match &lease {
            Some(lease) if others(lease) => now + duration(lease),
            Some(_) => now,
            // One that was deleted while another held it: the holder may not know yet.
            None if before.is_some_and(others) => now + DURATION,
            None => match &self.known {
                Some(Known { lease: None, free_at }) => *free_at,
                _ => now,
            },
        };
        let lost = lease.as_ref().filter(|l| self.leads && others(l)).map(|l| holder(l).to_owned());
        if lost.is_some() || lease.as_ref().is_none_or(|l| holder(l).is_empty()) {
            // Not at the time of a renewal: at once where it is free.
            self.next = None;
        }
        self.known = Some(Known { lease, free_at });
        match lost {
            Some(to) => {
                self.leads = false;
                Change::Lost { to }
            }
            None => Change::None,
        }
    }

    /// When to write the Lease next; `None` as long as nothing is known.
    pub fn due(&self) -> Option<Instant> {
        let known = self.known.as_ref()?;
        let earliest = if self.leads { None } else { Some(known.free_at) };
        earliest.max(self.next).or(Some(known.free_at))
    }

    /// The Lease to be written: created where it has no resourceVersion, replaced where it has one.
    pub fn wanted(&self, now: Timestamp) -> Lease {
        let old = self.known.as_ref().and_then(|k| k.lease.clone()).unwrap_or_default();
        let before = old.spec.clone().unwrap_or_default();
        let ours = holder(&old) == self.identity;
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            renew_time: Some(MicroTime(now)),
            acquire_time: before.acquire_time.clone().filter(|_| ours).or(Some(MicroTime(now))),
            lease_transitions: Some(before.lease_transitions.unwrap_or_default() + i32::from(!ours)),
            ..before
        };
        Lease { spec: Some(spec), ..self.metadata(old) }
    }

    /// The Lease given back.
    pub fn released(&self) -> Option<Lease> {
        let old = self.known.as_ref()?.lease.clone().filter(|l| holder(l) == self.identity)?;
        let spec = old.spec.clone().map(|s| LeaseSpec { holder_identity: Some(String::new()), ..s });
        Some(Lease { spec, ..self.metadata(old) })
    }

    fn metadata(&self, old: Lease) -> Lease {
        let name = old.metadata.name.clone().or(Some(self.name.clone()));
        let labels = [("app.kubernetes.io/name".to_owned(), "cutover-operator".to_owned())].into();
        let labels = old.metadata.labels.clone().or(Some(labels));
        Lease { metadata: ObjectMeta { name, labels, managed_fields: None, ..old.metadata }, ..old }
    }

    /// A write that began at `started` was carried out: we lead, and may write until the moment returned.
    pub fn wrote(&mut self, lease: Lease, started: Instant) -> Instant {
        self.known = Some(Known { lease: Some(lease), free_at: started });
        self.leads = true;
        self.next = Some(started + RENEW);
        started + DURATION - MARGIN
    }

    /// A write failed; whether it was carried out is not known.
    pub fn failed(&mut self, now: Instant) {
        self.next = Some(now + RETRY);
    }

    /// We lead no more, by our own will.
    pub(crate) fn resigned(&mut self) {
        self.leads = false;
    }
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|s| s.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
    seconds.filter(|s| *s > 0).map_or(DURATION, Duration::from_secs).min(LONGEST)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
