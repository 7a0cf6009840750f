//! Alertmanager, API v2: what lasts is an alert until it is over; what merely happens is one for some minutes.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::text::{self, Texts};
use super::{Found, Post, Secrets, is_warning};
use crate::api::notify::{NotifyEvent, NotifyTo};
use crate::effect::letter::Letter;

/// What merely happens fires for so long.
const MOMENT: SignedDuration = SignedDuration::from_mins(5);
/// What lasts fires for so long at most, unless it is told again.
const LASTING: SignedDuration = SignedDuration::from_hours(24);

pub(super) struct Form<'a> {
    pub to: &'a NotifyTo,
    pub texts: &'a Texts,
}

impl super::Form for Form<'_> {
    fn look(&self, secrets: &Secrets<'_>, found: &mut Found) {
        found.url("alertmanager.secret", secrets, &self.to.secret);
    }

    fn posts(&self, letter: &Letter, secrets: &Secrets<'_>, _: Option<&str>) -> Result<Vec<Post>, String> {
        let url = secrets.url(&self.to.secret)?;
        let url = format!("{}/api/v2/alerts", url.trim_end_matches('/').trim_end_matches("/api/v2/alerts"));
        Ok(vec![Post::json(url, &Value::Array(self.alerts(letter)?))])
    }
}

/// Whether it is an alert until something ends it.
fn lasts(event: NotifyEvent) -> bool {
    use NotifyEvent::*;
    matches!(event, RollingBack | AwaitingDecision | RollbackBlocked | SelectorDrift | OutcomeUnknown)
}

impl Form<'_> {
    fn alerts(&self, letter: &Letter) -> Result<Vec<Value>, String> {
        use NotifyEvent::*;
        let mut alerts = vec![];
        // The end of everything that may be firing; that of an alert which never was changes nothing.
        let over = match letter.event {
            Resolved | Decision => vec![AwaitingDecision, SelectorDrift, OutcomeUnknown],
            RollingBack => vec![AwaitingDecision, SelectorDrift],
            Completed | RolledBack | Failed | Aborted | Superseded => {
                vec![RollingBack, AwaitingDecision, RollbackBlocked, SelectorDrift, OutcomeUnknown]
            }
            _ => vec![],
        };
        let still = |event: &NotifyEvent| letter.ongoing == Some(*event);
        for event in over.into_iter().filter(|event| !still(event)) {
            alerts.push(self.alert(letter, event, letter.at)?);
        }
        let lasting = if lasts(letter.event) { LASTING } else { MOMENT };
        alerts.push(self.alert(letter, letter.event, letter.at.checked_add(lasting).unwrap_or(Timestamp::MAX))?);
        Ok(alerts)
    }

    fn alert(&self, letter: &Letter, event: NotifyEvent, ends: Timestamp) -> Result<Value, String> {
        use NotifyEvent::*;
        let severity = match event {
            RollbackBlocked => "critical",
            event if is_warning(event) => "warning",
            _ => "info",
        };
        Ok(json!({
            "labels": {
                "alertname": format!("Cutover{event:?}"),
                "namespace": letter.namespace,
                "cutover": letter.cutover,
                "run": letter.run.name,
                "severity": severity,
            },
            "annotations": {
                "summary": text::title(letter),
                "description": text::text(letter, self.texts)?,
                "next": letter.next.clone().unwrap_or_default(),
            },
            "startsAt": letter.at.min(ends).to_string(),
            "endsAt": ends.to_string(),
        }))
    }
}
