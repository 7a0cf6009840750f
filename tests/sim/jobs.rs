//! Jobs of the simulated cluster: how they run, end, or never start.

use cutover::effect::Attempt;
use cutover::world::{ContainerView, EventView, JobEnd, JobResult, JobView, PodView};
use serde_json::json;

use super::cluster::{Cluster, Job, Who, Wrote};
use super::script::JobScript;
use super::timeline::Timeline;

impl Cluster {
    /// A running Job ends.
    pub fn end_job(&mut self, name: &str, end: JobEnd, result: JobResult) {
        let version = self.bump(&format!("jobs/{name}"));
        let Some(job) = self.jobs.get_mut(name) else { return };
        if job.view.suspended || job.view.end.is_some() {
            return;
        }
        job.view.resource_version = version;
        job.view.pods_left = 0;
        // A deadline takes the pod away; otherwise it stays, with what it has run.
        let late = matches!(&end, JobEnd::Failed { reason, .. } if reason == "DeadlineExceeded");
        job.view.pod =
            job.view.pod.take().filter(|_| !late).map(|pod| PodView { ended: true, terminating: true, ..pod });
        job.view.end = Some(end);
        job.result = result;
    }

    /// Somebody deletes a Job.
    pub fn remove_job(&mut self, name: &str, who: Who) {
        if self.jobs.remove(name).is_some() {
            self.wrote(who, Wrote::JobDeleted { job: name.to_owned() });
        }
    }

    /// Somebody else makes a suspended Job that has everything of the first attempt of a step which can be known beforehand.
    pub fn ready_made_job(&mut self, step: &str) {
        let name = cutover::plan::job_name(&self.run.1, step, 1);
        let view = JobView {
            uid: format!("{name}-of-others"),
            resource_version: self.bump(&format!("jobs/{name}")),
            run: Some(self.run.1.clone()),
            step: Some(Attempt::of(step, 1)),
            suspended: true,
            template: Some(json!({"spec": {"containers": [{"name": "main", "image": "other:1"}]}}).into()),
            ..JobView::default()
        };
        self.jobs.insert(name, Job { view, result: JobResult::default(), deadline: None });
    }

    /// The Job of the newest attempt of a step.
    pub fn job_of(&self, step: &str) -> Option<String> {
        let of_step = |j: &Job| j.view.step.as_ref().is_some_and(|attempt| attempt.execution == step);
        self.jobs.iter().filter(|(_, j)| of_step(j)).map(|(n, _)| n.clone()).next_back()
    }

    /// The pod of a Job that was started: it runs at once, never becomes what it should, or is not admitted.
    pub fn begin_job(&mut self, name: &str, script: &JobScript) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(name) else { return };
        if let Some(message) = &script.refused {
            job.view.pods_left = 0;
            job.view.pod = None;
            let event =
                EventView { reason: "FailedCreate".into(), message: message.clone(), of: ("Job".into(), name.into()) };
            self.events.insert(job.view.uid.clone(), vec![event]);
            return;
        }
        let Some(waits) = &script.waits else { return };
        job.view.stuck_since = Some(now);
        let containers = job.view.pod.iter_mut().flat_map(|pod| &mut pod.containers);
        for container in containers {
            container.running = false;
            container.waiting = Some(waits.reason.clone());
            container.waiting_message = Some(waits.message.clone());
        }
    }
}

/// The pod that a Job begins with.
pub fn pod_of(name: &str, view: &cutover::world::JobView) -> PodView {
    let main = view.template.as_ref().and_then(|t| t.pointer("/spec/containers/0"));
    let text = |key: &str| main.and_then(|c| c.get(key)?.as_str()).unwrap_or_default().to_owned();
    let container = ContainerView {
        name: text("name"),
        image: text("image"),
        image_id: Some(format!("{}@sha256:0", text("image"))),
        running: true,
        ..ContainerView::default()
    };
    let (pod, uid) = (format!("{name}-abcde"), format!("{}-pod", view.uid));
    PodView { name: pod, uid, containers: vec![container], ..PodView::default() }
}

impl Timeline {
    /// How a Job behaves: by step and attempt.
    pub(super) fn behaviour(&self, job: &str) -> JobScript {
        let Some(attempt) = self.cluster.jobs.get(job).and_then(|j| j.view.step.clone()) else {
            return JobScript::default();
        };
        let plain = |s: &str| s.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let scripts =
            self.scenario.jobs.iter().find(|(name, _)| plain(name) == plain(&attempt.execution)).map(|(_, s)| s);
        let Some(scripts) = scripts else { return JobScript::default() };
        let before = attempt.number.saturating_sub(1) as usize;
        scripts.get(before).or(scripts.last()).cloned().unwrap_or_default()
    }

    pub(super) fn job_ends(&mut self, name: &str) {
        let script = self.behaviour(name);
        let end = if script.hangs {
            JobEnd::Failed {
                reason: "DeadlineExceeded".into(),
                message: "Job was active longer than specified deadline".into(),
            }
        } else if script.exit == 0 {
            JobEnd::Complete
        } else {
            JobEnd::Failed {
                reason: "BackoffLimitExceeded".into(),
                message: "Job has reached the specified backoff limit".into(),
            }
        };
        let exit_code = (!script.hangs).then_some(script.exit);
        let result = JobResult { exit_code, message: script.message, log: script.log, problem: None };
        self.cluster.end_job(name, end, result);
    }
}
