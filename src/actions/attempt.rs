//! PURE. What all steps share, those of suites and undos included: conditions, attempts, pauses between them, and the
//! time-out over all of them. Knows no action but by [`super::advance`] and what a time-out must not leave behind.

use jiff::Timestamp;

use crate::api::duration::Duration;
use crate::api::run::{StepRecord, StepState};
use crate::journal::transition::{self, StepEvent};
use crate::plan::expr;
use crate::plan::{Action, Kept, PlanStep};

use super::keeping::{self, Keeping};
use super::{Cx, Out, Verdict, advance, evidence, expect, http, job};
use crate::journal::{self, later, trail};

/// Takes an execution one move further, beginning it when there is no record. Captures and the records of sub-steps go
/// into `out`. An execution that is over is returned as it is.
pub fn drive(cx: &Cx, step: &PlanStep, record: Option<&StepRecord>, out: &mut Out) -> StepRecord {
    let now = cx.world.now;
    let mut record = match record {
        Some(record) => record.clone(),
        None => match cx.plan.kept.get(&step.name) {
            Some(of) => return kept(cx, step, of, out),
            None => begin(cx, step, out),
        },
    };
    if record.state != StepState::Running {
        return record;
    }
    if stands_still(cx, step, &mut record) {
        return record;
    }
    let stopped = Duration::from_millis(record.stopped_ms);
    let deadline = later(later(record.started.unwrap_or(now), step.timeout), stopped);
    if record.between {
        let due = record.attempt_at.unwrap_or(now);
        if now >= deadline {
            let message = timed_out(step, &record);
            return end(cx, record, StepEvent::Failed, Some(message), out);
        }
        if due > now {
            if !is_pushed(cx, step, due, out) {
                out.wake_at(due.min(deadline));
                return record;
            }
            // One more than those that the runbook allows: pushes take none of them away.
            record.attempts_before += 1;
        }
        record.between = false;
        record.attempt_at = Some(now);
    }
    let (is_late, taken) = (now >= deadline, out.consumed.len());
    let verdict = if !is_late {
        out.wake_at(deadline);
        advance(cx, step, &mut record, out)
    } else {
        late(cx, step, &mut record, out)
    };
    match verdict {
        None => record,
        Some(Verdict::Pass { evidence, captures, hidden }) => {
            if !hidden.is_empty() {
                // What it passed by is looked at again until that is written.
                let passed_by = out.consumed.split_off(taken);
                match keeping::keep(cx, step, &hidden, is_late, &mut record, out) {
                    Keeping::Open => return record,
                    Keeping::Failed(why) => {
                        out.consumed.extend(passed_by);
                        return end(cx, record, StepEvent::Failed, Some(why), out);
                    }
                    Keeping::Kept(kept) => {
                        out.consumed.extend(passed_by);
                        out.captures.extend(kept);
                    }
                }
            }
            out.captures.extend(captures);
            record.evidence = evidence.map(evidence::fit);
            end(cx, record, StepEvent::Passed, None, out)
        }
        Some(Verdict::Unknown { message }) => end(cx, record, StepEvent::Lost, Some(message), out),
        Some(Verdict::Refused { message, evidence }) => {
            record.evidence = evidence.map(evidence::fit);
            end(cx, record, StepEvent::Failed, Some(message), out)
        }
        Some(Verdict::NotMade { message }) => {
            let next = later(now, step.every);
            record.message = Some(journal::short(&message, MAX_MESSAGE));
            // Another read or request needs another name; it counts as the same attempt.
            record.attempt += 1;
            record.attempts_before += 1;
            record.attempt_at = Some(next);
            record.between = true;
            record.sent = None;
            out.wake_at(next.min(deadline));
            record
        }
        Some(Verdict::Fail { message, evidence }) => {
            record.evidence = evidence.map(evidence::fit);
            let next = later(now, step.every);
            let made = record.attempt.saturating_sub(record.attempts_before);
            if made >= step.attempts || next >= deadline {
                return end(cx, record, StepEvent::Failed, Some(message), out);
            }
            trail::keep_attempt(&mut record, now, StepState::Failed, &message);
            let message = format!("attempt {made} of {} failed: {message}", step.attempts);
            record.message = Some(journal::short(&message, MAX_MESSAGE));
            record.attempt += 1;
            record.attempt_at = Some(next);
            record.between = true;
            // The Job of the former attempt still gets its owner when the run closes. What a change found before it
            // stays: the second attempt must not take the changed value for the original.
            record.former_jobs.extend(record.job.take());
            if matches!(step.action, Action::Restart(_)) {
                record.before.iter_mut().for_each(|b| b.done = false); // once an attempt
            }
            record.sent = None;
            out.wake_at(next);
            record
        }
    }
}

