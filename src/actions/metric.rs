//! PURE. One PromQL value and an expression; kept as a baseline where the manifest says so. No value is never good.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::duration::Duration;
use crate::api::run::StepRecord;
use crate::api::step::Metric;
use crate::effect::Read;
use crate::plan::PlanStep;
use crate::plan::expr::Var;
use crate::world::{QueryAnswer, Reading};

use super::{Cx, Out, Verdict, expect, read_key};

/// How long Prometheus may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, metric: &Metric, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let key = read_key(step, record);
    let Some(Reading::Query(answer)) = cx.world.readings.get(&key) else {
        record.message = Some("waiting for Prometheus".into());
        let timeout = step.timeout.min(TIMEOUT);
        out.reads.insert(key, Read::Query { query: metric.query.clone(), at: None, timeout });
        return None;
    };
    let mut evidence = json!({"query": metric.query, "at": cx.world.now.to_string()});
    let fail = |message: String, evidence: Value| Some(Verdict::Fail { message, evidence: Some(evidence) });
    let value = match answer {
        QueryAnswer::Value(value) => *value,
        QueryAnswer::Inconclusive(why) => return fail(format!("inconclusive: {why}"), evidence),
        QueryAnswer::Invalid(why) => {
            return fail(format!("metric.query {} is not valid: {why}", metric.query), evidence);
        }
    };
    let value = json!(value);
    evidence["value"] = value.clone();
    if let Some(expression) = &metric.expect {
        let mut vars = expect::vars(cx);
        vars.insert("value".into(), Var::Json(value.clone()));
        if let Some(why) = expect::first_failing(std::slice::from_ref(expression), &vars) {
            return fail(format!("{} (value {value})", why.replacen("expect[0]", "expect", 1)), evidence);
        }
    }
    let captures = metric.capture_as.iter().map(|name| (name.clone(), value.clone())).collect::<BTreeMap<_, _>>();
    Some(Verdict::Pass { evidence: Some(evidence), captures, hidden: Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, read, step};
    use crate::api::run::StepState;
    use crate::plan::{Action, Stage};

    fn metric(expect: Option<&str>) -> PlanStep {
        let m = Metric { query: "up".into(), expect: expect.map(str::to_owned), capture_as: Some("base".into()) };
        step("baseline", Stage::Preflight, Action::Metric(m))
    }

    #[test]
    fn verdicts() {
        let table = [
            (QueryAnswer::Value(0.005), Some("value < 0.01"), StepState::Succeeded, ""),
            (QueryAnswer::Value(0.0), Some("value < 0.01"), StepState::Succeeded, ""),
            (QueryAnswer::Value(3.0), None, StepState::Succeeded, ""),
            (
                QueryAnswer::Value(0.5),
                Some("value < 0.01"),
                StepState::Failed,
                "expect value < 0.01 is false (value 0.5)",
            ),
            (QueryAnswer::Inconclusive("no data".into()), None, StepState::Failed, "inconclusive: no data"),
            (QueryAnswer::Invalid("parse error".into()), None, StepState::Failed, "metric.query up is not valid"),
        ];
        for (answer, expect, wanted, text) in table {
            let mut f = Fixture::new();
            let s = metric(expect);
            let (r, out) = f.drive(&s, None);
            assert!(out.reads.contains_key(&read("baseline#1")));
            f.world.readings.insert(read("baseline#1"), Reading::Query(answer.clone()));
            let (r, out) = f.drive(&s, Some(&r));
            assert!(r.state == wanted && r.message.unwrap_or_default().contains(text), "{answer:?}");
            assert_eq!(out.captures.contains_key("base"), wanted == StepState::Succeeded, "{answer:?}");
        }
    }
}
