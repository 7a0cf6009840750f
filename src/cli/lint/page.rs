//! PURE. Findings for people: by file, each with its place, code, object, field, and what to do.

use crate::cli::text::{Glyph, Line, Page, Tone};
use crate::lint::report::PAGE;
use crate::lint::{Finding, Outcome, Severity};

/// The page.
pub(crate) fn page(outcome: &Outcome) -> Page {
    let mut page = Page::new();
    let mut file = None;
    for finding in &outcome.findings {
        if file.replace(&finding.file) != Some(&finding.file) && !finding.file.is_empty() {
            page.heading(&finding.file);
        }
        of(finding, &mut page);
    }
    if !outcome.findings.is_empty() {
        page.push(Line::new());
    }
    page.push(summary(outcome));
    page
}

fn of(finding: &Finding, page: &mut Page) {
    let (tone, glyph) = match finding.code.severity() {
        Severity::Error => (Tone::Bad, Glyph::Bad),
        Severity::Warning => (Tone::Warn, Glyph::Warn),
    };
    let mut line = Line::new().text("  ").sign(tone, glyph);
    if !finding.file.is_empty() {
        line = line.text(format!("{}:{} ", finding.place.line, finding.place.column));
    }
    line = line.tone(tone, finding.code.id());
    for part in [&finding.object, &finding.field].into_iter().filter(|part| !part.is_empty()) {
        line = line.text(" ").tone(Tone::Strong, part);
    }
    page.push(line);
    page.push(Line::new().text("    ").text(&finding.message));
    page.push(Line::new().text("    ").sign(Tone::Dim, Glyph::Arrow).text(&finding.remedy));
}

fn summary(outcome: &Outcome) -> Line {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let of = format!("{} of Cutover in {}", count(outcome.checked, "object"), count(outcome.files, "file"));
    if outcome.errors + outcome.warnings == 0 {
        return Line::new().sign(Tone::Good, Glyph::Good).text(format!("{of}: nothing is wrong"));
    }
    let (errors, warnings) = (count(outcome.errors, "error"), count(outcome.warnings, "warning"));
    let tone = if outcome.errors > 0 { Tone::Bad } else { Tone::Warn };
    let untold = if outcome.untold > 0 { format!(" ({} are not shown)", outcome.untold) } else { String::new() };
    Line::new().tone(tone, format!("{errors}, {warnings}")).text(format!("{untold} in {of}; {PAGE} explains each code"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::Look;
    use crate::lint::{File, Options, check};

    fn shown(name: &str, text: &str) -> String {
        let files = vec![File { name: name.into(), bytes: text.as_bytes().to_vec() }];
        page(&check(files, &Options::default())).show(Look::plain())
    }

    #[test]
    fn findings_stand_below_their_file_with_what_to_do() {
        let text = "apiVersion: cutover.dev/v1alpha1\nkind: CutoverDecision\nmetadata: {name: \"a\\e[2J\"}\nspec:\n  cutover: shop\n  runUID: u\n  by: jane\n  decison: Abort\n  decision: Explode\n";
        assert_eq!(
            shown("a.yaml", text),
            "a.yaml\n  \
             ✖ 3:12 CUT009 CutoverDecision a\\u{1b}[2J metadata.name\n    \
             \"a\\u{1b}[2J\" cannot be the name of an object\n    \
             → use lower-case letters, digits, dashes and dots\n  \
             ✖ 8:3 CUT010 CutoverDecision a\\u{1b}[2J spec.decison\n    \
             there is no field \"decison\" here\n    \
             → write decision\n  \
             ✖ 9:13 CUT011 CutoverDecision a\\u{1b}[2J spec.decision\n    \
             \"Explode\" is not known here; known are Approve, Reject, Abort, Rollback, Retry, Resolve, Suspend, Resume, Revalidate\n    \
             → write one of Approve, Reject, Abort, Rollback, Retry, Resolve, Suspend, Resume, Revalidate\n\
             \n\
             3 errors, 0 warnings in 1 object of Cutover in 1 file; docs/lint.md explains each code\n"
        );
    }

    #[test]
    fn nothing_wrong_is_one_line_and_nothing_at_all_is_an_error() {
        let text = "apiVersion: cutover.dev/v1alpha1\nkind: CutoverDecision\nmetadata: {generateName: a-}\nspec: {cutover: a, runUID: u, by: j, decision: Abort}\n";
        assert_eq!(shown("a.yaml", text), "✔ 1 object of Cutover in 1 file: nothing is wrong\n");
        assert_eq!(
            shown("a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"),
            "  ✖ CUT004\n    no object of cutover.dev is in the input (one other object is)\n    → name the files or \
             folders that hold them\n\n1 error, 0 warnings in 0 objects of Cutover in 1 file; docs/lint.md explains each \
             code\n"
        );
    }
}
