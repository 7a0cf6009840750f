//! Parts of the cluster are frozen, ended and killed under a run: it goes on once they are back, and does nothing twice.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use cutover::api::Phase;
use cutover::api::run::StepState;
use k8s_openapi::api::batch::v1::Job;

use crate::harness::case::secs;
use crate::harness::{Case, ROOT, alone, wait};

/// A component of the test cluster, taken away for a while. It is back when this is dropped, however the test ends.
pub struct Away {
    name: &'static str,
    back: &'static str,
}

impl Away {
    /// `how` is a command of `tests/cluster/cluster`.
    pub fn take(how: &'static str, name: &'static str) -> Result<Self> {
        cluster(how, name)?;
        Ok(Self { name, back: if how == "pause-component" { "resume" } else { "start" } })
    }

    /// Brings it back.
    pub fn bring(self) -> Result<()> {
        let back = cluster(self.back, self.name);
        std::mem::forget(self);
        back
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        if let Err(error) = cluster(self.back, self.name) {
            eprintln!("{error:#}");
        }
    }
}

fn cluster(command: &str, component: &str) -> Result<()> {
    let tool = format!("{ROOT}/tests/cluster/cluster");
    let output = Command::new(&tool).args([command, component]).output().with_context(|| tool.clone())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{tool} {command} {component}: {said}");
    Ok(())
}

/// Whether the cluster is one whose parts may be taken away: that of `tests/cluster/cluster`.
pub fn is_ours(what: &str) -> bool {
    let ours = std::env::var_os("CUTOVER_NETNS").is_some();
    if !ours {
        println!("skipped: {what}: the parts of a cluster of one's own are left alone");
    }
    ours
}

/// How long a part is away: longer than the operator waits for any one call.
const AWAY: u64 = 5;

/// The fault's own length.
async fn while_away() {
    tokio::time::sleep(secs(AWAY)).await;
}

fn with_job(more: &str) -> String {
    format!(
        "phases: {{prepare: {{steps: [{{name: migrate, job: {{deadline: 120s, template: {{spec: {{containers: [{{\
         name: c, image: 'docker.io/cutover/sample:dev', args: [job, sleep, '3000']}}]}}}}}}}}]}}}}\n{more}"
    )
}

const QUICK: &str = "switch: {timeout: 60s}\nobserve: {for: 1s, every: 500ms}\n";

/// Waits until the run's Job has started.
async fn job_runs(t: &Case) -> Result<()> {
    wait::until(t.api::<Job>(), "a running Job", secs(60), |all| {
        let active = |j: &&Job| j.status.as_ref().is_some_and(|s| s.active.unwrap_or(0) > 0);
        Ok(all.values().find(active).map(|_| ()))
    })
    .await
}

async fn goes_on(t: &Case) -> Result<()> {
    let run = t.ends("shop", Phase::Completed, 150).await?;
    ensure!(t.selector_writes("web")? == ["green"], "{:?}", t.selector_writes("web")?);
    ensure!(t.jobs()? == (1, 1), "one Job, but {:?} were created and started", t.jobs()?);
    let steps = run.status.context("status")?.steps;
    ensure!(steps.iter().all(|s| s.state == StepState::Succeeded), "{steps:?}");
    Ok(())
}

#[test]
fn an_api_server_that_is_frozen_during_a_switch_delays_it_and_nothing_else() {
    alone("api_server_frozen", async |t: &Case| {
        if !is_ours("api_server_frozen") {
            return Ok(());
        }
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &with_job("switch: {timeout: 60s, drain: 3s}\nobserve: {for: 1s, every: 500ms}\n")).await?;
        t.phase("shop", Phase::Switching, 60).await?;
        let away = Away::take("pause-component", "apiserver")?;
        while_away().await;
        away.bring()?;
        goes_on(t).await
    });
}

#[test]
fn an_api_server_that_is_killed_during_the_observation_takes_nothing_back() {
    alone("api_server_killed", async |t: &Case| {
        if !is_ours("api_server_killed") {
            return Ok(());
        }
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &with_job("switch: {timeout: 60s}\nobserve: {for: 8s, every: 500ms}\n")).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        let away = Away::take("kill", "apiserver")?;
        while_away().await;
        away.bring()?;
        goes_on(t).await
    });
}

#[test]
fn a_kubelet_that_is_killed_while_a_job_runs_tells_its_end_later() {
    alone("kubelet_killed", async |t: &Case| {
        if !is_ours("kubelet_killed") {
            return Ok(());
        }
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &with_job(QUICK)).await?;
        job_runs(t).await?;
        let away = Away::take("kill", "kubelet")?;
        while_away().await;
        away.bring()?;
        goes_on(t).await
    });
}

#[test]
fn a_controller_manager_that_is_stopped_while_a_job_runs_counts_it_later() {
    alone("controller_manager_stopped", async |t: &Case| {
        if !is_ours("controller_manager_stopped") {
            return Ok(());
        }
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &with_job(QUICK)).await?;
        job_runs(t).await?;
        let away = Away::take("stop", "controller-manager")?;
        while_away().await;
        away.bring()?;
        goes_on(t).await
    });
}
