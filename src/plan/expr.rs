//! PURE. CEL: checked when the plan is made, evaluated when an answer is judged. Never panics, never runs long.
//!
//! The interpreter has no type checker and no cost limit of its own, so what it is given is bounded: length, nesting and
//! loops inside loops when the plan is made (`expr_check`), what an evaluation may take and build before it begins
//! (`expr_cost`). Errors name what is missing, never a value, since they end up in the status.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, IdedExpr, Program};
use jiff::Timestamp;
use serde_json::Value;

use crate::api::duration::Duration;

use super::expr_check::{self, Chain, Facts};
use super::expr_cost;
use super::expr_matches;

pub use super::expr_check::MAX_LEN;

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

/// Why a condition has no value, as a text fit for a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Something is missing, or of the wrong type.
    Wrong(String),
    /// It would take too long, or too much room, with these values. It says nothing about them.
    Beyond(String),
}

impl Fault {
    /// The text.
    pub fn text(self) -> String {
        match self {
            Self::Wrong(why) | Self::Beyond(why) => why,
        }
    }
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

/// [`eval`] for whom it does not matter why there is no value.
pub fn eval_bool(expr: &str, vars: &BTreeMap<String, Var>) -> Result<bool, String> {
    eval(expr, vars).map_err(Fault::text)
}

/// Evaluates a condition.
pub fn eval(expr: &str, vars: &BTreeMap<String, Var>) -> Result<bool, Fault> {
    let (program, facts) = executable(expr, vars)?;
    let mut context = context()?;
    for name in &facts.variables {
        let Some(var) = vars.get(name) else { continue };
        context.add_variable_from_value(name.as_str(), to_cel(var));
    }
    match context.resolve(&program) {
        Ok(cel::Value::Bool(b)) => Ok(b),
        Ok(other) => Err(Fault::Wrong(format!("the expression gives {}, not true or false", kind(&other)))),
        // Its patterns were compiled when the plan was made: what is left is that one takes too long.
        Err(ExecutionError::FunctionError { function, message }) if function == expr_matches::MATCHES => {
            Err(Fault::Beyond(message))
        }
        Err(e) => Err(explain(&e, &facts.chains, vars).into()),
    }
}

/// Evaluates with variables whose types alone are meant, to find operations that can never work, such as a `double` times
/// an `int`. What depends on values, or on variables that are not given, is no error here.
pub(crate) fn check_types(expr: &str, vars: &BTreeMap<String, Var>) -> Result<(), String> {
    let (program, _) = executable(expr, vars).map_err(Fault::text)?;
    let mut context = context()?;
    for (name, var) in vars {
        context.add_variable_from_value(name.as_str(), to_cel(var));
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

/// What is evaluated of an expression with these variables, and what was found in it.
fn executable(expr: &str, vars: &BTreeMap<String, Var>) -> Result<(IdedExpr, Facts), Fault> {
    let program = compile(expr)?;
    let facts = expr_check::examine(program.expression())?;
    let json = |name: &str| match vars.get(name)? {
        Var::Json(value) => Some(value),
        Var::Duration(_) | Var::Time(_) => None,
    };
    expr_cost::bounded(program.expression(), &json).map_err(Fault::Beyond)?;
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

/// Depth is bounded by the JSON reader (128).
fn to_cel(var: &Var) -> cel::Value {
    match var {
        Var::Json(v) => json_to_cel(v),
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

fn json_to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(b) => cel::Value::Bool(*b),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => cel::Value::Int(i),
            (None, Some(u)) => cel::Value::UInt(u),
            _ => cel::Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(s) => cel::Value::String(Arc::new(s.clone())),
        Value::Array(list) => cel::Value::List(Arc::new(list.iter().map(json_to_cel).collect())),
        Value::Object(map) => {
            let map: std::collections::HashMap<Key, cel::Value> =
                map.iter().map(|(k, v)| (Key::String(Arc::new(k.clone())), json_to_cel(v))).collect();
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
#[path = "expr_tests.rs"]
mod tests;
