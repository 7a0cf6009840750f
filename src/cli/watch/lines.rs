//! PURE. What has changed since the last look, a line each: for pipelines and logs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::condition::types;
use crate::api::phase::Phase;
use crate::api::run::{StepState, TrialVerdict};
use crate::cli::status::question::{Question, resume};
use crate::cli::text::{Line, time};
use crate::view;

/// A change: with `--output json` one object a line.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Change {
    /// When it happened, where the run says so; otherwise when it was seen.
    pub at: Timestamp,
    pub cutover: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    pub about: About,
    /// The name of what it is about: a step, a gate, a trigger, a type of condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where that stands now: a phase, `Running`, `Succeeded`, `open`, `bad`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// In words.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum About {
    Phase,
    Step,
    Gate,
    Question,
    Trigger,
    Condition,
    Decision,
    /// The Cutover, while there is no run.
    Cutover,
    /// The connection to the cluster, or an operator that does nothing.
    Connection,
}

impl Change {
    /// The line for people: `2026-11-29T22:14:03Z web-3 step backup: succeeded in 6s`.
    pub(crate) fn line(&self) -> Line {
        let whose = self.run.as_ref().unwrap_or(&self.cutover);
        let name = self.name.as_deref().unwrap_or_default();
        let about = match self.about {
            About::Phase => self.state.clone().unwrap_or_default(),
            About::Step => format!("step {name}"),
            About::Gate => format!("gate {name}"),
            About::Question => "question".to_owned(),
            About::Trigger => format!("trigger {name}"),
            About::Condition => name.to_owned(),
            About::Decision => "decision".to_owned(),
            About::Cutover => self.state.clone().unwrap_or_default(),
            About::Connection => "connection".to_owned(),
        };
        let at = self.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let line = Line::new().text(format!("{at} {whose} {about}"));
        let line = if self.message.is_empty() { line } else { line.text(format!(": {}", self.message)) };
        match self.next.as_slice() {
            [] => line,
            next => line.text(format!("; next: {}", next.join("  or  "))),
        }
    }
}

/// What was told of a run so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    run: String,
    /// The last phase that was told. The beginning of a very long timeline goes, so they cannot be counted.
    phase: Option<(Timestamp, Phase)>,
    steps: BTreeMap<String, (Option<StepState>, u32)>,
    gate: Option<(String, String, usize)>,
    question: Option<String>,
    bad: BTreeSet<String>,
    fired: BTreeSet<String>,
    raised: BTreeSet<(String, String)>,
    decisions: usize,
}

/// What commands need to name a run's Cutover: its namespace and context.
pub(crate) struct Flags<'a>(pub &'a str);

impl Seen {
    /// What a run has already been through is not told, but where it stands; what has changed since then is. Of a run that was
    /// waited for (`waited`) everything is told: it may have gone far before it was first seen.
    pub(crate) fn changes(&mut self, run: &view::Run, flags: &Flags, now: Timestamp, waited: bool) -> Vec<Change> {
        let mut out = Out { run, flags, now, changes: vec![] };
        if self.run != run.uid {
            *self = Self { run: run.uid.to_owned(), ..Self::default() };
            if run.phases.len() > 1 && !waited {
                self.quietly(run);
                let since = run.since.map(|at| format!("since {}", time::ago(at, now))).unwrap_or_default();
                let why = run.ending.filter(|_| run.phase.is_over()).map(|e| format!(": {}", e.message));
                out.phase(now, run.phase, &format!("{since}{}", why.unwrap_or_default()));
            }
        }
        self.phases(run, &mut out);
        self.steps(run, &mut out);
        self.people(run, &mut out);
        self.triggers(run, &mut out);
        self.conditions(run, &mut out);
        out.changes.sort_by_key(|c| c.at);
        out.changes
    }

    /// What was before the watch.
    fn quietly(&mut self, run: &view::Run) {
        self.phase = run.phases.last().map(|p| (p.from, p.phase));
        // What is under way is told.
        let ended = run.executions.iter().filter(|s| !s.is_running());
        self.steps = ended.map(|s| (s.name.to_owned(), (s.state, s.attempt))).collect();
        self.decisions = run.decisions.len();
    }

