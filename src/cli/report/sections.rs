//! PURE. The sections of a sheet. A template is a selection of them (`templates`); whatever a section says stands in the
//! model, so that no sheet knows more than another one.

use super::model::*;
use super::sheet::{Block, Cell, Section, time};
use crate::api::run::{Selector, StepState};

/// Widest output of a step that is shown, in lines.
const MAX_LINES: usize = 40;

pub(super) fn decision(r: &Report) -> Section<'_> {
    let facts = vec![
        ("Decision", Cell::Strong(word(r.verdict.decision).to_owned())),
        ("Owner", Cell::list(&r.verdict.owners)),
        ("Timestamp (UTC)", Cell::at(r.verdict.at)),
        ("Notes", Cell::of(r.verdict.why.clone())),
    ];
    Section { title: "GO / NO-GO", blocks: vec![Block::Facts(facts)] }
}

pub(super) fn run(r: &Report) -> Section<'_> {
    let facts = vec![
        ("Run", Cell::text(&r.run)),
        ("Cutover", Cell::text(format!("{}/{}", r.namespace, r.cutover))),
        ("Phase", Cell::text(format!("{}{}", r.phase, if r.closed { ", closed" } else { "" }))),
        ("Carried out as", Cell::of(r.account.clone())),
        ("Begun (UTC)", Cell::at(r.created)),
        ("Last word (UTC)", Cell::at(r.last_word)),
        ("Took", Cell::seconds(r.took_seconds)),
    ];
    Section { title: "Run", blocks: vec![Block::Facts(facts)] }
}

pub(super) fn release(r: &Report) -> Section<'_> {
    let facts = vec![
        ("Version", Cell::of(r.release.version.clone())),
        ("Commit SHA", Cell::of(r.release.revision.clone())),
        ("Tag", Cell::of(r.release.tag.clone())),
        ("Asked for by", Cell::of(r.release.requested_by.clone())),
        ("Live before", Cell::of(r.release.before.clone())),
    ];
    let image = |side: &Side, i: &Image| {
        let ids = if i.digests.is_empty() { &i.ids } else { &i.digests };
        let part = format!("{} ({})", side.name, side.part);
        vec![Cell::text(part), Cell::text(&i.workload), Cell::text(&i.container), Cell::text(&i.image), Cell::list(ids)]
    };
    let images = r.sides.iter().flat_map(|s| s.images.iter().map(move |i| image(s, i))).collect();
    let head = &["Side", "Workload", "Container", "Image", "Digest"];
    Section { title: "Release", blocks: vec![Block::Facts(facts), Block::Table(head, images)] }
}

pub(super) fn phases(r: &Report) -> Section<'_> {
    let row = |p: &Stretch| {
        let why = Some(p.message.as_str()).filter(|m| !m.is_empty());
        vec![Cell::text(p.phase.as_str()), Cell::text(time(p.from)), Cell::may(took(p.seconds)), Cell::may(why)]
    };
    let rows = r.phases.iter().map(row).collect();
    Section { title: "Phases", blocks: vec![Block::Table(&["Phase", "From (UTC)", "Took", "Why"], rows)] }
}

pub(super) fn steps(r: &Report) -> Section<'_> {
    let head = &[
        "Phase",
        "Step",
        "Command or request",
        "Result",
        "Started (UTC)",
        "Ended (UTC)",
        "Took",
        "Attempts",
        "Answer",
    ];
    let rows = r.steps.iter().map(step).collect();
    Section { title: "Steps", blocks: vec![Block::Table(head, rows)] }
}

fn step(s: &Step) -> Vec<Cell> {
    let state = s.state.map_or("never begun".to_owned(), |state| format!("{state:?}"));
    let kept = s.kept_from.as_ref().map(|run| format!(", kept from {run}")).unwrap_or_default();
    let command = s.command.clone().or_else(|| s.kind.clone());
    // A step that has succeeded says what it saw, any other one why.
    let says = match s.state {
        Some(StepState::Succeeded) => s.answer.as_ref().or(s.message.as_ref()),
        _ => s.message.as_ref().or(s.answer.as_ref()),
    };
    let name = match &s.suite {
        Some(suite) => format!("{suite} → {}", s.name),
        None => s.name.clone(),
    };
    let begun = |cell: Cell| if s.state.is_some() { cell } else { Cell::Empty };
    vec![
        Cell::may(s.stage.clone()),
        Cell::text(name),
        Cell::of(command),
        Cell::text(state + &kept),
        begun(Cell::at(s.started)),
        begun(Cell::at(s.ended)),
        Cell::may(took(s.seconds)),
        begun(Cell::text(s.attempts.to_string())),
        begun(Cell::of(says.cloned())),
    ]
}

