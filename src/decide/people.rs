//! PURE. Decisions of people: each counts once, when it is first seen, or never; open questions are answered or time out.
//! The journal takes in what counts. What does not is answered on the decision alone ([`super::answers`]), so that no
//! number of refused ones can fill it.

use std::collections::BTreeSet;

use crate::actions::proof;
use crate::api::condition::reasons;
use crate::api::decision::{Resolution, Verb};
use crate::api::duration::Duration;
use crate::api::phase::Phase;
use crate::api::run::{DecisionRecord, Question, StepState};
use crate::decide::draft::Draft;
use crate::decide::proof::Standing;
use crate::decide::{after, blocked};
use crate::journal::question::Subject;
use crate::journal::transition::{self, StepEvent};
use crate::journal::words::NoWayBack;
use crate::journal::{self, ACCEPTED, later, words};
use crate::world::DecisionView;

/// Most decisions a run takes in, and of one person. Those that lead back have room always: each of them counts at most
/// once in a run or gate.
const MAX_DECISIONS: usize = 200;
const MAX_OF_A_PERSON: usize = 50;

/// Nothing is switched for so long after somebody has spoken whose word is not judged yet.
const MOMENT: Duration = Duration::from_secs(2);

/// Takes in every open decision that has not been looked at yet, those that lead back first.
pub fn take_in(d: &mut Draft) {
    let world = d.world;
    let open: BTreeSet<&str> = world.decisions.iter().map(|v| v.uid.as_str()).collect();
    d.said.refused.retain(|uid, _| open.contains(uid.as_str()));
    d.said.taken_up.retain(|uid, _| open.contains(uid.as_str()));
    d.said.unproven.retain(|uid, _| open.contains(uid.as_str()));
    let known: BTreeSet<&str> = d.before.decisions.iter().map(|r| r.uid.as_str()).collect();
    let way_back = |v: &&DecisionView| words::is_way_back(v.spec.decision);
    let first = world.decisions.iter().filter(way_back);
    let mut refused = vec![];
    for view in first.chain(world.decisions.iter().filter(|v| !way_back(v))) {
        if known.contains(view.uid.as_str()) || d.said.refused.contains_key(&view.uid) || is_for_the_controller(d, view)
        {
            continue;
        }
        if world.inherited.contains(&view.uid) && !super::answers::is_taken_up(d, view) {
            continue;
        }
        let result = match refusal(d, view) {
            Some(result) => result,
            None => match standing(d, view) {
                Standing::Counts => carry_out(d, view, None),
                Standing::Unproven(why) => carry_out(d, view, Some(&why)),
                Standing::Refused(result) => result,
                Standing::Waits(until) => {
                    until.into_iter().for_each(|at| d.out.wake_at(at));
                    continue;
                }
            },
        };
        let (verb, at) = (view.spec.decision, d.now());
        let text = format!("{verb:?} by {}: {result}", view.spec.by);
        if !words::counts(&result) {
            d.said.refused.insert(view.uid.clone(), (at, result));
            refused.push((verb, text));
            continue;
        }
        d.note(false, reasons::DECISION, &format!("{verb:?}"), text);
        d.journal.decisions.push(DecisionRecord {
            uid: view.uid.clone(),
            decision: verb,
            by: view.spec.by.clone(),
            at,
            gate: view.spec.gate.clone(),
            role: view.spec.role.clone(),
            token: view.spec.token.clone(),
            step: view.spec.step.clone(),
            outcome: view.spec.outcome,
            comment: view.spec.comment.clone(),
            result,
        });
    }
    super::answers::tell(d, refused);
}

/// A Retry for a run that is over starts another one, which is not this run's business.
fn is_for_the_controller(d: &Draft, view: &DecisionView) -> bool {
    view.spec.decision == Verb::Retry && d.journal.phase.is_over()
}

