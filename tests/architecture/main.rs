//! The layout of the code, enforced: which module may import which, what pure code must not contain, and the size of
//! files. `src/ARCHITECTURE.md` says why.

mod source;

use std::collections::BTreeSet;

use source::{File, code_files};

/// Modules in the order of the argument; each with those it may import.
const IMPORTS: [(&str, &[&str]); 18] = [
    ("api", &[]),
    ("plan", &["api"]),
    // Effects carry readings, and a world carries the outcomes of effects: two sides of one vocabulary.
    ("effect", &["api", "plan", "world"]),
    ("world", &["api", "plan", "effect"]),
    ("endpoints", &["api", "plan", "world"]),
    ("journal", &["api", "plan"]),
    ("status", &["api", "plan", "world", "endpoints", "journal"]),
    ("spans", &["api", "plan", "status"]),
    ("actions", &["api", "plan", "effect", "world", "endpoints", "journal"]),
    ("judge", &["api", "plan", "effect", "world", "endpoints", "journal", "actions"]),
    ("decide", &["api", "plan", "effect", "world", "endpoints", "journal", "status", "actions", "judge"]),
    ("pilot", &["api", "plan", "effect", "endpoints", "journal", "status", "decide::Note"]),
    ("net", &["api", "effect", "world"]),
    ("observe", &["api", "plan", "effect", "world", "endpoints", "net"]),
    ("act", &["api", "effect", "world", "endpoints", "net", "observe::Scope", "observe::convert"]),
    (
        "driver",
        &[
            "api",
            "plan",
            "effect",
            "world",
            "endpoints",
            "journal",
            "status",
            "spans",
            "decide",
            "net",
            "observe",
            "act",
        ],
    ),
    ("controller", &["api", "pilot", "effect", "net", "observe::scope", "act", "driver"]),
    (
        "operator",
        &["api", "plan", "status", "spans", "decide::Note", "net", "observe", "act", "driver", "controller", "pilot"],
    ),
];

/// Modules without a clock, a network, a file, a log or a wait.
const PURE: [&str; 12] = [
    "api",
    "plan",
    "effect",
    "world",
    "endpoints",
    "journal",
    "status",
    "spans",
    "actions",
    "judge",
    "decide",
    "pilot",
];

/// Modules that carry out what a pilot orders, and decide nothing.
const SHELLS: [&str; 1] = ["controller"];

/// What a shell must not import: whatever a decision is made of.
const DECIDING: [&str; 9] =
    ["plan", "journal", "decide", "status", "endpoints", "judge", "actions", "api::phase", "api::condition"];

/// Words by which code of a shell would look into a run.
const OF_A_RUN: [&str; 3] = ["Phase", "phase", "plan"];

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
fn only_the_driver_makes_a_claim() {
    let makers: Vec<String> = code_files("src")
        .into_iter()
        .filter(|file| file.code.contains("Claimed::written") || file.code.contains("Claimed::<"))
        .map(|file| file.path)
        .collect();
    assert_eq!(makers, ["src/driver/claim.rs"], "an effect is acted on only when its claim has been written");
    // Within its own file the constructor is the only one.
    let claimed = File::read("src/act/claimed.rs");
    assert_eq!(claimed.code.matches("Self(").count(), 1, "src/act/claimed.rs makes a claim in one place");
    assert!(claimed.code.contains("pub struct Claimed<T>(T);"), "the field of Claimed stays private");
}

#[test]
fn every_effect_is_named_where_it_is_carried_out() {
    let effects = variants(&File::read("src/effect.rs").code, "pub enum Effect ");
    assert!(effects.len() >= 5, "src/effect.rs was not understood: {effects:?}");
    let act = File::read("src/act/mod.rs").code;
    let body = source::block_after(&act, "match effect.get() ").expect("src/act/mod.rs matches on the effect");
    for effect in &effects {
        assert!(body.contains(&format!("Effect::{effect}")), "src/act/mod.rs does not carry out Effect::{effect}");
    }
    assert!(!body.lines().any(|line| line.trim().starts_with("_ =>")), "src/act/mod.rs has an arm for any effect");
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
