//! One PromQL value, or several by name. Only exactly one finite number is a value; everything else is inconclusive (DESIGN
//! §6).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::address::Origin;
use super::keys::{self, brief};
use super::request::{self, Target};
use super::sources::{Enforce, Source};
use super::wire::{self, Roots, Route};
use super::{Asker, Net};
use crate::api::Duration;
use crate::api::prometheus::Prometheus;
use crate::effect::{OF, ServicePort};
use crate::world::{HttpError, NumbersAnswer, QueryAnswer};

/// Longest answer.
const LIMIT: usize = 1024 * 1024;
/// Most numbers of an answer.
const MOST_NUMBERS: usize = 16;

/// Where Prometheus is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A Service.
    Service {
        /// Its name in the cluster's DNS, which is that of its certificate.
        host: String,
        /// Its own address.
        ip: IpAddr,
        port: u16,
        /// For one of the Cutover's namespace: a pod that it leads to is asked, and not its own address.
        through: Option<ServicePort>,
        /// Whether TLS is spoken.
        tls: bool,
    },
    /// A URL of the Cutover.
    Url(String),
    /// A URL of the operator's own configuration, which may be private.
    Configured(String),
}

/// Whose options and credentials are used. They go to this place and nowhere else.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// A Cutover's. Secrets and ConfigMaps are read as its account.
    Cutover(&'a Prometheus),
    /// Those of the operator's configuration. Its files are read by the operator.
    Operator(&'a Source),
}

/// Who is asked.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Where.
    pub place: &'a Location,
    /// With what.
    pub access: Access<'a>,
    /// For everything together.
    pub timeout: Duration,
}

/// What is asked.
pub struct Query<'a> {
    pub source: Asked<'a>,
    /// PromQL.
    pub query: &'a str,
    /// Evaluation time.
    pub at: Option<Timestamp>,
}

/// A request to a source.
pub(super) struct Ask {
    /// Whom, in words.
    pub who: &'static str,
    pub method: http::Method,
    /// Put behind the path of the source.
    pub path: &'static str,
    /// Put into the query of the URL.
    pub pairs: String,
    /// A form.
    pub body: Bytes,
}

impl Net {
    /// Asks Prometheus for one value.
    pub(crate) async fn query(&self, asker: &Asker<'_>, query: &Query<'_>) -> QueryAnswer {
        self.ask_in_time(asker, &query.source, &of_query(query), judge).await.unwrap_or_else(QueryAnswer::Inconclusive)
    }

    /// Asks Prometheus for several values by name.
    pub(crate) async fn numbers(&self, asker: &Asker<'_>, query: &Query<'_>) -> NumbersAnswer {
        self.ask_in_time(asker, &query.source, &of_query(query), numbers)
            .await
            .unwrap_or_else(NumbersAnswer::Inconclusive)
    }

