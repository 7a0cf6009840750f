//! `short.yaml` beside an example: the times that a test shortens. Nothing but durations can be changed by it, so that what
//! is tested is otherwise the manifest that stands there.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use cutover::api::Duration;
use serde::Deserialize;
use serde_json::Value;

use crate::path;

/// What is shortened.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Short {
    /// Fields below `spec`, and the durations that stand there in a test.
    #[serde(default)]
    pub durations: BTreeMap<String, String>,
    /// Ranges of PromQL, such as `5m`, and what stands for them in a test.
    #[serde(default)]
    pub ranges: BTreeMap<String, String>,
}

impl Short {
    /// Shortens the times of a Cutover.
    ///
    /// # Errors
    /// A field that is not there or no duration, and a range that no query uses.
    pub fn apply(&self, cutover: &mut Value) -> Result<()> {
        let spec = cutover.get_mut("spec").context("no spec")?;
        for (field, short) in &self.durations {
            let there =
                path::find_mut(spec, field).with_context(|| format!("short.yaml: there is no field {field}"))?;
            let long = duration(there).with_context(|| format!("short.yaml: {field}"))?;
            let shorter: Duration = short.parse().with_context(|| format!("short.yaml: {field}: {short}"))?;
            ensure!(shorter < long, "short.yaml: {field}: {short} is not shorter than {there}");
            *there = short.as_str().into();
        }
        for (long, short) in &self.ranges {
            for range in [long, short] {
                range.parse::<Duration>().with_context(|| format!("short.yaml: ranges: {range}"))?;
            }
            if replace(spec, &format!("[{long}]"), &format!("[{short}]")) == 0 {
                bail!("short.yaml: no query has the range [{long}]");
            }
        }
        Ok(())
    }
}

fn duration(value: &Value) -> Result<Duration> {
    let text = value.as_str().with_context(|| format!("{value} is no duration"))?;
    Ok(text.parse()?)
}

/// Replaces in every query; says in how many.
fn replace(value: &mut Value, from: &str, to: &str) -> usize {
    match value {
        Value::Array(list) => list.iter_mut().map(|value| replace(value, from, to)).sum(),
        Value::Object(map) => {
            let mut count = 0;
            for (key, value) in map {
                match value {
                    Value::String(text) if key.to_lowercase().ends_with("query") && text.contains(from) => {
                        *text = text.replace(from, to);
                        count += 1;
                    }
                    value => count += replace(value, from, to),
                }
            }
            count
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cutover() -> Value {
        json!({"spec": {"observe": {"for": "30m", "triggers": [
            {"name": "errors", "metric": {"query": "rate(x[5m])", "sustained": "5m", "above": "0.05"}},
        ]}}})
    }

    fn short(yaml: &str) -> Short {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn durations_and_ranges_are_shortened() {
        let mut it = cutover();
        short("durations: {observe.for: 10s, 'observe.triggers[errors].metric.sustained': 3s}\nranges: {5m: 5s}")
            .apply(&mut it)
            .unwrap();
        assert_eq!(it["spec"]["observe"]["for"], "10s");
        assert_eq!(it["spec"]["observe"]["triggers"][0]["metric"]["query"], "rate(x[5s])");
        assert_eq!(it["spec"]["observe"]["triggers"][0]["metric"]["sustained"], "3s");
    }

    #[test]
    fn nothing_but_times_can_be_changed_and_only_to_shorter_ones() {
        for wrong in [
            "durations: {'observe.triggers[errors].metric.above': 1s}",
            "durations: {observe.for: 31m}",
            "durations: {observe.till: 1s}",
            "durations: {observe.for: soon}",
            "ranges: {10m: 1s}",
            "ranges: {5m: x}",
        ] {
            assert!(short(wrong).apply(&mut cutover()).is_err(), "{wrong}");
        }
        assert!(serde_saphyr::from_str::<Short>("queries: {a: b}").is_err());
    }
}
