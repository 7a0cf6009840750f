//! PURE. CEL: checked when the plan is made, evaluated when an answer is judged. Never panics, never runs long.
//!
//! The interpreter has no type checker and no cost limit of its own, so this file bounds what it is given: length,
//! nesting, loops inside loops, and texts or lists that grow. Errors name what is missing, never a value, since they end
//! up in the status.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, IdedExpr, Program};
use jiff::Timestamp;
use serde_json::Value;

use crate::api::duration::Duration;

use super::expr_check::{self, Chain, Facts};
use super::expr_matches;

pub use super::expr_check::MAX_LEN;

/// Steps of loops that one evaluation may take, estimated from the sizes of what is looped over.
const MAX_COST: u128 = 2_000_000;

/// The functions of the language. Building it takes longer than most evaluations; it never changes.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// The value of a variable.
#[derive(Clone, Debug, PartialEq)]
pub enum Var {
    /// Anything from JSON. Whole numbers become `int`, others `double`.
    Json(Value),
    /// A `duration`, such as `latency`.
    Duration(Duration),
    /// A `timestamp`, such as `now`.
    Time(Timestamp),
}

impl From<Value> for Var {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}

/// What an expression refers to beyond the names of its variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct References {
    /// `captures.NAME`.
    pub captures: BTreeSet<String>,
    /// `steps['NAME']`.
    pub steps: BTreeSet<String>,
}

/// Only whether [`references`] finds anything wrong.
#[cfg(test)]
pub(crate) fn compile_check(expr: &str, names: &[&str]) -> Result<(), String> {
    references(expr, names).map(drop)
}

/// Checks that `expr` is CEL within the bounds, refers to `names` only and is not obviously something else than a
/// condition; and what `captures` and `steps` it refers to.
pub(crate) fn references(expr: &str, names: &[&str]) -> Result<References, String> {
    let program = compile(expr)?;
    let facts = expr_check::examine(program.expression())?;
    if let Some(unknown) = facts.variables.iter().find(|v| !names.contains(&v.as_str())) {
        return Err(format!("{unknown:?} is not known here; known are {}", names.join(", ")));
    }
    if let Some(kind) = facts.result {
        return Err(format!("the expression gives {kind}, not true or false"));
    }
    Ok(References { captures: facts.captures, steps: facts.steps })
}

/// Evaluates a condition. An error is a text fit for a status: what is missing, or of the wrong type.
pub fn eval_bool(expr: &str, vars: &BTreeMap<String, Var>) -> Result<bool, String> {
    let (program, facts) = executable(expr)?;
    let mut context = context()?;
    let mut largest = facts.largest_literal;
    for name in &facts.variables {
        let Some(var) = vars.get(name) else { continue };
        context.add_variable_from_value(name.as_str(), to_cel(var, &mut largest));
    }
    let cost = (largest as u128) << facts.pluses;
    if facts.loops > 0 && cost.saturating_pow(facts.loops).saturating_mul(facts.loop_weight) > MAX_COST {
        return Err(format!("too much to loop over: a list or object of {largest} entries in {} loops", facts.loops));
    }
    match context.resolve(&program) {
        Ok(cel::Value::Bool(b)) => Ok(b),
        Ok(other) => Err(format!("the expression gives {}, not true or false", kind(&other))),
        Err(e) => Err(explain(&e, &facts.chains, vars)),
    }
}

/// Evaluates with variables whose types alone are meant, to find operations that can never work, such as a `double` times
/// an `int`. What depends on values, or on variables that are not given, is no error here.
pub(crate) fn check_types(expr: &str, vars: &BTreeMap<String, Var>) -> Result<(), String> {
    let (program, _) = executable(expr)?;
    let mut context = context()?;
    for (name, var) in vars {
        context.add_variable_from_value(name.as_str(), to_cel(var, &mut 0));
    }
    match context.resolve(&program) {
        Ok(cel::Value::Bool(_)) => Ok(()),
        Ok(other) => Err(format!("the expression gives {}, not true or false", kind(&other))),
        Err(
            e @ (ExecutionError::UnsupportedBinaryOperator(..)
            | ExecutionError::ValuesNotComparable(..)
            | ExecutionError::NoSuchOverload(_)
            | ExecutionError::UnsupportedIndex(..)),
        ) => Err(explain(&e, &[], vars)),
        Err(_) => Ok(()),
    }
}

