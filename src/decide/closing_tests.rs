//! The end of connections: when it is due, what it writes, and what it leaves alone.

use super::*;
use crate::actions::fixtures::{Fixture, labels, pod, switched_service};
use crate::api::run::{Ending, SwitchRecord};
use crate::decide::{Decision, decide};

/// A run on its way back whose selectors have just been restored.
fn restored() -> Fixture {
    let mut f = Fixture::new();
    let now = f.world.now;
    f.pods(vec![pod("green-a", "green"), pod("green-b", "green"), pod("blue-a", "blue"), pod("blue-b", "blue")]);
    f.plan.rollback.iter_mut().for_each(|r| r.connections = Connections::Close);
    f.cutover();
    f.world.refreshed = Some(now);
    let service = ServiceSwitch { state: SwitchState::Restored, restored_at: Some(now), ..switched_service(now) };
    f.journal.switch = Some(SwitchRecord {
        claimed_at: now,
        converged_at: Some(now),
        restored_at: Some(now),
        services: vec![service],
    });
    f.journal.phase = Phase::RollingBack;
    f.journal.ending = Some(Ending {
        phase: Phase::RolledBack,
        reason: reasons::TRIGGER_FIRED.into(),
        message: "errors".into(),
        at: now,
        trigger: None,
        incomplete: false,
        scaled_at: None,
        empty_since: None,
        undo_first: None,
        stopped_at: None,
        prepared_at: None,
    });
    f
}

fn turn(f: &mut Fixture) -> Decision {
    let decision = decide(&f.plan, &f.journal, &f.world);
    f.journal = decision.journal.clone();
    decision.consumed.iter().for_each(|key| drop(f.world.outcomes.remove(key)));
    decision
}

/// One that has waited long enough.
fn begun() -> Fixture {
    let mut f = restored();
    f.after(30);
    turn(&mut f);
    f
}

fn closed(f: &Fixture) -> &Closing {
    &f.journal.closings[0]
}

const KEY: &str = "scale/cutover-close/Deployment/web-green";

#[test]
fn an_operator_that_stops_claims_no_end_of_connections() {
    let mut f = restored();
    f.after(31);
    f.world.stopping = true;
    assert!(turn(&mut f).effects.is_empty() && f.journal.closings.is_empty(), "{:?}", f.journal.closings);
    f.world.stopping = false;
    turn(&mut f);
    assert_eq!(f.journal.closings.len(), 1);
}

#[test]
fn clients_have_half_a_minute_unless_nobody_is_served() {
    let mut f = restored();
    let decision = turn(&mut f);
    assert!(f.journal.closings.is_empty() && f.journal.phase == Phase::RollingBack);
    assert_eq!(decision.wake, Some(later(f.world.now, GRACE)));
    f.after(30);
    let decision = turn(&mut f);
    let scales = |e: &Effect| matches!(e, Effect::Change { change: Change::Scale { from: 2, to: 0 }, unless_live, .. } if unless_live == &["web"]);
    assert!(decision.effects.iter().any(scales), "{:?}", decision.effects);
    assert_eq!((closed(&f).had, closed(&f).endpoints["web"], closed(&f).workloads[0].remembered), (2, 2, 2));
    f.outcome(KEY, Outcome::Done);
    turn(&mut f);
    assert!(closed(&f).ended.is_some() && f.journal.phase == Phase::RolledBack, "{:?}", f.journal);

    let mut f = restored();
    f.pods(vec![pod("blue-a", "blue")]);
    turn(&mut f);
    assert_eq!(f.journal.closings.len(), 1, "at once");
}