    fn phases(&mut self, run: &view::Run, out: &mut Out) {
        let told = |p: &view::Stretch| self.phase == Some((p.from, p.phase));
        let from = match run.phases.iter().rposition(told) {
            Some(last) => last + 1,
            None => self.phase.map_or(0, |(at, _)| run.phases.partition_point(|p| p.from <= at)),
        };
        for p in run.phases.iter().skip(from) {
            out.phase(p.from, p.phase, p.message);
        }
        self.phase = run.phases.last().map(|p| (p.from, p.phase));
    }

    fn steps(&mut self, run: &view::Run, out: &mut Out) {
        for s in &run.executions {
            let now = (s.state, s.attempt);
            if self.steps.insert(s.name.to_owned(), now) == Some(now) {
                continue;
            }
            out.step(s);
        }
    }

    fn people(&mut self, run: &view::Run, out: &mut Out) {
        let open = run.gate.filter(|_| !run.phase.is_over());
        let given = |g: &view::Gate| g.open.roles.iter().map(|r| r.by.len()).sum::<usize>();
        let gate = open.as_ref().map(|g| (g.name.to_owned(), g.open.token.clone(), given(g)));
        if gate != self.gate {
            let before = self.gate.take();
            if let Some(g) = &open {
                out.gate(g, before.is_some_and(|(name, token, _)| name == g.name && token != g.open.token));
            }
            self.gate = gate;
        }
        let question = run.question.filter(|_| !run.phase.is_over()).map(|q| q.text.clone());
        if question != self.question {
            if let Some(text) = &question {
                out.asked(text.clone());
            }
            self.question = question;
        }
        for d in run.decisions.iter().skip(self.decisions) {
            let comment = d.comment.as_ref().map(|c| format!(" ({c})")).unwrap_or_default();
            let message = format!("{:?} by {}{comment}: {}", d.decision, d.by, d.result);
            out.push(d.at, About::Decision, Some(&d.by), Some(format!("{:?}", d.decision)), message);
        }
        self.decisions = run.decisions.len();
    }

    fn triggers(&mut self, run: &view::Run, out: &mut Out) {
        for t in &run.triggers {
            let limit = t.limit.as_ref().map(|l| format!(", {}", l.said()));
            let saw = format!("{}{}", t.saw.unwrap_or("nothing"), limit.unwrap_or_default());
            let name = || t.name.to_owned();
            if let Some(at) = t.fired
                && self.fired.insert(name())
            {
                out.push(at, About::Trigger, Some(t.name), Some("fired".into()), format!("fired: {saw}"));
            }
            match (t.bad_since, self.bad.contains(t.name)) {
                (Some(at), false) => {
                    self.bad.insert(name());
                    out.push(at, About::Trigger, Some(t.name), Some("bad".into()), format!("bad: {saw}"));
                }
                (None, true) if t.verdict == Some(TrialVerdict::Good) => {
                    self.bad.remove(t.name);
                    let at = t.last.unwrap_or(out.now);
                    out.push(at, About::Trigger, Some(t.name), Some("good".into()), format!("good again: {saw}"));
                }
                _ => {}
            }
        }
    }

    fn conditions(&mut self, run: &view::Run, out: &mut Out) {
        // Gates, questions and phases are told by themselves.
        let usual =
            ["Ready", "Reconciling", "Stalled", "Accepted", "CanRollBack", "AwaitingApproval", "AwaitingDecision"];
        let stands = run.conditions.iter().filter(|c| c.status == "True" && !usual.contains(&c.type_.as_str()));
        let mut raised = BTreeSet::new();
        for c in stands {
            raised.insert((c.type_.clone(), c.reason.clone()));
            if !self.raised.contains(&(c.type_.clone(), c.reason.clone())) {
                let at = c.last_transition_time.0;
                out.push(at, About::Condition, Some(&c.type_), Some(c.reason.clone()), c.message.clone());
                if c.type_ == types::SUSPENDED {
                    let resume = resume(run, run.cutover, out.flags.0);
                    out.next(vec![resume]);
                }
            }
        }
        for (gone, _) in self.raised.difference(&raised).filter(|(t, _)| !raised.iter().any(|(r, _)| r == t)) {
            out.push(out.now, About::Condition, Some(gone), None, "over".to_owned());
        }
        self.raised = raised;
    }
}

