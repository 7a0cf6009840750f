//! What a run is told, and what not.

use std::time::Duration;

use kube::runtime::watcher::Event;
use serde_json::json;

use super::*;
use crate::observe::waits::Waits;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn feed(nodes: &watch::Sender<Arc<BTreeMap<String, NodeView>>>) -> Feed {
    let pods = PodsOfRun::default();
    let me =
        Subscriber::new(Wants { namespace: "a".into(), services: ["web".into()].into(), pods, ..Wants::default() });
    let space = Arc::new(Space::default());
    space.state().subscribe(&me);
    let mut feed = Feed::new(me, space, Ours::default(), nodes.subscribe());
    feed.read_live(Timestamp::MIN, &[]);
    feed
}

fn service(version: u32) -> k8s_openapi::api::core::v1::Service {
    let json = json!({"metadata": {"name": "web", "uid": "u", "resourceVersion": version.to_string()}, "spec": {}});
    serde_json::from_value(json).expect("a Service")
}

fn versions(all: &[Sighting]) -> Vec<String> {
    let version = |s: &Sighting| match s {
        Sighting::Service(_, Some(view)) => Some(view.resource_version.clone()),
        _ => None,
    };
    all.iter().filter_map(version).collect()
}

#[tokio::test]
async fn ten_thousand_events_are_one_sighting_of_the_latest() {
    let nodes = watch::Sender::default();
    let mut feed = feed(&nodes);
    assert!(matches!(&feed.take()[..], [Sighting::Nodes(_)]), "of the namespace nothing is known yet");
    feed.space.state().service(Event::InitDone, at(1));
    for n in 1..=10_000 {
        feed.space.state().service(Event::Apply(service(n)), at(2));
    }
    feed.changed().await;
    let all = feed.take();
    assert_eq!((all.len(), versions(&all)), (1, vec!["10000".to_owned()]));
    assert_eq!(feed.take(), [], "told once");
    feed.space.state().service(Event::Apply(service(10_000)), at(3));
    assert_eq!(feed.take(), [], "no news");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_a_change_of_what_is_looked_at_and_with_no_other() {
    let nodes = watch::Sender::default();
    let mut feed = feed(&nodes);
    feed.space.state().service(Event::InitDone, at(1));
    feed.take();
    let foreign = json!({"metadata": {"name": "foreign", "uid": "f", "resourceVersion": "1"}, "spec": {}});
    feed.space.state().service(Event::Apply(serde_json::from_value(foreign).expect("a Service")), at(2));
    let quiet = tokio::time::timeout(Duration::from_secs(60), feed.changed()).await;
    assert!(quiet.is_err(), "a Service that is none of its own");
    nodes.send_replace(Arc::default());
    feed.changed().await;
    assert!(matches!(&feed.take()[..], [Sighting::Nodes(_)]));
    feed.space.state().service(Event::Apply(service(1)), at(2));
    feed.changed().await;
    feed.changed().await;
    assert_eq!(versions(&feed.take()), ["1"]);
}

#[test]
fn a_live_reading_is_younger_than_what_a_watch_had_shown_before_it_began() {
    let nodes = watch::Sender::default();
    let mut feed = feed(&nodes);
    feed.space.state().service(Event::InitDone, at(1));
    feed.take();
    feed.space.state().service(Event::Apply(service(7)), at(10));
    feed.read_live(at(11), &[Sighting::Pods(vec![])]);
    assert_eq!(versions(&feed.take()), ["7"], "the reading did not tell of it");
    feed.space.state().service(Event::Apply(service(8)), at(20));
    feed.read_live(at(21), &[Sighting::Service("web".into(), None)]);
    assert_eq!(feed.take(), []);
    feed.space.state().service(Event::Apply(service(9)), at(30));
    feed.read_live(at(29), &[Sighting::Service("web".into(), None)]);
    assert_eq!(versions(&feed.take()), ["9"], "it was shown while it was read");
    feed.space.state().pod(Event::InitDone, &Waits::default(), at(40));
    assert_eq!(feed.take(), [Sighting::Pods(vec![])]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_before_the_first_live_reading_is_answered() {
    let nodes = watch::Sender::default();
    let mut feed = Feed { open: false, ..feed(&nodes) };
    feed.take();
    feed.space.state().service(Event::InitApply(service(1)), at(1));
    feed.space.state().service(Event::InitDone, at(1));
    let quiet = tokio::time::timeout(Duration::from_secs(60), feed.changed()).await;
    assert!(quiet.is_err() && feed.take().is_empty(), "it may be older than the run");
    feed.read_live(at(2), &[Sighting::Unread("Services".into())]);
    feed.changed().await;
    assert_eq!(versions(&feed.take()), ["1"], "it could not be read: what is known of it helps");
    feed.space.state().service(Event::Apply(service(2)), at(3));
    feed.open = false;
    feed.read_live(at(4), &[Sighting::Service("web".into(), None)]);
    assert_eq!(feed.take(), []);
}
