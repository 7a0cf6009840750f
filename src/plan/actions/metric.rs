//! PURE. `metric`: one query, and what its value must be.

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{Metric, WorkloadRef};
use crate::plan::Plan;
use crate::plan::metrics;
use crate::plan::resolving::Cx;
use crate::plan::scope::{Captured, Type, Usage, Variable};

use super::{Action, ActionPlace, Given, Planned, quick};

/// Variables of `metric.expect` beside those of every expression; `logs.expect` has the same.
pub(super) const VARIABLES: &[Variable] = &[Variable("value", Type::Double)];

impl Given for Metric {
    fn texts(&self, at: &str) -> Vec<Usage> {
        self.expect.iter().map(|e| Usage::expr(format!("{at}.expect"), VARIABLES, e)).collect()
    }

    fn captures(&self, at: &str) -> Vec<Captured> {
        let captured = |name: &String| Captured {
            name: name.clone(),
            field: format!("{at}.captureAs"),
            number: true,
            sensitive: false,
        };
        self.capture_as.iter().map(captured).collect()
    }

    fn resolve(&self, cx: &mut Cx, _place: &ActionPlace, at: &str) -> Action {
        metrics::needs_prometheus(cx.has_prometheus, at, cx.refusals);
        metrics::check_query(&self.query, &format!("{at}.query"), &cx.scope, cx.refusals);
        Action::Metric(self.clone())
    }
}

impl Planned for Metric {
    fn only_reads(&self) -> bool {
        true
    }

    fn workloads(&self) -> Vec<WorkloadRef> {
        vec![]
    }

    fn changes(&self, _plan: &Plan) -> Vec<ObjectRef> {
        vec![]
    }

    fn time(&self, attempts: u32, every: Duration) -> Duration {
        quick(attempts, every)
    }

    fn captured(&self) -> Vec<String> {
        self.capture_as.iter().cloned().collect()
    }
}