struct Out<'a> {
    run: &'a view::Run<'a>,
    flags: &'a Flags<'a>,
    now: Timestamp,
    changes: Vec<Change>,
}

impl Out<'_> {
    fn push(&mut self, at: Timestamp, about: About, name: Option<&str>, state: Option<String>, message: String) {
        self.changes.push(Change {
            at,
            cutover: self.run.cutover.to_owned(),
            run: Some(self.run.name.to_owned()),
            about,
            name: name.map(str::to_owned),
            state,
            message,
            next: vec![],
        });
    }

    fn next(&mut self, commands: Vec<String>) {
        if let Some(change) = self.changes.last_mut() {
            change.next = commands;
        }
    }

    fn phase(&mut self, at: Timestamp, phase: Phase, message: &str) {
        // The end of a run says why.
        let ending = self.run.ending.filter(|_| phase.is_over() && message.is_empty()).map(|e| e.message.clone());
        let trouble = self.run.ending.is_some_and(|e| e.incomplete) && phase.is_over();
        let mut message = ending.unwrap_or_else(|| message.to_owned());
        if trouble {
            message.push_str("; an undo or a rollback step failed");
        }
        self.push(at, About::Phase, None, Some(phase.as_str().to_owned()), message);
    }

    fn step(&mut self, s: &view::Step) {
        let Some(state) = s.state else { return };
        let attempt = match (s.attempt, s.attempts) {
            (0 | 1, _) => String::new(),
            (n, Some(of)) => format!(", attempt {n} of {of}"),
            (n, None) => format!(", attempt {n}"),
        };
        let took = s.took().map(|t| format!(" in {}", time::long(t))).unwrap_or_default();
        let with = |text: Option<String>| text.filter(|t| !t.is_empty()).map(|t| format!(": {t}")).unwrap_or_default();
        let message = s.message.map(str::to_owned);
        let (at, text) = match state {
            StepState::Running => (s.attempt_at.or(s.started), format!("begun{attempt}")),
            StepState::Succeeded => (s.ended, format!("succeeded{took}{attempt}{}", with(s.evidence()))),
            StepState::Failed => (s.ended, format!("failed{took}{attempt}{}", with(message))),
            StepState::Skipped => (s.ended, format!("left out{}", with(message))),
            StepState::Unknown => (s.ended, format!("what it did is not known{}", with(message))),
        };
        let at = at.filter(|at| *at <= self.now).unwrap_or(self.now);
        self.push(at, About::Step, Some(s.name), Some(format!("{state:?}")), text);
        if state == StepState::Unknown {
            let command = |outcome| self.command("resolve", &format!("{} {outcome}", s.name));
            let commands = ["succeeded", "failed"].map(command).to_vec();
            self.next(commands);
        }
    }

    fn gate(&mut self, gate: &view::Gate, anew: bool) {
        let missing = gate.open.roles.iter().filter(|r| (r.by.len() as u64) < u64::from(r.wanted));
        let (mut names, mut commands) = (vec![], vec![]);
        for role in missing {
            names.push(role.name.clone());
            commands.push(self.command("approve", &format!("--role {}", role.name)));
        }
        if names.is_empty() {
            return;
        }
        let anew = if anew { "the evidence has changed; " } else { "" };
        let until = gate.open.until.strftime("%Y-%m-%dT%H:%M:%SZ");
        let message = format!("{anew}waits for {} until {until}", names.join(", "));
        self.push(self.now, About::Gate, Some(gate.name), Some("open".into()), message);
        self.next(commands);
    }

    fn asked(&mut self, text: String) {
        let question = Question::of(self.run, self.run.cutover, self.flags.0);
        let answers = question.map(|q| q.answers).unwrap_or_default();
        let does: String = answers.iter().map(|c| format!("; {}: {}", c.outcome, c.does)).collect();
        self.push(self.now, About::Question, None, Some("open".into()), text + &does);
        self.next(answers.into_iter().map(|c| c.command).collect());
    }

    fn command(&self, verb: &str, rest: &str) -> String {
        format!("kubectl cutover {verb} {} {rest}{}", self.run.cutover, self.flags.0)
    }
}
