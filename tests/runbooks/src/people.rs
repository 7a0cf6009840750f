//! What people say while a scenario is played, each with a client of their own name and the rights that the example gives.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use cutover::api::{Cutover, CutoverDecision, CutoverDecisionSpec, RunStatus, Verb};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Config};

use crate::scenario::{Scenario, Scenarios};

/// The people of a scenario.
pub struct People<'s> {
    namespace: String,
    scenarios: &'s Scenarios,
    scenario: &'s Scenario,
    said: BTreeSet<String>,
}

impl<'s> People<'s> {
    /// People who have said nothing yet.
    pub fn new(namespace: &str, scenarios: &'s Scenarios, scenario: &'s Scenario) -> Self {
        Self { namespace: namespace.to_owned(), scenarios, scenario, said: BTreeSet::new() }
    }

    /// Says what there is to say now: at the gate that waits, to the question that is open, and about the run. Each thing is
    /// said once; at a gate again when its token has changed, as what was said before counts no more.
    ///
    /// # Errors
    /// A role that nobody holds, and a decision that is not admitted.
    pub async fn speak(&mut self, cutover: &Cutover, journal: &RunStatus) -> Result<()> {
        let Some(status) = &cutover.status else { return Ok(()) };
        let Some(uid) = status.run.as_ref().and_then(|run| run.uid.clone()) else { return Ok(()) };
        let phase = journal.phase;
        let word = |decision: Verb| self.word(cutover, &uid, decision);
        let mut words = vec![];
        if let Some(gate) = &status.gate {
            let no = self.scenario.reject.get(&gate.name);
            for role in gate.roles.iter().filter(|role| role.by.is_empty() || no == Some(&role.name)) {
                let who = self.scenarios.people.get(&role.name);
                let who = who.with_context(|| format!("gate {}: nobody holds the role {}", gate.name, role.name))?;
                let verb = if no == Some(&role.name) { Verb::Reject } else { Verb::Approve };
                let mut word = word(verb);
                word.gate = Some(gate.name.clone());
                word.role = Some(role.name.clone());
                word.token = Some(gate.token.clone());
                words.push((format!("{} {} {}", gate.name, role.name, gate.token), who.clone(), word));
            }
        }
        for decide in self.scenario.decide.iter().filter(|decide| decide.at == phase) {
            words.push((format!("{:?} {phase}", decide.verb), self.on_call()?, word(decide.verb)));
        }
        if let Some(question) = &journal.question
            && let Some(answer) = self.scenario.answer.get(&question.subject)
        {
            let mut word = word(Verb::Resolve);
            word.step = Some("decision".into());
            word.outcome = Some(*answer);
            words.push((format!("{} {}", question.subject, question.at), self.on_call()?, word));
        }
        for (key, who, word) in words {
            if self.said.insert(key) {
                self.say(&who, word).await?;
            }
        }
        Ok(())
    }

    /// The person on call lets the run of this uid, which is over, be tried again.
    ///
    /// # Errors
    /// Nobody is on call, and a decision that is not admitted.
    pub async fn retry(&self, cutover: &Cutover, run: &str) -> Result<()> {
        self.say(&self.on_call()?, self.word(cutover, run, Verb::Retry)).await
    }

    fn on_call(&self) -> Result<String> {
        self.scenarios.on_call.clone().context("nobody is on call")
    }

    fn word(&self, cutover: &Cutover, run: &str, decision: Verb) -> CutoverDecisionSpec {
        CutoverDecisionSpec {
            cutover: cutover.metadata.name.clone().unwrap_or_default(),
            run_uid: run.to_owned(),
            decision,
            gate: None,
            role: None,
            token: None,
            step: None,
            outcome: None,
            comment: Some(self.scenario.about.clone()),
            by: String::new(),
        }
    }

    async fn say(&self, who: &str, mut word: CutoverDecisionSpec) -> Result<()> {
        word.by = who.to_owned();
        let about = format!("{who} says {:?}", word.decision);
        let mut config = Config::infer().await.context("KUBECONFIG")?;
        config.auth_info.impersonate = Some(who.to_owned());
        let generate_name = Some(format!("{}-", word.cutover));
        let mut decision = CutoverDecision::new("", word);
        decision.metadata = ObjectMeta { generate_name, ..ObjectMeta::default() };
        let api: Api<CutoverDecision> = Api::namespaced(Client::try_from(config)?, &self.namespace);
        api.create(&PostParams::default(), &decision).await.context(about)?;
        Ok(())
    }
}
