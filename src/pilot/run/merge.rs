//! Watches and live readings tell of the same objects: the younger word counts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::world::{DecisionView, Seen, Sighting, World, convert};

/// Takes what a live read of everything saw into the world, but for what a watch has shown since it began.
pub(super) fn refreshed(world: &mut World, began: Timestamp, sightings: Vec<Sighting>) {
    for sighting in sightings {
        match sighting {
            Sighting::Decisions(list) => {
                let list = with_heard(world, began, list);
                world.take_in(began, Sighting::Decisions(list));
            }
            sighting if !overtaken(world, began, &sighting) => world.take_in(began, sighting),
            _ => {}
        }
    }
}

/// The decisions of a live reading, and those beside them that a watch has shown since it began: somebody may have spoken in
/// between. Neither hides a word that the other has.
fn with_heard(world: &World, began: Timestamp, mut list: Vec<DecisionView>) -> Vec<DecisionView> {
    if world.heard.is_some_and(|at| at > began) {
        let known: BTreeSet<String> = list.iter().map(|d| d.uid.clone()).collect();
        list.extend(world.decisions.iter().filter(|d| !known.contains(&d.uid)).cloned());
        convert::order(&mut list);
    }
    list
}

/// Takes a watch's sighting in, unless a live read has already shown something younger.
pub(super) fn watched(world: &mut World, at: Timestamp, sighting: Sighting) {
    if !outdated(world, &sighting) {
        world.take_in(at, sighting);
    }
}

/// Whether a watch has shown the object after a live read of it began; then the watch is believed, unless both carry
/// resourceVersions that say otherwise.
fn overtaken(world: &World, began: Timestamp, sighting: &Sighting) -> bool {
    match sighting {
        Sighting::Service(name, value) => {
            since(&world.services, name, began) && !younger(world, sighting, value.is_some())
        }
        Sighting::Workload(name, value) => {
            since(&world.workloads, name, began) && !younger(world, sighting, value.is_some())
        }
        Sighting::Job(name, value) => since(&world.jobs, name, began) && !younger(world, sighting, value.is_some()),
        Sighting::Endpoints(name, _) => since(&world.endpoints, name, began),
        Sighting::Pods(_) => world.pods.as_ref().is_some_and(|s| s.at > began),
        Sighting::Cutover(_) => world.cutover.as_ref().is_some_and(|s| s.at > began),
        Sighting::Nodes(_) | Sighting::Decisions(_) | Sighting::Refreshed(_) | Sighting::Unread(_) => false,
    }
}

fn since<K: Ord, V>(map: &BTreeMap<K, Seen<V>>, key: &K, began: Timestamp) -> bool {
    map.get(key).is_some_and(|s| s.at > began)
}

fn younger(world: &World, sighting: &Sighting, exists: bool) -> bool {
    exists && matches!(order(world, sighting), Some(std::cmp::Ordering::Greater))
}

fn outdated(world: &World, sighting: &Sighting) -> bool {
    matches!(order(world, sighting), Some(std::cmp::Ordering::Less))
}

/// How the sighting's resourceVersion compares with the known one; `None` where they cannot be compared.
fn order(world: &World, sighting: &Sighting) -> Option<std::cmp::Ordering> {
    let (old, new) = match sighting {
        Sighting::Service(name, new) => {
            let (old, new) = (world.services.get(name)?.value.as_ref()?, new.as_ref()?);
            (&old.resource_version, &new.resource_version)
        }
        Sighting::Workload(name, new) => {
            let (old, new) = (world.workloads.get(name)?.value.as_ref()?, new.as_ref()?);
            (&old.resource_version, &new.resource_version)
        }
        Sighting::Job(name, new) => {
            let (old, new) = (world.jobs.get(name)?.value.as_ref()?, new.as_ref()?);
            (&old.resource_version, &new.resource_version)
        }
        _ => return None,
    };
    let number = |text: &str| text.parse::<u64>().ok();
    Some(number(new)?.cmp(&number(old)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::run::Selector;
    use crate::world::ServiceView;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn web(rv: &str) -> Sighting {
        let view = ServiceView {
            uid: "u".into(),
            resource_version: rv.into(),
            selector: Selector::new(),
            ports: vec![],
            cluster_ip: None,
            external_name: false,
            deleting: false,
            writer: None,
            marks: Default::default(),
            kept: Default::default(),
        };
        Sighting::Service("web".into(), Some(view))
    }

    fn known(world: &World) -> Option<&str> {
        world.service("web").map(|s| s.resource_version.as_str())
    }

    #[test]
    fn a_late_watch_does_not_take_the_world_back() {
        let mut world = World::new(at(0), "r");
        refreshed(&mut world, at(1), vec![web("10")]);
        watched(&mut world, at(2), web("9"));
        assert_eq!(known(&world), Some("10"));
        watched(&mut world, at(3), web("11"));
        assert_eq!(known(&world), Some("11"));
    }

    #[test]
    fn a_live_read_hides_no_word_that_was_said_after_it_began() {
        let decision = |uid: &str| {
            let spec = json!({"cutover": "web", "runUID": "r", "decision": "Rollback", "by": "jane"});
            let spec = serde_json::from_value(spec).expect("a spec");
            DecisionView { name: uid.into(), uid: uid.into(), resource_version: "1".into(), created: at(3), spec }
        };
        let known = |world: &World| world.decisions.iter().map(|d| d.uid.clone()).collect::<Vec<_>>().join(" ");
        let mut world = World::new(at(0), "r");
        watched(&mut world, at(5), Sighting::Decisions(vec![decision("b")]));
        refreshed(&mut world, at(4), vec![Sighting::Decisions(vec![decision("a")])]);
        assert_eq!(known(&world), "a b", "both");
        refreshed(&mut world, at(6), vec![Sighting::Decisions(vec![decision("a")])]);
        assert_eq!(known(&world), "a", "it is answered by now");
    }

    #[test]
    fn a_live_read_that_began_before_the_watch_spoke_does_not_hide_it() {
        let mut world = World::new(at(0), "r");
        watched(&mut world, at(5), web("10"));
        watched(&mut world, at(5), Sighting::Pods(vec![]));
        let pod = crate::world::PodView {
            name: "old".into(),
            uid: "p".into(),
            ready: true,
            ..crate::world::PodView::default()
        };
        refreshed(&mut world, at(4), vec![web("9"), Sighting::Pods(vec![pod])]);
        assert_eq!(known(&world), Some("10"));
        assert_eq!(world.pods.as_ref().map(|p| p.value.len()), Some(0));
        // A frozen watch is overruled by a live read that shows more.
        refreshed(&mut world, at(4), vec![web("12")]);
        assert_eq!(known(&world), Some("12"));
    }
}
