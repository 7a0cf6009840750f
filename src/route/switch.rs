//! PURE. The switch of one route: ready endpoints are counted live, then it is patched with tests, so that it works at
//! most once (P4, P5).

use super::{Live, Position, Route, Settled};
use crate::effect::protocol::{Exchange, JsonPatch, LiveRead, Next, Write, object, pods};
use crate::effect::{CallError, Class, Outcome};
use crate::endpoints;

/// What a switch stands on, as it was claimed.
pub struct Claim<'a> {
    pub route: &'a Route,
    /// Test.
    pub uid: &'a str,
    /// Test.
    pub resource_version: &'a str,
    /// Test: where it points.
    pub from: &'a Position,
    /// Where it is to point.
    pub to: &'a Position,
}

impl Claim<'_> {
    /// What a reading of the route says about the claim, if it settles it.
    pub fn verify(&self, now: &Live) -> Settled {
        let (route, word) = (self.route, self.route.way().word());
        if now.uid != self.uid {
            let text = format!("{route} was replaced: its uid is {}, claimed was {}", now.uid, self.uid);
            return Some(Outcome::Conflict(text));
        }
        if now.at == *self.to {
            return Some(Outcome::Done);
        }
        if now.at != *self.from {
            let text = format!("the {word} of {route} is {:?}, claimed was {:?}", now.at, self.from);
            return Some(Outcome::Conflict(text));
        }
        (now.resource_version != self.resource_version).then(|| {
            let by = now.writer.as_deref().unwrap_or("somebody else");
            Outcome::Conflict(format!("{route} was written by {by} after the claim"))
        })
    }

    /// The patch, which tests all that the claim stands on.
    fn patch(&self) -> JsonPatch {
        let way = self.route.way();
        let tested = way.test(JsonPatch::of(self.uid).version(self.resource_version), self.from);
        way.point(tested, self.to)
    }
}

/// What comes next of a switch.
///
/// # Errors
/// What is to be read or sent before there is an outcome.
pub fn switch(claim: &Claim<'_>, min_ready: u32, heard: &Exchange) -> Result<Outcome, Next> {
    let target = claim.route.pods(claim.to);
    let this = LiveRead::Object(claim.route.object());
    let kind = claim.route.object().resource.kind;
    let [found, counted] = heard.before([this.clone(), LiveRead::Pods(target.clone())])?;
    let live = |answer| object(answer).and_then(|object| claim.route.live(object));
    match heard.sent() {
        None => {
            let now = match live(found) {
                Ok(now) => now,
                // A failed reading settles nothing, except that there is no such route.
                Err(e) if e.class == Class::NotFound => return Ok(Outcome::NotFound),
                Err(e) => return Ok(Outcome::NotSent(format!("the {kind} cannot be read: {e}"))),
            };
            let pods = match pods(counted) {
                Ok(pods) => pods,
                Err(e) => return Ok(Outcome::NotSent(format!("pods of the target cannot be listed: {e}"))),
            };
            if let Some(outcome) = claim.verify(&now) {
                return Ok(outcome);
            }
            let ready = endpoints::ready_count(pods, &target, &now.ports);
            if ready < min_ready {
                return Ok(Outcome::Guarded { ready, other: None, foreign: None });
            }
            // Older than a second, the count is no ground for a patch any more.
            if heard.took >= Exchange::FRESH {
                return Ok(Outcome::NotSent("the live reading before the switch took more than a second".into()));
            }
            Err(Next::send(Write::Patch(claim.route.object(), claim.patch())))
        }
        Some(Ok(_)) => Ok(Outcome::Done),
        Some(Err(e)) if e.may_be_a_test() => match live(heard.after(this)?) {
            Ok(now) => Ok(claim.verify(&now).unwrap_or_else(|| unexplained(e.clone()))),
            Err(again) if again.class == Class::NotFound => Ok(Outcome::NotFound),
            // Answered all the same: this patch did nothing.
            Err(again) => Ok(Outcome::Conflict(format!("{e}; the {kind} cannot be read again: {again}"))),
        },
        Some(Err(e)) => Ok(e.clone().outcome()),
    }
}

