//! What people say while a scenario is played, each with `kubectl cutover`, under their own name and with the rights that the
//! example gives.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use cutover::api::decision::Resolution;
use cutover::api::{Cutover, RunStatus, Verb};

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
        let phase = journal.phase;
        let word = |verb: Verb, more: &[&str]| {
            [self.word(cutover, verb), more.iter().map(|m| (*m).to_owned()).collect()].concat()
        };
        let mut words = vec![];
        if let Some(gate) = &status.gate {
            let no = self.scenario.reject.get(&gate.name);
            for role in gate.roles.iter().filter(|role| role.by.is_empty() || no == Some(&role.name)) {
                let who = self.scenarios.people.get(&role.name);
                let who = who.with_context(|| format!("gate {}: nobody holds the role {}", gate.name, role.name))?;
                let verb = if no == Some(&role.name) { Verb::Reject } else { Verb::Approve };
                let word = word(verb, &["--role", &role.name, "--token", &gate.token]);
                words.push((format!("{} {} {}", gate.name, role.name, gate.token), who.clone(), word));
            }
        }
        for decide in self.scenario.decide.iter().filter(|decide| decide.at == phase) {
            words.push((format!("{:?} {phase}", decide.verb), self.on_call()?, word(decide.verb, &[])));
        }
        if let Some(question) = &journal.question
            && let Some(answer) = self.scenario.answer.get(&question.subject)
        {
            let mut word = word(Verb::Resolve, &[]);
            let outcome = match answer {
                Resolution::Succeeded => "succeeded",
                Resolution::Failed => "failed",
                Resolution::UndoFirst => "undo-first",
                Resolution::StopTarget => "stop-target",
                Resolution::Wait => "wait",
            };
            // Right after the Cutover: the step, and what is said of it.
            word.splice(2..2, ["decision", outcome].map(str::to_owned));
            words.push((format!("{} {}", question.subject, question.at), self.on_call()?, word));
        }
        for (key, who, word) in words {
            if self.said.insert(key) {
                self.say(&who, word).await?;
            }
        }
        Ok(())
    }

    /// The person on call lets the newest run, which is over, be tried again.
    ///
    /// # Errors
    /// Nobody is on call, and a decision that is not admitted.
    pub async fn retry(&self, cutover: &Cutover) -> Result<()> {
        self.say(&self.on_call()?, self.word(cutover, Verb::Retry)).await
    }

    fn on_call(&self) -> Result<String> {
        self.scenarios.on_call.clone().context("nobody is on call")
    }

    /// `kubectl cutover VERB` for a Cutover, with what the person says beside it.
    fn word(&self, cutover: &Cutover, verb: Verb) -> Vec<String> {
        let name = cutover.metadata.name.clone().unwrap_or_default();
        let about = &self.scenario.about;
        [&format!("{verb:?}").to_lowercase(), &format!("cutover/{name}"), "--comment", about, "--yes"]
            .map(str::to_owned)
            .into()
    }

    async fn say(&self, who: &str, word: Vec<String>) -> Result<()> {
        let arguments = [&word[..], &["--as".to_owned(), who.to_owned()]].concat();
        let told = plugin(&self.namespace, &arguments).await?;
        // Whether it counts is for the run to show: that it was admitted and answered is enough here.
        ensure!(matches!(told.code, 0 | 1) && !told.text.contains("refused by a policy"), "{arguments:?}: {told:?}");
        Ok(())
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Told {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub text: String,
}

/// Runs `kubectl cutover`, the program beside this one.
///
/// # Errors
/// It is not there.
pub async fn plugin(namespace: &str, arguments: &[String]) -> Result<Told> {
    let program = std::env::current_exe()?.with_file_name("kubectl-cutover");
    let output = tokio::process::Command::new(&program)
        .args(arguments)
        .args(["--namespace", namespace])
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .with_context(|| format!("{}: build all programs first", program.display()))?;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok(Told { code: output.status.code().unwrap_or(-1), text })
}
