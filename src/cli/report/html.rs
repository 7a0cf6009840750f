//! PURE. A sheet as one HTML file: no script, nothing from elsewhere, light and dark, and fit for A4.

use super::plot;
use super::sheet::{Block, Cell, Sheet, tame};

const HEAD: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--dim:#59636e;--line:#d1d9e0;--good:#1a7f37;--bad:#c21f2d;--open:#9a6700}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--dim:#9198a1;--line:#3d444d;--good:#3fb950;--bad:#ff7b72;--open:#d29922}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line);break-after:avoid}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{border:1px solid var(--line);padding:.25rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{color:var(--dim);font-weight:600}table.facts th{width:14rem}
tr,svg,pre{break-inside:avoid}thead{display:table-header-group}
pre{border:1px solid var(--line);padding:.5rem;white-space:pre-wrap;overflow-wrap:anywhere}
.none{color:var(--dim);font-style:italic}
svg{display:block;width:100%;max-width:40rem;height:auto}svg text{fill:var(--dim);font-size:11px}svg .end{text-anchor:end}
svg .axis{stroke:var(--line)}svg line.limit{stroke:var(--bad);stroke-dasharray:5 3}svg text.limit{fill:var(--bad)}
svg polyline{fill:none;stroke:var(--dim)}svg .good{fill:var(--good)}svg .bad{fill:var(--bad)}svg .open{fill:var(--open)}
@page{size:A4;margin:16mm}
@media print{:root{--ink:#000;--paper:#fff;--dim:#444;--line:#999;--good:#1a7f37;--bad:#c21f2d;--open:#9a6700}
body{font-size:10pt;margin:0;padding:0;max-width:none}svg .good,svg .bad,svg .open{print-color-adjust:exact}}
";

/// The sheet.
pub(super) fn write(sheet: &Sheet) -> String {
    let title = escape(&sheet.title);
    let mut out =
        format!("{HEAD}<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n");
    for section in &sheet.sections {
        out.push_str(&format!("<section>\n<h2>{}</h2>\n", escape(section.title)));
        section.blocks.iter().for_each(|b| block(&mut out, b));
        out.push_str("</section>\n");
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn block(out: &mut String, block: &Block) {
    match block {
        Block::Facts(facts) => {
            out.push_str("<table class=\"facts\">\n");
            for (name, value) in facts {
                out.push_str(&format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name), cell(value)));
            }
            out.push_str("</table>\n");
        }
        Block::Table(_, rows) if rows.is_empty() => out.push_str("<p>None.</p>\n"),
        Block::Table(head, rows) => {
            let head: String = head.iter().map(|h| format!("<th scope=\"col\">{}</th>", escape(h))).collect();
            out.push_str(&format!("<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"));
            for row in rows {
                let cells: String = row.iter().map(|c| format!("<td>{}</td>", cell(c))).collect();
                out.push_str(&format!("<tr>{cells}</tr>\n"));
            }
            out.push_str("</tbody>\n</table>\n");
        }
        Block::Words(words) => out.push_str(&format!("<p>{}</p>\n", escape(words))),
        Block::List(items) if items.is_empty() => out.push_str("<p>None.</p>\n"),
        Block::List(items) => {
            let items: String = items.iter().map(|item| format!("<li>{}</li>\n", cell(item))).collect();
            out.push_str(&format!("<ul>\n{items}</ul>\n"));
        }
        Block::Lines(name, lines) => {
            let lines: Vec<String> = lines.iter().map(|line| escape(line)).collect();
            out.push_str(&format!("<p>{}:</p>\n<pre>{}</pre>\n", cell(name), lines.join("\n")));
        }
        Block::Plot(of) => {
            let limit = of.limit.as_ref().map(|l| format!("; bad is {}", text(l))).unwrap_or_default();
            out.push_str(&format!("<p>{}{limit}</p>\n{}\n", text(&of.trigger), plot::svg(of).unwrap_or_default()));
        }
    }
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(t) => text(t),
        Cell::Strong(t) => format!("<strong>{}</strong>", text(t)),
        Cell::NotRecorded => "<span class=\"none\">not recorded</span>".to_owned(),
        Cell::Empty => String::new(),
    }
}

/// A text whose direction is its own affair.
fn text(text: &str) -> String {
    format!("<bdi>{}</bdi>", escape(text))
}

fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in tame(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
