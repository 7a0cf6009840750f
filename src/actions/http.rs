//! PURE. One request and what is expected of the answer. A request that may change something is sent at most once an
//! attempt: claimed first, and an answer that was lost is [`Verdict::Unknown`] unless the manifest says `idempotent`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::api::run::StepRecord;
use crate::api::step::Http;
use crate::effect::{Attempt, Effect, EffectKey, Outcome, Read, Request};
use crate::plan::PlanStep;
use crate::plan::expr::Var;
use crate::world::{HttpAnswer, HttpError, HttpResponse, Reading};

use super::expect::{Captured, Unmet};
use super::request::{NoRequest, build, timeout};
use super::{Cx, Out, Verdict, attempt_of, expect, read_key, session};

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, http: &Http, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    if !http.method.unwrap_or_default().is_safe() {
        return send(cx, step, http, attempt_of(step, record), record, out);
    }
    let key = read_key(step, record);
    if let Some(Reading::Http(answers)) = cx.world.readings.get(&key) {
        let verdict = not_made(answers).unwrap_or_else(|| judge(cx, http, answers));
        let verdict = session::keeping(cx, step, http, answers, verdict);
        if verdict.hides() {
            // Its answer is needed until that is written; it is not asked for again as long as it is there.
            out.reads.insert(key, Read::Http(request(cx, step, http, record).unwrap_or_default()));
        }
        return Some(verdict);
    }
    match request(cx, step, http, record) {
        Ok(request) => {
            record.message = Some(format!("waiting for {}", whom(&request)));
            out.reads.insert(key, Read::Http(request));
            None
        }
        Err(why) => no_request(why, record),
    }
}

fn request(cx: &Cx, step: &PlanStep, http: &Http, record: &StepRecord) -> Result<Request, NoRequest> {
    let safe = http.method.unwrap_or_default().is_safe();
    let key = (!safe).then(|| idempotency_key(cx, step, http, record));
    let mut request = build(cx, http, step.stage.default_side(), timeout(step.timeout, step.attempts), key)?;
    request.sealed.extend(session::sent(cx, step, http));
    Ok(request)
}

fn whom(request: &Request) -> String {
    match request.to.as_slice() {
        [] => "the answer".into(),
        [one] => format!("the answer of {}", one.name),
        [first, ..] => format!("the answers of {} and {} more", first.name, request.to.len() - 1),
    }
}

fn no_request(why: NoRequest, record: &mut StepRecord) -> Option<Verdict> {
    match why {
        NoRequest::Wait(why) | NoRequest::Nobody(why) => {
            record.message = Some(why);
            None
        }
        NoRequest::Fail(why) => Some(Verdict::fail(why)),
    }
}

/// The same for every attempt of an idempotent request, so that the receiver can tell that it is the same.
fn idempotency_key(cx: &Cx, step: &PlanStep, http: &Http, record: &StepRecord) -> String {
    let attempt = if http.idempotent { 0 } else { record.attempt };
    let hash = Sha256::digest(format!("{}\n{}\n{attempt}", cx.world.run_uid, step.name));
    hash.iter().take(16).map(|b| format!("{b:02x}")).collect()
}

fn send(
    cx: &Cx,
    step: &PlanStep,
    http: &Http,
    key: Attempt,
    record: &mut StepRecord,
    out: &mut Out,
) -> Option<Verdict> {
    let effect_key = EffectKey::Send(key.clone());
    let again = if record.sent.is_none() {
        true
    } else {
        match out.outcome(cx, &effect_key).map(|(_, outcome)| outcome) {
            Some(Outcome::Answered(answers)) => {
                let verdict = not_made(&answers).unwrap_or_else(|| judge_sent(cx, http, &answers));
                return Some(session::keeping(cx, step, http, &answers, verdict));
            }
            Some(Outcome::Refused { why, .. }) => return Some(Verdict::fail(format!("not sent: {why}"))),
            Some(Outcome::NotFound) => return Some(Verdict::fail("not sent: what it needs is not there")),
            Some(Outcome::Conflict(why) | Outcome::NameCollision(why) | Outcome::Transient(why))
                if !http.idempotent =>
            {
                return Some(lost(&why));
            }
            Some(other) if !http.idempotent => return Some(lost(&format!("{other:?}"))),
            Some(_) => true,
            None if cx.world.in_flight.contains(&effect_key) => return None,
            // Claimed by this very decision.
            None if out.effects.iter().any(|wanted| wanted.key() == effect_key) => return None,
            // Claimed by this process, which could not write the journal: not sent yet.
            None if cx.world.not_begun.contains(&effect_key) => true,
            // Recorded by an earlier decision and not under way: the process that sent it, or was about to, is gone.
            None if !http.idempotent => return Some(lost("the operator was restarted before the answer was recorded")),
            None => true,
        }
    };
    if again {
        match request(cx, step, http, record) {
            Ok(request) => {
                record.sent.get_or_insert(cx.world.now);
                record.message = Some(format!("sent; waiting for {}", whom(&request)));
                out.want(cx, Effect::Send { key, request });
            }
            Err(why) => return no_request(why, record),
        }
    }
    None
}

