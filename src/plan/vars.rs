//! PURE. `${…}`: what may be named, and how a value is escaped where it is put.
//!
//! A value never changes the structure of what it is put into: it cannot leave its path segment, its JSON string, its
//! header line or its image tag. Only scalars are expanded. `$${` is a literal `${`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Plan;

/// Longest text after expansion.
pub(crate) const MAX_EXPANDED: usize = 64 * 1024;

/// Where a value is put, which says how it is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escape {
    /// Paths and queries of requests: percent-encoded; `.` and `..` as a whole segment are refused.
    PathSegment,
    /// Bodies: escaped as the content of a JSON string; numbers and booleans as they are.
    Json,
    /// Header values: printable ASCII only.
    Header,
    /// Form fields: as they are, since the form is encoded as a whole when it is sent.
    Form,
    /// Environment values of Jobs: `$` is doubled, so that the kubelet expands nothing in them.
    Env,
    /// Image references: characters of a tag only.
    Image,
}

/// Why a text cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VarError {
    /// No such variable, or not captured (yet).
    #[error("${{{0}}} has no value: it is neither a capture of an earlier step nor set in spec.release")]
    Missing(String),
    /// `${` without its end, or with something that is no name.
    #[error("{0:?} is not a variable: write ${{name}}, or $${{ for a literal ${{")]
    Syntax(String),
    /// An object, a list or null.
    #[error("${{{0}}} is not a text, number or boolean, so it cannot be put into a text")]
    NotScalar(String),
    /// A character that is not allowed there.
    #[error("the value of ${{{name}}} cannot be put into {place}: {why}")]
    Forbidden {
        name: String,
        /// Where it was to be put.
        place: &'static str,
        /// What is wrong; the value itself is not shown.
        why: &'static str,
    },
    /// The result is larger than any use allows.
    #[error("the text is longer than {MAX_EXPANDED} bytes once its variables are expanded")]
    TooLong,
}

/// The values of variables.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Vars {
    values: BTreeMap<String, Value>,
    /// The key of the run's Secret that holds it, by name.
    kept: BTreeMap<String, String>,
}

/// A part of an expanded text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bit {
    Text(String),
    /// What the run's Secret holds under this key.
    Kept(String),
}

/// What stands among the captures of a run for one that only its Secret holds: the key there.
pub(crate) fn kept_at(key: &str) -> Value {
    json!({ KEPT: key })
}

/// That key.
pub(crate) fn kept_key(value: &Value) -> Option<&str> {
    value.get(KEPT)?.as_str()
}

const KEPT: &str = "secretKey";

impl Vars {
    /// The variables of a run: its release, its sides and what was captured so far.
    pub fn new(plan: &Plan, captures: &BTreeMap<String, Value>) -> Self {
        let mut values = captures.clone();
        let key = |name: String| Some((name.clone(), kept_key(&values.remove(&name)?)?.to_owned()));
        let kept = plan.sensitive().into_iter().filter_map(key).collect();
        let release = &plan.release;
        for (name, value) in [
            ("release.version", &release.version),
            ("release.revision", &release.revision),
            ("release.tag", &release.tag),
        ] {
            if let Some(value) = value {
                values.insert(name.to_owned(), Value::String(value.clone()));
            }
        }
        // Set last: a capture cannot take these names (refused when the plan is made).
        values.insert("target".to_owned(), Value::String(plan.target.name.clone()));
        values.insert("old".to_owned(), Value::String(plan.old.name.clone()));
        Self { values, kept }
    }

    /// These.
    pub(crate) fn of(values: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self { values: values.into_iter().collect(), kept: BTreeMap::new() }
    }

    /// The variables in `text` that have no value (yet).
    pub(crate) fn unset(&self, text: &str) -> Vec<String> {
        let names = references(text).unwrap_or_default();
        names.into_iter().filter(|name| !self.values.contains_key(name) && !self.kept.contains_key(name)).collect()
    }

