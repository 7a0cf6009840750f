//! What replays came to, as it is kept: one line for each case and rule. And what is read from it.

use anyhow::{Context, Result, ensure};

/// Replays of one case under one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Seconds that the release is watched.
    pub window: u32,
    /// The case's name.
    pub case: String,
    /// The rule's name.
    pub rule: String,
    /// How many replays.
    pub replays: u64,
    /// How many were rolled back, of a bad release once it was bad.
    pub fired: u64,
    /// How many were rolled back before it was bad.
    pub early: u64,
    /// Seconds until half of all replays were rolled back.
    pub median: Option<u32>,
    /// Seconds until 95 % were.
    pub p95: Option<u32>,
    /// How many of the first replays were rolled back: those that every test run makes again.
    pub first_fired: u64,
    /// The seconds of these, added up.
    pub first_seconds: u64,
}

const HEAD: &str = "window;case;rule;replays;fired;early;median;p95;first_fired;first_seconds";

impl Row {
    /// The share that was rolled back.
    pub fn share(&self) -> f64 {
        self.fired as f64 / self.replays as f64
    }

    /// The 95 % confidence interval of that share, by Wilson.
    pub fn interval(&self) -> (f64, f64) {
        let (n, p, z) = (self.replays as f64, self.share(), 1.959_963_985_f64);
        let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        ((middle - half).max(0.0), (middle + half).min(1.0))
    }

    fn line(&self) -> String {
        let or_none = |n: Option<u32>| n.map(|n| n.to_string()).unwrap_or_default();
        let Self { window, case, rule, replays, fired, early, first_fired, first_seconds, .. } = self;
        let (median, p95) = (or_none(self.median), or_none(self.p95));
        format!("{window};{case};{rule};{replays};{fired};{early};{median};{p95};{first_fired};{first_seconds}\n")
    }

    fn parse(line: &str) -> Result<Self> {
        let fields: Vec<&str> = line.split(';').collect();
        let [window, case, rule, replays, fired, early, median, p95, first_fired, first_seconds] = fields[..] else {
            anyhow::bail!("not ten fields: {line}");
        };
        let or_none = |text: &str| if text.is_empty() { Ok(None) } else { text.parse().map(Some) };
        Ok(Self {
            window: window.parse()?,
            case: case.to_owned(),
            rule: rule.to_owned(),
            replays: replays.parse()?,
            fired: fired.parse()?,
            early: early.parse()?,
            median: or_none(median)?,
            p95: or_none(p95)?,
            first_fired: first_fired.parse()?,
            first_seconds: first_seconds.parse()?,
        })
    }
}

/// As a file.
pub fn write(rows: &[Row]) -> String {
    let mut text = format!("{HEAD}\n");
    text.extend(rows.iter().map(Row::line));
    text
}

/// From a file.
///
/// # Errors
/// Names the line that is none.
pub fn read(text: &str) -> Result<Vec<Row>> {
    let mut lines = text.lines();
    ensure!(lines.next() == Some(HEAD), "the first line is not {HEAD}");
    lines.map(|line| Row::parse(line).with_context(|| line.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fired: u64, replays: u64) -> Row {
        Row {
            window: 1800,
            case: "a".into(),
            rule: "cutover".into(),
            replays,
            fired,
            early: 0,
            median: Some(45),
            p95: None,
            first_fired: 1,
            first_seconds: 45,
        }
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let rows = vec![row(1, 10), row(0, 20)];
        assert_eq!(read(&write(&rows)).expect("rows"), rows);
        assert!(read("something;else\n").is_err() && read(&format!("{HEAD}\n1;2\n")).is_err());
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        // Wilson's interval of 5 in 100 is 0.0215 to 0.1118, of none in 100 it is 0 to 0.0370.
        let (low, high) = row(5, 100).interval();
        assert!((low - 0.0215).abs() < 5e-4 && (high - 0.1118).abs() < 5e-4, "{low} {high}");
        let (low, high) = row(0, 100).interval();
        assert!(low == 0.0 && (high - 0.0370).abs() < 5e-4, "{low} {high}");
    }
}