/// A conflict without a difference passes by itself and did nothing; anything else that is refused is refused for good.
fn unexplained(error: CallError) -> Outcome {
    match error.class {
        Class::Conflict => Outcome::Conflict(error.text),
        Class::NotFound | Class::Forbidden | Class::Invalid | Class::Transient => error.outcome(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::run::Selector;

    fn map(pairs: &[(&str, &str)]) -> Selector {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn live(uid: &str, rv: &str, at: Selector) -> Live {
        Live {
            uid: uid.into(),
            resource_version: rv.into(),
            at,
            ports: vec![],
            writer: None,
            annotations: Some([].into()),
        }
    }

    fn with<T>(test: impl FnOnce(&Claim<'_>) -> T) -> T {
        let (from, to) = (map(&[("app", "web"), ("side", "blue")]), map(&[("app", "web"), ("side", "green")]));
        let route = Route::service("web");
        test(&Claim { route: &route, uid: "u", resource_version: "7", from: &from, to: &to })
    }

    #[test]
    fn a_second_reading_tells_done_from_conflict() {
        with(|claim| {
            let (from, to) = (claim.from.clone(), claim.to.clone());
            assert_eq!(claim.verify(&live("u", "9", to.clone())), Some(Outcome::Done));
            assert_eq!(claim.verify(&live("u", "7", from.clone())), None);
            for moved in [live("u", "8", from.clone()), live("v", "9", to), live("u", "7", map(&[("app", "x")]))] {
                assert!(matches!(claim.verify(&moved), Some(Outcome::Conflict(_))), "{moved:?}");
            }
        });
    }

    #[test]
    fn the_patch_tests_all_three_before_it_writes() {
        with(|claim| {
            let blue = json!({"app": "web", "side": "blue"});
            assert_eq!(
                claim.patch().operations(),
                json!([
                    {"op": "test", "path": "/metadata/uid", "value": "u"},
                    {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
                    {"op": "test", "path": "/spec/selector", "value": blue},
                    {"op": "add", "path": "/spec/selector", "value": {"app": "web", "side": "green"}},
                ])
            );
            assert!(claim.patch().body().is_ok());
        });
    }

    fn object_of(rv: &str, side: &str) -> Result<crate::effect::protocol::LiveAnswer, CallError> {
        let service = json!({"metadata": {"uid": "u", "resourceVersion": rv}, "spec": {"selector": {"app": "web", "side": side}}});
        Ok(crate::effect::protocol::LiveAnswer::Object(service))
    }

    fn ready_pod() -> crate::world::PodView {
        crate::world::PodView {
            ready: true,
            labels: map(&[("app", "web"), ("side", "green")]),
            ..crate::world::PodView::default()
        }
    }

    /// Carries a switch out, with these answers.
    fn play(claim: &Claim<'_>, took: u64, ready: usize, sent: Result<(), CallError>, again: (&str, &str)) -> Outcome {
        let mut heard = Exchange::default();
        heard.took = std::time::Duration::from_millis(took);
        let mut rv = ("7", "blue");
        loop {
            match switch(claim, 1, &heard) {
                Ok(outcome) => return outcome,
                Err(Next::Read(looks)) => {
                    for look in looks {
                        let answer = match look {
                            LiveRead::Pods(_) => {
                                Ok(crate::effect::protocol::LiveAnswer::Pods(vec![ready_pod(); ready]))
                            }
                            LiveRead::Object(_) | LiveRead::List { .. } => object_of(rv.0, rv.1),
                        };
                        heard.read(look, answer);
                    }
                }
                Err(Next::Send(_)) => {
                    rv = again;
                    heard.wrote(sent.clone().map(|()| json!({})));
                }
                Err(Next::Ask(_) | Next::Notify(_) | Next::End(_)) => panic!("a switch neither asks nor ends so"),
            }
        }
    }

    #[test]
    fn a_count_that_is_old_or_too_small_sends_nothing() {
        with(|claim| {
            assert_eq!(play(claim, 0, 1, Ok(()), ("8", "green")), Outcome::Done);
            assert!(matches!(play(claim, 0, 0, Ok(()), ("8", "green")), Outcome::Guarded { ready: 0, .. }));
            assert!(matches!(play(claim, 1000, 1, Ok(()), ("8", "green")), Outcome::NotSent(_)));
        });
    }

    #[test]
    fn a_failed_test_is_told_from_a_refusal_by_reading_again() {
        with(|claim| {
            let refused = || Err(CallError::invalid("no"));
            assert_eq!(play(claim, 0, 1, refused(), ("8", "green")), Outcome::Done);
            assert!(matches!(play(claim, 0, 1, refused(), ("8", "blue")), Outcome::Conflict(_)));
            assert!(matches!(play(claim, 0, 1, refused(), ("7", "blue")), Outcome::Refused { .. }));
            let lost = Err(CallError::transient("lost"));
            assert_eq!(play(claim, 0, 1, lost, ("8", "green")), Outcome::Transient("lost".into()));
        });
    }
}