fn lost(why: &str) -> Verdict {
    Verdict::unknown(format!(
        "the request was sent and its answer is not known: {why}; say idempotent: true if it may be sent again"
    ))
}

/// The step's time is up while the request may be under way.
pub fn late(cx: &Cx, step: &PlanStep, http: &Http, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let key = EffectKey::Send(attempt_of(step, record));
    if cx.world.in_flight.contains(&key) {
        return None; // it has a time-out of its own
    }
    let mut answered = Out::default();
    if cx.world.outcomes.contains_key(&key)
        && let Some(verdict) = send(cx, step, http, attempt_of(step, record), record, &mut answered)
    {
        out.consumed.extend(answered.consumed);
        return Some(verdict);
    }
    let why = format!("timed out after {}", step.timeout);
    // What could not be claimed in writing was not sent.
    Some(if http.idempotent || cx.world.not_begun.contains(&key) { Verdict::fail(why) } else { lost(&why) })
}

/// Nobody was asked at all, which is nobody's fault.
fn not_made(answers: &[HttpAnswer]) -> Option<Verdict> {
    let missing = |answer: &HttpAnswer| match &answer.result {
        Err(HttpError::Unread(why)) => Some(why.clone()),
        Err(HttpError::NotSent(_) | HttpError::Lost(_)) | Ok(_) => None,
    };
    let all: Option<Vec<String>> = answers.iter().map(missing).collect();
    let why = all?.into_iter().next()?;
    Some(Verdict::NotMade { message: format!("not sent: {why}") })
}

fn judge_sent(cx: &Cx, http: &Http, answers: &[HttpAnswer]) -> Verdict {
    let not_known = answers.iter().find_map(|a| match &a.result {
        Err(HttpError::Lost(why)) => Some(format!("{}: {why}", a.from)),
        Err(HttpError::NotSent(_) | HttpError::Unread(_)) | Ok(_) => None,
    });
    match not_known {
        Some(why) if !http.idempotent => lost(&why),
        _ => judge(cx, http, answers),
    }
}

/// Judges answers: each must meet every expectation; the first one's body is captured from.
pub fn judge(cx: &Cx, http: &Http, answers: &[HttpAnswer]) -> Verdict {
    judge_or_not(cx, http, answers).unwrap_or_else(|unjudged| unjudged.verdict)
}

/// Finding out whether an answer is as expected would take too long.
pub(crate) struct Unjudged {
    /// What it is that takes too long.
    pub(crate) why: String,
    /// For whom only what is known to be good counts.
    pub(crate) verdict: Verdict,
}

