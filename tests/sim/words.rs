//! People's decisions in the simulated cluster, and the answers on them.

use cutover::api::CutoverDecisionSpec;
use cutover::journal::words::{counts, taken_in};
use cutover::observe::convert;
use cutover::world::DecisionView;

use super::cluster::Cluster;
use super::script::Word;

impl Cluster {
    /// A person says this, as often as it is told.
    pub fn say(&mut self, word: &Word) {
        let open = |gate: &String| self.status.steps.iter().find(|r| r.name == *gate)?.gate.as_ref();
        let token = word.gate.as_ref().and_then(open).map(|g| g.token.clone());
        let spec = CutoverDecisionSpec {
            cutover: word.cutover.clone().unwrap_or_else(|| self.plan.cutover.clone()),
            run_uid: self.run.1.clone(),
            decision: word.decision,
            gate: word.gate.clone(),
            role: word.role.clone(),
            token: word.token.clone().or(token),
            step: word.step.clone(),
            outcome: word.outcome,
            comment: word.comment.clone(),
            by: word.by.clone(),
        };
        for _ in 0..word.times {
            self.decided(spec.clone());
        }
    }

    /// A decision is created.
    pub fn decided(&mut self, spec: CutoverDecisionSpec) {
        let name = format!("decision-{}", self.decisions.len() + 1);
        let (uid, created) = (name.clone(), self.now);
        let resource_version = self.bump(&format!("cutoverdecisions/{name}"));
        self.decisions.push(DecisionView { name, uid, resource_version, created, spec });
    }

    /// Those that have no answer, as a watch shows them.
    pub fn open_decisions(&self) -> Vec<DecisionView> {
        let mut open: Vec<_> = self.decisions.iter().filter(|d| !self.answers.contains_key(&d.uid)).cloned().collect();
        convert::order(&mut open);
        open
    }

    /// P14: what counts was said about this run of this Cutover, and was never refused.
    pub fn words_count_once(&self, broken: &mut Vec<String>) {
        for record in &self.status.decisions {
            let ours = |d: &&DecisionView| d.spec.run_uid == self.run.1 && d.spec.cutover == self.plan.cutover;
            if !self.decisions.iter().filter(ours).any(|d| d.uid == record.uid) {
                broken.push(format!("P14: {} counts, but was not said about this run", record.uid));
            }
            if self.status.decisions.iter().filter(|r| r.uid == record.uid).count() > 1 {
                broken.push(format!("P14: {} counts twice", record.uid));
            }
            if self.answers.get(&record.uid).is_some_and(|result| !counts(result)) {
                broken.push(format!("P14: {} was refused and counts", record.uid));
            }
        }
    }

    /// What is wrong with an answer that the operator is about to write.
    pub fn answer_is_recorded(&self, uid: &str, result: &str, accepted: bool) -> bool {
        let record = taken_in(&self.status, uid);
        accepted == counts(result) && accepted == record.is_some() && record.is_none_or(|r| r.result == result)
    }
}
