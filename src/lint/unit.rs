//! PURE. Whether a query is a share for certain, between 0 and 1: a metric divided by the same metric. What is not understood
//! is none.

use std::collections::BTreeSet;

/// Words of PromQL that are no metric.
const WORDS: [&str; 12] =
    ["by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool", "and", "or", "unless", "start"];
/// Words after which labels stand in parentheses.
const GROUPS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Whether the query divides a metric by the same metric, and does nothing else with the result.
pub(super) fn is_share(query: &str) -> bool {
    let Some((bad, all)) = divided(query) else { return false };
    let (bad, all) = (metrics(bad), metrics(all));
    bad.len() == 1 && bad == all
}

/// Both sides of the one division of a query, if that is all it does at its top.
fn divided(query: &str) -> Option<(&str, &str)> {
    let query = unwrapped(query.trim());
    let mut depth = 0_usize;
    let mut quote = None;
    let mut found = None;
    for (at, c) in query.char_indices() {
        match (quote, c) {
            (Some(open), c) => quote = (c != open).then_some(open),
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(' | '{' | '[') => depth += 1,
            (None, ')' | '}' | ']') => depth = depth.checked_sub(1)?,
            (None, '/') if depth == 0 && found.is_none() => found = Some(at),
            // Comments and any other operation: it may be anything.
            (None, '#' | '/' | '*' | '+' | '-' | '%' | '^' | '<' | '>' | '=' | '!') if depth == 0 => return None,
            (None, _) => {}
        }
    }
    let at = found?;
    let (bad, all) = (query.get(..at)?, query.get(at + 1..)?);
    let changes = |side: &str| ["and", "or", "unless"].iter().any(|word| side.split_whitespace().any(|w| w == *word));
    (!changes(bad) && !changes(all)).then_some((bad, all))
}

/// Without the parentheses around all of it.
fn unwrapped(query: &str) -> &str {
    let inner = query.strip_prefix('(').and_then(|q| q.strip_suffix(')'));
    let balanced = |q: &&str| {
        let mut depth = 0_i32;
        q.chars().all(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth >= 0
        })
    };
    inner.filter(balanced).map_or(query, |inner| unwrapped(inner.trim()))
}

/// What comes after this character.
fn after(text: &str, close: char) -> &str {
    text.find(close).map_or("", |end| text.get(end + close.len_utf8()..).unwrap_or_default())
}

/// The names of metrics in a part of a query.
fn metrics(part: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut rest = part;
    while let Some(c) = rest.chars().next() {
        let word_char = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        rest = match c {
            '{' => after(rest, '}'),
            '[' => after(rest, ']'),
            '"' | '\'' | '`' => after(&rest[1..], c),
            c if word_char(c) => {
                let end = rest.find(|c| !word_char(c)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                let after = after.trim_start();
                let called = after.starts_with('(') || ["by", "without"].iter().any(|group| after.starts_with(group));
                let number = word.starts_with(|c: char| c.is_ascii_digit());
                if GROUPS.contains(&word) && after.starts_with('(') {
                    self::after(after, ')')
                } else {
                    if !called && !number && !WORDS.contains(&word) {
                        found.insert(word);
                    }
                    after
                }
            }
            c => &rest[c.len_utf8()..],
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_divided_by_itself_is_a_share() {
        for query in [
            r#"sum(rate(http_requests_total{code=~"5.."}[1m])) / sum(rate(http_requests_total[1m]))"#,
            r#"(sum by (app) (rate(r{app="a/b"}[1m])) / on (app) group_left () sum by (app) (rate(r[1m])))"#,
            "a offset 5m / a",
        ] {
            assert!(is_share(query), "{query}");
        }
        for query in [
            "sum(rate(r[1m]))",
            "100 * sum(rate(r{code=\"500\"}[1m])) / sum(rate(r[1m]))",
            "sum(rate(r{code=\"500\"}[1m])) / sum(rate(r[1m])) * 100",
            "sum(rate(latency_sum[1m])) / sum(rate(latency_count[1m]))",
            "sum(rate(failed_total[1m])) / sum(rate(r_total[1m]))",
            "histogram_quantile(0.9, sum by (le) (rate(r_bucket[1m])))",
            "1 - a / a",
            "a / a > 0.5",
            "a / (a + b)",
            "a / a / a",
            "",
            ")",
            "a / 'a",
        ] {
            assert!(!is_share(query), "{query}");
        }
    }
}
