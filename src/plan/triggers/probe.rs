//! PURE. `probe`: a request that is sent again and again, and how often it may fail.

use crate::api::cutover::ServiceRef;
use crate::api::step::To;
use crate::api::trigger::{ProbeTrigger, Watched};
use crate::plan::actions::Given;
use crate::plan::refuse::Refusals;
use crate::plan::request::{self, RequestPlace};
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;

use super::TriggerRule;

/// Failures in a row, unless it says.
pub(super) const FAILING: u32 = 3;

impl TriggerRule for ProbeTrigger {
    fn texts(&self, at: &str) -> Vec<Usage> {
        self.http.texts(&format!("{at}.http"))
    }

    fn resolve(&self, cx: &mut Cx, at: &str) -> Watched {
        Watched::Probe(resolve(self, cx.services, at, cx.refusals))
    }
}

fn resolve(probe: &ProbeTrigger, services: &[ServiceRef], at: &str, refusals: &mut Refusals) -> ProbeTrigger {
    let mut out = probe.clone();
    let place = RequestPlace { to: To::Live, services, read_only: false, repeated: true };
    out.http = request::resolve(&probe.http, place, &format!("{at}.http"), refusals);
    refusals.require(
        !(probe.failing.is_some() && probe.failing_for.is_some()),
        at,
        "a probe has either failing or failingFor",
        "keep one",
    );
    refusals.require(
        probe.failing != Some(0) && probe.failing_for.is_none_or(|d| !d.is_zero()),
        at,
        "a probe that fires before it failed",
        "let it fail at least once",
    );
    if probe.failing_for.is_none() {
        out.failing.get_or_insert(FAILING);
    }
    out
}
