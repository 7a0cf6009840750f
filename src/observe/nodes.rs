//! Nodes: one watch for the whole operator, shared by all runs, and a live look at some of them. Where the operator may not
//! see nodes, none are known, and no request of a Cutover goes anywhere: its address could be a node's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeCondition};
use kube::api::ListParams;
use kube::core::{ApiResource, NotUsed, Object};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::scope;
use crate::net::call::answered;
use crate::net::watch::{Named, watch as watch_for_ever};
use crate::net::watches::Watches;
use crate::world::{NodeState, NodeView, NodesAnswer};

/// Looked at live at a time.
const AT_ONCE: usize = 8;
/// A deleted node is told of for so long.
const REMEMBERED: Duration = Duration::from_secs(600);
/// A node that becomes Ready in this time after it was made joins the cluster: nothing was lost on it.
const JOINING: Duration = Duration::from_secs(300);

/// What the watch is called on the board.
pub(crate) const WATCH: &str = "nodes";

/// Of a node's status only its addresses and what says whether it is Ready: the list of its images is long.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<NodeCondition>,
    #[serde(default)]
    addresses: Vec<NodeAddress>,
}

type Slim = Object<Option<NotUsed>, Status>;

/// What is known of nodes; shared by all runs.
#[derive(Clone, Default)]
pub struct Nodes {
    views: watch::Sender<Arc<BTreeMap<String, NodeView>>>,
    addresses: watch::Sender<Option<Arc<BTreeSet<IpAddr>>>>,
}

impl Nodes {
    /// Follows what is known.
    pub(super) fn follow(&self) -> watch::Receiver<Arc<BTreeMap<String, NodeView>>> {
        self.views.subscribe()
    }

    /// Follows the addresses of all nodes; `None` until they have been listed.
    pub(super) fn follow_addresses(&self) -> watch::Receiver<Option<Arc<BTreeSet<IpAddr>>>> {
        self.addresses.subscribe()
    }

    /// Watches nodes forever. A failure is told once until it is over; what was seen last stands meanwhile.
    pub(super) async fn watch(self, client: Client, board: &Watches) {
        let api = Api::<Slim>::all_with(client, &ApiResource::erase::<Node>(&()));
        let config = watcher::Config::default().page_size(100);
        let mut events = watch_for_ever(board, api, config, &Named::optional(WATCH));
        let mut known = Known::default();
        let mut failing = false;
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            %error,
                            "nodes cannot be watched: a lost node is not told from a bad release, and before long no \
                             request of a Cutover is sent, since its address could be a node's"
                        );
                    }
                    continue;
                }
            };
            failing = false;
            if known.take_in(event, Timestamp::now()) {
                self.views.send_replace(Arc::new(known.nodes.clone()));
            }
            if known.coming.is_none() {
                let all: BTreeSet<IpAddr> = known.addresses.values().flatten().copied().collect();
                self.addresses.send_if_modified(|told| {
                    let news = told.as_deref() != Some(&all);
                    if news {
                        *told = Some(Arc::new(all));
                    }
                    news
                });
            }
        }
    }
}

/// Nodes as the watch has shown them.
#[derive(Default)]
struct Known {
    nodes: BTreeMap<String, NodeView>,
    /// When the condition of each says that it changed.
    changed: BTreeMap<String, Option<Timestamp>>,
    coming: Option<Vec<Slim>>,
    /// Of each node that is there.
    addresses: BTreeMap<String, BTreeSet<IpAddr>>,
}

impl Known {
    /// True when something has changed. Half a list changes nothing.
    fn take_in(&mut self, event: Event<Slim>, now: Timestamp) -> bool {
        let before = self.nodes.clone();
        match event {
            Event::Init => self.coming = Some(vec![]),
            Event::InitApply(mut node) => {
                node.metadata.managed_fields = None;
                self.coming.get_or_insert_default().push(node);
            }
            Event::InitDone => {
                let coming = self.coming.take().unwrap_or_default();
                let there: Vec<String> = coming.iter().map(ResourceExt::name_any).collect();
                coming.iter().for_each(|node| self.see(node, now));
                let gone: Vec<String> = self.nodes.keys().filter(|name| !there.contains(name)).cloned().collect();
                gone.into_iter().for_each(|name| self.gone(name, now));
            }
            Event::Apply(node) => self.see(&node, now),
            Event::Delete(node) => self.gone(node.name_any(), now),
        }
        self.nodes.retain(|_, view| {
            view.state != NodeState::Gone || now.duration_since(view.since).unsigned_abs() < REMEMBERED
        });
        self.nodes != before
    }

    fn see(&mut self, node: &Slim, now: Timestamp) {
        let name = node.name_any();
        self.addresses.insert(name.clone(), addresses(node));
        let (state, changed) = ready(node);
        let since = match (self.nodes.get(&name), self.changed.get(&name)) {
            (Some(known), Some(then)) if known.state == state && *then == changed => known.since,
            // It came and went between two looks, or changed just now.
            (Some(known), _) if known.state != NodeState::Gone => now,
            _ => first_seen(node, state, changed, now),
        };
        self.changed.insert(name.clone(), changed);
        self.nodes.insert(name, NodeView { state, since });
    }

    fn gone(&mut self, name: String, now: Timestamp) {
        self.changed.remove(&name);
        self.addresses.remove(&name);
        let gone = NodeView { state: NodeState::Gone, since: now };
        let known = self.nodes.entry(name).or_insert(gone);
        if known.state != NodeState::Gone {
            *known = gone;
        }
    }
}

