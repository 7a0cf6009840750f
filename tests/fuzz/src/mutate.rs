//! Inputs made worse: as bytes, and as JSON, whose structure stays intact so that what is behind the parser is reached.

use serde_json::{Map, Value, json};

use crate::rng::Rng;

/// No input is made longer.
pub const LONGEST: usize = 256 * 1024;

/// Texts that have broken programs: they steer terminals, begin structures, or lie at the edge of a type.
const TEXTS: [&str; 25] = [
    "",
    "\u{1b}]0;title\u{7}\u{1b}[1A\u{202e}mine\nnext: kubectl delete namespace prod",
    "\u{0}",
    "\r\n",
    "\u{2028}\u{feff}\u{200b}",
    "${",
    "$${release.version}",
    "${release.version}",
    "../..",
    "NaN",
    "-Inf",
    "1e400",
    "-0",
    "18446744073709551616",
    "9999-12-31T23:59:59.999999999Z",
    "-9999-01-01T00:00:00Z",
    "2026-01-01T00:00:00Z",
    "PT0S",
    "2562047788015h",
    "undo/migrate",
    "approve/migrate",
    "accepted",
    "restore",
    "decision",
    "Bearer SECRET",
];

/// Bytes that begin, end or part something in one of the formats.
const BYTES: &[u8] = b"\0\r\n\t \"'\\/{}[](),:;.$*?|+-0123456789eE<>=&#%@!~`_aZ\x1b\x7f\x80\xc3\xe2\xff\x30\x82\x84";

/// An input made of one of the corpus and, at times, a part of another one.
pub fn mutated(rng: &mut Rng, of: &[u8], other: &[u8], is_json: bool) -> Vec<u8> {
    if is_json
        && !rng.one_in(8)
        && let Ok(mut value) = serde_json::from_slice::<Value>(of)
    {
        let other = serde_json::from_slice(other).unwrap_or(Value::Null);
        for _ in 0..=rng.below(4) {
            change(rng, &mut value, &other);
        }
        let made = value.to_string().into_bytes();
        if made.len() <= LONGEST {
            return made;
        }
    }
    bytes(rng, of, other)
}

fn bytes(rng: &mut Rng, of: &[u8], other: &[u8]) -> Vec<u8> {
    let mut made = of.to_vec();
    for _ in 0..=rng.below(6) {
        let at = rng.below(made.len() + 1);
        let end = (at + 1 + rng.below(16)).min(made.len());
        match rng.below(10) {
            0 if at < made.len() => made[at] ^= 1 << rng.below(8),
            1 if at < made.len() => made[at] = *rng.of(BYTES),
            2 => made.insert(at, *rng.of(BYTES)),
            3 => drop(made.drain(at..end.max(at))),
            4 => made.truncate(at),
            5 => {
                let part = made[at..end.max(at)].to_vec();
                let times = 1 + rng.below(40);
                made.splice(at..at, part.repeat(times));
            }
            6 => drop(made.splice(at..at, rng.of(&TEXTS).bytes())),
            7 if !other.is_empty() => {
                let from = rng.below(other.len());
                let to = (from + 1 + rng.below(64)).min(other.len());
                made.splice(at..end.max(at), other[from..to].iter().copied());
            }
            8 => digits(rng, &mut made),
            _ if !other.is_empty() => {
                made.truncate(at);
                made.extend_from_slice(&other[rng.below(other.len())..]);
            }
            _ => made.push(*rng.of(BYTES)),
        }
        made.truncate(LONGEST);
    }
    made
}

/// Another number in the place of one.
fn digits(rng: &mut Rng, made: &mut Vec<u8>) {
    let places: Vec<usize> = (0..made.len()).filter(|at| made[*at].is_ascii_digit()).collect();
    if places.is_empty() {
        return;
    }
    let at = *rng.of(&places);
    let end = (at..made.len()).find(|at| !made[*at].is_ascii_digit()).unwrap_or(made.len());
    let number = rng.of(&["0", "1", "-1", "65536", "4294967296", "9223372036854775808", "1e309", "00", "999"]);
    made.splice(at..end, number.bytes());
}

/// One change somewhere in a value.
pub fn change(rng: &mut Rng, value: &mut Value, other: &Value) {
    let count = nodes(value);
    let at = rng.below(count);
    let strangers = nodes(other);
    let stranger = node(other, &mut rng.below(strangers)).cloned().unwrap_or(Value::Null);
    let own = node(value, &mut rng.below(count)).cloned().unwrap_or(Value::Null);
    let Some(place) = node_mut(value, &mut { at }) else { return };
    match (rng.below(8), &mut *place) {
        (0, place) => *place = stranger,
        (1, place) => *place = own,
        (2, place) => *place = any(rng),
        (3 | 4, Value::Object(map)) if !map.is_empty() => {
            let keys: Vec<String> = map.keys().cloned().collect();
            let key = rng.of(&keys);
            if rng.one_in(2) {
                map.remove(key);
            } else {
                let with = any(rng);
                map.insert(key.clone(), with);
            }
        }
        (_, Value::Object(map)) => {
            let key = rng.of(&TEXTS).to_string();
            map.insert(key, own);
        }
        (3 | 4, Value::Array(list)) if !list.is_empty() => {
            let at = rng.below(list.len());
            match rng.below(3) {
                0 => drop(list.remove(at)),
                1 => list.insert(at, own),
                _ => {
                    let again = list[at].clone();
                    let most = if rng.one_in(10) { 300 } else { 3 };
                    let times = 1 + rng.below(most);
                    list.extend(std::iter::repeat_n(again, times));
                }
            }
        }
        (_, Value::Array(list)) => list.reverse(),
        (_, Value::String(text)) => match rng.below(4) {
            0 => text.push_str(TEXTS[rng.below(TEXTS.len())]),
            1 => *text = (*rng.of(&TEXTS)).to_owned(),
            2 => {
                let most = if rng.one_in(20) { 2000 } else { 3 };
                *text = text.repeat(1 + rng.below(most));
            }
            _ => *text = text.chars().rev().collect(),
        },
        (_, Value::Number(n)) => {
            let n = n.as_f64().unwrap_or_default();
            let numbers = [
                json!(n + 1.0),
                json!(0),
                json!(-1),
                json!(u64::MAX),
                json!(i64::MIN),
                json!(1e300),
                json!(0.5),
                json!(n + 0.1),
                json!(n / 3.0),
            ];
            *place = rng.of(&numbers).clone();
        }
        (_, Value::Bool(b)) => *b = !*b,
        (_, place) => *place = any(rng),
    }
}

fn any(rng: &mut Rng) -> Value {
    match rng.below(8) {
        0 => Value::Null,
        1 => json!(rng.one_in(2)),
        2 => json!(rng.number()),
        3 => json!([]),
        4 => Value::Object(Map::new()),
        5 => (0..64).fold(Value::Null, |inner, _| json!([inner])),
        _ => json!(rng.of(&TEXTS)),
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(nodes).sum(),
        Value::Object(map) => map.values().map(nodes).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The node of a number, counted from the root.
fn node<'a>(value: &'a Value, left: &mut usize) -> Option<&'a Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(list) => list.iter().find_map(|inner| node(inner, left)),
        Value::Object(map) => map.values().find_map(|inner| node(inner, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn node_mut<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(list) => list.iter_mut().find_map(|inner| node_mut(inner, left)),
        Value::Object(map) => map.values_mut().find_map(|inner| node_mut(inner, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
