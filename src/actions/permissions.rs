//! PURE. The first step of every run: dry runs of every Job and every patch the run may need, the restore's included,
//! as the ServiceAccount. What would be refused at night is refused before anything is changed.

use serde_json::json;

use super::{Cx, Out, Verdict, job};
use crate::api::duration::Duration;
use crate::api::run::StepRecord;
use crate::effect::{DryRun, Read};
use crate::endpoints::whole_selector;
use crate::journal::later;
use crate::plan::{Action, PlanStep};
use crate::world::{DryRunRefusal, Reading};

/// Pause between two tries while the API server cannot be asked.
const AGAIN: Duration = Duration::from_secs(2);

/// Passes when everything would be admitted.
pub fn advance(cx: &Cx, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let began = record.attempt_at.unwrap_or(cx.world.now);
    let round = cx.world.now.duration_since(began).as_millis() / i128::from(AGAIN.as_millis());
    let key = format!("{}#{}", record.name, round);
    let runs = match everything(cx) {
        Ok(runs) => runs,
        Err(why) => return Some(Verdict::fail(why)),
    };
    let tried = runs.len();
    let answer = cx.world.readings.iter().find_map(|(k, r)| match r {
        Reading::DryRun(refusals) if k.starts_with(&format!("{}#", record.name)) => Some((k.clone(), refusals.clone())),
        _ => None,
    });
    let Some((answered, refusals)) = answer else {
        out.reads.insert(key, Read::DryRun(runs));
        return None;
    };
    let (transient, refused): (Vec<_>, Vec<_>) = refusals.into_iter().partition(|r| r.transient);
    if !refused.is_empty() {
        return Some(Verdict::fail(remedy(cx, &refused)));
    }
    if let Some(first) = transient.first() {
        record.message = Some(format!("{} cannot be tried: {}", first.what, first.why));
        if answered != key {
            out.reads.insert(key, Read::DryRun(runs));
        } else {
            out.reads.insert(answered, Read::DryRun(runs));
        }
        out.wake_at(later(cx.world.now, AGAIN));
        return None;
    }
    Some(Verdict::pass(Some(json!({"admitted": tried}))))
}

fn everything(cx: &Cx) -> Result<Vec<DryRun>, String> {
    let mut runs = vec![];
    for service in &cx.plan.services {
        let Some(view) = cx.world.service(service) else {
            return Err(format!("spec.services: Service {service} does not exist"));
        };
        let to = whole_selector(&view.selector, &cx.plan.target.selector);
        let back = whole_selector(&view.selector, &cx.plan.live.selector);
        runs.push(DryRun::Selector { service: service.clone(), test: Some(view.selector.clone()), to });
        runs.push(DryRun::Selector { service: service.clone(), test: None, to: back });
    }
    // A restore may have to scale the old side first.
    runs.extend(cx.plan.live.workloads.iter().map(|w| DryRun::Scale { workload: w.clone() }));
    for step in &cx.plan.steps {
        add(cx, step, &mut runs)?;
        if let Some(undo) = cx.plan.undo_of(step) {
            add(cx, &undo, &mut runs)?;
        }
        if let Action::Suite(suite) = &step.action {
            for sub in &suite.steps {
                add(cx, sub, &mut runs)?;
            }
        }
    }
    Ok(runs)
}

fn add(cx: &Cx, step: &PlanStep, runs: &mut Vec<DryRun>) -> Result<(), String> {
    match &step.action {
        Action::Job(spec) => {
            let manifest = job::manifest(cx, &step.name, spec, 1, job::Missing::Placeholder)?;
            runs.push(DryRun::Job { step: step.name.clone(), manifest });
        }
        Action::Scale(scale) => {
            let list = super::rollout::workloads(cx, scale.side, &scale.workloads);
            runs.extend(list.iter().map(|w| DryRun::Scale { workload: w.clone() }));
        }
        _ => {}
    }
    Ok(())
}

/// What is refused and, where a right is missing, the commands that grant it.
fn remedy(cx: &Cx, refused: &[DryRunRefusal]) -> String {
    let list: Vec<String> = refused.iter().take(4).map(|r| format!("{}: {}", r.what, r.why)).collect();
    let mut text = list.join("; ");
    if refused.iter().any(|r| r.forbidden) {
        let (ns, account) = (&cx.plan.namespace, &cx.plan.service_account);
        text = format!(
            "{text}; remedy: kubectl create role {account} -n {ns} --verb=get,patch --resource=services,deployments.apps,\
             statefulsets.apps; kubectl create role {account}-jobs -n {ns} --verb=create,get,patch,delete \
             --resource=jobs.batch; kubectl create rolebinding for each with --serviceaccount={ns}:{account}"
        );
    }
    text
}