#[test]
fn connections_are_kept_where_not_this_run_has_put_everything_back() {
    let adopted =
        |f: &mut Fixture| f.journal.switch.iter_mut().flat_map(|s| &mut s.services).for_each(|s| s.adopted = true);
    let gone = |f: &mut Fixture| {
        f.journal.switch.iter_mut().flat_map(|s| &mut s.services).for_each(|s| s.state = SwitchState::Gone);
    };
    let because = |f: &mut Fixture, why: &str| f.journal.ending.iter_mut().for_each(|e| e.reason = why.into());
    let deleting = |f: &mut Fixture| {
        f.world.cutover.iter_mut().flat_map(|c| &mut c.value).for_each(|c| c.deleting = true);
    };
    let keep = |f: &mut Fixture| f.plan.rollback.iter_mut().for_each(|r| r.connections = Connections::Keep);
    type Case = (&'static str, Box<dyn Fn(&mut Fixture)>);
    let cases: [Case; 6] = [
        ("adopted", Box::new(adopted)),
        ("adopted by its reason", Box::new(move |f| because(f, reasons::ADOPTED))),
        ("deleted", Box::new(move |f| because(f, reasons::DELETED))),
        ("being deleted", Box::new(deleting)),
        ("gone", Box::new(gone)),
        ("kept", Box::new(keep)),
    ];
    for (what, change) in cases {
        let mut f = restored();
        change(&mut f);
        f.after(31);
        turn(&mut f);
        assert!(f.journal.closings.is_empty(), "{what}");
    }
}

#[test]
fn what_others_have_changed_or_forbid_is_left_alone_and_told() {
    let refused = |forbidden| Outcome::Refused { why: "no".into(), forbidden };
    for (outcome, says) in [
        (Outcome::Conflict("it has 5 replicas, 2 were expected".into()), "changed by somebody else"),
        (refused(true), "--verb=patch --resource=deployments.apps"),
        (refused(false), "no"),
    ] {
        let mut f = begun();
        f.outcome(KEY, outcome);
        let decision = turn(&mut f);
        let left = closed(&f).workloads[0].left.clone().unwrap_or_default();
        assert!(left.contains(says) && !closed(&f).workloads[0].done, "{left}");
        assert!(decision.notes.iter().any(|n| n.warning && n.reason == reasons::CONNECTIONS_KEPT));
        assert_eq!(f.journal.phase, Phase::RolledBack, "it ends all the same");
    }
    let mut f = begun();
    f.outcome(KEY, Outcome::Transient("503".into()));
    turn(&mut f);
    assert!(closed(&f).ended.is_none(), "tried again");
    f.after(300);
    f.outcome(KEY, Outcome::Transient("503".into()));
    turn(&mut f);
    assert!(closed(&f).ended.is_some() && closed(&f).left.is_some(), "and given up");
}

#[test]
fn the_count_that_is_given_back_is_the_one_before_the_run() {
    let mut f = restored();
    f.plan.steps = vec![crate::actions::fixtures::step(
        "grow",
        crate::plan::Stage::Prepare,
        crate::plan::Action::Scale(
            serde_json::from_value(serde_json::json!({"side": "Target", "replicas": 2})).expect("a scale"),
        ),
    )];
    let object = ObjectRef::from(&f.plan.target.workloads[0]);
    let before = crate::api::run::Before { replicas: Some(1), done: true, ..crate::api::run::Before::of(object, "u") };
    let grown = crate::api::run::StepRecord {
        name: "grow".into(),
        state: crate::api::run::StepState::Succeeded,
        before: vec![before],
        ..Default::default()
    };
    f.journal.steps.push(grown);
    f.after(30);
    turn(&mut f);
    assert_eq!((closed(&f).workloads[0].from, closed(&f).workloads[0].remembered), (2, 1));
}

/// After a planned switch that is to end the old side's connections.
fn switched(pods: &[&str]) -> Fixture {
    let mut f = restored();
    f.plan.switch.connections = Connections::Close;
    f.journal.ending = None;
    f.journal.phase = Phase::Confirming;
    f.journal.switch.iter_mut().for_each(|s| s.restored_at = None);
    let old = u32::try_from(pods.len()).unwrap_or(0);
    for s in f.journal.switch.iter_mut().flat_map(|s| &mut s.services) {
        (s.state, s.restored_at, s.old_wanted) = (SwitchState::Switched, None, old);
    }
    f.service("web").selector = labels("green");
    f.plan.steps = vec![crate::actions::fixtures::step(
        "hold",
        crate::plan::Stage::Confirm,
        crate::plan::Action::Wait(crate::api::step::Wait { for_: Duration::from_mins(9) }),
    )];
    f.pods(pods.iter().map(|name| pod(name, "blue")).collect());
    f
}

fn deleted(decision: &Decision) -> Vec<String> {
    let name = |e: &Effect| if let Effect::DeletePod { name, .. } = e { Some(name.clone()) } else { None };
    decision.effects.iter().filter_map(name).collect()
}

#[test]
fn batches_keep_what_a_rollback_needs() {
    let mut f = switched(&["a", "b", "c", "d"]);
    let first = turn(&mut f);
    assert_eq!(deleted(&first), ["a", "b"], "two of four stay ready");
    for name in ["a", "b"] {
        f.outcome(&format!("delete_pod/{name}/uid-{name}"), Outcome::Done);
    }
    assert_eq!(deleted(&turn(&mut f)), [""; 0], "they are still seen ready, and are not");
    let mut fresh = [pod("a", "blue"), pod("b", "blue")];
    fresh.iter_mut().for_each(|p| (p.uid, p.ready) = (format!("{}-2", p.uid), false));
    f.pods(fresh.iter().cloned().chain([pod("c", "blue"), pod("d", "blue")]).collect());
    assert_eq!(deleted(&turn(&mut f)), [""; 0], "the new ones are not ready");
    fresh.iter_mut().for_each(|p| p.ready = true);
    f.pods(fresh.iter().cloned().chain([pod("c", "blue"), pod("d", "blue")]).collect());
    assert_eq!(deleted(&turn(&mut f)), ["c", "d"]);
    for name in ["c", "d"] {
        f.outcome(&format!("delete_pod/{name}/uid-{name}"), Outcome::Done);
    }
    f.pods(fresh.to_vec());
    turn(&mut f);
    assert_eq!((closed(&f).gone, closed(&f).left.clone()), (4, None));
    assert!(closed(&f).ended.is_some(), "the new pods are left alone");
}

#[test]
fn a_single_pod_stays_and_a_rollback_calls_the_rest_off() {
    let mut f = switched(&["a"]);
    let only = turn(&mut f);
    assert!(deleted(&only).is_empty() && closed(&f).ended.is_some());
    assert!(closed(&f).left.as_ref().is_some_and(|why| why.contains("rollback.minReady")));

    let mut f = switched(&["a", "b", "c", "d"]);
    turn(&mut f);
    f.journal.ending = restored().journal.ending;
    f.journal.phase = Phase::RollingBack;
    let back = turn(&mut f);
    assert!(deleted(&back).is_empty() && closed(&f).ended.is_some(), "{:?}", closed(&f));
}
