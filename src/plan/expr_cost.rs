//! PURE. What an evaluation of a CEL expression may take, found before it begins: from the expression and from the values that
//! it is given. The interpreter has no limit of its own, and a short expression can compare, copy or build everything it is
//! given for every entry of a list: half a minute and gigabytes for an answer of 64 KiB.
//!
//! What is counted are upper bounds. A step is a node of the expression that is evaluated, or a value, or [`TEXT`] bytes of
//! text that are looked at: up to some 0.2 µs. Which entries a loop meets is known only by the largest of them.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue};
use serde_json::Value;

use super::expr_check::chain_of;

/// Steps of one evaluation: a tenth of a second, a quarter where the machine is slow.
const MAX_STEPS: u64 = 1_500_000;
/// Values, and pieces of text, that one evaluation may build: up to some 100 bytes each.
const MAX_BUILT: u64 = 200_000;
/// Bytes of text that count as much as a value.
const TEXT: usize = 16;
/// Looking for a pattern takes a few steps, whatever the text; the pattern's own budget bounds the rest.
const PATTERN: u64 = 16;

/// How large a value is, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    /// With everything in it.
    whole: u64,
    /// Entries, where it is a list or an object.
    entries: u64,
    /// The largest of them, with everything in it.
    largest: u64,
    /// Certainly an object: a key is found without looking at the others.
    keyed: bool,
}

const SCALAR: Extent = Extent { whole: 1, entries: 0, largest: 1, keyed: false };

impl Extent {
    fn text(bytes: usize) -> Self {
        Self { whole: 1 + (bytes / TEXT) as u64, ..SCALAR }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => SCALAR,
            Value::String(text) => Self::text(text.len()),
            Value::Array(list) => Self::of_entries(list.iter().map(|v| Self::of(v).whole)),
            Value::Object(map) => {
                let entries = map.iter().map(|(key, v)| Self::text(key.len()).whole + Self::of(v).whole);
                Self { keyed: true, ..Self::of_entries(entries) }
            }
        }
    }

    fn of_entries(sizes: impl Iterator<Item = u64>) -> Self {
        sizes.fold(SCALAR, |all, size| Self {
            whole: all.whole.saturating_add(size),
            entries: all.entries + 1,
            largest: all.largest.max(size),
            keyed: false,
        })
    }

    /// Of what is in it nothing more is known.
    fn entry(self) -> Self {
        Self { whole: self.largest, entries: self.largest, largest: self.largest, keyed: false }
    }

    fn or(self, other: Self) -> Self {
        Self {
            whole: self.whole.max(other.whole),
            entries: self.entries.max(other.entries),
            largest: self.largest.max(other.largest),
            keyed: self.keyed && other.keyed,
        }
    }

    /// Both, one after the other.
    fn and(self, other: Self) -> Self {
        Self {
            whole: self.whole.saturating_add(other.whole),
            entries: self.entries.saturating_add(other.entries),
            largest: self.largest.max(other.largest),
            keyed: false,
        }
    }

    fn times(self, n: u64) -> Self {
        Self { whole: self.whole.saturating_mul(n), entries: self.entries.saturating_mul(n), ..self }
    }
}

/// What JSON a variable holds, if it holds any.
pub(super) type Given<'e> = &'e dyn Fn(&str) -> Option<&'e Value>;

/// Whether an evaluation ends in time and in little memory.
///
/// # Errors
/// It may not; in words for a status.
pub(super) fn bounded<'e>(expr: &'e IdedExpr, given: Given<'e>) -> Result<(), String> {
    let mut estimate = Estimate { given, bound: vec![], times: 1, steps: 0, built: 0 };
    estimate.expr(expr);
    let Estimate { steps, built, .. } = estimate;
    if steps > MAX_STEPS {
        return Err(format!(
            "too much to loop over: up to {steps} steps, of which {MAX_STEPS} are allowed; look at fewer entries, or at less of each"
        ));
    }
    if built > MAX_BUILT {
        return Err(format!("it may build up to {built} values, of which {MAX_BUILT} are allowed"));
    }
    Ok(())
}

struct Estimate<'e> {
    given: Given<'e>,
    /// Variables of loops.
    bound: Vec<(&'e str, Extent)>,
    /// How often what is looked at now is evaluated.
    times: u64,
    steps: u64,
    built: u64,
}

impl<'e> Estimate<'e> {
    fn takes(&mut self, steps: u64) {
        self.steps = self.steps.saturating_add(steps.saturating_mul(self.times));
    }

    fn builds(&mut self, what: Extent) -> Extent {
        self.built = self.built.saturating_add(what.whole.saturating_mul(self.times));
        self.takes(what.whole);
        what
    }

