//! PURE. What a run would do, as a page.

use super::diff::Difference;
use super::model::{Foreseen, Role, Stage, Step, Watch};
use crate::api::trigger::Severity;
use crate::cli::text::{Glyph, Line, Look, Page, Table, Tone, time};

pub(crate) fn page(plan: &Foreseen, look: Look) -> Page {
    let mut page = Page::new();
    let release = plan.release.as_ref().map(|r| format!("@{r}")).unwrap_or_default();
    let head = Line::new().tone(Tone::Strong, format!("{}/{}", plan.namespace, plan.cutover));
    let head = head.text(format!(": from {} to {}{release}", plan.live, plan.target));
    page.push(match plan.asked_for {
        true => head,
        false => head.tone(Tone::Dim, format!("  (nothing is asked for: {} is live and wanted)", plan.live)),
    });
    if !plan.refused.is_empty() {
        page.push(Line::new().sign(Tone::Bad, Glyph::Bad).text("the operator would refuse it:"));
        for refusal in &plan.refused {
            page.push(Line::new().text("    ").text(refusal));
        }
        in_the_way(&mut page, plan);
        return page;
    }
    in_the_way(&mut page, plan);
    times(&mut page, plan);
    steps(&mut page, plan);
    gates(&mut page, plan);
    triggers(&mut page, plan, look);
    if !plan.cannot_be_undone.is_empty() {
        page.heading("Cannot be undone");
        for step in &plan.cannot_be_undone {
            page.push(
                Line::new()
                    .text("  ")
                    .sign(Tone::Warn, Glyph::Warn)
                    .text(format!("{step}: it changes something and has no undo")),
            );
        }
    }
    if !plan.dry_runs.is_empty() {
        page.heading("Tried, storing nothing");
        for run in &plan.dry_runs {
            let line = Line::new().text("  ");
            let line = match &run.refused {
                None => line.sign(Tone::Good, Glyph::Good).text(&run.what),
                Some(why) => line.sign(Tone::Bad, Glyph::Bad).text(format!("{}: {why}", run.what)),
            };
            page.push(match run.unset.is_empty() {
                true => line,
                false => {
                    let names: Vec<String> = run.unset.iter().map(|name| format!("${{{name}}}")).collect();
                    line.tone(Tone::Dim, format!("  (without the value of {}, which the run gives)", names.join(", ")))
                }
            });
        }
    }
    for hidden in &plan.hidden {
        page.push(Line::new().sign(Tone::Dim, Glyph::Unknown).tone(Tone::Dim, hidden));
    }
    page
}

/// What `check` would say of it, too.
fn in_the_way(page: &mut Page, plan: &Foreseen) {
    for line in &plan.in_the_way {
        page.push(Line::new().sign(Tone::Bad, Glyph::Bad).text(&line.message));
        if let Some(remedy) = &line.remedy {
            page.push(Line::new().text("  ").sign(Tone::Busy, Glyph::Arrow).text(remedy));
        }
    }
}

fn seconds(s: i64) -> String {
    time::long(jiff::SignedDuration::from_secs(s))
}

fn times(page: &mut Page, plan: &Foreseen) {
    let likely = plan.likely_seconds.map(|s| format!("takes about {} by the runs before", seconds(s)));
    let likely = likely.unwrap_or_else(|| "how long it takes is not known, since no run has completed yet".to_owned());
    page.push(Line::new().text(format!("  {likely}; {} at the longest", seconds(plan.longest_seconds))));
}

fn steps(page: &mut Page, plan: &Foreseen) {
    page.heading("Steps");
    // The selectors change after `verify`.
    let before = ["preflight", "prepare", "verify"];
    let (first, then): (Vec<&Stage>, Vec<&Stage>) = plan.stages.iter().partition(|s| before.contains(&s.name.as_str()));
    first.into_iter().for_each(|s| of_stage(page, s));
    page.push(switch(plan));
    then.into_iter().for_each(|s| of_stage(page, s));
}

fn of_stage(page: &mut Page, stage: &Stage) {
    page.push(Line::new().text("  ").tone(Tone::Strong, &stage.name));
    for (i, step) in stage.steps.iter().enumerate() {
        let arm = if i + 1 == stage.steps.len() { Glyph::Last } else { Glyph::Branch };
        page.push(Line::new().text("  ").sign(Tone::Dim, arm).then(one(step)));
    }
}

fn switch(plan: &Foreseen) -> Line {
    let line = Line::new().text("  ").sign(Tone::Busy, Glyph::Arrow);
    line.tone(Tone::Strong, format!("Service {} is switched to {}", plan.services.join(", "), plan.target))
}

