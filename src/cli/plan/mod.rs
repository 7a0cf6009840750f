//! `plan`: what a run would do now, from the very functions that the operator plans with; nothing is stored. `diff`: what
//! of that differs from a run before.

use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;
use serde::Serialize;

use super::check::{
    self,
    facts::{self, Facts},
};
use super::cluster::{Cluster, Seen};
use super::decide::may;
use super::exit::{Exit, Failure};
use super::find::{Found, find};
use super::global::Global;
use super::output;
use super::rights::{OURS, Right, joined};
use super::session::Session;
use crate::api::cutover::Cutover;
use crate::api::decision::Verb;
use crate::plan::{Action, Plan};

mod diff;
pub(crate) mod model;
pub(crate) mod page;
mod tried;
mod who;

use diff::{Difference, differences};
use model::{Foreseen, Gate, Role};

/// What `diff` may ask.
pub(crate) const READS: [Right; 13] = [
    Right::need("get", OURS, "cutovers"),
    Right::need("list", OURS, "cutovers"),
    Right::need("get", OURS, "cutoverruns"),
    Right::need("list", OURS, "cutoverruns"),
    Right::wish("get", OURS, "cutovertemplates"),
    Right::wish("get", OURS, "clustercutovertemplates"),
    Right::wish("list", "", "services"),
    Right::wish("list", "apps", "deployments"),
    Right::wish("list", "apps", "statefulsets"),
    Right::wish("list", "", "pods"),
    Right::wish("list", "discovery.k8s.io", "endpointslices"),
    Right::wish("list", "autoscaling", "horizontalpodautoscalers"),
    Right::wish("list", "policy", "poddisruptionbudgets"),
];

/// What `plan` may ask: who could open gates, and whether the writes would be admitted.
pub(crate) const RIGHTS: [Right; 26] = joined([&READS, &who::RIGHTS, &tried::RIGHTS]);

/// What is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlanOf {
    /// The Cutover; without one, the only one of the namespace.
    name: Option<String>,
}

/// What is compared.
#[derive(Args, Clone, Debug)]
pub(crate) struct Diff {
    /// The Cutover, whose next run is compared with the newest one; or a run, which is compared with the one before it.
    name: Option<String>,
    /// Another run to compare with.
    #[arg(value_name = "RUN", requires = "name")]
    with: Option<String>,
}

impl PlanOf {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let session = Session::open(global, &RIGHTS).await?;
        let cluster = &session.cluster;
        let found = find(cluster, self.name.as_deref()).await?;
        let facts = Facts::read(cluster, session.namespace()).await?;
        let planned = match facts::planned(cluster, &found.cutover, &facts).await? {
            Seen::Known(planned) => planned,
            Seen::Hidden(right) => {
                let user = session.cluster.whoami().await.ok();
                return Err(super::rights::missing(right, Some(session.namespace()), user.as_deref()));
            }
        };
        let (name, activate) = (found.cutover.name_any(), found.cutover.spec.activate.as_str());
        let mut foreseen = match &planned.plan {
            Err(refusals) => {
                let live = facts::live(&found.cutover, &facts);
                Foreseen::refused(session.namespace(), &name, &live, activate, refusals)
            }
            Ok(plan) => {
                let mut foreseen = Foreseen::of(plan, activate, &found.runs);
                gates(cluster, plan, &mut foreseen).await?;
                tried::all(cluster, plan, &facts, &mut foreseen).await?;
                foreseen
            }
        };
        let all: Vec<Cutover> = cluster.list(Some(session.namespace()), &ListParams::default()).await?;
        foreseen.in_the_way = check::in_the_way(&found.cutover, &all, &planned, &facts, Timestamp::now());
        let names = [format!("cutover.cutover.dev/{name}")];
        output::print(global.output, session.look, &foreseen, &names, || page::page(&foreseen, session.look))?;
        let in_order = foreseen.refused.is_empty() && foreseen.in_the_way.is_empty();
        let in_order = in_order && foreseen.dry_runs.iter().all(|d| d.refused.is_none());
        Ok(if in_order { Exit::Done } else { Exit::Failed })
    }
}

