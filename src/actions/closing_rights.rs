//! PURE. Whether connections could be ended, tried in preflight. A right that is missing stands in no run's way: the
//! connections are kept then, which people are told.

use crate::api::restore::Connections;
use crate::api::run::StepRecord;
use crate::api::step::{WorkloadKind, WorkloadRef};
use crate::effect::{DryRun, Read};
use crate::journal::{later, short};
use crate::plan::PlanStep;
use crate::world::Reading;

use super::rights::{remedy, verb_and_resource};
use super::{Cx, Out, attempt_of, span, try_of};

/// What people should know of it; none while that is not known.
pub fn warnings(cx: &Cx, step: &PlanStep, record: &StepRecord, out: &mut Out) -> Option<Vec<String>> {
    let (target, old) = (&cx.plan.target, &cx.plan.old);
    let mut asked: Vec<(&str, DryRun)> = vec![];
    if cx.plan.rollback.as_ref().is_some_and(|r| r.connections == Connections::Close) {
        asked.extend(target.workloads.iter().map(|w| {
            let scaled = DryRun::Change { object: w.into(), change: None };
            let run = match w.kind {
                WorkloadKind::Deployment => scaled,
                WorkloadKind::StatefulSet => DryRun::DeletePod(nobody(w)),
            };
            ("rollback.connections", run)
        }));
    }
    if cx.plan.switch.connections == Connections::Close {
        let pods = old.workloads.iter().map(|w| ("switch.connections", DryRun::DeletePod(nobody(w))));
        asked.extend(pods);
    }
    if asked.is_empty() {
        return Some(vec![]);
    }
    let began = record.attempt_at.unwrap_or(cx.world.now);
    let (n, next) = try_of(span(began, cx.world.now));
    let mut found = vec![];
    let mut open = false;
    for (field, run) in asked {
        let key = |n: u64| attempt_of(step, record).part(format!("{field}/{}/{n}", name_of(&run)));
        let mut answer = None;
        for n in [Some(n), n.checked_sub(1)].into_iter().flatten() {
            if let Some(Reading::DryRun(refusals)) = cx.world.readings.get(&key(n)) {
                answer = answer.or(Some(refusals));
            }
            out.reads.insert(key(n), Read::DryRun(vec![run.clone()]));
        }
        match answer {
            None => open = true,
            Some(refusals) => found.extend(refusals.iter().filter(|r| !r.transient).map(|r| {
                let (verb, resource) = verb_and_resource(&r.what);
                let remedy = if r.forbidden { format!("; {}", remedy(cx, verb, resource)) } else { String::new() };
                format!("spec.{field}: {}: {}, so connections are kept{remedy}", r.what, short(&r.why, 160))
            })),
        }
    }
    if open {
        out.wake_at(later(began, next));
        return None;
    }
    Some(found)
}

/// The name of a pod that there is not: rights are asked first, and nothing that runs is touched, not even to try.
fn nobody(workload: &WorkloadRef) -> String {
    format!("{}-cutover-try", workload.name)
}

fn name_of(run: &DryRun) -> &str {
    match run {
        DryRun::Change { object, .. } => &object.name,
        DryRun::DeletePod(name) => name,
        DryRun::Job { .. } | DryRun::Secret(_) | DryRun::Point { .. } | DryRun::Look(_) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, step};
    use crate::plan::{Action, Stage};
    use crate::world::DryRunRefusal;

    fn seen(f: &Fixture) -> (Option<Vec<String>>, Out) {
        let step = step("permissions", Stage::Preflight, Action::Permissions {});
        let record = StepRecord { name: step.name.clone(), attempt: 1, ..StepRecord::default() };
        let mut out = Out::default();
        (warnings(&f.cx(), &step, &record, &mut out), out)
    }

    #[test]
    fn a_missing_right_is_a_warning_with_its_remedy() {
        let mut f = Fixture::new();
        assert_eq!(seen(&f).0, Some(vec![]), "they are kept anyway");
        f.plan.rollback.iter_mut().for_each(|r| r.connections = Connections::Close);
        f.plan.target.workloads[0].kind = WorkloadKind::StatefulSet;
        let (found, out) = seen(&f);
        assert_eq!(found, None);
        let Some((key, Read::DryRun(runs))) = out.reads.into_iter().next() else { panic!("nothing is read") };
        assert_eq!(runs, [DryRun::DeletePod("web-green-cutover-try".into())]);
        let why = "User \"a\" cannot delete".to_owned();
        let refusal =
            DryRunRefusal { what: "delete pods/web-green-cutover-try".into(), why, forbidden: true, transient: false };
        f.world.readings.insert(key.clone(), Reading::DryRun(vec![refusal.clone()]));
        let found = seen(&f).0.unwrap_or_default();
        assert!(
            found[0].contains("connections are kept") && found[0].contains("--verb=delete --resource=pods"),
            "{found:?}"
        );
        f.world.readings.insert(key, Reading::DryRun(vec![DryRunRefusal { transient: true, ..refusal }]));
        assert_eq!(seen(&f).0, Some(vec![]));
    }
}
