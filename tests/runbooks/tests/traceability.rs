//! docs/runbooks.md says which field of an example carries out which line of a runbook. Here: every field that it names is
//! there, every row says something, and every line that says to do something has its row.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use runbooks::example::{self, Example};
use runbooks::path;

struct Row {
    at: usize,
    lines: Vec<(usize, usize)>,
    what: String,
    by: String,
}

struct Table {
    example: String,
    rows: Vec<Row>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The tables of the page: one below each heading that names an example in backticks.
fn tables() -> Vec<Table> {
    let page = root().join("docs/runbooks.md");
    let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
    let mut tables: Vec<Table> = vec![];
    for (at, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("## ") {
            if let Some(example) = heading.split('`').nth(1).and_then(|name| name.strip_prefix("examples/")) {
                tables.push(Table { example: example.to_owned(), rows: vec![] });
            }
        } else if let Some(row) = line.strip_prefix("| ")
            && let Some(lines) = row.split('|').next().and_then(ranges)
            && let Some(table) = tables.last_mut()
        {
            let cells: Vec<&str> = row.trim_end_matches('|').splitn(3, " | ").collect();
            let [_, what, by] = cells[..] else { panic!("line {}: three columns are expected: {line}", at + 1) };
            table.rows.push(Row { at: at + 1, lines, what: what.trim().into(), by: by.trim().into() });
        }
    }
    tables
}

/// `3, 7-9` as ranges; nothing for a heading of a table.
fn ranges(cell: &str) -> Option<Vec<(usize, usize)>> {
    let range = |text: &str| {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
    };
    cell.split(',').map(|part| range(part.trim())).collect()
}

/// What stands in backticks.
fn names(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn is_there(example: &Example, name: &str) -> bool {
    let object = |full: &str| {
        let (kind, name) = full.split_once('/').unwrap_or_default();
        example.application.iter().any(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    };
    path::find(&example.cutover["spec"], name).is_some() || object(name)
}

#[test]
fn every_row_names_what_is_in_the_example_or_says_why_nothing_is() {
    let mut wrong = vec![];
    let tables = tables();
    assert_eq!(tables.len(), 5, "five runbooks are expected");
    for table in &tables {
        let example = example::read(&root().join("examples").join(&table.example)).unwrap_or_else(|e| panic!("{e:#}"));
        assert!(table.rows.len() > 10, "{}: only {} rows: is the table where it was?", table.example, table.rows.len());
        let mut last = 0;
        for row in &table.rows {
            let mut complain = |what: String| wrong.push(format!("docs/runbooks.md:{}: {what}", row.at));
            let first = row.lines.first().map_or(0, |range| range.0);
            if first < last {
                complain(format!("line {first} comes after line {last}: rows stand in the runbook's order"));
            }
            last = first;
            if row.what.is_empty() {
                complain("says nothing about the line".into());
            }
            let reason = ["not ours: ", "not yet: "].iter().find_map(|word| row.by.strip_prefix(word));
            let fields = if reason.is_some() { vec![] } else { names(&row.by) };
            if reason.map_or(fields.is_empty(), |reason| reason.len() < 10) {
                complain(format!("neither a field nor a reason: {}", row.by));
            }
            for field in &fields {
                if !is_there(&example, field) {
                    complain(format!("{} has no {field}", table.example));
                }
            }
            let gate = |field: &&str| path::find(&example.cutover["spec"], &format!("{field}.approval")).is_some();
            if row.by.starts_with("approval") && !fields.iter().any(gate) {
                complain(format!("no approval among {fields:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How many lines a runbook has, and which of them say to do something.
#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Lines {
    all: usize,
    to_do: String,
}

/// The runbooks themselves are not ours to keep: their numbers are.
const LINES: &str = "tests/runbooks/lines.yaml";

fn lines() -> BTreeMap<String, Lines> {
    let file = root().join(LINES);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{LINES}: {e}"))
}

#[test]
fn every_line_of_a_runbook_that_says_to_do_something_has_its_row() {
    let (known, tables) = (lines(), tables());
    assert_eq!(known.len(), tables.len(), "{LINES}: one entry for each runbook");
    let mut missing = vec![];
    for table in &tables {
        let of = known.get(&table.example).unwrap_or_else(|| panic!("{LINES} has no {}", table.example));
        let mut covered = BTreeSet::new();
        for (from, to) in table.rows.iter().flat_map(|row| &row.lines) {
            assert!(from <= to && *to <= of.all, "{}: there is no line {from}-{to}", table.example);
            covered.extend(*from..=*to);
        }
        let to_do = ranges(&of.to_do).unwrap_or_else(|| panic!("{LINES}: {}", of.to_do));
        let numbers = to_do.into_iter().flat_map(|(from, to)| from..=to);
        missing.extend(numbers.filter(|n| !covered.contains(n)).map(|n| format!("{}:{n}", table.example)));
    }
    assert!(missing.is_empty(), "{} lines without a row: {}", missing.len(), missing.join(", "));
}

/// The runbooks: where CUTOVER_SEEDS says, or beside the repository.
fn seeds() -> Option<PathBuf> {
    let named = std::env::var_os("CUTOVER_SEEDS").map(PathBuf::from);
    named.or_else(|| Some(root().join("../shared/seeds")).filter(|folder| folder.is_dir()))
}

#[test]
fn the_lines_are_those_of_the_runbooks() {
    let Some(folder) = seeds() else {
        println!("the runbooks are not at hand (CUTOVER_SEEDS): their lines are taken as {LINES} has them");
        return;
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    let tables = tables();
    assert_eq!(files.len(), tables.len(), "one table for each runbook");
    let mut text =
        String::from("# Which lines of each runbook say to do something: UPDATE_EXPECT=1 with CUTOVER_SEEDS=FOLDER.\n");
    for (file, table) in files.iter().zip(&tables) {
        let runbook = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let (all, to_do) = (runbook.lines().count(), joined(&to_do(&runbook)));
        text.push_str(&format!("{}: {{all: {all}, toDo: \"{to_do}\"}}\n", table.example));
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(root().join(LINES), text).unwrap_or_else(|e| panic!("{LINES}: {e}"));
        return;
    }
    let found: BTreeMap<String, Lines> = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found, lines(), "{LINES} is not what the runbooks in {} say", folder.display());
}

/// Numbers as ranges.
fn joined(numbers: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = vec![];
    for n in numbers {
        match ranges.last_mut() {
            Some((_, to)) if *to + 1 == *n => *to = *n,
            _ => ranges.push((*n, *n)),
        }
    }
    let range = |(from, to): &(usize, usize)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

/// Numbers of the lines with a command, a point of a list, a checkbox, a threshold or a trigger.
fn to_do(text: &str) -> Vec<usize> {
    let mut fenced = false;
    let mut found = vec![];
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let fence = line.trim_start_matches("- ").starts_with("```");
        if fence {
            fenced = !fenced;
        }
        let numbered =
            line.split_once(['.', ')']).is_some_and(|(n, _)| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()));
        let point = (line.starts_with("- ") || numbered) && !line.contains("](#");
        let threshold = line.contains(['<', '>', '%']) || line.contains("Trigger:") || line.contains("Alert:");
        let command = fenced && !line.starts_with('#');
        if !line.is_empty() && !fence && (command || point || threshold) {
            found.push(at + 1);
        }
    }
    found
}

#[test]
fn every_example_can_be_shortened_and_names_its_scenarios_once() {
    let examples = example::all(&root().join("examples")).unwrap_or_else(|e| panic!("{e:#}"));
    assert_eq!(examples.len(), 6);
    for example in &examples {
        let (mut versions, mut last) = (BTreeSet::new(), None);
        for scenario in &example.scenarios.scenarios {
            // A retry is of the release right before it.
            let new = versions.insert(&scenario.version);
            assert!(new != scenario.retry, "{}: {}", example.name, scenario.version);
            assert!(!scenario.retry || last == Some(&scenario.version), "{}: {}", example.name, scenario.name);
            last = Some(&scenario.version);
            for name in scenario.expect.objects.keys() {
                example.object(name).unwrap_or_else(|e| panic!("{}: {e:#}", scenario.name));
            }
            example.cutover_for(scenario).unwrap_or_else(|e| panic!("{}: {e:#}", example.name));
            example.eve(scenario).unwrap_or_else(|e| panic!("{}: {e:#}", example.name));
        }
    }
}

#[test]
fn each_example_goes_live_once_through_the_command_line() {
    for example in example::all(&root().join("examples")).unwrap() {
        let is_released = |s: &&runbooks::scenario::Scenario| {
            s.quick && s.expect.phase == cutover::api::Phase::Completed && !s.images.is_empty()
        };
        let released = example.scenarios.scenarios.iter().find(is_released);
        assert!(released.is_some(), "{}: no scenario that make test plays is released so", example.name);
    }
}
