//! PURE. JSONPath (RFC 9535) for captures and regular expressions for log lines, both bounded.
//!
//! Patterns come from whoever may create a Cutover, and what they are applied to comes from any server: neither may cost
//! more than a moment. What bounds regular expressions stands in `pattern`; of JSONPath those forms are refused whose cost
//! can grow faster than the document.

use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;

use super::pattern::{MAX_LEN, Pattern};

/// Largest value that is captured, as JSON.
const MAX_VALUE: usize = 2048;
/// Deepest bracket in a JSONPath.
const MAX_NESTING: usize = 8;
/// Most commas in a JSONPath: each may multiply what is selected.
const MAX_UNIONS: usize = 8;

/// Whether `path` is a JSONPath that this operator evaluates.
pub(crate) fn check_path(path: &str) -> Result<(), String> {
    bounded_path(path)?;
    parse_json_path(path)
        .map(drop)
        .map_err(|e| format!("{path:?} is not a JSONPath (RFC 9535): {}", one_line(&e.to_string())))
}

/// The first value that `path` selects in `value`, if it is small enough to be kept in the run.
pub fn first(value: &Value, path: &str) -> Result<Value, String> {
    let value = all(value, path)?.into_iter().next().ok_or_else(|| nothing(path))?;
    if serde_json::to_vec(value).map_or(usize::MAX, |v| v.len()) > MAX_VALUE {
        return Err(format!("{path} selects more than {MAX_VALUE} bytes: capture a single value"));
    }
    Ok(value.clone())
}

/// The one value that `path` selects in `value`.
pub(crate) fn only<'v>(value: &'v Value, path: &str) -> Result<&'v Value, String> {
    match all(value, path)?.as_slice() {
        [] => Err(nothing(path)),
        [one] => Ok(one),
        many => Err(format!("{path} selects {} values where one is needed", many.len())),
    }
}

fn nothing(path: &str) -> String {
    format!("{path} selects nothing in the answer")
}

fn all<'v>(value: &'v Value, path: &str) -> Result<Vec<&'v Value>, String> {
    bounded_path(path)?;
    let query =
        parse_json_path(path).map_err(|e| format!("{path:?} is not a JSONPath: {}", one_line(&e.to_string())))?;
    let found = js_path_process(&query, value).map_err(|e| format!("{path}: {}", one_line(&e.to_string())))?;
    Ok(found.into_iter().map(|r| r.val).collect())
}

/// Whether `pattern` is a regular expression of bounded size.
pub(crate) fn check_regex(pattern: &str) -> Result<(), String> {
    Pattern::new(pattern).map(drop)
}

