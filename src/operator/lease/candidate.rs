//! Who may lead, and until when: what is known of the Lease, and what follows from it. No I/O; every moment is given.
//!
//! A candidate takes a Lease that is free, or that has not changed for its duration by the candidate's own monotonic
//! clock. To take is a compare-and-swap on the resourceVersion it last saw, so one that missed a renewal cannot take.
//!
//! The holder renews by a patch that tests nothing but that it is still the holder. Such patches may overlap and overtake
//! each other: nobody else takes the Lease before it has been unchanged for its duration, counted from when the patch was
//! carried out, and that was not before it was sent. So whatever shows the time that one of our writes put into the Lease
//! (its answer, the watch, a reading) proves that we hold it from the moment at which that write was sent.
//!
//! One whose time has run out renews no more. It is a candidate like the others: slow writes of its own would else keep
//! the Lease from everybody, itself too.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use tokio::time::Instant;

/// A Lease that did not change for this long may be taken. Whole seconds: it stands in the Lease.
pub(crate) const DURATION: Duration = Duration::from_secs(3);
/// The holder renews this often.
pub(crate) const RENEW: Duration = Duration::from_secs(1);
/// After this time without an answer the next write is sent, while the first one goes on.
const PATIENCE: Duration = Duration::from_millis(500);
/// The holder stops writing this much earlier than others may take the Lease: clocks differ in speed, and a write needs
/// a moment from being allowed to being sent.
const MARGIN: Duration = Duration::from_millis(500);
/// A write lets its sender lead for so long, counted from when it was sent; what is answered later is worth nothing.
pub(crate) const WORTH: Duration = DURATION.saturating_sub(MARGIN);
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
    /// Our last sight of the Lease showed us as the holder, and we have had the right to write since we took it.
    leads: bool,
    /// Until when we may write.
    until: Option<Instant>,
    /// When to write again.
    next: Option<Instant>,
    /// Our writes that may still prove something: the time that each put into the Lease, and when it was sent.
    sent: Vec<(Timestamp, Instant)>,
}

/// A write of the Lease.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// The whole of it: created where it has no resourceVersion, replaced where it has one.
    Take(Box<Lease>),
    /// This time of renewal, if we are the holder when it is carried out.
    Renew(MicroTime),
}

