//! Prometheus metrics of the application's own paths.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Upper bounds of the histogram in seconds.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Default)]
struct Numbers {
    by_code: BTreeMap<u16, u64>,
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

/// Counters of requests and of their durations.
pub struct Metrics {
    labels: String,
    numbers: Mutex<Numbers>,
}

impl Metrics {
    /// Metrics with the constant labels `app`, `colour` and `version`.
    pub fn new(app: &str, colour: &str, version: &str) -> Self {
        let labels = [("app", app), ("colour", colour), ("version", version)]
            .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
            .join(",");
        // Series that exist from the start: rate() of a counter that appears with
        // its first error would miss exactly that error.
        let by_code = BTreeMap::from([(200, 0), (500, 0)]);
        let numbers = Numbers { by_code, ..Numbers::default() };
        Self { labels, numbers: Mutex::new(numbers) }
    }

    /// Counts one answered request.
    pub fn observe(&self, code: u16, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        *numbers.by_code.entry(code).or_default() += 1;
        for (bucket, bound) in numbers.buckets.iter_mut().zip(BOUNDS) {
            if seconds <= bound {
                *bucket += 1;
            }
        }
        numbers.count += 1;
        numbers.sum += seconds;
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self) -> String {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = &self.labels;
        let mut text =
            String::from("# HELP http_requests_total Answered requests.\n# TYPE http_requests_total counter\n");
        // Writing to a String cannot fail.
        for (code, count) in &numbers.by_code {
            let _ = writeln!(text, "http_requests_total{{code=\"{code}\",{labels}}} {count}");
        }
        text.push_str(
            "# HELP http_request_duration_seconds Time to answer.\n\
             # TYPE http_request_duration_seconds histogram\n",
        );
        let name = "http_request_duration_seconds";
        for (bucket, bound) in numbers.buckets.iter().zip(BOUNDS) {
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {bucket}");
        }
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", numbers.count);
        let _ = writeln!(text, "{name}_sum{{{labels}}} {}", numbers.sum);
        let _ = writeln!(text, "{name}_count{{{labels}}} {}", numbers.count);
        text
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_holds_all_series_from_the_start() {
        let metrics = Metrics::new("shop", "green", "2.4.0");
        let text = metrics.render();
        let labels = r#"app="shop",colour="green",version="2.4.0""#;
        assert!(text.contains(&format!("http_requests_total{{code=\"500\",{labels}}} 0\n")));
        metrics.observe(500, Duration::from_millis(30));
        let text = metrics.render();
        assert!(text.contains(&format!("http_requests_total{{code=\"500\",{labels}}} 1\n")));
        assert!(text.contains(&format!("_bucket{{{labels},le=\"0.025\"}} 0\n")));
        assert!(text.contains(&format!("_bucket{{{labels},le=\"0.05\"}} 1\n")));
        assert!(text.contains(&format!("_bucket{{{labels},le=\"+Inf\"}} 1\n")));
    }
}