    fn expr(&mut self, e: &'e IdedExpr) -> Extent {
        self.takes(1);
        if let Some(chain) = chain_of(&e.expr, &|name| self.bound.iter().any(|(bound, _)| *bound == name)) {
            self.takes(chain.path.len() as u64);
            let value =
                (self.given)(&chain.root).and_then(|root| chain.path.iter().try_fold(root, |at, seg| seg.of(at)));
            return value.map_or(SCALAR, Extent::of);
        }
        match &e.expr {
            Expr::Unspecified | Expr::Struct(_) => SCALAR,
            Expr::Literal(LiteralValue::String(text)) => Extent::text(text.inner().len()),
            Expr::Literal(LiteralValue::Bytes(bytes)) => Extent::text(bytes.inner().len()),
            Expr::Literal(_) => SCALAR,
            Expr::Ident(name) => {
                self.bound.iter().rev().find(|(bound, _)| bound == name).map_or(SCALAR, |(_, extent)| *extent)
            }
            Expr::Select(select) => {
                let of = self.expr(&select.operand);
                if select.test { SCALAR } else { of.entry() }
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                let sizes: Vec<u64> = list.elements.iter().map(|x| self.expr(x).whole).collect();
                self.builds(Extent::of_entries(sizes.into_iter()))
            }
            Expr::Map(map) => {
                let mut sizes = vec![];
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        sizes.push(self.expr(&entry.key).and(self.expr(&entry.value)).whole);
                    }
                }
                self.builds(Extent { keyed: true, ..Extent::of_entries(sizes.into_iter()) })
            }
            Expr::Comprehension(of) => self.comprehension(of),
        }
    }

    fn call(&mut self, call: &'e CallExpr) -> Extent {
        let operands: Vec<Extent> = call.target.iter().map(|t| &**t).chain(&call.args).map(|x| self.expr(x)).collect();
        let all = operands.iter().fold(0u64, |sum, operand| sum.saturating_add(operand.whole));
        let first = operands.first().copied().unwrap_or(SCALAR);
        let last = operands.last().copied().unwrap_or(SCALAR);
        match call.func_name.as_str() {
            "_&&_" | "_||_" | "!_" | "@not_strictly_false" => SCALAR,
            "_?_:_" => operands.iter().skip(1).fold(SCALAR, |any, branch| any.or(*branch)),
            "_==_" | "_!=_" => {
                self.takes(first.whole.min(last.whole));
                SCALAR
            }
            "@in" if last.keyed => {
                self.takes(first.whole);
                SCALAR
            }
            "_[_]" => {
                self.takes(last.whole);
                first.entry()
            }
            "_+_" => self.builds(first.and(last)),
            "matches" => {
                self.takes(all.saturating_add(PATTERN));
                SCALAR
            }
            // The text of a number or a time is short.
            "string" => self.builds(first.and(SCALAR)),
            _ => {
                self.takes(all);
                SCALAR
            }
        }
    }

    fn comprehension(&mut self, of: &'e ComprehensionExpr) -> Extent {
        let range = self.expr(&of.iter_range);
        let begin = self.expr(&of.accu_init);
        // Each entry is copied once.
        self.takes(range.whole);
        let (outside, before) = (self.bound.len(), self.times);
        self.bound.push((&of.iter_var, range.entry()));
        self.bound.extend(of.iter_var2.as_deref().map(|second| (second, range.entry())));
        // What is added to in each round: entries are appended in place.
        self.bound.push((&of.accu_var, Extent { whole: 0, entries: 0, largest: 0, keyed: false }));
        self.times = before.saturating_mul(range.entries);
        self.expr(&of.loop_cond);
        let step = self.expr(&of.loop_step);
        self.times = before;
        let result = begin.and(step.times(range.entries));
        if let Some(accumulated) = self.bound.last_mut() {
            accumulated.1 = result;
        }
        let result = self.expr(&of.result);
        self.bound.truncate(outside);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::expr::{Var, eval_bool};
    use super::*;
    use serde_json::json;

    /// As large as an answer of 64 KiB can be, in one way and another.
    fn vars() -> BTreeMap<String, Var> {
        let vars = json!({
            "body": "a".repeat(65_536),
            "zeros": vec![0; 32_000],
            "items": (0..4_000).map(|i| json!({"i": i})).collect::<Vec<_>>(),
            "rows": vec![vec![0; 170]; 170],
            "map": (0..6_000).map(|i| (format!("k{i}"), json!(i))).collect::<serde_json::Map<_, _>>(),
            "small": [1, 2, 3],
        });
        let Value::Object(vars) = vars else { return BTreeMap::new() };
        vars.into_iter().map(|(name, value)| (name, Var::Json(value))).collect()
    }

    #[test]
    fn what_looks_at_each_entry_is_allowed() {
        let vars = vars();
        for expr in [
            "zeros.all(x, x >= 0 && x < 5)",
            "items.all(x, x.i >= 0 && has(x.i))",
            "items.filter(x, x.i > 3).map(x, x.i).size() == 3996",
            "items.exists(x, x.i == items[3999].i)",
            "rows.all(row, row.all(x, x == 0))",
            "map.all(k, map[k] >= 0 && k in map)",
            "zeros.all(x, string(x).matches('^[0-9]+$'))",
            "!body.contains('b') && !body.matches('b+') && size(body + body) == 131072",
            "small.all(x, small.all(y, x + y > 1 && [x, y].size() == 2))",
        ] {
            assert_eq!(eval_bool(expr, &vars), Ok(true), "{expr}");
        }
    }

    #[test]
    fn what_looks_at_everything_for_each_entry_is_not() {
        let vars = vars();
        for (expr, why) in [
            ("zeros.all(x, x in zeros)", "too much to loop over"),
            ("zeros.all(x, zeros.exists(y, x == y))", "too much to loop over"),
            ("items.all(x, items == items)", "too much to loop over"),
            ("items.all(x, !body.contains('aab'))", "too much to loop over"),
            ("items.all(x, size(body) > x.i)", "too much to loop over"),
            ("items.all(x, body != body + 'x')", "too much to loop over"),
            ("items.all(x, !body.matches('b'))", "too much to loop over"),
            ("rows.all(x, rows.all(y, x == y))", "too much to loop over"),
            ("items.map(x, items).size() == 4000", "too much to loop over"),
            ("small.map(x, zeros).map(x, x + x).size() == 3", "it may build"),
            ("[zeros, zeros].map(x, x + x).size() == 2", "it may build"),
            ("(zeros + zeros + zeros + zeros).size() > 0", "it may build"),
            ("[zeros, zeros, zeros, zeros, zeros, zeros, zeros].size() == 7", "it may build"),
        ] {
            let said = eval_bool(expr, &vars).expect_err(expr);
            assert!(said.contains(why), "{expr}: {said}");
        }
    }
}
