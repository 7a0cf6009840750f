//! Nodes of the simulated cluster, and the pods on them.

use cutover::api::step::WorkloadRef;
use cutover::world::{NodeState, NodeView};

use super::cluster::Cluster;

impl Cluster {
    /// The node that the pod of this number is put on.
    pub(super) fn place(&self, w: &WorkloadRef, i: u32) -> String {
        let live = self.plan.old.workloads.contains(w);
        let side = if live { &self.plan.old.name } else { &self.plan.target.name };
        let nodes = self.places.get(side).filter(|n| !n.is_empty());
        nodes.map_or_else(|| "node-1".to_owned(), |n| n[i as usize % n.len()].clone())
    }

    /// Where a node stands.
    pub fn node(&self, name: &str) -> NodeState {
        self.nodes.get(name).map_or(NodeState::Gone, |view| view.state)
    }

    /// A node is lost, or comes back; its pods stay as they are.
    pub fn set_node(&mut self, name: &str, ready: bool) {
        let state = if ready { NodeState::Ready } else { NodeState::NotReady };
        self.nodes.insert(name.to_owned(), NodeView { state, since: self.now });
    }

    /// The pods of a node, of one side or of both, lose readiness or get it back.
    pub fn set_pods_on(&mut self, node: &str, side: Option<&str>, ready: bool) {
        let owners = side.map(|s| self.side(s).workloads.clone());
        for (w, pod) in self.pods.values_mut() {
            if pod.node.as_deref() == Some(node) && owners.as_ref().is_none_or(|o| o.contains(w)) {
                pod.ready = ready;
            }
        }
        for w in self.workloads.keys().cloned().collect::<Vec<_>>() {
            self.count(&w);
        }
    }

    /// Somebody deletes the ready pods of a side; new ones take their place.
    pub fn delete_ready_pods(&mut self, side: &str) {
        let owners = self.side(side).workloads.clone();
        self.pods.retain(|_, (w, pod)| !(pod.ready && owners.contains(w)));
        for w in owners {
            self.count(&w);
        }
    }
}
