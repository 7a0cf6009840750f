//! Cutovers and decisions of several namespaces, told to those whom they concern.

use serde_json::{Value, json};

use super::*;
use crate::observe::feed::Feed;
use crate::observe::space::Space;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn decision(namespace: &str, name: &str, run: &str, answered: bool) -> DeserializeGuard<CutoverDecision> {
    let status: Value = if answered { json!({"state": "Answered", "result": "accepted"}) } else { Value::Null };
    let json = json!({"apiVersion": "cutover.dev/v1alpha1", "kind": "CutoverDecision",
        "metadata": {"namespace": namespace, "name": name, "uid": name, "resourceVersion": "1"},
        "spec": {"cutover": "shop", "runUID": run, "decision": "Rollback", "by": "jo"},
        "status": status});
    let decision: DeserializeGuard<CutoverDecision> = serde_json::from_value(json).expect("a decision");
    assert!(decision.0.is_ok(), "{decision:?}");
    decision
}

fn cutover(activate: &str, version: u64) -> Versioned {
    let view = CutoverView {
        uid: "c".into(),
        deleting: false,
        namespace_going: false,
        activate: activate.into(),
        release: Default::default(),
        suspend: false,
        notify: vec![],
        releases: Default::default(),
        pushed: None,
    };
    Versioned { version: Some(version), view }
}

fn state(places: &[Option<&str>]) -> State {
    let place = |only: &Option<&str>| Place { only: only.map(str::to_owned), ..Place::default() };
    State { places: places.iter().map(place).collect(), ..State::default() }
}

fn join(state: &mut State, namespace: &str, run: &str) -> Arc<Subscriber> {
    let wants = Wants { namespace: namespace.into(), run_uid: run.into(), cutover: "shop".into(), ..Wants::default() };
    let subscriber = Subscriber::new(wants);
    state.subscribers.add(&subscriber);
    subscriber
}

fn take(state: &State, of: &Subscriber) -> Vec<String> {
    let all = of.take().into_keys().filter_map(|slot| state.show(&of.wants, &slot));
    let said = |sighting| match sighting {
        Sighting::Decisions(list) => list.into_iter().map(|d| d.name).collect::<Vec<_>>().join(" "),
        Sighting::Cutover(cutover) => cutover.map_or("none".into(), |c| c.activate),
        other => format!("{other:?}"),
    };
    all.map(said).collect()
}

#[test]
fn a_decision_is_told_to_the_run_that_it_names_in_its_own_namespace() {
    let mut s = state(&[None]);
    let (here, there, other) = (join(&mut s, "a", "r"), join(&mut s, "b", "r"), join(&mut s, "a", "s"));
    s.decision(0, Event::Init, at(1));
    s.decision(0, Event::InitApply(decision("a", "d1", "r", false)), at(1));
    assert_eq!(take(&s, &here), [""; 0], "half a list");
    s.decision(0, Event::InitDone, at(1));
    assert_eq!(
        (take(&s, &here), take(&s, &there), take(&s, &other)),
        (vec!["d1".into()], vec![String::new()], vec![String::new()])
    );
    s.decision(0, Event::Apply(decision("a", "d2", "r", false)), at(2));
    assert_eq!((take(&s, &here), take(&s, &there), take(&s, &other)), (vec!["d1 d2".into()], vec![], vec![]));
    // Answered: gone from the watch, or, with definitions of an older version, seen with its answer.
    s.decision(0, Event::Delete(decision("a", "d1", "r", true)), at(3));
    assert_eq!(take(&s, &here), ["d2"]);
    s.decision(0, Event::Apply(decision("a", "d2", "r", true)), at(4));
    assert_eq!(take(&s, &here), [""]);
    s.decision(0, Event::Apply(decision("a", "d2", "r", true)), at(5));
    assert_eq!(take(&s, &here), [""; 0]);
}

#[test]
fn each_namespace_has_a_list_of_its_own() {
    let mut s = state(&[Some("a"), Some("b")]);
    let (a, b) = (join(&mut s, "a", "r"), join(&mut s, "b", "r"));
    s.decision(1, Event::InitDone, at(1));
    assert_eq!((take(&s, &a), take(&s, &b)), (vec![], vec![String::new()]));
    assert_eq!(s.cutover(0, Event::InitDone, at(1)), ["a/shop"], "the list of b is still to come");
}