/// Whether any line of `text` matches `pattern`.
pub(crate) fn matches_line(pattern: &str, text: &str) -> Result<bool, String> {
    let pattern = Pattern::new(pattern)?;
    let mut search = pattern.search();
    for line in text.lines() {
        if search.is_match(line)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the whole of `text`, line breaks included, is matched somewhere by `pattern`.
pub fn matches(pattern: &str, text: &str) -> Result<bool, String> {
    Pattern::new(pattern)?.is_match(text)
}

/// The last line that says something: parsers print the input above it.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).rfind(|l| !l.is_empty()).unwrap_or_default().to_owned()
}

/// Refuses paths whose cost can explode: several `..`, several or nested filters, many unions.
fn bounded_path(path: &str) -> Result<(), String> {
    if path.len() > MAX_LEN {
        return Err(format!("the JSONPath is longer than {MAX_LEN} bytes"));
    }
    if !path.starts_with('$') {
        return Err(format!("{path:?} is not a JSONPath: it begins with $"));
    }
    let (mut descents, mut filters, mut roots, mut unions, mut depth) = (0, 0, 0, 0, 0usize);
    let mut quote = None;
    let mut escaped = false;
    let mut previous = ' ';
    // What stands outside of quotes.
    let mut word = String::new();
    for c in path.chars() {
        if let Some(q) = quote {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == q => quote = None,
                _ => {}
            }
            continue;
        }
        match c {
            '\'' | '"' => quote = Some(c),
            // Of the language's functions these alone take regular expressions, with an engine that may take forever.
            '(' if ["match", "search"].iter().any(|name| word.trim_end().ends_with(name)) => {
                return Err(format!("{path:?} uses a regular expression: write a path that names what it selects"));
            }
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            '.' if previous == '.' => descents += 1,
            '?' => filters += 1,
            '$' => roots += 1,
            ',' => unions += 1,
            _ => {}
        }
        word.push(c);
        if depth > MAX_NESTING {
            return Err(format!("{path:?} nests deeper than {MAX_NESTING} brackets"));
        }
        previous = c;
    }
    let refuse = |what: &str| Err(format!("{path:?} {what}: write a path that names what it selects"));
    match () {
        () if descents > 1 => refuse("uses `..` more than once"),
        () if filters > 1 => refuse("uses more than one filter"),
        () if roots > 1 => refuse("uses `$` inside a filter"),
        () if filters > 0 && descents > 0 => refuse("uses both `..` and a filter"),
        () if unions > MAX_UNIONS => refuse("lists too many selectors"),
        // Each selects the whole document's worth of places, and a place is kept with its path.
        () if descents > 0 && unions > 1 => refuse("lists too many selectors beside `..`"),
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn captures_the_first_match_or_says_what_is_missing() {
        let body =
            json!({"pack_id": "p-1", "items": [{"id": 7, "ok": false}, {"id": 8, "ok": true}], "a": {"b": null}});
        assert_eq!(first(&body, "$.pack_id"), Ok(json!("p-1")));
        assert_eq!(first(&body, "$['items'][1].id"), Ok(json!(8)));
        assert_eq!(first(&body, "$.items[?@.ok == true].id"), Ok(json!(8)));
        assert_eq!(first(&body, "$..id"), Ok(json!(7)));
        assert_eq!(first(&body, "$.a.b"), Ok(json!(null)));
        let large = json!({"a": "x".repeat(3000)});
        assert_eq!(first(&large, "$.a"), Err("$.a selects more than 2048 bytes: capture a single value".into()));
        assert_eq!(first(&body, "$.nope"), Err("$.nope selects nothing in the answer".into()));
    }

    #[test]
    fn refuses_paths_that_are_wrong_or_could_explode() {
        for path in [
            "",
            "pack_id",
            "$.",
            "$[",
            "$[?",
            "$..*..*",
            "$[?@.a][?@.b]",
            "$..[?@.a]",
            "$[?$..a]",
            "$[0,0][0,0][0,0][0,0][0,0][0,0][0,0][0,0][0,0]",
            "$[[[[[[[[[[",
            "$[?match(@.a, '(?:a{1,98}){1,98}x')]",
            "$[?search(@.a, 'x')]",
            "$..[0,0,0]",
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
        assert!(check_path(&format!("$.{}", "a".repeat(300))).is_err());
        for path in ["$['a..b','?','$','match(']", "$.search[0]", "$.match[?length(@.a) == 1]"] {
            assert_eq!(check_path(path), Ok(()), "quoted text and names are no operators");
        }
    }

    #[test]
    fn matches_lines_not_texts() {
        let log = "start\nbackup bytes=12345678\nend";
        assert_eq!(matches_line("^backup bytes=[1-9][0-9]{6,}$", log), Ok(true));
        assert_eq!(matches_line("^bytes", log), Ok(false));
        assert_eq!(matches("(?s)start.*end", log), Ok(true));
    }

    #[test]
    fn refuses_regular_expressions_that_are_wrong_or_huge() {
        for pattern in ["(", "a{1000}{1000}{1000}", "(?P<", "\\p{Nope}", &"(".repeat(200), &"a".repeat(300)] {
            assert!(check_regex(pattern).is_err(), "{pattern}");
        }
        assert!(check_regex("(").is_err_and(|e| e.contains("unclosed group")));
    }
}
