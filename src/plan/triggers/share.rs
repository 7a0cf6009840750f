//! PURE. The default rule as a trigger: counters, the share of bad requests that is tolerated, and the interval.

use crate::api::duration::Duration;
use crate::api::trigger::MetricTrigger;
use crate::plan::counters::counters;
use crate::plan::metrics;
use crate::plan::refuse::Refusals;
use crate::plan::scope::Scope;

/// The longest bad spell that a healthy release may have, unless the trigger says.
const HICCUP: Duration = Duration::from_secs(15);
/// The longest one that can be said.
const LONGEST: Duration = Duration::from_mins(60);
/// The chance of a false rollback, unless the trigger says.
const ALPHA: &str = "0.01";

/// Whether the trigger is one of the default rule: everything but `query` and `http` belongs to it.
pub(super) fn is_meant(metric: &MetricTrigger) -> bool {
    metric.query.is_none() && metric.http.is_none() && own(metric).iter().any(|(_, given)| *given)
}

fn own(metric: &MetricTrigger) -> [(&'static str, bool); 6] {
    [
        ("errors", metric.errors.is_some()),
        ("total", metric.total.is_some()),
        ("slow", metric.slow.is_some()),
        ("limit", metric.limit.is_some()),
        ("hiccup", metric.hiccup.is_some()),
        ("alpha", metric.alpha.is_some()),
    ]
}

/// Its interval.
pub(super) fn hiccup(metric: &MetricTrigger) -> Duration {
    metric.hiccup.unwrap_or(HICCUP)
}

/// What of the default rule stands beside a query or an endpoint is refused.
pub(super) fn refuse_beside_a_query(metric: &MetricTrigger, at: &str, refusals: &mut Refusals) {
    let (other, why) = match (&metric.query, &metric.http) {
        (Some(_), _) => ("query", "which has no query"),
        (None, Some(_)) => ("http", "which needs counters that Prometheus keeps over time"),
        (None, None) => return,
    };
    for (name, _) in own(metric).into_iter().filter(|(_, given)| *given) {
        let message = format!("{name} belongs to the default rule, {why}");
        refusals.add(format!("{at}.{name}"), message, format!("leave out either this or {other}"));
    }
}

/// The trigger with its defaults filled in; what is wrong with it is refused.
pub(super) fn resolve(metric: &MetricTrigger, at: &str, scope: &Scope, refusals: &mut Refusals) -> MetricTrigger {
    refusals.require(
        metric.total.is_some(),
        format!("{at}.total"),
        "the default rule needs the counters of all requests",
        "give total, such as http_requests_total{app=\"web\"}",
    );
    refusals.require(
        metric.errors.is_some() || metric.slow.is_some(),
        at,
        "the default rule needs the counters of bad requests",
        "give errors, slow, or both",
    );
    let all = [("errors", &metric.errors), ("slow", &metric.slow), ("total", &metric.total)];
    for (name, text) in all.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
        let field = format!("{at}.{name}");
        metrics::check_query(text, &field, scope, refusals);
        if let Err(wrong) = counters(text) {
            refusals.add(field, wrong.message, wrong.remedy);
        }
    }
    for (name, given) in [
        ("above", metric.above.is_some()),
        ("below", metric.below.is_some()),
        ("sustained", metric.sustained.is_some()),
        ("reach", metric.reach.is_some()),
        ("count", metric.count.is_some()),
        ("within", metric.within.is_some()),
        ("relativeTo", metric.relative_to.is_some()),
        ("factor", metric.factor.is_some()),
    ] {
        let message = format!("{name} goes with query, and the default rule has none");
        refusals.require(!given, format!("{at}.{name}"), message, "leave it out");
    }
    check_limit(metric, at, refusals);
    check_alpha(metric, at, refusals);
    let hiccup = hiccup(metric);
    refusals.require(
        hiccup.as_millis() >= 1000 && hiccup.as_millis().is_multiple_of(1000) && hiccup <= LONGEST,
        format!("{at}.hiccup"),
        format!("{hiccup} is not a number of whole seconds up to {LONGEST}"),
        "give the longest bad spell that a healthy release may have, at least the scrape interval, such as 15s",
    );
    let alpha = metric.alpha.clone().or_else(|| Some(ALPHA.to_owned()));
    MetricTrigger { hiccup: Some(hiccup), alpha, ..metric.clone() }
}

