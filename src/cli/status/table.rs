//! `status -A`: every Cutover on a line.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::page::mark;
use crate::api::condition::types;
use crate::api::cutover::Cutover;
use crate::api::phase::Phase;
use crate::cli::text::{Line, Look, Page, Table, Tone, time};
use crate::view;

/// A Cutover on a line.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub namespace: String,
    pub cutover: String,
    pub phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    pub waits_for_person: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Row {
    /// `context`: what printed commands need behind them to mean the same cluster.
    pub(crate) fn of(cutover: &Cutover, context: &str) -> Self {
        let status = cutover.status.clone().unwrap_or_default();
        let waits = [types::AWAITING_DECISION, types::OUTCOME_UNKNOWN, types::SUSPENDED];
        let stands = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            c.status == "True" && waits.contains(&c.type_.as_str())
        };
        let waits_for_person = status.gate.is_some() || status.conditions.iter().any(stands);
        Self {
            namespace: cutover.namespace().unwrap_or_default(),
            cutover: cutover.name_any(),
            phase: status.phase.unwrap_or_default(),
            live: status.live,
            target: status.target,
            progress: status.progress,
            since: status.since,
            waits_for_person,
            message: message(cutover, context),
        }
    }

    /// Whether it has been in its phase for longer than this.
    pub(crate) fn is_older_than(&self, age: std::time::Duration, now: Timestamp) -> bool {
        let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
        self.since.is_some_and(|since| now.duration_since(since) > age)
    }
}

/// The message of the operator. It ends with a command for whoever has kubectl alone; here it is the plugin's own.
fn message(cutover: &Cutover, context: &str) -> Option<String> {
    let status = cutover.status.as_ref()?;
    let says = status.message.as_deref().filter(|m| !m.is_empty())?;
    let namespace = cutover.namespace().unwrap_or_default();
    let look = status.run.as_ref().map(|run| format!("; next: {}", view::look(&run.name, &namespace)));
    let bare = look.and_then(|look| says.strip_suffix(&look));
    Some(match bare {
        Some(bare) => format!("{bare}; next: kubectl cutover status {} -n {namespace}{context}", cutover.name_any()),
        None => says.to_owned(),
    })
}

/// The table.
pub(crate) fn page(rows: &[Row], with_namespace: bool, look: Look, now: Timestamp) -> Page {
    let head = ["NAMESPACE", "CUTOVER", "PHASE", "SINCE", "LIVE", "TARGET", "STEPS", "MESSAGE"];
    let mut table = Table::new(if with_namespace { &head } else { &head[1..] });
    for row in rows {
        let (tone, glyph) = mark(row.phase, row.waits_for_person);
        let text = |t: &Option<String>| Line::new().text(t.as_deref().unwrap_or_default());
        let mut cells = vec![
            Line::new().tone(Tone::Strong, &row.cutover),
            Line::new().sign(tone, glyph).tone(tone, row.phase.as_str()),
            Line::new().text(row.since.map(|at| time::ago(at, now)).unwrap_or_default()),
            text(&row.live),
            text(&row.target),
            text(&row.progress),
            text(&row.message),
        ];
        if with_namespace {
            cells.insert(0, Line::new().text(&row.namespace));
        }
        table.row(cells);
    }
    table.page(look, 0)
}
