//! Where something from outside comes in, as functions of that alone: what fuzzing calls (`tests/fuzz`). Each does what the
//! product does at that place, and nothing else. Built with the feature `fuzz` only.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::actions::{self, Cx, Verdict};
use crate::api::cutover::{Cutover, CutoverStatus};
use crate::api::phase::Phase;
use crate::api::run::{CutoverRun, RunStatus};
use crate::api::step::Http;
pub use crate::cli::pages::{findings, pages};
use crate::net::{prometheus, wire, x509};
use crate::plan::Plan;
use crate::plan::vars::{Escape, Vars};
use crate::plan::{expr, reach, select, vars};
use crate::world::{HttpAnswer, HttpError, HttpResponse, QueryAnswer, World};
use crate::{journal, spans, status, view};

/// What an answer of Prometheus is worth.
pub fn promql(status: u16, body: &str) -> QueryAnswer {
    prometheus::judge(status, body)
}

/// The answer of an application or of Prometheus, as it comes over a connection.
///
/// # Errors
/// It is no answer, or not all of one.
pub async fn answer<T>(io: T, limit: usize, within: Duration) -> Result<HttpResponse, HttpError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    wire::answer(io, limit, within).await
}

/// What came of a request of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Judged {
    Passed { evidence: Option<Value>, captures: BTreeMap<String, Value> },
    Failed { message: String, evidence: Option<Value> },
}

/// What the answers to a request of a step are worth.
pub fn judged(plan: &Plan, http: &Http, answers: &[HttpAnswer], now: Timestamp) -> Judged {
    let (journal, world) = (RunStatus::default(), World::new(now, "uid"));
    let cx = Cx { plan, journal: &journal, world: &world, paused: false };
    match actions::http::judge(&cx, http, answers) {
        Verdict::Pass { evidence, captures, hidden: _ } => Judged::Passed { evidence, captures },
        Verdict::Fail { message, evidence } | Verdict::Refused { message, evidence } => {
            Judged::Failed { message, evidence }
        }
        Verdict::NotMade { message } | Verdict::Unknown { message } => Judged::Failed { message, evidence: None },
    }
}

/// What a certificate says of itself: subject, issuer, names, end.
///
/// # Errors
/// It is none.
pub fn certificate(der: &[u8]) -> Result<(String, String, Vec<String>, Timestamp), String> {
    x509::read(der).map(|read| (read.subject, read.issuer, read.names, read.not_after))
}

/// Most names of a certificate, and the longest text of it, in characters.
pub const CERTIFICATE: (usize, usize) = (x509::MAX_NAMES, x509::MAX_TEXT);

/// Whether a path is accepted in a Cutover.
///
/// # Errors
/// Says why not.
pub fn path(path: &str) -> Result<(), String> {
    select::check_path(path)
}

/// Whether an expression is accepted in a Cutover, where these variables are known.
///
/// # Errors
/// Says why not.
pub fn expression(text: &str, names: &[&str]) -> Result<(), String> {
    expr::references(text, names).map(drop)
}

/// How far a query looks back.
pub fn looks_back(query: &str) -> crate::api::Duration {
    reach::reach(query)
}

/// A text with its variables, once for each place that one may be put into.
pub fn expanded(
    plan: &Plan,
    captures: &BTreeMap<String, Value>,
    text: &str,
) -> Vec<(&'static str, Result<String, String>)> {
    let vars = Vars::new(plan, captures);
    let places = [
        ("path", Escape::PathSegment),
        ("json", Escape::Json),
        ("header", Escape::Header),
        ("form", Escape::Form),
        ("env", Escape::Env),
        ("image", Escape::Image),
    ];
    places.map(|(place, escape)| (place, vars.expand(text, escape).map_err(|e| e.to_string()))).into()
}

/// The variables that a text names.
///
/// # Errors
/// Something in it is none.
pub fn variables(text: &str) -> Result<Vec<String>, String> {
    vars::references(text).map_err(|e| e.to_string())
}

/// Whether the lifecycle has this transition.
pub fn is_legal(from: Phase, to: Phase) -> bool {
    journal::legal(from, to)
}

/// Start and end of each span of a run's trace, with the error that it shows.
pub fn trace(run: &CutoverRun) -> Vec<(Timestamp, Timestamp, Option<String>)> {
    let plan = view::plan_of(run);
    let Some(seen) = view::Run::of(run, plan.as_ref()) else { return vec![] };
    spans::trace(&seen).spans.into_iter().map(|span| (span.start, span.end, span.error)).collect()
}

/// The status of a Cutover whose newest run this is.
pub fn projected(cutover: &Cutover, run: &CutoverRun, live: Option<&str>, now: Timestamp) -> CutoverStatus {
    let facts = status::Facts { live: live.map(str::to_owned), problem: None };
    status::project(cutover, Some(run), &facts, now)
}
