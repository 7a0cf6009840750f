//! Notes become one log line, one Event and a count each; never in the way of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;

use super::meter::Meter;
use crate::act::call::call;
use crate::api::{FIELD_MANAGER, GROUP, VERSION};
use crate::decide::Note;

/// Events waiting to be written; more are dropped and counted.
const ROOM: usize = 512;

/// What a note is about.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The namespace.
    pub namespace: String,
    /// The Cutover.
    pub cutover: String,
    /// Its uid.
    pub cutover_uid: String,
    /// The run, if there is one.
    pub run: Option<(String, String)>,
}

/// Tells notes.
#[derive(Clone)]
pub struct Publisher {
    queue: mpsc::Sender<Event>,
    meter: Meter,
    instance: String,
    told: Arc<AtomicU64>,
}

impl Publisher {
    /// Starts the task that writes Events as the operator.
    pub fn start(client: Client, meter: Meter, instance: String) -> Self {
        let (queue, mut events) = mpsc::channel::<Event>(ROOM);
        let count = meter.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let namespace = event.metadata.namespace.clone().unwrap_or_default();
                let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
                if let Err(e) = call(api.create(&PostParams::default(), &event)).await {
                    count.api_error(e.class);
                    tracing::debug!(error = %e, "an Event was not written");
                }
            }
        });
        Self { queue, meter, instance, told: Arc::default() }
    }

    /// Tells a note once.
    pub fn publish(&self, about: &About, note: &Note) {
        let run = about.run.as_ref().map_or("", |(name, _)| name.as_str());
        if note.warning {
            tracing::warn!(namespace = %about.namespace, cutover = %about.cutover, run, reason = %note.reason, subject = %note.subject, "{}", note.message);
        } else {
            tracing::info!(namespace = %about.namespace, cutover = %about.cutover, run, reason = %note.reason, subject = %note.subject, "{}", note.message);
        }
        if self
            .queue
            .try_send(event(about, note, &self.instance, Timestamp::now(), self.told.fetch_add(1, Ordering::Relaxed)))
            .is_err()
        {
            self.meter.event_dropped();
        }
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
            // Unique by time and number: no aggregation, so no note is lost.
            name: Some(format!("{}.{:x}.{told:x}", about.cutover, now.as_nanosecond())),
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
        let about = About { namespace: "a".into(), cutover: "web".into(), cutover_uid: "u".into(), run: None };
        let note = Note { warning: true, reason: "r".repeat(300), subject: String::new(), message: "m".repeat(5000) };
        let e = event(&about, &note, &"i".repeat(300), Timestamp::UNIX_EPOCH, 0);
        let long = |s: &Option<String>| s.as_ref().map_or(0, |s| s.len());
        assert!(long(&e.reason) <= 128 && long(&e.note) <= 1024 && long(&e.reporting_instance) <= 128);
        assert_eq!(e.action.as_deref(), Some("Cutover"), "an Event without an action is refused");
    }
}