/// Whether a push ends the pause until `due`: something that the step waits for may have changed. Only what merely looks is
/// looked at again so early, and no step of it costs more than a request.
fn is_pushed(cx: &Cx, step: &PlanStep, due: Timestamp, out: &mut Out) -> bool {
    let looks = matches!(step.action, Action::Http(_) | Action::Metric(_) | Action::Resource(_) | Action::Suite(_));
    let Some(at) = cx.world.pushed.filter(|_| looks && step.action.only_reads()) else { return false };
    if at > cx.world.now {
        out.wake_at(at);
        return false;
    }
    // Later than the attempt before.
    later(at, step.every) > due
}

/// Whether the clock stands still: a paused run stops those of approvals and of pauses between two attempts, never that
/// of something under way (DESIGN §4).
fn stands_still(cx: &Cx, step: &PlanStep, record: &mut StepRecord) -> bool {
    let now = cx.world.now;
    let held = cx.holds() && (record.between || matches!(step.action, Action::Approval(_)));
    match (record.stopped_since, held) {
        (None, true) => record.stopped_since = Some(now),
        (Some(since), false) => {
            record.stopped_ms = record.stopped_ms.saturating_add(super::span(since, now).as_millis());
            record.stopped_since = None;
        }
        (None, false) | (Some(_), true) => {}
    }
    held
}

/// The success of an earlier run stands for this one's (`keepOnRetry`).
fn kept(cx: &Cx, step: &PlanStep, of: &Kept, out: &mut Out) -> StepRecord {
    let now = Some(cx.world.now);
    out.captures.extend(of.captures.clone());
    let record = StepRecord {
        name: step.name.clone(),
        started: now,
        attempt_at: now,
        evidence: of.evidence.clone(),
        kept_from: Some(of.run.clone()),
        ..StepRecord::default()
    };
    end(cx, record, StepEvent::Passed, Some(format!("kept from run {}", of.run)), out)
}

/// Longest message of a record.
const MAX_MESSAGE: usize = 512;

/// The record of an execution that begins now, or is left out.
fn begin(cx: &Cx, step: &PlanStep, out: &mut Out) -> StepRecord {
    let now = cx.world.now;
    let former = journal::former(cx.journal, &step.name).cloned().unwrap_or_default();
    let record = StepRecord {
        name: step.name.clone(),
        state: StepState::Running,
        attempt: former.attempt + 1,
        attempts_before: former.attempt,
        started: Some(now),
        attempt_at: Some(now),
        former_jobs: former.jobs,
        earlier: former.earlier,
        ..StepRecord::default()
    };
    let left_out = |why: String, out: &mut Out| {
        let never = StepRecord { attempt: former.attempt, ..record.clone() };
        end(cx, never, StepEvent::LeftOut, Some(why), out)
    };
    let skipped = |name: &&String| journal::record(cx.journal, name).is_some_and(|r| r.state == StepState::Skipped);
    if let Some(needed) = step.needs.iter().find(skipped) {
        return left_out(format!("step {needed}, which it needs, was skipped"), out);
    }
    match step.when.as_ref().map(|when| (when, expr::eval_bool(when, &expect::vars(cx)))) {
        None | Some((_, Ok(true))) => record,
        Some((when, Ok(false))) => left_out(format!("when: {when} is false"), out),
        Some((when, Err(why))) => end(cx, record, StepEvent::Failed, Some(format!("when: {when}: {why}")), out),
    }
}

/// The record of an execution that has come to its end.
fn end(cx: &Cx, mut record: StepRecord, event: StepEvent, message: Option<String>, out: &mut Out) -> StepRecord {
    match transition::step(&mut record, event, cx.world.now) {
        Ok(()) => record.message = message.map(|m| journal::short(&m, MAX_MESSAGE)),
        Err(defect) => out.defects.push(defect),
    }
    record
}

fn timed_out(step: &PlanStep, record: &StepRecord) -> String {
    let last = record.message.as_ref().map(|m| format!(": {m}")).unwrap_or_default();
    format!("timed out after {}{last}", step.timeout)
}

