//! `logs`: what the Jobs of a run wrote.

use clap::Args;
use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, LogParams};

use super::cluster::Cluster;
use super::exit::{Exit, Failure};
use super::find::find;
use super::global::Global;
use super::output;
use super::rights::{OURS, Right};
use super::session::Session;
use super::text::{Line, Look, Tone, harmless};
use crate::view;

/// What `logs` may ask.
pub(crate) const RIGHTS: [Right; 6] = [
    Right::need("get", OURS, "cutovers"),
    Right::need("list", OURS, "cutovers"),
    Right::need("get", OURS, "cutoverruns"),
    Right::need("list", OURS, "cutoverruns"),
    Right::need("list", "", "pods"),
    Right::need("get", "", "pods/log"),
];

/// What is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct Logs {
    /// A Cutover or a run.
    name: String,
    /// The step, or `undo/STEP`; otherwise all steps with a Job.
    step: Option<String>,
    /// Go on with what is written from now on; of one step.
    #[arg(short, long, requires = "step")]
    follow: bool,
    /// The last lines of each pod only.
    #[arg(long, value_name = "LINES")]
    tail: Option<i64>,
}

/// A Job of a step.
struct Source<'a> {
    step: &'a str,
    job: &'a str,
}

impl Logs {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let session = Session::open(global, &RIGHTS).await?;
        let found = find(&session.cluster, Some(&self.name)).await?;
        let Some(run) = &found.run else {
            return Err(Failure::new(format!("Cutover {} has had no run yet", self.name)));
        };
        let plan = view::plan_of(run);
        let seen = view::Run::of(run, plan.as_ref());
        let executions = seen.as_ref().map(|r| r.executions.as_slice()).unwrap_or_default();
        let wanted = |s: &&view::Step| self.step.as_deref().is_none_or(|name| name == s.name);
        let steps: Vec<&view::Step> = executions.iter().filter(wanted).collect();
        if let (Some(step), []) = (&self.step, steps.as_slice()) {
            let begun: Vec<&str> = executions.iter().filter(|s| !s.jobs.is_empty()).map(|s| s.name).collect();
            let says = format!("step {step} of run {} has not begun, or does not exist", run.name_any());
            return Err(match begun.is_empty() {
                true => Failure::new(format!("{says}; no step of the run has begun a Job")).next(format!(
                    "kubectl cutover status {}{}",
                    run.name_any(),
                    session.flags()
                )),
                false => Failure::new(says).next(format!("name one with a Job: {}", begun.join(", "))),
            });
        }
        let sources: Vec<Source> =
            steps.iter().flat_map(|s| s.jobs.iter().map(|j| Source { step: s.name, job: &j.name })).collect();
        if sources.is_empty() {
            return Err(Failure::new(format!("run {} has no Job there, so nothing was logged", run.name_any()))
                .next(format!("kubectl cutover status {}{}", run.name_any(), session.flags())));
        }
        let mut missing = vec![];
        for source in &sources {
            if !self.of_job(&session.cluster, session.look, source).await? {
                missing.push(source.job);
            }
        }
        match missing.as_slice() {
            [] => Ok(Exit::Done),
            gone => Err(Failure::new(format!("the pods of {} are gone, and their logs with them", gone.join(", ")))
                .next(format!("kubectl cutover status {}{}", run.name_any(), session.flags()))
                .exit(Exit::Failed)),
        }
    }

    /// Prints the logs of a Job's pods; false where there are none any more.
    async fn of_job(&self, cluster: &Cluster, look: Look, source: &Source<'_>) -> Result<bool, Failure> {
        let params = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={}", source.job));
        let pods: Vec<Pod> = cluster.list(Some(&cluster.namespace), &params).await?;
        let (api, right) = cluster.api::<Pod>("get", Some("log"), &cluster.namespace)?;
        for pod in &pods {
            let name = pod.name_any();
            let head = format!("==> {} {name}", source.step);
            output::write(&(Line::new().tone(Tone::Dim, head).show(look) + "\n"))?;
            let params = LogParams { follow: self.follow, tail_lines: self.tail, ..LogParams::default() };
            let stream = cluster.call(api.log_stream(&name, &params), right, Some(&cluster.namespace)).await?;
            let mut lines = stream.lines();
            let broken = |e: std::io::Error| Failure::new(format!("the log of pod {name} ends early: {e}"));
            while let Some(line) = lines.try_next().await.map_err(broken)? {
                output::write(&(harmless::line(&line).into_owned() + "\n"))?;
            }
        }
        Ok(!pods.is_empty())
    }
}
