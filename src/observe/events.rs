//! Answers [`Read::Events`](crate::effect::Read::Events): what is said of a Job that has no pod, or of a pod that does not
//! start.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::net::call::answered;
use crate::net::keys::brief;
use crate::world::EventView;

/// Events asked for of one object; each try of a controller may leave one of its own.
const PAGE: u32 = 100;

/// The Events of objects, by their uids; the oldest first.
pub(super) async fn read(client: &Client, namespace: &str, of: &[String]) -> Result<Vec<EventView>, String> {
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    let mut found = vec![];
    for uid in of {
        let params = ListParams::default().fields(&format!("involvedObject.uid={uid}")).limit(PAGE);
        match answered(api.list(&params)).await {
            Ok(list) => found.extend(list.items),
            Err(error) => return Err(format!("Events: {}", brief(&error.to_string()))),
        }
    }
    found.sort_by_key(last_seen);
    Ok(found.into_iter().map(view).collect())
}

/// When it was last said: a repeated one is counted, in either of two ways.
fn last_seen(event: &Event) -> Option<Timestamp> {
    let counted = event.last_timestamp.as_ref().map(|t| t.0);
    let series = event.series.as_ref().and_then(|s| s.last_observed_time.as_ref()).map(|t| t.0);
    let once = event.event_time.as_ref().map(|t| t.0);
    counted.max(series).max(once).or_else(|| event.metadata.creation_timestamp.as_ref().map(|t| t.0))
}

fn view(event: Event) -> EventView {
    EventView {
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        of: (event.involved_object.kind.unwrap_or_default(), event.involved_object.name.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_as_old_as_its_last_mention() {
        let event = |value: serde_json::Value| -> Event {
            let mut all = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:01Z"},
                "involvedObject": {"kind": "Job", "name": "a"}, "reason": "FailedCreate", "message": "m"});
            all.as_object_mut().into_iter().for_each(|all| all.extend(value.as_object().cloned().unwrap_or_default()));
            serde_json::from_value(all).expect("an Event")
        };
        let table = [
            (json!({}), "2026-01-01T00:00:01Z"),
            (json!({"eventTime": "2026-01-01T00:00:02.000000Z"}), "2026-01-01T00:00:02Z"),
            (json!({"lastTimestamp": "2026-01-01T00:00:09Z"}), "2026-01-01T00:00:09Z"),
            (
                json!({"eventTime": "2026-01-01T00:00:02.000000Z",
                    "series": {"count": 3, "lastObservedTime": "2026-01-01T00:00:05.000000Z"}}),
                "2026-01-01T00:00:05Z",
            ),
        ];
        for (value, at) in table {
            assert_eq!(last_seen(&event(value)), at.parse().ok(), "{at}");
        }
        let of = ("Job".to_owned(), "a".to_owned());
        assert_eq!(view(event(json!({}))), EventView { reason: "FailedCreate".into(), message: "m".into(), of });
    }
}