/// The gates with whoever could open them.
async fn gates(cluster: &Cluster, plan: &Plan, foreseen: &mut Foreseen) -> Result<(), Failure> {
    let gates: Vec<(String, &crate::api::step::Approval)> = plan
        .steps
        .iter()
        .flat_map(|s| {
            let own = match &s.action {
                Action::Approval(approval) => Some((s.name.clone(), approval)),
                _ => None,
            };
            let before_undo =
                s.undo.as_ref().and_then(|u| u.approval.as_ref()).map(|a| (format!("approve/{}", s.name), a));
            own.into_iter().chain(before_undo)
        })
        .collect();
    if gates.is_empty() {
        return Ok(());
    }
    let people = who::read(cluster, &mut foreseen.hidden).await?;
    for (name, approval) in gates {
        let mut roles = vec![];
        for role in &approval.roles {
            roles.push(Role {
                name: role.name.clone(),
                wanted: role.count.unwrap_or(1),
                you: may(cluster, &plan.cutover, &role.name, Verb::Approve).await?,
                who: people.as_ref().map(|people| people.may_approve(&plan.cutover, &role.name)),
            });
        }
        foreseen.gates.push(Gate { name, roles });
    }
    Ok(())
}

/// What is printed by `diff`.
#[derive(Serialize, schemars::JsonSchema)]
pub(crate) struct Compared {
    before: String,
    now: String,
    differences: Vec<Difference>,
}

impl Diff {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let session = Session::open(global, &READS).await?;
        let found = find(&session.cluster, self.name.as_deref()).await?;
        let (before, now) = match &self.with {
            Some(other) => {
                let other = find(&session.cluster, Some(&format!("run/{}", other.trim_start_matches("run/")))).await?;
                (of_run(&other)?, of_run(&found)?)
            }
            None => self.with_the_one_before(&session, &found).await?,
        };
        let mut differences = differences(&before.1, &now.1);
        // Whatever is copied from the templates' objects says nothing of what is done.
        differences.retain(|d| !d.field.starts_with("templates"));
        let title = format!("{} → {}", before.0, now.0);
        let compared = Compared { before: before.0, now: now.0, differences };
        output::print(global.output, session.look, &compared, &[], || {
            page::differences(&title, &compared.differences)
        })?;
        Ok(Exit::Done)
    }

    async fn with_the_one_before(&self, session: &Session, found: &Found) -> Result<(Named, Named), Failure> {
        let run = found.run.as_ref();
        let named = self.name.as_deref().map(|n| n.trim_start_matches("run/"));
        if let Some(run) = run.filter(|r| named == Some(r.name_any().as_str())) {
            let at = found.runs.iter().position(|r| r.metadata.uid == run.metadata.uid);
            let before = at.and_then(|at| at.checked_sub(1)).and_then(|at| found.runs.get(at));
            let before = before.ok_or_else(|| Failure::new(format!("no run before {} is kept", run.name_any())))?;
            return Ok(((before.name_any(), before.spec.plan.clone()), (run.name_any(), run.spec.plan.clone())));
        }
        let facts = Facts::read(&session.cluster, session.namespace()).await?;
        let planned = match facts::planned(&session.cluster, &found.cutover, &facts).await? {
            Seen::Known(planned) => planned.plan,
            Seen::Hidden(right) => {
                let user = session.cluster.whoami().await.ok();
                return Err(super::rights::missing(right, Some(session.namespace()), user.as_deref()));
            }
        };
        let plan = planned.map_err(|refusals| {
            let all: Vec<String> = refusals.iter().map(ToString::to_string).collect();
            Failure::new(format!("the operator would refuse the next run: {}", all.join(" | "))).exit(Exit::Failed)
        })?;
        let now = serde_json::to_value(&plan).map_err(|e| Failure::new(format!("defect: {e}")))?;
        Ok((of_run(found)?, ("now".to_owned(), now)))
    }
}

/// A plan with the name of its run.
type Named = (String, serde_json::Value);

fn of_run(found: &Found) -> Result<Named, Failure> {
    let run = found.run.as_ref();
    let run = run.ok_or_else(|| Failure::new(format!("Cutover {} has had no run yet", found.cutover.name_any())))?;
    Ok((run.name_any(), run.spec.plan.clone()))
}
