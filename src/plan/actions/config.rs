//! PURE. `config`: which keys of which source.

use std::collections::BTreeSet;

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{Config, FromContainer, WorkloadRef};
use crate::plan::Plan;
use crate::plan::refuse::Refusals;
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;
use crate::plan::select;

use super::{Action, ActionPlace, Given, Planned, quick};

impl Given for Config {
    fn texts(&self, _at: &str) -> Vec<Usage> {
        vec![]
    }

    fn resolve(&self, cx: &mut Cx, _place: &ActionPlace, at: &str) -> Action {
        check(self, at, cx.refusals);
        Action::Config(self.clone())
    }
}

impl Planned for Config {
    fn only_reads(&self) -> bool {
        true
    }

    // `from` names a side.
    fn workloads(&self) -> Vec<WorkloadRef> {
        vec![]
    }

    fn changes(&self, _plan: &Plan) -> Vec<ObjectRef> {
        vec![]
    }

    fn time(&self, attempts: u32, every: Duration) -> Duration {
        quick(attempts, every)
    }
}

fn check(config: &Config, at: &str, refusals: &mut Refusals) {
    let sources = [config.secret.is_some(), config.config_map.is_some(), config.from.is_some()];
    refusals.require(
        sources.into_iter().filter(|given| *given).count() == 1,
        at,
        "config reads exactly one of secret, configMap and from",
        "give exactly one",
    );
    if let Some(from) = &config.from {
        check_container(from, &format!("{at}.from"), refusals);
        refusals.require(
            config.rotated_within.is_none(),
            format!("{at}.rotatedWithin"),
            "when an environment was changed is not known",
            "name the secret itself",
        );
    }
    refusals.require(
        config.rotated_within.is_none_or(|d| !d.is_zero()),
        format!("{at}.rotatedWithin"),
        "nothing was changed within no time",
        "give some time, such as 720h",
    );
    refusals.require(!config.keys.is_empty(), format!("{at}.keys"), "no key is named", "name at least one");
    let mut seen = BTreeSet::new();
    for (i, key) in config.keys.iter().enumerate() {
        refusals.require(
            seen.insert(&key.name),
            format!("{at}.keys[{i}].name"),
            format!("the key {} is named twice", key.name),
            "name it once",
        );
        if let Some(Err(why)) = key.matches.as_deref().map(select::check_regex) {
            refusals.add(format!("{at}.keys[{i}].matches"), why, "correct the regular expression");
        }
    }
}

fn check_container(from: &FromContainer, at: &str, refusals: &mut Refusals) {
    refusals.require(
        from.container.as_ref().is_none_or(|c| !c.is_empty()),
        format!("{at}.container"),
        "the container has no name",
        "name it, or leave it out for the first one",
    );
}
