//! PURE. A Service: it points to the side whose labels its selector has.

use k8s_openapi::api::core::v1::Service;
use kube::core::ApiResource;
use serde_json::{Value, json};

use super::{Live, Position, RouteKind, RouteView, Way};
use crate::api::ANNOTATION_FENCE;
use crate::api::run::Selector;
use crate::effect::CallError;
use crate::effect::protocol::JsonPatch;
use crate::endpoints::{carries, whole_selector};
use crate::world::{Field, ServiceView, World, convert};

const SELECTOR: &str = "/spec/selector";

/// Where a Service points is its whole selector.
pub(super) struct BySelector;

impl Way for BySelector {
    fn resource(&self) -> ApiResource {
        ApiResource::erase::<Service>(&())
    }

    fn word(&self) -> &'static str {
        "selector"
    }

    fn live(&self, object: &Value) -> Result<Live, CallError> {
        let service: Service = serde_json::from_value(object.clone())
            .map_err(|e| CallError::transient(format!("the answer is not a Service: {e}")))?;
        let view = convert::service(&service);
        Ok(Live {
            uid: view.uid,
            resource_version: view.resource_version,
            at: view.selector,
            ports: view.ports,
            writer: view.writer,
            annotations: service.metadata.annotations,
        })
    }

    fn seen<'a>(&self, name: &str, world: &'a World) -> Option<RouteView<'a>> {
        world.service(name).map(seen)
    }

    fn toward(&self, now: &Position, side: &Selector) -> Position {
        whole_selector(now, side)
    }

    fn side(&self, now: &Position, sides: &mut dyn Iterator<Item = &Selector>) -> Option<usize> {
        let mut named = sides.enumerate().filter(|(_, side)| carries(now, side));
        match (named.next(), named.next()) {
            (Some((side, _)), None) => Some(side),
            _ => None,
        }
    }

    /// The keys in which two selectors differ: what else a Service selects says nothing of a side.
    fn difference(&self, from: &Position, to: &Position) -> [Selector; 2] {
        let keys: Vec<&String> = from.iter().filter(|(k, v)| to.get(*k) != Some(*v)).map(|(k, _)| k).collect();
        [from, to].map(|of| of.iter().filter(|(k, _)| keys.contains(k)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn pods(&self, at: &Position) -> Selector {
        at.clone()
    }

    fn test(&self, patch: JsonPatch, at: &Position) -> JsonPatch {
        patch.test(SELECTOR, json!(at))
    }

    fn point(&self, patch: JsonPatch, to: &Position) -> JsonPatch {
        patch.add(SELECTOR, json!(to))
    }
}

/// A Service as it was last seen.
pub(super) fn seen(view: &ServiceView) -> RouteView<'_> {
    RouteView {
        kind: RouteKind::Service,
        uid: &view.uid,
        resource_version: &view.resource_version,
        at: &view.selector,
        writer: view.writer.as_deref(),
        pointed: view.kept.last(Field::Selector),
        fence: view.marks.get(ANNOTATION_FENCE).map(String::as_str),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Names, names};
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Selector {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn only_the_keys_of_the_sides_say_where_a_service_points() {
        let (from, to) = (map(&[("app", "web"), ("side", "blue")]), map(&[("app", "web"), ("side", "green")]));
        let [old, target] = BySelector.difference(&from, &to);
        assert_eq!((&old, &target), (&map(&[("side", "blue")]), &map(&[("side", "green")])));
        let points = |selector: &[(&str, &str)]| names(&BySelector, &map(selector), &old, &target);
        assert_eq!(points(&[("app", "web"), ("side", "blue")]), Names::Old);
        assert_eq!(points(&[("app", "other"), ("side", "green"), ("more", "x")]), Names::Target);
        assert_eq!(points(&[("app", "web")]), Names::Foreign);
        assert_eq!(points(&[("app", "web"), ("side", "red")]), Names::Foreign);
        assert_eq!(names(&BySelector, &from, &Selector::new(), &Selector::new()), Names::Foreign, "of two it is none");
    }

    #[test]
    fn what_is_not_a_service_is_not_read_as_one() {
        assert!(BySelector.live(&json!({"spec": {"ports": "none"}})).is_err());
    }
}
