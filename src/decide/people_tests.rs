//! Whose word counts.

use serde_json::json;

use super::*;
use crate::actions::fixtures::{Fixture, labels, step, switched_service};
use crate::api::decision::CutoverDecisionSpec;
use crate::api::run::SwitchRecord;
use crate::api::step::Approval;
use crate::decide::{Decision, decide};
use crate::effect::{EffectKey, Outcome};
use crate::plan::{Action, Stage};
use crate::world::Seen;

fn approval(fields: serde_json::Value) -> Approval {
    serde_json::from_value(fields).expect("an approval")
}

/// A run whose gate `go` is open, for a release that jane has asked for.
fn gated(fields: serde_json::Value) -> (Fixture, String) {
    let mut f = Fixture::new();
    f.plan.release.requested_by = Some("jane".into());
    f.plan.steps = vec![step("go", Stage::Verify, Action::Approval(approval(fields)))];
    f.journal.phase = Phase::Verifying;
    let opened = json!({"name": "go", "state": "Running", "attempt": 1, "started": f.world.now, "gate":
        {"token": "t", "until": f.world.now, "roles": []}});
    f.journal.steps.push(serde_json::from_value(opened).expect("a record"));
    (f, "t".into())
}

fn says(f: &mut Fixture, verb: Verb, by: &str, token: Option<&str>) -> String {
    let uid = format!("{verb:?}-{by}");
    let gate = token.map(|_| "go".to_owned());
    let spec = CutoverDecisionSpec {
        cutover: "web".into(),
        run_uid: "run-1".into(),
        decision: verb,
        role: gate.as_ref().map(|_| "qa".into()),
        gate,
        token: token.map(str::to_owned),
        step: None,
        outcome: None,
        comment: None,
        by: by.into(),
    };
    let (created, name) = (f.world.now, uid.clone());
    f.world.decisions = vec![DecisionView { name, uid: uid.clone(), resource_version: "1".into(), created, spec }];
    let decision: Decision = decide(&f.plan, &f.journal, &f.world);
    let counted = decision.journal.decisions.iter().find(|r| r.uid == uid).map(|r| r.result.clone());
    counted.or_else(|| decision.said.refused.get(&uid).map(|(_, why)| why.clone())).expect("it is answered")
}

#[test]
fn whoever_asked_for_the_release_does_not_approve_it_where_the_gate_says_so() {
    let (mut f, token) = gated(json!({"roles": [{"name": "qa"}], "excludeRequester": true}));
    let refused = says(&mut f, Verb::Approve, "jane", Some(&token));
    assert!(refused.starts_with("refused: jane has asked for this release"), "{refused}");
    assert_eq!(says(&mut f, Verb::Approve, "bob", Some(&token)), ACCEPTED);
    assert_eq!(says(&mut f, Verb::Reject, "jane", Some(&token)), ACCEPTED, "he may still think better of it");
    f.plan.release.requested_by = None;
    let refused = says(&mut f, Verb::Approve, "bob", Some(&token));
    assert!(refused.starts_with("refused: nobody who is known has asked"), "{refused}");
    let (mut f, token) = gated(json!({"roles": [{"name": "qa"}]}));
    assert_eq!(says(&mut f, Verb::Approve, "jane", Some(&token)), ACCEPTED, "not by default");
}

#[test]
fn users_of_the_system_have_their_say_where_the_api_server_admits_it() {
    let (mut f, token) = gated(json!({"roles": [{"name": "qa"}]}));
    for by in ["system:serviceaccount:ci:deploy", "system:admin"] {
        // Whether they may approve is said by the policy alone, of which the gate has a proof.
        for (verb, token) in [(Verb::Suspend, None), (Verb::Abort, None), (Verb::Approve, Some(token.as_str()))] {
            assert_eq!(says(&mut f, verb, by, token), ACCEPTED, "{verb:?} by {by}");
        }
        let mut f = Fixture::new();
        f.journal.phase = Phase::Observing;
        let switch = json!({"claimedAt": f.world.now, "services": []});
        f.journal.switch = Some(serde_json::from_value(switch).expect("a switch"));
        assert_eq!(says(&mut f, Verb::Rollback, by, None), ACCEPTED);
    }
}

/// An operator that has come back: users are on blue again by somebody's hand, and of the people's words nothing is known yet.
fn put_back_by_hand() -> Fixture {
    let mut f = Fixture::new();
    let now = f.world.now;
    f.journal.phase = Phase::Observing;
    let services = vec![switched_service(now)];
    f.journal.switch = Some(SwitchRecord { claimed_at: now, converged_at: Some(now), restored_at: None, services });
    f.after(60);
    f.service("web").selector = labels("blue");
    f.service("web").resource_version = "2".into();
    f
}

fn pass(f: &mut Fixture) -> Decision {
    let decision = decide(&f.plan, &f.journal, &f.world);
    f.journal = decision.journal.clone();
    f.world.said = decision.said.clone();
    decision.consumed.iter().for_each(|key| drop(f.world.outcomes.remove(key)));
    decision
}

fn cause(f: &Fixture) -> Option<(&str, &str)> {
    f.journal.ending.as_ref().map(|e| (e.reason.as_str(), e.message.as_str()))
}

#[test]
fn a_restore_by_hand_has_the_cause_that_a_person_has_said_before() {
    let mut f = put_back_by_hand();
    // The watch of Services is there first.
    pass(&mut f);
    assert_eq!(cause(&f), None, "words may be there that nobody has seen yet");
    let of = |verb, uid: &str, comment: Option<&str>| {
        let spec = CutoverDecisionSpec {
            comment: comment.map(str::to_owned),
            ..CutoverDecisionSpec::about("web", "run-1", verb, "otto")
        };
        let (uid, created): (String, _) = (uid.into(), "2026-01-01T00:00:30Z".parse().expect("a time"));
        DecisionView { name: uid.clone(), uid, resource_version: "1".into(), created, spec }
    };
    f.world.decisions = vec![of(Verb::Rollback, "d-1", Some("carts are empty")), of(Verb::Rollback, "d-2", None)];
    f.world.inherited = ["d-1".to_owned(), "d-2".to_owned()].into();
    f.world.refreshed = Some(f.world.now);
    pass(&mut f);
    assert_eq!(cause(&f), None, "it is made sure first that nobody has answered");
    let done = |uid: &str| (EffectKey::TakeUp(uid.into()), Seen { at: f.world.now, value: Outcome::Done });
    f.world.outcomes = [done("d-1"), done("d-2")].into();
    pass(&mut f);
    assert_eq!(cause(&f), Some((reasons::DECISION, "Rollback by otto: carts are empty")));
    let said: Vec<(&str, &str)> = f.journal.decisions.iter().map(|r| (r.uid.as_str(), r.result.as_str())).collect();
    assert_eq!(said, [("d-1", ACCEPTED)], "said once more, it changes nothing");
    let service = &f.journal.switch.as_ref().expect("a switch").services[0];
    assert!(service.adopted && service.restored_at.is_some(), "{service:?}");
}

#[test]
fn a_restore_by_hand_without_a_word_is_somebody_elses() {
    // Also where something cannot be read, and so no reading is ever complete.
    for unread in [false, true] {
        let mut f = put_back_by_hand();
        match unread {
            true => f.world.take_in(f.world.now, crate::world::Sighting::Unread("pods".into())),
            false => f.world.refreshed = Some(f.world.now),
        }
        pass(&mut f);
        assert_eq!(cause(&f), Some((reasons::ADOPTED, "Service web was put back on blue by somebody else")));
    }
}
