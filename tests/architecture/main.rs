//! The layout of the code, enforced: which module may import which, what pure code must not contain, and the size of
//! files. `src/ARCHITECTURE.md` says why.

mod cycles;
mod source;

use std::collections::BTreeSet;

use source::{File, code_files};

/// Modules in the order of the argument; each with those it may import.
const IMPORTS: [(&str, &[&str]); 32] = [
    ("harmless", &[]),
    ("api", &[]),
    ("plan", &["api"]),
    ("policies", &[]),
    ("lint", &["api", "plan", "evidence::power"]),
    // Effects carry readings, and a world carries the outcomes of effects: two sides of one vocabulary.
    ("effect", &["api", "plan", "world"]),
    ("world", &["api", "plan", "effect"]),
    ("endpoints", &["api", "plan", "world"]),
    ("journal", &["api", "plan"]),
    // What the default rule has seen, and what that comes to.
    ("evidence", &["api", "plan", "journal"]),
    ("view", &["api", "plan", "journal", "evidence"]),
    ("notify", &["api", "plan", "effect::letter", "journal::notices", "harmless"]),
    // What is switched, and how; what an effect comes to.
    ("route", &["api", "plan", "effect", "world", "endpoints"]),
    ("writes", &["api", "effect", "endpoints", "route"]),
    ("status", &["api", "plan", "world", "endpoints", "journal", "route", "view"]),
    ("spans", &["api", "plan", "view"]),
    ("actions", &["api", "plan", "effect", "world", "endpoints", "route", "journal"]),
    ("judge", &["api", "plan", "effect", "world", "endpoints", "journal", "evidence", "actions"]),
    (
        "decide",
        &[
            "api",
            "plan",
            "effect",
            "world",
            "endpoints",
            "route",
            "journal",
            "evidence",
            "status",
            "actions",
            "judge",
            "notify",
        ],
    ),
    // Where tenants' computation is done; it knows nothing of what that is.
    ("threads", &[]),
    ("net", &["api", "effect", "world", "notify", "threads"]),
    ("observe", &["api", "plan", "policies", "effect", "world", "endpoints", "route", "net", "threads"]),
    ("act", &["api", "effect", "world", "route", "writes", "net", "observe::RunScope"]),
    (
        "pilot",
        &["api", "plan", "effect", "world", "endpoints", "route", "journal", "view", "status", "decide", "notify"],
    ),
    ("meter", &["api", "plan", "effect", "journal", "net", "view"]),
    ("publish", &["api", "decide::Note", "journal::short", "act::call", "meter"]),
    ("traces", &["spans", "meter"]),
    // The shells carry out what the pilots order: they know neither plans, journals nor phases.
    (
        "driver",
        &["api", "effect", "world", "spans", "net", "observe", "act", "pilot", "meter", "publish", "traces", "threads"],
    ),
    (
        "controller",
        &[
            "api",
            "effect",
            "net",
            "observe::Observer",
            "observe::scope",
            "act",
            "driver",
            "pilot",
            "meter",
            "publish",
            "threads",
        ],
    ),
    // What people use: reads objects, the view of a run, and the same functions as the operator where it foretells.
    (
        "cli",
        &[
            "api",
            "harmless",
            "plan",
            "policies",
            "lint",
            "effect",
            "world",
            "endpoints",
            "journal",
            "evidence",
            "view",
            "notify",
            "status",
            "actions::rights",
            "actions::trials",
            "observe::dry_run",
            "observe::forgery",
            "operator::preflight",
            "writes::Run",
            "decide::undo_due",
            "act::by_hand",
        ],
    ),
    // For tests alone: the places where something from outside comes in.
    ("entrances", &["api", "plan", "world", "journal", "view", "status", "spans", "actions", "net", "cli"]),
    (
        "operator",
        &[
            "api",
            "plan",
            "policies",
            "status",
            "spans",
            "effect::protocol::JsonPatch",
            "decide::Note",
            "net",
            "observe",
            "act",
            "driver",
            "controller",
            "pilot",
            "meter",
            "publish",
            "traces",
            "threads",
        ],
    ),
];

/// Modules without a clock, a network, a file, a log or a wait.
const PURE: [&str; 20] = [
    "harmless",
    "notify",
    "api",
    "policies",
    "plan",
    "lint",
    "effect",
    "world",
    "endpoints",
    "route",
    "writes",
    "journal",
    "evidence",
    "view",
    "status",
    "spans",
    "actions",
    "judge",
    "decide",
    "pilot",
];

/// Modules that carry out what a pilot orders, and decide nothing.
const SHELLS: [&str; 2] = ["controller", "driver"];

/// What a shell must not import: whatever a decision is made of.
const DECIDING: [&str; 10] =
    ["plan", "journal", "decide", "status", "endpoints", "route", "judge", "actions", "api::phase", "api::condition"];

