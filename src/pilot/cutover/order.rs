//! PURE. What a look wants done, and what may come of it: plain data.

use jiff::Timestamp;
use std::fmt;
use std::time::Duration;

use kube::core::ObjectMeta;
use serde_json::Value;

use super::asked::Said;
use super::known::Memo;
use crate::api::cutover::Cutover;
use crate::api::decision::CutoverDecision;
use crate::api::notify::Notify;
use crate::api::run::{CutoverRun, Selector};
use crate::api::step::WorkloadRef;
use crate::api::template::{Template, TemplateKind};
use crate::decide::Note;
use crate::effect::Outcome;
use crate::notify::Finding;
use crate::world::Proof;

pub use crate::effect::Class;

/// One thing to do. The list that [`super::Look::next`] returns is carried out in its order.
#[derive(Clone, Debug)]
pub enum Order {
    /// To be remembered by this process ([`super::Known::remember`]).
    Remember(Memo),
    /// To be told about the Cutover; its uid, where that is known.
    Tell {
        /// The uid of the Cutover.
        uid: Option<String>,
        note: Note,
    },
    /// The turn ([`Request::Turn`]) is not needed any more. It ends with the look in any case.
    EndTurn,
    /// The look waits for what comes of this. Always the last of a list.
    Do(Request),
    /// The look is over: when to look again although nothing is heard, or why it failed. Always the last of a list.
    Done(Result<Option<Duration>, Failure>),
}

/// One request. All but [`Request::Turn`], [`Request::OlderHolder`] and
/// [`Request::Receivers`] are calls of the API server, in the namespace of the
/// Cutover.
#[derive(Clone, Debug)]
pub enum Request {
    /// Reads the Cutover: [`Reply::Cutover`] or [`Reply::Unreadable`].
    Cutover,
    /// Reads a run by name: [`Reply::Run`].
    Run(String),
    /// Lists the runs with the label of the Cutover: [`Reply::Runs`].
    Runs,
    /// Lists the metadata of closed runs with the label of the Cutover: [`Reply::Metadata`].
    ClosedRuns,
    /// Lists all runs of the namespace that are not closed: [`Reply::Runs`].
    ActiveRuns,
    /// Lists the metadata of all runs of the namespace: [`Reply::Metadata`].
    AllRuns,
    /// Lists open decisions that name the Cutover, at most so many: [`Reply::Decisions`].
    Decisions(u32),
    /// Reads the selector of a Service: [`Reply::Selector`].
    Service(String),
    /// Reads the namespace: [`Reply::Namespace`].
    Namespace,
    /// Reads a template: [`Reply::Template`] or [`Reply::UnreadableTemplate`].
    Template(TemplateKind, String),
    /// Reads the wanted replicas of a workload: [`Reply::Replicas`].
    Replicas(WorkloadRef),
    /// Reads a ServiceAccount: [`Reply::Done`].
    Account(String),
    /// Asks the API server, as a ServiceAccount, who that is: [`Reply::Done`] where the operator may act as it.
    ActAs(String),
    /// Finds out whether decisions of the namespace are those of the people whose names they carry: [`Reply::Proof`].
    Proof,
    /// Looks, as a ServiceAccount, whether these receivers could be told of something: [`Reply::Receivers`].
    Receivers(String, Vec<Notify>),
    /// Waits until no other look of this process starts a run in the namespace: [`Reply::Done`].
    Turn,
    /// What the watches show: an older Cutover that names a Service of this one: [`Reply::Holder`].
    OlderHolder(Box<Cutover>),
    /// Patches the metadata of the Cutover (JSON Patch): [`Reply::Cutover`] or [`Reply::Unreadable`].
    PatchCutover(Value),
    /// Patches the metadata of a run (JSON Patch): [`Reply::Run`].
    PatchRun(String, Value),
    /// Replaces the status of the Cutover, if its resourceVersion is still this one: [`Reply::Cutover`].
    WriteStatus(Box<Cutover>),
    /// Replaces the status of a closed run, if its resourceVersion is still this one: [`Reply::Run`].
    ReopenRun(Box<CutoverRun>),
    /// Creates a run: [`Reply::Run`].
    CreateRun(Box<CutoverRun>),
    /// Deletes a run, if it has this uid: [`Reply::Done`].
    DeleteRun { name: String, uid: Option<String> },
    /// Writes answers on decisions, some at a time: [`Reply::Answers`] has one outcome for each.
    Answer(Vec<Answer>),
    /// Takes a decision up, so that no answer of another process can arrive on it any more: [`Reply::Answers`].
    TakeUp(TakeUp),
}

impl Request {
    /// Whether it changes something in the cluster.
    pub fn is_write(&self) -> bool {
        match self {
            Self::PatchCutover(_)
            | Self::PatchRun(..)
            | Self::WriteStatus(_)
            | Self::ReopenRun(_)
            | Self::CreateRun(_)
            | Self::DeleteRun { .. }
            | Self::Answer(_)
            | Self::TakeUp(_) => true,
            Self::Cutover
            | Self::Run(_)
            | Self::Runs
            | Self::ClosedRuns
            | Self::ActiveRuns
            | Self::AllRuns
            | Self::Decisions(_)
            | Self::Service(_)
            | Self::Namespace
            | Self::Template(..)
            | Self::Replicas(_)
            | Self::Account(_)
            | Self::ActAs(_)
            | Self::Proof
            | Self::Receivers(..)
            | Self::Turn
            | Self::OlderHolder(_) => false,
        }
    }
}

/// An answer that is to stand on a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The name of the decision.
    pub name: String,
    pub uid: String,
    /// Its resourceVersion as it was read: one that was answered meanwhile has another.
    pub resource_version: String,
    /// The uid of the run that it names.
    pub run_uid: String,
    pub said: Said,
}

/// A decision that another process may have answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeUp {
    /// The name of the decision.
    pub name: String,
    pub uid: String,
    /// Its resourceVersion as it was read.
    pub resource_version: String,
    /// When.
    pub at: Timestamp,
}

/// What came of a request that did not fail.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The Cutover as it is, or as it was written.
    Cutover(Box<Cutover>),
    /// There is a Cutover that this version does not understand.
    Unreadable {
        /// Which one, and whether it is being deleted.
        metadata: Box<ObjectMeta>,
        /// Why.
        error: String,
    },
    /// A run as it is, or as it was written.
    Run(Box<CutoverRun>),
    /// Runs.
    Runs(Vec<CutoverRun>),
    /// The metadata of runs.
    Metadata(Vec<ObjectMeta>),
    /// Decisions that this version understands.
    Decisions(Vec<CutoverDecision>),
    /// The selector of a Service.
    Selector(Selector),
    Namespace {
        /// It is being deleted.
        going: bool,
    },
    Template {
        uid: String,
        generation: i64,
        template: Box<Template>,
    },
    /// There is a template that this version does not understand.
    UnreadableTemplate(String),
    /// Wanted replicas.
    Replicas(u64),
    /// A Service, and the older Cutover that names it too.
    Holder(Option<(String, String)>),
    /// What is proven.
    Proof(Proof),
    /// What stands in the way of notifications.
    Receivers {
        findings: Vec<Finding>,
        /// Something could not be looked at.
        unknown: bool,
    },
    /// What came of each answer.
    Answers(Vec<Outcome>),
    /// It is done, or it is there.
    Done,
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub class: Class,
    /// What the API server, or the network, said.
    pub text: String,
}

impl Failure {
    /// A failure of this class.
    pub fn new(class: Class, text: impl Into<String>) -> Self {
        Self { class, text: text.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
