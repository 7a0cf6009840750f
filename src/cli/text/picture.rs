//! Pictures of a terminal for the documents, drawn by tests from what the program prints.

use std::fmt::Write;

/// A piece of a row: its text, its colour, and whether it is bold.
pub(crate) struct Spot {
    pub text: String,
    pub colour: &'static str,
    pub bold: bool,
}

const WIDE: f64 = 8.4;
const HIGH: f64 = 18.0;
const EDGE: f64 = 14.0;

/// The colours on a dark ground, by SGR parameter.
pub(crate) fn colour(code: &str) -> &'static str {
    match code {
        "31" => "#ff7b72",
        "32" => "#7ee787",
        "33" => "#e3b341",
        "36" => "#76e3ea",
        "2" => "#8b949e",
        _ => "#e6edf3",
    }
}

/// What was printed with colours, row by row.
pub(crate) fn rows(printed: &str) -> Vec<Vec<Spot>> {
    printed.lines().map(row).collect()
}

fn row(line: &str) -> Vec<Spot> {
    let mut spots = vec![];
    let mut code = "";
    for (i, part) in line.split("\u{1b}[").enumerate() {
        let text = match part.split_once('m').filter(|_| i > 0) {
            Some((set, text)) => {
                code = set;
                text
            }
            None => part,
        };
        if !text.is_empty() {
            spots.push(Spot { text: text.to_owned(), colour: colour(code), bold: code == "1" });
        }
    }
    spots
}

/// The rows as an SVG picture.
pub(crate) fn svg(title: &str, rows: &[Vec<Spot>]) -> String {
    let columns = |row: &Vec<Spot>| row.iter().map(|s| super::page::columns(&s.text)).sum::<usize>();
    let width = rows.iter().map(columns).max().unwrap_or(0) as f64 * WIDE + 2.0 * EDGE;
    let height = rows.len() as f64 * HIGH + 2.0 * EDGE + HIGH;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{0}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0d1117\"/>\n\
         <g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"14\" xml:space=\"preserve\">\n\
         <text x=\"{EDGE}\" y=\"{1}\" fill=\"#8b949e\">$ {0}</text>\n",
        escaped(title),
        EDGE + HIGH * 0.7,
    );
    for (i, row) in rows.iter().enumerate() {
        let y = EDGE + HIGH * (i as f64 + 1.7);
        let mut at = 0;
        for spot in row {
            let columns = super::page::columns(&spot.text);
            if !spot.text.trim().is_empty() {
                let bold = if spot.bold { " font-weight=\"bold\"" } else { "" };
                let length = columns as f64 * WIDE;
                // The length is said, so that signs of another font do not move what follows.
                let _ = writeln!(
                    out,
                    "<text x=\"{:.1}\" y=\"{y:.1}\" textLength=\"{length:.1}\" fill=\"{}\"{bold}>{}</text>",
                    EDGE + at as f64 * WIDE,
                    spot.colour,
                    escaped(&spot.text),
                );
            }
            at += columns;
        }
    }
    out + "</g>\n</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Compares a picture with the one of the documents; `UPDATE_EXPECT=1` draws it anew.
#[track_caller]
pub(crate) fn compare(name: &str, picture: &str) {
    crate::cli::fixtures::current("docs/pictures", &format!("{name}.svg"), picture);
}
