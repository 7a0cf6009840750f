//! PURE. First in preflight: whether every Service would find the listed workloads on either side, and no pod of a Job.
//! Then everything that the run will write is tried by the API server before anything is done, as the account that will do
//! it: every Job, both patches of every Service, every workload that may have to be scaled. And every query is asked once,
//! since one that Prometheus refuses would leave a trigger blind after the switch.

use serde_json::json;

use crate::api::duration::Duration;
use crate::api::run::StepRecord;
use crate::api::trigger::{Trigger, Watched};
use crate::effect::Read;
use crate::endpoints::check::check;
use crate::endpoints::keepers;
use crate::evidence::power;
use crate::plan::{Action, PlanStep};
use crate::world::{DryRunRefusal, QueryAnswer, Reading};

use super::request::NoRequest;
use super::rights::{may_act_as, remedy, verb_and_resource};
use super::trials::{self, JobTrial};
use super::{Cx, Out, Verdict, attempt_of, closing_rights, job_labels, ports, span, try_of};
use crate::journal::later;

/// How long Prometheus may take for a query.
const QUERY: Duration = Duration::from_secs(5);
/// How long a readiness gate may take that is the last thing a pod waits for.
const GATES: Duration = Duration::from_secs(15);
/// Refusals named in one message.
const SHOWN: usize = 3;

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let warnings = match sides(cx, record, out) {
        Sides::InOrder(warnings) => warnings,
        Sides::NotYet(why) => {
            record.message = Some(why);
            return None;
        }
        Sides::Refused(all) => {
            return Some(Verdict::Refused { message: all.join("; "), evidence: Some(json!({"refused": all})) });
        }
    };
    let jobs = trials::jobs(cx);
    let made = jobs.iter().map(JobTrial::made).collect::<Result<Vec<_>, _>>();
    let (runs, made) = match made.and_then(|made| Ok((trials::all(cx, &made)?, made))) {
        Ok(tried) => tried,
        Err(NoRequest::Wait(why) | NoRequest::Nobody(why)) => {
            record.message = Some(why);
            return None;
        }
        Err(NoRequest::Fail(why)) => return Some(Verdict::fail(why)),
    };
    if let Some(message) = made.iter().find_map(|made| job_labels::refused(cx, made)) {
        return Some(Verdict::Refused { message, evidence: None });
    }
    let began = record.attempt_at.unwrap_or(cx.world.now);
    let (n, next) = try_of(span(began, cx.world.now));
    let key = |n: u64| attempt_of(step, record).part(n);
    // The last try may still be under way, or may have been answered just now.
    let mut answered = None;
    for n in [Some(n), n.checked_sub(1)].into_iter().flatten() {
        if let Some(Reading::DryRun(refusals)) = cx.world.readings.get(&key(n)) {
            answered = answered.or(Some((n, refusals)));
        }
        out.reads.insert(key(n), Read::DryRun(runs.clone()));
    }
    let answered = answered.filter(|(of, r)| *of == n || r.iter().all(|r| !r.transient));
    let invalid = ask_queries(cx, step, record, out);
    let closing = closing_rights::warnings(cx, step, record, out);
    if let Ok(Some(why)) = &invalid {
        return Some(Verdict::fail(why.as_str()));
    }
    let Some((_, refusals)) = answered else {
        record.message = Some(format!("{} writes are being tried", runs.len()));
        out.wake_at(later(began, next));
        return None;
    };
    let firm: Vec<&DryRunRefusal> = refusals.iter().filter(|r| !r.transient).collect();
    if !firm.is_empty() {
        return Some(Verdict::Fail {
            message: message(cx, &firm),
            evidence: Some(json!({"refused": firm.iter().map(|r| r.what.as_str()).collect::<Vec<_>>()})),
        });
    }
    if let Some(transient) = refusals.first() {
        record.message = Some(format!("to be tried again: {}: {}", transient.what, transient.why));
        out.wake_at(later(began, next));
        return None;
    }
    if invalid.is_err() {
        record.message = Some("waiting for Prometheus".into());
        return None;
    }
    if !job_labels::warn(cx, step, record, &made, out) {
        record.message = Some("who selects the pods of Jobs is being looked up".into());
        return None;
    }
    let Some(closing) = closing else {
        record.message = Some("whether connections can be ended is being tried".into());
        return None;
    };
    out.warnings.extend(warnings);
    out.warnings.extend(closing);
    let observe = &cx.plan.observe;
    let blind = observe.triggers.iter().filter_map(|t| power::blind_window(t, observe, rate_now(cx, step, record, t)));
    out.warnings.extend(blind);
    let keepers = keepers::of_plan(cx.plan, cx.world);
    out.warnings.extend(keepers.into_iter().map(|k| format!("{}; {}", k.message, k.remedy)));
    let mut evidence = json!({"tried": runs.len()});
    if !out.warnings.is_empty() {
        evidence["warnings"] = json!(out.warnings);
    }
    Some(Verdict::pass(evidence))
}