/// What an expression looks at in the value of a variable, by its path: the whole paths alone. Empty where it is no
/// expression.
pub fn looked_at(expr: &str, root: &str, value: &Value) -> BTreeMap<String, Value> {
    let Ok(program) = compile(expr) else { return BTreeMap::new() };
    let Ok(facts) = expr_check::examine(program.expression()) else { return BTreeMap::new() };
    let chains: Vec<&Chain> = facts.chains.iter().filter(|c| c.root == root && !c.path.is_empty()).collect();
    // Of `a.b.c` the walk also meets `a.b`.
    let whole =
        chains.iter().filter(|c| !chains.iter().any(|o| o.path.len() > c.path.len() && o.path.starts_with(&c.path)));
    let found = whole.map(|chain| {
        let mut path = root.to_owned();
        let mut at = Some(value);
        for seg in &chain.path {
            at = at.and_then(|v| seg.of(v));
            path.push_str(&seg.to_string());
        }
        (path, at.cloned().unwrap_or(Value::Null))
    });
    found.collect()
}

/// What is evaluated of an expression, with what was found in it.
fn executable(expr: &str) -> Result<(IdedExpr, Facts), String> {
    let program = compile(expr)?;
    let facts = expr_check::examine(program.expression())?;
    let mut tree = program.expression().clone();
    expr_matches::rewrite(&mut tree);
    Ok((tree, facts))
}

fn context<'v>() -> Result<Context<'v, 'v>, String> {
    let mut context = Context::with_env(Arc::clone(&ENV));
    expr_matches::add(&mut context)?;
    Ok(context)
}

fn compile(expr: &str) -> Result<Program, String> {
    expr_check::bounded(expr)?;
    Program::compile(expr).map_err(|e| {
        let first = e.errors.first().map(|e| e.msg.lines().next().unwrap_or_default().to_owned());
        format!("not a CEL expression: {}", first.unwrap_or_default())
    })
}

/// Converts, noting the largest list or object. Depth is bounded by the JSON reader (128).
fn to_cel(var: &Var, largest: &mut usize) -> cel::Value {
    match var {
        Var::Json(v) => json_to_cel(v, largest),
        Var::Duration(d) => {
            cel::Value::Duration(chrono::Duration::milliseconds(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
        }
        Var::Time(t) => {
            let time =
                chrono::DateTime::from_timestamp(t.as_second(), u32::try_from(t.subsec_nanosecond()).unwrap_or(0));
            time.map_or(cel::Value::Null, |t| cel::Value::Timestamp(t.fixed_offset()))
        }
    }
}

fn json_to_cel(value: &Value, largest: &mut usize) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(b) => cel::Value::Bool(*b),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => cel::Value::Int(i),
            (None, Some(u)) => cel::Value::UInt(u),
            _ => cel::Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(s) => cel::Value::String(Arc::new(s.clone())),
        Value::Array(list) => {
            *largest = (*largest).max(list.len());
            cel::Value::List(Arc::new(list.iter().map(|v| json_to_cel(v, largest)).collect()))
        }
        Value::Object(map) => {
            *largest = (*largest).max(map.len());
            let map: std::collections::HashMap<Key, cel::Value> =
                map.iter().map(|(k, v)| (Key::String(Arc::new(k.clone())), json_to_cel(v, largest))).collect();
            cel::Value::Map(Map { map: Arc::new(map) })
        }
    }
}

/// A type by its name in the language.
fn kind(value: &cel::Value) -> String {
    match value {
        cel::Value::Float(_) => "double".to_owned(),
        other => other.type_of().to_string(),
    }
}

