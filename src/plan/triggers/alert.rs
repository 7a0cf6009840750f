//! PURE. `alert` as a trigger: which alerts, and who is asked about them.

use crate::api::prometheus::Prometheus;
use crate::api::trigger::{AlertTrigger, Watched};
use crate::plan::metrics;
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;

use super::TriggerRule;

impl TriggerRule for AlertTrigger {
    fn texts(&self, _at: &str) -> Vec<Usage> {
        vec![]
    }

    fn resolve(&self, cx: &mut Cx, at: &str) -> Watched {
        check_matchers(self, at, cx);
        match &self.alertmanager {
            None => metrics::needs_prometheus(cx.has_prometheus, at, cx.refusals),
            Some(place) => {
                let place = Prometheus {
                    service: place.service.clone(),
                    url: place.url.clone(),
                    name: place.name.clone(),
                    ..Prometheus::default()
                };
                metrics::check(&place, &format!("{at}.alertmanager"), cx.namespace, cx.offered, cx.refusals);
            }
        }
        Watched::Alert(self.clone())
    }

    fn asks_prometheus(&self) -> bool {
        self.alertmanager.is_none()
    }
}

fn check_matchers(alert: &AlertTrigger, at: &str, cx: &mut Cx) {
    cx.refusals.require(
        !alert.matchers.is_empty(),
        format!("{at}.matchers"),
        "every alert of the cluster would be meant",
        "give the labels of those that tell of this application, such as alertname",
    );
    for (name, value) in &alert.matchers {
        let field = format!("{at}.matchers[{name}]");
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let legal = name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit());
        cx.refusals.require(
            legal,
            &field,
            format!("{name:?} is not the name of an alert's label"),
            "use letters, digits and _",
        );
        cx.refusals.require(
            !["__name__", "alertstate"].contains(&name.as_str()),
            &field,
            format!("{name} is no label of an alert: those that fire are meant"),
            "leave it out",
        );
        cx.refusals.require(
            !value.contains("${"),
            &field,
            "variables are not expanded in matchers",
            "write the value out",
        );
        cx.refusals.require(
            !value.is_empty() && !value.chars().any(char::is_control),
            &field,
            "this is no value of a label",
            "write the value as the alert has it",
        );
    }
}
