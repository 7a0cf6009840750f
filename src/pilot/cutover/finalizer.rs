//! PURE. Patches that add and take away a finalizer.

use kube::Resource;
use kube::core::ObjectMeta;
use serde_json::Value;

use super::order::{Class, Reply, Request};
use super::replay::{Replay, Stop, another_kind};
use crate::api::cutover::Cutover;
use crate::api::run::CutoverRun;
use crate::api::{FINALIZER, RUN_FINALIZER};
use crate::effect::protocol::JsonPatch;

pub(crate) fn has(object: &impl Resource, finalizer: &str) -> bool {
    object.meta().finalizers.iter().flatten().any(|f| f == finalizer)
}

/// The patch that adds a finalizer to an object that is still as it was read.
pub fn with(object: &impl Resource, finalizer: &str) -> Value {
    let meta = object.meta();
    let patch = JsonPatch::default().version(meta.resource_version.as_deref().unwrap_or_default());
    let patch = match meta.finalizers.as_deref().unwrap_or_default() {
        [] => patch.add("/metadata/finalizers", vec![finalizer]),
        _ => patch.add("/metadata/finalizers/-", finalizer),
    };
    patch.operations()
}

fn without(object: &ObjectMeta, finalizer: &str) -> Option<Value> {
    JsonPatch::without_finalizer(object, finalizer).map(|patch| patch.operations())
}

/// Takes the finalizer of a Cutover away. The Cutover as it is then; `None` where there was nothing to take away, somebody
/// else has, or it cannot be read.
pub(crate) fn let_go<'a>(look: &mut Replay<'a>, cutover: &ObjectMeta) -> Result<Option<&'a Cutover>, Stop> {
    let Some(patch) = without(cutover, FINALIZER) else { return Ok(None) };
    match taken(look, Request::PatchCutover(patch), Request::Cutover, FINALIZER)? {
        Some(Reply::Cutover(after)) => Ok(Some(after)),
        None | Some(Reply::Unreadable { .. }) => Ok(None),
        Some(_) => Err(another_kind()),
    }
}

/// Takes the finalizer of a run away, if it has it.
pub fn release(look: &mut Replay<'_>, run: &CutoverRun) -> Result<(), Stop> {
    let Some(patch) = without(&run.metadata, RUN_FINALIZER) else { return Ok(()) };
    let name = run.metadata.name.clone().unwrap_or_default();
    taken(look, Request::PatchRun(name.clone(), patch), Request::Run(name), RUN_FINALIZER).map(drop)
}

/// The list may have changed since it was read: that is no failure where the finalizer is gone from it.
fn taken<'a>(look: &mut Replay<'a>, patch: Request, read: Request, finalizer: &str) -> Result<Option<&'a Reply>, Stop> {
    let failure = match look.ask(patch) {
        Ok(reply) => return Ok(Some(reply)),
        Err(Stop::Fails(failure)) => failure,
        Err(stop) => return Err(stop),
    };
    match failure.class {
        Class::NotFound => Ok(None),
        Class::Invalid => {
            let held = match look.ask_opt(read)? {
                Some(Reply::Cutover(now)) => has(now.as_ref(), finalizer),
                Some(Reply::Unreadable { metadata, .. }) => {
                    metadata.finalizers.iter().flatten().any(|f| f == finalizer)
                }
                Some(Reply::Run(now)) => has(now.as_ref(), finalizer),
                None => false,
                Some(_) => return Err(another_kind()),
            };
            if held { Err(failure.into()) } else { Ok(None) }
        }
        Class::Conflict | Class::Forbidden | Class::Transient => Err(failure.into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(finalizers: &[&str]) -> CutoverRun {
        let spec = json!({"cutover": "web", "cutoverUID": "u", "planVersion": 1, "plan": {}});
        let mut run = CutoverRun::new("web-1", serde_json::from_value(spec).expect("a spec"));
        run.metadata.finalizers = Some(finalizers.iter().map(|f| (*f).to_owned()).collect());
        run.metadata.resource_version = Some("7".into());
        run
    }

    #[test]
    fn a_finalizer_is_added_to_what_was_read_and_to_nothing_else() {
        let patch = with(&run(&[]), RUN_FINALIZER);
        assert_eq!((&patch[0]["value"], &patch[1]["value"]), (&json!("7"), &json!([RUN_FINALIZER])));
        assert_eq!(with(&run(&["other"]), RUN_FINALIZER)[1]["path"], json!("/metadata/finalizers/-"));
    }

    #[test]
    fn a_finalizer_is_removed_by_a_patch_that_tests_its_place() {
        let patch = without(&run(&["other", RUN_FINALIZER]).metadata, RUN_FINALIZER);
        assert_eq!(patch.map(|p| p[1]["path"].clone()), Some(json!("/metadata/finalizers/1")));
        assert_eq!(without(&run(&["other"]).metadata, RUN_FINALIZER), None);
    }
}
