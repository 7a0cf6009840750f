//! What is generated of the documentation: tables, goals, and which files there are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cases::{self, BAD, Case, Group, LATER, RATES, Window};
use crate::pictures;
use crate::results::Row;
use crate::rules::{ALPHA, RULES};

/// Where the results are, below the folder of the documentation.
pub const RESULTS: &str = "judging/replays.csv";

/// The files that are made of the results, with their text.
///
/// # Errors
/// The page is missing, or has no place for one of its parts.
pub fn files(docs: &Path, rows: &[Row]) -> Result<Vec<(&'static str, String)>> {
    let page = docs.join("judging.md");
    let page = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    let parts = [("goals", goals(rows)), ("rules", rules()), ("false", false_rollbacks(rows)), ("found", found(rows))];
    let page = parts.iter().try_fold(page, |page, (name, text)| put(&page, name, text))?;
    Ok(vec![
        ("judging.md", page),
        ("judging/tables.md", tables(rows)),
        ("judging/capital.svg", pictures::capital()),
        ("judging/false.svg", pictures::false_rollbacks(rows)),
        ("judging/found.svg", pictures::found(rows)),
    ])
}

/// Puts a part between its marks.
fn put(page: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), "<!-- end -->");
    let (head, rest) = page.split_once(&begin).with_context(|| format!("no {}", begin.trim()))?;
    let (_, tail) = rest.split_once(end).with_context(|| format!("no end of {name}"))?;
    Ok(format!("{head}{begin}{text}{end}{tail}"))
}

/// Rows by window, case and rule.
pub struct Index<'a>(BTreeMap<(u32, &'a str, &'a str), &'a Row>);

impl<'a> Index<'a> {
    /// Of all rows.
    pub fn of(rows: &'a [Row]) -> Self {
        Self(rows.iter().map(|row| ((row.window, row.case.as_str(), row.rule.as_str()), row)).collect())
    }

    /// The row of a case under a rule.
    pub fn get(&self, case: &Case, rule: &str) -> Option<&'a Row> {
        self.0.get(&(case.window, case.name().as_str(), rule)).copied()
    }
}

/// The cases of a window and group by title, in order.
fn by_title(window: Window, group: Group) -> Vec<(String, Vec<Case>)> {
    let mut found: Vec<(String, Vec<Case>)> = vec![];
    for case in cases::all().into_iter().filter(|c| c.window == window.seconds() && c.group == group) {
        match found.iter_mut().find(|(title, _)| *title == case.title) {
            Some((_, cases)) => cases.push(case),
            None => found.push((case.title.clone(), vec![case])),
        }
    }
    found
}

/// The goals, and whether each is kept.
pub fn goals(rows: &[Row]) -> String {
    let index = Index::of(rows);
    let mut text = "| goal | worst | |\n|---|---|---|\n".to_owned();
    for (window, what) in [(Window::Short, "30 minutes"), (Window::Long, "48 hours")] {
        let cases = by_title(window, Group::Keeps).into_iter().flat_map(|(_, cases)| cases);
        let all: Vec<&Row> = cases.filter_map(|case| index.get(&case, "cutover")).collect();
        let worst = all.iter().max_by(|a, b| a.share().total_cmp(&b.share()));
        let worst = worst.map(|row| (row.share() <= ALPHA, format!("{}, {}", with_interval(row), row.case)));
        let goal = format!(
            "a release at its limit or below is rolled back with a chance of 1 % at most in {what} ({} cases)",
            all.len()
        );
        goal_line(&mut text, &goal, worst);
    }
    for (share, least, seconds) in [(1.0, 0.1, 60), (0.2, 1.0, 120)] {
        for (onset, when) in [(0, "from the switch on"), (LATER, "ten minutes later")] {
            let cases = cases::all().into_iter().filter(|case| {
                let bad = matches!(case.shape, cases::Shape::Flat(of) if of == share);
                let plain = case.trouble == cases::Trouble::None;
                case.group == Group::Bad && bad && plain && case.onset == onset && case.rate >= least
            });
            let all = cases.filter_map(|case| index.get(&case, "cutover").map(|row| (case, row)));
            let worst = all.max_by_key(|(_, row)| row.median.unwrap_or(u32::MAX));
            let worst = worst.map(|(case, row)| {
                let median = row.median.map_or("never".to_owned(), |s| format!("{s} s"));
                (row.median.is_some_and(|s| s <= seconds), format!("{median} at {}/s", case.rate))
            });
            let what =
                if share == 1.0 { "all requests failing".to_owned() } else { format!("{} % failing", share * 100.0) };
            let goal = format!("{what} {when}: found within {seconds} s (median) at {least} requests/s and more");
            goal_line(&mut text, &goal, worst);
        }
    }
    text
}

fn goal_line(text: &mut String, goal: &str, worst: Option<(bool, String)>) {
    let (kept, worst) = worst.unwrap_or((false, "not replayed".into()));
    let _ = writeln!(text, "| {goal} | {worst} | {} |", if kept { "kept" } else { "**missed**" });
}

/// What each rule is.
fn rules() -> String {
    let mut text = String::new();
    for rule in &RULES {
        let source = rule.source.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "- **{}**: {source}", rule.title);
    }
    text
}

fn head(first: &str) -> String {
    let titles = RULES.iter().map(|rule| rule.title).collect::<Vec<_>>().join(" | ");
    format!("| {first} | {titles} |\n|---|{}\n", "---|".repeat(RULES.len()))
}

