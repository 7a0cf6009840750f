//! PURE. `matches()` of CEL: by patterns that end in time. The interpreter's own function compiles its pattern at each call,
//! without a bound, and takes the size of the pattern for each byte of the text.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cel::common::ast::{EntryExpr, Expr};
use cel::extractors::This;
use cel::{Context, ExecutionError, IdedExpr};

use super::pattern::{Budget, Pattern, Search};

/// Of the language.
pub(super) const MATCHES: &str = "matches";
/// Ours. Nobody can write it: a name that begins with `_` is no function that may be called.
const OURS: &str = "_matches_";

/// Lets an expression call ours.
pub(super) fn rewrite(e: &mut IdedExpr) {
    match &mut e.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => {}
        Expr::Select(select) => rewrite(&mut select.operand),
        Expr::Call(call) => {
            if call.func_name == MATCHES {
                OURS.clone_into(&mut call.func_name);
            }
            call.target.iter_mut().for_each(|target| rewrite(target));
            call.args.iter_mut().for_each(rewrite);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(rewrite),
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| entry_of(&mut entry.expr)),
        Expr::Struct(of) => of.entries.iter_mut().for_each(|entry| entry_of(&mut entry.expr)),
        Expr::Comprehension(of) => {
            for part in [&mut of.iter_range, &mut of.accu_init, &mut of.loop_cond, &mut of.loop_step, &mut of.result] {
                rewrite(part);
            }
        }
    }
}

fn entry_of(entry: &mut EntryExpr) {
    match entry {
        EntryExpr::MapEntry(entry) => {
            rewrite(&mut entry.key);
            rewrite(&mut entry.value);
        }
        EntryExpr::StructField(field) => rewrite(&mut field.value),
    }
}

/// Adds ours to the context of one evaluation: each pattern is compiled once, what its automaton has learned is kept, and all
/// of them share one budget.
pub(super) fn add(context: &mut Context) -> Result<(), String> {
    let budget = Arc::<Budget>::default();
    let known = Mutex::new(BTreeMap::<String, Search<Arc<Pattern>>>::new());
    let ours = move |This(text): This<Arc<String>>, pattern: Arc<String>| {
        let failed = |why: String| ExecutionError::function_error(MATCHES, why);
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(search) = known.get_mut(pattern.as_str()) {
            return search.is_match(&text).map_err(failed);
        }
        let new = Pattern::new(&pattern).map_err(failed)?;
        let search = known.entry(pattern.to_string()).or_insert(Search::of(Arc::new(new), Arc::clone(&budget)));
        search.is_match(&text).map_err(failed)
    };
    context.add_function(OURS, ours).map_err(|e| format!("defect: {e}"))
}