/// Why a decision does not count, whatever it says.
fn refusal(d: &Draft, view: &DecisionView) -> Option<String> {
    let (spec, verb) = (&view.spec, view.spec.decision);
    if spec.run_uid != d.world.run_uid || spec.cutover != d.plan.cutover {
        return Some(words::of_another(spec));
    }
    let about_checks = matches!(verb, Verb::Revalidate | Verb::Suspend | Verb::Resume);
    if journal::is_reopened(&d.journal) && !about_checks {
        return Some("refused: the run is over, and open again for its checks alone".into());
    }
    if words::is_way_back(verb) || verb == Verb::Reject {
        return None;
    }
    let all = d.journal.decisions.len();
    let own = d.journal.decisions.iter().filter(|r| r.by == spec.by).count();
    let rest = "Rollback, Abort and Reject still count";
    if own >= MAX_OF_A_PERSON {
        return Some(format!(
            "refused: {} has made {own} decisions on this run, the most that one person may; {rest}",
            spec.by
        ));
    }
    (all >= MAX_DECISIONS)
        .then(|| format!("refused: {all} decisions have been made on this run, the most that it keeps; {rest}"))
}

/// Whether a decision that may stop the run was made in the last two seconds and is not judged yet. Nothing is switched
/// meanwhile. Each decision holds the switch for two seconds at most.
pub(crate) fn may_hold(d: &mut Draft) -> bool {
    let (mut holds, now) = (false, d.now());
    for view in d.world.decisions.iter().filter(|v| v.spec.decision != Verb::Approve) {
        let uid = &view.uid;
        let judged = d.said.refused.contains_key(uid) || words::taken_in(&d.journal, uid).is_some();
        let since = d.said.unproven.get(uid).or(d.said.taken_up.get(uid).map(|t| &t.since));
        if let Some(until) = since.filter(|_| !judged).map(|since| later(*since, MOMENT)).filter(|until| now < *until) {
            d.out.wake_at(until);
            holds = true;
        }
    }
    holds
}

/// How a decision stands by what is proven of who made it.
fn standing(d: &mut Draft, view: &DecisionView) -> Standing {
    let proof = proof::ask(d.world, &mut d.out);
    let now = d.now();
    let since = *d.said.unproven.entry(view.uid.clone()).or_insert(now);
    super::proof::standing(view.spec.decision, view.created, since, proof, now)
}

/// `unproven`: why it may be somebody else's.
fn carry_out(d: &mut Draft, view: &DecisionView, unproven: Option<&str>) -> String {
    let spec = &view.spec;
    let doubt = unproven.map(|_| ", identity not proven").unwrap_or_default();
    let why = match &spec.comment {
        Some(comment) => format!("{:?} by {}{doubt}: {comment}", spec.decision, spec.by),
        None => format!("{:?} by {}{doubt}", spec.decision, spec.by),
    };
    let accepted = || unproven.map_or(ACCEPTED.to_owned(), |why| format!("{ACCEPTED}: identity not proven: {why}"));
    if let Some(no) = words::no_way_back(spec.decision, &d.journal) {
        return match no {
            NoWayBack::Ending => "the run is ending already".into(),
            NoWayBack::Switched => "refused: the switch has been made; decide Rollback instead".into(),
            NoWayBack::NotSwitched => "refused: nothing has been switched; decide Abort instead".into(),
            NoWayBack::Retired => format!("refused: {}", after::go_back_anew(d.plan)),
        };
    }
    match spec.decision {
        Verb::Abort => {
            d.end(Phase::Aborted, reasons::DECISION, &why, None);
            accepted()
        }
        Verb::Rollback => {
            d.end(Phase::RolledBack, reasons::DECISION, &why, None);
            accepted()
        }
        Verb::Suspend if d.journal.suspended.is_some() => "the run is suspended already".into(),
        Verb::Suspend => {
            d.journal.suspended = Some(d.now());
            ACCEPTED.into()
        }
        Verb::Resume if d.journal.suspended.take().is_some() => ACCEPTED.into(),
        Verb::Resume if d.suspended() => {
            "refused: the run is suspended by the Cutover; set spec.suspend to false".into()
        }
        Verb::Resume => "the run is not suspended".into(),
        Verb::Resolve => resolve(d, view, &why),
        Verb::Retry if d.journal.phase == Phase::Completed => {
            "refused: the run has completed, so there is nothing to try again; change spec.release to start another"
                .into()
        }
        Verb::Retry => "refused: the run is not over; decide Retry again once it is".into(),
        Verb::Approve | Verb::Reject => word_on_gate(d, view),
        Verb::Revalidate => after::revalidate(d, &spec.by),
    }
}