    /// What an answer is worth, or why there is none.
    pub(super) async fn ask_in_time<T: Send + 'static>(
        &self,
        asker: &Asker<'_>,
        source: &Asked<'_>,
        ask: &Ask,
        worth: fn(u16, &str) -> T,
    ) -> Result<T, String> {
        let deadline = Instant::now() + source.timeout.std();
        match timeout_at(deadline, self.ask_source(asker, source, ask, deadline, worth)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(HttpError::NotSent(why) | HttpError::Unread(why) | HttpError::Lost(why))) => {
                Err(format!("{}: {why}", ask.who))
            }
            Err(_) => Err(format!("{}: no answer within {}", ask.who, source.timeout)),
        }
    }

    async fn ask_source<T: Send + 'static>(
        &self,
        asker: &Asker<'_>,
        source: &Asked<'_>,
        ask: &Ask,
        deadline: Instant,
        worth: fn(u16, &str) -> T,
    ) -> Result<T, HttpError> {
        let shown = match source.access {
            Access::Cutover(options) => self.of_cutover(asker, options).await,
            Access::Operator(of) => self.of_operator(of, asker.namespace).await,
        };
        let Shown { mut headers, roots } = shown.map_err(HttpError::NotSent)?;
        if !ask.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        let mut target = match source.place {
            Location::Service { host, ip, port, through, tls } => {
                let to = match through {
                    Some(service) => self.behind(asker, service, deadline).await?,
                    None => {
                        let checked = self.rules(Origin::Configuration, deadline).await?;
                        let checked = checked.check(*ip, Origin::Configuration);
                        let refuse =
                            |why| HttpError::NotSent(format!("Service {host} may not be asked: {ip} is {why}"));
                        checked.map_err(refuse)?;
                        SocketAddr::new(*ip, *port)
                    }
                };
                Target { to, tls: tls.then(|| host.clone()), host: format!("{host}:{port}"), path: "/".into() }
            }
            Location::Url(url) => self.url(url, None, Origin::Url, deadline).await?,
            Location::Configured(url) => self.url(url, None, Origin::Configuration, deadline).await?,
        };
        let (base, rest) = target.path.split_once('?').map_or((target.path.as_str(), None), |(b, q)| (b, Some(q)));
        let base = format!("{}{}", base.trim_end_matches('/'), ask.path);
        let enforced = match source.access {
            Access::Operator(Source { enforce: Some(Enforce::Parameter(name)), .. }) => {
                let mut pair = url::form_urlencoded::Serializer::new(String::new());
                Some(pair.append_pair(name, asker.namespace).finish())
            }
            _ => None,
        };
        let pairs = Some(ask.pairs.as_str()).filter(|pairs| !pairs.is_empty());
        let asked: Vec<&str> = rest.into_iter().chain(enforced.as_deref()).chain(pairs).collect();
        target.path = if asked.is_empty() { base } else { format!("{base}?{}", asked.join("&")) };

        let message = request::message(ask.method.clone(), &target, &headers, ask.body.clone())?;
        let roots = roots.as_ref().unwrap_or(&self.inner.roots);
        let route = Route {
            to: target.to,
            tls: target.tls,
            deadline,
            limit: LIMIT,
            roots,
            namespace: asker.namespace,
            budget: &self.inner.budget,
        };
        let answer = wire::exchange(&route, message).await;
        if let (Err(_), Location::Service { through: Some(service), .. }) = (&answer, source.place) {
            self.forget(asker, service);
        }
        let answer = answer?;
        let read = move || worth(answer.status, &answer.body);
        Ok(self.inner.threads.run(asker.namespace, read).await)
    }

    async fn of_cutover(&self, asker: &Asker<'_>, options: &Prometheus) -> Result<Shown, String> {
        let ca = options.ca_from.as_ref().and_then(|from| match (&from.config_map, &from.secret) {
            (Some(key), _) => Some((keys::Source::ConfigMap(key.name.clone()), key)),
            (None, Some(key)) => Some((keys::Source::Secret(key.name.clone()), key)),
            (None, None) => None,
        });
        let from_headers = options.headers_from.iter().map(|h| keys::Source::Secret(h.secret.name.clone()));
        let wanted = from_headers.chain(ca.iter().map(|(source, _)| source.clone()));
        let read = keys::read_all(asker.account, asker.namespace, wanted).await;
        let mut headers = HeaderMap::new();
        for header in &options.headers_from {
            let (name, value) = request::secret_header(header, &read)?;
            headers.append(name, value);
        }
        tenant(&mut headers, options.tenant.as_deref())?;
        let roots = match ca {
            Some((source, key)) => {
                let pem = request::value(&read, &source, key)?;
                let roots = self.authorities(asker.namespace, pem).await;
                Some(roots.map_err(|why| format!("key {} of {source}: {why}", key.key))?)
            }
            None => None,
        };
        Ok(Shown { headers, roots })
    }

    async fn of_operator(&self, source: &Source, namespace: &str) -> Result<Shown, String> {
        let mut headers = HeaderMap::new();
        if let Some(token) = source.bearer_token().await? {
            headers.insert(AUTHORIZATION, token);
        }
        tenant(&mut headers, source.tenant.as_deref())?;
        if let Some(Enforce::Header(name)) = &source.enforce {
            let value =
                HeaderValue::from_str(namespace).map_err(|_| "the namespace cannot be sent as a header".to_owned())?;
            headers.insert(name.clone(), value);
        }
        let roots = match source.authorities().await? {
            Some((file, pem)) => {
                let roots = self.authorities(namespace, pem.into()).await;
                Some(roots.map_err(|why| format!("caFile {file}: {why}"))?)
            }
            None => None,
        };
        Ok(Shown { headers, roots })
    }

    /// A bundle may be large, and is read for each query.
    async fn authorities(&self, namespace: &str, pem: Bytes) -> Result<Roots, String> {
        self.inner.threads.run(namespace, move || Roots::from_pem(&pem)).await
    }
}

/// What is shown to a source, and whom it has to be known by.
struct Shown {
    headers: HeaderMap,
    /// Instead of the operator's own.
    roots: Option<Roots>,
}

fn tenant(headers: &mut HeaderMap, tenant: Option<&str>) -> Result<(), String> {
    if let Some(tenant) = tenant {
        let value =
            HeaderValue::from_str(tenant).map_err(|_| "the tenant cannot be the value of a header".to_owned())?;
        headers.insert("x-scope-orgid", value);
    }
    Ok(())
}

/// What makes other servers of this API answer exactly what was asked, or with an error; each of them ignores what it does
/// not know. VictoriaMetrics answers for 30 s before the time asked for unless it is told `nocache`: a value of before the
/// switch would pass for one of after it. Thanos leaves out what stores that fail would have said, with a mere warning.
pub const EXACT: [(&str, &str); 2] = [("nocache", "1"), ("partial_response", "false")];

