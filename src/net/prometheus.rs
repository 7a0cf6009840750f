//! One PromQL value. Only exactly one finite number is a value; everything else is inconclusive (DESIGN §6).

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use kube::Client;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::Net;
use super::address::Origin;
use super::keys::brief;
use super::request::{self, Target};
use super::wire::{self, Route};
use crate::api::Duration;
use crate::api::step::HeaderFrom;
use crate::world::{HttpError, QueryAnswer};

/// Longest answer.
const LIMIT: usize = 1024 * 1024;

/// Where Prometheus is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A Service of the namespace.
    Service {
        /// For errors.
        name: String,
        /// Its address.
        ip: IpAddr,
        /// Its port.
        port: u16,
    },
    /// A URL of the Cutover.
    Url(String),
    /// The URL of the operator's own flags, which may be private.
    Flag(String),
}

/// What is asked.
pub struct Query<'a> {
    /// Where.
    pub place: &'a Place,
    /// Credentials; they go nowhere else.
    pub headers: &'a [HeaderFrom],
    /// PromQL.
    pub query: &'a str,
    /// Evaluation time.
    pub at: Option<Timestamp>,
    /// For everything together.
    pub timeout: Duration,
}

impl Net {
    /// Asks Prometheus for one value. Secrets are read with `account`.
    pub async fn query(&self, account: &Client, namespace: &str, query: &Query<'_>) -> QueryAnswer {
        let deadline = Instant::now() + query.timeout.std();
        match timeout_at(deadline, self.ask_prometheus(account, namespace, query, deadline)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(HttpError::NotSent(why) | HttpError::Lost(why))) => {
                QueryAnswer::Inconclusive(format!("Prometheus: {why}"))
            }
            Err(_) => QueryAnswer::Inconclusive(format!("Prometheus: no answer within {}", query.timeout)),
        }
    }

    async fn ask_prometheus(
        &self,
        account: &Client,
        namespace: &str,
        query: &Query<'_>,
        deadline: Instant,
    ) -> Result<QueryAnswer, HttpError> {
        let mut headers =
            request::secret_headers(account, namespace, query.headers).await.map_err(HttpError::NotSent)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let mut target = match query.place {
            Place::Service { name, ip, port } => {
                self.rules()
                    .check(*ip, Origin::Cluster)
                    .map_err(|why| HttpError::NotSent(format!("Service {name} may not be asked: {ip} is {why}")))?;
                let to = SocketAddr::new(*ip, *port);
                Target { to, tls: None, host: to.to_string(), path: "/".into() }
            }
            Place::Url(url) => self.url(url, None, Origin::Url, deadline).await?,
            Place::Flag(url) => self.url(url, None, Origin::Flag, deadline).await?,
        };
        let (base, rest) = target.path.split_once('?').map_or((target.path.as_str(), None), |(b, q)| (b, Some(q)));
        let base = format!("{}/api/v1/query", base.trim_end_matches('/'));
        target.path = rest.map_or_else(|| base.clone(), |rest| format!("{base}?{rest}"));

        let message = request::message(http::Method::POST, &target, &headers, form(query))?;
        let route = Route { to: target.to, tls: target.tls, deadline, limit: LIMIT, roots: &self.inner.roots };
        let answer = wire::exchange(&route, message).await?;
        Ok(judge(answer.status, &answer.body))
    }
}

