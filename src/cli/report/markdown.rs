//! PURE. A sheet as Markdown (GitHub's). A text from outside stands plain only where none of its characters means anything
//! there; any other one is a span of code, in which nothing does.

use super::plot;
use super::sheet::{Block, Cell, Sheet, tame};

/// The sheet.
pub(super) fn write(sheet: &Sheet) -> String {
    let mut out = format!("# {}\n", span(&sheet.title));
    for section in &sheet.sections {
        out.push_str(&format!("\n## {}\n", section.title));
        for block in &section.blocks {
            out.push('\n');
            self::block(&mut out, block);
        }
    }
    out
}

fn block(out: &mut String, block: &Block) {
    match block {
        Block::Facts(facts) => {
            let rows: Vec<Vec<String>> = facts.iter().map(|(n, v)| vec![(*n).to_owned(), cell(v)]).collect();
            table(out, &["What", "Recorded"], &rows);
        }
        Block::Table(_, rows) if rows.is_empty() => out.push_str("None.\n"),
        Block::Table(head, rows) => {
            let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
            table(out, head, &rows);
        }
        Block::Words(words) => out.push_str(&format!("{words}\n")),
        Block::List(items) if items.is_empty() => out.push_str("None.\n"),
        Block::List(items) => items.iter().for_each(|item| out.push_str(&format!("- {}\n", cell(item)))),
        Block::Lines(name, lines) => {
            let lines: Vec<_> = lines.iter().map(|line| tame(line)).collect();
            let fence = "`".repeat(lines.iter().map(|line| run(line)).max().unwrap_or(0).max(2) + 1);
            out.push_str(&format!("{}:\n\n{fence}text\n", cell(name)));
            lines.iter().for_each(|line| out.push_str(&format!("{line}\n")));
            out.push_str(&format!("{fence}\n"));
        }
        Block::Plot(of) => {
            let limit = of.limit.as_ref().map(|l| format!("; bad is {}", span(l))).unwrap_or_default();
            out.push_str(&format!("{}{limit}\n", span(&of.trigger)));
            if let Some(line) = plot::spark(of) {
                out.push_str(&format!("\n{}\n", span(&line)));
            }
        }
    }
}

fn table(out: &mut String, head: &[&str], rows: &[Vec<String>]) {
    out.push_str(&format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len())));
    for row in rows {
        out.push_str(&format!("| {} |\n", row.join(" | ")));
    }
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => span(text),
        Cell::Strong(text) => format!("**{}**", span(text)),
        Cell::NotRecorded => "*not recorded*".to_owned(),
        Cell::Empty => String::new(),
    }
}

/// A text in a line or in the cell of a table.
fn span(text: &str) -> String {
    let text = tame(text);
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    if is_plain(text) {
        return text.to_owned();
    }
    // The cell of a table ends at a bar, in code too, unless a backslash stands before it; one that stood there before
    // would then count for the bar, so that another sign stands for it.
    let text = text.replace("\\|", "\u{29f5}|").replace('|', "\\|");
    let ticks = "`".repeat(run(&text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{space}{text}{space}{ticks}")
}

/// Whether no character of a text means anything in Markdown, where it stands in a line: no markup, link, mention, reference
/// or formula.
fn is_plain(text: &str) -> bool {
    let common = |c: char| c.is_alphanumeric() || " .,;:()/%'-→".contains(c);
    let lower = text.to_lowercase();
    text.chars().all(common)
        && text.starts_with(char::is_alphanumeric)
        && !lower.contains("://")
        && !lower.contains("www.")
        && !text.contains("--")
}

/// The longest run of backticks.
fn run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}
