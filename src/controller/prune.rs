//! Closed runs over the history limit are deleted, oldest first. Which runs have been is remembered in the Cutover.

use kube::api::{DeleteParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt};

use super::reconcile::Look;
use crate::act::call::{CallError, Class, call};
use crate::api::cutover::Cutover;
use crate::api::run::CutoverRun;

/// Closed runs kept where the Cutover does not say.
const HISTORY: usize = 10;

/// Deletes what is over the limit.
pub async fn prune(look: &Look<'_>, cutover: &Cutover) -> Result<(), CallError> {
    let limit = cutover.spec.history_limit.map_or(HISTORY, |n| n as usize);
    let api: Api<CutoverRun> = Api::namespaced(look.cx.client.clone(), &look.key.namespace);
    let closed = super::runs_of(&look.key.name).fields("status.state=Closed");
    let list = call(api.list_metadata(&closed)).await?;
    let newest = cutover.status.as_ref().and_then(|s| s.run.as_ref()).map(|r| r.name.as_str());
    for run in over(list.items, limit, newest) {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: run.uid(), resource_version: None }),
            ..DeleteParams::background()
        };
        match call(api.delete(&run.name_any(), &params)).await {
            Ok(_) => {}
            Err(e) if matches!(e.class, Class::NotFound | Class::Conflict) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The oldest ones over the limit; never the newest run.
fn over(
    mut runs: Vec<PartialObjectMeta<CutoverRun>>,
    limit: usize,
    newest: Option<&str>,
) -> Vec<PartialObjectMeta<CutoverRun>> {
    runs.sort_by_key(|r| (r.creation_timestamp().map(|t| t.0), r.name_any()));
    let many = runs.len().saturating_sub(limit);
    runs.into_iter().take(many).filter(|r| Some(r.name_any().as_str()) != newest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::core::PartialObjectMetaExt;

    #[test]
    fn the_oldest_go_and_the_newest_run_never() {
        let run = |name: &str, second: i64| {
            let meta = kube::core::ObjectMeta {
                name: Some(name.into()),
                creation_timestamp: jiff::Timestamp::from_second(second).ok().map(Time),
                ..Default::default()
            };
            meta.into_response_partial::<CutoverRun>()
        };
        let runs = vec![run("web-3", 30), run("web-1", 10), run("web-2", 20)];
        let names = |limit, newest| over(runs.clone(), limit, newest).iter().map(|r| r.name_any()).collect::<Vec<_>>();
        assert_eq!(names(1, Some("web-3")), ["web-1", "web-2"]);
        assert_eq!(names(2, Some("web-1")), Vec::<String>::new());
        assert_eq!(names(3, None), Vec::<String>::new());
    }
}
