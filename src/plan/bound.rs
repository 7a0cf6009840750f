//! PURE. What the values of a metric trigger are measured by: a number of the manifest, a baseline that the run has
//! captured, or both.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::trigger::MetricTrigger;

/// A bound, once it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// In words, such as `0.05`, or `0.02 (2 × baseline 0.01)`.
    pub text: String,
    /// As a number.
    pub value: f64,
    /// Values above are bad, or those below.
    pub above: bool,
}

impl Bound {
    /// That of a trigger, with what the run has captured. With both a baseline and a number a value has to be past both.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn of(metric: &MetricTrigger, captures: &BTreeMap<String, Value>) -> Result<Self, String> {
        let above = is_above(metric);
        let fixed = match metric.above.as_ref().or(metric.below.as_ref()) {
            Some(text) => Some((text, text.parse::<f64>().map_err(|_| format!("{text:?} is not a number"))?)),
            None => None,
        };
        let relative = match &metric.relative_to {
            Some(name) => Some(relative(name, metric, captures)?),
            None => None,
        };
        match (fixed, relative) {
            (Some((text, value)), None) => Ok(Self { text: text.clone(), value, above }),
            (None, Some((_, value))) if value <= 0.0 => Err(format!(
                "the baseline {} is 0, and no factor makes more of it: set above beside relativeTo",
                metric.relative_to.as_deref().unwrap_or_default()
            )),
            (Some(_), Some((_, value))) if value <= 0.0 && !above => Err(format!(
                "the baseline {} is 0, and nothing is less than a part of that",
                metric.relative_to.as_deref().unwrap_or_default()
            )),
            (None, Some((text, value))) => Ok(Self { text: format!("{} ({text})", number(value)), value, above }),
            (Some((fixed, value)), Some((text, of_baseline))) => {
                // Past both: the one that is further away counts.
                Ok(if (of_baseline > value) == above {
                    Self { text: format!("{} ({text})", number(of_baseline)), value: of_baseline, above }
                } else {
                    Self { text: format!("{fixed} (and {text})"), value, above }
                })
            }
            (None, None) => Err("this version does not know the rule".into()),
        }
    }

    /// Whether a value is past it.
    pub fn exceeded(&self, value: f64) -> bool {
        if self.above { value > self.value } else { value < self.value }
    }

    /// Its sign and text, such as `> 0.05`.
    pub fn shown(&self) -> String {
        format!("{} {}", sign(self.above), self.text)
    }

    /// How a value stands to it.
    pub fn compared(&self, value: f64) -> String {
        format!("{value} {}", self.shown())
    }
}

/// The text of a bound before the baseline is known, without its sign; none where there is no bound.
pub fn planned(metric: &MetricTrigger) -> Option<String> {
    let fixed = metric.above.as_ref().or(metric.below.as_ref());
    let relative = metric.relative_to.as_ref().map(|name| times(metric, name));
    match (fixed, relative) {
        (Some(fixed), None) => Some(fixed.clone()),
        (None, relative) => relative,
        (Some(fixed), Some(relative)) => Some(format!("{fixed} (and {relative})")),
    }
}

/// Whether values above the bound are bad; those below it otherwise.
pub fn is_above(metric: &MetricTrigger) -> bool {
    metric.above.is_some() || metric.below.is_none()
}

fn sign(above: bool) -> char {
    if above { '>' } else { '<' }
}

fn times(metric: &MetricTrigger, name: &str) -> String {
    format!("{} × {name}", metric.factor.as_deref().unwrap_or("1"))
}