/// What a look at the Lease changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that matters.
    None,
    /// It shows a write of our own: we lead, and may write until then.
    Renewed { until: Instant, first: bool },
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
        let (name, identity) = (name.into(), identity.into());
        Self { name, identity, known: None, leads: false, until: None, next: None, sent: vec![] }
    }

    /// Whether it leads; whether it may still write is another question (`Leadership`).
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Who this is.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// Who holds the Lease, as far as known.
    pub fn holder(&self) -> &str {
        self.lease().map_or("", holder)
    }

    fn lease(&self) -> Option<&Lease> {
        self.known.as_ref().and_then(|k| k.lease.as_ref())
    }

    /// Whether a renewal is what keeps us leading: we may write, and there is a Lease.
    fn holds(&self, now: Instant) -> bool {
        self.leads && self.lease().is_some() && self.until.is_some_and(|until| now < until)
    }

    /// The Lease as it was just seen, whatever showed it (`None`: it does not exist).
    pub fn saw(&mut self, lease: Option<Lease>, now: Instant) -> Change {
        let sent = lease.as_ref().and_then(|lease| self.sent(lease));
        let old = self.lease().zip(lease.as_ref()).is_some_and(|(then, new)| stale(then, new));
        if !old && let Some(to) = self.learn(lease, now) {
            (self.leads, self.until) = (false, None);
            return Change::Lost { to };
        }
        // One that is older than what is known was the Lease once, and proves as much: nobody else has held it since.
        let ours = self.holder() == self.identity;
        let until = sent.filter(|_| ours).map(|sent| sent + WORTH).filter(|until| *until > now);
        let Some(until) = until.filter(|until| self.until.is_none_or(|known| known < *until)) else {
            return Change::None;
        };
        self.until = Some(until);
        if self.sent.last().map(|(_, sent)| *sent) == sent {
            // Nothing later is under way.
            self.next = sent.map(|sent| sent + RENEW);
        }
        Change::Renewed { until, first: !std::mem::replace(&mut self.leads, true) }
    }

    /// Takes in what is news; gives the holder to whom we lost it.
    fn learn(&mut self, lease: Option<Lease>, now: Instant) -> Option<String> {
        let others = |l: &Lease| !holder(l).is_empty() && holder(l) != self.identity;
        let free_at = match &lease {
            Some(lease) if holder(lease).is_empty() => now,
            Some(lease) => now + duration(lease),
            // One that was deleted while another held it: the holder may not know yet.
            None if self.lease().is_some_and(others) => now + DURATION,
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
        lost
    }

    /// When the write was sent that this Lease shows, if it is one of ours.
    fn sent(&self, lease: &Lease) -> Option<Instant> {
        let shown = lease.spec.as_ref().filter(|_| holder(lease) == self.identity)?.renew_time.as_ref()?;
        self.sent.iter().find(|(time, _)| *time == shown.0).map(|(_, sent)| *sent)
    }

    /// When to write the Lease next; `None` as long as nothing is known.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let free_at = self.known.as_ref()?.free_at;
        if self.holds(now) { Some(self.next.unwrap_or(now)) } else { Some(free_at).max(self.next) }
    }

    /// The write that is due and sent now; `None`: none is, look again when the next is due. `wall` is the time to be put
    /// into it.
    pub fn write(&mut self, now: Instant, wall: Timestamp) -> Option<Write> {
        self.due(now).filter(|due| *due <= now)?;
        let time = MicroTime(self.unique(wall));
        self.sent.retain(|(_, sent)| *sent + DURATION > now);
        self.sent.push((time.0, now));
        self.next = Some(now + PATIENCE);
        Some(if self.holds(now) { Write::Renew(time) } else { Write::Take(Box::new(self.wanted(time))) })
    }

    /// The time, as the Lease can hold it; another one for each write, whatever the clock on the wall does.
    fn unique(&self, wall: Timestamp) -> Timestamp {
        let wall = Timestamp::from_microsecond(wall.as_microsecond()).unwrap_or(wall);
        let last = self.sent.last().and_then(|(last, _)| last.checked_add(SignedDuration::from_micros(1)).ok());
        last.map_or(wall, |last| last.max(wall))
    }

    /// The Lease as we take it.
    fn wanted(&self, now: MicroTime) -> Lease {
        let old = self.lease().cloned().unwrap_or_default();
        let before = old.spec.clone().unwrap_or_default();
        let ours = holder(&old) == self.identity;
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            renew_time: Some(now.clone()),
            acquire_time: before.acquire_time.clone().filter(|_| ours).or(Some(now)),
            lease_transitions: Some(before.lease_transitions.unwrap_or_default() + i32::from(!ours)),
            ..before
        };
        let name = old.metadata.name.clone().or(Some(self.name.clone()));
        let labels = [("app.kubernetes.io/name".to_owned(), "cutover-operator".to_owned())].into();
        let labels = old.metadata.labels.clone().or(Some(labels));
        let metadata = ObjectMeta { name, labels, managed_fields: None, ..old.metadata };
        Lease { metadata, spec: Some(spec) }
    }

    /// A write failed; whether it was carried out is not known.
    pub fn failed(&mut self, now: Instant) {
        let again = now + RETRY;
        self.next = Some(self.next.map_or(again, |next| next.min(again)));
    }

    /// We lead no more, by our own will.
    pub(crate) fn resigned(&mut self) {
        (self.leads, self.until) = (false, None);
    }
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|s| s.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
    seconds.filter(|s| *s > 0).map_or(DURATION, Duration::from_secs).min(LONGEST)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
