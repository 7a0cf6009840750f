//! PURE. What of a text can be seen to be no PromQL of counters, before Prometheus is asked: the default rule adds up what
//! each counter grows by, so it needs them as they are.

use super::reach::{after_labels, after_text};

/// What yields counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counters {
    /// A plain vector selector.
    Selector,
    /// An expression, such as the difference of two counters.
    Expression,
}

/// What is wrong with a text, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub message: String,
    pub remedy: &'static str,
}

/// Functions of what has been a counter.
const RATES: [&str; 7] = ["rate", "irate", "increase", "delta", "idelta", "deriv", "resets"];
/// What adds up or picks counters.
const AGGREGATIONS: [&str; 12] =
    ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "topk", "bottomk", "quantile", "count_values"];

/// What a text yields, as far as that shows.
///
/// # Errors
/// It yields no counters as they are, or cannot be PromQL.
pub(crate) fn counters(text: &str) -> Result<Counters, Wrong> {
    let wrong = |message: String, remedy| Err(Wrong { message, remedy });
    let mut open = vec![];
    let mut rest = text;
    let mut last = ' ';
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '"' | '\'' | '`' => after_text(rest, c),
            '#' => rest.find('\n').map_or("", |end| &rest[end..]),
            '{' => {
                let after = after_labels(rest);
                if !rest[..rest.len() - after.len()].ends_with('}') {
                    return wrong("a { is not closed".into(), "write PromQL of counters");
                }
                after
            }
            '(' | '[' => {
                open.push(c);
                &rest[1..]
            }
            ')' | ']' => {
                if open.pop() != Some(if c == ')' { '(' } else { '[' }) {
                    return wrong(format!("a {c} closes nothing"), "write PromQL of counters");
                }
                &rest[1..]
            }
            c if c.is_ascii_alphabetic() || c == '_' || c == ':' => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c))).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                let next = after.trim_start();
                let called = next.starts_with('(') || next.starts_with("by") || next.starts_with("without");
                let is = |names: &[&str]| called && names.iter().any(|name| word.eq_ignore_ascii_case(name));
                if is(&RATES) {
                    let message = format!("{word} makes something else of the counter");
                    return wrong(message, "give the counter as it is: Cutover sees what it grows by");
                }
                if is(&AGGREGATIONS) {
                    let message = format!("{word} hides which counter begins anew with its pod");
                    return wrong(message, "give the counters as they are: Cutover adds up what each of them grows by");
                }
                after
            }
            c => &rest[c.len_utf8()..],
        };
        if !c.is_whitespace() && c != '#' {
            last = c;
        }
    }
    if let Some(c) = open.pop() {
        return wrong(format!("a {c} is not closed"), "write PromQL of counters");
    }
    if last == ']' {
        return wrong(
            "this is a range of samples".into(),
            "leave the range out: Cutover sees what the counter grows by",
        );
    }
    Ok(if is_selector(text.trim()) { Counters::Selector } else { Counters::Expression })
}

/// Whether a text is a name with or without labels, or labels alone.
fn is_selector(text: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let (name, labels) = (&text[..end], text[end..].trim_start());
    let named = name.chars().next().is_none_or(begins);
    named && (labels.is_empty() && !name.is_empty() || labels.starts_with('{') && after_labels(labels).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_selector_is_told_from_an_expression() {
        for selector in ["x", " http_requests_total{code=~\"5..\"} ", "{__name__=\"x\", a='}'}", "a:b {c=\"(\"}", "sum"]
        {
            assert_eq!(counters(selector), Ok(Counters::Selector), "{selector}");
        }
        for expression in [
            "x - y",
            "histogram_count(x)",
            "x offset 5m",
            "x # all of them",
            "(x)",
            "a{le=\"1\"} - ignoring(le) b",
            "last_over_time(x[1m])",
            "5",
            "x{a=\"1\"} or y{a=\"1\"}",
        ] {
            assert_eq!(counters(expression), Ok(Counters::Expression), "{expression}");
        }
    }

    #[test]
    fn what_is_no_counter_any_more_is_refused() {
        for (text, words) in [
            ("rate(x[5m])", "rate makes something else"),
            ("x - Increase (x[5m])", "Increase makes something else"),
            ("sum(x)", "sum hides"),
            ("sum by (pod) (x)", "sum hides"),
            ("x[5m]", "range of samples"),
            ("(x", "( is not closed"),
            ("x)", ") closes nothing"),
            ("x) or vector(1", ") closes nothing"),
            ("x{a=\"}\"", "{ is not closed"),
            ("x{a=\"", "{ is not closed"),
            ("(x]", "] closes nothing"),
        ] {
            assert!(counters(text).is_err_and(|w| w.message.contains(words)), "{text}: {:?}", counters(text));
        }
        // Words in texts and labels are no functions.
        assert!(counters("x{path=\"rate(\", sum=\"a\"} - y{by=\"sum(x)\"}").is_ok());
    }
}
