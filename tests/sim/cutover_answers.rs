//! Decisions of the simulated API server: taken up, answered, and answered late by a process that has stopped.

use cutover::api::decision::{DecisionState, DecisionStatus};
use cutover::effect::Outcome;
use cutover::pilot::cutover::{Answer, TakeUp};
use kube::ResourceExt;

use super::Server;

impl Server {
    /// An answer stands on a decision.
    pub fn answered(&mut self, name: &str, result: &str, run: Option<String>) {
        let (now, version) = (self.now, self.next_version());
        if let Some(decision) = self.decisions.get_mut(name) {
            let (state, result) = (DecisionState::Answered, Some(result.to_owned()));
            decision.status = Some(DecisionStatus { state, result, at: Some(now), run });
            decision.metadata.resource_version = Some(version);
        }
    }

    /// Takes a decision up.
    pub fn take_up(&mut self, wanted: &TakeUp) -> Outcome {
        let version = self.next_version();
        let Some(decision) = self.decisions.get_mut(&wanted.name) else { return Outcome::NotFound };
        if !decision.is_open() {
            return Outcome::Conflict("it has an answer already".into());
        }
        if decision.metadata.resource_version.as_deref() != Some(wanted.resource_version.as_str()) {
            return Outcome::Transient("it was changed".into());
        }
        decision.status = Some(DecisionStatus { at: Some(wanted.at), ..DecisionStatus::default() });
        decision.metadata.resource_version = Some(version);
        Outcome::Done
    }

    /// Writes an answer; its process may have stopped since.
    pub fn answer(&mut self, answer: &Answer) -> Outcome {
        let Some(decision) = self.decisions.get(&answer.name) else { return Outcome::NotFound };
        if !decision.is_open() {
            return Outcome::Done;
        }
        if decision.metadata.resource_version.as_deref() != Some(answer.resource_version.as_str()) {
            return Outcome::Conflict("it was changed".into());
        }
        self.answered(&answer.name, &answer.said.result, answer.said.run.clone());
        self.owned(answer);
        Outcome::Done
    }

    /// It goes with the run that it names, if that one is still there.
    fn owned(&mut self, answer: &Answer) {
        let there =
            self.runs.values().find(|run| run.uid().as_ref() == Some(&answer.run_uid)).map(ResourceExt::name_any);
        if there.is_some() && answer.said.owner != there {
            let (name, owner) = (&answer.name, &answer.said.owner);
            self.broken.push(format!("decision {name} would go with {owner:?}, and names {there:?}"));
        }
    }

    /// P14: what was refused and counts all the same.
    pub fn refused_and_counted(&self) -> Vec<String> {
        let mut wrong = vec![];
        for decision in self.decisions.values() {
            let result = decision.status.as_ref().and_then(|s| s.result.as_deref()).unwrap_or_default();
            let uid = decision.uid().unwrap_or_default();
            let mut all = self.cutovers.values().flat_map(|c| c.status.iter().flat_map(|s| &s.retries));
            if result.starts_with("refused") && all.any(|retry| retry.decision == uid) {
                wrong.push(format!("P14: decision {} was refused and has started a run", decision.name_any()));
            }
        }
        wrong
    }
}
