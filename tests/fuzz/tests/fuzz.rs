//! The short run: every input of the corpus, and a fixed number of them made worse. A failure writes the input that it is of
//! beside the log and names its seed; once fixed, the input belongs into `corpus/TARGET`.
//!
//! `FUZZ_SEED` begins elsewhere, and `FUZZ_TIMES` makes as many times the inputs; for long runs see `make fuzz`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use fuzz::rng::Rng;
use fuzz::{Target, inputs, mutate, target, targets};

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn feed(target: &Target, what: &str, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok() {
        return;
    }
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(std::env::temp_dir, PathBuf::from).join("fuzz");
    let path = folder.join(format!("{}-{}", target.name, what.replace(' ', "-")));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(&path, input).expect("a file");
    panic!("{}: {what} of its {} bytes in {}", target.name, input.len(), path.display());
}

fn play(name: &str) {
    let target = target(name).expect("a target");
    let corpus = inputs(name);
    for (file, input) in &corpus {
        feed(&target, file, input);
    }
    let seed = number("FUZZ_SEED", 1);
    let times = usize::try_from(number("FUZZ_TIMES", 1)).expect("a number");
    for n in 0..(target.short * times) as u64 {
        let mut rng = Rng::new(seed.wrapping_mul(1 << 32).wrapping_add(n));
        let (of, other) = (&rng.of(&corpus).1, &rng.of(&corpus).1);
        let input = mutate::mutated(&mut rng, of, other, target.json);
        feed(&target, &format!("seed {seed} input {n}"), &input);
    }
    println!("{name}: {} inputs and {} made of them, seed {seed}", corpus.len(), target.short * times);
}

#[test]
fn promql() {
    play("promql");
}

#[test]
fn http() {
    play("http");
}

#[test]
fn x509() {
    play("x509");
}

#[test]
fn run() {
    play("run");
}

#[test]
fn decisions() {
    play("decisions");
}

#[test]
fn manifest() {
    play("manifest");
}

#[test]
fn texts() {
    play("texts");
}

/// Else nothing behind the parser would be fed.
#[test]
fn answers_of_the_corpus_are_read() {
    let read = |file: &str| {
        let (_, input) = inputs("http").into_iter().find(|(name, _)| name == file).expect("a file");
        targets::http::read(&input, 0)
    };
    assert_eq!(read("ready").map(|r| (r.status, r.body)), Ok((200, "ready".to_owned())));
    assert_eq!(read("json").map(|r| r.headers["x-build"].clone()), Ok("7".to_owned()));
    assert!(read("short").is_err() && read("two-lengths").is_err());
}