fn resolve(d: &mut Draft, view: &DecisionView, why: &str) -> String {
    let (Some(step), Some(outcome)) = (view.spec.step.as_deref(), view.spec.outcome) else {
        return "refused: Resolve needs step and outcome".into();
    };
    if step == blocked::RESTORE && d.plan.step(step).is_none() {
        return match outcome {
            _ if !blocked::is_open(d) => "refused: no restore waits for an empty old side".into(),
            Resolution::Wait if blocked::has_begun(d) => "refused: the undos have begun".into(),
            Resolution::UndoFirst | Resolution::Wait => {
                blocked::decided(d, outcome == Resolution::UndoFirst, why);
                ACCEPTED.into()
            }
            Resolution::StopTarget if blocked::stop_target(d, why) => ACCEPTED.into(),
            Resolution::StopTarget => "refused: the target has been stopped already, or is not known yet".into(),
            Resolution::Succeeded | Resolution::Failed => {
                "refused: of step restore the outcome is UndoFirst, StopTarget or Wait".into()
            }
        };
    }
    if matches!(outcome, Resolution::UndoFirst | Resolution::StopTarget | Resolution::Wait) {
        return "refused: UndoFirst, StopTarget and Wait are answers for step restore alone".into();
    }
    if step == "decision" {
        return answer(d, outcome, why);
    }
    let now = d.now();
    let Some(record) = d.journal.steps.iter_mut().find(|r| r.name == step) else {
        return format!("refused: step {step} has not been started");
    };
    if record.state != StepState::Unknown {
        return format!("refused: the outcome of step {step} is known");
    }
    let found = if outcome == Resolution::Succeeded { StepEvent::FoundDone } else { StepEvent::FoundNotDone };
    let found = transition::step(record, found, now);
    record.message = Some(why.to_owned());
    d.legal(found);
    "accepted".into()
}

/// A word on a gate counts when the gate is open, knows the role, and still stands on what the word was given for.
fn word_on_gate(d: &Draft, view: &DecisionView) -> String {
    let spec = &view.spec;
    let (Some(gate), Some(role), Some(token)) = (&spec.gate, &spec.role, &spec.token) else {
        return "refused: Approve and Reject need gate, role and token".into();
    };
    let open = journal::record(&d.journal, gate).filter(|r| r.state == StepState::Running);
    let (Some(record), Some(approval)) = (open.and_then(|r| r.gate.as_ref()), d.plan.gate(gate)) else {
        return format!("refused: the gate {gate} is not open");
    };
    if record.token != *token {
        return "refused: it was given for another plan, other pod templates or other evidence; look again, then decide \
                with the gate's present token"
            .into();
    }
    if !approval.roles.iter().any(|r| r.name == *role) {
        return format!("refused: the gate {gate} asks no {role}");
    }
    if approval.exclude_requester && spec.decision == Verb::Approve {
        let asked = d.plan.release.requested_by.as_deref();
        if asked.is_none_or(|asked| asked == spec.by) {
            let asked = asked.unwrap_or("nobody who is known");
            return format!(
                "refused: {asked} has asked for this release, and the gate {gate} wants the approval of somebody else"
            );
        }
    }
    let no = |r: &&DecisionRecord| {
        r.decision == Verb::Reject && r.gate.as_ref() == Some(gate) && r.token.as_ref() == Some(token)
    };
    if let Some(r) = d.journal.decisions.iter().find(no) {
        return format!("refused: {} has rejected the gate {gate} already", r.by);
    }
    let before = d.journal.decisions.iter().find(|r| {
        r.by == spec.by
            && r.result == ACCEPTED
            && r.decision == Verb::Approve
            && r.gate.as_ref() == Some(gate)
            && r.token.as_ref() == Some(token)
            && (approval.distinct || r.role.as_ref() == Some(role))
    });
    match before {
        // Who has approved may still think better of it.
        Some(r) if spec.decision == Verb::Approve => {
            let role = r.role.as_deref().unwrap_or_default();
            format!("refused: {} has approved as {role} already; another person is needed", spec.by)
        }
        _ => ACCEPTED.into(),
    }
}

