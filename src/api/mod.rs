//! The wire: the custom resources of group `cutover.dev`, version `v1alpha1`.
//!
//! Types, defaults, bounds and the CEL rules that the API server checks. No behaviour lives here:
//! what a field means for a run is decided in [`crate::plan`] and below.

// The arguments of kube's `printcolumn(…)` are taken for repeated attributes.
#![allow(clippy::duplicated_attributes)]

pub mod action;
pub mod after;
pub mod before;
pub mod closing;
pub mod condition;
pub mod crd;
pub mod cutover;
pub mod decision;
pub mod duration;
pub mod http;
pub mod moment;
pub mod notices;
pub mod notify;
pub mod observation;
pub mod one_of;
pub mod phase;
pub mod phases;
pub mod prometheus;
pub mod reference;
pub mod restore;
pub mod run;
pub mod schema;
pub mod start_over;
pub mod step;
pub mod template;
pub mod trail;
pub mod trial;
pub mod trigger;
pub mod unbuilt;

pub use cutover::{Cutover, CutoverSpec, CutoverStatus};
pub use decision::{CutoverDecision, CutoverDecisionSpec, Verb};
pub use duration::Duration;
pub use phase::Phase;
pub use run::{CutoverRun, CutoverRunSpec, RunStatus};
pub use template::{ClusterCutoverTemplate, CutoverTemplate};

/// API group of all kinds.
pub const GROUP: &str = "cutover.dev";
/// API version of all kinds.
pub const VERSION: &str = "v1alpha1";
/// Label on everything a run creates: the uid of the run.
pub const LABEL_RUN: &str = "cutover.dev/run";
/// Label with the name of the step that created an object.
pub const LABEL_STEP: &str = "cutover.dev/step";
/// Label with the name of the Cutover that an object belongs to.
pub const LABEL_CUTOVER: &str = "cutover.dev/cutover";
/// Annotation on a Job with the attempt of its step.
pub const ANNOTATION_ATTEMPT: &str = "cutover.dev/attempt";
/// Annotation on a Job with the hash that its claim journaled: a Job of that name without it is somebody else's (P1).
pub const ANNOTATION_TEMPLATE: &str = "cutover.dev/template";
/// Annotation on a Service, changed with each restore so that a switch still in flight fails (P4).
pub const ANNOTATION_FENCE: &str = "cutover.dev/fence";
/// Annotation on a Cutover, any text: when it changes, the run's next look at what it waits for and its queries are made at
/// once. The operator's endpoint for pushes writes it, and so may whoever may change the Cutover.
pub const ANNOTATION_PUSHED: &str = "cutover.dev/pushed-at";
/// Finalizer held by a Cutover while one of its runs is not closed.
pub const FINALIZER: &str = "cutover.dev/cutover";
/// Finalizer held by a run until it is closed.
pub const RUN_FINALIZER: &str = "cutover.dev/run";
/// Field manager of every write.
pub const FIELD_MANAGER: &str = "cutover";