/// Puts an error of the interpreter into words. Its own texts print values, which may be secret.
fn explain(error: &ExecutionError, chains: &[Chain], vars: &BTreeMap<String, Var>) -> String {
    match error {
        ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) | ExecutionError::UndeclaredReference(_) => {
            let named = match error {
                ExecutionError::NoSuchKey(k) => format!("{k} is missing"),
                ExecutionError::UndeclaredReference(k) => format!("{k} is missing"),
                _ => "an index is beyond the end of its list".to_owned(),
            };
            // Of several parts that are not there, the one that the interpreter stumbled over.
            let paths: Vec<String> = chains.iter().filter_map(|c| missing(c, vars)).collect();
            let key = named.split(' ').next().unwrap_or_default();
            let path = paths.iter().find(|p| p.trim_end_matches("']").ends_with(key)).or(paths.first());
            path.map_or(named.clone(), |path| format!("{path} is missing"))
        }
        ExecutionError::ValuesNotComparable(a, b) => format!("cannot compare {} with {}", kind(a), kind(b)),
        ExecutionError::UnsupportedBinaryOperator(op, a, b) => format!("cannot {op} {} and {}", kind(a), kind(b)),
        ExecutionError::UnsupportedIndex(index, of) => format!("cannot index {} with {}", kind(of), kind(index)),
        ExecutionError::UnsupportedTargetType { target } => format!("wrong type: {}", kind(target)),
        ExecutionError::UnsupportedKeyType(key) => format!("{} cannot be a key", kind(key)),
        ExecutionError::NotSupportedAsMethod { method, target } => {
            format!("{method}() does not apply to {}", kind(target))
        }
        ExecutionError::UnexpectedType { got, want } => match chains.iter().find_map(|c| missing(c, vars)) {
            Some(path) => format!("{path} is missing"),
            None => format!("found {got} where {want} is needed"),
        },
        ExecutionError::NoSuchOverload(overload) => match chains.iter().find_map(|c| missing(c, vars)) {
            Some(path) => format!("{path} is missing"),
            None => {
                format!("{} does not apply to {}", plain(overload.function()), overload.argument_types().join(" and "))
            }
        },
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("a function wants {expected} arguments and got {actual}")
        }
        ExecutionError::FunctionError { function, .. } => format!("{function}() cannot work on its argument"),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".to_owned(),
        ExecutionError::Overflow(..) => "a number became too large".to_owned(),
        ExecutionError::DuplicateKey(_) => "a key is there twice".to_owned(),
        _ => "the expression cannot be evaluated".to_owned(),
    }
}

/// `_<_` as it is written: `<`.
fn plain(function: &str) -> String {
    function.trim_matches('_').replace("_", "").replace('@', "")
}