/// The baseline times the factor, in words and as a number.
fn relative(name: &str, metric: &MetricTrigger, captures: &BTreeMap<String, Value>) -> Result<(String, f64), String> {
    let captured = captures.get(name).ok_or_else(|| {
        format!("the baseline {name} is not there: the step that captures it was skipped or has failed")
    })?;
    // What a Job prints is text.
    let baseline = captured.as_f64().or_else(|| captured.as_str()?.trim().parse().ok()).filter(|b: &f64| b.is_finite());
    let baseline = baseline.ok_or_else(|| format!("the baseline {name} is no number"))?;
    if baseline < 0.0 {
        return Err(format!("the baseline {name} is {baseline}: below 0 a factor turns more into less"));
    }
    let factor: f64 = metric.factor.as_deref().unwrap_or("1").parse().map_err(|_| "factor is no number".to_owned())?;
    let value = baseline * factor;
    if !value.is_finite() {
        return Err(format!("the baseline {name} times the factor is no finite number"));
    }
    Ok((format!("{} {}", times(metric, name), number(baseline)), value))
}

/// A number that was calculated, with six digits that count.
fn number(value: f64) -> String {
    let rounded = format!("{value:.5e}").parse::<f64>().unwrap_or(value);
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bound(metric: Value, baseline: Value) -> Result<(String, f64), String> {
        let metric: MetricTrigger = serde_json::from_value(metric).expect("a metric");
        let captures = match baseline {
            Value::Null => BTreeMap::new(),
            value => BTreeMap::from([("base".to_owned(), value)]),
        };
        Bound::of(&metric, &captures).map(|bound| (bound.shown(), bound.value))
    }

    #[test]
    fn a_baseline_times_a_factor_and_past_a_number_too() {
        let twice = json!({"query": "q", "relativeTo": "base", "factor": "2"});
        let with = |field: &str, bound: &str| {
            let mut metric = twice.clone();
            metric[field] = json!(bound);
            metric
        };
        let table = [
            (twice.clone(), json!(0.01), Ok(("> 0.02 (2 × base 0.01)", 0.02))),
            (twice.clone(), json!("0.01\n"), Ok(("> 0.02 (2 × base 0.01)", 0.02))),
            // The one that is further away.
            (with("above", "0.05"), json!(0.01), Ok(("> 0.05 (and 2 × base 0.01)", 0.05))),
            (with("above", "0.05"), json!(0.1), Ok(("> 0.2 (2 × base 0.1)", 0.2))),
            (with("above", "0.05"), json!(0), Ok(("> 0.05 (and 2 × base 0)", 0.05))),
            (with("below", "10"), json!(3), Ok(("< 6 (2 × base 3)", 6.0))),
            (with("below", "5"), json!(3), Ok(("< 5 (and 2 × base 3)", 5.0))),
            (json!({"query": "q", "above": "1e1"}), Value::Null, Ok(("> 1e1", 10.0))),
            (json!({"query": "q", "below": "1"}), Value::Null, Ok(("< 1", 1.0))),
            (with("below", "5"), json!(0), Err("base is 0, and nothing is less")),
            (twice.clone(), json!(0), Err("base is 0, and no factor makes more of it: set above beside")),
            (twice.clone(), json!(-1), Err("base is -1: below 0")),
            (with("above", "5"), json!(-1), Err("below 0")),
            (twice.clone(), json!("many"), Err("base is no number")),
            (twice.clone(), json!({"a": 1}), Err("base is no number")),
            (twice.clone(), json!("inf"), Err("base is no number")),
            (twice.clone(), json!(1e308), Err("no finite number")),
            (twice, Value::Null, Err("base is not there")),
            (json!({"query": "q"}), json!(1), Err("does not know")),
        ];
        for (metric, baseline, wanted) in table {
            let found = bound(metric.clone(), baseline.clone());
            match (&found, wanted) {
                (Ok((text, value)), Ok((shown, number))) => {
                    assert_eq!((text.as_str(), *value), (shown, number), "{metric} {baseline}");
                }
                (Err(why), Err(part)) => assert!(why.contains(part), "{metric} {baseline}: {why}"),
                _ => panic!("{metric} {baseline}: {found:?}"),
            }
        }
        assert_eq!(
            bound(json!({"query": "q", "relativeTo": "base", "factor": "3"}), json!(0.1)).map(|b| b.0),
            Ok("> 0.3 (3 × base 0.1)".into())
        );
    }
}
