//! PURE. `metric` as a trigger: a query and its bound, or counters for the default rule (`share`).

use crate::api::duration::Duration;
use crate::api::trigger::{MetricTrigger, Watched};
use crate::plan::metrics;
use crate::plan::reach::reach;
use crate::plan::refuse::Refusals;
use crate::plan::resolving::Cx;
use crate::plan::scope::{Scope, Usage};

use super::{TriggerRule, modes, share};

impl TriggerRule for MetricTrigger {
    fn texts(&self, _at: &str) -> Vec<Usage> {
        vec![]
    }

    fn interval(&self) -> Option<Duration> {
        share::is_meant(self).then(|| share::hiccup(self))
    }

    fn resolve(&self, cx: &mut Cx, at: &str) -> Watched {
        metrics::needs_prometheus(cx.has_prometheus, at, cx.refusals);
        modes::check_guard(self, at, cx);
        if share::is_meant(self) {
            return Watched::Metric(share::resolve(self, at, &cx.scope, cx.refusals));
        }
        check(self, at, &cx.scope, cx.refusals);
        modes::check_baseline(self, at, cx);
        let query = self.query.as_deref();
        let reach = self.reach.or_else(|| query.map(reach).filter(|reach| !reach.is_zero()));
        Watched::Metric(Self { reach, ..self.clone() })
    }

    fn check_pace(&self, every: Duration, at: &str, refusals: &mut Refusals) {
        if !share::is_meant(self) {
            modes::check_count(self, every, at, refusals);
        }
    }
}

fn check(metric: &MetricTrigger, at: &str, scope: &Scope, refusals: &mut Refusals) {
    if let Some(query) = &metric.query {
        metrics::check_query(query, &format!("{at}.query"), scope, refusals);
        refusals.require(
            metric.above.is_some() != metric.below.is_some() || metric.relative_to.is_some(),
            at,
            "a query needs either above or below",
            "give exactly one of them",
        );
    } else {
        refusals.add(at, "there is no query", "give query with above or below, or errors, total and limit");
    }
    share::refuse_beside_a_query(metric, at, refusals);
    for (name, bound) in [("above", &metric.above), ("below", &metric.below)] {
        if let Some(bound) = bound {
            refusals.require(
                bound.parse::<f64>().is_ok_and(f64::is_finite),
                format!("{at}.{name}"),
                format!("{bound:?} is not a decimal number"),
                "write for example \"0.05\"",
            );
        }
    }
}
