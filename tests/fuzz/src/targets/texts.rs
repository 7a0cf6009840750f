//! The little languages of a Cutover: the text on the first line, what it is applied to below. All of them end in bounded
//! time, and whatever is accepted when it is applied can be used later.

use std::collections::BTreeMap;

use cutover::entrances;
use cutover::plan::expr::{self, Var};
use cutover::plan::pattern::Pattern;
use cutover::plan::select;
use serde_json::{Value, json};

use super::setting;
use crate::oracle;

/// Longest error: the text itself, at most 1 KiB of it, stands in most.
const LONGEST: usize = 12 * 1024;

/// See [`crate::TARGETS`].
///
/// # Panics
/// Something does not hold.
pub fn run(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    let (text, on) = input.split_once('\n').unwrap_or((&input, ""));
    let json: Value = serde_json::from_str(on).unwrap_or_else(|_| Value::String(on.to_owned()));
    pattern(text, on);
    path(text, &json);
    expression(text, &json);
    variables(text, on);
    let reach = entrances::looks_back(text);
    assert_eq!(reach, entrances::looks_back(text));
}

fn pattern(text: &str, on: &str) {
    match Pattern::new(text) {
        Ok(pattern) => {
            let first = pattern.is_match(on);
            assert_eq!(first, Pattern::new(text).expect("compiled before").is_match(on), "{text:?} on {on:?}");
            // Another engine, where it knows the pattern and the text is short enough for any.
            if let Ok(found) = first {
                assert_eq!(select::matches(text, on), Ok(found), "{text:?} on {on:?}");
            }
        }
        Err(why) => oracle::bounded("an error", &why, LONGEST),
    }
}

fn path(text: &str, json: &Value) {
    let accepted = entrances::path(text);
    match select::first(json, text) {
        Ok(value) => {
            assert_eq!(accepted, Ok(()), "{text} selects, and is refused");
            assert!(value.to_string().len() <= 2048, "{} bytes are captured", value.to_string().len());
        }
        Err(why) => oracle::bounded("an error", &why, LONGEST),
    }
}

fn expression(text: &str, json: &Value) {
    let names = ["json", "status", "body", "captures"];
    if let Err(why) = entrances::expression(text, &names) {
        oracle::bounded("a refusal", &why, LONGEST);
    }
    let vars = BTreeMap::from([
        ("json".to_owned(), Var::Json(json.clone())),
        ("status".to_owned(), Var::Json(json!(200))),
        ("body".to_owned(), Var::Json(Value::String(json.to_string()))),
        ("captures".to_owned(), Var::Json(json!({"id": 7}))),
    ]);
    match expr::eval_bool(text, &vars) {
        Ok(found) => {
            assert_eq!(expr::eval_bool(text, &vars), Ok(found), "{text}");
        }
        Err(why) => oracle::bounded("an error", &why, LONGEST),
    }
    let looked = expr::looked_at(text, "json", json);
    assert!(looked.keys().all(|path| path.starts_with("json")), "{looked:?}");
}

/// A value cannot leave the place that it is put into.
fn variables(text: &str, value: &str) {
    let captures = BTreeMap::from([("id".to_owned(), Value::String(value.to_owned()))]);
    let plan = setting::plan();
    let known = entrances::variables(text);
    for (place, expanded) in entrances::expanded(&plan, &captures, text) {
        let Ok(expanded) = expanded else { continue };
        assert!(known.is_ok(), "{text} is expanded, and has what is no variable");
        oracle::bounded("an expanded text", &expanded, 64 * 1024);
        let own = text.replace("${id}", "");
        let escapes = |bad: &[char]| expanded.matches(bad).count() > own.matches(bad).count();
        match place {
            // `?`, `#` and `/` would end the segment.
            "path" => assert!(!escapes(&['/', '?', '#', ' ', '\r', '\n']), "{text} becomes {expanded}"),
            "json" => assert!(!escapes(&['\r', '\n', '\0']), "{text} becomes {expanded}"),
            "header" => assert!(!escapes(&['\r', '\n', '\0']), "{text} becomes {expanded}"),
            "image" => assert!(!escapes(&['/', ':', '@', ' ']), "{text} becomes {expanded}"),
            _ => {}
        }
    }
    let around = r#"{"a":"${id}"}"#;
    let bodies = entrances::expanded(&plan, &captures, around);
    if let Some((_, Ok(body))) = bodies.into_iter().find(|(place, _)| *place == "json") {
        let read: Value = serde_json::from_str(&body).expect("still JSON");
        assert_eq!(read, json!({"a": value}), "a value changes the structure around it");
    }
}