/// The time is up. What has been started is brought to an end that is known; what passed in time, or was never seen
/// because nobody looked, may still pass.
fn late(cx: &Cx, step: &PlanStep, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    match &step.action {
        // Its steps end by themselves: their own time-outs are cut at the suite's.
        Action::Suite(_) => advance(cx, step, record, out),
        Action::Job(job) if record.job.is_some() => {
            let message = timed_out(step, record);
            job::late(cx, step, job, record, out, &message)
        }
        Action::Http(http) if record.sent.is_some() => http::late(cx, step, http, record, out),
        _ => {
            let mut seen = record.clone();
            let mut unused = Out::default();
            match advance(cx, step, &mut seen, &mut unused) {
                Some(pass @ Verdict::Pass { .. }) => {
                    *record = seen;
                    if pass.hides() {
                        out.reads.extend(unused.reads);
                    }
                    out.warnings.extend(unused.warnings);
                    out.consumed.extend(unused.consumed);
                    Some(pass)
                }
                Some(Verdict::Fail { message, evidence } | Verdict::Refused { message, evidence }) => {
                    Some(Verdict::Fail { message: format!("timed out after {}: {message}", step.timeout), evidence })
                }
                Some(Verdict::NotMade { message }) => {
                    Some(Verdict::fail(format!("timed out after {}: {message}", step.timeout)))
                }
                Some(Verdict::Unknown { .. }) | None => Some(Verdict::fail(timed_out(step, record))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actions::fixtures::{Fixture, answer, http as get, pod, read, step};
    use crate::api::run::Ending;
    use crate::api::step::Wait;
    use crate::plan::Stage;
    use crate::world::Reading;

    fn check() -> PlanStep {
        step("check", Stage::Verify, Action::Http(get(json!({"path": "/"}))))
    }

    fn answered(status: u16) -> Fixture {
        let mut f = Fixture::new();
        f.pods(vec![pod("green-a", "green")]);
        f.world.readings.insert(read("check#1"), Reading::Http(vec![answer(status, "")]));
        f
    }

    fn put(f: &mut Fixture, name: &str, state: StepState) {
        f.journal.steps.push(StepRecord { name: name.into(), state, ..StepRecord::default() });
    }

    #[test]
    fn a_step_left_out_says_why_and_was_never_attempted() {
        let mut f = answered(200);
        put(&mut f, "first", StepState::Skipped);
        put(&mut f, "second", StepState::Failed);
        let table = [
            (None, vec!["first"], StepState::Skipped, "step first, which it needs, was skipped"),
            (None, vec!["second"], StepState::Succeeded, ""),
            (Some("release.version == '1'"), vec![], StepState::Skipped, "when: release.version == '1' is false"),
            (Some("steps['second'].outcome == 'Failed'"), vec![], StepState::Succeeded, ""),
            (Some("captures.nope == 1"), vec![], StepState::Failed, "captures.nope is missing"),
        ];
        for (when, needs, state, text) in table {
            let needs = needs.into_iter().map(str::to_owned).collect();
            let s = PlanStep { when: when.map(str::to_owned), needs, ..check() };
            let (r, _) = f.drive(&s, None);
            assert!(r.state == state && r.message.unwrap_or_default().contains(text), "{when:?}");
            assert_eq!(r.attempt == 0, state == StepState::Skipped, "{when:?}");
        }
    }

    #[test]
    fn attempts_go_on_until_one_passes_or_none_is_left() {
        let mut f = answered(500);
        let s = PlanStep { attempts: 2, ..check() };
        let (r, out) = f.drive(&s, None);
        assert!(r.state == StepState::Running && r.between && r.attempt == 2);
        assert!(r.message.as_ref().is_some_and(|m| m.starts_with("attempt 1 of 2 failed: green-a: status 500")));
        assert_eq!(out.wake, Some(later(f.world.now, s.every)));
        assert_eq!(f.drive(&s, Some(&r)).0, r, "nothing happens in the pause");
        f.after(5);
        f.world.readings.insert(read("check#2"), Reading::Http(vec![answer(500, "")]));
        let (over, _) = f.drive(&s, Some(&r));
        assert_eq!((over.state, over.attempt), (StepState::Failed, 2));
        f.world.readings.insert(read("check#2"), Reading::Http(vec![answer(200, "")]));
        assert_eq!(f.drive(&s, Some(&r)).0.state, StepState::Succeeded);
        assert_eq!(f.drive(&s, Some(&over)).0, over, "what is over stays over");
    }

    #[test]
    fn a_push_ends_the_pause_of_what_only_looks_and_takes_no_attempt_away() {
        let mut f = answered(500);
        let s = PlanStep { attempts: 2, ..check() };
        // One that was made before the attempt is no reason for another.
        f.world.pushed = Some(f.world.now);
        let (r, _) = f.drive(&s, None);
        f.after(1);
        assert_eq!(f.drive(&s, Some(&r)).0, r);
        f.world.pushed = Some(f.world.now);
        let (mut r, out) = f.drive(&s, Some(&r));
        assert!(!r.between && out.reads.contains_key(&read("check#2")), "{r:?}");
        // Two more may fail, as if there had been no push.
        for (n, state) in [(2, StepState::Running), (3, StepState::Failed)] {
            f.world.readings.insert(read(&format!("check#{n}")), Reading::Http(vec![answer(500, "")]));
            (r, _) = f.drive(&s, Some(&r));
            assert_eq!((r.state, r.message.is_some()), (state, true), "{r:?}");
            f.after(5);
        }
        // One that lies a little ahead wakes it then.
        let mut f = answered(500);
        let (r, _) = f.drive(&s, None);
        f.world.pushed = Some(later(f.world.now, Duration::from_secs(1)));
        assert_eq!(f.drive(&s, Some(&r)).1.wake, f.world.pushed);
        // What changes something keeps its pause.
        let mut f = answered(500);
        let (r, _) = f.drive(&s, None);
        f.after(1);
        f.world.pushed = Some(f.world.now);
        let mut s = s;
        let Action::Http(http) = &mut s.action else { panic!("a request") };
        http.method = Some(serde_json::from_value(json!("POST")).expect("a method"));
        assert_eq!(f.drive(&s, Some(&r)).0, r);
    }

    #[test]
    fn while_suspended_no_attempt_begins_unless_the_run_is_on_its_way_back() {
        let mut f = answered(500);
        let s = PlanStep { attempts: 3, ..check() };
        let (r, _) = f.drive(&s, None);
        f.after(60);
        f.paused = true;
        let (held, out) = f.drive(&s, Some(&r));
        assert!(held.between && held.stopped_since == Some(f.world.now) && out.reads.is_empty());
        f.journal.ending = Some(Ending {
            phase: crate::api::phase::Phase::RolledBack,
            reason: "x".into(),
            message: "x".into(),
            at: f.world.now,
            trigger: None,
            incomplete: false,
            scaled_at: None,
            empty_since: None,
            undo_first: None,
            stopped_at: None,
            prepared_at: None,
        });
        assert!(f.drive(&s, Some(&r)).1.reads.contains_key(&read("check#2")));
        f.journal.ending = None;
        f.paused = false;
        let (r, out) = f.drive(&s, Some(&r));
        assert!(!r.between && out.reads.contains_key(&read("check#2")));
    }

    #[test]
    fn the_time_out_bounds_all_attempts_and_asks_for_nothing_more() {
        let mut f = Fixture::new();
        let s = PlanStep { attempts: 9, timeout: Duration::from_secs(20), ..check() };
        let (r, out) = f.drive(&s, None);
        assert_eq!(out.wake, Some(later(f.world.now, s.timeout)));
        f.after(20);
        let (late, out) = f.drive(&s, Some(&r));
        assert!(late.state == StepState::Failed && out.reads.is_empty(), "{late:?}");
        assert_eq!(late.message.as_deref(), Some("timed out after 20s: the pods are being looked up"));
        // No attempt is begun that could not end in time.
        let mut f = answered(500);
        let s = PlanStep { attempts: 9, timeout: Duration::from_secs(4), ..check() };
        assert_eq!(f.drive(&s, None).0.state, StepState::Failed);
        // An answer that came in time and is only looked at now still counts.
        let (r, _) = Fixture::new().drive(&s, None);
        f.world.readings.insert(read("check#1"), Reading::Http(vec![answer(200, "")]));
        f.after(60);
        assert_eq!(f.drive(&s, Some(&r)).0.state, StepState::Succeeded);
    }

    #[test]
    fn a_pause_as_long_as_its_time_out_passes() {
        let mut f = Fixture::new();
        let wait = Wait { for_: Duration::from_secs(30) };
        let s = PlanStep { timeout: Duration::from_secs(30), ..step("w", Stage::Prepare, Action::Wait(wait)) };
        let (r, _) = f.drive(&s, None);
        f.after(30);
        assert_eq!(f.drive(&s, Some(&r)).0.state, StepState::Succeeded);
    }
}