fn form(query: &Query<'_>) -> Bytes {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("query", query.query);
    if let Some(at) = query.at {
        form.append_pair("time", &at.to_string());
    }
    form.append_pair("timeout", &format!("{}ms", query.source.timeout.as_millis()));
    form.extend_pairs(EXACT);
    form.finish().into()
}

pub(super) fn of_query(query: &Query<'_>) -> Ask {
    Ask {
        who: "Prometheus",
        method: http::Method::POST,
        path: "/api/v1/query",
        pairs: String::new(),
        body: form(query),
    }
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
pub(super) struct Data {
    pub result_type: String,
    pub result: Value,
}

/// The data of an answer, or why there is none: in other words, or in Prometheus' own where the query cannot be right.
pub(super) fn data(status: u16, body: &str) -> Result<Data, (bool, String)> {
    let Ok(answer) = serde_json::from_str::<Answer>(body) else {
        return Err((false, format!("Prometheus: status {status}, and the body is not an answer of Prometheus")));
    };
    let error = || brief(answer.error.as_deref().unwrap_or("no reason given"));
    // A proxy's 400 has no errorType.
    if status == 400 && answer.error_type.as_deref() == Some("bad_data") {
        return Err((true, error()));
    }
    match answer.data {
        Some(data) if status == 200 && answer.status == "success" => Ok(data),
        _ => Err((false, format!("Prometheus: status {status}: {}", error()))),
    }
}

/// What an answer of several numbers is worth: each has the label [`OF`] alone, and none is there twice.
pub(crate) fn numbers(status: u16, body: &str) -> NumbersAnswer {
    let inconclusive = |why: &str| NumbersAnswer::Inconclusive(format!("Prometheus: {why}"));
    let data = match data(status, body) {
        Ok(data) => data,
        Err((true, why)) => return NumbersAnswer::Invalid(why),
        Err((false, why)) => return NumbersAnswer::Inconclusive(why),
    };
    let ("vector", Value::Array(series)) = (data.result_type.as_str(), &data.result) else {
        return inconclusive("no numbers by name");
    };
    if series.len() > MOST_NUMBERS {
        return inconclusive(&format!("{} series where a few are needed", series.len()));
    }
    let mut found = BTreeMap::new();
    for one in series {
        let name = one.get("metric").and_then(|m| m.get(OF)).and_then(Value::as_str);
        let number = one.get("value").and_then(|v| v.get(1)).and_then(Value::as_str).and_then(|v| v.parse().ok());
        let (Some(name), Some(number)) = (name, number) else { return inconclusive("a value cannot be read") };
        if found.insert(brief(name), number).is_some() {
            return inconclusive(&format!("{} is there twice", brief(name)));
        }
    }
    NumbersAnswer::Found(found)
}

/// What an answer is worth.
pub(crate) fn judge(status: u16, body: &str) -> QueryAnswer {
    let inconclusive = |why: String| QueryAnswer::Inconclusive(format!("Prometheus: {why}"));
    let data = match data(status, body) {
        Ok(data) => data,
        Err((true, why)) => return QueryAnswer::Invalid(why),
        Err((false, why)) => return QueryAnswer::Inconclusive(why),
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
    fn numbers_are_told_apart_by_name_and_anything_else_is_inconclusive() {
        let one = |of: &str, value: &str| format!(r#"{{"metric":{{"of":"{of}"}},"value":[1,"{value}"]}}"#);
        let found = numbers(200, &vector(&[one("total", "12.5"), one("errors", "NaN")].join(",")));
        let NumbersAnswer::Found(found) = found else { panic!("{found:?}") };
        assert_eq!((found.len(), found["total"]), (2, 12.5));
        assert!(found["errors"].is_nan());
        assert_eq!(numbers(200, &vector("")), NumbersAnswer::Found(BTreeMap::new()));
        for (body, word) in [
            (vector(&[one("total", "1"), one("total", "2")].join(",")), "total is there twice"),
            (vector(r#"{"metric":{},"value":[1,"1"]}"#), "cannot be read"),
            (vector(&one("total", "")), "cannot be read"),
            (vector(&(0..17).map(|n| one(&n.to_string(), "1")).collect::<Vec<_>>().join(",")), "17 series"),
            (r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#.into(), "no numbers"),
            ("<html>".into(), "not an answer"),
        ] {
            let answer = numbers(200, &body);
            assert!(matches!(&answer, NumbersAnswer::Inconclusive(why) if why.contains(word)), "{body}: {answer:?}");
        }
        let bad = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert_eq!(numbers(400, bad), NumbersAnswer::Invalid("parse error".into()));
    }

    #[test]
    fn a_wrong_query_is_said_to_be_wrong() {
        let bad = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert_eq!(judge(400, bad), QueryAnswer::Invalid("parse error".into()));
        assert!(matches!(judge(500, bad), QueryAnswer::Inconclusive(_)));
    }
}
