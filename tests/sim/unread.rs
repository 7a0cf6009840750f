//! Answers to reads that came to nothing, as `cutover::observe` gives them.

use cutover::effect::{DryRun, Read, Request};
use cutover::world::{
    AlertsAnswer, DryRunRefusal, HttpAnswer, HttpError, JobResult, KeysAnswer, LogsAnswer, NumbersAnswer, Proof,
    Proven, QueryAnswer, Reading, ResourceAnswer, TlsAnswer, UsageAnswer,
};

const WHY: &str = "503 the server is unable to handle it";

/// The answer to a read whose request failed.
pub fn unread(read: &Read) -> Reading {
    let why = || WHY.to_owned();
    match read {
        Read::Http(request) => Reading::Http(nobody_answers(request)),
        Read::Query { .. } => Reading::Query(QueryAnswer::Inconclusive(why())),
        Read::Numbers { .. } => Reading::Numbers(NumbersAnswer::Inconclusive(why())),
        Read::Alerts(_) => Reading::Alerts(AlertsAnswer::Inconclusive(why())),
        Read::Keys { .. } => Reading::Keys(KeysAnswer::Refused(why())),
        Read::JobResult { .. } => Reading::Job(JobResult { problem: Some(why()), ..JobResult::default() }),
        Read::Resource(_) => Reading::Resource(ResourceAnswer::Unread(why())),
        Read::Tls(_) => Reading::Tls(TlsAnswer::Unseen(why())),
        Read::Usage(_) => Reading::Usage(UsageAnswer::Inconclusive(why())),
        Read::Logs(_) => Reading::Logs(LogsAnswer { lines: 0, pods: 0, problem: Some(why()) }),
        Read::DryRun(tries) => Reading::DryRun(tries.iter().map(not_tried).collect()),
        Read::CronJob(_) => Reading::CronJob(Err(why())),
        Read::Revisions(_) => Reading::Revisions(Err(why())),
        Read::Nodes(_) => Reading::Nodes(Err(why())),
        Read::Events(_) => Reading::Events(Err(why())),
        Read::Selectors => Reading::Selectors(Err(why())),
        Read::Proof => Reading::Proof(proof(Proven::Unknown(why()))),
        // Its failure is that it never comes.
        Read::Refresh => Reading::Refreshed,
    }
}

/// A proof with this verdict. The policies are older than every decision.
pub fn proof(verdict: Proven) -> Proof {
    Proof { verdict, since: jiff::Timestamp::MIN, policies: Some("as installed".into()) }
}

fn nobody_answers(request: &Request) -> Vec<HttpAnswer> {
    let urls = request.url.iter().cloned();
    let names = urls.chain(request.to.iter().map(|to| to.name.clone()));
    let lost = || Err(HttpError::Lost("no answer within the time".into()));
    names.map(|from| HttpAnswer { from, result: lost() }).collect()
}

fn not_tried(_: &DryRun) -> DryRunRefusal {
    DryRunRefusal { what: "try it".into(), why: WHY.into(), forbidden: false, transient: true }
}
