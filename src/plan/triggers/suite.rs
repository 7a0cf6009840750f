//! PURE. `suite` as a trigger: requests that are sent together again and again, and how many rounds may fail.

use crate::api::step::To;
use crate::api::trigger::{Check, SuiteTrigger, Watched};
use crate::plan::actions::Given;
use crate::plan::refuse::label;
use crate::plan::request::{self, RequestPlace};
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;

use super::TriggerRule;
use super::probe::FAILING;

impl TriggerRule for SuiteTrigger {
    fn texts(&self, at: &str) -> Vec<Usage> {
        let of = |(i, check): (usize, &Check)| check.http.texts(&format!("{at}.steps[{}].http", label(&check.name, i)));
        self.steps.iter().enumerate().flat_map(of).collect()
    }

    fn resolve(&self, cx: &mut Cx, at: &str) -> Watched {
        let mut out = self.clone();
        cx.refusals.require(
            !self.steps.is_empty(),
            format!("{at}.steps"),
            "the suite has no steps",
            "give at least one",
        );
        cx.refusals.require(
            self.pass_rate.is_none_or(|p| p <= 100),
            format!("{at}.passRate"),
            "more than 100 per cent cannot pass",
            "give 0 to 100",
        );
        cx.refusals.require(
            self.failing != Some(0),
            format!("{at}.failing"),
            "a suite that fires before it failed",
            "let it fail at least once",
        );
        out.failing.get_or_insert(FAILING);
        for (i, check) in out.steps.iter_mut().enumerate() {
            let at = format!("{at}.steps[{}]", label(&check.name, i));
            cx.scope.take_name(&check.name, &format!("{at}.name"), cx.refusals);
            let place = RequestPlace { to: To::Live, services: cx.services, read_only: false, repeated: true };
            check.http = request::resolve(&check.http, place, &format!("{at}.http"), cx.refusals);
        }
        Watched::Suite(out)
    }
}
