//! PURE. `resource` as a trigger: the same as in a step.

use crate::api::step::Resource;
use crate::api::trigger::Watched;
use crate::plan::actions::{Given, resource};
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;

use super::TriggerRule;

impl TriggerRule for Resource {
    fn texts(&self, at: &str) -> Vec<Usage> {
        Given::texts(self, at)
    }

    fn resolve(&self, cx: &mut Cx, at: &str) -> Watched {
        resource::check(self, at, cx.refusals);
        Watched::Resource(self.clone())
    }
}
