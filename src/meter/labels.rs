//! The values that labels may have: closed sets, and names of objects only where a run's
//! triggers are shown (`watched`). A value outside of its set is shown as `other`.

use crate::api::condition::types;
use crate::api::phase::Phase;
use crate::api::run::BlockCause;
use crate::api::run::StepState;
use crate::effect::letter::Told;
use crate::effect::{Effect, Outcome};

/// What a value outside of its set is shown as.
pub(crate) const OTHER: &str = "other";

/// In place of the values of a label that is the name of an object.
pub const NAME: [&str; 1] = ["its name"];

/// Phases in which a run ends.
pub(crate) const ENDS: [&str; 5] = ["Completed", "RolledBack", "Failed", "Aborted", "Superseded"];

/// Phases that a run can leave, so that the time in them is known.
pub(crate) const PHASES: [&str; 10] = [
    Phase::Pending.as_str(),
    Phase::Preflight.as_str(),
    Phase::Preparing.as_str(),
    Phase::Verifying.as_str(),
    Phase::Switching.as_str(),
    Phase::Confirming.as_str(),
    Phase::Observing.as_str(),
    Phase::Finishing.as_str(),
    Phase::Completed.as_str(),
    Phase::RollingBack.as_str(),
];

/// How a step ended. One that was skipped took no time.
pub(crate) const STEP_RESULTS: [&str; 3] = ["succeeded", "failed", "unknown"];

/// How a step ended; `None` while it has not, or was skipped.
pub(crate) const fn step_result(state: StepState) -> Option<&'static str> {
    match state {
        StepState::Succeeded => Some("succeeded"),
        StepState::Failed => Some("failed"),
        StepState::Unknown => Some("unknown"),
        StepState::Running | StepState::Skipped => None,
    }
}

/// Up to which moment a switch is timed.
pub(crate) const SWITCH_UNTIL: [&str; 2] = ["patched", "converged"];

/// What made a restore necessary.
pub(crate) const CAUSES: [&str; 2] = ["trigger", OTHER];

/// What stands in the way of runs: condition types that are True, and `CannotRollBack` for `CanRollBack=False`.
pub(crate) const TROUBLES: [&str; 9] = [
    types::AWAITING_DECISION,
    types::OUTCOME_UNKNOWN,
    types::ROLLBACK_BLOCKED,
    CANNOT_ROLL_BACK,
    types::SELECTOR_DRIFT,
    types::NODE_LOST,
    types::METRICS_INCONCLUSIVE,
    types::SUSPENDED,
    types::NOTIFICATIONS_FAILING,
];

/// `CanRollBack` is False.
pub(crate) const CANNOT_ROLL_BACK: &str = "CannotRollBack";

/// What is watched.
pub const WATCHED: [&str; 12] = [
    "cutovers",
    "cutoverruns",
    "cutoverdecisions",
    "services",
    "pods",
    "endpointslices",
    "jobs",
    "deployments",
    "statefulsets",
    "leases",
    "nodes",
    OTHER,
];

/// Methods of API requests; watches apart, since they are long.
pub(crate) const METHODS: [&str; 7] = ["GET", "WATCH", "POST", "PUT", "PATCH", "DELETE", OTHER];

/// Results of API requests.
pub(crate) const RESULTS: [&str; 10] = [
    "ok",
    "not_found",
    "conflict",
    "forbidden",
    "unauthorized",
    "invalid",
    "throttled",
    "unavailable",
    "unreachable",
    "abandoned",
];

/// The result that an HTTP status stands for.
pub(crate) const fn result_of(status: u16) -> &'static str {
    match status {
        0..400 => "ok",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        409 => "conflict",
        429 => "throttled",
        400..500 => "invalid",
        _ => "unavailable",
    }
}

/// Results of writing a journal.
pub(crate) const CLAIMS: [&str; 3] = ["written", "conflict", "failed"];

/// Why an Event was not written.
pub(crate) const EVENTS_LOST: [&str; 2] = ["queue_full", "refused"];

/// What became of the trace of a run.
pub(crate) const TRACES: [&str; 3] = ["exported", "failed", "dropped"];

/// Kinds of effects.
pub(crate) const EFFECTS: [&str; 19] = [
    "create_job",
    "start_job",
    "delete_job",
    "own_job",
    "keep",
    "own_secret",
    "delete_pod",
    "answer",
    "take_up",
    "send",
    "switch",
    "restore",
    "scale",
    "suspend",
    "set_env",
    "unset_env",
    "forget_env",
    "restart",
    "template",
];

/// The kind of an effect.
pub const fn effect(effect: &Effect) -> &'static str {
    match effect {
        Effect::CreateJob { .. } => "create_job",
        Effect::StartJob { .. } => "start_job",
        Effect::DeleteJob { .. } => "delete_job",
        Effect::OwnJob { .. } => "own_job",
        Effect::Keep { .. } => "keep",
        Effect::OwnSecret { .. } => "own_secret",
        Effect::DeletePod { .. } => "delete_pod",
        Effect::Notify { .. } => "notify",
        Effect::Answer { .. } => "answer",
        Effect::TakeUp { .. } => "take_up",
        Effect::Send { .. } => "send",
        Effect::Switch { .. } => "switch",
        Effect::Restore { .. } => "restore",
        Effect::Change { change, .. } => change.kind().as_str(),
    }
}

/// Outcomes of effects.
pub(crate) const OUTCOMES: [&str; 10] = [
    "created",
    "name_collision",
    "done",
    "answered",
    "not_found",
    "conflict",
    "refused",
    "guarded",
    "not_sent",
    "transient",
];

/// What came of an effect, without what was said: an answer may hold what belongs in no log.
pub const fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Created { .. } => "created",
        Outcome::NameCollision(_) => "name_collision",
        Outcome::Done | Outcome::Changed { .. } => "done",
        Outcome::Answered(_) => "answered",
        Outcome::Told(Told::Received { .. }) => "done",
        Outcome::Told(Told::Not { .. }) => "transient",
        Outcome::NotFound => "not_found",
        Outcome::Conflict(_) => "conflict",
        Outcome::Refused { .. } => "refused",
        Outcome::Guarded { .. } => "guarded",
        Outcome::Blocked { cause, .. } => match cause {
            BlockCause::Permission | BlockCause::Admission | BlockCause::Refused => "refused",
            BlockCause::Conflict => "conflict",
            BlockCause::Throttled
            | BlockCause::Unreachable
            | BlockCause::OldSideEmpty
            | BlockCause::BothSidesEmpty
            | BlockCause::ServiceGone
            | BlockCause::SelectorDrift => "transient",
        },
        Outcome::NotSent(_) => "not_sent",
        Outcome::Transient(_) => "transient",
    }
}

/// The value itself where the set has it, else `other`.
pub fn within(set: &[&'static str], value: &str) -> &'static str {
    set.iter().find(|v| **v == value).copied().unwrap_or(OTHER)
}
