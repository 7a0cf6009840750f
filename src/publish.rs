//! Notes become one log line, one Event and a count each; never in the way of a run.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;

use crate::act::call::{Class, call};
use crate::api::{FIELD_MANAGER, GROUP, VERSION};
use crate::decide::Note;
use crate::meter::Meter;

/// Events of one writer waiting to be written; more are dropped and counted.
const ROOM: usize = 512;
/// Events of one namespace waiting to be written: nobody's flood loses another's.
const SHARE: usize = 64;
/// Tasks that write Events. A namespace has one of them, so that its Events come in their order.
const WRITERS: usize = 4;

/// What a note is about.
#[derive(Clone, Debug, Default)]
pub struct About {
    pub namespace: String,
    /// The Cutover.
    pub cutover: String,
    pub cutover_uid: String,
    /// The run, if there is one.
    pub run: Option<(String, String)>,
    /// The step or undo, if there is one.
    pub step: Option<String>,
    /// The entry of the run's outbox that is told: it has one Event, whoever tells it, and however often.
    pub entry: Option<String>,
}

/// What is called once it is known whether an Event was received.
pub(crate) type Receipt = Box<dyn FnOnce(bool) + Send>;

/// Events that wait, by namespace.
#[derive(Clone, Default)]
struct Shares(Arc<Mutex<HashMap<String, usize>>>);

impl Shares {
    /// A place, until it is dropped; `None`: the namespace has all of its share.
    fn place(&self, namespace: &str) -> Option<Place> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = all.entry(namespace.to_owned()).or_default();
        if *taken >= SHARE {
            return None;
        }
        *taken += 1;
        Some(Place { all: self.clone(), namespace: namespace.to_owned() })
    }
}

/// The place of one Event.
struct Place {
    all: Shares,
    namespace: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = all.get_mut(&self.namespace) {
            *taken -= 1;
            if *taken == 0 {
                all.remove(&self.namespace);
            }
        }
    }
}

/// An Event on its way.
struct Waiting {
    event: Event,
    receipt: Option<Receipt>,
    place: Place,
}

/// Writes Events as the operator, one after the other.
async fn write(client: Client, meter: Meter, mut events: mpsc::Receiver<Waiting>) {
    while let Some(Waiting { event, receipt, place }) = events.recv().await {
        let api: Api<Event> = Api::namespaced(client.clone(), &place.namespace);
        let received = match call(api.create(&PostParams::default(), &event)).await {
            Ok(_) => true,
            // Told before, by this process or its predecessor.
            Err(e) if e.class == Class::Conflict => true,
            Err(e) => {
                meter.event_lost("refused");
                tracing::debug!(error = %e, "an Event was not written");
                false
            }
        };
        drop(place);
        if let Some(receipt) = receipt {
            receipt(received);
        }
    }
}

/// Tells notes.
#[derive(Clone)]
pub struct Publisher {
    writers: [mpsc::Sender<Waiting>; WRITERS],
    shares: Shares,
    meter: Meter,
    instance: String,
    told: Arc<AtomicU64>,
}

impl Publisher {
    /// Starts the tasks that write Events as the operator.
    pub fn start(client: Client, meter: Meter, instance: String) -> Self {
        let writers = std::array::from_fn(|_| {
            let (writer, events) = mpsc::channel(ROOM);
            tokio::spawn(write(client.clone(), meter.clone(), events));
            writer
        });
        Self { writers, shares: Shares::default(), meter, instance, told: Arc::default() }
    }

    /// Whoever writes the Events of a namespace.
    fn writer(&self, namespace: &str) -> &mpsc::Sender<Waiting> {
        let sum: usize = namespace.bytes().map(usize::from).sum();
        let [first, ..] = &self.writers;
        self.writers.get(sum % WRITERS).unwrap_or(first)
    }

    /// Tells a note once.
    pub fn publish(&self, about: &About, note: &Note) {
        say(about, note);
        self.send(about, note, None);
    }

    /// The Event of a note alone, without its log line. `receipt` hears what became of it.
    pub fn send(&self, about: &About, note: &Note, receipt: Option<Receipt>) {
        let now = Timestamp::now();
        let event = event(about, note, &self.instance, now, self.told.fetch_add(1, Ordering::Relaxed));
        let lost = match self.shares.place(&about.namespace) {
            Some(place) => self
                .writer(&about.namespace)
                .try_send(Waiting { event, receipt, place })
                .err()
                .map(|full| full.into_inner().receipt),
            None => Some(receipt),
        };
        if let Some(receipt) = lost {
            self.meter.event_lost("queue_full");
            if let Some(receipt) = receipt {
                receipt(false);
            }
        }
    }
}