/// Since when a node that was not known before stands as it does: as its condition says, but never in the future. One that
/// has just joined the cluster has not come back from anywhere.
fn first_seen(node: &Slim, state: NodeState, changed: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let made = node.metadata.creation_timestamp.as_ref().map(|t| t.0);
    match (changed, made) {
        (Some(at), Some(made)) if state == NodeState::Ready && at.duration_since(made).unsigned_abs() < JOINING => made,
        (Some(at), _) => at.min(now),
        (None, _) => now,
    }
}

/// Where it is reached. Host names are no addresses; what they resolve to is a node's address already.
fn addresses(node: &Slim) -> BTreeSet<IpAddr> {
    let told = node.status.iter().flat_map(|status| &status.addresses);
    told.filter_map(|told| told.address.parse().ok()).collect()
}

/// Whether a node is Ready, and when its condition says that it became so.
fn ready(node: &Slim) -> (NodeState, Option<Timestamp>) {
    let conditions = node.status.iter().flat_map(|s| &s.conditions);
    let Some(condition) = conditions.into_iter().find(|c| c.type_ == "Ready") else {
        return (NodeState::NotReady, None);
    };
    let state = if condition.status == "True" { NodeState::Ready } else { NodeState::NotReady };
    (state, condition.last_transition_time.as_ref().map(|t| t.0))
}

/// Looks at some nodes live.
pub(super) async fn read(client: &Client, names: &[String]) -> Result<NodesAnswer, String> {
    let at = Timestamp::now();
    let api = Api::<Slim>::all_with(client.clone(), &ApiResource::erase::<Node>(&()));
    let look = async |name: &String| {
        // The right to list is enough for one node, too.
        let params = ListParams::default().fields(&scope::name(name));
        match answered(api.list(&params)).await {
            Ok(list) => Ok((name.clone(), list.items.first().map_or(NodeState::Gone, |node| ready(node).0))),
            Err(error) => Err(format!("node {name}: {error}")),
        }
    };
    let mut answers = futures::stream::iter(names.iter().map(look)).buffer_unordered(AT_ONCE);
    let mut nodes = BTreeMap::new();
    while let Some(answer) = answers.next().await {
        let (name, state) = answer?;
        nodes.insert(name, state);
    }
    Ok(NodesAnswer { at, nodes })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn node(ready: &str, made: i64, changed: i64) -> Slim {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n", "creationTimestamp": at(made)},
            "status": {"images": [{"names": ["x"]}], "addresses": [
                {"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.7"},
            ], "conditions": [
                {"type": "DiskPressure", "status": "True"},
                {"type": "Ready", "status": ready, "lastTransitionTime": at(changed)},
            ]},
        }))
        .expect("a node")
    }

    fn known(known: &Known) -> (NodeState, i64) {
        let view = known.nodes.get("n").expect("a node");
        (view.state, view.since.as_second())
    }

    fn list(known: &mut Known, nodes: Vec<Slim>, now: i64) -> bool {
        let forgot = known.take_in(Event::Init, at(now));
        for node in nodes {
            assert!(!known.take_in(Event::InitApply(node), at(now)), "half a list");
        }
        known.take_in(Event::InitDone, at(now)) || forgot
    }

    #[test]
    fn a_change_counts_from_when_it_was_seen_and_a_former_one_from_when_it_was_said() {
        let mut k = Known::default();
        assert!(list(&mut k, vec![node("True", 0, 5000)], 9000));
        assert_eq!(known(&k), (NodeState::Ready, 5000), "back since then");
        assert!(!k.take_in(Event::Apply(node("True", 0, 5000)), at(9010)), "a heartbeat is no news");
        assert!(k.take_in(Event::Apply(node("Unknown", 0, 9019)), at(9020)));
        assert_eq!(known(&k), (NodeState::NotReady, 9020));
        assert!(k.take_in(Event::Apply(node("True", 0, 9100)), at(9105)));
        assert_eq!(known(&k), (NodeState::Ready, 9105));
        assert!(list(&mut k, vec![node("True", 0, 9200)], 9210), "it went and came between two lists");
        assert_eq!(known(&k), (NodeState::Ready, 9210));
    }

    #[test]
    fn the_addresses_are_those_of_the_nodes_that_are_there() {
        let mut k = Known::default();
        list(&mut k, vec![node("True", 0, 10)], 100);
        let told = |k: &Known| k.addresses.values().flatten().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(told(&k), ["10.0.0.7"]);
        list(&mut k, vec![], 200);
        assert!(told(&k).is_empty());
        k.take_in(Event::Apply(node("True", 0, 10)), at(300));
        assert_eq!(told(&k), ["10.0.0.7"]);
        k.take_in(Event::Delete(node("True", 0, 10)), at(400));
        assert!(told(&k).is_empty());
    }

    #[test]
    fn a_node_that_joins_has_not_come_back() {
        let mut k = Known::default();
        list(&mut k, vec![node("True", 1000, 1030)], 1031);
        assert_eq!(known(&k), (NodeState::Ready, 1000));
    }

    #[test]
    fn a_deleted_node_is_told_of_for_a_while() {
        let mut k = Known::default();
        list(&mut k, vec![node("True", 0, 10)], 100);
        assert!(k.take_in(Event::Delete(node("True", 0, 10)), at(200)));
        assert_eq!(known(&k), (NodeState::Gone, 200));
        assert!(!list(&mut k, vec![], 300));
        assert!(list(&mut k, vec![], 900));
        assert!(k.nodes.is_empty());
    }
}
