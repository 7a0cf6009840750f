//! PURE. The sheets: what each begins with, and which sections it has. `docs/report.md` says whose sheet each stands for.

use clap::ValueEnum;

use super::model::{Report, Word};
use super::sections as s;
use super::sheet::{Block, Cell, Section, Sheet, time};
use crate::api::run::StepState;

/// A sheet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Template {
    /// Everything.
    #[default]
    Full,
    /// The log that is signed after a release.
    Signoff,
    /// The checklist with outputs and the decision at its end.
    GoNoGo,
    /// What happened, for those who were hit.
    Incident,
    /// What went live, and how it went.
    Success,
}

impl Template {
    /// The sheet of a run.
    pub(super) fn sheet(self, r: &Report) -> Sheet<'_> {
        let (what, sections) = match self {
            Self::Full => (
                "Report",
                vec![
                    s::decision(r),
                    s::run(r),
                    s::release(r),
                    s::phases(r),
                    s::switch(r),
                    s::rollback(r),
                    s::steps(r),
                    s::outputs(r),
                    s::approvals(r),
                    s::decisions(r),
                    s::measurements(r),
                    s::losses(r),
                    s::checks(r),
                    s::missing(r),
                ],
            ),
            Self::Signoff => (
                "Sign-off log",
                vec![
                    signoff(r),
                    s::release(r),
                    s::steps(r),
                    s::outputs(r),
                    s::approvals(r),
                    s::checks(r),
                    s::missing(r),
                ],
            ),
            Self::GoNoGo => (
                "Go/no-go sheet",
                vec![
                    s::release(r),
                    s::steps(r),
                    s::outputs(r),
                    s::measurements(r),
                    s::approvals(r),
                    s::decision(r),
                    s::missing(r),
                ],
            ),
            Self::Incident => (
                "Incident notice",
                vec![
                    incident(r),
                    s::rollback(r),
                    s::switch(r),
                    s::measurements(r),
                    s::losses(r),
                    s::phases(r),
                    s::decisions(r),
                    s::missing(r),
                ],
            ),
            Self::Success => (
                "Release report",
                vec![
                    success(r),
                    s::release(r),
                    s::switch(r),
                    s::measurements(r),
                    s::losses(r),
                    s::checks(r),
                    s::missing(r),
                ],
            ),
        };
        Sheet { title: format!("{what} of run {}", r.run), sections }
    }
}

/// When users were switched.
fn switched(r: &Report) -> Cell {
    Cell::at(r.switch.iter().flat_map(|s| &s.services).filter_map(|s| s.switched).max())
}

fn signoff(r: &Report) -> Section<'_> {
    let again = r.checks.iter().rfind(|c| c.name == "revalidation");
    let approved: Vec<String> = r
        .approvals
        .iter()
        .flat_map(|g| &g.roles)
        .filter(|role| !role.by.is_empty())
        .map(|role| format!("{}: {}", role.name, role.by.join(", ")))
        .collect();
    let facts = vec![
        ("Deployment timestamp (UTC)", switched(r)),
        ("Release commit SHA", Cell::of(r.release.revision.clone())),
        ("Release tag", Cell::of(r.release.tag.clone())),
        ("Outcome", Cell::Strong(format!("{} ({})", s::word(r.verdict.decision), r.phase))),
        ("Re-validation timestamp (UTC)", Cell::may(again.and_then(|c| c.at).map(time))),
        ("Re-validation result", Cell::may(again.and_then(|c| c.state).map(|s| format!("{s:?}")))),
        ("Approver names", Cell::list(&approved)),
    ];
    Section { title: "Sign-off", blocks: vec![Block::Facts(facts)] }
}

fn incident(r: &Report) -> Section<'_> {
    let back = r.rollback.as_ref();
    let status = match (back, back.and_then(|b| b.restored)) {
        (None, _) => "no rollback is recorded",
        (Some(_), Some(_)) => "resolved: users are on the old side again",
        (Some(_), None) if r.switch.is_none() => "resolved: users were never on the target",
        (Some(_), None) => "under way: not every selector is back",
    };
    let impact = match (back, &r.switch) {
        (Some(_), None) => Cell::text("none: no Service was switched"),
        (Some(_), Some(_)) => match r.losses.on_target_seconds {
            Some(s) => Cell::text(format!("users were on the target for {s:.1} s")),
            None => Cell::NotRecorded,
        },
        (None, _) => Cell::NotRecorded,
    };
    let facts = vec![
        ("Time (UTC)", Cell::at(back.map(|b| b.first_bad.unwrap_or(b.decided)))),
        ("Issue", Cell::of(back.map(|b| b.why.clone()))),
        ("Impact", impact),
        ("Status", Cell::Strong(status.to_owned())),
        ("Resolved (UTC)", Cell::at(back.and_then(|b| b.restored))),
        ("Decided by", Cell::list(&r.verdict.owners)),
        ("Incident commander", Cell::NotRecorded),
    ];
    Section { title: "Incident", blocks: vec![Block::Facts(facts)] }
}

fn success(r: &Report) -> Section<'_> {
    let issue = |step: &&super::model::Step| {
        matches!(step.state, Some(StepState::Failed | StepState::Unknown)) || !step.earlier.is_empty()
    };
    let bad: Vec<String> = r.steps.iter().filter(issue).map(|step| format!("step {}", step.name)).collect();
    let fired = r.measurements.iter().filter(|m| m.fired.is_some()).map(|m| format!("trigger {}", m.trigger));
    let issues: Vec<String> = bad.into_iter().chain(fired).collect();
    let issues = if issues.is_empty() { Cell::text("none recorded") } else { Cell::list(&issues) };
    let release = r.release.version.clone().or_else(|| r.release.tag.clone()).or_else(|| r.release.revision.clone());
    let outcome = match r.verdict.decision {
        Word::Go => "complete",
        Word::NoGo => "not live: this run did not complete",
        Word::Open => "not over yet",
    };
    let facts = vec![
        ("Release", Cell::of(release)),
        ("Outcome", Cell::Strong(outcome.to_owned())),
        ("Switched (UTC)", switched(r)),
        ("Duration", Cell::seconds(r.took_seconds)),
        ("Issues", issues),
        ("Downtime", Cell::NotRecorded),
        ("Owner", Cell::list(&r.verdict.owners)),
    ];
    Section { title: "Summary", blocks: vec![Block::Facts(facts)] }
}