/// The same for whom what cannot be judged is no failure.
///
/// # Errors
/// Nothing is wrong with the answers before the first that cannot be judged.
pub(crate) fn judge_or_not(cx: &Cx, http: &Http, answers: &[HttpAnswer]) -> Result<Verdict, Unjudged> {
    let Some(first) = answers.first() else { return Ok(Verdict::fail("there was nobody to ask")) };
    let several = answers.len() > 1;
    let base = expect::vars(cx);
    for answer in answers {
        let fail = |why: String| {
            let mut evidence = shown(answer);
            evidence.insert("failed".into(), Value::String(why.clone()));
            if several {
                evidence.insert("asked".into(), answers.len().into());
            }
            Verdict::Fail { message: format!("{}: {why}", answer.from), evidence: Some(Value::Object(evidence)) }
        };
        match &answer.result {
            Err(HttpError::NotSent(why) | HttpError::Unread(why)) => return Ok(fail(format!("not sent: {why}"))),
            Err(HttpError::Lost(why)) => return Ok(fail(format!("no answer: {why}"))),
            Ok(response) => {
                if let Some(Unmet { why, unknown }) = unexpected(http, response, &base) {
                    let verdict = fail(why.clone());
                    return if unknown { Err(Unjudged { why, verdict }) } else { Ok(verdict) };
                }
            }
        }
    }
    let body = first.result.as_ref().ok().and_then(|r| serde_json::from_str::<Value>(&r.body).ok());
    let mut evidence = shown(first);
    if several {
        evidence.insert("asked".into(), answers.len().into());
        let slowest = answers.iter().filter_map(|a| a.result.as_ref().ok()).map(|r| r.latency_ms).max();
        evidence.insert("slowestMs".into(), json!(slowest));
    }
    let source = expect::Source { json: body.as_ref(), response: first.result.as_ref().ok() };
    Ok(match expect::capture(&http.capture, source) {
        Err(why) => {
            evidence.insert("failed".into(), Value::String(why.clone()));
            Verdict::Fail { message: format!("{}: {why}", first.from), evidence: Some(Value::Object(evidence)) }
        }
        Ok(Captured { values, recorded, hidden }) => {
            if !recorded.is_empty() {
                evidence.insert("captures".into(), Value::Object(recorded));
            }
            Verdict::Pass { evidence: Some(Value::Object(evidence)), captures: values, hidden }
        }
    })
}

fn shown(answer: &HttpAnswer) -> Map<String, Value> {
    let mut shown = Map::from_iter([("from".to_owned(), json!(answer.from))]);
    if let Ok(response) = &answer.result {
        shown.insert("status".into(), response.status.into());
        shown.insert("latencyMs".into(), response.latency_ms.into());
    }
    shown
}

