//! PURE. As which account the pod of a Job runs, whatever it is made from (DESIGN §7, accounts of Jobs).

use serde_json::Value;

use super::Cx;
use super::request::NoRequest;
use crate::api::step::Job;
use crate::plan::accounts;

/// Refuses a pod that would run as an account which the Cutover does not list, and withholds the token of one that the pod
/// does not name. What a side's container runs as is known in the run alone.
pub(super) fn hold_to(cx: &Cx, job: &Job, template: &mut Value) -> Result<(), NoRequest> {
    let (own, Some(listed)) = (&cx.plan.service_account, &cx.plan.job_accounts) else { return Ok(()) };
    let Some(spec) = template.get_mut("spec") else { return Ok(()) };
    if let Some(found) = accounts::check(own, listed, spec).into_iter().next() {
        let at = match &job.from {
            Some(from) => format!("job.from: {:?} has {}", from.side, found.field),
            None => format!("job.template.spec.{}", found.field),
        };
        return Err(NoRequest::Fail(format!("{at}: {}; {}", found.message, found.remedy)));
    }
    if let Some(spec) = spec.as_object_mut() {
        accounts::withhold(own, listed, spec);
    }
    Ok(())
}
