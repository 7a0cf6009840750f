//! Go-style durations (`1h30m`, `250ms`), the only way a time span is written in the API.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest time span any field accepts: 90 days.
pub const MAX_HOURS: u64 = 2160;

/// A time span of at most 90 days, in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

/// Why a text is not a duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DurationError {
    /// Not of the form `1h30m5s250ms`.
    #[error("{0:?} is not a duration: write for example 90s, 5m or 1h30m")]
    Syntax(String),
    /// Longer than any field accepts.
    #[error("{0:?} is longer than {MAX_HOURS}h, the longest duration accepted")]
    TooLong(String),
}

impl Duration {
    /// A span of this many milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }
    /// A span of this many seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self(s * 1000)
    }
    /// A span of this many minutes.
    pub const fn from_mins(m: u64) -> Self {
        Self(m * 60_000)
    }
    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
    /// Whole seconds, rounded up.
    pub const fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(1000)
    }
    /// Whether nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
    /// For timers.
    pub const fn std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
    /// For arithmetic with timestamps.
    pub fn signed(self) -> jiff::SignedDuration {
        jiff::SignedDuration::from_millis(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(s: &str) -> Result<Self, DurationError> {
        let syntax = || DurationError::Syntax(s.chars().take(40).collect());
        let mut rest = s;
        let mut total = 0f64;
        if rest.is_empty() {
            return Err(syntax());
        }
        if rest == "0" {
            return Ok(Self(0));
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(syntax)?;
            let value: f64 = rest[..digits].parse().map_err(|_| syntax())?;
            rest = &rest[digits..];
            let (unit, factor) = [("ms", 1.0), ("h", 3_600_000.0), ("m", 60_000.0), ("s", 1000.0)]
                .into_iter()
                .find(|(u, _)| rest.starts_with(u))
                .ok_or_else(syntax)?;
            rest = &rest[unit.len()..];
            total += value * factor;
        }
        if total > (MAX_HOURS * 3_600_000) as f64 {
            return Err(DurationError::TooLong(s.chars().take(40).collect()));
        }
        Ok(Self(total.round() as u64))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ms = self.0;
        if ms == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            let n = ms / size;
            ms %= size;
            if n > 0 {
                write!(f, "{n}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 20,
            "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$",
            "x-kubernetes-validations": [{
                "rule": "duration(self) <= duration('2160h')",
                "message": "longer than 2160h (90 days), the longest duration accepted",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_go_durations() {
        for (text, ms) in [("5m", 300_000), ("1h30m", 5_400_000), ("250ms", 250), ("1.5s", 1500), ("0s", 0)] {
            assert_eq!(text.parse::<Duration>().map(Duration::as_millis), Ok(ms), "{text}");
        }
        assert_eq!(Duration::from_millis(5_400_250).to_string(), "1h30m250ms");
        assert_eq!(Duration::default().to_string(), "0s");
    }

    #[test]
    fn refuses_what_is_none() {
        for text in ["", "5", "-5m", "5 m", "m", "1d", "1..2s", "9999h"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }
}