/// One log line. Namespace, Cutover, run and step are fields of a span of its own, as everywhere.
pub fn say(about: &About, note: &Note) {
    let run = about.run.as_ref().map(|(name, _)| name.as_str());
    let span = tracing::error_span!(
        parent: None,
        "note",
        namespace = about.namespace,
        cutover = about.cutover,
        run,
        step = about.step.as_deref()
    );
    span.in_scope(|| {
        if note.warning {
            tracing::warn!(reason = note.reason, subject = note.subject, "{}", note.message);
        } else {
            tracing::info!(reason = note.reason, subject = note.subject, "{}", note.message);
        }
    });
}

/// The name of an Event. That of an entry of a run's outbox is the entry's, so that a second Event of it is refused, even
/// another operator's. All others are unique by time and number: no aggregation, so no note is lost.
fn name_of(about: &About, now: Timestamp, told: u64) -> String {
    match &about.entry {
        Some(entry) => format!("{}.{entry}", about.cutover),
        None => format!("{}.{:x}.{told:x}", about.cutover, now.as_nanosecond()),
    }
}

fn event(about: &About, note: &Note, instance: &str, now: Timestamp, told: u64) -> Event {
    let reference = |kind: &str, name: &str, uid: &str| ObjectReference {
        api_version: Some(format!("{GROUP}/{VERSION}")),
        kind: Some(kind.into()),
        name: Some(name.into()),
        namespace: Some(about.namespace.clone()),
        uid: Some(uid.into()),
        ..ObjectReference::default()
    };
    let cut = |text: &str, max: usize| crate::journal::short(text, max);
    Event {
        metadata: ObjectMeta {
            name: Some(name_of(about, now, told)),
            namespace: Some(about.namespace.clone()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        action: Some(cut(if note.subject.is_empty() { "Cutover" } else { &note.subject }, 120)),
        reason: Some(cut(&note.reason, 120)),
        note: Some(cut(&note.message, 1000)),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.into()),
        regarding: Some(reference("Cutover", &about.cutover, &about.cutover_uid)),
        related: about.run.as_ref().map(|(name, uid)| reference("CutoverRun", name, uid)),
        reporting_controller: Some(format!("{GROUP}/{FIELD_MANAGER}")),
        reporting_instance: Some(cut(instance, 120)),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_keep_within_the_limits_of_the_api_server() {
        let about = About { namespace: "a".into(), cutover: "web".into(), cutover_uid: "u".into(), ..About::default() };
        let note = Note { warning: true, reason: "r".repeat(300), subject: String::new(), message: "m".repeat(5000) };
        let e = event(&about, &note, &"i".repeat(300), Timestamp::UNIX_EPOCH, 0);
        let long = |s: &Option<String>| s.as_ref().map_or(0, |s| s.len());
        assert!(long(&e.reason) <= 128 && long(&e.note) <= 1024 && long(&e.reporting_instance) <= 128);
        assert_eq!(e.action.as_deref(), Some("Cutover"), "an Event without an action is refused");
    }

    #[tokio::test]
    async fn a_namespace_that_floods_loses_its_own_events_alone() {
        let open = Arc::new(tokio::sync::Semaphore::new(0));
        let gate = open.clone();
        let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            let gate = gate.clone();
            async move {
                // Until the API server answers again.
                drop(gate.acquire().await);
                Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::from(b"{}".to_vec())))
            }
        });
        let publisher = Publisher::start(Client::new(service, "a"), Meter::new().expect("metrics"), "i".into());
        let note = Note { warning: false, reason: "R".into(), subject: String::new(), message: String::new() };
        let (told, mut received) = tokio::sync::mpsc::unbounded_channel();
        let send = |namespace: &str, count: usize| {
            let about = About { namespace: namespace.into(), cutover: "shop".into(), ..About::default() };
            for _ in 0..count {
                let (told, namespace) = (told.clone(), namespace.to_owned());
                let receipt: Receipt = Box::new(move |received| drop(told.send((namespace, received))));
                publisher.send(&about, &note, Some(receipt));
            }
        };
        send("loud", 1000);
        send("quiet", 10);
        open.add_permits(10_000);
        let mut count = HashMap::<(String, bool), usize>::new();
        for _ in 0..1010 {
            *count.entry(received.recv().await.expect("an answer")).or_default() += 1;
        }
        let of = |namespace: &str, received| count.get(&(namespace.to_owned(), received)).copied().unwrap_or_default();
        assert_eq!((of("quiet", true), of("quiet", false)), (10, 0));
        assert_eq!((of("loud", true), of("loud", false)), (SHARE, 1000 - SHARE));
        assert!(publisher.shares.0.lock().expect("nobody else").is_empty());
    }

    #[test]
    fn an_entry_of_the_outbox_has_one_event_whoever_tells_it_and_a_note_one_each_time() {
        let about = About { cutover: "web".into(), entry: Some("abc-2".into()), ..About::default() };
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        assert_eq!(name_of(&about, early, 0), name_of(&about, late, 7));
        let other = About { entry: Some("abd".into()), ..about.clone() };
        assert_ne!(name_of(&about, early, 0), name_of(&other, early, 0));
        let plain = About { entry: None, ..about };
        assert_ne!(name_of(&plain, early, 0), name_of(&plain, early, 1));
    }
}
