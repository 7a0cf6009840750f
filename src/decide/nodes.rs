//! PURE. A lost node is no verdict (DESIGN §6): where nodes have taken the pods of both sides with them, the run holds
//! instead of going back to a side that is no better off.

use serde_json::json;

use crate::api::condition::types;
use crate::api::run::NodesLost;
use crate::decide::draft::Draft;
use crate::effect::{Read, ReadKey, hash};
use crate::endpoints::{Loss, loss, returning};
use crate::world::NodeState;

/// Whether triggers may judge what they see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MayJudge {
    /// They may; this is what has become of the pods of both sides.
    Clear(Loss),
    /// A lost node excuses whatever they see, for this reason.
    Excused(String),
    /// Not before the nodes have been looked at live.
    Asked,
}

/// Looks at the nodes of both sides' pods, and writes down those that excuse.
pub fn look(d: &mut Draft) -> MayJudge {
    let now = d.now();
    let loss = loss(d.plan, &d.journal, d.world);
    let known = d.journal.nodes_lost.take();
    let mut nodes: Vec<String> = loss.nodes.iter().cloned().collect();
    let mut asked = false;
    if !loss.suspects.is_empty() {
        // The pods are part of the key: what was seen of the nodes when others were lost is too old.
        let key = ReadKey::Nodes(hash(&json!(loss.unready)));
        asked = !d.world.readings.contains_key(&key);
        d.out.reads.insert(key, Read::Nodes(loss.suspects.iter().cloned().collect()));
    }
    if nodes.is_empty()
        && let Some(lost) = &known
    {
        // The news of a node may also come after that of the pods that return to it.
        if returning(d.world, &lost.nodes).is_some() {
            nodes.clone_from(&lost.nodes);
        } else if asked {
            d.journal.nodes_lost = known;
            return MayJudge::Asked;
        }
    }
    if nodes.is_empty() {
        return if asked { MayJudge::Asked } else { MayJudge::Clear(loss) };
    }
    if let Some(until) = returning(d.world, &nodes) {
        d.out.wake_at(until);
    }
    let since = known.as_ref().map_or(now, |lost| lost.since);
    if let Some(lost) = known {
        nodes.extend(lost.nodes.into_iter().filter(|n| returning(d.world, std::slice::from_ref(n)).is_some()));
        nodes.sort();
        nodes.dedup();
    }
    let why = message(d, &nodes);
    d.journal.nodes_lost = Some(NodesLost { nodes, since, message: why.clone() });
    d.tell_once(types::NODE_LOST, types::NODE_LOST, "nodes", &why);
    MayJudge::Excused(why)
}

/// Which nodes, since when, and what becomes of the run meanwhile.
fn message(d: &Draft, nodes: &[String]) -> String {
    let mut parts = vec![];
    for name in nodes {
        let Some(view) = d.world.node(name) else { continue };
        let state = match view.state {
            NodeState::NotReady => "not Ready",
            NodeState::Gone => "deleted",
            NodeState::Ready => "Ready again",
        };
        parts.push(format!("node {name} is {state} since {:.0}", view.since));
    }
    let until = match returning(d.world, nodes) {
        Some(until) if nodes.iter().all(|n| d.world.node(n).is_some_and(|v| v.state != NodeState::NotReady)) => {
            format!("until {until:.0}")
        }
        _ => "until a minute after it is Ready again".to_owned(),
    };
    format!(
        "{}; it took pods of {} and {} with it, so nothing is judged and nothing rolled back by itself {until}",
        parts.join(", "),
        d.plan.target.name,
        d.plan.old.name
    )
}

/// What a question says where both sides are lost and no node explains it.
pub(crate) fn both_lost(d: &Draft) -> String {
    format!(
        "{} has too few ready pods to go back to as well, and no lost node explains it; look at both sides: \
         kubectl get pods -n {} -o wide",
        d.plan.old.name, d.plan.namespace
    )
}