/// Words by which code of a shell would look into a run.
const OF_A_RUN: [&str; 7] = ["Phase", "phase", "RunState", "StepState", "SwitchState", "plan_version", "timeline"];

/// What pure code must not contain.
const IMPURE: [&str; 17] = [
    "tokio",
    "reqwest",
    "hyper",
    "tracing",
    "axum",
    "kube::Client",
    "kube::Api",
    "kube::api::Api",
    "kube::runtime",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "Timestamp::now",
    "SystemTime",
    "Instant",
    "async",
];

/// Longest file, in lines.
const LONGEST: usize = 500;

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for file in code_files("src") {
        let Some(module) = file.module() else { continue };
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: module `{module}` is not in the table", file.path));
            continue;
        };
        for path in file.imports() {
            let target = path.split("::").next().unwrap_or_default();
            let named = allowed.iter().any(|a| *a == target || path == *a || path.starts_with(&format!("{a}::")));
            if target != module && !named {
                wrong.push(format!("{}: `{module}` may not import `crate::{path}`", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_library_is_in_the_table() {
    let library = File::read("src/lib.rs");
    let declared: BTreeSet<&str> = library
        .code
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')))
        .collect();
    assert!(declared.contains("decide"), "src/lib.rs was not understood: {declared:?}");
    let table: BTreeSet<&str> = IMPORTS.iter().map(|(name, _)| *name).collect();
    let missing: Vec<_> = declared.difference(&table).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
}

#[test]
fn pure_modules_have_no_clock_no_network_and_no_wait() {
    let mut wrong = Vec::new();
    for file in code_files("src") {
        if !file.module().is_some_and(|module| PURE.contains(&module.as_str())) {
            continue;
        }
        for (number, line) in file.product().lines().enumerate() {
            for word in IMPURE.iter().filter(|word| source::has_word(line, word)) {
                wrong.push(format!("{}:{}: `{word}` in pure code", file.path, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn shells_carry_out_and_decide_nothing() {
    let mut wrong = Vec::new();
    for file in code_files("src") {
        if !file.module().is_some_and(|module| SHELLS.contains(&module.as_str())) {
            continue;
        }
        for path in file.imports() {
            let deciding = |bad: &&&str| path == **bad || path.starts_with(&format!("{bad}::"));
            if let Some(bad) = DECIDING.iter().find(deciding) {
                wrong.push(format!("{}: a shell imports `crate::{path}` ({bad} is for the pilot)", file.path));
            }
        }
        for (number, line) in file.product().lines().enumerate() {
            for word in OF_A_RUN.iter().filter(|word| source::has_word(line, word)) {
                wrong.push(format!("{}:{}: `{word}` in a shell", file.path, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let pilots = code_files("src/pilot");
    assert!(
        pilots.iter().any(|file| file.imports().iter().any(|path| path.starts_with("plan"))),
        "where is it decided?"
    );
}

#[test]
fn only_the_pilot_makes_a_claim() {
    let makers: Vec<String> = code_files("src")
        .into_iter()
        .filter(|file| file.code.contains("Claimed::written") || file.code.contains("Claimed::<"))
        .map(|file| file.path)
        .collect();
    assert_eq!(makers, ["src/pilot/run/proven.rs"], "an effect is acted on only when its claim has been written");
    // Within its own file the constructor is the only one.
    let claimed = File::read("src/effect/claimed.rs");
    assert_eq!(claimed.code.matches("Self(").count(), 1, "src/effect/claimed.rs makes a claim in one place");
    assert!(claimed.code.contains("pub struct Claimed<T>(T);"), "the field of Claimed stays private");
}

#[test]
fn states_change_by_events_alone() {
    // What begins is written as it begins; whatever happens to it then goes through `journal::transition`.
    let begins = ["state: StepState::Running", "state: SwitchState::Claimed"];
    let mut wrong = Vec::new();
    for file in code_files("src") {
        if !file.module().is_some_and(|module| ["decide", "actions", "judge"].contains(&module.as_str())) {
            continue;
        }
        for (number, line) in file.product().lines().enumerate() {
            let literal = line.contains("state: StepState::") || line.contains("state: SwitchState::");
            let begins = begins.iter().any(|begin| line.contains(begin));
            if line.contains(".state = ") || (literal && !begins) {
                wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_effect_is_named_where_it_is_carried_out() {
    let effects = variants(&File::read("src/effect.rs").code, "pub enum Effect ");
    assert!(effects.len() >= 5, "src/effect.rs was not understood: {effects:?}");
    let writes = File::read("src/writes/mod.rs").code;
    let body = source::block_after(&writes, "match effect ").expect("src/writes/mod.rs matches on the effect");
    for effect in &effects {
        assert!(body.contains(&format!("Effect::{effect}")), "src/writes/mod.rs does not judge Effect::{effect}");
    }
    assert!(!body.lines().any(|line| line.trim().starts_with("_ =>")), "src/writes/mod.rs has an arm for any effect");
}

#[test]
fn only_routes_know_how_a_service_is_switched() {
    let mut wrong = Vec::new();
    for file in code_files("src").into_iter().filter(|file| !file.path.starts_with("src/route/")) {
        // In the texts, which the code does not show.
        let product = file.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (number, line) in product.lines().enumerate() {
            if line.contains("\"/spec/selector\"") || line.contains("ANNOTATION_FENCE") && file.path != "src/api/mod.rs"
            {
                wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "where a route points is read and written in src/route alone:\n{}", wrong.join("\n"));
    // What decides a switch and a restore, and what carries them out, reads no selector either.
    let deciding = ["src/decide/switch.rs", "src/decide/restore.rs"].map(File::read);
    for file in code_files("src/act").into_iter().chain(code_files("src/writes")).chain(deciding) {
        for (number, line) in file.product().lines().enumerate() {
            if [".selector ", ".selector)", ".selector,", ".selector;"].iter().any(|s| line.contains(s))
                && !line.contains("m.selector")
            {
                wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "a route is asked where it points:\n{}", wrong.join("\n"));
}

/// `docs/conditions.md` is made from the table of reasons: a word that is not in it would be explained nowhere.
#[test]
fn reasons_are_words_of_the_table() {
    let mut wrong = Vec::new();
    for file in code_files("src") {
        let product = file.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (number, line) in product.lines().enumerate() {
            let literal = |start: &str| {
                let rest = line.split(start).nth(1).and_then(|rest| rest.trim_start().strip_prefix('"'));
                rest.is_some_and(|word| word.starts_with(|c: char| c.is_ascii_uppercase()))
            };
            let starts = ["complain(", "note(true,", "note(false,", "reason:"];
            if !file.path.ends_with("tests.rs")
                && file.module().is_some_and(|m| !["observe", "effect", "world"].contains(&m.as_str()))
                && starts.into_iter().any(literal)
            {
                wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "add the reason to src/api/condition/reasons.rs:\n{}", wrong.join("\n"));
}

#[test]
fn a_json_patch_is_made_in_one_place() {
    let makers: Vec<String> = code_files("src")
        .into_iter()
        .filter(|file| file.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().contains("\"op\": \""))
        .map(|file| file.path)
        .collect();
    assert_eq!(makers, ["src/effect/protocol.rs"]);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for file in code_files("src").into_iter().chain(code_files("tests")) {
        let lines = file.text.lines().count();
        if lines > LONGEST {
            wrong.push(format!("{}: {lines} lines, more than {LONGEST}: divide it", file.path));
        }
        let first = file.text.lines().next().unwrap_or_default();
        if !first.starts_with("//!") && !first.starts_with("#![doc = include_str!") {
            wrong.push(format!("{}: the first line must be a `//!` comment that says what the file is for", file.path));
        }
        let name = file.path.rsplit('/').next().unwrap_or_default();
        if ["utils", "util", "helpers", "helper", "misc"].iter().any(|bad| name.strip_suffix(".rs") == Some(bad)) {
            wrong.push(format!("{}: name it after what it does", file.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Fields and variants have a comment where their name does not say it all; what the API server shows of a field is
/// checked where the definitions are.
#[test]
fn public_items_say_what_they_are() {
    let mut wrong = Vec::new();
    for file in code_files("src") {
        let lines: Vec<&str> = file.product().lines().collect();
        let text: Vec<&str> = file.text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let item = line.trim_start().strip_prefix("pub ").map(|rest| rest.trim_start_matches("async "));
            let kinds = ["fn ", "struct ", "enum ", "trait ", "type ", "const "];
            if !item.is_some_and(|item| !item.contains('$') && kinds.iter().any(|kind| item.starts_with(kind))) {
                continue;
            }
            // Between an item and its comment stand attributes, some of several lines.
            let above = text[..number].iter().rev().map(|line| line.trim_start());
            let first = above.take_while(|line| !line.is_empty() && *line != "}").find(|line| line.starts_with("///"));
            if first.is_none() {
                wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "say in a doc comment what they are:\n{}", wrong.join("\n"));
}

#[test]
fn the_product_does_not_panic_on_what_comes_from_outside() {
    let mut wrong = Vec::new();
    for file in code_files("src") {
        for (number, line) in file.product().lines().enumerate() {
            for bad in [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!("] {
                if line.contains(bad) {
                    wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names of an enum's variants.
fn variants(code: &str, start: &str) -> Vec<String> {
    let body = source::block_after(code, start).unwrap_or_default();
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for line in body.lines() {
        let word: String = line.trim().chars().take_while(char::is_ascii_alphanumeric).collect();
        if depth == 0 && word.starts_with(|c: char| c.is_ascii_uppercase()) {
            found.push(word);
        }
        depth += line.matches(['{', '(']).count();
        depth = depth.saturating_sub(line.matches(['}', ')']).count());
    }
    found
}
