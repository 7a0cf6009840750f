//! PURE. How far a PromQL query looks back: its ranges, subqueries and offsets, those of a nested expression added up. A
//! sample that looks back over the switch says something about both sides.
//!
//! A recorded metric shows none of what its rule looks at, and a plain one may be as old as its last scrape: both have no
//! reach here, and `metric.reach` says more.

use crate::api::duration::Duration;

/// What has been read of one level of parentheses.
#[derive(Clone, Copy, Default)]
struct Level {
    /// The furthest operand so far.
    most: u64,
    /// The operand that is being read.
    operand: u64,
}

impl Level {
    fn look_back(&mut self, millis: u64) {
        self.operand = self.operand.saturating_add(millis);
        self.most = self.most.max(self.operand);
    }
}

/// How far a query looks back, as far as its text says it. What cannot be understood counts as nothing: Prometheus says what
/// is wrong with a query.
pub(crate) fn reach(query: &str) -> Duration {
    let mut levels = vec![Level::default()];
    let mut rest = query;
    while let Some(c) = rest.chars().next() {
        let here = levels.len() - 1;
        rest = match c {
            '"' | '\'' | '`' => after_text(rest, c),
            '#' => rest.find('\n').map_or("", |end| &rest[end..]),
            // The labels of a selector: nothing in there looks back.
            '{' => after_labels(rest),
            '(' => {
                levels.push(Level::default());
                &rest[1..]
            }
            ')' => {
                if let Some(inner) = levels.pop_if(|_| here > 0)
                    && let Some(outer) = levels.last_mut()
                {
                    outer.operand = inner.most;
                    outer.most = outer.most.max(inner.most);
                }
                &rest[1..]
            }
            '[' => {
                let inside = &rest[1..rest.find(']').unwrap_or(rest.len())];
                let range = inside.split(':').next().unwrap_or_default();
                levels[here].look_back(millis(range.trim()));
                rest.get(inside.len() + 2..).unwrap_or_default()
            }
            c if c.is_alphanumeric() || c == '_' || c == ':' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || "_:.".contains(c))).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                if word.eq_ignore_ascii_case("offset") {
                    let back = after.trim_start();
                    let end = back.find(|c: char| !c.is_alphanumeric()).unwrap_or(back.len());
                    levels[here].look_back(millis(&back[..end]));
                    &back[end..]
                } else {
                    levels[here].operand = 0;
                    after
                }
            }
            c => &rest[c.len_utf8()..],
        };
    }
    Duration::from_millis(levels.first().map_or(0, |level| level.most))
}

/// What follows a text in quotes.
pub(super) fn after_text(rest: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == quote && !escaped {
            return &rest[at + 1..];
        }
        escaped = c == '\\' && !escaped && quote != '`';
    }
    ""
}

/// What follows the labels of a selector.
pub(super) fn after_labels(rest: &str) -> &str {
    let mut left = &rest[1..];
    while let Some(at) = left.find(['"', '\'', '`', '}']) {
        match left[at..].chars().next() {
            Some('}') | None => return &left[at + 1..],
            Some(quote) => left = after_text(&left[at..], quote),
        }
    }
    ""
}

/// A duration of PromQL, such as `1h30m`; a plain number is seconds.
fn millis(text: &str) -> u64 {
    let (mut all, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let after = &rest[digits..];
        let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let scale: u64 = match &after[..unit] {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return 0,
        };
        let Ok(number) = rest[..digits].parse::<u64>() else { return 0 };
        all = all.saturating_add(number.saturating_mul(scale));
        rest = &after[unit..];
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_subqueries_and_offsets_of_nested_expressions_add_up() {
        for (query, seconds) in [
            ("up", 0),
            ("job:errors:rate5m", 0),
            ("sum(rate(errors_total[5m])) / sum(rate(requests_total[2m]))", 300),
            ("rate(x{path=~\"/a[0-9]{2}\", y='[9h]'}[1m30s])", 90),
            ("max_over_time(rate(x[5m])[30m:1m])", 2100),
            ("rate(x[5m] offset 1h) > bool 3", 3900),
            ("x offset 10m + rate(y[1m])", 600),
            ("sum by (code) (rate(x[1h])) # [9d]\n", 3600),
            ("histogram_quantile(0.99, sum by (le) (rate(latency_bucket[45s])))", 45),
            ("avg_over_time((a - b offset 5m)[10m:])", 900),
            ("rate(x[300])", 300),
            ("x OFFSET 2m", 120),
            ("x offset -5m", 0),
            // Nothing that can be understood, and nothing that breaks.
            ("rate(x[5", 0),
            ("rate(x[5q]))) {", 0),
            ("'", 0),
            ("{\"", 0),
        ] {
            assert_eq!(reach(query), Duration::from_secs(seconds), "{query}");
        }
    }
}
