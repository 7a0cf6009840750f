//! Condition types of a Cutover and of a run.
//!
//! One table: the constants, and the page `docs/conditions.md`.

use super::words;

words! {
    READY = "Ready",
        "The wanted release is live and nothing is under way (kstatus).",
        "Nothing. While it is False, `Reconciling` or `Stalled` say why.";
    ACCEPTED = "Accepted",
        "The Cutover with its templates can be carried out as it is written; False lists every refusal.",
        "Correct each field that the message names.";
    RECONCILING = "Reconciling",
        "A run is under way (kstatus).",
        "Nothing; the message says what it does or waits for.";
    STALLED = "Stalled",
        "Nothing goes on by itself, and a person is needed (kstatus).",
        "Read the message: it names the cause and mostly the next command.";
    AWAITING_DECISION = "AwaitingDecision",
        "A person must decide; where a default is set, it is taken at the time that the message names.",
        "Look at what the message names, then say it with a CutoverDecision.";
    CAN_ROLL_BACK = "CanRollBack",
        "A restore would be made at once if it were due now; False says why not.",
        "Where it is False, bring the old side back or give the right that is missing, before it is needed.";
    ROLLBACK_BLOCKED = "RollbackBlocked",
        "A restore is due and has failed twice; it is tried again all the time.",
        "Do what the reason asks for. Users are on the side that is to be left.";
    SELECTOR_DRIFT = "SelectorDrift",
        "A Service has a selector that is neither side's.",
        "Put it back on one of the two sides, or adopt the change in `spec.sides`.";
    SERVICE_CONFLICT = "ServiceConflict",
        "A Service is claimed by another Cutover.",
        "Name each Service in one Cutover only.";
    OUTCOME_UNKNOWN = "OutcomeUnknown",
        "What a Job or a request did is not known, and nothing goes on before a person says.",
        "Find out what it did, then say it with a decision `Resolve`.";
    NODE_LOST = "NodeLost",
        "A lost node took pods of both sides with it; the run holds and judges nothing.",
        "Bring the node back or delete it.";
    METRICS_INCONCLUSIVE = "MetricsInconclusive",
        "A metric gives no verdict, so the observation holds.",
        "Look at Prometheus and at the query of the trigger that the message names.";
    SUSPENDED = "Suspended",
        "`spec.suspend`, or a person's Suspend, holds steps and observation; triggers and rollbacks go on.",
        "Set `spec.suspend` to false; after a person's Suspend: `kubectl cutover resume`.";
    NOTIFICATIONS_FAILING = "NotificationsFailing",
        "A receiver of notifications does not take them; nothing waits for it but the closing of the run, for an hour at most.",
        "Read in the message what it answered, and correct its Secret, its address, or `spec.notify`.";
}