/// What Services, sides and pods look like.
enum Sides {
    InOrder(Vec<String>),
    NotYet(String),
    Refused(Vec<String>),
}

/// Looks at Services, sides and pods. Nothing of it passes by waiting but a readiness gate, which gets a moment.
fn sides(cx: &Cx, record: &StepRecord, out: &mut Out) -> Sides {
    let found = match check(cx.plan, cx.world) {
        Ok(found) => found,
        Err(why) => return Sides::NotYet(why),
    };
    if !found.refused.is_empty() {
        return Sides::Refused(found.refused);
    }
    let ambiguous = ports::ambiguous(cx);
    if !ambiguous.is_empty() {
        return Sides::Refused(ambiguous);
    }
    let until = later(record.started.unwrap_or(cx.world.now), GATES);
    match found.gated.first() {
        None => Sides::InOrder(found.warnings),
        Some(_) if cx.world.now >= until => Sides::Refused(found.gated),
        Some(why) => {
            out.wake_at(until);
            Sides::NotYet(why.clone())
        }
    }
}

/// Asks every query of triggers and metric steps. `Err`: not all are answered yet; `Ok(Some)`: one is no query. Whether
/// there is a value does not matter here: before the switch there may be none.
fn ask_queries(cx: &Cx, step: &PlanStep, record: &StepRecord, out: &mut Out) -> Result<Option<String>, ()> {
    let of_steps = cx.plan.steps.iter().flat_map(PlanStep::parts).filter_map(|s| {
        let Action::Metric(metric) = &s.action else { return None };
        Some((format!("step {}", s.name), &metric.query))
    });
    let of_triggers = cx.plan.observe.triggers.iter().flat_map(|t| {
        let Ok(Watched::Metric(metric)) = t.watches.one() else { return vec![] };
        let fields = [("errors", &metric.errors), ("slow", &metric.slow), ("total", &metric.total)];
        let counters = fields.into_iter().filter_map(|(field, query)| {
            let query = query.as_ref()?;
            // However many there are, one number is enough to know that they can be asked for. That of all requests is how
            // many there are: the old side's, which the new one is to have.
            let asked = if field == "total" { power::rate(query) } else { format!("count({query}\n)") };
            Some((format!("trigger {}/{field}", t.name), field, query, asked))
        });
        let query = metric.query.iter().map(|query| (format!("trigger {}", t.name), "query", query, query.clone()));
        let guard = metric.guard_query.iter();
        let guard = guard.map(|query| (format!("trigger {}/guard", t.name), "guardQuery", query, query.clone()));
        query.chain(guard).chain(counters).collect()
    });
    let of_steps = of_steps.map(|(of, query)| (of, "query", query, query.clone()));
    let mut waiting = false;
    for (of, field, query, asked) in of_triggers.chain(of_steps) {
        let key = attempt_of(step, record).part(&of);
        match cx.world.readings.get(&key) {
            Some(Reading::Query(QueryAnswer::Invalid(why))) => {
                let of = of.split('/').next().unwrap_or(&of);
                return Ok(Some(format!("{of}: metric.{field} {query} is not valid: {why}")));
            }
            Some(Reading::Query(QueryAnswer::Value(_) | QueryAnswer::Inconclusive(_))) => {}
            Some(_) | None => waiting = true,
        }
        out.reads.insert(key, Read::Query { query: asked, at: None, timeout: QUERY });
    }
    if waiting { Err(()) } else { Ok(None) }
}

