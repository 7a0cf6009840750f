//! The outbox, from a journal that a former process has left, and writes whose answers never came.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::api::phase::Phase;
use crate::api::run::CutoverRunSpec;
use crate::journal::outbox::{self, Happened, Sink};
use crate::plan::PLAN_VERSION;
use crate::world::Sighting;

fn now() -> Now {
    Now { wall: Timestamp::from_second(1000).expect("a time"), ticks: Duration::ZERO }
}

/// A run that was just created.
fn created() -> CutoverRun {
    let side = |name: &str| json!({"name": name, "selector": {"side": name}, "workloads": []});
    let plan = json!({
        "cutover": "web", "namespace": "a", "serviceAccount": "cutover", "services": ["web"],
        "target": side("green"), "old": side("blue"), "steps": [],
        "switch": {"minReady": {"percent": 100}, "drain": "0s", "timeout": "60s"},
        "observe": {"for": "5m", "every": "15s", "timeout": "15m", "triggers": []},
    });
    let spec = CutoverRunSpec { cutover: "web".into(), cutover_uid: "u".into(), plan_version: PLAN_VERSION, plan };
    CutoverRun::new("web-1", spec)
}

/// The pilot of a run whose journal holds an entry that nobody has received, and the entry's id.
fn pilot() -> (Pilot, String) {
    let mut run = created();
    let mut journal = RunStatus::default();
    let happened = Happened { reason: "Progress", subject: "Observing", message: "confirm is done", warning: false };
    outbox::append(&mut journal, "uid", Timestamp::UNIX_EPOCH, happened);
    let id = journal.outbox.entries.first().map(|e| e.id.clone()).expect("an entry");
    run.status = Some(journal);
    (Pilot::open(&run, now(), Pace::of("uid")).expect("a plan"), id)
}

fn told(next: &Next) -> Vec<&str> {
    let tellings = next.orders.iter().filter_map(|o| if let Order::Tell(t) = o { Some(t) } else { None });
    tellings.filter(|t| t.again).filter_map(|t| t.delivery.as_ref()).map(|d| d.entry.as_str()).collect()
}

fn delivery(entry: &str) -> Delivery {
    Delivery { sink: Sink::Events, entry: entry.to_owned() }
}

fn written(next: &Next) -> &RunStatus {
    match &next.then {
        Then::Put { journal, .. } => journal,
        other => panic!("nothing is written: {other:?}"),
    }
}

#[test]
fn of_a_new_run_nothing_is_written_before_it_has_been_read_once() {
    let mut pilot = Pilot::open(&created(), now(), Pace::of("uid")).expect("a plan");
    let refreshes = |next: &Next| next.orders.iter().filter(|o| matches!(o, Order::Refresh { .. })).count();
    let next = pilot.next(now());
    assert!(matches!(next.then, Then::Sleep(_)), "{:?}", next.then);
    assert_eq!(refreshes(&next), 1, "read once, not twice");
    let later = Now { ticks: Duration::from_secs(1), ..now() };
    let sightings = vec![Sighting::Unread("nobody answers".into())];
    pilot.hear(Heard::Refreshed { key: None, began: now().wall, sightings }, later);
    let next = pilot.next(later);
    assert_eq!(written(&next).phase, Phase::Pending, "it is said that it waits");
}

#[test]
fn what_a_former_process_left_is_told_again_and_its_receipt_is_written() {
    let (mut pilot, id) = pilot();
    pilot.hear(Heard::Told { delivery: delivery(&id), received: true }, now());
    let next = pilot.next(now());
    assert_eq!(told(&next), [id.as_str()]);
    assert_eq!(outbox::pending(written(&next), Sink::Events).filter(|e| e.id == id).count(), 0);
}

#[test]
fn what_nobody_received_stays_open_and_is_told_again_with_the_next_write() {
    let (mut pilot, id) = pilot();
    pilot.hear(Heard::Told { delivery: delivery(&id), received: false }, now());
    let next = pilot.next(now());
    let entry = written(&next).outbox.entries.iter().find(|e| e.id == id).expect("it stays");
    assert_eq!((entry.attempts, entry.receipts.len()), (1, 0));
    pilot.hear(Heard::Put(Put::Written), now());
    assert_eq!(told(&pilot.next(now())), [id.as_str()]);
}

/// What is asked for after so many seconds, once the pause between writes is over.
fn after(pilot: &mut Pilot, seconds: u64) -> Next {
    let ticks = Duration::from_secs(seconds);
    let wall = now().wall.checked_add(ticks).expect("a time");
    let at = Now { wall, ticks };
    match pilot.next(at) {
        Next { then: Then::Sleep(_), .. } => pilot.next(at),
        next => next,
    }
}

#[test]
fn the_first_of_several_writes_without_an_answer_is_known_again() {
    let none = || Heard::Put(Put::Failed { why: "no answer".into(), unanswered: true });
    for ours in [true, false] {
        let (mut pilot, id) = pilot();
        let tries = |next: &Next| written(next).outbox.entries.iter().find(|e| e.id == id).map(|e| e.attempts);
        let not_received = || Heard::Told { delivery: delivery(&id), received: false };
        pilot.hear(not_received(), now());
        let mut found = written(&pilot.next(now())).clone();
        pilot.hear(none(), now());
        pilot.hear(not_received(), now());
        assert_eq!(tries(&after(&mut pilot, 1)), Some(2));
        pilot.hear(none(), now());
        assert_eq!(tries(&after(&mut pilot, 3)), Some(2));
        pilot.hear(Heard::Put(Put::Conflict), now());
        assert!(matches!(after(&mut pilot, 3).then, Then::Reread));
        if !ours {
            found.closing_since = Some(now().wall);
        }
        pilot.hear(Heard::Read(Reread::Found { journal: Box::new(found), same: false }), now());
        let next = after(&mut pilot, 3);
        match ours {
            true => assert_eq!(tries(&next), Some(2), "what was taken in meanwhile is still to be written"),
            false => assert!(matches!(next.then, Then::Sleep(_)), "begun anew with what somebody else wrote"),
        }
    }
}

#[test]
fn account_and_metrics_are_those_of_the_plan_whatever_becomes_of_the_cutover() {
    let (mut pilot, _) = pilot();
    let scope = pilot.scope();
    assert_eq!((scope.service_account.as_str(), &scope.prometheus), ("cutover", &None));
    let cutover = serde_json::from_value(json!({
        "apiVersion": "cutover.dev/v1alpha1", "kind": "Cutover", "metadata": {"name": "web", "namespace": "a", "uid": "u"},
        "spec": {
            "services": [{"name": "web"}], "activate": "green", "serviceAccountName": "other",
            "prometheus": {"url": "https://always-well.example"}, "sides": [],
        },
    }))
    .expect("a Cutover");
    let view = crate::world::convert::cutover(&cutover, false);
    pilot.hear(Heard::Seen(Sighting::Cutover(Some(view))), now());
    let _ = pilot.next(now());
    assert!(pilot.world().cutover.is_some(), "the change was taken in");
    let after = pilot.scope();
    assert_eq!((after.service_account, after.prometheus), (scope.service_account, scope.prometheus));
}