/// The first part of a chain such as `json.items[0].id` that is not there.
fn missing(chain: &Chain, vars: &BTreeMap<String, Var>) -> Option<String> {
    let mut path = chain.root.clone();
    let Some(var) = vars.get(&chain.root) else { return Some(path) };
    let Var::Json(value) = var else { return None };
    let mut at = value;
    for seg in &chain.path {
        path.push_str(&seg.to_string());
        match seg.of(at) {
            Some(value) => at = value,
            None => return Some(path),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HTTP: [&str; 9] = ["status", "headers", "body", "json", "latency", "captures", "release", "now", "steps"];

    fn vars() -> BTreeMap<String, Var> {
        let items = json!([{"id": 1, "p": 0.5}, {"id": 2}]);
        let json = json!({"status": "ok", "items": items, "big": u64::MAX, "none": null});
        [
            ("status", json!(200).into()),
            ("headers", json!({"content-type": "application/json"}).into()),
            ("body", json!("{\"status\":\"ok\"}").into()),
            ("json", json.into()),
            ("latency", Var::Duration(Duration::from_millis(1500))),
            ("captures", json!({"base": 0.01, "odd-name": "x"}).into()),
            ("release", json!({"version": "2.4.0"}).into()),
            ("now", Var::Time("2026-11-21T04:00:00.5Z".parse().unwrap_or_default())),
            ("steps", json!({"smoke": {"outcome": "Succeeded"}}).into()),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v))
        .collect()
    }

    fn eval(expr: &str) -> Result<bool, String> {
        eval_bool(expr, &vars())
    }

    #[test]
    fn what_an_expression_looks_at_is_told_by_path() {
        let object = json!({"status": {"ready": 2, "list": [{"type": "Ready"}]}, "data": {"a.b": "x"}});
        let at = |expr: &str| serde_json::to_value(looked_at(expr, "object", &object)).unwrap_or_default();
        assert_eq!(at("object.status.ready >= 2 && captures.x == 1"), json!({"object.status.ready": 2}));
        assert_eq!(
            at("object.data['a.b'] == object.status.none"),
            json!({"object.data['a.b']": "x", "object.status.none": null})
        );
        assert_eq!(
            at("object.status.list.exists(c, c.type == 'Ready')"),
            json!({"object.status.list": [{"type": "Ready"}]})
        );
        assert_eq!(at(")"), json!({}));
    }

    #[test]
    fn says_true_and_false() {
        for (expr, want) in [
            ("status == 200", true),
            ("status >= 200 && status < 300", true),
            ("json.status == 'ok'", true),
            ("latency < duration('2s')", true),
            ("latency < duration('1500ms')", false),
            ("latency == duration('1.5s')", true),
            ("now > timestamp('2026-11-21T00:00:00Z')", true),
            ("now - timestamp('2026-11-21T04:00:00Z') < duration('1s')", true),
            ("body.matches('\"ok\"') && body.startsWith('{') && body.contains('status')", true),
            ("size(json.items) == 2 && json.items.size() == 2", true),
            ("json.items.all(i, i.id > 0) && json.items.exists(i, i.id == 2)", true),
            ("json.items.filter(i, has(i.p)).size() == 1", true),
            ("has(json.nope)", false),
            ("'status' in json", true),
            ("captures.base < 0.02 && captures.base * 2.0 == 0.02", true),
            ("captures['odd-name'] == 'x'", true),
            ("steps['smoke'].outcome == 'Succeeded'", true),
            ("release.version == '2.4.0'", true),
            ("headers['content-type'] == 'application/json'", true),
            ("json.items[0].p < 1 && json.items[1].id + 1 == 3", true),
            ("json.big > 1", true),
            ("json.none == null", true),
            ("int('41') == 41 && double('1.5') > 1", true),
            ("has(json.a) ? json.a == 1 : status == 200", true),
            ("status == 200.0 && json.items[0].p * 2.0 == 1", true),
        ] {
            assert_eq!(compile_check(expr, &HTTP), Ok(()), "{expr}");
            assert_eq!(eval(expr), Ok(want), "{expr}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_no_value_is_shown() {
        for (expr, want) in [
            ("json.nope == 1", "json.nope is missing"),
            ("json.status == 'ok' && json.items[0].nope.deeper == 1", "json.items[0].nope is missing"),
            ("json.items[7].id == 1", "json.items[7] is missing"),
            ("headers['x-y'] == 'a'", "headers['x-y'] is missing"),
            ("json.status < 5", "< does not apply to string and int"),
            ("json.none.x == 1", "json.none.x is missing"),
            ("json.items", "the expression gives list, not true or false"),
            ("json.big / 0u == 1u", "division by zero"),
        ] {
            assert_eq!(eval(expr), Err(want.to_owned()), "{expr}");
        }
        let mut vars = vars();
        vars.remove("json");
        assert_eq!(eval_bool("json.status == 'ok'", &vars), Err("json is missing".into()));
        for expr in [
            "body < 5",
            "body + 1 == 2",
            "duration(body) > latency",
            "body.getHours() == 1",
            "body ? true : false",
            "int(body) == 1",
        ] {
            let error = eval(expr).expect_err(expr);
            assert!(!error.contains("ok"), "{expr}: {error}");
        }
    }

    #[test]
    fn refuses_what_could_not_be_judged() {
        for (expr, want) in [
            ("", "empty"),
            ("status ==", "not a CEL expression"),
            ("nope == 1", "\"nope\" is not known here; known are status"),
            ("status", "gives a number"),
            ("size(body)", "gives a number"),
            ("'a'", "gives a text"),
            ("frobnicate(status)", "frobnicate() is not a function"),
            ("body.matches('(')", "not a regular expression"),
            ("body.matches(json.p)", "quoted text"),
            ("json.?a == 1", "not a CEL expression"),
            ("a.b.C{x: 1} == 1", "cannot be built"),
            ("json.a.all(a, json.a.all(b, json.a.all(c, a == b)))", "more than 2 loops"),
            ("[0].map(b,b+b).map(c,c+c).map(d,d+d).map(e,e+e).map(f,f+f).size() == 1", "more than 4 `+`"),
        ] {
            let error = compile_check(expr, &HTTP).expect_err(expr);
            assert!(error.contains(want), "{expr}: {error}");
        }
        assert!(compile_check(&format!("status == {}", "1".repeat(600)), &HTTP).is_err());
    }

    #[test]
    fn finds_captures_and_steps() {
        let expr = "captures.a < 1 && captures['b'] < 2 && steps['x-1'].outcome == 'Failed' && json.captures.c";
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        let want = References { captures: set(&["a", "b"]), steps: set(&["x-1"]) };
        assert_eq!(references(expr, &HTTP), Ok(want));
    }

    #[test]
    fn a_long_list_is_not_looped_over_for_ever() {
        let mut vars = vars();
        vars.insert("json".into(), json!((0..20_000).collect::<Vec<_>>()).into());
        assert_eq!(eval_bool("json.all(a, a >= 0)", &vars), Ok(true));
        for expr in ["json.all(a, json.exists(b, a == b))", "json.all(a, string(a).matches('^[0-9]+$'))"] {
            assert!(eval_bool(expr, &vars).is_err_and(|e| e.contains("too much to loop over")), "{expr}");
        }
    }

    /// Odd texts: none may panic, overflow the stack or take long. Run on a stack half as large as a worker's.
    #[test]
    fn survives_odd_texts() {
        let nest = |open: &str, n: usize, close: &str| open.repeat(n) + "1" + &close.repeat(n);
        let mut odd: Vec<String> = include_str!("testdata/odd-expressions.txt").lines().map(str::to_owned).collect();
        odd.extend([
            nest("(", 12, ")"),
            nest("(", 250, ")"),
            nest("[", 12, "]"),
            nest("{1:", 12, "}"),
            nest("!", 500, ""),
            nest("-", 500, ""),
            nest("- ", 250, ""),
            nest("! ", 250, ""),
            nest("x.all(y,", 12, ")"),
            nest("size(", 12, ")"),
            nest("1+", 250, ""),
            nest("1<", 250, ""),
            nest("a&&", 160, ""),
            nest("a||", 160, ""),
            nest("a in ", 100, ""),
            nest("true?1:", 70, ""),
            nest("true?1:", 12, ""),
            nest("true?", 12, ":1"),
            "a.".repeat(250) + "a",
            "a[0]".repeat(120),
            "a.b()".to_owned() + &".b()".repeat(120),
            "\u{1F600}".to_owned(),
            "a\n.\nb".to_owned(),
            "'\u{0}'".to_owned(),
            "\u{feff}status".to_owned(),
        ]);
        // Every prefix and suffix of a good expression, and splices of it, the same ones each time.
        let good = "json.items.all(i, i.id > 0 && [1, 2u, 3.5, 'x', b'y', null][0] == 1 ? has(i.p) : {'a': -1}['a'] in [1]) \
                    || !(latency < duration('2s'))";
        let pieces = [
            "(", ")", "[", "]", "{", "}", ".", ",", "?", ":", "'", "\"", "\\", "!", "-", "&&", "1", "e", "u", "has",
            "all", "in", " ", "`", "\u{0}", "é", "0x", "//",
        ];
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = |n: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % n as u64).unwrap_or(0)
        };
        for i in 0..good.len() {
            odd.push(good[..i].to_owned());
            odd.push(good[i..].to_owned());
        }
        for _ in 0..1500 {
            let mut text = good.to_owned();
            for _ in 0..=next(4) {
                let at = next(text.len() + 1);
                if !text.is_char_boundary(at) {
                    continue;
                }
                match next(3) {
                    0 => text.truncate(at),
                    1 => text.insert_str(at, pieces[next(pieces.len())]),
                    _ if at < text.len() => drop(text.remove(at)),
                    _ => {}
                }
            }
            odd.push(text);
            odd.push((0..=next(30)).map(|_| pieces[next(pieces.len())]).collect());
        }
        let run = move || {
            let vars = vars();
            for text in &odd {
                let begun = std::time::Instant::now();
                let errors = [compile_check(text, &HTTP).err(), eval_bool(text, &vars).err()];
                assert!(begun.elapsed().as_secs() < 5, "slow: {text}");
                assert!(errors.iter().flatten().all(|e| !e.is_empty() && e.len() < 1000), "{text}: {errors:?}");
            }
        };
        let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run).expect("a thread");
        assert!(thread.join().is_ok(), "an odd text panicked");
    }
}
