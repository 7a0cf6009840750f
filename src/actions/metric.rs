//! PURE. `metric`: one PromQL value and an expression; kept as a baseline where asked.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Cx, Out, Verdict, common_vars};
use crate::api::duration::Duration;
use crate::api::run::StepRecord;
use crate::api::step::Metric;
use crate::effect::Read;
use crate::plan::expr::{Var, eval_bool};
use crate::world::{QueryAnswer, Reading};

/// Asks once an attempt and judges the answer.
pub fn advance(cx: &Cx, metric: &Metric, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let key = format!("{}#{}", record.name, record.attempt);
    let Some(Reading::Query(answer)) = cx.world.readings.get(&key) else {
        let read = Read::Query { query: metric.query.clone(), at: None, timeout: Duration::from_secs(10) };
        out.reads.insert(key, read);
        return None;
    };
    let value = match answer {
        QueryAnswer::Value(v) => *v,
        QueryAnswer::Inconclusive(why) => return Some(Verdict::fail(format!("inconclusive: {why}"))),
        QueryAnswer::Invalid(why) => return Some(Verdict::fail(format!("query: Prometheus refuses it: {why}"))),
    };
    let evidence = json!({"query": metric.query, "value": value, "at": cx.world.now});
    if let Some(expect) = &metric.expect {
        let mut vars = common_vars(cx);
        vars.insert("value".into(), Var::Json(json!(value)));
        match eval_bool(expect, &vars) {
            Ok(true) => {}
            Ok(false) => {
                let message = format!("{expect} does not hold: value is {value}");
                return Some(Verdict::Fail { message, evidence: Some(evidence) });
            }
            Err(why) => return Some(Verdict::Fail { message: format!("expect: {why}"), evidence: Some(evidence) }),
        }
    }
    let captures = metric.capture_as.iter().map(|name| (name.clone(), json!(value))).collect::<BTreeMap<_, _>>();
    Some(Verdict::Pass { evidence: Some(evidence), captures })
}