/// Lines of logs, attempts before the last one, Jobs.
pub(super) fn outputs(r: &Report) -> Section<'_> {
    let mut blocks = vec![];
    let earlier = r.steps.iter().flat_map(|s| s.earlier.iter().map(move |a| attempt(s, a)));
    let head = &["Step", "Attempt", "Started (UTC)", "Ended (UTC)", "Result", "Why"];
    blocks.push(Block::Words("Attempts after which another one came:"));
    blocks.push(Block::Table(head, earlier.collect()));
    let jobs = r.steps.iter().flat_map(|s| s.jobs.iter().map(move |j| job(s, j)));
    blocks.push(Block::Words("Jobs:"));
    blocks.push(Block::Table(&["Step", "Job", "Created (UTC)", "Image", "Image id", "Failure"], jobs.collect()));
    for s in &r.steps {
        let lines = s.evidence.as_ref().and_then(|e| e["log"].as_array());
        let lines: Vec<String> =
            lines.into_iter().flatten().filter_map(|l| l.as_str()).take(MAX_LINES).map(str::to_owned).collect();
        if !lines.is_empty() {
            blocks.push(Block::Lines(Cell::text(format!("Output of {}", s.name)), lines));
        }
    }
    Section { title: "Outputs", blocks }
}

fn attempt(s: &Step, a: &Earlier) -> Vec<Cell> {
    vec![
        Cell::text(&s.name),
        Cell::text(a.attempt.to_string()),
        Cell::at(a.started),
        Cell::text(time(a.ended)),
        Cell::text(format!("{:?}", a.state)),
        Cell::text(&a.message),
    ]
}

fn job(s: &Step, j: &Job) -> Vec<Cell> {
    let failure = j.failure.clone().or_else(|| j.pod_end.clone());
    vec![
        Cell::text(&s.name),
        Cell::text(&j.name),
        Cell::at(j.created),
        Cell::of(j.image.clone()),
        Cell::of(j.image_id.clone()),
        Cell::may(failure),
    ]
}

pub(super) fn approvals(r: &Report) -> Section<'_> {
    let mut blocks = vec![];
    for gate in &r.approvals {
        let role = |role: &Role| {
            vec![
                Cell::text(&gate.name),
                Cell::text(&role.name),
                Cell::text(role.wanted.to_string()),
                Cell::list(&role.by),
            ]
        };
        blocks.push(Block::Table(&["Gate", "Role", "Wanted", "Approved by"], gate.roles.iter().map(role).collect()));
        if let Some(instructions) = &gate.instructions {
            blocks.push(Block::Facts(vec![("Asked", Cell::text(instructions))]));
        }
        if !gate.checklist.is_empty() {
            blocks.push(Block::Words("To be looked at before approving (who has looked at what is not recorded):"));
            blocks.push(Block::List(gate.checklist.iter().map(Cell::text).collect()));
        }
        blocks.push(words(&gate.said));
    }
    if blocks.is_empty() {
        blocks.push(Block::Words("No gate was reached."));
    }
    Section { title: "Approvals", blocks }
}

pub(super) fn decisions(r: &Report) -> Section<'_> {
    let mut blocks = vec![words(&r.decisions)];
    if let Some(q) = &r.question {
        let facts = vec![
            ("Open question", Cell::text(&q.text)),
            ("About", Cell::text(&q.subject)),
            ("Since (UTC)", Cell::text(time(q.at))),
            ("Answered by itself (UTC)", q.until.map_or(Cell::text("never"), |at| Cell::text(time(at)))),
        ];
        blocks.push(Block::Facts(facts));
    }
    Section { title: "What people said", blocks }
}

fn words(said: &[Said]) -> Block<'static> {
    let row = |s: &Said| {
        let what = match &s.outcome {
            Some(outcome) => format!("{:?} {outcome}", s.decision),
            None => format!("{:?}", s.decision),
        };
        vec![
            Cell::text(time(s.at)),
            Cell::text(&s.by),
            Cell::may(s.role.clone()),
            Cell::text(what),
            Cell::may(s.about.clone()),
            Cell::may(s.comment.clone()),
            Cell::text(&s.result),
        ]
    };
    Block::Table(&["At (UTC)", "Who", "Role", "Said", "About", "Comment", "Result"], said.iter().map(row).collect())
}

pub(super) fn switch(r: &Report) -> Section<'_> {
    let Some(s) = &r.switch else {
        return Section { title: "Switch", blocks: vec![Block::Words("No Service was switched.")] };
    };
    let row = |s: &Service| {
        let by = if s.by_others { " by somebody else" } else { "" };
        let way = format!("{} → {}", selector(&s.from), selector(&s.to));
        vec![
            Cell::text(&s.name),
            Cell::text(way),
            Cell::text(format!("{:?}", s.state)),
            Cell::at(s.switched),
            Cell::may(s.restored.map(|at| format!("{}{by}", time(at)))),
        ]
    };
    let facts =
        vec![("Claimed (UTC)", Cell::text(time(s.claimed))), ("Endpoints had followed (UTC)", Cell::at(s.converged))];
    let head = &["Service", "Selector", "State", "Switched (UTC)", "Restored (UTC)"];
    Section {
        title: "Switch",
        blocks: vec![Block::Facts(facts), Block::Table(head, s.services.iter().map(row).collect())],
    }
}

fn selector(of: &Selector) -> String {
    of.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
}

