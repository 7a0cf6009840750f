//! PURE. How many lines of pods' logs match. The count alone is kept, never a line. Logs that are not all there are no
//! verdict: a count of what is left would be too small.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::api::duration::Duration;
use crate::api::run::{Selector, StepRecord};
use crate::api::step::{Logs, SideRef};
use crate::effect::{LogsOf, PodsOf, Read};
use crate::endpoints::{matches, whole_selector};
use crate::plan::PlanStep;
use crate::plan::expr::Var;
use crate::world::Reading;

use super::{Cx, Out, Verdict, expect, read_key};

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, logs: &Logs, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let key = read_key(step, record);
    let within = logs.within.unwrap_or_default();
    let Some(Reading::Logs(answer)) = cx.world.readings.get(&key) else {
        let since = before(record.attempt_at.unwrap_or(cx.world.now), within);
        record.message = Some(match read(cx, logs, since) {
            Ok(read) => {
                out.reads.insert(key, read);
                format!("reading the logs of {}", whose(cx, logs))
            }
            Err(why) => why,
        });
        return None;
    };
    let evidence = json!({"lines": answer.lines, "pods": answer.pods, "within": within.to_string()});
    let fail = |message: String| Some(Verdict::Fail { message, evidence: Some(evidence.clone()) });
    if let Some(why) = &answer.problem {
        return fail(format!("inconclusive: {why}"));
    }
    if let Some(expression) = &logs.expect {
        let mut vars = expect::vars(cx);
        // A number with a fraction as every `value` is.
        vars.insert("value".into(), Var::Json(json!(answer.lines as f64)));
        if let Some(why) = expect::first_failing(std::slice::from_ref(expression), &vars) {
            return fail(format!(
                "{}: {} lines of {} within {within} match {}",
                why.replacen("expect[0]", "expect", 1),
                answer.lines,
                whose(cx, logs),
                logs.matches
            ));
        }
    }
    Some(Verdict::pass(evidence))
}

/// So long before; the earliest time there is where that cannot be.
pub fn before(at: Timestamp, within: Duration) -> Timestamp {
    let ms = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
    at.checked_sub(SignedDuration::from_millis(ms)).unwrap_or(Timestamp::MIN)
}

/// Whose logs, in words.
pub fn whose(cx: &Cx, logs: &Logs) -> String {
    match (&logs.workload, logs.side) {
        (Some(workload), _) => format!("{:?} {}", workload.kind, workload.name),
        (None, side) => {
            format!("{}'s pods", cx.plan.side(side.unwrap_or(SideRef::Target)).name)
        }
    }
}

/// The read of the lines written since then.
///
/// # Errors
/// Says what is not known yet.
pub fn read(cx: &Cx, logs: &Logs, since: Timestamp) -> Result<Read, String> {
    let pods = match (&logs.workload, logs.side) {
        (Some(workload), _) => PodsOf::Workload(workload.clone()),
        (None, side) => PodsOf::Selectors(selectors(cx, side.unwrap_or(SideRef::Target))?),
    };
    Ok(Read::Logs(LogsOf { pods, container: logs.container.clone(), matches: logs.matches.clone(), since }))
}

/// What the Services of the run select on a side, and the labels of the side's workloads that none of them selects.
///
/// # Errors
/// No Service is known yet.
pub fn selectors(cx: &Cx, side: SideRef) -> Result<Vec<Selector>, String> {
    let side = cx.plan.side(side);
    let services = cx.plan.services.iter().filter_map(|name| cx.world.service(name));
    let mut found: Vec<_> = services.map(|s| whole_selector(&s.selector, &side.selector)).collect();
    let listed = side.workloads.iter().filter_map(|w| cx.world.workloads.get(w)?.value.as_ref());
    let behind_none = listed.filter(|view| !found.iter().any(|s| matches(&view.pod_labels, s)));
    let labels: Vec<Selector> = behind_none.map(|view| view.pod_labels.clone()).filter(|l| !l.is_empty()).collect();
    if !found.is_empty() {
        found.extend(labels);
    }
    found.sort();
    found.dedup();
    if found.is_empty() { Err("the Services are being looked up".into()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, labels, read, step, view, workload};
    use crate::api::run::StepState;
    use crate::plan::{Action, Stage};
    use crate::world::{LogsAnswer, Seen};

    fn logs(value: serde_json::Value) -> PlanStep {
        step("quiet", Stage::Verify, Action::Logs(serde_json::from_value(value).expect("logs")))
    }

    fn errors(expect: &str) -> PlanStep {
        logs(json!({"side": "Target", "matches": "ERROR", "within": "2m", "expect": expect}))
    }

    #[test]
    fn the_lines_of_the_named_pods_within_the_time_are_asked_for() {
        let f = Fixture::new();
        let (_, out) = f.drive(&errors("value == 0.0"), None);
        let Some(Read::Logs(of)) = out.reads.get(&read("quiet#1")) else { panic!("{:?}", out.reads) };
        assert_eq!(of.pods, PodsOf::Selectors(vec![labels("green")]));
        assert_eq!(of.since.to_string(), "2025-12-31T23:58:00Z");
        let workload = json!({"kind": "Deployment", "name": "worker"});
        let (_, out) =
            f.drive(&logs(json!({"workload": workload, "matches": "x", "within": "1m", "expect": "true"})), None);
        let Some(Read::Logs(of)) = out.reads.get(&read("quiet#1")) else { panic!("{:?}", out.reads) };
        assert!(matches!(&of.pods, PodsOf::Workload(w) if w.name == "worker"));
    }

    #[test]
    fn a_workload_that_no_service_selects_is_one_of_the_side() {
        let mut f = Fixture::new();
        let worker = workload("worker");
        f.plan.target.workloads.push(worker.clone());
        let mut template = view("green", 1);
        template.pod_labels = [("app".to_owned(), "worker".to_owned())].into();
        let own = template.pod_labels.clone();
        f.world.workloads.insert(worker, Seen { at: f.world.now, value: Some(template) });
        assert_eq!(selectors(&f.cx(), SideRef::Target), Ok(vec![labels("green"), own]));
        assert_eq!(selectors(&f.cx(), SideRef::Old), Ok(vec![labels("blue")]));
    }

    #[test]
    fn the_count_is_judged_and_a_part_of_the_logs_never() {
        let gone = Some("the log of pod green-a begins later");
        let table = [
            (0, None, "value == 0.0", StepState::Succeeded, ""),
            (0, None, "value == 0", StepState::Succeeded, ""),
            (3, None, "value <= 3", StepState::Succeeded, ""),
            (3, None, "value < 3", StepState::Failed, "expect value < 3 is false: 3 lines of green's pods within 2m"),
            (0, gone, "value == 0.0", StepState::Failed, "inconclusive: the log of pod green-a begins later"),
            (9, gone, "value > 5.0", StepState::Failed, "inconclusive"),
        ];
        for (lines, problem, expect, wanted, text) in table {
            let mut f = Fixture::new();
            let answer = LogsAnswer { lines, pods: 2, problem: problem.map(str::to_owned) };
            f.world.readings.insert(read("quiet#1"), Reading::Logs(answer));
            let (r, _) = f.drive(&errors(expect), None);
            assert!(r.state == wanted && r.message.clone().unwrap_or_default().contains(text), "{expect}: {r:?}");
            assert_eq!(r.evidence, Some(json!({"lines": lines, "pods": 2, "within": "2m"})));
        }
    }
}