fn form(query: &Query<'_>) -> Bytes {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("query", query.query);
    if let Some(at) = query.at {
        form.append_pair("time", &at.to_string());
    }
    form.append_pair("timeout", &format!("{}ms", query.timeout.as_millis()));
    form.finish().into()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error_type: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

/// What an answer is worth.
fn judge(status: u16, body: &str) -> QueryAnswer {
    let inconclusive = |why: String| QueryAnswer::Inconclusive(format!("Prometheus: {why}"));
    let Ok(answer) = serde_json::from_str::<Answer>(body) else {
        return inconclusive(format!("status {status}, and the body is not an answer of Prometheus"));
    };
    let error = || brief(answer.error.as_deref().unwrap_or("no reason given"));
    // Only Prometheus' own word that the query cannot be right; a proxy's 400 has no errorType.
    if status == 400 && answer.error_type.as_deref() == Some("bad_data") {
        return QueryAnswer::Invalid(error());
    }
    let data = match answer.data {
        Some(data) if status == 200 && answer.status == "success" => data,
        _ => return inconclusive(format!("status {status}: {}", error())),
    };
    let sample = match (data.result_type.as_str(), &data.result) {
        ("scalar", sample) => sample,
        ("vector", Value::Array(series)) => match series.as_slice() {
            [] => return inconclusive("no data".into()),
            [one] => match one.get("value") {
                Some(sample) => sample,
                None => return inconclusive("a histogram and not a number".into()),
            },
            many => return inconclusive(format!("{} series where one is needed: aggregate", many.len())),
        },
        (other, _) => return inconclusive(format!("a {} and not a number", brief(other))),
    };
    match sample.get(1).and_then(Value::as_str).map(str::parse::<f64>) {
        Some(Ok(value)) if value.is_finite() => QueryAnswer::Value(value),
        Some(Ok(value)) => inconclusive(format!("{value}")),
        Some(Err(_)) | None => inconclusive("the value cannot be read".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(samples: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{samples}]}}}}"#)
    }

    #[test]
    fn one_finite_number_is_a_value() {
        let one = vector(r#"{"metric":{"a":"b"},"value":[1700000000.1,"0.25"]}"#);
        assert_eq!(judge(200, &one), QueryAnswer::Value(0.25));
        let big = vector(r#"{"metric":{},"value":[1,"1.5e+06"]}"#);
        assert_eq!(judge(200, &big), QueryAnswer::Value(1.5e6));
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"-3"]},"warnings":["w"]}"#;
        assert_eq!(judge(200, scalar), QueryAnswer::Value(-3.0));
    }

    #[test]
    fn everything_else_is_inconclusive() {
        let two = r#"{"metric":{},"value":[1,"1"]},{"metric":{},"value":[1,"1"]}"#;
        for (body, word) in [
            (vector(""), "no data"),
            (vector(two), "2 series"),
            (vector(r#"{"metric":{},"value":[1,"NaN"]}"#), "NaN"),
            (vector(r#"{"metric":{},"value":[1,"+Inf"]}"#), "inf"),
            (vector(r#"{"metric":{},"value":[1,"-Inf"]}"#), "inf"),
            (vector(r#"{"metric":{},"value":[1,""]}"#), "cannot be read"),
            (vector(r#"{"metric":{},"value":[1]}"#), "cannot be read"),
            (vector(r#"{"metric":{},"histogram":[1,{}]}"#), "histogram"),
            (r#"{"status":"success","data":{"resultType":"string","result":[1,"1"]}}"#.into(), "string"),
            (r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.into(), "matrix"),
            (r#"{"status":"success"}"#.into(), "status 200"),
            ("<html>".into(), "not an answer"),
            (String::new(), "not an answer"),
        ] {
            let answer = judge(200, &body);
            assert!(matches!(&answer, QueryAnswer::Inconclusive(why) if why.contains(word)), "{body}: {answer:?}");
        }
        let busy = r#"{"status":"error","errorType":"execution","error":"duplicate series"}"#;
        for status in [400, 422, 429, 500, 502, 503] {
            assert!(matches!(judge(status, busy), QueryAnswer::Inconclusive(_)), "{status}");
        }
        // a value with an error status is no value
        assert!(matches!(judge(503, &vector(r#"{"metric":{},"value":[1,"1"]}"#)), QueryAnswer::Inconclusive(_)));
    }

    #[test]
    fn a_wrong_query_is_said_to_be_wrong() {
        let bad = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert_eq!(judge(400, bad), QueryAnswer::Invalid("parse error".into()));
        assert!(matches!(judge(500, bad), QueryAnswer::Inconclusive(_)));
    }
}
