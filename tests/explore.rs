//! Exhaustive search of the pilot over small worlds: every order of replies, every misfortune at every point (as many as the
//! budget of the search), and a crash at any point. In every state the promises hold, and from every state an end is in
//! reach, or the run waits for a named person or condition.
//!
//! Time advances only to the operator's own `wake`; where nothing has been read live for so long that it is due, everything
//! is read then. A trigger that fires costs nothing of the budget where the world is small enough, and at night everywhere.
//! Each world names what it must have reached and at least how many states it has, so that a search that shrinks in silence
//! fails. By default a world's misfortunes are limited so that all worlds together take minutes. `EXPLORE=night` lets two
//! misfortunes of any kind happen in each, reads that fail among them; no such world ends, so each is searched up to a number
//! of states (`EXPLORE_STATES`), breadth first, and what was left is said.

#[path = "explore/graph.rs"]
mod graph;
#[path = "explore/night.rs"]
mod night;
#[path = "explore/reached.rs"]
mod reached;
mod sim;
#[path = "explore/state.rs"]
mod state;
#[path = "explore/together.rs"]
mod together;

use cutover::api::trigger::Severity;
use cutover::plan::{BuiltInTrigger, Plan};
use graph::explore;
use sim::small;
use state::{ALL_KINDS, Scope};

/// A small world.
pub struct World {
    /// What it is called.
    pub name: &'static str,
    /// The plan that is run in it.
    pub plan: Plan,
    /// What may go wrong.
    pub scope: Scope,
    /// It has at least so many states.
    pub states: usize,
    /// What must have been met in it, see [`reached`].
    pub reaches: &'static [&'static [&'static str]],
}

/// What every world with a Service to switch meets.
const SWITCH: &[&str] = &[
    "phase Switching",
    "phase Observing",
    "phase Completed",
    "phase RollingBack",
    "phase RolledBack",
    "switch Claimed",
    "switch Switched",
    "switch Restored",
];

/// What any misfortune adds.
const ANY: &[&str] = &["condition RollbackBlocked", "condition Suspended", "switch Gone", "blocked OldSideEmpty"];

const ERRORS: &[&str] = &["cause TriggerFired"];

fn one_of(misfortunes: &'static [&'static str], budget: u8) -> Scope {
    Scope { budget, only: misfortunes, lagging: &[], free_triggers: false, two_operators: false, reads: false }
}

/// The same where a trigger that fires costs nothing.
fn after_a_trigger(misfortunes: &'static [&'static str]) -> Scope {
    Scope { free_triggers: true, ..one_of(misfortunes, 1) }
}