fn one(step: &Step) -> Line {
    let mut line = Line::new().text(&step.name).tone(Tone::Dim, format!(" {}", step.kind));
    if let Some(likely) = step.likely_seconds {
        line = line.text(format!("  about {}", seconds(likely)));
    }
    line = line.tone(Tone::Dim, format!("  at most {}", seconds(step.timeout_seconds)));
    if step.attempts > 1 {
        line = line.tone(Tone::Dim, format!("  {} attempts", step.attempts));
    }
    if let Some(when) = &step.when {
        line = line.text(format!("  only when {when}"));
    }
    if !step.parts.is_empty() {
        line = line.tone(Tone::Dim, format!("  {} parts", step.parts.len()));
    }
    match (&step.undo, step.changes) {
        (Some(undo), _) => line.text("  undo: ").text(undo),
        (None, true) => line.tone(Tone::Warn, "  no undo"),
        (None, false) => line,
    }
}

fn gates(page: &mut Page, plan: &Foreseen) {
    for gate in &plan.gates {
        page.heading(&format!("Gate {}", gate.name));
        for role in &gate.roles {
            page.push(Line::new().text("  ").then(of_role(role)));
        }
    }
}

fn of_role(role: &Role) -> Line {
    let enough = role
        .who
        .as_ref()
        .map(|who| who.len() as u64 >= u64::from(role.wanted) || who.iter().any(|w| w.starts_with("group ")));
    let (tone, glyph) = match (enough, role.you) {
        (Some(false), _) => (Tone::Bad, Glyph::Bad),
        (None, false) => (Tone::Dim, Glyph::Unknown),
        _ => (Tone::Good, Glyph::Good),
    };
    let line = Line::new().sign(tone, glyph).tone(Tone::Strong, &role.name).text(format!(": {} wanted", role.wanted));
    let line = match &role.who {
        Some(who) if who.is_empty() => line.tone(Tone::Bad, "; nobody may approve in this role"),
        Some(who) => line.text(format!("; may: {}", who.join(", "))),
        None => line,
    };
    if role.you { line.text("; you may") } else { line }
}

fn triggers(page: &mut Page, plan: &Foreseen, look: Look) {
    if plan.triggers.is_empty() {
        return;
    }
    page.heading("Triggers");
    let mut table = Table::new(&["TRIGGER", "WATCHES", "BAD", "LEADS TO"]);
    for t in &plan.triggers {
        let to = match t.severity {
            Severity::Rollback => "rollback",
            Severity::Decide => "a decision",
            Severity::Warn => "a warning",
        };
        table.row(vec![
            t.name.as_str().into(),
            t.kind.as_str().into(),
            t.limit.as_deref().unwrap_or_default().into(),
            to.into(),
        ]);
    }
    page.lines.extend(table.page(look, 2).lines);
    plan.triggers.iter().filter(|t| !t.finds.is_empty()).for_each(|t| finds(page, t));
}

/// How soon a trigger of the default rule would find what: a line for so many requests.
fn finds(page: &mut Page, t: &Watch) {
    page.heading(&format!("What {} would find, and how soon after the switch in half of all cases", t.name));
    for row in t.finds.chunk_by(|a, b| a.requests_per_second == b.requests_per_second) {
        let time = |seconds: u64| time::long(jiff::SignedDuration::from_secs(seconds.try_into().unwrap_or(i64::MAX)));
        let found = row.iter().map(|f| {
            let time = f.seconds.map_or_else(|| "not found".to_owned(), time);
            format!("{} bad: {time}", crate::evidence::percent(f.share))
        });
        let rate = row.first().map(|f| format!("{}/s", f.requests_per_second)).unwrap_or_default();
        page.push(Line::new().text(format!("  {rate:<6}  {}", found.collect::<Vec<_>>().join(", "))));
    }
    if let Some(blind) = &t.blind {
        page.push(Line::new().text("  ").sign(Tone::Warn, Glyph::Warn).text(blind));
    }
}

/// What differs.
pub(crate) fn differences(title: &str, all: &[Difference]) -> Page {
    let mut page = Page::new();
    page.push(Line::new().tone(Tone::Strong, title));
    if all.is_empty() {
        page.push(Line::new().text("  no difference"));
    }
    for d in all {
        let line = Line::new().text("  ");
        page.push(match (&d.before, &d.now) {
            (Some(before), Some(now)) => line
                .tone(Tone::Warn, "~ ")
                .text(format!("{}: {} ", d.field, brief(before)))
                .text(format!("now {}", brief(now))),
            (None, Some(now)) => line.tone(Tone::Good, "+ ").text(format!("{}: {}", d.field, brief(now))),
            (Some(before), None) => line.tone(Tone::Bad, "- ").text(format!("{}: {}", d.field, brief(before))),
            (None, None) => line,
        });
    }
    page
}

