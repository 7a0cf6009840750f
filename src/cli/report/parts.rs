//! PURE. The parts of a record, from the view of a run.

use jiff::{SignedDuration, Timestamp};

use super::model::*;
use crate::api::decision::Verb;
use crate::api::phase::Phase;
use crate::api::run::{DecisionRecord, StepState};
use crate::journal::ACCEPTED;
use crate::view;

/// The record of a run, without what only its stored form says.
pub(super) fn of(run: &view::Run) -> Report {
    let text = |t: &Option<String>| t.clone();
    let release = run.asked.map_or_else(Release::default, |asked| Release {
        version: text(&asked.version),
        revision: text(&asked.revision),
        tag: text(&asked.tag),
        requested_by: text(&asked.requested_by),
        before: None,
    });
    let sides = [(&run.target, "target"), (&run.old, "old")];
    let mut report = Report {
        run: run.name.to_owned(),
        uid: run.uid.to_owned(),
        namespace: run.namespace.to_owned(),
        cutover: run.cutover.to_owned(),
        account: run.account.map(str::to_owned),
        phase: run.phase,
        closed: run.closed,
        verdict: verdict(run),
        release: Release { before: run.release.old.map(str::to_owned), ..release },
        sides: sides.iter().filter_map(|(of, part)| of.as_ref().map(|of| side(of, part))).collect(),
        created: run.created,
        last_word: run.last_word(),
        took_seconds: run.took().map(seconds),
        phases: run.phases.iter().map(stretch).collect(),
        steps: steps(run),
        approvals: run.executions.iter().filter_map(|s| gate(run, s)).collect(),
        decisions: run.decisions.iter().map(said).collect(),
        question: run.question.cloned(),
        switch: run.switch.map(|s| switch(&s)),
        observation: run.observation.map(|o| Observation {
            since: o.since,
            seen_seconds: o.seen.as_millis() as f64 / 1000.0,
            wanted_seconds: o.wanted.map(|w| w.as_millis() as f64 / 1000.0),
        }),
        measurements: run.triggers.iter().map(measurement).collect(),
        rollback: rollback(run),
        losses: losses(run),
        checks: checks(run),
        not_recorded: vec![],
    };
    report.not_recorded = missing(&report);
    report
}