/// Per cent, with the digits that matter.
fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0".into(),
        p if p >= 99.95 => "100".into(),
        p if p >= 10.0 => format!("{p:.0}"),
        p if p >= 1.0 => format!("{p:.1}"),
        p => format!("{p:.2}"),
    }
}

fn with_interval(row: &Row) -> String {
    let (low, high) = row.interval();
    format!("{} % ({}–{})", percent(row.share()), percent(low), percent(high))
}

/// False rollbacks, the worst rate of each shape.
fn false_rollbacks(rows: &[Row]) -> String {
    let index = Index::of(rows);
    let mut text = head("false rollbacks in %, at the worst rate");
    let sections = [
        (Window::Short, Group::Keeps, "30 minutes"),
        (Window::Long, Group::Keeps, "48 hours"),
        (Window::Short, Group::Beyond, "30 minutes, **spells that reach beyond an interval**"),
        (Window::Long, Group::Beyond, "48 hours, **spells that reach beyond an interval**"),
    ];
    for (window, group, what) in sections {
        let _ = writeln!(text, "| *{what}* |{}", " |".repeat(RULES.len()));
        for (title, cases) in by_title(window, group) {
            let _ = write!(text, "| {title} |");
            for rule in &RULES {
                let all = cases.iter().filter_map(|case| index.get(case, rule.name));
                let worst = all.max_by(|a, b| a.share().total_cmp(&b.share()));
                let _ = write!(text, " {} |", worst.map_or("–".into(), |row| percent(row.share())));
            }
            text.push('\n');
        }
    }
    text
}

/// How soon each share is found at each rate: of Cutover.
fn found(rows: &[Row]) -> String {
    let index = Index::of(rows);
    let rates = RATES.iter().map(|rate| format!("{rate}/s")).collect::<Vec<_>>().join(" | ");
    let mut text = format!("| bad requests | {rates} |\n|---|{}\n", "---|".repeat(RATES.len()));
    for (title, cases) in by_title(Window::Short, Group::Bad).iter().filter(|(_, cases)| cases.len() == RATES.len()) {
        let cells: Vec<String> =
            cases.iter().map(|case| index.get(case, "cutover").map_or("–".into(), moment)).collect();
        let _ = writeln!(text, "| {title} | {} |", cells.join(" | "));
    }
    text
}

/// Median and 95th percentile, and how many were found where that is not all.
fn moment(row: &Row) -> String {
    let seconds = |s: Option<u32>| s.map_or("–".to_owned(), |s| s.to_string());
    let all =
        if row.fired * 1000 >= row.replays * 995 { String::new() } else { format!(", {} %", percent(row.share())) };
    format!("{} ({}){all}", seconds(row.median), seconds(row.p95))
}

/// Every case under every rule.
fn tables(rows: &[Row]) -> String {
    let index = Index::of(rows);
    let times = |window: Window| {
        let of = rows.iter().filter(|row| row.window == window.seconds());
        of.map(|row| row.replays).min().unwrap_or(0)
    };
    let (short, long) = (times(Window::Short), times(Window::Long));
    let mut text = format!(
        "# All replays\n\n`make judge` writes this page; [judging.md](../judging.md) explains it. Each case was replayed \
         {short} times, over 48 hours {long} times. The data: [replays.csv](replays.csv).\n",
    );
    let sections = [
        (Window::Short, Group::Keeps, "False rollbacks in 30 minutes"),
        (Window::Long, Group::Keeps, "False rollbacks in 48 hours"),
        (Window::Short, Group::Beyond, "Spells that reach beyond an interval, 30 minutes"),
        (Window::Long, Group::Beyond, "Spells that reach beyond an interval, 48 hours"),
    ];
    for (window, group, title) in sections {
        let _ = writeln!(text, "\n## {title}\nShare that was rolled back, with its 95 % confidence interval.\n");
        text += &head("case");
        for case in by_title(window, group).into_iter().flat_map(|(_, cases)| cases) {
            let cell = |rule: &str| index.get(&case, rule).map_or("–".into(), with_interval);
            let cells: Vec<String> = RULES.iter().map(|rule| cell(rule.name)).collect();
            let _ = writeln!(text, "| {} | {} |", case.name(), cells.join(" | "));
        }
    }
    let _ = writeln!(
        text,
        "\n## Releases that are worse than their limit\nSeconds from when it is bad until half of all replays were rolled \
         back, and in brackets until 95 % were; then the share that was found within the window, where that is less than \
         99.5 %. What a rule rolled back before it was bad is not found.\n"
    );
    text += &head("case");
    for case in by_title(Window::Short, Group::Bad).into_iter().flat_map(|(_, cases)| cases) {
        let cell = |rule: &str| index.get(&case, rule).map_or("–".into(), moment);
        let cells: Vec<String> = RULES.iter().map(|rule| cell(rule.name)).collect();
        let _ = writeln!(text, "| {} | {} |", case.name(), cells.join(" | "));
    }
    text
}

/// The shares of bad requests that have a picture.
pub const PAINTED: [f64; 3] = [BAD[4], BAD[2], BAD[1]];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_put_between_their_marks() {
        let page = "a\n<!-- goals -->\nold\n<!-- end -->\nb <!-- rules -->\n<!-- end -->";
        assert_eq!(put(page, "goals", "new\n").expect("a page"), page.replace("old", "new"));
        assert!(put(page, "none", "").is_err());
    }

    #[test]
    fn small_shares_keep_their_digits() {
        let shown: Vec<String> = [0.0, 0.0012, 0.012, 0.5, 0.9996].into_iter().map(percent).collect();
        assert_eq!(shown, ["0", "0.12", "1.2", "50", "100"]);
    }
}
