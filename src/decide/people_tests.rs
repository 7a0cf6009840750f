//! Whose word counts.

use serde_json::json;

use super::*;
use crate::actions::fixtures::{Fixture, step};
use crate::api::decision::CutoverDecisionSpec;
use crate::api::step::Approval;
use crate::decide::{Decision, decide};
use crate::plan::{Action, Stage};

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
