//! PURE. What a scalar of YAML is to kubectl: the rules of YAML 1.1, without its dates (they stay text) and its numbers to
//! the base 60.

use serde_json::Number;

use super::Kind;

/// Reads a scalar; `tag` is that of the core schema, such as `str`.
pub(super) fn read(text: &str, plain: bool, tag: Option<&str>) -> Result<Kind, String> {
    match tag {
        Some("str" | "binary" | "timestamp") => Ok(Kind::Text(text.to_owned())),
        None if !plain => Ok(Kind::Text(text.to_owned())),
        None => resolve(text),
        Some(wanted) => {
            let kind = resolve(text)?;
            let right = matches!(
                (wanted, &kind),
                ("bool", Kind::Bool(_)) | ("null", Kind::Null) | ("int" | "float", Kind::Number(_))
            );
            if right { Ok(kind) } else { Err(format!("this is no {wanted}")) }
        }
    }
}

fn resolve(text: &str) -> Result<Kind, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Kind::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Kind::Bool(false),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => return Err("this number has no form in JSON; give it quotes if a text is meant".into()),
        _ => number(text).map_or_else(|| Kind::Text(text.to_owned()), Kind::Number),
    })
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) || is_date(text) {
        return None;
    }
    if text.starts_with('.') {
        return decimal(text);
    }
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    whole(digits, negative).or_else(|| decimal(&plain))
}

fn whole(digits: &str, negative: bool) -> Option<Number> {
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    if !negative {
        return Some(value.into());
    }
    i64::try_from(-i128::from(value)).ok().map(Number::from)
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
fn decimal(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let right = match mantissa.split_once('.') {
        None => all_digits(mantissa),
        Some(("", after)) => all_digits(after),
        Some((before, after)) => all_digits(before) && (after.is_empty() || all_digits(after)),
    };
    let exponent = exponent.is_none_or(|e| all_digits(e.strip_prefix(['-', '+']).unwrap_or(e)));
    if !(right && exponent) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // A whole number reads back as one, as it does from JSON.
    if value.fract() == 0.0 && value.abs() < 9.0e15 { Some((value as i64).into()) } else { Number::from_f64(value) }
}

/// `2026-11-20` and longer: text to kubectl, and no number here either.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 4 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-'
}
