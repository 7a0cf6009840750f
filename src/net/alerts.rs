//! Which alerts fire: as Prometheus and whatever stores its series keep them, or as an Alertmanager has them, which knows of
//! silences and inhibitions.
//!
//! Of Prometheus the series `ALERTS` are asked for, and not its list of alerts: Thanos and Mimir have the series as well. An
//! alert counts if it was neither firing nor pending at the time asked about. When it became pending is not looked at, since
//! a Prometheus that begins anew forgets that of alerts without a time of their own.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::keys::brief;
use super::prometheus::{Ask, Asked, Query, data, of_query};
use super::{Asker, Net};
use crate::effect::AlertsOf;
use crate::world::AlertsAnswer;

/// Whom to ask.
#[derive(Clone, Copy)]
pub(crate) enum Alerts<'a> {
    Prometheus(Asked<'a>),
    Alertmanager(Asked<'a>),
}

impl Net {
    /// The alerts that fire.
    pub(crate) async fn alerts(&self, asker: &Asker<'_>, from: Alerts<'_>, of: &AlertsOf) -> AlertsAnswer {
        let found = match from {
            Alerts::Prometheus(source) => {
                let ask = of_query(&Query { source, query: &query(of), at: None });
                self.ask_in_time(asker, &source, &ask, of_prometheus).await
            }
            Alerts::Alertmanager(source) => {
                let ask = Ask {
                    who: "Alertmanager",
                    method: http::Method::GET,
                    path: "/api/v2/alerts",
                    pairs: pairs(of),
                    body: Bytes::new(),
                };
                let found = self.ask_in_time(asker, &source, &ask, of_alertmanager).await;
                found.map(|found| found.map(|all| after(all, of.since)))
            }
        };
        found.unwrap_or_else(Err).unwrap_or_else(AlertsAnswer::Inconclusive)
    }
}

/// Alerts that fire now and were neither firing nor pending then.
fn query(of: &AlertsOf) -> String {
    let labels: Vec<String> = of.matchers.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
    let labels = labels.join(",");
    let then = of.since.as_millisecond();
    format!(
        "ALERTS{{alertstate=\"firing\",{labels}}} unless ignoring(alertstate) ALERTS{{{labels}}} @ {}.{:03}",
        then.div_euclid(1000),
        then.rem_euclid(1000)
    )
}

/// A text of PromQL, and of a matcher of an Alertmanager.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn pairs(of: &AlertsOf) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &of.matchers {
        pairs.append_pair("filter", &format!("{name}={}", quoted(value)));
    }
    for (name, value) in [("active", "true"), ("silenced", "false"), ("inhibited", "false"), ("unprocessed", "false")] {
        pairs.append_pair(name, value);
    }
    pairs.finish()
}

fn of_prometheus(status: u16, body: &str) -> Result<AlertsAnswer, String> {
    let data = data(status, body).map_err(|(_, why)| why)?;
    let ("vector", Value::Array(series)) = (data.result_type.as_str(), &data.result) else {
        return Err("Prometheus: no list of alerts".into());
    };
    let name = |one: &Value| Some(brief(one.get("metric")?.get("alertname")?.as_str()?));
    let first = series.first().map(|one| (name(one).unwrap_or_default(), None));
    Ok(AlertsAnswer::Found { count: series.len(), first })
}

/// An alert of an Alertmanager.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    starts_at: Timestamp,
    status: State,
    labels: Labels,
}

#[derive(Debug, Deserialize)]
struct State {
    state: String,
}

#[derive(Debug, Deserialize)]
struct Labels {
    #[serde(default)]
    alertname: String,
}

fn of_alertmanager(status: u16, body: &str) -> Result<Vec<Alert>, String> {
    if status != 200 {
        return Err(format!("Alertmanager: status {status}: {}", brief(body)));
    }
    serde_json::from_str(body).map_err(|_| "Alertmanager: the body is no list of alerts".into())
}

/// Those that began after a time.
fn after(all: Vec<Alert>, since: Timestamp) -> AlertsAnswer {
    let of_now = |alert: &&Alert| alert.starts_at > since && alert.status.state == "active";
    let mut found: Vec<&Alert> = all.iter().filter(of_now).collect();
    found.sort_by_key(|alert| alert.starts_at);
    let first = found.first().map(|alert| (brief(&alert.labels.alertname), Some(alert.starts_at)));
    AlertsAnswer::Found { count: found.len(), first }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::api::Duration;

    fn of(matchers: &[(&str, &str)]) -> AlertsOf {
        AlertsOf {
            alertmanager: None,
            matchers: matchers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>(),
            since: "2026-01-01T00:00:00.25Z".parse().expect("a time"),
            timeout: Duration::from_secs(3),
        }
    }

    #[test]
    fn prometheus_is_asked_for_what_was_not_there_at_the_switch() {
        assert_eq!(
            query(&of(&[("alertname", "High \"errors\" \\"), ("team", "web")])),
            "ALERTS{alertstate=\"firing\",alertname=\"High \\\"errors\\\" \\\\\",team=\"web\"} unless \
             ignoring(alertstate) ALERTS{alertname=\"High \\\"errors\\\" \\\\\",team=\"web\"} @ 1767225600.250"
        );
        let one = |name: &str| format!(r#"{{"metric":{{"alertname":"{name}"}},"value":[1,"1"]}}"#);
        let vector = |of: &str| format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{of}]}}}}"#);
        assert_eq!(of_prometheus(200, &vector("")), Ok(AlertsAnswer::Found { count: 0, first: None }));
        let two = vector(&format!("{},{}", one("A"), one("B")));
        assert_eq!(of_prometheus(200, &two), Ok(AlertsAnswer::Found { count: 2, first: Some(("A".into(), None)) }));
        for (status, body) in [(200, "<html>"), (503, two.as_str()), (200, r#"{"status":"success"}"#), (422, "{}")] {
            assert!(of_prometheus(status, body).is_err(), "{status} {body}");
        }
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#;
        assert!(of_prometheus(200, scalar).is_err());
    }

    #[test]
    fn an_alertmanager_is_asked_for_what_is_neither_silenced_nor_inhibited() {
        assert_eq!(
            pairs(&of(&[("team", "a&b")])),
            "filter=team%3D%22a%26b%22&active=true&silenced=false&inhibited=false&unprocessed=false"
        );
        let alert = |name: &str, at: &str, state: &str| {
            format!(
                r#"{{"labels":{{"alertname":"{name}"}},"startsAt":"{at}","status":{{"state":"{state}","silencedBy":[]}}}}"#
            )
        };
        let since = of(&[]).since;
        let all = [
            alert("before", "2025-12-31T23:00:00Z", "active"),
            alert("later", "2026-01-01T00:00:09Z", "active"),
            alert("first", "2026-01-01T00:00:05Z", "active"),
            alert("hidden", "2026-01-01T00:00:01Z", "suppressed"),
        ];
        let found = of_alertmanager(200, &format!("[{}]", all.join(","))).map(|all| after(all, since));
        let at = "2026-01-01T00:00:05Z".parse().ok();
        assert_eq!(found, Ok(AlertsAnswer::Found { count: 2, first: Some(("first".into(), at)) }));
        for (status, body) in [(200, "{}"), (200, "<html>"), (500, "[]"), (200, "[{}]")] {
            assert!(of_alertmanager(status, body).is_err(), "{status} {body}");
        }
    }
}
