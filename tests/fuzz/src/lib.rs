//! Fuzzing of what comes from outside: answers of Prometheus and of applications, certificates, runs and decisions as they
//! are read from the API server, manifests, and the little languages in them.
//!
//! A target takes bytes and does with them what the product does; what must hold of that it asserts. Inputs are the files of
//! `corpus/TARGET`: real answers and objects, and whatever has once found something. Each of them is made worse by
//! [`mutate`], from a seed that a failure names (`tests/corpus.rs`), or by libFuzzer, which keeps what reaches new code
//! (`src/main.rs`).

use std::path::{Path, PathBuf};

pub mod mutate;
pub mod oracle;
pub mod rng;
pub mod targets;

/// What is fed.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its folder in `corpus`.
    pub name: &'static str,
    /// Panics where something does not hold. An input that is none of its kind is taken without a word.
    pub run: fn(&[u8]),
    /// Whether inputs are JSON, which is made worse as such, too.
    pub json: bool,
    /// How many inputs a short run makes of the corpus: about two seconds of a debug build.
    pub short: usize,
}

/// All targets.
pub const TARGETS: [Target; 7] = [
    Target { name: "promql", run: targets::promql::run, json: false, short: 100_000 },
    Target { name: "http", run: targets::http::run, json: false, short: 10_000 },
    Target { name: "x509", run: targets::x509::run, json: false, short: 100_000 },
    Target { name: "run", run: targets::run::run, json: true, short: 600 },
    Target { name: "decisions", run: targets::decisions::run, json: true, short: 1_500 },
    Target { name: "manifest", run: targets::manifest::run, json: false, short: 150 },
    Target { name: "texts", run: targets::texts::run, json: false, short: 3_000 },
];

/// The target of a name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// Where the inputs of a target are.
pub fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// The inputs of a target with the names of their files, in the order of the names.
///
/// # Panics
/// They cannot be read, or there is none.
pub fn inputs(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), bytes)
    };
    paths.into_iter().map(read).collect()
}
