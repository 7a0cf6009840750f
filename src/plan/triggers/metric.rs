//! PURE. `metric` as a trigger: a query or an endpoint and its bound, or counters for the default rule (`share`).

use crate::api::duration::Duration;
use crate::api::step::To;
use crate::api::trigger::{MetricTrigger, Watched};
use crate::plan::actions::Given;
use crate::plan::reach::reach;
use crate::plan::refuse::Refusals;
use crate::plan::request::{self, RequestPlace};
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;
use crate::plan::{endpoint, metrics, select};

use super::{TriggerRule, modes, share};

impl TriggerRule for MetricTrigger {
    fn texts(&self, at: &str) -> Vec<Usage> {
        self.http.as_ref().map(|of| endpoint::request(of).texts(&format!("{at}.http"))).unwrap_or_default()
    }

    fn interval(&self) -> Option<Duration> {
        share::is_meant(self).then(|| share::hiccup(self))
    }

    fn resolve(&self, cx: &mut Cx, at: &str) -> Watched {
        if self.asks_prometheus() {
            metrics::needs_prometheus(cx.has_prometheus, at, cx.refusals);
        }
        modes::check_guard(self, at, cx);
        if share::is_meant(self) {
            return Watched::Metric(share::resolve(self, at, &cx.scope, cx.refusals));
        }
        check(self, at, cx);
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

    /// Whatever is no number of an endpoint alone.
    fn asks_prometheus(&self) -> bool {
        self.http.is_none() || self.query.is_some() || self.guard_query.is_some()
    }
}

fn check(metric: &MetricTrigger, at: &str, cx: &mut Cx) {
    if let Some(query) = &metric.query {
        metrics::check_query(query, &format!("{at}.query"), &cx.scope, cx.refusals);
    }
    if let Some(of) = &metric.http {
        let field = format!("{at}.http");
        let place = RequestPlace { to: To::Live, services: cx.services, read_only: false, repeated: true };
        if of.path.is_some() == of.url.is_some() {
            // Its URL cannot come from a Secret.
            cx.refusals.add(&field, "http has either path or url", "give exactly one of them");
        } else {
            request::resolve(&endpoint::request(of), place, &field, cx.refusals);
        }
        if let Err(why) = select::check_path(&of.value) {
            cx.refusals.add(format!("{field}.value"), why, "write a JSONPath to one number, such as $.errorRate");
        }
    }
    let refusals = &mut *cx.refusals;
    match (&metric.query, &metric.http) {
        (None, None) => {
            let remedy = "give query or http with above or below, or errors, total and limit";
            refusals.add(at, "there is no query", remedy);
        }
        (Some(_), Some(_)) => refusals.add(at, "values come either from a query or from http", "keep one"),
        (Some(_), None) | (None, Some(_)) => refusals.require(
            metric.above.is_some() != metric.below.is_some() || metric.relative_to.is_some(),
            at,
            "a value needs either above or below",
            "give exactly one of them",
        ),
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