/// Why an answer is not what was expected. The body is never shown.
fn unexpected(http: &Http, response: &HttpResponse, base: &BTreeMap<String, Var>) -> Option<Unmet> {
    if http.expect.is_empty() {
        let ok = (200..300).contains(&response.status);
        return (!ok).then(|| Unmet { why: format!("status {} is not 2xx", response.status), unknown: false });
    }
    let json = serde_json::from_str::<Value>(&response.body);
    let not_json = json.is_err();
    let mut vars = base.clone();
    vars.insert("status".into(), Var::Json(response.status.into()));
    vars.insert("headers".into(), Var::Json(json!(response.headers)));
    vars.insert("body".into(), Var::Json(Value::String(response.body.clone())));
    vars.insert("json".into(), Var::Json(json.unwrap_or(Value::Null)));
    vars.insert("latency".into(), Var::Duration(crate::api::duration::Duration::from_millis(response.latency_ms)));
    let Unmet { why, unknown } = expect::first_unmet(&http.expect, &vars)?;
    let hint = if not_json && why.contains("json") { "; the body is not JSON" } else { "" };
    Some(Unmet { why: format!("{why} (status {}, {} ms{hint})", response.status, response.latency_ms), unknown })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::drive;
    use crate::actions::fixtures::{Fixture, answer, effect, http, pod, read, step};
    use crate::api::run::StepState;
    use crate::plan::{Action, Stage};

    fn get(value: Value) -> PlanStep {
        step("check", Stage::Verify, Action::Http(http(value)))
    }

    fn with_pod() -> Fixture {
        let mut f = Fixture::new();
        f.pods(vec![pod("green-a", "green")]);
        f
    }

    fn state(r: &StepRecord) -> (StepState, String) {
        (r.state, r.message.clone().unwrap_or_default())
    }

    #[test]
    fn a_get_is_asked_for_until_it_is_answered() {
        let mut f = with_pod();
        let s = get(json!({"path": "/", "expect": ["status == 200", "json.ok == true", "latency < duration('1s')"]}));
        let (first, out) = f.drive(&s, None);
        assert!(out.reads.contains_key(&read("check#1")) && first.state == StepState::Running);
        let (again, out) = f.drive(&s, Some(&first));
        assert!(out.reads.contains_key(&read("check#1")), "asked for until the verdict");
        f.world.readings.insert(read("check#1"), Reading::Http(vec![answer(200, r#"{"ok":true}"#)]));
        let (done, _) = f.drive(&s, Some(&again));
        assert_eq!(done.state, StepState::Succeeded);
        assert_eq!(done.evidence, Some(json!({"from": "green-a", "status": 200, "latencyMs": 12})));
    }

    #[test]
    fn failures_name_the_expectation_and_never_the_body() {
        let table = [
            (json!({"path": "/"}), 503, "SECRET", "status 503 is not 2xx"),
            (json!({"path": "/", "expect": ["status == 200"]}), 500, "SECRET", "expect[0] status == 200 is false"),
            (json!({"path": "/", "expect": ["json.a == 1"]}), 200, "SECRET", "the body is not JSON"),
            (json!({"path": "/", "expect": ["json.a == 1"]}), 200, "{\"b\":\"SECRET\"}", "json.a is missing"),
            (
                json!({"path": "/", "capture": [{"name": "x", "path": "$.x"}]}),
                200,
                "{\"b\":\"SECRET\"}",
                "capture[0] x",
            ),
        ];
        for (manifest, status, body, wanted) in table {
            let mut f = with_pod();
            let s = get(manifest);
            f.world.readings.insert(read("check#1"), Reading::Http(vec![answer(status, body)]));
            let (r, _) = f.drive(&s, None);
            let text = format!("{:?} {:?}", r.message, r.evidence);
            assert!(r.state == StepState::Failed && text.contains(wanted) && !text.contains("SECRET"), "{text}");
        }
    }

    #[test]
    fn with_all_pods_one_bad_answer_fails() {
        let mut f = with_pod();
        let s = get(json!({"path": "/", "pods": "All"}));
        let mut bad = answer(500, "");
        bad.from = "green-b".into();
        f.world.readings.insert(read("check#1"), Reading::Http(vec![answer(200, ""), bad]));
        let (r, _) = f.drive(&s, None);
        assert!(r.message.is_some_and(|m| m.starts_with("green-b: status 500")));
    }

    #[test]
    fn a_lost_answer_fails_a_get_and_the_next_attempt_asks_anew() {
        let mut f = with_pod();
        let s = PlanStep { attempts: 2, ..get(json!({"path": "/"})) };
        let lost = HttpAnswer { from: "green-a".into(), result: Err(HttpError::Lost("timed out".into())) };
        f.world.readings.insert(read("check#1"), Reading::Http(vec![lost]));
        let (r, out) = f.drive(&s, None);
        assert!(r.between && r.attempt == 2 && out.wake == r.attempt_at);
        f.after(5);
        let (r, out) = f.drive(&s, Some(&r));
        assert!(!r.between && out.reads.contains_key(&read("check#2")));
    }

    fn post(idempotent: bool) -> PlanStep {
        get(json!({"path": "/", "method": "POST", "body": "{}", "idempotent": idempotent}))
    }

    #[test]
    fn a_post_is_claimed_with_its_sending_and_sent_once() {
        let mut f = with_pod();
        let s = post(false);
        let (claimed, out) = f.drive(&s, None);
        assert!(claimed.sent.is_some());
        let [Effect::Send { key, request }] = out.effects.as_slice() else { panic!("{:?}", out.effects) };
        assert!(key.to_string() == "check#1" && request.idempotency_key.is_some());
        f.world.in_flight.insert(effect("send/check#1"));
        let (waiting, out) = f.drive(&s, Some(&claimed));
        assert!(out.effects.is_empty() && waiting.state == StepState::Running);
        f.world.in_flight.clear();
        f.outcome("send/check#1", Outcome::Answered(vec![answer(201, "{}")]));
        let (done, out) = f.drive(&s, Some(&waiting));
        assert!(done.state == StepState::Succeeded && out.consumed == [effect("send/check#1")]);
    }

    #[test]
    fn after_a_restart_a_sent_request_is_unknown_unless_idempotent() {
        let f = with_pod();
        let (claimed, _) = f.drive(&post(false), None);
        let (r, out) = f.drive(&post(false), Some(&claimed));
        assert!(r.state == StepState::Unknown && out.effects.is_empty(), "{r:?}");
        let (claimed, first) = f.drive(&post(true), None);
        let (r, again) = f.drive(&post(true), Some(&claimed));
        assert_eq!((r.state, first.effects), (StepState::Running, again.effects), "the same request, key included");
    }

    #[test]
    fn what_nobody_could_be_asked_is_no_attempt() {
        let unread = || HttpAnswer { from: "green-a".into(), result: Err(HttpError::Unread("nodes not known".into())) };
        let mut f = with_pod();
        let s = get(json!({"path": "/"}));
        f.world.readings.insert(read("check#1"), Reading::Http(vec![unread()]));
        let (waits, out) = f.drive(&s, None);
        assert!(waits.state == StepState::Running && out.wake.is_some(), "its only attempt is not used up: {waits:?}");
        assert_eq!(waits.message.as_deref(), Some("not sent: nodes not known"));
        f.after(5);
        f.world.readings.insert(read("check#2"), Reading::Http(vec![answer(200, "")]));
        assert_eq!(f.drive(&s, Some(&waits)).0.state, StepState::Succeeded);
        f.after(3600);
        let late = f.drive(&s, Some(&waits)).0;
        assert!(late.state == StepState::Failed && late.message.is_some_and(|m| m.contains("nodes not known")));

        // What one of several has got is not sent again.
        let mut f = with_pod();
        let (claimed, _) = f.drive(&post(false), None);
        f.outcome("send/check#1", Outcome::Answered(vec![answer(201, "{}"), unread()]));
        assert_eq!(f.drive(&post(false), Some(&claimed)).0.state, StepState::Failed);
        f.outcome("send/check#1", Outcome::Answered(vec![unread(), unread()]));
        let (again, _) = f.drive(&post(false), Some(&claimed));
        assert!(again.state == StepState::Running && again.sent.is_none(), "{again:?}");
    }

    #[test]
    fn answers_to_a_post() {
        let not_sent = || HttpAnswer { from: "green-a".into(), result: Err(HttpError::NotSent("refused".into())) };
        let lost = || HttpAnswer { from: "green-a".into(), result: Err(HttpError::Lost("reset".into())) };
        let table = [
            (false, Outcome::Answered(vec![not_sent()]), StepState::Failed),
            (false, Outcome::Answered(vec![lost()]), StepState::Unknown),
            (true, Outcome::Answered(vec![lost()]), StepState::Failed),
            (false, Outcome::Refused { why: "no Secret".into(), forbidden: false }, StepState::Failed),
            (false, Outcome::Transient("?".into()), StepState::Unknown),
            (true, Outcome::Transient("?".into()), StepState::Running),
        ];
        for (idempotent, outcome, wanted) in table {
            let mut f = with_pod();
            let (claimed, _) = f.drive(&post(idempotent), None);
            f.outcome("send/check#1", outcome.clone());
            let (r, _) = f.drive(&post(idempotent), Some(&claimed));
            assert_eq!(r.state, wanted, "{idempotent} {outcome:?} {:?}", state(&r));
        }
    }

    #[test]
    fn the_key_is_new_for_each_attempt_unless_idempotent() {
        let f = with_pod();
        for (idempotent, same) in [(true, true), (false, false)] {
            let Action::Http(h) = &post(idempotent).action else { panic!("http") };
            let at = |attempt| {
                idempotency_key(&f.cx(), &post(idempotent), h, &StepRecord { attempt, ..StepRecord::default() })
            };
            assert_eq!(at(1) == at(2), same);
        }
    }

    #[test]
    fn time_out_of_a_sent_request_is_unknown_but_an_answer_still_counts() {
        let mut f = with_pod();
        let s = post(false);
        let (claimed, _) = f.drive(&s, None);
        f.after(3600);
        f.world.in_flight.insert(effect("send/check#1"));
        assert_eq!(drive(&f.cx(), &s, Some(&claimed), &mut Out::default()).state, StepState::Running);
        f.world.in_flight.clear();
        assert_eq!(f.drive(&s, Some(&claimed)).0.state, StepState::Unknown);
        f.outcome("send/check#1", Outcome::Answered(vec![answer(200, "")]));
        assert_eq!(f.drive(&s, Some(&claimed)).0.state, StepState::Succeeded);
    }
}
