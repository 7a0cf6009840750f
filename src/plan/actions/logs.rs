//! PURE. `logs`, as a step and as a trigger: whose lines, how far back.

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{Logs, SideRef, WorkloadRef};
use crate::plan::Plan;
use crate::plan::refuse::Refusals;
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;
use crate::plan::select;

use super::{Action, ActionPlace, Given, Planned, metric, quick};

/// How far back, unless the manifest says.
const WITHIN: Duration = Duration::from_mins(5);
/// Furthest back: logs are bounded in size on every node, so that older lines are seldom all there.
const LONGEST: Duration = Duration::from_mins(24 * 60);

impl Given for Logs {
    fn texts(&self, at: &str) -> Vec<Usage> {
        self.expect.iter().map(|e| Usage::expr(format!("{at}.expect"), metric::VARIABLES, e)).collect()
    }

    fn resolve(&self, cx: &mut Cx, _place: &ActionPlace, at: &str) -> Action {
        Action::Logs(of_step(self, at, cx.refusals))
    }
}

impl Planned for Logs {
    fn only_reads(&self) -> bool {
        true
    }

    // Its workload is read when its step comes.
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

/// A step's, with its defaults filled in.
fn of_step(logs: &Logs, at: &str, refusals: &mut Refusals) -> Logs {
    refusals.require(
        logs.side.is_some() != logs.workload.is_some(),
        at,
        "exactly one of side and workload says whose logs are meant",
        "give one of them",
    );
    refusals.require(
        logs.expect.is_some(),
        format!("{at}.expect"),
        "nothing says how many lines there may be",
        "write for example \"value == 0.0\"",
    );
    checked(logs, at, refusals)
}

/// A trigger's; the target's pods where it names nobody's.
pub(in crate::plan) fn of_trigger(logs: &Logs, at: &str, refusals: &mut Refusals) -> Logs {
    refusals.require(
        logs.side.is_none() || logs.workload.is_none(),
        at,
        "side and workload name different pods",
        "give one of them, or neither for the target's pods",
    );
    refusals.require(logs.expect.is_none(), format!("{at}.expect"), "a trigger fires by moreThan", "leave expect out");
    let mut out = checked(logs, at, refusals);
    if out.workload.is_none() {
        out.side.get_or_insert(SideRef::Target);
    }
    out
}

fn checked(logs: &Logs, at: &str, refusals: &mut Refusals) -> Logs {
    if let Err(why) = select::check_regex(&logs.matches) {
        refusals.add(format!("{at}.matches"), why, "correct the regular expression");
    }
    refusals.require(
        logs.container.as_ref().is_none_or(|c| !c.is_empty()),
        format!("{at}.container"),
        "the container has no name",
        "name it, or leave it out for each pod's first one",
    );
    if let Some(within) = logs.within {
        refusals.require(
            !within.is_zero() && within <= LONGEST,
            format!("{at}.within"),
            format!("lines of {within} cannot be counted"),
            format!("give more than 0s and at most {LONGEST}"),
        );
    }
    Logs { within: Some(logs.within.unwrap_or(WITHIN)), ..logs.clone() }
}
