//! PURE. What sends users to one side or the other, and how it is switched. A kind of route is one file with its [`Way`],
//! and its line in [`way`]; nothing else knows by which members of which object it points somewhere.
//!
//! Where a route points is journaled as a map of texts (`from`, `to`), which only its own kind reads.

use std::fmt;

use kube::core::ApiResource;
use serde_json::Value;

use crate::api::run::{Selector, ServiceSwitch, SwitchState};
use crate::effect::protocol::{JsonPatch, Object};
use crate::effect::{CallError, DryRun, Outcome};
use crate::plan::{Plan, PlanSide};
use crate::world::{Owner, PortView, ServiceView, World};

mod authority;
mod restore;
mod service;
mod switch;

pub(crate) use crate::effect::{Route, RouteKind};
pub(crate) use authority::authorises;
pub use restore::{Back, restore};
pub use switch::{Claim, switch};

/// Where a route points.
pub type Position = Selector;

/// How routes of one kind are switched.
trait Way: Sync {
    /// The kind of the object.
    fn resource(&self) -> ApiResource;
    /// What a person calls the members that say where it points.
    fn word(&self) -> &'static str;
    /// The route as the API server shows it.
    fn live(&self, object: &Value) -> Result<Live, CallError>;
    /// The route as it was last seen.
    fn seen<'a>(&self, name: &str, world: &'a World) -> Option<RouteView<'a>>;
    /// Where it would point on a side, if it points to `now`.
    fn toward(&self, now: &Position, side: &Selector) -> Position;
    /// Which of these sides it points to; none where that is not exactly one.
    fn side(&self, now: &Position, sides: &mut dyn Iterator<Item = &Selector>) -> Option<usize>;
    /// What tells two positions apart, of each.
    fn difference(&self, from: &Position, to: &Position) -> [Selector; 2];
    /// The labels of the pods that get its traffic where it points.
    fn pods(&self, at: &Position) -> Selector;
    /// Tests that it points there.
    fn test(&self, patch: JsonPatch, at: &Position) -> JsonPatch;
    /// Points it there.
    fn point(&self, patch: JsonPatch, to: &Position) -> JsonPatch;
}

/// The kinds.
fn way(kind: RouteKind) -> &'static dyn Way {
    match kind {
        RouteKind::Service => &service::BySelector,
    }
}

/// A route as read live, right before it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    pub at: Position,
    /// The ports that a pod must have to get its traffic.
    pub ports: Vec<PortView>,
    /// Who wrote it last.
    pub writer: Option<String>,
    /// `None`: it has no annotations at all, so that the map must be made.
    pub annotations: Option<std::collections::BTreeMap<String, String>>,
}

impl Live {
    /// Whether it points to the side with these labels, whichever others there are.
    pub fn points_to(&self, route: &Route, side: &Selector) -> bool {
        route.way().side(&self.at, &mut [side].into_iter()).is_some()
    }
}

/// A route as it was last seen.
#[derive(Clone, Copy, Debug)]
pub struct RouteView<'a> {
    kind: RouteKind,
    pub uid: &'a str,
    /// Its resourceVersion.
    pub resource_version: &'a str,
    pub at: &'a Position,
    /// Who wrote it last.
    pub writer: Option<&'a str>,
    /// Who else than the operator wrote last where it points.
    pub pointed: Option<&'a Owner>,
    /// The run that restored it last.
    pub fence: Option<&'a str>,
}

/// To which of two sides a route points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// The first one given.
    Old,
    /// The second one given.
    Target,
    /// Neither: drift.
    Foreign,
}

/// The one definition of the side that a route points to.
fn names(way: &dyn Way, now: &Position, old: &Selector, target: &Selector) -> Names {
    match way.side(now, &mut [old, target].into_iter()) {
        Some(0) => Names::Old,
        Some(_) => Names::Target,
        None => Names::Foreign,
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", way(self.kind).resource().kind, self.name)
    }
}

impl Route {
    /// A Service.
    pub fn service(name: &str) -> Self {
        Self { kind: RouteKind::Service, name: name.to_owned() }
    }

