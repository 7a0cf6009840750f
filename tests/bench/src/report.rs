//! Figures: raw values, medians and percentiles, as a table and as JSON.

use serde::Serialize;

/// One figure, as measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// Short and stable.
    pub id: String,
    /// In words.
    pub title: String,
    /// Such as ms.
    pub unit: &'static str,
    /// What was done, and which instants or counts were taken.
    pub method: String,
    /// Every repetition, in its order.
    pub values: Vec<f64>,
    /// What was promised.
    pub target: Option<Target>,
    /// Argo Rollouts' figure in the same unit, where there is one, with what it is.
    pub argo: Option<Argo>,
    /// What the values come to.
    pub summary: Summary,
}

/// What was promised: at most so much, or at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Target {
    /// Of the median.
    pub median: Option<f64>,
    /// Of the 95th percentile.
    pub p95: Option<f64>,
    /// Of every repetition.
    pub max: Option<f64>,
    /// At least so much, of every repetition.
    pub least: Option<f64>,
}

/// Argo Rollouts' figure.
#[derive(Clone, Debug, Serialize)]
pub struct Argo {
    /// The value; none where it never came to an end.
    pub value: Option<f64>,
    /// What it is.
    pub what: String,
}

/// What values come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// How many.
    pub n: usize,
    /// The least.
    pub min: f64,
    /// Half of them are at most this.
    pub median: f64,
    /// 95 % of them are at most this (nearest rank).
    pub p95: f64,
    /// The most.
    pub max: f64,
}

impl Summary {
    /// Of these values.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => 0.0,
            n if n % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Self { n: sorted.len(), min: rank(0.0), median, p95: rank(0.95), max: rank(1.0) }
    }
}

impl Figure {
    /// From its values.
    pub fn new(id: &str, title: &str, unit: &'static str, method: &str, values: Vec<f64>) -> Self {
        let summary = Summary::of(&values);
        let method = method.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { id: id.into(), title: title.into(), unit, method, values, target: None, argo: None, summary }
    }

    /// With what was promised.
    pub fn target(mut self, median: Option<f64>, p95: Option<f64>, max: Option<f64>) -> Self {
        self.target = Some(Target { median, p95, max, least: None });
        self
    }

    /// With what was promised of every repetition, at least.
    pub fn at_least(mut self, least: f64) -> Self {
        self.target = Some(Target { least: Some(least), ..Target::default() });
        self
    }

    /// With Argo Rollouts' figure.
    pub fn argo(mut self, value: Option<f64>, what: &str) -> Self {
        self.argo = Some(Argo { value, what: what.into() });
        self
    }

    /// Whether what was promised holds; `None` where nothing was.
    pub fn kept(&self) -> Option<bool> {
        let target = self.target?;
        let within = |bound: Option<f64>, value: f64| bound.is_none_or(|bound| value <= bound);
        let Summary { min, median, p95, max, .. } = self.summary;
        let enough = target.least.is_none_or(|least| min >= least);
        Some(within(target.median, median) && within(target.p95, p95) && within(target.max, max) && enough)
    }

    fn promise(&self) -> String {
        let Some(target) = self.target else { return "-".into() };
        let parts = [("p50", target.median), ("p95", target.p95), ("max", target.max)];
        let most = parts.iter().filter_map(|(name, bound)| bound.map(|b| format!("{name} ≤ {}", number(b))));
        let parts: Vec<String> = most.chain(target.least.map(|b| format!("min ≥ {}", number(b)))).collect();
        parts.join(", ")
    }
}

/// How often the API server was asked, by verb and resource: the medians of all repetitions.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// In words.
    pub title: String,
    /// Verb and resource with the median count.
    pub rows: Vec<(String, f64)>,
}

/// Everything of one bench.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When it began.
    pub started: String,
    /// Machine, versions and load beside it.
    pub machine: Vec<(String, String)>,
    /// Figures in their order.
    pub figures: Vec<Figure>,
    /// Requests.
    pub requests: Vec<Requests>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
}

impl Report {
    /// Titles of the figures that are not as they were promised.
    pub fn missed(&self) -> Vec<&str> {
        self.figures.iter().filter(|f| f.kept() == Some(false)).map(|f| f.title.as_str()).collect()
    }

    /// The table as text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.machine {
            out += &format!("{name:<18} {value}\n");
        }
        let head = ["FIGURE", "UNIT", "N", "MIN", "MEDIAN", "P95", "MAX", "TARGET", "", "ARGO ROLLOUTS"];
        let mut rows: Vec<Vec<String>> = vec![head.map(String::from).to_vec()];
        for figure in &self.figures {
            let Summary { n, min, median, p95, max } = figure.summary;
            let kept = match figure.kept() {
                Some(true) => "kept",
                Some(false) => "MISSED",
                None => "",
            };
            let argo = figure.argo.as_ref().map_or_else(|| "-".into(), |a| a.what.clone());
            let mut row = vec![figure.title.clone(), figure.unit.into(), n.to_string()];
            row.extend([min, median, p95, max].map(number));
            row.extend([figure.promise(), kept.into(), argo]);
            rows.push(row);
        }
        out += "\n";
        out += &columns(&rows);
        for requests in &self.requests {
            out += &format!("\n{}\n", requests.title);
            let mut rows: Vec<Vec<String>> =
                requests.rows.iter().map(|(what, count)| vec![format!("  {what}"), number(*count)]).collect();
            rows.push(vec!["  all".into(), number(requests.rows.iter().fold(0.0, |sum, row| sum + row.1))]);
            out += &columns(&rows);
        }
        for failure in &self.failures {
            out += &format!("\nNOT MEASURED: {failure}\n");
        }
        out
    }
}

/// Short, and not more exact than it is.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_nearest_ranks() {
        let twenty: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        let s = Summary::of(&twenty);
        assert_eq!((s.n, s.min, s.median, s.p95, s.max), (20, 1.0, 10.5, 19.0, 20.0));
        assert_eq!(Summary::of(&[3.0]), Summary { n: 1, min: 3.0, median: 3.0, p95: 3.0, max: 3.0 });
        assert_eq!(Summary::of(&[]), Summary::default());
    }

    #[test]
    fn a_promise_is_kept_by_every_part_of_it() {
        let figure = |values: &[f64]| Figure::new("f", "F", "ms", "m", values.to_vec());
        assert_eq!(figure(&[1.0]).kept(), None);
        assert_eq!(figure(&[10.0, 20.0, 30.0]).target(Some(20.0), Some(30.0), None).kept(), Some(true));
        assert_eq!(figure(&[10.0, 20.0, 31.0]).target(Some(20.0), Some(30.0), None).kept(), Some(false));
        assert_eq!(figure(&[10.0, 21.0, 22.0]).target(Some(20.0), Some(30.0), None).kept(), Some(false));
        assert_eq!(figure(&[99.0, 100.0]).at_least(99.0).kept(), Some(true));
        assert_eq!(figure(&[98.9, 100.0]).at_least(99.0).kept(), Some(false));
        assert_eq!(figure(&[]).at_least(99.0).promise(), "min ≥ 99");
    }
}
