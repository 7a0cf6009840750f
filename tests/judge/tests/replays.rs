//! The results that are kept are those of the code: the first replays of every case, made again. And the pages and pictures
//! are those of the results.

use std::path::Path;

use judge::cases::{self, Group};
use judge::rules::{ALPHA, RULES};
use judge::{page, replay, results};

fn docs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn kept() -> Vec<results::Row> {
    let text = std::fs::read_to_string(docs().join(page::RESULTS)).expect("the results");
    results::read(&text).expect("the results")
}

#[test]
fn the_first_replays_come_out_as_they_were_kept() {
    let kept = kept();
    let cases = cases::all();
    assert_eq!(kept.len(), cases.len() * RULES.len(), "make judge");
    let mut differ = vec![];
    let (mut keeps, mut rolled_back) = (0, 0);
    for (case, rows) in cases.iter().zip(kept.chunks(RULES.len())) {
        let times = replay::few(case);
        let fired = replay::replay(case, times, 2);
        for (row, again) in rows.iter().zip(replay::rows(case, &fired)) {
            let same = (&row.case, &row.rule, row.window, row.first_fired, row.first_seconds)
                == (&again.case, &again.rule, again.window, again.first_fired, again.first_seconds);
            if !same {
                differ.push(format!("{row:?}\n  is now {again:?}"));
            }
        }
        if case.group == Group::Keeps {
            keeps += times;
            rolled_back += fired.iter().filter(|rules| rules[0].is_some()).count() as u64;
        }
    }
    // Independent of what is kept: the promise, over all releases that keep their limit.
    assert!(rolled_back as f64 <= ALPHA * keeps as f64, "{rolled_back} of {keeps} were rolled back");
    assert!(
        differ.is_empty(),
        "make judge; {} rows differ:\n{}",
        differ.len(),
        differ[..differ.len().min(5)].join("\n")
    );
}

#[test]
fn pages_and_pictures_are_those_of_the_results() {
    let wanted = page::files(&docs(), &kept()).expect("the page has a place for each part");
    for (name, text) in wanted {
        let found = std::fs::read_to_string(docs().join(name)).unwrap_or_default();
        if found != text && std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(docs().join(name), text).expect("the documentation");
        } else {
            assert!(found == text, "{name}: UPDATE_EXPECT=1 cargo test --workspace --test replays");
        }
    }
}
