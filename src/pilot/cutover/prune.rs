//! PURE. Closed runs over the history limit are deleted, oldest first. Which runs have been is remembered in the Cutover.

use kube::core::ObjectMeta;

use super::order::{Class, Request};
use super::replay::{Replay, Stop};
use crate::api::cutover::Cutover;

/// Closed runs kept where the Cutover does not say.
const HISTORY: usize = 10;

/// Deletes what is over the limit.
pub(crate) fn prune(look: &mut Replay<'_>, cutover: &Cutover) -> Result<(), Stop> {
    let limit = cutover.spec.history_limit.map_or(HISTORY, |n| n as usize);
    let status = cutover.status.as_ref();
    // So many runs there have never been.
    if status.is_some_and(|s| usize::try_from(s.runs).is_ok_and(|runs| runs <= limit)) {
        return Ok(());
    }
    let list = look.metadata(Request::ClosedRuns)?;
    let newest = status.and_then(|s| s.run.as_ref()).map(|r| r.name.as_str());
    for run in over(list, limit, newest) {
        let name = run.name.clone().unwrap_or_default();
        match look.ask(Request::DeleteRun { name, uid: run.uid.clone() }) {
            Ok(_) => {}
            Err(Stop::Fails(f)) if matches!(f.class, Class::NotFound | Class::Conflict) => {}
            Err(stop) => return Err(stop),
        }
    }
    Ok(())
}

/// The oldest ones over the limit; never the newest run.
fn over<'a>(runs: &'a [ObjectMeta], limit: usize, newest: Option<&str>) -> Vec<&'a ObjectMeta> {
    let mut runs: Vec<&ObjectMeta> = runs.iter().collect();
    runs.sort_by_key(|r| (r.creation_timestamp.as_ref().map(|t| t.0), r.name.clone()));
    let many = runs.len().saturating_sub(limit);
    runs.into_iter().take(many).filter(|r| r.name.as_deref() != newest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn the_oldest_go_and_the_newest_run_never() {
        let run = |name: &str, second: i64| ObjectMeta {
            name: Some(name.into()),
            creation_timestamp: jiff::Timestamp::from_second(second).ok().map(Time),
            ..ObjectMeta::default()
        };
        let runs = [run("web-3", 30), run("web-1", 10), run("web-2", 20)];
        let names =
            |limit, newest| over(&runs, limit, newest).iter().filter_map(|r| r.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(1, Some("web-3")), ["web-1", "web-2"]);
        assert_eq!(names(2, Some("web-1")), Vec::<String>::new());
        assert_eq!(names(3, None), Vec::<String>::new());
    }
}
