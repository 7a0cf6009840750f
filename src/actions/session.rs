//! PURE. Cookies of a session within a suite: what an answer sets goes into the run's Secret under a key of its step, and with the
//! requests of the steps that come after it. Each step has a key of its own, so that steps side by side write nothing twice,
//! and a restart finds what was recorded: the steps that are done are not made again.

use crate::api::step::Http;
use crate::effect::sealed::{Jar, Piece, Place, Sealed};
use crate::plan::PlanStep;
use crate::plan::vars::kept_key;
use crate::world::HttpAnswer;

use super::{Cx, Verdict, keeping};
use crate::api::step::KeyRef;

/// Longest text of the cookies that one answer sets.
const LONGEST: usize = 16 * 1024;

/// Among the captures of a run, the cookies that a step was given; no capture can have this name.
fn name(step: &str) -> String {
    format!("cookies.{step}")
}

/// Where a cookie belongs: the host of a URL, else what is asked for in the run's own Services.
fn scope(http: &Http) -> String {
    let of_url = |url: &String| url.split(['/', '?']).nth(2).unwrap_or_default().to_ascii_lowercase();
    match (&http.url, &http.url_from) {
        (Some(url), _) => of_url(url),
        (None, Some(from)) => format!("{}/{}", from.secret.name, from.secret.key),
        (None, None) => http.host.clone().unwrap_or_default(),
    }
}

fn path(http: &Http) -> String {
    match (&http.url, &http.path) {
        (Some(url), _) => url.splitn(4, '/').nth(3).map_or_else(|| "/".into(), |path| format!("/{path}")),
        (None, path) => path.clone().unwrap_or_else(|| "/".into()),
    }
}

/// A verdict with the cookies that are to be kept.
pub(super) fn keeping(cx: &Cx, step: &PlanStep, http: &Http, answers: &[HttpAnswer], verdict: Verdict) -> Verdict {
    let set = answers.first().and_then(|a| a.result.as_ref().ok()).map(|r| r.cookies.clone()).unwrap_or_default();
    match verdict {
        Verdict::Pass { evidence, captures, mut hidden } if step.session.is_some() && !set.is_empty() => {
            if set.iter().map(String::len).sum::<usize>() > LONGEST {
                let message = format!("the cookies of the answer are longer than {LONGEST} bytes");
                return Verdict::Fail { message, evidence };
            }
            let jar = Jar { scope: scope(http), path: path(http), at: cx.world.now, set };
            if let Ok(jar) = serde_json::to_string(&jar) {
                hidden.insert(name(&step.name), jar);
            }
            Verdict::Pass { evidence, captures, hidden }
        }
        other => other,
    }
}

/// The cookies that go with a request.
pub(super) fn sent(cx: &Cx, step: &PlanStep, http: &Http) -> Option<Sealed> {
    let secret = keeping::secret(cx);
    let key = |of: &String| kept_key(cx.journal.captures.get(&name(of))?);
    let keys = step.session.iter().flatten().filter_map(key);
    let text: Vec<Piece> =
        keys.map(|key| Piece::Secret(KeyRef { name: secret.clone(), key: key.to_owned() })).collect();
    (!text.is_empty()).then(|| Sealed { place: Place::Cookies(scope(http)), text })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actions::fixtures::{Fixture, answer, effect, http, pod, read, step};
    use crate::effect::{Effect, Outcome, Read};
    use crate::plan::vars::kept_at;
    use crate::plan::{Action, Stage};
    use crate::world::Reading;

    fn of(name: &str, more: serde_json::Value, session: &[&str]) -> PlanStep {
        let session = Some(session.iter().map(|name| (*name).to_owned()).collect());
        PlanStep { session, ..step(name, Stage::Verify, Action::Http(http(more))) }
    }

    fn with_cookie(line: &str) -> HttpAnswer {
        let mut answer = answer(200, "{}");
        if let Ok(response) = &mut answer.result {
            response.cookies = vec![line.to_owned()];
        }
        answer
    }

    #[test]
    fn cookies_are_kept_under_the_key_of_their_step_and_go_with_those_after_it() {
        let mut f = Fixture::new();
        f.pods(vec![pod("green-a", "green")]);
        let login = of("login", json!({"path": "/auth/login?x=1"}), &[]);
        f.world.readings.insert(read("login#1"), Reading::Http(vec![with_cookie("sid=canary")]));
        let (open, out) = f.drive(&login, None);
        let [Effect::Keep { values, .. }] = out.effects.as_slice() else { panic!("{:?}", out.effects) };
        let (key, jar) = values.iter().next().expect("a value");
        assert!(key == "cookies.login.login.1" && jar.contains(r#""path":"/auth/login?x=1""#), "{key} {jar}");
        assert!(!format!("{out:?}").contains("canary"));
        f.outcome("keep/login#1", Outcome::Done);
        let (_, out) = f.drive(&login, Some(&open));
        assert_eq!(out.captures["cookies.login"], kept_at("cookies.login.login.1"));
        f.journal.captures.extend(out.captures);

        for (after, wanted) in [(vec!["login"], 1), (vec![], 0), (vec!["other"], 0)] {
            let (_, out) = f.drive(&of("me", json!({"path": "/me"}), &after), None);
            let Some(Read::Http(request)) = out.reads.get(&read("me#1")) else { panic!("{out:?}") };
            assert_eq!(request.sealed.len(), wanted, "{after:?}");
        }
        // Elsewhere nothing is kept.
        let plain = PlanStep { session: None, ..login };
        let (done, out) = f.drive(&plain, None);
        assert!(out.effects.is_empty() && done.state == crate::api::run::StepState::Succeeded);
        assert!(!f.world.in_flight.contains(&effect("keep/login#1")));
    }

    #[test]
    fn a_url_and_the_services_of_the_run_are_different_places() {
        let of = |value| scope(&http(value));
        assert_eq!(of(json!({"url": "https://Shop.example.com/a/b?c"})), "shop.example.com");
        assert_eq!(
            (of(json!({"path": "/"})), of(json!({"path": "/", "host": "shop.local"}))),
            (String::new(), "shop.local".into())
        );
        assert_eq!(path(&http(json!({"url": "https://shop.example.com/a/b?c"}))), "/a/b?c");
        assert_eq!(path(&http(json!({"url": "https://shop.example.com"}))), "/");
    }
}
