//! PURE. Steps side by side, in order only where one uses what another captured, with a pass rate. Each has its own
//! record in the journal; what is not known counts as failed.

use serde_json::{Map, Value, json};

use crate::api::run::{StepRecord, StepState};
use crate::journal;
use crate::plan::{PlanStep, PlanSuite};

use super::{Cx, Out, Verdict, drive, evidence, span};
use crate::journal::later;

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, suite: &PlanSuite, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let deadline = later(record.started.unwrap_or(cx.world.now), step.timeout);
    let mut results = vec![];
    for sub in &suite.steps {
        let former = journal::record(cx.journal, &sub.name);
        if former.is_none() && (cx.holds() || !sub.after.iter().all(|name| over(cx, suite, name))) {
            results.push((sub, None));
            continue;
        }
        // Cut at the suite's own time-out, so that it leaves nothing running.
        let began = former.and_then(|r| r.started).unwrap_or(cx.world.now);
        let cut = PlanStep { timeout: sub.timeout.min(span(began, deadline)), ..sub.clone() };
        let now = drive(cx, &cut, former, out);
        if former != Some(&now) {
            if is_over(now.state) {
                // Those after it begin once it is recorded.
                out.wake_at(cx.world.now);
            }
            out.records.push(now.clone());
        }
        results.push((sub, Some(now)));
    }
    let states: Vec<(&PlanStep, Option<StepState>)> =
        results.iter().map(|(sub, r)| (*sub, r.as_ref().map(|r| r.state))).collect();
    let left = states.iter().filter(|(_, s)| !s.is_some_and(is_over)).count();
    if left > 0 {
        record.message = Some(format!("{} of {} checks done", states.len() - left, states.len()));
        return None;
    }
    Some(judge(suite, &states, &results))
}

fn is_over(state: StepState) -> bool {
    journal::is_done(state) || state == StepState::Unknown
}

/// Whether a step that another comes after is over; one that the suite does not have is no hindrance.
fn over(cx: &Cx, suite: &PlanSuite, name: &str) -> bool {
    let here = suite.steps.iter().any(|s| s.name == *name);
    !here || journal::record(cx.journal, name).is_some_and(|r| is_over(r.state))
}

fn judge(
    suite: &PlanSuite,
    states: &[(&PlanStep, Option<StepState>)],
    results: &[(&PlanStep, Option<StepRecord>)],
) -> Verdict {
    let is = |wanted: StepState| states.iter().filter(|(_, s)| *s == Some(wanted)).count();
    let (passed, skipped) = (is(StepState::Succeeded), is(StepState::Skipped));
    let counted = states.len() - skipped;
    let failed = |s: &Option<StepState>| matches!(s, Some(StepState::Failed | StepState::Unknown));
    let critical = states.iter().filter(|(sub, s)| sub.critical && failed(s)).count();
    let evidence = matrix(states, passed, counted);
    let enough = passed * 100 >= usize::try_from(suite.pass_rate).unwrap_or(100) * counted;
    let bearable = critical <= usize::try_from(suite.max_critical_failures).unwrap_or(0);
    if enough && bearable {
        return Verdict::pass(evidence);
    }
    let mut why = format!("{passed} of {counted} checks passed");
    if !enough {
        why.push_str(&format!(", {}% are needed", suite.pass_rate));
    }
    if !bearable {
        why.push_str(&format!(", {critical} critical ones did not and {} may", suite.max_critical_failures));
    }
    let first = results.iter().find_map(|(sub, r)| {
        let r = r.as_ref().filter(|r| failed(&Some(r.state)))?;
        Some(format!("{}: {}", sub.name, r.message.as_deref().unwrap_or("failed")))
    });
    if let Some(first) = first {
        why.push_str(&format!("; {first}"));
    }
    Verdict::Fail { message: why, evidence: Some(evidence) }
}