    /// The route of an entry of the journal.
    pub fn of(switch: &ServiceSwitch) -> Self {
        Self::service(&switch.name)
    }

    fn way(&self) -> &'static dyn Way {
        way(self.kind)
    }

    /// The object that it is.
    pub fn object(&self) -> Object {
        Object { resource: self.way().resource(), name: self.name.clone() }
    }

    /// As read live.
    ///
    /// # Errors
    /// It is not what it should be.
    pub fn live(&self, object: &Value) -> Result<Live, CallError> {
        self.way().live(object)
    }

    /// As it was last seen, if it is known to exist.
    pub fn seen<'a>(&self, world: &'a World) -> Option<RouteView<'a>> {
        self.way().seen(&self.name, world)
    }

    /// The labels of the pods that get its traffic where it points.
    pub fn pods(&self, at: &Position) -> Selector {
        self.way().pods(at)
    }

    /// The intent to point it to a side: tested are its uid, its resourceVersion and all of where it points (P4).
    pub fn claim(&self, seen: &RouteView<'_>, target: &PlanSide) -> ServiceSwitch {
        ServiceSwitch {
            name: self.name.clone(),
            uid: seen.uid.to_owned(),
            resource_version: seen.resource_version.to_owned(),
            from: seen.at.clone(),
            to: self.way().toward(seen.at, &target.selector),
            wanted: 0,
            old_wanted: 0,
            state: SwitchState::Claimed,
            unanswered: false,
            adopted: false,
            switched_at: None,
            restored_at: None,
            message: None,
            blocked: None,
        }
    }

    /// What would be written to point it to a side, to be tried; `tested`: only if it points where it was seen to.
    pub fn trial(&self, seen: &RouteView<'_>, side: &PlanSide, tested: bool) -> DryRun {
        let to = self.way().toward(seen.at, &side.selector);
        DryRun::Point { route: self.clone(), test: tested.then(|| seen.at.clone()), to }
    }

    /// A patch that only points it somewhere: what a dry run of a switch tries, with a test where `from` is given.
    pub fn rehearsal(&self, from: Option<&Position>, to: &Position) -> JsonPatch {
        let tested = from.map_or_else(JsonPatch::default, |from| self.way().test(JsonPatch::default(), from));
        self.way().point(tested, to)
    }
}

impl<'a> From<&'a ServiceView> for RouteView<'a> {
    fn from(view: &'a ServiceView) -> Self {
        service::seen(view)
    }
}

impl RouteView<'_> {
    /// To which of two sides it points.
    pub fn names(&self, old: &PlanSide, target: &PlanSide) -> Names {
        names(way(self.kind), self.at, &old.selector, &target.selector)
    }

    /// The labels of the pods that would get its traffic if it pointed to a side.
    pub fn pods_on(&self, side: &PlanSide) -> Selector {
        let way = way(self.kind);
        way.pods(&way.toward(self.at, &side.selector))
    }

    /// Whether it was seen after the write that the resourceVersion of a claim precedes. The first write after the claim is
    /// our own patch, since the patch tests that version (P4); resource versions are comparable integers.
    pub(crate) fn newer(&self, claimed: &str) -> bool {
        match (self.resource_version.parse::<u64>(), claimed.parse::<u64>()) {
            (Ok(seen), Ok(claimed)) => seen > claimed,
            _ => self.resource_version != claimed,
        }
    }
}

/// The routes that a plan switches.
pub fn all(plan: &Plan) -> impl Iterator<Item = Route> {
    plan.services.iter().map(|name| Route::service(name))
}

/// Which of these sides a Service with this selector points to; none where that is not exactly one.
pub fn side_of<'a>(selector: &Selector, sides: impl IntoIterator<Item = &'a Selector>) -> Option<usize> {
    way(RouteKind::Service).side(selector, &mut sides.into_iter())
}

/// What a reading settles about a claim, or that nothing stands in its way.
type Settled = Option<Outcome>;
