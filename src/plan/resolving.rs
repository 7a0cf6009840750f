//! PURE. What resolving carries from step to step, and what every step says of itself whatever its action.

use std::collections::BTreeSet;

use crate::api::cutover::ServiceRef;
use crate::api::duration::Duration;
use crate::api::step::{Retry, SideRef, Step, WorkloadRef};

use super::Stage;
use super::metrics::Offered;
use super::refuse::Refusals;
use super::scope::Scope;

/// Pause between attempts unless the step says.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// Most attempts.
const MAX_ATTEMPTS: u32 = 20;

/// What steps are resolved with.
pub(super) struct Cx<'a> {
    /// What was refused so far.
    pub refusals: &'a mut Refusals,
    /// What exists so far.
    pub scope: Scope,
    /// The Cutover's account.
    pub account: &'a str,
    /// Other accounts that Jobs may run as.
    pub job_accounts: &'a [String],
    /// Whether it is said who asked for the release.
    pub requested: bool,
    /// Workloads of the side being activated.
    pub target: &'a [WorkloadRef],
    /// Workloads of the side that was live when the run began.
    pub old: &'a [WorkloadRef],
    /// The Services of the Cutover.
    pub services: &'a [ServiceRef],
    /// Workloads whose pod template a step before changes.
    pub changed: BTreeSet<WorkloadRef>,
    /// What is captured before the switch; empty until all of its phases are resolved.
    pub before_switch: BTreeSet<String>,
    /// The Cutover's.
    pub namespace: &'a str,
    /// Sources that the operator's configuration offers.
    pub offered: &'a Offered,
    /// Whether metrics can be asked for.
    pub has_prometheus: bool,
}

/// Where an action stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct ActionPlace<'a> {
    /// The stage.
    pub stage: Stage,
    /// As a part of what.
    pub part: Part<'a>,
    /// What that says of its time.
    pub timeout: Option<Duration>,
    /// The field of that.
    pub field: &'a str,
}

/// As a part of what an action stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    /// A step of a phase.
    Step(&'a Step),
    /// A step of a suite.
    Suite,
    /// The undo of a step.
    Undo,
}

impl ActionPlace<'_> {
    /// Whether nothing may be changed here.
    pub fn read_only(&self) -> bool {
        self.stage == Stage::Preflight && !matches!(self.part, Part::Undo)
    }
}

/// Attempts and the pause between them.
pub(super) fn attempts(retry: Option<&Retry>, at: &str, refusals: &mut Refusals) -> (u32, Duration) {
    let Some(retry) = retry else { return (1, EVERY) };
    refusals.require(
        (1..=MAX_ATTEMPTS).contains(&retry.attempts),
        format!("{at}.retry.attempts"),
        format!("{} attempts are not possible", retry.attempts),
        format!("give 1 to {MAX_ATTEMPTS}"),
    );
    (retry.attempts.clamp(1, MAX_ATTEMPTS), retry.every.unwrap_or(EVERY))
}

/// Refuses a timeout of nothing.
pub(super) fn timeout_is_some_time(timeout: Option<Duration>, at: &str, refusals: &mut Refusals) {
    refusals.require(
        timeout.is_none_or(|t| !t.is_zero()),
        format!("{at}.timeout"),
        "a timeout of 0s leaves no time",
        "give some time, or leave it out",
    );
}

/// Refuses a change of the old side before the restore: it is what users go back to.
pub(super) fn spares_old(cx: &mut Cx, place: &ActionPlace, side: Option<SideRef>, workloads: &[WorkloadRef], at: &str) {
    let old = side == Some(SideRef::Old) || workloads.iter().any(|w| cx.old.contains(w));
    cx.refusals.require(
        place.stage != Stage::BeforeRestore || !old,
        at,
        "nothing of the old side is touched before users are back on it",
        "move the step to rollback",
    );
}