/// Answers the open question: `Succeeded` goes on, `Failed` goes back.
fn answer(d: &mut Draft, outcome: Resolution, why: &str) -> String {
    let Some(question) = d.journal.question.clone() else {
        return "refused: no question is open".into();
    };
    let subject = subject_of(&question);
    if subject == Some(Subject::Restore) {
        return "refused: answer with step restore and outcome UndoFirst, StopTarget or Wait".into();
    }
    let undo = subject == Some(Subject::Undo);
    if outcome == Resolution::Failed && !undo && journal::is_retired(&d.journal) {
        return format!("refused: {}", after::go_back_anew(d.plan));
    }
    d.journal.question = None;
    match outcome {
        _ if undo => {
            let undo = Some(outcome == Resolution::Failed);
            d.journal.after.get_or_insert_default().undo = undo;
        }
        Resolution::Succeeded => go_on(d, subject),
        Resolution::Failed | Resolution::UndoFirst | Resolution::StopTarget | Resolution::Wait => {
            let message = format!("{} ({why})", question.text);
            let trigger = subject.and_then(Subject::into_trigger);
            d.end(Phase::Failed, reasons::DECISION, &message, trigger.as_deref());
        }
    }
    "accepted".into()
}

/// Takes the default of a question whose time is up.
pub(crate) fn answer_question(d: &mut Draft) {
    let Some(question) = d.journal.question.clone() else { return };
    let Some(until) = question.until else { return };
    if until > d.now() {
        d.out.wake_at(until);
        return;
    }
    let subject = subject_of(&question);
    if subject == Some(Subject::Restore) {
        return blocked::decided(
            d,
            question.default_rollback,
            "nobody decided in time; rollback.blocked.default says so",
        );
    }
    d.journal.question = None;
    if question.default_rollback {
        let message = format!("{}; nobody decided in time", question.text);
        let trigger = subject.and_then(Subject::into_trigger);
        let reason = if trigger.is_some() { reasons::TRIGGER_FIRED } else { reasons::TIMEOUT };
        d.end(Phase::Failed, reason, &message, trigger.as_deref());
    } else {
        d.note(true, reasons::TIMEOUT, &question.subject, "nobody decided in time; going on, as the default says");
        go_on(d, subject);
    }
}

/// What a question is about. One that another version of the operator has put is about nothing that this one knows: its
/// answer goes back or goes on, and nothing besides.
fn subject_of(question: &Question) -> Option<Subject> {
    question.subject.parse().ok()
}

/// What going on means for each subject.
fn go_on(d: &mut Draft, subject: Option<Subject>) {
    let now = d.now();
    match subject {
        Some(Subject::Trigger(name)) => {
            if let Some(t) = d.journal.triggers.iter_mut().find(|t| t.name == name) {
                t.dismissed = true;
            }
        }
        // The failure stays on record; `Skipped` lets the stage go on without calling it a success.
        Some(Subject::Step(name)) => {
            if let Some(r) = d.journal.steps.iter_mut().find(|r| r.name == name) {
                let overruled = transition::step(r, StepEvent::Overruled, now);
                d.legal(overruled);
            }
        }
        // Accepted as it is now: journaled anew, so that the same change is not asked about again.
        Some(Subject::Template) => d.journal.templates = d.world.templates(d.plan).unwrap_or_default(),
        Some(Subject::Observation) => d.enter(Phase::Finishing, reasons::DECISION, "observation ended by a person"),
        Some(Subject::Window) => d.journal.window_waived = true,
        Some(Subject::Undo | Subject::Restore) | None => {}
    }
}

#[cfg(test)]
#[path = "people_tests.rs"]
mod tests;
