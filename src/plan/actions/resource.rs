//! PURE. `resource`, as a step and as a trigger: which object, and that it is no Secret.

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{Resource, WorkloadRef};
use crate::plan::Plan;
use crate::plan::refuse::Refusals;
use crate::plan::resolving::Cx;
use crate::plan::scope::{Type, Usage, Variable};

use super::{Action, ActionPlace, Given, Planned, quick};

/// Variables of `resource.expect` beside those of every expression.
const VARIABLES: &[Variable] = &[Variable("object", Type::Any)];

impl Given for Resource {
    fn texts(&self, at: &str) -> Vec<Usage> {
        Usage::exprs(&format!("{at}.expect"), VARIABLES, &self.expect).collect()
    }

    fn resolve(&self, cx: &mut Cx, _place: &ActionPlace, at: &str) -> Action {
        check(self, at, cx.refusals);
        Action::Resource(self.clone())
    }
}

impl Planned for Resource {
    fn only_reads(&self) -> bool {
        true
    }

    fn workloads(&self) -> Vec<WorkloadRef> {
        vec![]
    }

    fn changes(&self, _plan: &Plan) -> Vec<ObjectRef> {
        vec![]
    }

    fn time(&self, attempts: u32, every: Duration) -> Duration {
        quick(attempts, every)
    }
}

/// Refuses what cannot be looked at.
pub(in crate::plan) fn check(of: &Resource, at: &str, refusals: &mut Refusals) {
    let (group, version) = of.api_version.split_once('/').unwrap_or(("", &of.api_version));
    let label = |text: &str| {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        !text.is_empty() && text.chars().all(fine)
    };
    refusals.require(
        label(version) && (group.is_empty() != of.api_version.contains('/')) && (group.is_empty() || label(group)),
        format!("{at}.apiVersion"),
        format!("{:?} is not a group and version", of.api_version),
        "write for example v1 or apps/v1",
    );
    refusals.require(
        of.kind.chars().all(|c| c.is_ascii_alphanumeric()) && of.kind.starts_with(|c: char| c.is_ascii_uppercase()),
        format!("{at}.kind"),
        format!("{:?} is not a kind", of.kind),
        "write for example Deployment",
    );
    refusals.require(
        of.kind != "Secret",
        format!("{at}.kind"),
        "Secrets are not looked at as objects, so that no value is seen",
        "check their keys with config",
    );
    refusals.require(
        !of.expect.is_empty(),
        format!("{at}.expect"),
        "nothing says what the object must be",
        "write for example [\"object.status.phase == 'Bound'\"]",
    );
}
