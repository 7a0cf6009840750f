//! PURE. What a step captured as sensitive goes into the run's Secret before the step is recorded as done. The journal has the
//! key there and never the value: until the Secret is written, the value is in the memory of this process alone, and after
//! a restart the answer it came in is another one, or was lost.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::run::StepRecord;
use crate::effect::sealed::Hidden;
use crate::effect::{Effect, EffectKey, Outcome};
use crate::plan::PlanStep;
use crate::plan::execution::{secret_key, secret_name};
use crate::plan::vars::kept_at;

use super::rights::remedy;
use super::{Cx, Out, attempt_of};

/// Where it stands.
pub(super) enum Keeping {
    /// Written: what stands among the captures for each value.
    Kept(BTreeMap<String, Value>),
    /// Not yet, and `record.message` says why.
    Open,
    /// It cannot be.
    Failed(String),
}

/// The name of the run's Secret.
pub(super) fn secret(cx: &Cx) -> String {
    secret_name(&cx.plan.cutover, &cx.world.run_uid)
}

/// Takes the keeping of these values, by their captures, one move further. `late`: nothing new is begun.
pub(super) fn keep(
    cx: &Cx,
    step: &PlanStep,
    found: &Hidden,
    late: bool,
    record: &mut StepRecord,
    out: &mut Out,
) -> Keeping {
    let attempt = attempt_of(step, record);
    let at = |capture: &str| secret_key(capture, &attempt.execution, attempt.number);
    let key = EffectKey::Keep(attempt.clone());
    let secret = secret(cx);
    let what = || format!("what {} captured as sensitive is not in Secret {secret}", step.name);
    match out.outcome(cx, &key) {
        Some((_, Outcome::Done)) => {
            return Keeping::Kept(found.keys().map(|name| (name.to_owned(), kept_at(&at(name)))).collect());
        }
        Some((_, Outcome::Refused { why, forbidden })) => {
            let verbs = ["create", "patch"].into_iter().find(|verb| why.contains(&format!(" cannot {verb} ")));
            let more = verbs.filter(|_| forbidden).map(|verb| format!("; {}", remedy(cx, verb, "secrets")));
            return Keeping::Failed(format!("{}: {why}{}", what(), more.unwrap_or_default()));
        }
        Some((_, Outcome::Transient(why))) => record.message = Some(format!("{} yet: {why}", what())),
        Some((_, _)) => record.message = Some(format!("{} yet", what())),
        None => record.message = Some(format!("Secret {secret} is being written")),
    }
    if cx.world.in_flight.contains(&key) {
        return Keeping::Open;
    }
    if late {
        return Keeping::Failed(format!("timed out after {}: {}", step.timeout, what()));
    }
    let mut values = Hidden::default();
    found.iter().for_each(|(name, value)| values.insert(at(name), value.to_owned()));
    let cutover = cx.plan.cutover.clone();
    out.want(cx, Effect::Keep { key: attempt.clone(), secret, cutover, values });
    Keeping::Open
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actions::fixtures::{Fixture, answer, effect, http, pod, read, step};
    use crate::api::run::StepState;
    use crate::api::step::Job;
    use crate::effect::sealed::{Piece, Place};
    use crate::plan::{Action, Stage};
    use crate::world::Reading;

    const BODY: &str = r#"{"token":"canary"}"#;

    fn login(more: Value) -> PlanStep {
        let mut all = json!({"path": "/login", "capture": [{"name": "token", "path": "$.token", "sensitive": true}]});
        if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
            all.extend(more.clone());
        }
        step("login", Stage::Verify, Action::Http(http(all)))
    }

    fn world(s: &PlanStep) -> Fixture {
        let mut f = Fixture::new();
        f.plan.steps = vec![s.clone()];
        f.pods(vec![pod("green-a", "green")]);
        f
    }

    fn answered(f: &mut Fixture) {
        f.world.readings.insert(read("login#1"), Reading::Http(vec![answer(200, BODY)]));
    }

    #[test]
    fn a_step_is_done_once_its_secret_is_written_and_the_journal_has_the_key() {
        let s = login(json!({}));
        let mut f = world(&s);
        answered(&mut f);
        let (open, out) = f.drive(&s, None);
        assert!(open.state == StepState::Running && out.captures.is_empty(), "{open:?}");
        assert!(out.reads.contains_key(&read("login#1")), "its answer is still needed");
        let [Effect::Keep { secret: name, values, .. }] = out.effects.as_slice() else { panic!("{:?}", out.effects) };
        assert_eq!(values.iter().collect::<Vec<_>>(), [("token.login.1", "canary")]);
        assert_eq!(*name, secret(&f.cx()));
        assert!(!format!("{open:?} {out:?} {:?}", f.world.readings).contains("canary"));

        f.outcome("keep/login#1", Outcome::Done);
        let (done, out) = f.drive(&s, Some(&open));
        assert!(done.state == StepState::Succeeded && out.effects.is_empty(), "{done:?}");
        assert_eq!(out.captures, [("token".to_owned(), json!({"secretKey": "token.login.1"}))].into());
        assert!(!json!([done, out.captures]).to_string().contains("canary"));
    }

    #[test]
    fn the_answer_to_a_post_is_kept_until_its_secret_is_written() {
        let s = login(json!({"method": "POST"}));
        let mut f = world(&s);
        let (sent, _) = f.drive(&s, None);
        f.outcome("send/login#1", Outcome::Answered(vec![answer(200, BODY)]));
        let (open, out) = f.drive(&s, Some(&sent));
        assert!(out.consumed.is_empty() && out.effects.len() == 1, "{out:?}");
        f.outcome("keep/login#1", Outcome::Transient("503".into()));
        f.after(1);
        let (open, out) = f.drive(&s, Some(&open));
        assert!(open.message.as_deref().is_some_and(|m| m.contains("503")), "{open:?}");
        assert_eq!(out.consumed, [effect("keep/login#1")], "the answer is not taken in yet");
        f.outcome("keep/login#1", Outcome::Done);
        let (done, out) = f.drive(&s, Some(&open));
        assert_eq!((done.state, out.consumed.len()), (StepState::Succeeded, 2));
        // A restart in between: the answer is lost, and nobody sends it again.
        f.world.outcomes.clear();
        assert_eq!(f.drive(&s, Some(&open)).0.state, StepState::Unknown);
    }

    #[test]
    fn what_cannot_be_kept_fails_the_step_with_the_remedy() {
        let s = login(json!({}));
        let mut f = world(&s);
        answered(&mut f);
        let (open, _) = f.drive(&s, None);
        let why = "secrets is forbidden: User x cannot create resource secrets".to_owned();
        f.outcome("keep/login#1", Outcome::Refused { why, forbidden: true });
        let (failed, out) = f.drive(&s, Some(&open));
        assert!(failed.state == StepState::Failed && out.effects.is_empty());
        assert!(failed.message.is_some_and(|m| m.contains("the verb create on secrets")), "{:?}", out);
    }

    #[test]
    fn nothing_is_begun_after_the_steps_time_and_what_is_under_way_is_awaited() {
        let s = login(json!({}));
        let mut f = world(&s);
        answered(&mut f);
        let (open, _) = f.drive(&s, None);
        f.after(3600);
        f.world.in_flight.insert(effect("keep/login#1"));
        let (waits, out) = f.drive(&s, Some(&open));
        assert!(waits.state == StepState::Running && out.reads.contains_key(&read("login#1")), "{waits:?}");
        f.world.in_flight.clear();
        let (late, out) = f.drive(&s, Some(&open));
        assert!(late.state == StepState::Failed && out.effects.is_empty(), "{late:?}");
        f.outcome("keep/login#1", Outcome::Done);
        assert_eq!(f.drive(&s, Some(&open)).0.state, StepState::Succeeded);
    }

    #[test]
    fn only_whoever_sends_a_request_puts_the_value_in() {
        let s = login(json!({}));
        let mut f = world(&s);
        f.journal.captures.insert("token".into(), kept_at("token.login.1"));
        let using = json!({"path": "/", "method": "POST", "body": "{\"t\":\"${token}\"}",
            "headers": [{"name": "Authorization", "value": "Bearer ${token}"}, {"name": "X-A", "value": "plain"}]});
        let s = step("use", Stage::Verify, Action::Http(http(using)));
        let (_, out) = f.drive(&s, None);
        let [Effect::Send { request, .. }] = out.effects.as_slice() else { panic!("{:?}", out.effects) };
        assert!(request.body.is_none() && request.headers.iter().all(|h| h.name != "Authorization"), "{request:?}");
        let piece = |before: &str, after: &str| {
            let key = crate::api::step::KeyRef { name: secret(&f.cx()), key: "token.login.1".into() };
            vec![Piece::Text(before.into()), Piece::Secret(key), Piece::Text(after.into())]
        };
        let found: Vec<_> = request.sealed.iter().map(|s| (s.place.clone(), s.text.clone())).collect();
        let header = Place::Header("Authorization".into());
        assert_eq!(found, [(header, piece("Bearer ", "")), (Place::Body, piece("{\"t\":\"", "\"}"))]);
    }

    #[test]
    fn what_a_server_answers_is_never_taken_for_a_key() {
        let s = login(json!({}));
        let mut f = world(&s);
        f.journal.captures.insert("other".into(), kept_at("token.login.1"));
        let s = step(
            "use",
            Stage::Verify,
            Action::Http(http(json!({"path": "/", "headers": [{"name": "A", "value": "${other}"}]}))),
        );
        let (r, out) = f.drive(&s, None);
        assert!(out.reads.is_empty() && r.state == StepState::Failed, "{r:?}");
    }

    #[test]
    fn a_job_gets_the_value_from_the_secret_and_keeps_its_own_there() {
        let job: Job = serde_json::from_value(json!({
            "template": {"spec": {"containers": [{"name": "a", "image": "b", "env": [{"name": "T", "value": "${token}"}]}]}},
            "env": [{"name": "TOKEN", "value": "${token}"}, {"name": "PLAIN", "value": "x"}],
        }))
        .expect("a job");
        let s = login(json!({}));
        let mut f = world(&s);
        f.journal.captures.insert("token".into(), kept_at("token.login.1"));
        let of = step("job", Stage::Verify, Action::Job(job.clone()));
        let manifest = crate::actions::manifest::build(&f.cx(), &of, &job, 1, false).expect("a manifest");
        let env = &manifest["spec"]["template"]["spec"]["containers"][0]["env"];
        let all = env.as_array().expect("an environment");
        let from = json!({"secretKeyRef": {"name": secret(&f.cx()), "key": "token.login.1"}});
        for name in ["T", "TOKEN"] {
            let var = all.iter().find(|var| var["name"] == name).expect("the variable");
            assert_eq!(*var, json!({"name": name, "valueFrom": from}));
        }
        assert!(all.contains(&json!({"name": "PLAIN", "value": "x"})));
    }
}
