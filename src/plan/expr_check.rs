//! PURE. What a CEL expression is made of, and whether it stays within the bounds of expressions.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr, LiteralValue};

use super::select;

/// Longest expression.
pub const MAX_LEN: usize = 512;
/// Deepest bracket in the text; the parser descends some ten calls for each.
const MAX_BRACKETS: usize = 12;
/// Deepest expression.
const MAX_DEPTH: usize = 32;
/// Most operators of one kind that grow a text or list.
const MAX_PLUSES: u32 = 4;
/// Most loops inside loops.
const MAX_LOOPS: u32 = 2;

/// Functions of the language that may be called. Macros are expanded before this is looked at.
const FUNCTIONS: [&str; 21] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "duration",
    "timestamp",
    "int",
    "uint",
    "double",
    "string",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Names that are not bound by a loop.
    pub variables: BTreeSet<String>,
    /// `captures.NAME`.
    pub captures: BTreeSet<String>,
    /// `steps['NAME']`.
    pub steps: BTreeSet<String>,
    /// Selections on variables by constant keys, for naming what is missing.
    pub(crate) chains: Vec<Chain>,
    /// What the whole gives, where that is certainly no boolean.
    pub result: Option<&'static str>,
}

/// `json.items[0].id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub root: String,
    pub path: Vec<Seg>,
}

/// A constant key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seg {
    Key(String),
    Index(usize),
}

impl Seg {
    /// What it leads to.
    pub(super) fn of<'v>(&self, value: &'v serde_json::Value) -> Option<&'v serde_json::Value> {
        match self {
            Self::Key(key) => value.get(key.as_str()),
            Self::Index(i) => value.get(*i),
        }
    }
}

impl std::fmt::Display for Seg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(k) if is_ident(k) => write!(f, ".{k}"),
            Self::Key(k) => write!(f, "['{k}']"),
            Self::Index(i) => write!(f, "[{i}]"),
        }
    }
}

/// Whether a key may be written after a dot.
pub(super) fn is_ident(s: &str) -> bool {
    s.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Bounds on the text, looked at before the (recursive) parser sees it.
pub(super) fn bounded(expr: &str) -> Result<(), String> {
    if expr.trim().is_empty() {
        return Err("the expression is empty".into());
    }
    if expr.len() > MAX_LEN {
        return Err(format!("the expression is longer than {MAX_LEN} bytes"));
    }
    if expr.chars().any(|c| c == '\0' || c == '`' || (c.is_control() && !c.is_whitespace())) {
        return Err("the expression holds a control character or a backtick".into());
    }
    // Brackets in quoted texts are counted too: strings that hold a dozen open ones are not worth a lexer.
    let mut depth = 0usize;
    for c in expr.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_BRACKETS {
            return Err(format!("the expression nests deeper than {MAX_BRACKETS} brackets"));
        }
    }
    // `?:` is the one operator without brackets that the parser descends into.
    if expr.matches('?').count() > MAX_BRACKETS {
        return Err(format!("the expression has more than {MAX_BRACKETS} `?`"));
    }
    Ok(())
}

/// Walks the expression; refuses what is out of bounds.
pub(super) fn examine(expr: &IdedExpr) -> Result<Facts, String> {
    let mut walk = Walk { facts: Facts::default(), bound: vec![], loops: 0, pluses: 0 };
    walk.expr(expr, 0)?;
    walk.facts.result = certain_type(&expr.expr);
    Ok(walk.facts)
}

struct Walk<'e> {
    facts: Facts,
    bound: Vec<&'e str>,
    /// Loops around this place.
    loops: u32,
    /// `+` between texts or lists, at most.
    pluses: u32,
}