/// A value on a line.
fn brief(value: &serde_json::Value) -> String {
    const MOST: usize = 120;
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::model::Line as Check;
    use crate::cli::check::topics;
    use crate::cli::fixtures::{HOSTILE, observing, over, run, shown};
    use crate::cli::plan::Compared;
    use crate::cli::plan::diff::differences as differ;
    use crate::cli::plan::model::{DryRun, Gate};
    use crate::plan::Refusal;

    fn foreseen(version: &str) -> Foreseen {
        let run = run(2, version, Some(observing()));
        let plan = crate::view::plan_of(&run).expect("a plan");
        Foreseen::of(&plan, "green", &[run])
    }

    fn dry_run(what: &str, unset: &[&str], refused: Option<&str>) -> DryRun {
        let unset = unset.iter().map(ToString::to_string).collect();
        DryRun { what: what.to_owned(), unset, refused: refused.map(str::to_owned) }
    }

    #[test]
    fn a_run_that_is_not_begun_is_shown_with_its_gates_and_what_was_tried() {
        let mut plan = foreseen("2.4.0");
        let role = |name: &str, you, who: Option<Vec<String>>| Role { name: name.to_owned(), wanted: 1, you, who };
        let roles = vec![
            role("qa", true, Some(vec!["jane@example.com".to_owned(), "group leads".to_owned()])),
            role("operations", false, Some(vec![])),
            role("board", false, None),
        ];
        plan.gates.push(Gate { name: "go".to_owned(), roles });
        plan.dry_runs = vec![
            dry_run("create the Job of step migrate", &["id", "tag"], None),
            dry_run("create the Job of step announce", &[], Some("exceeded quota: few, requested: count/jobs.batch=1")),
            dry_run("point Service web to green", &[], None),
        ];
        plan.hidden.push("not tried, since you may not patch deployments.apps: patch Deployment web-blue".to_owned());
        shown("plan", &plan, &page(&plan, Look::plain()));
    }

    #[test]
    fn what_would_be_refused_is_all_that_is_shown() {
        let refusal = Refusal {
            field: "spec.phases.prepare.steps[migrate].job".to_owned(),
            message: format!("neither template nor from {HOSTILE}"),
            remedy: "say one of them".to_owned(),
        };
        let mut plan = Foreseen::refused("prod", "web", "blue", "green", &[refusal]);
        plan.in_the_way.push(Check::failed(
            topics::SERVICES,
            "Service web does not exist",
            "kubectl apply -f web.yaml",
        ));
        shown("plan-refused", &plan, &page(&plan, Look::plain()));
    }

    #[test]
    fn names_and_refusals_steer_no_terminal() {
        let mut plan = foreseen(HOSTILE);
        (plan.cutover, plan.live, plan.target) = (HOSTILE.to_owned(), HOSTILE.to_owned(), HOSTILE.to_owned());
        plan.cannot_be_undone.push(HOSTILE.to_owned());
        plan.in_the_way.push(Check::failed(topics::SERVICES, HOSTILE, HOSTILE));
        plan.services.push(HOSTILE.to_owned());
        plan.dry_runs = vec![dry_run(HOSTILE, &[HOSTILE], Some(HOSTILE))];
        plan.hidden.push(HOSTILE.to_owned());
        shown("plan-hostile", &plan, &page(&plan, Look::plain()));
    }

    #[test]
    fn what_differs_is_shown_field_by_field() {
        let (before, now) = (run(1, "2.3.0", Some(over("Completed"))), run(2, HOSTILE, None));
        let mut now = now.spec.plan;
        now["steps"][1]["timeout"] = serde_json::json!("7m");
        now["steps"].as_array_mut().expect("steps").pop();
        let all = differ(&before.spec.plan, &now);
        let compared = Compared { before: "web-1".to_owned(), now: "now".to_owned(), differences: all };
        shown("diff", &compared, &differences("web-1 → now", &compared.differences));
        let same = Compared { before: "web-1".to_owned(), now: "now".to_owned(), differences: vec![] };
        shown("diff-none", &same, &differences("web-1 → now", &same.differences));
    }
}
