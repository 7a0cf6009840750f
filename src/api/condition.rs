//! Every condition type and reason, in one place.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Condition types of a Cutover and of a run.
pub mod types {
    /// kstatus: the wanted release is live.
    pub const READY: &str = "Ready";
    /// The Cutover with its templates can be carried out as it is written; False names every refusal.
    pub const ACCEPTED: &str = "Accepted";
    /// kstatus: a run is under way.
    pub const RECONCILING: &str = "Reconciling";
    /// kstatus: a person is needed.
    pub const STALLED: &str = "Stalled";
    /// A person must decide.
    pub const AWAITING_DECISION: &str = "AwaitingDecision";
    /// A rollback would work now.
    pub const CAN_ROLL_BACK: &str = "CanRollBack";
    /// A due restore cannot be made.
    pub const ROLLBACK_BLOCKED: &str = "RollbackBlocked";
    /// A Service has a selector that is neither side's.
    pub const SELECTOR_DRIFT: &str = "SelectorDrift";
    /// A Service is claimed by another Cutover.
    pub const SERVICE_CONFLICT: &str = "ServiceConflict";
    /// What a Job or request did is not known.
    pub const OUTCOME_UNKNOWN: &str = "OutcomeUnknown";
    /// A lost node took pods of both sides with it; the run holds.
    pub const NODE_LOST: &str = "NodeLost";
    /// A metric gives no verdict.
    pub const METRICS_INCONCLUSIVE: &str = "MetricsInconclusive";
    /// The run is suspended.
    pub const SUSPENDED: &str = "Suspended";
}

/// Reasons: one per cause, shared by condition, Event and log line.
pub mod reasons {
    /// Nothing to do.
    pub const IDLE: &str = "Idle";
    /// The manifest can be carried out as written.
    pub const ACCEPTED: &str = "Accepted";
    /// The manifest cannot be carried out as written.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The release changed while its side is already live.
    pub const TARGET_IS_LIVE: &str = "TargetIsLive";
    /// Another Cutover claims the Service.
    pub const SERVICE_CONFLICT: &str = "ServiceConflict";
    /// A Service does not exist.
    pub const SERVICE_NOT_FOUND: &str = "ServiceNotFound";
    /// A Service was deleted, or replaced by another of the same name.
    pub const SERVICE_REPLACED: &str = "ServiceReplaced";
    /// The target's pod template changed during the run.
    pub const TARGET_CHANGED: &str = "TargetChanged";
    /// The old side's pod template changed during the run.
    pub const ROLLBACK_TARGET_CHANGED: &str = "RollbackTargetChanged";
    /// A step failed.
    pub const STEP_FAILED: &str = "StepFailed";
    /// A trigger fired.
    pub const TRIGGER_FIRED: &str = "TriggerFired";
    /// A person decided.
    pub const DECISION: &str = "Decision";
    /// `spec.activate` went back to the old side.
    pub const REVERTED: &str = "Reverted";
    /// The Cutover was deleted.
    pub const DELETED: &str = "Deleted";
    /// A newer release arrived before the switch, or ended what was to come after completion.
    pub const SUPERSEDED: &str = "Superseded";
    /// The old side has been scaled down for good.
    pub const RETIRED: &str = "Retired";
    /// Somebody else put the selector back.
    pub const ADOPTED: &str = "RestoredByOther";
    /// The switch was refused or ran out of time.
    pub const SWITCH_FAILED: &str = "SwitchFailed";
    /// The target has too few ready endpoints.
    pub const TARGET_NOT_READY: &str = "TargetNotReady";
    /// The checks before the run found something that stands in nobody's way and that people should know.
    pub const PREFLIGHT_WARNING: &str = "PreflightWarning";
    /// The ServiceAccount lacks a right, or the operator may not act as it.
    pub const PERMISSION_MISSING: &str = "PermissionMissing";
    /// A Service's selector is neither side's.
    pub const SELECTOR_DRIFT: &str = "SelectorDrift";
    /// A Job or request was started and its result was lost.
    pub const OUTCOME_UNKNOWN: &str = "OutcomeUnknown";
    /// The phase or observation took longer than it may.
    pub const TIMEOUT: &str = "Timeout";
    /// The journal of a run is gone.
    pub const RUN_LOST: &str = "RunLost";
    /// The plan was written by a newer operator.
    pub const PLAN_VERSION: &str = "PlanVersionUnknown";
    /// An admission webhook or policy stands in the way of a restore.
    pub const ADMISSION: &str = "AdmissionDenied";
    /// The API server answers 429.
    pub const THROTTLED: &str = "Throttled";
    /// The API server does not answer.
    pub const UNREACHABLE: &str = "Unreachable";
    /// Others write the Service at the same time.
    pub const CONFLICT: &str = "Conflict";
    /// The API server refuses the restore.
    pub const REFUSED: &str = "Refused";
    /// A Service that is to be restored does not exist.
    pub const SERVICE_GONE: &str = "ServiceGone";
    /// The old side has no ready endpoint.
    pub const OLD_SIDE_EMPTY: &str = "OldSideEmpty";
    /// The old side has been stopped by a step and is scaled up before a restore.
    pub const SCALED_UP_FIRST: &str = "ScaledUpFirst";
    /// Both sides have no ready endpoint.
    pub const BOTH_SIDES_EMPTY: &str = "BothSidesEmpty";
    /// Connections to the side that was left were not ended.
    pub const CONNECTIONS_KEPT: &str = "ConnectionsKept";
    /// The checks of a completed run were made again.
    pub const REVALIDATED: &str = "Revalidated";
    /// The phase went on as planned.
    pub const PROGRESS: &str = "Progress";
}

/// Longest message of a condition, in characters; of one that lists what was found, the longest that Kubernetes takes.
const LONGEST: (usize, usize) = (1024, 32_768);

/// Sets a condition; the transition time moves only when the status does. Whole seconds, as the wire has them.
pub fn set(list: &mut Vec<Condition>, type_: &str, status: bool, reason: &str, message: &str, now: Timestamp) {
    let message: String = message.chars().take(LONGEST.0).collect();
    set_whole(list, type_, status, reason, &message, now);
}

/// The same with a long message.
pub fn set_whole(list: &mut Vec<Condition>, type_: &str, status: bool, reason: &str, message: &str, now: Timestamp) {
    let status = if status { "True" } else { "False" };
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let message: String = message.chars().take(LONGEST.1).collect();
    if let Some(c) = list.iter_mut().find(|c| c.type_ == type_) {
        if c.status != status {
            c.last_transition_time = now;
        }
        c.status = status.into();
        c.reason = reason.into();
        c.message = message;
    } else {
        list.push(Condition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.into(),
            message,
            last_transition_time: now,
            observed_generation: None,
        });
    }
}

/// Removes a condition.
pub fn unset(list: &mut Vec<Condition>, type_: &str) {
    list.retain(|c| c.type_ != type_);
}