pub(super) fn seconds(time: SignedDuration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

/// From one time to a later one.
fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<f64> {
    Some(seconds(to?.duration_since(from?))).filter(|s| *s >= 0.0)
}

fn verdict(run: &view::Run) -> Verdict {
    if let Some(ending) = run.ending {
        let ends = |d: &&DecisionRecord| {
            let verb = matches!(d.decision, Verb::Rollback | Verb::Abort | Verb::Reject | Verb::Resolve);
            verb && accepted(d) && d.at == ending.at
        };
        let people: Vec<String> = run.decisions.iter().filter(ends).map(name).collect();
        let owner = match (&ending.trigger, people.is_empty()) {
            (_, false) => people,
            (Some(trigger), true) => vec![format!("trigger {trigger}")],
            (None, true) => vec![],
        };
        return Verdict {
            decision: Word::NoGo,
            owners: owner,
            at: Some(ending.at),
            why: Some(format!("{}: {}", ending.reason, ending.message)),
        };
    }
    if run.phase == Phase::Completed {
        let approves = |d: &&DecisionRecord| d.decision == Verb::Approve && accepted(d);
        // Those who opened the last gate of the way forward.
        let last = run.executions.iter().rev().find(|s| s.approval.is_some() && s.state == Some(StepState::Succeeded));
        let of_last = |d: &&DecisionRecord| last.is_some_and(|s| d.gate.as_deref() == Some(s.name));
        let mut owners: Vec<String> = run.decisions.iter().filter(approves).filter(of_last).map(name).collect();
        owners.dedup();
        let at = run.phases.iter().rev().find(|p| p.phase == Phase::Completed).map(|p| p.from);
        let why = last.map(|s| format!("gate {} was opened and the run completed", s.name));
        return Verdict { decision: Word::Go, owners, at, why };
    }
    if run.phase.is_over() {
        return Verdict { decision: Word::NoGo, at: run.since, ..Verdict::default() };
    }
    Verdict::default()
}

/// Who said it, and in which role.
fn name(d: &DecisionRecord) -> String {
    match &d.role {
        Some(role) => format!("{} ({role})", d.by),
        None => d.by.clone(),
    }
}

fn accepted(d: &DecisionRecord) -> bool {
    d.result.starts_with(ACCEPTED)
}

fn side(of: &view::Side, part: &'static str) -> Side {
    let image = |i: &&crate::api::trail::ImageRecord| {
        let ids = if i.at_switch.is_empty() { &i.image_ids } else { &i.at_switch };
        Image {
            workload: i.workload.clone(),
            container: i.container.clone(),
            image: i.image.clone(),
            digests: ids.iter().filter_map(|id| digest(id)).collect(),
            ids: ids.clone(),
        }
    };
    Side {
        name: of.name.to_owned(),
        part,
        workloads: of.workloads.clone(),
        template: of.template.map(str::to_owned),
        images: of.images.iter().map(image).collect(),
    }
}

/// The digest of an image, where its id is one by which a registry knows it: `NAME@sha256:HEX`.
fn digest(id: &str) -> Option<String> {
    let (_, digest) = id.rsplit_once('@')?;
    let hex = digest.strip_prefix("sha256:")?;
    (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| digest.to_owned())
}

fn stretch(of: &view::Stretch) -> Stretch {
    let took = of.took().map(seconds);
    Stretch { phase: of.phase, from: of.from, seconds: took, reason: of.reason.into(), message: of.message.into() }
}

/// What was begun, then what never was.
fn steps(run: &view::Run) -> Vec<Step> {
    let planned = run.stages.iter().flat_map(|b| &b.steps).flat_map(|n| std::iter::once(&n.step).chain(&n.parts));
    run.executions.iter().chain(planned.filter(|s| s.state.is_none())).map(step).collect()
}

fn step(of: &view::Step) -> Step {
    // What the Job really ran, else what was planned.
    let ran = of.job.map(|job| job.command.join(" ")).filter(|command| !command.is_empty());
    let earlier = |a: &crate::api::trail::AttemptRecord| Earlier {
        attempt: a.attempt,
        started: a.started,
        ended: a.ended,
        state: a.state,
        message: a.message.clone(),
    };
    let job = |j: &&crate::api::run::JobRecord| Job {
        name: j.name.clone(),
        created: j.created,
        image: j.image.clone(),
        image_id: j.image_id.clone(),
        failure: j.failure.clone(),
        pod_end: j.pod_end.clone(),
    };
    Step {
        name: of.name.to_owned(),
        stage: of.stage.map(|s| s.field().to_owned()),
        kind: of.kind.map(str::to_owned).or_else(|| of.approval.map(|_| "approval".to_owned())),
        suite: of.suite.map(str::to_owned),
        state: of.state,
        command: ran.or_else(|| of.does.clone()),
        attempts: of.attempt,
        started: of.started,
        ended: of.ended,
        seconds: of.took().map(seconds),
        message: of.message.map(str::to_owned),
        answer: of.evidence().filter(|a| !a.is_empty()),
        evidence: of.saw().cloned(),
        earlier: of.earlier.iter().map(earlier).collect(),
        jobs: of.jobs.iter().map(job).collect(),
        kept_from: of.kept_from.map(str::to_owned),
    }
}

fn said(d: &DecisionRecord) -> Said {
    Said {
        decision: d.decision,
        by: d.by.clone(),
        at: d.at,
        role: d.role.clone(),
        about: d.gate.clone().or_else(|| d.step.clone()),
        outcome: d.outcome.map(|o| format!("{o:?}")),
        comment: d.comment.clone(),
        result: d.result.clone(),
    }
}

fn gate(run: &view::Run, step: &view::Step) -> Option<Gate> {
    let of_gate: Vec<Said> = run.decisions.iter().filter(|d| d.gate.as_deref() == Some(step.name)).map(said).collect();
    // Where the plan cannot be read, a gate shows by what was said at it.
    if step.approval.is_none() && of_gate.is_empty() && step.gate.is_none() {
        return None;
    }
    let by = |role: &str| {
        let counts = |s: &&Said| {
            s.decision == Verb::Approve && s.result.starts_with(ACCEPTED) && s.role.as_deref() == Some(role)
        };
        let mut by: Vec<String> = of_gate.iter().filter(counts).map(|s| s.by.clone()).collect();
        by.dedup();
        by
    };
    let roles = step.approval.map_or(&[][..], |a| &a.roles);
    Some(Gate {
        name: step.name.to_owned(),
        state: step.state,
        roles: roles
            .iter()
            .map(|r| Role { name: r.name.clone(), wanted: r.count.unwrap_or(1), by: by(&r.name) })
            .collect(),
        instructions: step.approval.and_then(|a| a.instructions.clone()),
        checklist: step.approval.map(|a| a.checklist.clone()).unwrap_or_default(),
        said: of_gate,
    })
}

fn switch(of: &view::Switch) -> Switch {
    let service = |s: &crate::api::run::ServiceSwitch| Service {
        name: s.name.clone(),
        from: s.from.clone(),
        to: s.to.clone(),
        state: s.state,
        switched: s.switched_at,
        restored: s.restored_at,
        by_others: s.adopted,
    };
    Switch {
        claimed: of.claimed,
        converged: of.converged,
        restored: of.restored,
        services: of.services.iter().map(service).collect(),
    }
}

fn measurement(of: &view::Trigger) -> Measurement {
    let sample = |at: Timestamp, verdict, saw: &str, value: Option<f64>| {
        let value = value.or_else(|| saw.parse().ok()).filter(|v: &f64| v.is_finite());
        Sample { at, verdict, saw: saw.to_owned(), value }
    };
    let mut samples: Vec<Sample> = of.history.iter().map(|t| sample(t.at, t.verdict, &t.saw, None)).collect();
    if let (Some(at), Some(verdict), Some(saw)) = (of.last, of.verdict, of.saw)
        && samples.last().is_none_or(|s| s.at < at)
    {
        samples.push(sample(at, verdict, saw, of.value()));
    }
    Measurement {
        trigger: of.name.to_owned(),
        severity: of.severity,
        limit: of.limit.as_ref().map(view::Limit::shown),
        bound: of.limit.as_ref().and_then(|l| l.bound).filter(|b| b.is_finite()),
        trials: of.trials,
        armed: of.armed,
        fired: of.fired,
        dismissed: of.dismissed,
        samples,
    }
}

fn rollback(run: &view::Run) -> Option<Rollback> {
    let ending = run.ending?;
    let trigger = run.triggers.iter().find(|t| Some(t.name) == ending.trigger.as_deref());
    let restored = run.switch.and_then(|s| s.restored);
    let first_bad = trigger.and_then(|t| t.bad_since);
    Some(Rollback {
        phase: ending.phase,
        reason: ending.reason.clone(),
        why: ending.message.clone(),
        trigger: ending.trigger.clone(),
        first_bad,
        decided: ending.at,
        restored,
        seconds_from_bad: between(first_bad, restored),
        seconds_from_decision: between(Some(ending.at), restored),
        incomplete: ending.incomplete,
    })
}

fn losses(run: &view::Run) -> Losses {
    let closed = |c: &crate::api::run::Closing| Closed {
        side: c.side.clone(),
        at: c.at,
        pods: c.had,
        ended: c.ended,
        left: c.left.clone(),
    };
    Losses {
        on_target_seconds: run.switch.and_then(|s| between(s.patched, s.restored)),
        connections: run.closings.iter().map(closed).collect(),
    }
}

fn checks(run: &view::Run) -> Vec<Check> {
    let follow_up = |f: &view::FollowUp| Check {
        name: f.name.to_owned(),
        by: None,
        at: f.steps.iter().filter_map(|s| s.ended).max(),
        state: f.state,
        rounds: Some(format!("{} of {}", f.round, f.rounds)),
    };
    let again = |c: &view::Checks| Check {
        name: "revalidation".to_owned(),
        by: Some(c.record.by.clone()),
        at: Some(c.record.at),
        state: Some(c.record.state),
        rounds: None,
    };
    run.follow_ups.iter().map(follow_up).chain(run.checks.iter().map(again)).collect()
}

/// What a reader would look for in vain.
fn missing(report: &Report) -> Vec<String> {
    let mut missing = vec![];
    let mut say = |absent: bool, what: &str| {
        if absent {
            missing.push(what.to_owned());
        }
    };
    let over = report.phase.is_over() || report.phase == Phase::Completed;
    say(!over, "the end: the run was not over when this was written");
    say(
        report.verdict.owners.is_empty() && over,
        "an owner of the decision: neither a decision nor a trigger is behind it",
    );
    say(report.release.revision.is_none(), "the revision of the release");
    say(report.release.tag.is_none(), "the tag of the release");
    say(report.release.before.is_none(), "what was released on the old side");
    let digests =
        report.sides.iter().filter(|s| s.part == "target").flat_map(|s| &s.images).all(|i| i.digests.is_empty());
    say(digests, "digests of the target's images");
    let cut =
        report.steps.iter().any(|s| s.state == Some(StepState::Succeeded) && s.ended.is_some() && s.evidence.is_none());
    say(cut, "what some steps saw: they left no evidence, or it had to go for want of room");
    let first = report.phases.first().is_none_or(|p| !matches!(p.phase, Phase::Pending | Phase::Preflight));
    say(first, "the first phases: a run keeps the last 64 transitions");
    say(
        true,
        "requests and connections of users: a run does not count them; triggers, probes and suites stand for them",
    );
    missing
}