/// Name → outcome; where that is too long, only those that did not pass.
fn matrix(states: &[(&PlanStep, Option<StepState>)], passed: usize, counted: usize) -> Value {
    let of = |all: bool| -> Value {
        let shown = states.iter().filter(|(_, s)| all || *s != Some(StepState::Succeeded));
        let matrix: Map<String, Value> =
            shown.map(|(sub, s)| (sub.name.clone(), s.map_or(Value::Null, |s| json!(format!("{s:?}"))))).collect();
        json!({"passed": passed, "of": counted, "checks": matrix})
    };
    let whole = of(true);
    if whole.to_string().len() <= evidence::MAX { whole } else { of(false) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, answer, http, pod, read, step};
    use crate::api::duration::Duration;
    use crate::plan::{Action, Stage};
    use crate::world::Reading;

    fn get(name: &str, value: Value) -> PlanStep {
        step(name, Stage::Verify, Action::Http(http(value)))
    }

    fn suite(rate: u32, bearable: u32, steps: Vec<PlanStep>) -> PlanStep {
        let suite = PlanSuite { pass_rate: rate, max_critical_failures: bearable, steps };
        step("smoke", Stage::Verify, Action::Suite(suite))
    }

    fn world() -> Fixture {
        let mut f = Fixture::new();
        f.pods(vec![pod("green-a", "green")]);
        f
    }

    /// One decision, its records taken into the journal.
    fn decide(f: &mut Fixture, s: &PlanStep, record: Option<&StepRecord>) -> (StepRecord, Out) {
        let (r, out) = f.drive(s, record);
        for sub in &out.records {
            journal::put(&mut f.journal, sub.clone());
        }
        f.journal.captures.extend(out.captures.clone());
        (r, out)
    }

    #[test]
    fn side_by_side_but_for_those_that_come_after() {
        let mut f = world();
        let make = get("make", json!({"path": "/", "capture": [{"name": "id", "path": "$.id"}]}));
        let mut check = get("check", json!({"path": "/${id}"}));
        check.after = vec!["make".into()];
        let s = suite(100, 0, vec![get("other", json!({"path": "/"})), make, check]);
        let (r, out) = decide(&mut f, &s, None);
        assert_eq!(out.reads.keys().collect::<Vec<_>>(), [&read("make#1"), &read("other#1")]);
        f.world.readings.insert(read("make#1"), Reading::Http(vec![answer(200, r#"{"id":"p1"}"#)]));
        let (r, out) = decide(&mut f, &s, Some(&r));
        assert!(!out.reads.contains_key(&read("check#1")) && out.wake == Some(f.world.now), "recorded first (P2)");
        let (r, out) = decide(&mut f, &s, Some(&r));
        let Some(crate::effect::Read::Http(request)) = out.reads.get(&read("check#1")) else {
            panic!("{:?}", out.reads)
        };
        assert_eq!(request.path, "/p1");
        for key in ["check#1", "other#1"] {
            f.world.readings.insert(read(key), Reading::Http(vec![answer(200, "")]));
        }
        let (r, _) = decide(&mut f, &s, Some(&r));
        let matrix = json!({"other": "Succeeded", "make": "Succeeded", "check": "Succeeded"});
        assert_eq!(
            (r.state, r.evidence),
            (StepState::Succeeded, Some(json!({"passed": 3, "of": 3, "checks": matrix})))
        );
    }

    #[test]
    fn rates_and_critical_failures() {
        use StepState::{Failed, Skipped, Succeeded, Unknown};
        let table = [
            (vec![(Succeeded, true), (Succeeded, true)], 100, 0, true),
            (vec![(Succeeded, true), (Failed, false)], 50, 0, true),
            (vec![(Succeeded, true), (Failed, false)], 51, 0, false),
            (vec![(Succeeded, true), (Failed, true)], 50, 0, false),
            (vec![(Succeeded, true), (Failed, true)], 50, 1, true),
            (vec![(Succeeded, true), (Skipped, true)], 100, 0, true),
            (vec![(Skipped, true)], 100, 0, true),
            (vec![(Succeeded, true), (Unknown, true)], 50, 0, false),
            (vec![(Succeeded, true), (Unknown, false)], 90, 0, false),
        ];
        for (states, rate, bearable, passes) in table {
            let mut f = world();
            let mut subs = vec![];
            for (i, (state, critical)) in states.iter().enumerate() {
                let name = format!("s{i}");
                subs.push(PlanStep { critical: *critical, ..get(&name, json!({"path": "/"})) });
                f.journal.steps.push(StepRecord { name, state: *state, ..StepRecord::default() });
            }
            let (r, _) = f.drive(&suite(rate, bearable, subs), None);
            assert_eq!(r.state == Succeeded, passes, "{states:?} {rate} {bearable}: {:?}", r.message);
        }
    }

    #[test]
    fn its_time_out_ends_every_check_and_keeps_what_passed() {
        let mut f = world();
        let mut last = get("last", json!({"path": "/"}));
        last.after = vec!["slow".into()];
        let mut s = suite(100, 0, vec![get("quick", json!({"path": "/"})), get("slow", json!({"path": "/"})), last]);
        s.timeout = Duration::from_secs(20);
        f.world.readings.insert(read("quick#1"), Reading::Http(vec![answer(200, "")]));
        let (mut r, _) = decide(&mut f, &s, None);
        f.world.readings.clear();
        f.after(20);
        for _ in 0..3 {
            (r, _) = decide(&mut f, &s, Some(&r));
        }
        assert_eq!(r.state, StepState::Failed);
        let seen: Vec<_> = f.journal.steps.iter().map(|r| (r.name.as_str(), r.state)).collect();
        assert_eq!(seen, [("quick", StepState::Succeeded), ("slow", StepState::Failed), ("last", StepState::Failed)]);
        assert!(r.message.is_some_and(|m| m.contains("1 of 3 checks passed, 100% are needed")));
    }

    #[test]
    fn while_suspended_nothing_begins_and_what_runs_is_judged() {
        let mut f = world();
        let mut b = get("b", json!({"path": "/"}));
        b.after = vec!["a".into()];
        let s = suite(100, 0, vec![get("a", json!({"path": "/"})), b]);
        let (r, _) = decide(&mut f, &s, None);
        f.paused = true;
        f.world.readings.insert(read("a#1"), Reading::Http(vec![answer(200, "")]));
        let (r, _) = decide(&mut f, &s, Some(&r));
        let (r, out) = decide(&mut f, &s, Some(&r));
        assert!(out.reads.is_empty() && f.journal.steps.len() == 1);
        f.paused = false;
        assert!(decide(&mut f, &s, Some(&r)).1.reads.contains_key(&read("b#1")));
    }

    #[test]
    fn a_large_matrix_keeps_those_that_failed() {
        let mut f = world();
        let names: Vec<_> = (0..40).map(|i| format!("{:0>38}{i:02}", "x")).collect();
        let subs = names.iter().map(|n| get(n, json!({"path": "/"}))).collect();
        for (i, name) in names.iter().enumerate() {
            let state = if i == 7 { StepState::Failed } else { StepState::Succeeded };
            f.journal.steps.push(StepRecord { name: name.clone(), state, ..StepRecord::default() });
        }
        let (r, _) = f.drive(&suite(100, 0, subs), None);
        let evidence = r.evidence.expect("evidence");
        assert_eq!(evidence, json!({"passed": 39, "of": 40, "checks": {names[7].clone(): "Failed"}}));
    }
}
