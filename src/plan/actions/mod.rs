//! PURE. What the plan knows of an action: one file and one line in the table each.
//!
//! An action is known in two forms: as a manifest gives it ([`Given`]), and resolved, as it stands in a plan ([`Planned`]).
//! Most have one type for both. Everything else in the plan asks these two.

use serde::{Deserialize, Serialize};

use crate::api::duration::Duration;
use crate::api::one_of::{OneOf, Tagged};
use crate::api::run::ObjectRef;
use crate::api::step::{
    self, Approval, Config, CronJobs, Http, Job, Logs, Metric, Resource, Restart, Rollout, Scale, SetEnv, StepAction,
    Tls, UndoRollout, Wait, WorkloadRef,
};

use super::Plan;
use super::resolving::{ActionPlace, Cx, Part};
use super::scope::{Captured, Usage};

pub(super) mod approval;
mod config;
mod cron_jobs;
mod http;
pub(super) mod job;
pub(super) mod logs;
mod metric;
mod permissions;
pub(super) mod resource;
mod restart;
pub(super) mod rollout;
mod scale;
mod set_env;
mod suite;
mod tls;
mod undo_rollout;
mod wait;

pub use suite::PlanSuite;

/// An action as a manifest gives it.
pub(super) trait Given {
    /// Every text in it that may refer to something; `at` is its own field.
    fn texts(&self, at: &str) -> Vec<Usage>;

    /// What it captures.
    fn captures(&self, _at: &str) -> Vec<Captured> {
        vec![]
    }

    /// The action with its defaults filled in; what is wrong with it is refused.
    fn resolve(&self, cx: &mut Cx, place: &ActionPlace, at: &str) -> Action;
}

/// An action of a plan.
pub(super) trait Planned {
    /// Whether it only looks: such an action may be repeated at any time after the switch.
    fn only_reads(&self) -> bool;

    /// The workloads that it names and that are watched. A side is watched anyway.
    fn workloads(&self) -> Vec<WorkloadRef>;

    /// The objects that it changes: the API server is asked before the run whether they may be.
    fn changes(&self, plan: &Plan) -> Vec<ObjectRef>;

    /// How long all attempts together may take, where the step does not say.
    fn time(&self, attempts: u32, every: Duration) -> Duration;

    /// The names of what it captures.
    fn captured(&self) -> Vec<String> {
        vec![]
    }

    /// Those of them that only the run's Secret holds.
    fn sensitive(&self) -> Vec<String> {
        vec![]
    }

    /// The undo that follows from it by itself, as that of this step.
    fn automatic_undo(&self, _step: &str) -> Option<Action> {
        None
    }
}

