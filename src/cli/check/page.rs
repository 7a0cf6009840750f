//! PURE. `check` for people.

use super::model::{Line as Check, Report, State};
use crate::cli::text::{Glyph, Line, Page, Tone};

/// The page: the answer first, then the lines by category.
pub(crate) fn page(report: &Report) -> Page {
    let mut page = Page::new();
    page.push(answer(report));
    let mut category = None;
    for check in &report.checks {
        if category != Some(check.category) {
            page.heading(check.category.title());
            category = Some(check.category);
        }
        lines(check).into_iter().for_each(|line| page.push(line));
    }
    page
}

fn sign(state: State) -> (Tone, Glyph) {
    match state {
        State::Ok => (Tone::Good, Glyph::Good),
        State::Warning => (Tone::Warn, Glyph::Warn),
        State::Unknown => (Tone::Dim, Glyph::Unknown),
        State::Failed => (Tone::Bad, Glyph::Bad),
    }
}

fn answer(report: &Report) -> Line {
    let parts = [(report.failed, "failed"), (report.warnings, "to know"), (report.unknown, "not to be seen")];
    let said: Vec<String> = parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let all = report.checks.len();
    let (tone, glyph) = match report.failed {
        0 => (Tone::Good, Glyph::Good),
        _ => (Tone::Bad, Glyph::Bad),
    };
    let text = match said.is_empty() {
        true => format!("all {all} checks are ok"),
        false => format!("of {all} checks {}", said.join(", ")),
    };
    Line::new().sign(tone, glyph).tone(Tone::Strong, text)
}

fn lines(check: &Check) -> Vec<Line> {
    let (tone, glyph) = sign(check.state);
    let about = check.cutover.as_ref().map(|c| format!("{c}: ")).unwrap_or_default();
    let first = Line::new().text("  ").sign(tone, glyph).tone(Tone::Strong, about).text(&check.message);
    let mut all = vec![first];
    if let Some(remedy) = &check.remedy {
        all.push(Line::new().text("    ").sign(Tone::Busy, Glyph::Arrow).text(remedy));
    }
    if check.state != State::Ok {
        all.push(Line::new().text("      ").tone(Tone::Dim, &check.doc));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::topics;
    use crate::cli::fixtures::HOSTILE;
    use crate::cli::rights::Right;

    #[test]
    fn the_answer_comes_first_and_each_failing_line_has_its_remedy_and_its_place() {
        let lines = vec![
            Check::failed(topics::SERVICES, "Service web does not exist", "kubectl apply -f web.yaml")
                .of("prod", "shop"),
            Check::ok(topics::API_VERSION, "Kubernetes 1.36"),
            Check::warning(topics::SERVICES, HOSTILE, HOSTILE).of("prod", HOSTILE),
            Check::hidden(
                topics::OPERATOR_LEASE,
                "the Lease",
                Right::wish("get", "coordination.k8s.io", "leases"),
                Some("x"),
            ),
        ];
        let report = Report::of(lines, Some("jane@example.com"));
        assert!(!report.ok);
        crate::cli::fixtures::shown("check", &report, &page(&report));
    }
}