#[test]
fn the_last_readable_state_of_a_cutover_holds() {
    let mut s = state(&[None]);
    let a = join(&mut s, "a", "r");
    let told = |told| ("a/shop".to_owned(), told);
    s.cutover(0, Event::InitApply(told(Told::Is(cutover("blue", 1)))), at(1));
    s.cutover(0, Event::InitApply(("b/shop".into(), Told::Is(cutover("green", 2)))), at(1));
    assert_eq!(s.cutover(0, Event::InitDone, at(1)), [""; 0]);
    assert_eq!(take(&s, &a), ["blue"]);
    assert_eq!(s.cutover(0, Event::Apply(told(Told::Unreadable)), at(2)), [""; 0]);
    assert_eq!(take(&s, &a), [""; 0]);
    s.cutover(0, Event::Init, at(3));
    s.cutover(0, Event::InitApply(told(Told::Unreadable)), at(3));
    assert_eq!(s.cutover(0, Event::InitDone, at(3)), [""; 0], "it is there, whatever it says");
    a.mark(Slot::Cutover, at(4));
    assert_eq!(take(&s, &a), ["blue"]);
}

#[test]
fn one_that_seems_to_be_gone_is_looked_at_live() {
    let mut s = state(&[None]);
    let a = join(&mut s, "a", "r");
    let told = |told| ("a/shop".to_owned(), told);
    s.cutover(0, Event::Apply(told(Told::Is(cutover("blue", 1)))), at(1));
    take(&s, &a);
    assert_eq!(s.cutover(0, Event::Delete(told(Told::Gone)), at(2)), ["a/shop"]);
    assert_eq!(take(&s, &a), [""; 0]);
    // There is another one of that name already, of which the watch tells later.
    s.looked(0, "a/shop".into(), Some(cutover("green", 9)), at(3));
    assert_eq!(take(&s, &a), ["green"]);
    s.cutover(0, Event::Apply(told(Told::Is(cutover("between", 7)))), at(4));
    assert_eq!(take(&s, &a), [""; 0], "older than what was read");
    s.cutover(0, Event::Apply(told(Told::Is(cutover("latest", 10)))), at(5));
    assert_eq!(take(&s, &a), ["latest"]);
    s.cutover(0, Event::Delete(told(Told::Gone)), at(6));
    s.looked(0, "a/shop".into(), None, at(6));
    assert_eq!(take(&s, &a), ["none"]);
}

#[test]
fn the_next_run_is_not_told_how_its_cutover_was_with_the_run_before() {
    let mut s = state(&[None]);
    let a = join(&mut s, "a", "r");
    let told = |told| ("a/shop".to_owned(), told);
    s.cutover(0, Event::Apply(told(Told::Is(cutover("green", 1)))), at(1));
    assert_eq!(take(&s, &a), ["green"]);
    drop(a);
    // Nobody asks: of what nobody asks for an event says nothing.
    s.cutover(0, Event::Apply(told(Told::Unreadable)), at(2));
    let next = join(&mut s, "a", "s");
    next.mark(Slot::Cutover, at(3));
    assert_eq!(take(&s, &next), [""; 0]);
    // The watch is behind what the run has read itself.
    s.read("a/shop", 5);
    s.cutover(0, Event::Apply(told(Told::Is(cutover("green", 4)))), at(4));
    assert_eq!(take(&s, &next), [""; 0]);
    s.cutover(0, Event::Apply(told(Told::Is(cutover("blue", 5)))), at(5));
    assert_eq!(take(&s, &next), ["blue"]);
}

#[test]
fn of_the_cutover_nothing_is_told_before_the_run_has_read_it_live() {
    let ours = Ours::default();
    *ours.state() = state(&[None]);
    let me = join(&mut ours.state(), "a", "r");
    let nodes = tokio::sync::watch::Sender::default();
    let mut feed = Feed::new(me, Arc::new(Space::default()), ours.clone(), nodes.subscribe());
    let told = |feed: &mut Feed| {
        let all = feed.take();
        let of = |s| if let Sighting::Cutover(cutover) = s { cutover.map(|c| c.activate) } else { None };
        all.into_iter().filter_map(of).collect::<Vec<String>>()
    };
    let shows = |cutover| ours.state().cutover(0, Event::Apply(("a/shop".into(), Told::Is(cutover))), at(3));
    shows(cutover("green", 1));
    feed.read_live(at(2), &[Sighting::Unread("the Cutover".into())]);
    assert_eq!(told(&mut feed), [""; 0], "the watch may be behind what made the run begin");
    shows(cutover("blue", 5));
    feed.read_live(at(2), &[Sighting::Cutover(None)]);
    assert_eq!(told(&mut feed), ["blue"]);
}
