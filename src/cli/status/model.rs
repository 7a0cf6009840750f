//! PURE. What `status` tells, as data: the schema of `--output json`, and what the page and the live screen are made of.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::{Known, answer};
use super::question::Question;
use super::read::Reading;
use super::sides;
use crate::api::condition::types;
use crate::api::phase::Phase;
use crate::api::run::{StepState, TrialVerdict};
use crate::api::trigger::Severity;
use crate::cli::cluster::Seen;
use crate::cli::rights::Right;
use crate::plan::PLAN_VERSION;
use crate::status::without_version;
use crate::view;

/// A Cutover and its newest (or named) run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub namespace: String,
    pub cutover: String,
    /// The run that is shown; none before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// What happens, why, and what to do, in one sentence.
    pub answer: String,
    /// The command or commands that go on from here: the end of `answer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The command that prints the record of a run that is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Whether the answer tells of trouble that the phase does not show: nobody watches, or the live side cannot serve.
    pub alarm: bool,
    /// Whether a person is waited for.
    pub waits_for_person: bool,
    pub phase: Phase,
    /// Since when it is in this phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The side that all Services point to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    /// What is released there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_release: Option<String>,
    /// The side being activated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What is released there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_release: Option<String>,
    /// Steps on the way to Completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The gate that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// The question that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// What comes by itself, the next first.
    pub deadlines: Vec<Deadline>,
    /// The planned steps, by phase.
    pub stages: Vec<Stage>,
    /// What watches the new side.
    pub triggers: Vec<Trigger>,
    /// The observation, from its beginning on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
    /// Both sides with their workloads and pods.
    pub sides: Vec<sides::Side>,
    /// What people decided.
    pub decisions: Vec<Decided>,
    /// Conditions that stand, other than Ready, Reconciling and Stalled.
    pub conditions: Vec<Stands>,
    /// What is not shown, and the right that is missing.
    pub hidden: Vec<String>,
}

/// Steps over, of how many.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct Progress {
    pub done: usize,
    pub all: usize,
}

/// A gate.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Gate {
    pub name: String,
    /// When it expires.
    pub until: Timestamp,
    /// What an approval is given for.
    pub token: String,
    pub roles: Vec<Role>,
    /// Who has asked for the release, and may not approve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// What the people are to look at.
    pub checklist: Vec<String>,
    /// The run is suspended: approvals count, and the gate opens once the run goes on.
    pub held: bool,
    /// The commands that open it, one for each missing role.
    pub commands: Vec<String>,
}

/// A role of a gate.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Role {
    pub name: String,
    /// People wanted.
    pub wanted: u32,
    /// Who has approved.
    pub by: Vec<String>,
}

/// Something that comes by itself.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Deadline {
    pub at: Timestamp,
    pub what: String,
}

/// The steps of a phase.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Stage {
    pub name: String,
    pub steps: Vec<Step>,
}

/// A step with what belongs to it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub name: String,
    /// What it does, such as `job`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// None before it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StepState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The attempt under way or last made, from 1.
    pub attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// What is going on, or went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What it saw, in a phrase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The run whose success is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_from: Option<String>,
    /// Who decided about it, and what.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decided: Vec<Decided>,
    /// It waits for people.
    pub is_gate: bool,
    /// Parts of a suite, its undo, further rounds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub below: Vec<Step>,
}

/// A person's decision that counted.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Decided {
    pub at: Timestamp,
    pub by: String,
    pub decision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A trigger.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trigger {
    pub name: String,
    /// What it leads to.
    pub severity: Severity,
    /// What it saw last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saw: Option<String>,
    /// The value that it saw last, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// `> 0.05`: what is bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The limit as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// How far the value is from the limit; below zero where it is past it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance: Option<f64>,
    /// Default rule: how much its evidence is of what it takes to fire, up to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<f64>,
    /// Default rule: how many more intervals with only bad requests it takes to fire; none where they are more than a hundred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more_bad: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<TrialVerdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fired: Option<Timestamp>,
    /// Judged so far.
    pub trials: u64,
    /// Whether it is looked at now.
    pub watched: Watched,
}

/// Whether somebody looks at a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Watched {
    Now,
    /// It is overdue: the operator is away.
    Overdue,
    /// What it saw is of the time when it was.
    NoMore,
}

/// How far the observation is.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Observation {
    pub since: Timestamp,
    pub seen_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted_seconds: Option<u64>,
}

/// A condition that stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Stands {
    #[serde(rename = "type")]
    pub type_: String,
    pub reason: String,
    pub message: String,
}

