//! What nobody may take for done before it is.

use cutover::api::cutover::Cutover;
use cutover::api::phase::Phase;
use cutover::api::run::CutoverRun;
use kube::ResourceExt;

/// What a pipeline would take for done: Ready for the generation that stands there, although what it wants was not taken up, or
/// a run of it has not come to its end.
pub fn done_too_early(cutover: &Cutover, active: &[&CutoverRun]) -> Vec<String> {
    let Some(status) = &cutover.status else { return vec![] };
    let seen = status.observed_generation == cutover.metadata.generation;
    if !seen || !status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True") {
        return vec![];
    }
    let mut wrong = vec![];
    let (spec, name) = (&cutover.spec, cutover.name_any());
    let started = status.started.as_ref().is_some_and(|s| s.activate == spec.activate && s.release == spec.release);
    if !started {
        wrong.push(format!("Cutover {name} is Ready, and {} was not taken up", spec.activate));
    }
    let completed = |run: &CutoverRun| run.status.as_ref().is_some_and(|s| s.phase == Phase::Completed);
    for run in active.iter().filter(|run| !completed(run)) {
        wrong.push(format!("Cutover {name} is Ready, and run {} is under way", run.name_any()));
    }
    wrong
}
