//! Reasons: one per cause, shared by condition, Event and log line.
//!
//! One table: the constants, and the page `docs/conditions.md`.

use super::words;

words! {
    IDLE = "Idle",
        "There is nothing to do.",
        "Nothing.";
    ACCEPTED = "Accepted",
        "The manifest can be carried out as written.",
        "Nothing.";
    INVALID_SPEC = "InvalidSpec",
        "The manifest cannot be carried out as written.",
        "Correct each field that the message names.";
    TARGET_IS_LIVE = "TargetIsLive",
        "The release changed while its side is already live.",
        "Set `spec.activate` to the other side, or put the release back.";
    SERVICE_CONFLICT = "ServiceConflict",
        "Another Cutover claims the Service.",
        "Name each Service in one Cutover only.";
    SERVICE_NOT_FOUND = "ServiceNotFound",
        "A Service does not exist.",
        "Apply it, or correct its name in `spec.services`.";
    SERVICE_REPLACED = "ServiceReplaced",
        "A Service was deleted, or replaced by another of the same name.",
        "Settle the Service, then release again.";
    TARGET_CHANGED = "TargetChanged",
        "The target's pod template changed during the run, so what was checked is not what would go live.",
        "Release again once the template is settled.";
    ROLLBACK_TARGET_CHANGED = "RollbackTargetChanged",
        "The old side's pod template changed during the run; a restore still goes there.",
        "Make sure that the old side still serves.";
    STEP_FAILED = "StepFailed",
        "A step failed.",
        "Read its evidence in `status.steps` of the run, then release again or decide.";
    TRIGGER_FIRED = "TriggerFired",
        "A trigger fired.",
        "Read which trigger it was and what it saw. Its severity says what follows: a rollback, or a question to people.";
    DECISION = "Decision",
        "A person decided.",
        "Nothing; the message says who.";
    REVERTED = "Reverted",
        "`spec.activate` went back to the old side.",
        "Nothing.";
    DELETED = "Deleted",
        "The Cutover was deleted.",
        "Nothing.";
    SUPERSEDED = "Superseded",
        "A newer release arrived before the switch, or ended what was to come after completion.",
        "Nothing; the newer release has its own run.";
    RETIRED = "Retired",
        "The old side has been scaled down for good, so this run cannot be rolled back any more.",
        "To go back, release the old version again.";
    ADOPTED = "RestoredByOther",
        "Somebody else put the selector back, and the run took that as a rollback.",
        "Find out who did and why.";
    WINDOW_MISSED = "WindowMissed",
        "The window ended before the switch.",
        "Release again with a new `spec.window`.";
    SWITCH_FAILED = "SwitchFailed",
        "The switch was refused or ran out of time.",
        "Read the message for the Service and the cause, then release again.";
    TARGET_NOT_READY = "TargetNotReady",
        "The target has too few ready endpoints.",
        "Look at its pods: the message names one and why it is not ready.";
    PREFLIGHT_WARNING = "PreflightWarning",
        "The checks before the run found something that stands in nobody's way.",
        "Read it; it may be meant.";
    PERMISSION_MISSING = "PermissionMissing",
        "The ServiceAccount lacks a right, or the operator may not act as it.",
        "Run the command in the message.";
    SELECTOR_DRIFT = "SelectorDrift",
        "A Service's selector is neither side's.",
        "Put it back on one of the two sides.";
    OUTCOME_UNKNOWN = "OutcomeUnknown",
        "A Job or request was started and its result was lost.",
        "Find out what it did, then say it with a decision `Resolve`.";
    TIMEOUT = "Timeout",
        "The phase or the observation took longer than it may.",
        "Read what it waited for.";
    RUN_LOST = "RunLost",
        "The run was deleted by force, and its journal with it.",
        "Look where the Services point and what its steps did; then release again.";
    PLAN_VERSION = "PlanVersionUnknown",
        "The plan was written by another version of the operator; its steps stop, a restore is still made.",
        "Run the version that wrote it, or roll the release back.";
    ADMISSION = "AdmissionDenied",
        "An admission webhook or policy stands in the way of a restore.",
        "Fix or remove the webhook or policy that the message names.";
    THROTTLED = "Throttled",
        "The API server answers 429.",
        "Look at its priority levels; the restore is tried all the same.";
    UNREACHABLE = "Unreachable",
        "The API server does not answer.",
        "Look at the control plane.";
    NOT_DELIVERED = "NotDelivered",
        "A receiver of notifications was not told of something, after an hour of trying.",
        "Read in the message what it answered, and correct its Secret or its address.";
    RECEIVER_UNUSABLE = "ReceiverUnusable",
        "A receiver of notifications cannot be told of anything: its Secret or its address is wrong.",
        "Correct what the message names; it is looked at again within five minutes, and with each change of the Cutover.";
    CLUSTER_UNREADABLE = "ClusterUnreadable",
        "Something that the run needs to know cannot be read from the API server.",
        "Read in the message what and why: a missing right of the operator, or an API server that does not answer.";
    CONFLICT = "Conflict",
        "Others write the Service at the same time.",
        "Stop the writer that the message names.";
    REFUSED = "Refused",
        "The API server refuses the restore.",
        "Read its answer in the message.";
    SERVICE_GONE = "ServiceGone",
        "A Service that is to be restored does not exist.",
        "Apply it again; it is pointed to the old side as soon as it exists.";
    OLD_SIDE_EMPTY = "OldSideEmpty",
        "The old side has no ready endpoint.",
        "Bring its pods back; an answer to `AwaitingDecision` may have undos run first.";
    SCALED_UP_FIRST = "ScaledUpFirst",
        "A step stopped the old side, which is scaled up before a restore.",
        "Nothing; it was planned so.";
    BOTH_SIDES_EMPTY = "BothSidesEmpty",
        "Neither side has a ready endpoint.",
        "Bring either side's pods back.";
    CONNECTIONS_KEPT = "ConnectionsKept",
        "Connections to the side that was left are not ended: a right is missing, or somebody else has changed it.",
        "Read the message; scale that side down by hand if its connections must end.";
    REVALIDATED = "Revalidated",
        "The checks of a completed run were made again.",
        "Read their result in `status.after` of the run.";
    PROGRESS = "Progress",
        "The run went on as planned.",
        "Nothing.";
    DEFECT = "Defect",
        "The operator met a state that its rules do not allow, and changed nothing.",
        "Report it with the operator's log.";
    JOURNAL_NOT_WRITTEN = "JournalNotWritten",
        "The status of a run cannot be written. Nothing new is begun; a restore that is due is made all the same.",
        "Look at the API server, and at webhooks or policies on `cutoverruns/status`.";
    JOURNAL_NOT_READ = "JournalNotRead",
        "A restore is due, its record cannot be written, and the run cannot be read either.",
        "Look at the API server.";
    CLOCK_JUMPED = "ClockJumped",
        "The operator's clock was set. The times of a run under way go on without a jump.",
        "Look at the time service of the node.";
}