macro_rules! worlds {
    ($($(#[$about:meta])* $name:ident { plan: $plan:expr, scope: $scope:expr, states: $states:expr, reaches: $reaches:expr })*) => {
        $($(#[$about])* #[test]
        fn $name() {
            explore(World { name: stringify!($name), plan: $plan, scope: $scope, states: $states, reaches: $reaches });
        })*
    };
}

worlds! {
    one_service_any_misfortune {
        plan: small::plan(&["web"], vec![], vec![small::errors(Severity::Rollback)]),
        scope: after_a_trigger(&[]),
        states: 4700,
        reaches: &[SWITCH, ANY, ERRORS]
    }
    one_service_two_misfortunes {
        plan: small::plan(&["web"], vec![], vec![small::errors(Severity::Rollback)]),
        scope: one_of(&["crashes", "lost", "die", "bad", "old side"], 2),
        states: 26000,
        reaches: &[SWITCH, ERRORS]
    }
    the_default_rule {
        plan: small::observed_for(4, small::plan(&["web"], vec![], vec![small::share(Severity::Rollback)])),
        scope: Scope { budget: 2, ..after_a_trigger(&["crashes", "inconclusive"]) },
        states: 500,
        reaches: &[SWITCH, ERRORS]
    }
    a_metric_that_must_be_bad_twice {
        plan: small::plan(&["web"], vec![], vec![small::often(Severity::Rollback)]),
        scope: after_a_trigger(&["crashes", "lost"]),
        states: 200,
        reaches: &[SWITCH, ERRORS]
    }
    others_write_the_service_between_claim_and_patch {
        plan: small::plan(&["web"], vec![], vec![]),
        scope: one_of(&["annotation", "crashes", "lost", "503", "old side"], 2),
        states: 820,
        reaches: &[&["phase Completed", "phase Failed"]]
    }
    others_write_one_of_two_services {
        plan: small::plan(&["web", "api"], vec![], vec![]),
        scope: one_of(&["annotation", "lost"], 2),
        states: 1850,
        reaches: &[&["phase Completed"]]
    }
    others_write_the_service_while_watches_lag {
        plan: small::plan(&["web"], vec![], vec![]),
        scope: Scope { lagging: ALL_KINDS, ..one_of(&["annotation", "crashes", "lost", "503", "old side"], 2) },
        states: 2550,
        reaches: &[&["phase Completed"]]
    }
    two_services_any_misfortune {
        plan: small::plan(&["web", "api"], vec![], vec![small::errors(Severity::Rollback)]),
        scope: one_of(&[], 1),
        states: 22800,
        reaches: &[SWITCH, ANY, ERRORS]
    }
    two_services_one_restore_fails {
        plan: small::plan(&["web", "api"], vec![], vec![small::errors(Severity::Rollback)]),
        scope: Scope { budget: 2, ..after_a_trigger(&["503 to restore", "403 to restore", "reply to restore", "next claim"]) },
        states: 3500,
        reaches: &[SWITCH, ERRORS, &["condition RollbackBlocked"]]
    }
    a_job_with_an_undo_any_misfortune {
        plan: small::plan(
            &["web"],
            vec![small::undoable("migrate"), small::rollout()],
            vec![small::errors(Severity::Rollback)],
        ),
        scope: one_of(&[], 1),
        states: 56000,
        reaches: &[SWITCH, ANY, ERRORS, &["phase Aborted", "phase Superseded", "condition OutcomeUnknown", "step Failed", "step Skipped"]]
    }
    a_job_with_an_undo_two_misfortunes {
        plan: small::plan(&["web"], vec![small::undoable("migrate")], vec![]),
        scope: one_of(&["crashes", "fails", "is deleted", "Abort"], 2),
        states: 32000,
        reaches: &[&["phase Aborted", "phase Failed", "phase Completed"]]
    }
    the_operators_own_trigger_and_sides_that_die {
        plan: {
            let mut plan = small::plan(&["web"], vec![], vec![]);
            plan.observe.built_in = vec![BuiltInTrigger::Ready];
            plan
        },
        scope: one_of(&["crashes", "die", "lost"], 2),
        states: 57000,
        reaches: &[SWITCH, ERRORS, &["blocked BothSidesEmpty"]]
    }
    a_trigger_that_asks_any_misfortune {
        plan: small::plan(&["web"], vec![], vec![small::errors(Severity::Decide)]),
        scope: one_of(&[], 1),
        states: 3300,
        reaches: &[SWITCH, ANY, &["question"]]
    }
    watches_that_lag {
        plan: small::plan(&["web"], vec![], vec![small::errors(Severity::Rollback)]),
        scope: Scope { lagging: ALL_KINDS, ..after_a_trigger(&["crashes", "old side", "Rollback"]) },
        states: 530,
        reaches: &[SWITCH, ERRORS]
    }
    a_watch_of_services_that_lags {
        plan: small::plan(&["web"], vec![], vec![small::errors(Severity::Rollback)]),
        scope: Scope { lagging: &["Service"], ..after_a_trigger(&["crashes", "points", "selector", "lost"]) },
        states: 2850,
        reaches: &[SWITCH, ERRORS]
    }
    a_watch_of_decisions_that_lags {
        plan: small::plan(&["web"], vec![], vec![]),
        scope: Scope {
            lagging: &["Decisions", "Cutover"],
            ..one_of(&["Abort", "Rollback", "suspend", "reverted", "crashes"], 2)
        },
        states: 3000,
        reaches: &[&["phase Completed", "phase RolledBack", "condition Suspended", "cause Decision"]]
    }
    two_operators_at_once {
        plan: small::plan(&["web"], vec![], vec![small::errors(Severity::Rollback)]),
        scope: Scope { two_operators: true, budget: 2, ..after_a_trigger(&["second operator", "lost", "503", "old side"]) },
        states: 3000,
        reaches: &[SWITCH, ERRORS]
    }
    a_request_that_changes_something {
        plan: small::plan(&["web"], vec![small::request("flags")], vec![small::errors(Severity::Rollback)]),
        scope: after_a_trigger(&["crashes", "reply", "lost", "Abort"]),
        states: 650,
        reaches: &[SWITCH, ERRORS, &["step Unknown"]]
    }
    a_change_that_is_put_back {
        plan: small::plan(&["web"], vec![small::scale("grow")], vec![small::errors(Severity::Rollback)]),
        scope: after_a_trigger(&["crashes", "reply", "lost", "Abort"]),
        states: 580,
        reaches: &[SWITCH, ERRORS]
    }
    follow_ups_and_a_retirement {
        plan: small::with_an_afterwards(small::plan(&["web"], vec![], vec![])),
        scope: one_of(&["old side", "reverted", "release", "deleted"], 1),
        states: 8800,
        reaches: &[&["phase Completed", "phase RolledBack", "follow-up Succeeded", "retired", "called off"]]
    }
    a_window {
        plan: small::within_a_window(small::plan(&["web"], vec![], vec![])),
        scope: one_of(&["crashes", "suspend", "Suspend", "Abort"], 2),
        states: 2000,
        reaches: &[&["phase Completed", "phase Aborted", "cause WindowMissed"]]
    }
    a_suite_whose_reads_fail {
        plan: small::plan(&["web"], vec![small::undoable("migrate"), small::suite("smoke")], vec![]),
        scope: Scope { reads: true, ..one_of(&["read", "crashes", "fails"], 2) },
        states: 9200,
        reaches: &[&["phase Completed", "step Failed", "phase Failed"]]
    }
    reads_that_fail {
        plan: small::plan(&["web"], vec![], vec![small::errors(Severity::Rollback)]),
        scope: Scope { reads: true, budget: 2, ..after_a_trigger(&["read", "inconclusive", "crashes"]) },
        states: 780,
        reaches: &[SWITCH, ERRORS]
    }
    an_approval {
        plan: small::plan(&["web"], vec![small::approval("go")], vec![]),
        scope: one_of(&["crashes", "lost", "reverted", "Abort", "Reject"], 2),
        states: 2150,
        reaches: &[&["phase Completed", "phase Aborted", "phase Failed", "condition AwaitingDecision"]]
    }
    a_target_that_changes_under_its_jobs {
        plan: small::plan(&["web"], vec![small::look("look"), small::undoable("migrate")], vec![]),
        scope: one_of(&["template"], 1),
        states: 1000,
        reaches: &[&["phase Completed", "phase Failed", "cause TargetChanged", "started over"]]
    }
    connections_that_are_ended {
        plan: small::closing(small::plan(&["web"], vec![], vec![small::errors(Severity::Rollback)])),
        scope: after_a_trigger(&["crashes", "reply", "lost"]),
        states: 100,
        reaches: &[SWITCH, ERRORS]
    }
    a_target_that_is_stopped_before_the_restore {
        plan: small::plan(&["web"], vec![small::stop("stop")], vec![small::errors(Severity::Rollback)]),
        scope: after_a_trigger(&["crashes", "reply", "lost"]),
        states: 100,
        reaches: &[SWITCH, ERRORS]
    }
}