impl Status {
    /// What was read, as it is told. `flags`: what printed commands need behind them (` -n prod`).
    pub(crate) fn of(reading: &Reading, flags: &str, now: Timestamp) -> Self {
        let cutover = &reading.found.cutover;
        let plan = reading.found.run.as_ref().and_then(view::plan_of);
        let run = reading.found.run.as_ref().and_then(|run| view::Run::of(run, plan.as_ref()));
        let told = cutover.status.clone().unwrap_or_default();
        let name = cutover.name_any();
        let live = told.live.as_deref();
        let (phase, since) = match &run {
            Some(run) => (run.phase, run.since),
            None => (told.phase.unwrap_or_default(), told.since),
        };
        let newer = newer(reading);
        let sides = sides::of(reading, run.as_ref());
        let question = run.as_ref().and_then(|r| Question::of(r, &name, flags));
        let known = Known { cutover, run: run.as_ref(), newer, question: question.as_ref(), sides: &sides, flags, now };
        let conditions = standing(&known);
        let answer = answer(&known);
        Self {
            namespace: cutover.namespace().unwrap_or_default(),
            run: run.as_ref().map(|r| r.name.to_owned()),
            answer: answer.text(),
            alarm: answer.alarm,
            next: answer.next,
            record: run
                .as_ref()
                .filter(|r| r.closed || r.phase.is_over())
                .map(|r| format!("kubectl cutover report {}{flags}", r.name)),
            waits_for_person: run.as_ref().is_some_and(view::Run::needs_people),
            phase,
            since,
            live: live.map(|l| without_version(l).to_owned()),
            live_release: live.and_then(|l| l.split_once('@')).map(|(_, v)| v.to_owned()),
            target: run.as_ref().and_then(|r| r.target.as_ref()).map(|t| t.name.to_owned()),
            target_release: run.as_ref().and_then(|r| r.release.new).map(str::to_owned),
            progress: run.as_ref().and_then(|r| r.progress).map(|p| Progress { done: p.done, all: p.all }),
            gate: run.as_ref().and_then(|r| Some(gate(r, &r.gate?, &name, flags))),
            question,
            deadlines: run.as_ref().map(deadlines).unwrap_or_default(),
            stages: run.as_ref().map(|r| r.stages.iter().map(stage).collect()).unwrap_or_default(),
            triggers: run.as_ref().map(|r| r.triggers.iter().map(|t| trigger(r, t, now)).collect()).unwrap_or_default(),
            observation: run.as_ref().and_then(|r| r.observation).map(|o| Observation {
                since: o.since,
                seen_seconds: o.seen.as_millis() / 1000,
                wanted_seconds: o.wanted.map(|w| w.as_millis() / 1000),
            }),
            sides,
            decisions: run.as_ref().map(|r| r.decisions.iter().map(decided).collect()).unwrap_or_default(),
            conditions,
            hidden: hidden(reading),
            cutover: name,
        }
    }

    /// What happens and why, without what to do.
    pub(crate) fn says(&self) -> &str {
        let next = self.next.as_deref().map(|next| format!("; next: {next}")).unwrap_or_default();
        self.answer.strip_suffix(next.as_str()).unwrap_or(&self.answer)
    }

    /// For `--output name`.
    pub(crate) fn names(&self) -> Vec<String> {
        let run = self.run.iter().map(|r| format!("cutoverrun.cutover.dev/{r}"));
        std::iter::once(format!("cutover.cutover.dev/{}", self.cutover)).chain(run).collect()
    }
}

/// The newest run, where another one is shown.
fn newer(reading: &Reading) -> Option<String> {
    let (shown, newest) = (reading.found.run.as_ref()?, reading.found.runs.last()?);
    (shown.uid() != newest.uid()).then(|| newest.name_any())
}

/// The conditions that stand. Once a run is closed, they are those of its Cutover.
fn standing(known: &Known) -> Vec<Stands> {
    let told = known.cutover.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let conditions = match known.run {
        Some(run) if !run.closed || known.newer.is_some() => run.conditions,
        Some(_) | None => told,
    };
    let usual = ["Ready", "Reconciling", "Stalled", "Accepted", "CanRollBack"];
    let stands = conditions.iter().filter(|c| c.status == "True" && !usual.contains(&c.type_.as_str()));
    let refused = told.iter().filter(|c| c.type_ == types::ACCEPTED && c.status == "False");
    let one = |c: &Condition, message: String| Stands { type_: c.type_.clone(), reason: c.reason.clone(), message };
    let refused = refused.map(|c| one(c, format!("no release can start: {}", c.message)));
    stands.map(|c| one(c, c.message.clone())).chain(refused).collect()
}

