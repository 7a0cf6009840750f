//! PURE. CEL: checked when the plan is made, evaluated when an answer is judged. Never panics, never runs long.
//!
//! The interpreter has no type checker and no cost limit of its own, so this file bounds what it is given: length,
//! nesting, loops inside loops, and texts or lists that grow. Errors name what is missing, never a value, since they end
//! up in the status.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cel::objects::{Key, Map};
use cel::{Context, ExecutionError, Program};
use jiff::Timestamp;
use serde_json::Value;

use crate::api::duration::Duration;

use super::expr_check::{self, Chain, Seg};

/// Longest expression.
pub const MAX_LEN: usize = 512;
/// Steps of loops that one evaluation may take, estimated from the sizes of what is looped over.
const MAX_COST: u128 = 2_000_000;

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
pub struct References {
    /// `captures.NAME`.
    pub captures: BTreeSet<String>,
    /// `steps['NAME']`.
    pub steps: BTreeSet<String>,
}

/// Checks that `expr` is CEL within the bounds, refers to `names` only and is not obviously something else than a
/// condition.
pub fn compile_check(expr: &str, names: &[&str]) -> Result<(), String> {
    references(expr, names).map(drop)
}

/// As [`compile_check`], and what `captures` and `steps` it refers to.
pub fn references(expr: &str, names: &[&str]) -> Result<References, String> {
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
    let program = compile(expr)?;
    let facts = expr_check::examine(program.expression())?;
    let mut context = Context::default();
    let mut largest = facts.largest_literal;
    for name in &facts.variables {
        let Some(var) = vars.get(name) else { continue };
        context.add_variable_from_value(name.as_str(), to_cel(var, &mut largest));
    }
    let cost = (largest as u128) << facts.pluses;
    if facts.loops > 0 && cost.saturating_pow(facts.loops).saturating_mul(facts.loop_weight) > MAX_COST {
        return Err(format!("too much to loop over: a list or object of {largest} entries in {} loops", facts.loops));
    }
    match program.execute(&context) {
        Ok(cel::Value::Bool(b)) => Ok(b),
        Ok(other) => Err(format!("the expression gives {}, not true or false", other.type_of())),
        Err(e) => Err(explain(&e, &facts.chains, vars)),
    }
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

/// Puts an error of the interpreter into words. Its own texts print values, which may be secret.
fn explain(error: &ExecutionError, chains: &[Chain], vars: &BTreeMap<String, Var>) -> String {
    let kind = |v: &cel::Value| v.type_of().to_string();
    match error {
        ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) | ExecutionError::UndeclaredReference(_) => {
            let named = match error {
                ExecutionError::NoSuchKey(k) => format!("{k} is missing"),
                ExecutionError::UndeclaredReference(k) => format!("{k} is missing"),
                _ => "an index is beyond the end of its list".to_owned(),
            };
            chains.iter().find_map(|c| missing(c, vars)).map_or(named, |path| format!("{path} is missing"))
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
    let Var::Json(mut at) = var.clone() else { return None };
    for seg in &chain.path {
        let (next, shown) = match seg {
            Seg::Key(k) if expr_check::is_ident(k) => (at.get(k.as_str()).cloned(), format!(".{k}")),
            Seg::Key(k) => (at.get(k.as_str()).cloned(), format!("['{k}']")),
            Seg::Index(i) => (at.get(*i).cloned(), format!("[{i}]")),
        };
        path.push_str(&shown);
        match next {
            Some(value) => at = value,
            None => return Some(path),
        }
    }
    None
}