fn check_limit(metric: &MetricTrigger, at: &str, refusals: &mut Refusals) {
    let field = format!("{at}.limit");
    let Some(text) = &metric.limit else {
        let remedy = "give limit, such as \"0.05\" for 5 %";
        return refusals.add(field, "the default rule needs the share of bad requests that is tolerated", remedy);
    };
    match text.parse::<f64>() {
        Ok(limit) if limit > 0.0 && limit < 1.0 => {}
        Ok(limit) if limit > 1.0 && limit <= 100.0 => refusals.add(
            field,
            format!("{text:?} is more than all requests: limit is a share and no percentage"),
            format!("0.05 is 5 %: for {text} % write \"{}\"", limit / 100.0),
        ),
        Ok(0.0) => refusals.add(
            field,
            "with 0 the first bad request would be one too many, which is no statement about a share",
            "give what is tolerated, such as \"0.001\"; for a single bad request use query with above: \"0\"",
        ),
        Ok(1.0) => {
            refusals.add(field, "with 1 all requests may be bad", "give what is tolerated: 0.05 is 5 %");
        }
        Ok(_) | Err(_) => {
            refusals.add(field, format!("{text:?} is not a share between 0 and 1"), "0.05 is 5 %: write \"0.05\"");
        }
    }
}

fn check_alpha(metric: &MetricTrigger, at: &str, refusals: &mut Refusals) {
    let Some(text) = &metric.alpha else { return };
    // Below this, nothing would ever be evidence enough for the largest capital that is counted.
    refusals.require(
        text.parse::<f64>().is_ok_and(|alpha| (1e-9..1.0).contains(&alpha)),
        format!("{at}.alpha"),
        format!("{text:?} is not a chance that a rule can keep to: it must be more than 0 and less than 1"),
        "leave it out for \"0.01\": a healthy release is rolled back once in a hundred runs at most",
    );
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn resolved(change: Value) -> (MetricTrigger, Vec<String>) {
        let mut metric = json!({"errors": "x{code=\"500\"}", "total": "x", "limit": "0.05"});
        for (field, value) in change.as_object().expect("fields") {
            metric[field] = value.clone();
        }
        let metric: MetricTrigger = serde_json::from_value(metric).expect("a trigger");
        let mut refusals = Refusals::default();
        assert!(is_meant(&metric));
        let out = resolve(&metric, "m", &Scope::default(), &mut refusals);
        (out, refusals.0.into_iter().map(|r| r.to_string()).collect())
    }

    #[test]
    fn defaults_are_filled_in() {
        let (metric, refused) = resolved(json!({}));
        assert_eq!(refused, Vec::<String>::new());
        assert_eq!((metric.hiccup, metric.alpha.as_deref()), (Some(HICCUP), Some("0.01")));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_field() {
        let long = "x".repeat(3);
        for (change, words) in [
            (json!({"limit": "0"}), "m.limit: with 0"),
            (json!({"limit": "1"}), "m.limit: with 1"),
            (json!({"limit": "5"}), "0.05 is 5 %: for 5 % write \"0.05\""),
            (json!({"limit": "2.5"}), "for 2.5 % write \"0.025\""),
            (json!({"limit": "-0.1"}), "m.limit"),
            (json!({"limit": "101"}), "m.limit"),
            (json!({"limit": "NaN"}), "m.limit"),
            (json!({"limit": null}), "m.limit: the default rule needs"),
            (json!({"alpha": "0"}), "m.alpha"),
            (json!({"alpha": "1"}), "m.alpha"),
            (json!({"alpha": "x"}), "m.alpha"),
            (json!({"hiccup": "999ms"}), "m.hiccup"),
            (json!({"hiccup": "1500ms"}), "m.hiccup"),
            (json!({"hiccup": "61m"}), "m.hiccup"),
            (json!({"total": null}), "m.total"),
            (json!({"errors": null}), "give errors, slow, or both"),
            (json!({"errors": "rate(x[5m])"}), "m.errors: rate"),
            (json!({"slow": "sum(x)"}), "m.slow: sum"),
            (json!({"total": " "}), "m.total: the query is empty"),
            (json!({"total": format!("({long}")}), "m.total: a ( is not closed"),
            (json!({"above": "1"}), "m.above"),
            (json!({"below": "1"}), "m.below"),
            (json!({"sustained": "1m"}), "m.sustained"),
            (json!({"reach": "1m"}), "m.reach"),
            (json!({"count": 3}), "m.count"),
            (json!({"within": "1m"}), "m.within"),
            (json!({"relativeTo": "b"}), "m.relativeTo"),
            (json!({"factor": "2"}), "m.factor"),
        ] {
            let (_, refused) = resolved(change.clone());
            assert!(refused.len() == 1 && refused[0].contains(words), "{change}: {refused:?}");
        }
    }

    #[test]
    fn a_query_has_nothing_of_the_default_rule_beside_it() {
        let all = json!({"query": "q", "above": "1", "errors": "e", "total": "t", "slow": "s", "limit": "0.1",
            "hiccup": "15s", "alpha": "0.01"});
        let metric: MetricTrigger = serde_json::from_value(all).expect("a trigger");
        let mut refusals = Refusals::default();
        assert!(!is_meant(&metric));
        refuse_beside_a_query(&metric, "m", &mut refusals);
        assert_eq!(refusals.0.len(), 6);
    }
}
