//! What `watch` has seen of a Cutover and its runs, as its tests need it.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::runtime::watcher;
use serde_json::{Value, json};

use super::store::{Heard, Part, Store, Told};
use crate::api::cutover::Cutover;
use crate::api::run::CutoverRun;
use crate::cli::fixtures::*;

mod choose;
mod keys;
mod pictures;
mod pipeline;
mod screen;

/// Tells a store all objects of a kind.
pub(super) fn list<K>(store: &mut Store, told: fn(watcher::Event<K>) -> Told, objects: Vec<K>) {
    let events = [watcher::Event::Init].into_iter().chain(objects.into_iter().map(watcher::Event::InitApply));
    for event in events.chain([watcher::Event::InitDone]) {
        store.hear(Heard::Told(Box::new(told(event))), time(0));
    }
}

/// What is known of a Cutover and its runs.
pub(super) fn store(cutover: Cutover, runs: Vec<CutoverRun>) -> Store {
    let mut store = Store::default();
    list(&mut store, Told::Cutover, vec![cutover]);
    list(&mut store, Told::Run, runs);
    store
}

/// The same with what runs on both sides, and Events.
pub(super) fn whole(cutover: Cutover, runs: Vec<CutoverRun>) -> Store {
    let mut store = store(cutover, runs);
    list(&mut store, Told::Deployment, vec![deployment("web-blue", 2), deployment("web-green", 1)]);
    list(&mut store, Told::StatefulSet, vec![]);
    let pods: Vec<Pod> = vec![];
    list(&mut store, Told::Pod, pods);
    let event = |name: &str, minute: u32, type_: &str, message: &str| -> Event {
        object(json!({"metadata": {"name": name}, "eventTime": format!("2026-01-01T00:{minute:02}:00.000000Z"),
            "type": type_, "reason": "Progress", "message": message, "related": {"name": "web-2"},
            "involvedObject": {"kind": "Cutover", "name": "web"}}))
    };
    list(
        &mut store,
        Told::Event,
        vec![event("a", 3, "Normal", "step migrate has succeeded"), event("b", 9, "Warning", "trigger errors is bad")],
    );
    store
}

pub(super) const ALL: [Part; 6] =
    [Part::Cutover, Part::Runs, Part::Deployments, Part::StatefulSets, Part::Pods, Part::Events];