pub(super) fn measurements(r: &Report) -> Section<'_> {
    let mut blocks = vec![];
    if let Some(o) = &r.observation {
        let wanted = o.wanted_seconds.map(|w| format!(" of {w:.0} s")).unwrap_or_default();
        blocks.push(Block::Facts(vec![
            ("Observed", Cell::text(format!("{:.0} s{wanted}", o.seen_seconds))),
            ("Since (UTC)", Cell::text(time(o.since))),
        ]));
    }
    let row = |m: &Measurement| {
        let last = m.samples.last();
        vec![
            Cell::text(&m.trigger),
            Cell::of(m.severity.map(|s| format!("{s:?}"))),
            Cell::may(m.limit.clone()),
            Cell::text(m.trials.to_string()),
            Cell::of(last.map(|s| s.saw.clone())),
            Cell::of(last.map(|s| format!("{:?}", s.verdict))),
            Cell::may(m.fired.map(time)),
        ]
    };
    let head = &["Trigger", "Leads to", "Bad is", "Trials", "Saw last", "Judged", "Fired (UTC)"];
    blocks.push(Block::Table(head, r.measurements.iter().map(row).collect()));
    if r.measurements.iter().any(|m| !m.samples.is_empty()) {
        blocks.push(Block::Words(
            "A run keeps of each trigger the trials that were bad or judged otherwise than the one before, at most the last \
             twelve, and the last one of all:",
        ));
    }
    for m in r.measurements.iter().filter(|m| !m.samples.is_empty()) {
        blocks.push(Block::Plot(m));
        let row = |s: &Sample| vec![Cell::text(time(s.at)), Cell::text(format!("{:?}", s.verdict)), Cell::text(&s.saw)];
        blocks.push(Block::Table(&["At (UTC)", "Judged", "Saw"], m.samples.iter().map(row).collect()));
    }
    Section { title: "Measurements", blocks }
}

pub(super) fn rollback(r: &Report) -> Section<'_> {
    let Some(b) = &r.rollback else {
        return Section { title: "Way back", blocks: vec![Block::Words("The run did not go back.")] };
    };
    let facts = vec![
        ("Why", Cell::text(&b.why)),
        ("Reason", Cell::text(&b.reason)),
        ("Trigger", Cell::may(b.trigger.clone())),
        ("First bad sample (UTC)", Cell::at(b.first_bad)),
        ("Decided (UTC)", Cell::text(time(b.decided))),
        ("Selectors were back (UTC)", Cell::at(b.restored)),
        ("From the first bad sample to the restore", Cell::seconds(b.seconds_from_bad)),
        ("From the decision to the restore", Cell::seconds(b.seconds_from_decision)),
        (
            "All of it undone",
            Cell::text(if b.incomplete {
                "no: an undo or a step of the rollback failed"
            } else {
                "no failure recorded"
            }),
        ),
    ];
    Section { title: "Way back", blocks: vec![Block::Facts(facts)] }
}

pub(super) fn losses(r: &Report) -> Section<'_> {
    let closed = |c: &Closed| {
        vec![
            Cell::text(&c.side),
            Cell::text(time(c.at)),
            Cell::text(c.pods.to_string()),
            Cell::at(c.ended),
            Cell::may(c.left.clone()),
        ]
    };
    let facts = vec![
        ("Users were on the target before they went back", on_target(r)),
        ("Downtime", Cell::NotRecorded),
        ("Lost requests", Cell::NotRecorded),
    ];
    let head = &["Connections to side", "Claimed (UTC)", "Pods then", "Ended (UTC)", "Why some were left"];
    Section {
        title: "Downtime and losses",
        blocks: vec![
            Block::Facts(facts),
            Block::Words("A run does not count the requests of users: its triggers, probes and suites stand for them."),
            Block::Table(head, r.losses.connections.iter().map(closed).collect()),
        ],
    }
}

/// How long users were on the target, where they went back.
pub(super) fn on_target(r: &Report) -> Cell {
    match (&r.rollback, &r.switch) {
        (None, _) | (_, None) => Cell::Empty,
        _ => Cell::seconds(r.losses.on_target_seconds),
    }
}

pub(super) fn checks(r: &Report) -> Section<'_> {
    let row = |c: &Check| {
        vec![
            Cell::text(&c.name),
            Cell::may(c.by.clone()),
            Cell::may(c.at.map(time)),
            Cell::text(c.state.map_or("not begun".to_owned(), |s| format!("{s:?}"))),
            Cell::may(c.rounds.clone()),
        ]
    };
    let head = &["Check", "Asked for by", "At (UTC)", "Result", "Rounds"];
    Section { title: "After completion", blocks: vec![Block::Table(head, r.checks.iter().map(row).collect())] }
}

pub(super) fn missing(r: &Report) -> Section<'_> {
    Section { title: "Not recorded", blocks: vec![Block::List(r.not_recorded.iter().map(Cell::text).collect())] }
}

/// The decision in its word.
pub(super) fn word(word: Word) -> &'static str {
    match word {
        Word::Go => "GO",
        Word::NoGo => "NO-GO",
        Word::Open => "not decided yet",
    }
}

fn took(seconds: Option<f64>) -> Option<String> {
    seconds.map(|s| format!("{s:.1} s"))
}