macro_rules! actions {
    (
        anywhere { $( $(#[$doc:meta])* $kind:literal $Variant:ident($Type:ty), )+ }
        steps { $( $(#[$step_doc:meta])* $step_kind:literal $Step:ident($StepType:ty), )+ }
        own { $( $(#[$own_doc:meta])* $own_kind:literal $Own:ident { $($field:ident: $Field:ty)? } by $planned:expr, )+ }
    ) => {
        /// What a step does.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Action {
            $( $(#[$doc])* #[serde(rename = $kind)] $Variant($Type), )+
            $( $(#[$step_doc])* #[serde(rename = $step_kind)] $Step($StepType), )+
            $(
                $(#[$own_doc])*
                #[serde(rename = $own_kind)]
                $Own {
                    $(
                        /// The step.
                        $field: $Field,
                    )?
                },
            )+
        }

        impl Action {
            /// Every kind of action, as [`Action::kind`] names it.
            pub(crate) const KINDS: &'static [&'static str] = &[$( $kind, )+ $( $step_kind, )+ $( $own_kind, )+];

            /// What it is called in manifests, metrics and traces.
            pub const fn kind(&self) -> &'static str {
                match self {
                    $( Self::$Variant(_) => $kind, )+
                    $( Self::$Step(_) => $step_kind, )+
                    $( Self::$Own { .. } => $own_kind, )+
                }
            }

            fn planned(&self) -> &dyn Planned {
                match self {
                    $( Self::$Variant(x) => x, )+
                    $( Self::$Step(x) => x, )+
                    $( Self::$Own { .. } => &$planned, )+
                }
            }
        }

        /// What is known of an action that may stand anywhere.
        pub(super) fn anywhere(action: &step::Action) -> &dyn Given {
            match action {
                $( step::Action::$Variant(x) => x, )+
            }
        }

        /// What is known of the action of a step of a phase.
        pub(super) fn of_step(action: &StepAction) -> &dyn Given {
            match action {
                StepAction::Shared(x) => anywhere(x),
                $( StepAction::$Step(x) => x, )+
            }
        }
    };
}

// The forms on the right are those of stored plans, which later versions must read.
actions! {
    anywhere {
        /// One Job.
        "job" Job(Job),
        /// One request.
        "http" Http(Http),
        /// Keys of a Secret, a ConfigMap or an environment.
        "config" Config(Config),
        /// Workloads at the wanted count.
        "rollout" Rollout(Rollout),
        /// One PromQL value.
        "metric" Metric(Metric),
        /// An object of the namespace.
        "resource" Resource(Resource),
        /// A certificate.
        "tls" Tls(Tls),
        /// Lines of logs.
        "logs" Logs(Logs),
        /// Replicas of workloads.
        "scale" Scale(Scale),
        /// The environment of workloads.
        "setEnv" SetEnv(SetEnv),
        /// A restart of workloads.
        "restart" Restart(Restart),
        /// CronJobs suspended or resumed.
        "cronJobs" CronJobs(CronJobs),
        /// A pause.
        "wait" Wait(Wait),
    }
    steps {
        /// Parallel checks.
        "suite" Suite(PlanSuite),
        /// Approvals of people.
        "approval" Approval(Approval),
        /// A Deployment back to its previous revision.
        "undoRollout" UndoRollout(UndoRollout),
    }
    own {
        /// Dry runs of every Job and patch, inserted first in preflight.
        "permissions" Permissions {} by permissions::Permissions,
        /// The automatic undo of the `scale` step of this name: back to the journaled counts if they are still the run's.
        "unscale" Unscale { step: String } by scale::Unscale,
        /// The automatic undo of the `setEnv` step of this name: variables that are still the run's go back.
        "undoSetEnv" UndoSetEnv { step: String } by set_env::UndoSetEnv,
        /// The automatic undo of the `cronJobs` step of this name: what is still as the run left it goes back.
        "undoCronJobs" UndoCronJobs { step: String } by cron_jobs::UndoCronJobs,
    }
}

impl Action {
    /// Whether it only looks: such an action may be repeated at any time after the switch.
    pub(crate) fn only_reads(&self) -> bool {
        self.planned().only_reads()
    }

    /// The workloads that it names and that are watched.
    pub fn workloads(&self) -> Vec<WorkloadRef> {
        self.planned().workloads()
    }

    /// The objects that it changes in a run of this plan.
    pub fn changes(&self, plan: &Plan) -> Vec<ObjectRef> {
        self.planned().changes(plan)
    }

    /// How long all attempts together may take, where the step does not say.
    pub(super) fn time(&self, attempts: u32, every: Duration) -> Duration {
        self.planned().time(attempts, every)
    }

    /// The names of what it captures.
    pub(crate) fn captured(&self) -> Vec<String> {
        self.planned().captured()
    }

    /// Those of them that only the run's Secret holds.
    pub(crate) fn sensitive(&self) -> Vec<String> {
        self.planned().sensitive()
    }

    /// The undo that follows from it by itself, as that of this step.
    pub(super) fn automatic_undo(&self, step: &str) -> Option<Self> {
        self.planned().automatic_undo(step)
    }
}

/// What is known of an action, by its enum.
type Known<T> = fn(&T) -> &dyn Given;

/// Every text of an action that may refer to something. Of several actions, which are refused, those of all.
pub(super) fn texts<T: Tagged>(action: &OneOf<T>, known: Known<T>, at: &str) -> Vec<Usage> {
    action.all().iter().flat_map(|a| known(a).texts(&format!("{at}.{}", a.key()))).collect()
}

/// What an action captures.
pub(super) fn captures<T: Tagged>(action: &OneOf<T>, known: Known<T>, at: &str) -> Vec<Captured> {
    action.all().iter().flat_map(|a| known(a).captures(&format!("{at}.{}", a.key()))).collect()
}

/// The action that is given, resolved; none where there is not exactly one, which is refused elsewhere.
pub(super) fn resolved<T: Tagged>(
    cx: &mut Cx,
    action: &OneOf<T>,
    known: Known<T>,
    place: &ActionPlace,
) -> Option<Action> {
    let action = action.one().ok()?;
    Some(known(action).resolve(cx, place, &format!("{}.{}", place.field, action.key())))
}

/// The time of an action that waits for workloads, and the least of a suite.
const SLOW: Duration = Duration::from_mins(10);

/// The time of an action that is one request or query.
fn quick(attempts: u32, every: Duration) -> Duration {
    times(attempts, plus(Duration::from_secs(10), every)).max(Duration::from_secs(30))
}

fn times(n: u32, one: Duration) -> Duration {
    Duration::from_millis(u64::from(n).saturating_mul(one.as_millis()))
}

fn plus(a: Duration, b: Duration) -> Duration {
    Duration::from_millis(a.as_millis().saturating_add(b.as_millis()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Every form that a plan of this version stores. A form that is written here is read forever.
    fn stored() -> Vec<Value> {
        vec![
            json!({"job": {"template": {"spec": {}}, "deadline": "10m", "onAbort": "Wait"}}),
            json!({"http": {"to": "Target", "path": "/", "method": "GET", "scheme": "http", "pods": "Any"}}),
            json!({"config": {"secret": "s", "keys": [{"name": "K"}]}}),
            json!({"rollout": {"side": "Target"}}),
            json!({"metric": {"query": "q", "expect": "value < 1.0"}}),
            json!({"resource": {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "expect": ["true"]}}),
            json!({"tls": {"url": "https://shop.example.com"}}),
            json!({"logs": {"side": "Target", "matches": "x", "within": "5m", "expect": "value == 0.0"}}),
            json!({"scale": {"workloads": [{"kind": "Deployment", "name": "w"}], "replicas": 3}}),
            json!({"setEnv": {"side": "Target", "env": [{"name": "A", "value": "1"}]}}),
            json!({"restart": {"workloads": [{"kind": "StatefulSet", "name": "w"}]}}),
            json!({"cronJobs": {"suspend": ["night"]}}),
            json!({"wait": {"for": "1s"}}),
            json!({"suite": {"passRate": 90, "maxCriticalFailures": 0, "steps": []}}),
            json!({"approval": {"roles": [{"name": "qa"}]}}),
            json!({"undoRollout": {"deployment": "w"}}),
            json!({"permissions": {}}),
            json!({"unscale": {"step": "a"}}),
            json!({"undoSetEnv": {"step": "a"}}),
            json!({"undoCronJobs": {"step": "a"}}),
        ]
    }

    #[test]
    fn every_stored_form_is_read_and_written_as_it_was() {
        let mut kinds = vec![];
        for form in stored() {
            let action: Action = serde_json::from_value(form.clone()).unwrap_or_else(|e| panic!("{e}: {form}"));
            assert_eq!(serde_json::to_value(&action).ok().as_ref(), Some(&form));
            assert!(form.get(action.kind()).is_some(), "{form}");
            kinds.push(action.kind());
        }
        assert_eq!(kinds, Action::KINDS);
    }
}
