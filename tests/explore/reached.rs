//! What a search has met: phases, causes, states of steps and of the switch, conditions. A world names what it must meet.

use std::collections::BTreeMap;

use cutover::api::run::RunStatus;

/// How often each thing was met, by name.
#[derive(Default)]
pub struct Reached(BTreeMap<String, usize>);

impl Reached {
    /// Takes in a state.
    pub fn take_in(&mut self, status: &RunStatus) {
        let mut met = |what: String| *self.0.entry(what).or_default() += 1;
        met(format!("phase {}", status.phase));
        if let Some(ending) = &status.ending {
            met(format!("cause {}", ending.reason));
        }
        status.steps.iter().for_each(|step| met(format!("step {:?}", step.state)));
        for service in status.switch.iter().flat_map(|s| &s.services) {
            met(format!("switch {:?}", service.state));
            if let Some(blocked) = &service.blocked {
                met(format!("blocked {:?}", blocked.cause));
            }
        }
        status.conditions.iter().filter(|c| c.status == "True").for_each(|c| met(format!("condition {}", c.type_)));
        for follow_up in status.after.iter().flat_map(|after| &after.follow_ups) {
            met(format!("follow-up {:?}", follow_up.state));
        }
        if status.after.as_ref().is_some_and(|after| after.called_off.is_some()) {
            met("called off".into());
        }
        if cutover::journal::is_retired(status) {
            met("retired".into());
        }
        if status.start_over.is_some() {
            met("started over".into());
        }
        if status.question.is_some() {
            met("question".into());
        }
    }

    /// Those of a list that were not met.
    pub fn missing<'a>(&self, wanted: &'a [&'a [&'a str]]) -> Vec<&'a str> {
        wanted.iter().flat_map(|list| list.iter()).copied().filter(|what| !self.0.contains_key(*what)).collect()
    }

    /// All that was met.
    pub fn all(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}