impl<'e> Walk<'e> {
    fn expr(&mut self, e: &'e IdedExpr, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("the expression nests deeper than {MAX_DEPTH} operations: split it into several"));
        }
        let deeper = depth + 1;
        if let Some(chain) = chain_of(&e.expr, &|name| self.bound.contains(&name)) {
            self.note_chain(chain);
        }
        match &e.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => {
                let name = name.trim_start_matches('.');
                if !name.starts_with('@') && !self.bound.contains(&name) {
                    self.facts.variables.insert(name.to_owned());
                }
                Ok(())
            }
            Expr::Select(s) => self.expr(&s.operand, deeper),
            Expr::Call(call) => {
                let name = call.func_name.as_str();
                if name.starts_with(|c: char| c.is_ascii_alphabetic()) && !FUNCTIONS.contains(&name) {
                    return Err(format!("{name}() is not a function that may be used here"));
                }
                if name == "matches" {
                    regex(call.args.last())?;
                }
                if name == "_+_"
                    && !call.args.first().is_some_and(|a| matches!(&a.expr, Expr::Ident(i) if i.starts_with('@')))
                {
                    self.pluses += 1;
                    if self.pluses > MAX_PLUSES {
                        return Err(format!("the expression has more than {MAX_PLUSES} `+`"));
                    }
                }
                call.target.iter().try_for_each(|t| self.expr(t, deeper))?;
                call.args.iter().try_for_each(|a| self.expr(a, deeper))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|x| self.expr(x, deeper)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(m) => {
                            self.expr(&m.key, deeper)?;
                            self.expr(&m.value, deeper)?;
                        }
                        EntryExpr::StructField(_) => return Err("messages cannot be built here".into()),
                    }
                }
                Ok(())
            }
            Expr::Struct(_) => Err("messages cannot be built here".into()),
            Expr::Comprehension(c) => {
                self.expr(&c.iter_range, deeper)?;
                self.expr(&c.accu_init, deeper)?;
                self.loops += 1;
                if self.loops > MAX_LOOPS {
                    return Err(format!("more than {MAX_LOOPS} loops (all, exists, map, filter) inside one another"));
                }
                let bound = self.bound.len();
                self.bound.push(&c.iter_var);
                self.bound.extend(c.iter_var2.as_deref());
                self.expr(&c.loop_cond, deeper)?;
                self.expr(&c.loop_step, deeper)?;
                self.expr(&c.result, deeper)?;
                self.bound.truncate(bound);
                self.loops -= 1;
                Ok(())
            }
        }
    }

    fn note_chain(&mut self, chain: Chain) {
        if let Some(Seg::Key(key)) = chain.path.first() {
            match chain.root.as_str() {
                "captures" => self.facts.captures.insert(key.clone()),
                "steps" => self.facts.steps.insert(key.clone()),
                _ => false,
            };
        }
        self.facts.chains.push(chain);
    }
}

/// The pattern must be written out, so that it can be checked before anything depends on it.
fn regex(pattern: Option<&IdedExpr>) -> Result<(), String> {
    let Some(Expr::Literal(LiteralValue::String(text))) = pattern.map(|p| &p.expr) else {
        return Err("matches() wants its regular expression as a quoted text".into());
    };
    select::check_regex(text.inner())
}

/// `a.b['c'][0]` with a free variable at its root, which no loop binds.
pub(super) fn chain_of(e: &Expr, bound: &dyn Fn(&str) -> bool) -> Option<Chain> {
    let mut path = vec![];
    let mut at = e;
    loop {
        match at {
            Expr::Ident(name) if !name.starts_with('@') && !bound(name) => {
                path.reverse();
                return Some(Chain { root: name.clone(), path });
            }
            Expr::Select(s) if !s.test => {
                path.push(Seg::Key(s.field.clone()));
                at = &s.operand.expr;
            }
            Expr::Call(c) if c.func_name == "_[_]" => {
                let [of, index] = c.args.as_slice() else { return None };
                path.push(match &index.expr {
                    Expr::Literal(LiteralValue::String(s)) => Seg::Key(s.inner().to_owned()),
                    Expr::Literal(LiteralValue::Int(i)) => Seg::Index(usize::try_from(*i.inner()).ok()?),
                    _ => return None,
                });
                at = &of.expr;
            }
            _ => return None,
        }
    }
}

/// The type of the result, where it is certain and no boolean.
fn certain_type(e: &Expr) -> Option<&'static str> {
    match e {
        Expr::Literal(LiteralValue::Boolean(_)) => None,
        Expr::Literal(LiteralValue::String(_)) => Some("a text"),
        Expr::Literal(LiteralValue::Null) => Some("null"),
        Expr::Literal(_) => Some("a number"),
        Expr::List(_) => Some("a list"),
        Expr::Map(_) => Some("a map"),
        Expr::Call(c) => match c.func_name.as_str() {
            "_+_" | "_-_" | "_*_" | "_/_" | "_%_" | "-_" | "size" | "int" | "uint" | "double" => Some("a number"),
            "string" => Some("a text"),
            "duration" => Some("a duration"),
            "timestamp" => Some("a timestamp"),
            _ => None,
        },
        Expr::Ident(name) => match name.as_str() {
            "status" | "exitCode" | "value" | "daysLeft" => Some("a number"),
            "names" => Some("a list"),
            "body" | "issuer" | "protocol" => Some("a text"),
            "headers" | "object" | "captures" | "release" | "steps" => Some("a map"),
            "latency" => Some("a duration"),
            "now" => Some("a timestamp"),
            _ => None,
        },
        _ => None,
    }
}
