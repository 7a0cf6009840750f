//! PURE. Every page that shows a Cutover and its runs, at once and without a cluster: what fuzzing holds to be harmless.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use serde_json::Value;

use super::check::facts;
use super::cluster::Seen;
use super::find::Found;
use super::status::read::Reading;
use super::text::{Look, Page};
use super::watch::lines;
use super::{history, lint, report, status, trace};
use crate::api::cutover::Cutover;
use crate::api::run::CutoverRun;
use crate::lint::Outcome;
use crate::view;

/// Neither colours nor a width.
const LOOK: Look = Look { colour: false, unicode: true, width: None };
const FLAGS: &str = " -n prod";

/// Each command with the lines of its page, and the model that it is made of. The last run is the one that is meant.
pub fn pages(
    cutover: &Cutover,
    runs: &[CutoverRun],
    service: &Service,
    now: Timestamp,
) -> Vec<(&'static str, Vec<String>, Value)> {
    let reading = Reading {
        found: Found { cutover: cutover.clone(), run: runs.last().cloned(), runs: runs.to_vec() },
        deployments: Seen::Known(vec![]),
        stateful_sets: Seen::Known(vec![]),
        pods: Seen::Hidden(facts::PODS),
    };
    let model = |value: serde_json::Result<Value>| value.unwrap_or_default();
    let seen = status::model::Status::of(&reading, FLAGS, now);
    let row = status::table::Row::of(cutover, "");
    let past: Vec<_> = runs.iter().rev().map(history::Past::of).collect();
    let traced = trace::trace(service, std::slice::from_ref(cutover), runs.to_vec());
    let rows = std::slice::from_ref(&row);
    let mut all = vec![
        ("status", lines_of(&status::page::page(&seen, LOOK, now)), model(serde_json::to_value(&seen))),
        ("table", lines_of(&status::table::page(rows, true, LOOK, now)), model(serde_json::to_value(&row))),
        ("history", lines_of(&history::page(&past, 1, LOOK, now)), model(serde_json::to_value(&past))),
        ("trace", lines_of(&trace::page(&traced, now)), model(serde_json::to_value(&traced))),
    ];
    for run in runs {
        let (lines, record) = report::all(run);
        all.push(("report", lines, record));
        let plan = view::plan_of(run);
        let Some(seen) = view::Run::of(run, plan.as_ref()) else { continue };
        let changes = lines::Seen::default().changes(&seen, &lines::Flags(FLAGS), now, true);
        let told = changes.iter().map(|change| change.line().show(LOOK)).collect();
        all.push(("watch", told, model(serde_json::to_value(&changes))));
    }
    all
}

/// The lines that tell of the findings of `lint`.
pub fn findings(outcome: &Outcome) -> Vec<String> {
    lines_of(&lint::page::page(outcome))
}

fn lines_of(page: &Page) -> Vec<String> {
    page.lines.iter().map(|line| line.show(LOOK)).collect()
}
