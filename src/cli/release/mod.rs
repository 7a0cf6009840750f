//! `release`: sets up the idle side as the user, waits for its rollout, and asks for it to be activated.

use std::time::Duration;

use clap::Args;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};

use super::cluster::Cluster;
use super::exit::{Exit, Failure};
use super::find::{Found, find};
use super::global::{Format, Global};
use super::output;
use super::rights::{OURS, Right};
use super::session::Session;
use super::text::time;
use super::watch::{Goal, Watch};
use crate::act::by_hand::MANAGER;
use crate::api::cutover::Cutover;
use crate::api::step::WorkloadKind;

pub(crate) mod change;
mod rollout;
mod shown;

pub(crate) use change::{Image, Wanted};

use change::{Changes, Cluster as Seen};

/// What `release` may ask.
pub(crate) const RIGHTS: [Right; 13] = [
    Right::need("get", OURS, "cutovers"),
    Right::need("list", OURS, "cutovers"),
    Right::need("patch", OURS, "cutovers"),
    Right::need("get", OURS, "cutoverruns"),
    Right::need("list", OURS, "cutoverruns"),
    Right::need("get", "", "services"),
    Right::need("list", "", "services"),
    Right::need("get", "apps", "deployments"),
    Right::need("list", "apps", "deployments"),
    Right::need("patch", "apps", "deployments"),
    Right::need("list", "apps", "statefulsets"),
    Right::need("get", "apps", "statefulsets"),
    Right::need("patch", "apps", "statefulsets"),
];

/// A new release.
#[derive(Args, Clone, Debug)]
pub(crate) struct Release {
    /// The Cutover; without one, the only one of the namespace.
    name: Option<String>,
    /// The version that is released.
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// The revision of the source.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// The tag of the source.
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// The image of a container, as CONTAINER=IMAGE or WORKLOAD/CONTAINER=IMAGE; IMAGE alone where there is one container.
    #[arg(long, value_name = "CONTAINER=IMAGE")]
    image: Vec<Image>,
    /// Wait until the idle side has rolled out before it is activated, and this long at most.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time::duration)]
    rollout_timeout: Duration,
    /// Then watch the run until it has completed, and end with the exit code of `watch`; for at most this time, where one is
    /// given.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "24h", value_parser = time::duration, conflicts_with = "dry_run")]
    wait: Option<Duration>,
    /// Change nothing; print what would be changed, with `-o yaml` or `-o patch` for Git.
    #[arg(long)]
    dry_run: bool,
}

impl Release {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let session = Session::open(global, &RIGHTS).await?;
        let found = find(&session.cluster, self.name.as_deref()).await?;
        let wanted = Wanted {
            version: self.version.clone(),
            revision: self.revision.clone(),
            tag: self.tag.clone(),
            images: self.image.clone(),
            by: session.cluster.whoami().await?,
        };
        let seen = look(&session.cluster, &found).await?;
        let changes = change::changes(&found.cutover, found.run.as_ref(), &seen, &wanted)
            .map_err(|f| with_flags(f, &session.flags()))?;
        for warning in &changes.warnings {
            eprintln!("warning: {}", super::text::harmless::line(warning));
        }
        if self.dry_run {
            print(&session, &changes)?;
            return Ok(Exit::Done);
        }
        carry_out(&session, &found, &changes, self.rollout_timeout).await?;
        let Some(timeout) = self.wait else {
            print(&session, &changes)?;
            return Ok(Exit::Done);
        };
        eprint!("{}", shown::page(&changes, &session.flags()).show(session.look));
        let watch = Watch {
            name: Some(format!("cutover/{}", changes.cutover)),
            until: Some(Goal::Completed),
            timeout: Some(timeout),
            exit_when_waiting: false,
            for_release: self.version.or(self.tag).or(self.revision),
            run: None,
        };
        watch.run(global).await
    }
}

/// A command that is printed means the same cluster and namespace; a sentence needs no flags.
fn with_flags(failure: Failure, flags: &str) -> Failure {
    let next = failure.next.map(|next| if next.starts_with("kubectl ") { next + flags } else { next });
    Failure { next, ..failure }
}

async fn look(cluster: &Cluster, found: &Found) -> Result<Seen, Failure> {
    let (namespace, all) = (Some(cluster.namespace.as_str()), ListParams::default());
    let of = |kind| found.cutover.spec.sides.iter().flat_map(|s| &s.workloads).any(|w| w.kind == kind);
    let mut seen = Seen { services: cluster.list::<Service>(namespace, &all).await?, ..Seen::default() };
    if of(WorkloadKind::Deployment) {
        seen.deployments = cluster.list::<Deployment>(namespace, &all).await?;
    }
    if of(WorkloadKind::StatefulSet) {
        seen.stateful_sets = cluster.list::<StatefulSet>(namespace, &all).await?;
    }
    Ok(seen)
}

/// Changes the workloads, waits for them, then changes the Cutover: a run begins only with a side that stands.
async fn carry_out(session: &Session, found: &Found, changes: &Changes, patience: Duration) -> Result<(), Failure> {
    let cluster = &session.cluster;
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    for w in changes.workloads.iter().filter(|w| w.changes_something()) {
        let (name, patch) = (w.workload.name.as_str(), Patch::Strategic(w.patch()));
        eprintln!("{:?}/{name}: {}", w.workload.kind, super::text::harmless::line(&w.words()));
        let done = match w.workload.kind {
            WorkloadKind::Deployment => {
                cluster.patch::<Deployment>(session.namespace(), name, &params, &patch).await?.is_some()
            }
            WorkloadKind::StatefulSet => {
                cluster.patch::<StatefulSet>(session.namespace(), name, &params, &patch).await?.is_some()
            }
        };
        if !done {
            return Err(Failure::new(format!(
                "{:?}/{name} was changed by somebody else at the same moment",
                w.workload.kind
            ))
            .next("say it again")
            .exit(Exit::Failed));
        }
    }
    for w in &changes.workloads {
        rollout::wait(cluster, &w.workload, patience).await?;
    }
    let name = found.cutover.name_any();
    let patch = Patch::Merge(changes.cutover_patch(found.cutover.resource_version()));
    match cluster.patch::<Cutover>(session.namespace(), &name, &params, &patch).await? {
        Some(_) => Ok(()),
        None => Err(Failure::new(format!(
            "Cutover {name} was changed by somebody else at the same moment; the idle side is set up"
        ))
        .next(format!("kubectl cutover status {name}{}", session.flags()))
        .exit(Exit::Failed)),
    }
}

fn print(session: &Session, changes: &Changes) -> Result<(), Failure> {
    match session.global.output {
        Some(Format::Patch) => output::write(&shown::commands(changes, &session.flags())),
        Some(Format::Yaml) => output::write(&shown::objects(changes)?),
        other => {
            let names = [format!("cutover.cutover.dev/{}", changes.cutover)];
            output::print(other, session.look, &changes.model(), &names, || shown::page(changes, &session.flags()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_its_flags_and_a_sentence_has_none() {
        let next = |text: &str| with_flags(Failure::new("no").next(text), " -n shop").next.unwrap_or_default();
        assert_eq!(next("kubectl cutover check web"), "kubectl cutover check web -n shop");
        assert_eq!(next("give --version, --tag or --revision"), "give --version, --tag or --revision");
    }
}