/// How many requests per second there were just now, by the answer to what [`ask_queries`] asks about a trigger.
fn rate_now(cx: &Cx, step: &PlanStep, record: &StepRecord, trigger: &Trigger) -> Option<f64> {
    match cx.world.readings.get(&attempt_of(step, record).part(format!("trigger {}/total", trigger.name)))? {
        Reading::Query(QueryAnswer::Value(rate)) => Some(*rate),
        _ => None,
    }
}

fn message(cx: &Cx, refusals: &[&DryRunRefusal]) -> String {
    let mut parts: Vec<String> = vec![];
    for r in refusals {
        let part = format!("{}: {}", r.what, crate::journal::short(&r.why, 160));
        if !parts.contains(&part) {
            parts.push(part); // switch and restore are refused alike
        }
    }
    if parts.len() > SHOWN {
        let more = parts.len() - SHOWN;
        parts.truncate(SHOWN);
        parts.push(format!("and {more} more"));
    }
    let mut remedies: Vec<String> = vec![];
    for refusal in refusals.iter().filter(|r| r.forbidden) {
        let remedy = match refusal.why.as_str() {
            // Refused by other means than roles: no role would help.
            why if why.contains("exceeded quota") || why.contains("violates PodSecurity") => continue,
            why if why.contains("cannot impersonate") => may_act_as(cx),
            _ => {
                let (verb, resource) = verb_and_resource(&refusal.what);
                remedy(cx, verb, resource)
            }
        };
        if !remedies.contains(&remedy) {
            remedies.push(remedy);
        }
    }
    // The remedy first: a long message is cut at its end.
    remedies.extend(parts);
    remedies.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, labels, read, step, workload};
    use crate::api::run::StepState;
    use crate::effect::DryRun;
    use crate::plan::{PlanSuite, PlanUndo, Stage};
    use crate::route::Route;

    fn job(name: &str) -> PlanStep {
        let template =
            json!({"template": {"spec": {"containers": [{"name": "a", "env": [{"name": "X", "value": "${later}"}]}]}}});
        step(name, Stage::Prepare, Action::Job(serde_json::from_value(template).expect("a job")))
    }

    fn permissions() -> PlanStep {
        step("permissions", Stage::Preflight, Action::Permissions {})
    }

    fn plan() -> Fixture {
        let mut f = Fixture::new();
        f.pods(vec![]);
        let mut migrate = job("migrate");
        migrate.undo = Some(PlanUndo {
            when: Default::default(),
            timeout: migrate.timeout,
            approval: None,
            before_restore: false,
            action: job("x").action.clone(),
        });
        let suite = PlanSuite { pass_rate: 100, max_critical_failures: 0, steps: vec![job("in-suite")] };
        let up = json!({"side": "Target", "replicas": 3});
        f.plan.steps = vec![
            permissions(),
            migrate,
            step("smoke", Stage::Verify, Action::Suite(suite)),
            step("up", Stage::Prepare, Action::Scale(serde_json::from_value(up).expect("a scale"))),
        ];
        f
    }

    #[test]
    fn everything_the_run_may_write_is_tried() {
        let f = plan();
        let (_, out) = f.drive(&permissions(), None);
        let Some(Read::DryRun(runs)) = out.reads.get(&read("permissions#1/0")) else { panic!("{:?}", out.reads) };
        let jobs: Vec<_> = runs
            .iter()
            .filter_map(|r| match r {
                DryRun::Job { step, .. } => Some(step.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(jobs, ["migrate", "undo/migrate", "in-suite"]);
        let switch = DryRun::Point { route: Route::service("web"), test: Some(labels("blue")), to: labels("green") };
        let restore = DryRun::Point { route: Route::service("web"), test: None, to: labels("blue") };
        assert!(runs.contains(&switch) && runs.contains(&restore));
        for side in ["web-blue", "web-green"] {
            let object = (&workload(side)).into();
            assert!(runs.contains(&DryRun::Change { object, change: None }), "{side}");
        }
    }

    fn refusal(what: &str, why: &str, forbidden: bool, transient: bool) -> DryRunRefusal {
        DryRunRefusal { what: what.into(), why: why.into(), forbidden, transient }
    }

    #[test]
    fn sides_that_cannot_be_switched_end_the_step_at_once() {
        let mut f = plan();
        f.workload("green").pod_labels.remove("version");
        let s = PlanStep { attempts: 10, ..permissions() };
        let (r, out) = f.drive(&s, None);
        assert!(r.state == StepState::Failed && r.attempt == 1 && out.reads.is_empty(), "{r:?}");
        assert!(r.message.is_some_and(|m| m.contains("Deployment web-green has no label version")));
        assert!(r.evidence.is_some_and(|e| e["refused"].is_array()));
    }

    #[test]
    fn a_readiness_gate_is_given_a_moment_and_warnings_come_with_the_verdict() {
        use crate::actions::fixtures::pod;
        use crate::world::{EndpointView, PodView, Seen};
        let mut f = plan();
        let gate = PodView { ready: false, gates: vec!["example.com/lb".into()], ..pod("green-a", "green") };
        f.pods(vec![gate]);
        let (r, out) = f.drive(&permissions(), None);
        assert!(r.state == StepState::Running && out.wake == Some(later(f.world.now, GATES)), "{r:?}");
        f.after(15);
        let (late, _) = f.drive(&permissions(), Some(&r));
        assert!(late.state == StepState::Failed && late.message.is_some_and(|m| m.contains("pod green-a")));
        f.pods(vec![pod("green-a", "green"), pod("green-b", "green")]);
        let by_hand = EndpointView { slice: "by-hand".into(), foreign: true, pod: None, ready: true };
        f.world.endpoints.insert("web".into(), Seen { at: f.world.now, value: vec![by_hand] });
        let (r, out) = f.drive(&permissions(), Some(&r));
        assert!(r.state == StepState::Running && out.warnings.is_empty());
        let (n, _) = try_of(span(r.attempt_at.expect("begun"), f.world.now));
        f.world.readings.insert(read(&format!("permissions#1/{n}")), Reading::DryRun(vec![]));
        let (r, out) = f.drive(&permissions(), Some(&r));
        assert_eq!((r.state, out.warnings.len()), (StepState::Succeeded, 1));
        assert!(r.evidence.is_some_and(|e| e["warnings"][0].as_str().is_some_and(|w| w.contains("by-hand"))));
    }

    #[test]
    fn refusals_are_named_with_what_to_type() {
        let table = [
            (
                refusal("patch services/web", "services \"web\" is forbidden: User cannot patch", true, false),
                "kubectl create role cutover-patch-services -n prod --verb=patch --resource=services && kubectl create \
                 rolebinding cutover-patch-services -n prod --role=cutover-patch-services --serviceaccount=prod:cutover",
            ),
            (refusal("patch services/web", "User x cannot impersonate", true, false), "--resource-name=cutover"),
            (refusal("create jobs for step migrate", "spec.template: Required", false, false), "step migrate: spec"),
        ];
        for (refused, wanted) in table {
            let mut f = plan();
            f.world.readings.insert(read("permissions#1/0"), Reading::DryRun(vec![refused]));
            let (r, _) = f.drive(&permissions(), None);
            assert!(r.state == StepState::Failed && r.message.as_ref().is_some_and(|m| m.contains(wanted)), "{r:?}");
        }
        let mut f = plan();
        let quota = refusal("create jobs for step m", "exceeded quota: q", true, false);
        f.world.readings.insert(read("permissions#1/0"), Reading::DryRun(vec![quota]));
        let (r, _) = f.drive(&permissions(), None);
        assert!(r.message.is_some_and(|m| !m.contains("create role")), "no role helps against a quota");
    }

    #[test]
    fn what_could_not_be_asked_is_asked_again_later() {
        let mut f = plan();
        let (r, _) = f.drive(&permissions(), None);
        let down = vec![refusal("patch services/web", "503", false, true)];
        f.world.readings.insert(read("permissions#1/0"), Reading::DryRun(down));
        let (r, out) = f.drive(&permissions(), Some(&r));
        assert!(r.state == StepState::Running && out.wake == Some(later(f.world.now, Duration::from_secs(2))));
        f.after(2);
        let (r, out) = f.drive(&permissions(), Some(&r));
        assert!(out.reads.contains_key(&read("permissions#1/1")), "{:?}", out.reads.keys());
        f.world.readings.insert(read("permissions#1/1"), Reading::DryRun(vec![]));
        assert_eq!(f.drive(&permissions(), Some(&r)).0.state, StepState::Succeeded);
    }

    #[test]
    fn a_query_that_prometheus_refuses_is_known_before_the_switch() {
        let mut f = plan();
        let t = json!({"name": "errors", "metric": {"query": "sum(", "above": "1"}});
        f.plan.observe.triggers = vec![serde_json::from_value(t).expect("a trigger")];
        let (r, out) = f.drive(&permissions(), None);
        let key = || read("permissions#1/trigger errors");
        assert!(out.reads.contains_key(&key()));
        f.world.readings.insert(read("permissions#1/0"), Reading::DryRun(vec![]));
        let (r, out) = f.drive(&permissions(), Some(&r));
        assert!(r.state == StepState::Running && out.reads.contains_key(&key()), "its answer is awaited");
        let down = QueryAnswer::Inconclusive("connection refused".into());
        f.world.readings.insert(key(), Reading::Query(down));
        assert_eq!(f.drive(&permissions(), Some(&r)).0.state, StepState::Succeeded, "no data is no error here");
        f.world.readings.insert(key(), Reading::Query(QueryAnswer::Invalid("parse error".into())));
        let (r, _) = f.drive(&permissions(), Some(&r));
        assert_eq!(r.message.as_deref(), Some("trigger errors: metric.query sum( is not valid: parse error"));
    }

    #[test]
    fn a_window_that_could_find_nothing_with_the_requests_of_now_is_said_to() {
        let mut f = plan();
        let metric = json!({"errors": "e", "total": "t", "limit": "0.01", "hiccup": "15s", "alpha": "0.01"});
        let t = json!({"name": "errors", "every": "15s", "metric": metric});
        f.plan.observe.triggers = vec![serde_json::from_value(t).expect("a trigger")];
        f.plan.observe.for_ = Duration::from_mins(5);
        f.world.readings.insert(read("permissions#1/0"), Reading::DryRun(vec![]));
        let total = read("permissions#1/trigger errors/total");
        let (_, out) = f.drive(&permissions(), None);
        let Some(Read::Query { query, .. }) = out.reads.get(&total) else { panic!("{:?}", out.reads.keys()) };
        assert!(query.contains("t[300s]") && query.ends_with("/ 300"), "{query}");
        f.world.readings.insert(read("permissions#1/trigger errors/errors"), Reading::Query(QueryAnswer::Value(1.0)));
        for (rate, said) in [(Some(0.02), true), (Some(100.0), false), (None, false)] {
            let answer = rate.map_or_else(|| QueryAnswer::Inconclusive("no data".into()), QueryAnswer::Value);
            f.world.readings.insert(total.clone(), Reading::Query(answer));
            let (r, out) = f.drive(&permissions(), None);
            assert_eq!(r.state, StepState::Succeeded, "{r:?}");
            let words = "trigger errors cannot find 10 % bad requests in 20 intervals of 15s at 0.02 requests/s";
            assert_eq!(out.warnings.iter().any(|w| w.starts_with(words)), said, "{rate:?}: {:?}", out.warnings);
        }
    }

    #[test]
    fn tries_are_two_seconds_apart_at_first() {
        let n = |ms| try_of(Duration::from_millis(ms));
        assert_eq!([n(0).0, n(1999).0, n(2000).0, n(4000).0, n(8000).0, n(60_000).0], [0, 0, 1, 2, 3, 5]);
        assert!(n(600_000).0 < 30);
    }
}
