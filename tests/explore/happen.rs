//! What an event of the search does to the cluster and to the operators.

use cutover::api::decision::{CutoverDecisionSpec, Resolution, Verb};
use cutover::api::trigger::{Trigger, Watched};
use cutover::effect::ReadKey;
use cutover::world::{JobEnd, JobResult, Reading};

use super::event::{Fate, What};
use super::{Sent, State, started};
use crate::sim::actor;
use crate::sim::answers::numbers;
use crate::sim::cluster::Who;
use crate::sim::faults::{Fault, Kind, On};
use crate::sim::shell::Look;

impl State {
    pub(super) fn happen(&mut self, what: &What) {
        let now = self.cluster.now;
        match what {
            What::Reply(i, fate) => self.reply(*i, *fate),
            What::Query(by, i, answer) => {
                let op = &mut self.ops[*by];
                let key = op.queries.remove(*i);
                let of_shares = |t: &Trigger| matches!(t.watches.one(), Ok(Watched::Metric(m)) if m.total.is_some());
                let shares = self.cluster.plan.observe.triggers.iter().any(of_shares);
                let reading = match (&key, shares) {
                    (ReadKey::Trial(..), true) => Reading::Numbers(numbers(answer.clone())),
                    _ => Reading::Query(answer.clone()),
                };
                op.shell.answered(&key, reading, &self.cluster);
            }
            What::JobEnds(name, well) => {
                let (end, code) = match well {
                    true => (JobEnd::Complete, 0),
                    false => (JobEnd::Failed { reason: "BackoffLimitExceeded".into(), message: "it failed".into() }, 1),
                };
                self.cluster.end_job(name, end, JobResult { exit_code: Some(code), ..JobResult::default() });
            }
            What::JobGone(name) => self.cluster.remove_job(name, Who::Others),
            What::Converge(name) => self.cluster.converge(name),
            What::Pods => self.pods(),
            What::Health(target, healthy) => {
                let side = self.side(*target);
                self.cluster.set_health(&side, *healthy);
            }
            What::Point(name, target) => {
                let side = self.side(*target);
                self.cluster.point_by_others(name, &side);
            }
            What::Foreign(name) => {
                let selector = [("app".to_owned(), "else".to_owned()), ("version".to_owned(), "red".to_owned())].into();
                self.cluster.write_selector(name, selector);
            }
            What::Annotate(name) => self.cluster.annotate(name, "kubectl-annotate"),
            What::DeleteService(name) => self.cluster.delete_service(name),
            What::CreateService(name, target) => {
                let side = if *target { self.cluster.plan.target.clone() } else { self.cluster.plan.old.clone() };
                self.cluster.create_service(name, &side);
            }
            What::Decide(verb, about) => self.decide(*verb, about.clone()),
            What::Gate(verb, gate) => self.gate(*verb, gate),
            What::DeleteCutover => self.cutover(|c| c.deleting = true),
            What::Revert => {
                let live = self.cluster.plan.old.name.clone();
                self.cutover(|c| c.activate = live);
            }
            What::NewRelease => self.cutover(|c| c.release.version = Some("3.0.0".into())),
            What::Suspend(on) => self.cutover(|c| c.suspend = *on),
            What::Template(target) => {
                let side = self.side(*target);
                self.cluster.change_template(&side);
            }
            What::Claim(kind) => {
                let fault = Fault { on: On::Status, kind: *kind, name: None, times: Some(1), until: None };
                self.cluster.faults.0.push(fault);
            }
            What::Unread(on) => {
                let fault = Fault { on: *on, kind: Kind::Transient, name: None, times: Some(1), until: None };
                self.cluster.faults.0.push(fault);
            }
            What::Again(by) => {
                for look in std::mem::take(&mut self.ops[*by].again) {
                    self.look(*by, look);
                }
            }
            What::Crash => {
                self.sent.iter_mut().for_each(|s| s.by = None);
                self.ops = vec![started(&self.cluster)];
                self.see(&[]);
            }
            What::Second => {
                self.ops.push(started(&self.cluster));
                self.see(&[]);
            }
            What::Tell => {}
            What::Long => {
                let until = self.cluster.status.question.as_ref().and_then(|q| q.until);
                self.cluster.now = until.unwrap_or(now).max(now);
                self.read_everything();
            }
            What::Time => {
                let wake = self.wake().unwrap_or(now);
                self.cluster.now = wake.max(now);
                self.read_everything();
            }
        }
    }

    /// Operators for which that became due while time passed read everything live.
    fn read_everything(&mut self) {
        let now = self.cluster.now;
        for by in 0..self.ops.len() {
            if self.ops[by].reads_by(now) {
                let jobs = self.ops[by].shell.pilot.known_jobs();
                self.look(by, Look::Refresh(None, jobs));
            }
        }
    }

    fn side(&self, target: bool) -> String {
        if target { self.cluster.plan.target.name.clone() } else { self.cluster.plan.old.name.clone() }
    }

    fn cutover(&mut self, change: impl FnOnce(&mut cutover::world::CutoverView)) {
        if let Some(c) = &mut self.cluster.cutover {
            change(c);
        }
    }

    fn pods(&mut self) {
        for w in self.cluster.workloads.keys().cloned().collect::<Vec<_>>() {
            self.cluster.make_pods(&w);
        }
        for name in self.cluster.pods.keys().cloned().collect::<Vec<_>>() {
            self.cluster.pod_ready(&name);
        }
    }

    fn decide(&mut self, verb: Verb, about: Option<(String, Resolution)>) {
        let (step, outcome) = about.unzip();
        self.cluster.decided(CutoverDecisionSpec { step, outcome, ..self.word(verb) });
    }

    fn word(&self, decision: Verb) -> CutoverDecisionSpec {
        CutoverDecisionSpec::about(&self.cluster.plan.cutover, &self.cluster.run.1, decision, "jane")
    }

    fn gate(&mut self, verb: Verb, gate: &str) {
        let record = self.cluster.status.steps.iter().find(|s| s.name == gate);
        let token = record.and_then(|r| r.gate.as_ref()).map(|g| g.token.clone());
        let (gate, role) = (Some(gate.to_owned()), Some("operations".to_owned()));
        self.cluster.decided(CutoverDecisionSpec { gate, role, token, ..self.word(verb) });
    }

    fn reply(&mut self, i: usize, fate: Fate) {
        let Sent { effect, by } = self.sent.remove(i);
        let kind = match fate {
            Fate::Applied => None,
            Fate::ReplyLost => Some(Kind::Lost),
            Fate::NotApplied => Some(Kind::Transient),
            Fate::Refused => Some(Kind::Forbidden),
        };
        let outcome = actor::with(&mut self.cluster, &effect, kind);
        if let Some(op) = by.and_then(|by| self.ops.get_mut(by)) {
            op.shell.reply(&effect.key(), outcome, &self.cluster);
        }
    }
}
