//! PagerDuty, Events API v2: one incident for each run, which a person's decision acknowledges and the end of the run resolves;
//! and change events, so that whoever looks into another incident sees what was switched.

use serde_json::{Value, json};

use super::text::{self, Texts};
use super::{Found, Post, Secrets};
use crate::api::notify::{NotifyEvent, NotifyTo};
use crate::effect::letter::Letter;

/// Where PagerDuty's own API is; in Europe it is another.
const API: &str = "https://events.pagerduty.com";

pub(super) struct Form<'a> {
    pub to: &'a NotifyTo,
    pub texts: &'a Texts,
}

/// What becomes of the incident.
enum Incident {
    /// It is opened, this bad.
    Trigger(&'static str),
    Acknowledge,
    Resolve,
}

fn incident(letter: &Letter) -> Option<Incident> {
    use NotifyEvent::*;
    Some(match letter.event {
        RollbackBlocked => Incident::Trigger("critical"),
        RollingBack | OutcomeUnknown => Incident::Trigger("error"),
        AwaitingDecision | SelectorDrift | NodeLost | MetricsInconclusive | TriggerFired | Failed => {
            Incident::Trigger("warning")
        }
        Decision => Incident::Acknowledge,
        Resolved | Completed | RolledBack | Aborted | Superseded => Incident::Resolve,
        Preflight | Preparing | Verifying | Switching | Confirming | Observing | Finishing | Suspended | Retired => {
            return None;
        }
    })
}

/// What has changed for users.
fn is_change(event: NotifyEvent) -> bool {
    use NotifyEvent::*;
    matches!(event, Switching | Completed | RolledBack)
}

impl super::Form for Form<'_> {
    fn look(&self, secrets: &Secrets<'_>, found: &mut Found) {
        let at = found.api("pagerDuty.secret", secrets, &self.to.secret, API);
        found.text("pagerDuty.secret", secrets, &self.to.secret, |key| {
            let is_key = key.len() == 32 && key.bytes().all(|b| b.is_ascii_alphanumeric());
            (at.ends_with(".pagerduty.com") && !is_key)
                .then_some("it is no routing key; copy the 32 letters and digits of the integration (Events API v2)")
        });
    }

    fn posts(&self, letter: &Letter, secrets: &Secrets<'_>, _: Option<&str>) -> Result<Vec<Post>, String> {
        let mut bodies = vec![];
        if let Some(incident) = incident(letter) {
            bodies.push(("v2/enqueue", self.event(letter, &incident)?));
        }
        if is_change(letter.event) {
            bodies.push(("v2/change/enqueue", json!({"payload": self.payload(letter)?})));
        }
        let (key, api) = (secrets.get(&self.to.secret)?, secrets.api(&self.to.secret, API));
        let post = |(path, mut body): (&str, Value)| {
            body["routing_key"] = json!(key);
            Post::json(format!("{api}/{path}"), &body)
        };
        Ok(bodies.into_iter().map(post).collect())
    }
}

impl Form<'_> {
    fn payload(&self, letter: &Letter) -> Result<Value, String> {
        let facts: serde_json::Map<String, Value> =
            text::facts(letter).into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        Ok(json!({
            "summary": text::title(letter),
            "source": format!("{}/{}", letter.namespace, letter.cutover),
            "timestamp": letter.at.to_string(),
            "custom_details": {"text": text::text(letter, self.texts)?, "facts": facts, "id": letter.id},
        }))
    }

    fn event(&self, letter: &Letter, incident: &Incident) -> Result<Value, String> {
        let (action, severity) = match incident {
            Incident::Trigger(severity) => ("trigger", Some(*severity)),
            Incident::Acknowledge => ("acknowledge", None),
            Incident::Resolve => ("resolve", None),
        };
        let mut body = json!({"event_action": action, "dedup_key": format!("cutover/{}", letter.run.uid)});
        if let Some(severity) = severity {
            body["payload"] = self.payload(letter)?;
            body["payload"]["severity"] = json!(severity);
            body["payload"]["component"] = json!(letter.cutover);
            body["payload"]["group"] = json!(letter.namespace);
            body["client"] = json!("Cutover");
        }
        Ok(body)
    }
}