/// What cannot be shown, and why.
fn hidden(reading: &Reading) -> Vec<String> {
    fn right<T>(seen: &Seen<T>) -> Option<Right> {
        match seen {
            Seen::Known(_) => None,
            Seen::Hidden(right) => Some(*right),
        }
    }
    let run = reading.found.run.as_ref();
    let foreign = run.filter(|r| r.spec.plan_version != PLAN_VERSION).map(|r| {
        format!(
            "run {} was planned by another version of the operator (form {}, this program knows {PLAN_VERSION}), so parts of \
             it may be missing; kubectl cutover check tells the versions",
            r.name_any(),
            r.spec.plan_version
        )
    });
    let rights = [
        ("Deployments", right(&reading.deployments)),
        ("StatefulSets", right(&reading.stateful_sets)),
        ("pods", right(&reading.pods)),
    ];
    let rights = rights.into_iter();
    let rights = rights.filter_map(|(what, right)| Some(format!("{what} are not shown: you may not {}", right?)));
    foreign.into_iter().chain(rights).collect()
}

fn gate(run: &view::Run, gate: &view::Gate, cutover: &str, flags: &str) -> Gate {
    let missing = |r: &&Role| (r.by.len() as u64) < u64::from(r.wanted);
    let command = |r: &Role| format!("kubectl cutover approve {cutover} --role {}{flags}", r.name);
    let role = |r: &crate::api::run::GateRole| Role {
        name: r.name.clone(),
        wanted: r.wanted,
        by: run.approved(gate, r).into_iter().map(str::to_owned).collect(),
    };
    let roles: Vec<Role> = gate.open.roles.iter().map(role).collect();
    Gate {
        name: gate.name.to_owned(),
        until: gate.open.until,
        token: gate.open.token.clone(),
        excluded: gate.excluded.map(str::to_owned),
        instructions: gate.instructions.map(str::to_owned),
        checklist: gate.checklist.to_vec(),
        held: run.is_suspended(),
        commands: roles.iter().filter(missing).map(command).collect(),
        roles,
    }
}

fn deadlines(run: &view::Run) -> Vec<Deadline> {
    let mut all: Vec<Deadline> = vec![];
    if let Some(gate) = run.gate {
        all.push(Deadline { at: gate.open.until, what: format!("gate {} expires", gate.name) });
    }
    if let Some((at, q)) = run.question.and_then(|q| Some((q.until?, q))) {
        let default = if q.default_rollback {
            "the default is carried out: roll back"
        } else {
            "the default is carried out: go on"
        };
        all.push(Deadline { at, what: default.into() });
    }
    for f in run.follow_ups.iter().filter(|_| !run.closed) {
        if let Some(at) = f.next {
            all.push(Deadline { at, what: format!("follow-up {}, round {} of {}", f.name, f.round + 1, f.rounds) });
        }
    }
    if let Some(at) = run.retirement.as_ref().filter(|r| r.step.is_none() && !run.closed).and_then(|r| r.due) {
        all.push(Deadline { at, what: "the old side is scaled down".into() });
    }
    all.sort_by_key(|d| d.at);
    all
}

fn stage(branch: &view::Branch) -> Stage {
    let node = |node: &view::Node| {
        let below = node.parts.iter().chain(&node.undo).chain(&node.again);
        Step { below: below.map(step).collect(), ..step(&node.step) }
    };
    Stage { name: branch.stage.field().to_owned(), steps: branch.steps.iter().map(node).collect() }
}

fn step(step: &view::Step) -> Step {
    Step {
        name: step.name.to_owned(),
        kind: step.kind.map(str::to_owned),
        state: step.state,
        started: step.started,
        ended: step.ended,
        attempt: step.attempt,
        attempts: step.attempts,
        message: step.message.map(str::to_owned),
        evidence: step.evidence(),
        kept_from: step.kept_from.map(str::to_owned),
        decided: step.decided.iter().map(|d| decided(d)).collect(),
        is_gate: step.gate.is_some() && step.is_running(),
        below: vec![],
    }
}

fn decided(d: &crate::api::run::DecisionRecord) -> Decided {
    Decided {
        at: d.at,
        by: d.by.clone(),
        decision: format!("{:?}", d.decision),
        role: d.role.clone(),
        comment: d.comment.clone(),
    }
}

fn trigger(run: &view::Run, t: &view::Trigger, now: Timestamp) -> Trigger {
    let watched = match run.unwatched_since(now) {
        _ if run.is_disarmed(t) => Watched::NoMore,
        Some(_) => Watched::Overdue,
        None => Watched::Now,
    };
    Trigger {
        watched,
        name: t.name.to_owned(),
        severity: t.severity.unwrap_or_default(),
        saw: t.saw.map(str::to_owned),
        value: t.value(),
        limit: t.limit.as_ref().map(view::Limit::shown),
        bound: t.limit.as_ref().and_then(|l| l.bound),
        distance: t.distance(),
        evidence: t.standing.map(|s| s.weight),
        more_bad: t.standing.and_then(|s| s.more),
        verdict: t.verdict,
        last: t.last,
        bad_since: t.bad_since,
        fired: t.fired,
        trials: t.trials,
    }
}