    /// The key of the run's Secret that holds all of `text`.
    pub(crate) fn whole(&self, text: &str) -> Option<&str> {
        let mut all = parts(text);
        match (all.next()?.ok()?, all.next()) {
            (Part::Var(name), None) => self.kept.get(name).map(String::as_str),
            _ => None,
        }
    }

    /// `text` with its variables expanded, but for those that only the run's Secret holds.
    pub(crate) fn bits(&self, text: &str, escape: Escape) -> Result<Vec<Bit>, VarError> {
        let mut bits = vec![];
        let mut plain = String::new();
        for part in parts(text) {
            match part? {
                Part::Literal(s) => plain.push_str(s),
                Part::Var(name) => match self.kept.get(name) {
                    Some(key) => bits.extend([Bit::Text(std::mem::take(&mut plain)), Bit::Kept(key.clone())]),
                    None => self.value(name, escape, &mut plain)?,
                },
            }
            if plain.len() > MAX_EXPANDED {
                return Err(VarError::TooLong);
            }
        }
        bits.push(Bit::Text(plain));
        Ok(bits)
    }

    fn value(&self, name: &str, escape: Escape, out: &mut String) -> Result<(), VarError> {
        let value = self.values.get(name).ok_or_else(|| VarError::Missing(name.to_owned()))?;
        put(out, name, value, escape)
    }

    /// `text` with its variables expanded.
    pub(crate) fn expand(&self, text: &str, escape: Escape) -> Result<String, VarError> {
        let mut out = String::with_capacity(text.len());
        let mut expanded = false;
        for part in parts(text) {
            match part? {
                Part::Literal(s) => out.push_str(s),
                Part::Var(name) => {
                    expanded = true;
                    self.value(name, escape, &mut out)?;
                }
            }
            if out.len() > MAX_EXPANDED {
                return Err(VarError::TooLong);
            }
        }
        if expanded && escape == Escape::PathSegment && has_dot_segment(&out) {
            return Err(VarError::Forbidden {
                name: references(text)?.into_iter().next().unwrap_or_default(),
                place: "a path",
                why: "it would make a segment `.` or `..`",
            });
        }
        Ok(out)
    }
}

/// The names that `text` refers to, in their order.
pub(crate) fn references(text: &str) -> Result<Vec<String>, VarError> {
    let mut names = vec![];
    for part in parts(text) {
        if let Part::Var(name) = part? {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

enum Part<'a> {
    Literal(&'a str),
    Var(&'a str),
}

/// Splits a text into literal parts and variables.
fn parts(text: &str) -> impl Iterator<Item = Result<Part<'_>, VarError>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some(tail) = rest.strip_prefix("$${") {
            rest = tail;
            return Some(Ok(Part::Literal("${")));
        }
        if let Some(tail) = rest.strip_prefix("${") {
            let Some((name, after)) = tail.split_once('}').filter(|(name, _)| is_name(name)) else {
                let shown = rest.chars().take(40).collect();
                rest = "";
                return Some(Err(VarError::Syntax(shown)));
            };
            rest = after;
            return Some(Ok(Part::Var(name)));
        }
        // Up to the next variable, or the next escaped one, whichever comes first.
        let at = match (rest.find("${"), rest.find("$${")) {
            (Some(a), Some(b)) => a.min(b),
            (Some(a), None) | (None, Some(a)) => a,
            (None, None) => rest.len(),
        };
        let (literal, tail) = rest.split_at(at);
        rest = tail;
        Some(Ok(Part::Literal(literal)))
    })
}

fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.split('.').all(|part| {
            part.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
}

fn put(out: &mut String, name: &str, value: &Value, escape: Escape) -> Result<(), VarError> {
    let text = match value {
        Value::String(s) => s.clone(),
        Value::Number(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return Err(VarError::NotScalar(name.to_owned())),
    };
    let forbidden = |place, why| VarError::Forbidden { name: name.to_owned(), place, why };
    match escape {
        Escape::PathSegment => {
            for b in text.bytes() {
                if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                    out.push(char::from(b));
                } else {
                    out.push_str(&format!("%{b:02X}"));
                }
            }
        }
        Escape::Json => {
            let quoted = Value::String(text).to_string();
            out.push_str(quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"')).unwrap_or_default());
        }
        Escape::Header => {
            if !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
                return Err(forbidden(
                    "a header",
                    "it holds a line break or another character that headers cannot carry",
                ));
            }
            out.push_str(&text);
        }
        Escape::Form => out.push_str(&text),
        Escape::Env => {
            if text.contains('\0') {
                return Err(forbidden("an environment", "it holds a NUL"));
            }
            out.push_str(&text.replace('$', "$$"));
        }
        Escape::Image => {
            if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
                return Err(forbidden("an image reference", "only letters, digits, `.`, `-` and `_` may stand there"));
            }
            out.push_str(&text);
        }
    }
    Ok(())
}

/// Whether the path (before any query) has a segment that a client or server would resolve away.
fn has_dot_segment(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.split(['/', '\\']).any(|s| matches!(s.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> Vars {
        let pairs = [
            ("release.version", json!("2.4.0")),
            ("evil", json!("a/b?c=\"d\"\r\n${x}%")),
            ("dots", json!("..")),
            ("dot", json!(".")),
            ("money", json!("$(TOKEN) $$")),
            ("n", json!(41.5)),
            ("yes", json!(true)),
            ("list", json!([1])),
        ];
        Vars::of(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)))
    }

    #[test]
    fn a_value_cannot_leave_its_place() {
        let v = vars();
        assert_eq!(v.expand("/x/${evil}", Escape::PathSegment), Ok("/x/a%2Fb%3Fc%3D%22d%22%0D%0A%24%7Bx%7D%25".into()));
        assert_eq!(v.expand(r#"{"a":"${evil}"}"#, Escape::Json), Ok(r#"{"a":"a/b?c=\"d\"\r\n${x}%"}"#.into()));
        assert!(matches!(v.expand("x ${evil}", Escape::Header), Err(VarError::Forbidden { .. })));
        assert!(matches!(v.expand("r/i:${evil}", Escape::Image), Err(VarError::Forbidden { .. })));
        assert_eq!(v.expand("${money}", Escape::Env), Ok("$$(TOKEN) $$$$".into()));
        assert_eq!(v.expand("${money}", Escape::Form), Ok("$(TOKEN) $$".into()));
        for path in ["/a/${dots}/b", "/a/.${dot}", "/${dot}?x=1", "/%2e${dot}/"] {
            assert!(matches!(v.expand(path, Escape::PathSegment), Err(VarError::Forbidden { .. })), "{path}");
        }
        assert_eq!(v.expand("/a?x=${dots}", Escape::PathSegment), Ok("/a?x=..".into()));
    }

    #[test]
    fn literals_stay_and_scalars_keep_their_form() {
        let v = vars();
        assert_eq!(
            v.expand("$${n} $ $n {} ${n} ${yes} ${release.version}", Escape::Json),
            Ok("${n} $ $n {} 41.5 true 2.4.0".into())
        );
        assert_eq!(v.expand("price $$5 $$${n}", Escape::Header), Ok("price $$5 $${n}".into()));
        assert_eq!(v.expand("", Escape::Json), Ok(String::new()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let v = vars();
        assert_eq!(v.expand("${nope}", Escape::Json), Err(VarError::Missing("nope".into())));
        assert!(v.expand("${nope}", Escape::Json).is_err_and(|e| e.to_string().starts_with("${nope} has no value")));
        assert_eq!(v.expand("${list}", Escape::Json), Err(VarError::NotScalar("list".into())));
        for text in ["${", "${}", "${a b}", "${1}", "x${n", "${a.}", "${ü}"] {
            assert!(matches!(v.expand(text, Escape::Json), Err(VarError::Syntax(_))), "{text}");
        }
        assert_eq!(references("$${a} ${b}/${c.d}"), Ok(vec!["b".into(), "c.d".into()]));
    }
}
