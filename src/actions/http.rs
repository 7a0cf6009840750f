//! PURE. `http`: one request and what is expected of the answer. One that may change something is claimed before it is
//! sent and sent at most once an attempt; a lost answer is *unknown* unless the request is idempotent (P1).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Cx, Out, Verdict, common_vars, targets};
use crate::api::duration::Duration;
use crate::api::run::StepRecord;
use crate::api::step::{Header, Http, Pods, To};
use crate::effect::{Effect, Outcome, Read, Request};
use crate::plan::expr::{Var, eval_bool};
use crate::plan::select;
use crate::plan::vars::{Escape, Vars};
use crate::world::{HttpAnswer, HttpError, HttpResponse, Reading};

/// How long one request may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes the attempt one move further. `default_to` is the stage's.
pub fn advance(cx: &Cx, http: &Http, default_to: To, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let key = format!("{}#{}", record.name, record.attempt);
    if http.method.unwrap_or_default().is_safe() {
        if let Some(Reading::Http(answers)) = cx.world.readings.get(&key) {
            return Some(judge(cx, http, answers, false));
        }
        match request(cx, http, default_to) {
            Ok(request) => out.reads.insert(key, Read::Http(request)),
            Err(why) => return Some(Verdict::fail(why)),
        };
        record.message = Some("asking".into());
        return None;
    }
    let effect_key = format!("send/{key}");
    match super::take(cx, &effect_key, out) {
        Some(Outcome::Answered(answers)) => return Some(judge(cx, http, &answers, !http.idempotent)),
        Some(Outcome::Refused { why, .. } | Outcome::Conflict(why)) => return Some(Verdict::fail(why)),
        Some(Outcome::NotFound) => return Some(Verdict::fail("there is nobody to ask")),
        Some(Outcome::Transient(why)) if !http.idempotent => return Some(Verdict::Unknown { message: why }),
        Some(_) | None => {}
    }
    if cx.world.in_flight.contains(&effect_key) {
        return None;
    }
    if record.sent.is_some() && !http.idempotent {
        let message = "the operator stopped before the answer was recorded; the request may have been sent".to_owned();
        return Some(Verdict::Unknown { message });
    }
    let mut request = match request(cx, http, default_to) {
        Ok(request) => request,
        Err(why) => return Some(Verdict::fail(why)),
    };
    // The same for every attempt where a repeat is harmless, so that a server that knows the key can tell.
    let attempt = if http.idempotent { String::new() } else { format!("-{}", record.attempt) };
    request.idempotency_key = Some(format!("{}-{}{attempt}", cx.world.run_uid, record.name.replace('/', "-")));
    record.sent.get_or_insert(cx.world.now);
    record.message = Some("sent".into());
    super::want(cx, Effect::Send { key, request }, Duration::from_secs(1), out);
    None
}

/// The request, expanded and addressed.
///
/// # Errors
/// In words, naming field and remedy.
pub fn request(cx: &Cx, http: &Http, default_to: To) -> Result<Request, String> {
    let vars = Vars::new(cx.plan, &cx.journal.captures);
    let expand = |text: &str, escape: Escape| vars.expand(text, escape).map_err(|e| e.to_string());
    let pairs = |list: &[Header], escape: Escape| -> Result<Vec<Header>, String> {
        list.iter().map(|h| Ok(Header { name: h.name.clone(), value: expand(&h.value, escape)? })).collect()
    };
    let mut request = Request {
        scheme: http.scheme.unwrap_or_default(),
        host: http.host.clone(),
        method: http.method.unwrap_or_default(),
        headers: pairs(&http.headers, Escape::Header)?,
        headers_from: http.headers_from.clone(),
        body: http.body.as_deref().map(|b| expand(b, Escape::Json)).transpose()?,
        body_from: http.body_from.as_ref().map(|b| b.secret.clone()),
        form: pairs(&http.form, Escape::Form)?,
        files: http.files.clone(),
        timeout: REQUEST_TIMEOUT,
        ..Request::default()
    };
    if let Some(url) = &http.url {
        request.url = Some(expand(url, Escape::PathSegment)?);
        return Ok(request);
    }
    request.path = expand(http.path.as_deref().unwrap_or("/"), Escape::PathSegment)?;
    request.to = match http.to.unwrap_or(default_to) {
        To::Live => vec![targets::service(cx, http.port.as_deref())?],
        To::Target => {
            let mut pods = targets::pods(cx, http.port.as_deref())?;
            if pods.is_empty() {
                return Err(format!("{} has no ready pod to ask", cx.plan.target.name));
            }
            if http.pods.unwrap_or_default() == Pods::Any {
                pods.truncate(1);
            }
            pods
        }
    };
    Ok(request)
}

/// Judges all answers; every one must meet every expectation. `once`: a lost answer leaves the outcome unknown.
pub fn judge(cx: &Cx, http: &Http, answers: &[HttpAnswer], once: bool) -> Verdict {
    if answers.is_empty() {
        return Verdict::fail("there was nobody to ask");
    }
    let mut evidence = Map::new();
    let mut captures = BTreeMap::new();
    for answer in answers {
        let from = &answer.from;
        let response = match &answer.result {
            Ok(r) => r,
            Err(HttpError::NotSent(why)) => return Verdict::fail(format!("{from}: {why}")),
            Err(HttpError::Lost(why)) if once => {
                return Verdict::Unknown { message: format!("{from}: the answer was lost: {why}") };
            }
            Err(HttpError::Lost(why)) => return Verdict::fail(format!("{from}: {why}")),
        };
        evidence.insert("status".into(), json!(response.status));
        evidence.insert("latencyMs".into(), json!(response.latency_ms));
        let body: Value = serde_json::from_str(&response.body).unwrap_or(Value::Null);
        if let Err(why) = meets(cx, http, response, &body) {
            evidence.insert("from".into(), json!(from));
            return Verdict::Fail { message: format!("{from}: {why}"), evidence: Some(Value::Object(evidence)) };
        }
        for c in &http.capture {
            match select::first(&body, &c.path) {
                Ok(value) => {
                    if c.record {
                        evidence.insert(c.name.clone(), value.clone());
                    }
                    captures.insert(c.name.clone(), value);
                }
                Err(why) => {
                    let message = format!("{from}: capture {}: {why}", c.name);
                    return Verdict::Fail { message, evidence: Some(Value::Object(evidence)) };
                }
            }
        }
    }
    if answers.len() > 1 {
        evidence.insert("asked".into(), json!(answers.len()));
    }
    Verdict::Pass { evidence: Some(Value::Object(evidence)), captures }
}

/// The first expectation that is not met, in words.
fn meets(cx: &Cx, http: &Http, response: &HttpResponse, body: &Value) -> Result<(), String> {
    if http.expect.is_empty() {
        let ok = (200..300).contains(&response.status);
        return if ok { Ok(()) } else { Err(format!("status {}, any 2xx is wanted", response.status)) };
    }
    let mut vars = common_vars(cx);
    vars.insert("status".into(), Var::Json(json!(response.status)));
    vars.insert("headers".into(), Var::Json(json!(response.headers)));
    vars.insert("body".into(), Var::Json(json!(response.body)));
    vars.insert("json".into(), Var::Json(body.clone()));
    vars.insert("latency".into(), Var::Duration(Duration::from_millis(response.latency_ms)));
    for expect in &http.expect {
        match eval_bool(expect, &vars) {
            Ok(true) => {}
            Ok(false) => return Err(format!("{expect} does not hold (status {})", response.status)),
            Err(why) => return Err(format!("{expect}: {why} (status {})", response.status)),
        }
    }
    Ok(())
}
