//! `history`: the runs of a Cutover, with outcome, duration, cause and who.

use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::find::find;
use super::global::Global;
use super::output;
use super::rights::READ;
use super::session::Session;
use super::status::page::mark;
use super::text::{Line, Look, Page, Table, Tone, time};
use crate::api::phase::Phase;
use crate::api::run::CutoverRun;
use crate::view;

/// What is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct History {
    /// The Cutover; without one, the only one of the namespace.
    name: Option<String>,
}

/// A run on a line.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Past {
    pub run: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The side that it activated, or was to activate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    pub outcome: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// Up to its last word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_seconds: Option<i64>,
    /// How long users were on the target before they went back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_target_seconds: Option<i64>,
    /// Why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Who asked for it, and who decided about it.
    pub who: Vec<String>,
}

impl Past {
    pub(crate) fn of(run: &CutoverRun) -> Self {
        let plan = view::plan_of(run);
        let seen = view::Run::of(run, plan.as_ref());
        let asked = plan.as_ref().and_then(|p| p.release.requested_by.clone()).map(|by| format!("{by} (asked)"));
        let decided = seen.iter().flat_map(|r| r.decisions).map(|d| format!("{} ({:?})", d.by, d.decision));
        let mut who: Vec<String> = vec![];
        for one in asked.into_iter().chain(decided) {
            if !who.contains(&one) {
                who.push(one);
            }
        }
        let switch = seen.as_ref().and_then(|r| r.switch);
        let on_target = switch.and_then(|s| Some(s.restored?.duration_since(s.patched?).as_secs()));
        Self {
            run: run.name_any(),
            release: seen.as_ref().and_then(|r| r.release.new).map(str::to_owned),
            target: seen.as_ref().and_then(|r| r.target.as_ref()).map(|t| t.name.to_owned()),
            outcome: seen.as_ref().map_or(Phase::Pending, |r| r.phase),
            started: run.creation_timestamp().map(|t| t.0),
            took_seconds: seen.as_ref().and_then(view::Run::took).map(|t| t.as_secs()),
            on_target_seconds: on_target.filter(|s| *s >= 0),
            cause: seen.as_ref().and_then(|r| r.ending).map(|e| e.message.clone()),
            who,
        }
    }
}

impl History {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let session = Session::open(global, &READ).await?;
        let found = find(&session.cluster, self.name.as_deref()).await?;
        let past: Vec<Past> = found.runs.iter().rev().map(Past::of).collect();
        let name = found.cutover.name_any();
        if past.is_empty() && global.output.is_none() {
            eprintln!("Cutover {name} has had no run yet");
            return Ok(Exit::Done);
        }
        let kept = found.cutover.status.as_ref().map_or(0, |s| s.runs);
        let names: Vec<String> = past.iter().map(|p| format!("cutoverrun.cutover.dev/{}", p.run)).collect();
        let now = Timestamp::now();
        output::print(global.output, session.look, &past, &names, || page(&past, kept, session.look, now))?;
        Ok(Exit::Done)
    }
}

/// `all`: how many runs there have been.
pub(crate) fn page(past: &[Past], all: i64, look: Look, now: Timestamp) -> Page {
    let mut table = Table::new(&["RUN", "RELEASE", "TARGET", "OUTCOME", "STARTED", "TOOK", "WHO", "CAUSE"]);
    let seconds = |s: Option<i64>| s.map(|s| time::long(jiff::SignedDuration::from_secs(s))).unwrap_or_default();
    for p in past {
        let (tone, glyph) = mark(p.outcome, false);
        let text = |t: &Option<String>| Line::from(t.as_deref().unwrap_or_default());
        table.row(vec![
            Line::new().tone(Tone::Strong, &p.run),
            text(&p.release),
            text(&p.target),
            Line::new().sign(tone, glyph).tone(tone, p.outcome.as_str()),
            p.started.map(|at| time::clock(at, now)).unwrap_or_default().into(),
            seconds(p.took_seconds).into(),
            p.who.join(", ").into(),
            text(&p.cause),
        ]);
    }
    let mut page = table.page(look, 0);
    let gone = all - i64::try_from(past.len()).unwrap_or(0);
    if gone > 0 {
        page.push(Line::new().tone(Tone::Dim, format!("{gone} older runs are not kept (spec.historyLimit)")));
    }
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::fixtures::{HOSTILE, observing, over, run, shown, time};

    #[test]
    fn each_run_stands_on_a_line_and_what_is_not_kept_is_said() {
        let mut hostile = over("RolledBack");
        hostile["ending"]["message"] = json!(HOSTILE);
        hostile["decisions"] = json!([{"uid": "d", "decision": "Rollback", "by": HOSTILE, "at": "2026-01-01T00:09:00Z",
            "result": "accepted"}]);
        let runs = [
            run(4, "2.4.0", Some(observing())),
            run(3, HOSTILE, Some(hostile)),
            run(2, "2.3.0", Some(over("Completed"))),
        ];
        let past: Vec<Past> = runs.iter().map(Past::of).collect();
        shown("history", &past, &page(&past, 5, Look::plain(), time(20)));
    }
}
