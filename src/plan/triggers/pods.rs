//! PURE. `pods`: what of the target's pods is watched.

use crate::api::trigger::{PodsTrigger, Watched};
use crate::plan::refuse::Refusals;
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;
use crate::plan::{MinReady, quantity};

use super::{TriggerRule, count_or_percent};

impl TriggerRule for PodsTrigger {
    fn texts(&self, _at: &str) -> Vec<Usage> {
        vec![]
    }

    fn resolve(&self, cx: &mut Cx, at: &str) -> Watched {
        check(self, at, cx.refusals);
        Watched::Pods(self.clone())
    }

    fn bounds_crashes(&self) -> bool {
        self.restarts.is_some() || self.crash_loop == Some(true) || self.ready_below.is_some()
    }
}

fn check(pods: &PodsTrigger, at: &str, refusals: &mut Refusals) {
    let watches = pods.restarts.is_some()
        || pods.oom_killed == Some(true)
        || pods.crash_loop == Some(true)
        || pods.ready_below.is_some()
        || pods.memory.is_some()
        || pods.cpu.is_some()
        || pods.memory_growing.is_some();
    refusals.require(
        watches,
        at,
        "the trigger watches nothing",
        "say restarts, oomKilled, crashLoop, readyBelow, memory, cpu or memoryGrowing",
    );
    check_usage(pods, at, refusals);
    if let Some(restarts) = &pods.restarts {
        refusals.require(
            !restarts.within.is_zero(),
            format!("{at}.restarts.within"),
            "no restart happens within no time",
            "give some time, such as 10m",
        );
    }
    if let Some(text) = &pods.ready_below {
        let legal = count_or_percent(text).is_some_and(|m| !matches!(m, MinReady::Count(0) | MinReady::Percent(0)));
        refusals.require(
            legal,
            format!("{at}.readyBelow"),
            format!("{text:?} is not a number or per cent above 0"),
            "write for example \"2\" or \"80%\"",
        );
    }
}

/// What pods use comes in samples of its own, so that each such rule has a trigger of its own.
fn check_usage(pods: &PodsTrigger, at: &str, refusals: &mut Refusals) {
    let used = [pods.memory.is_some(), pods.cpu.is_some(), pods.memory_growing.is_some()];
    let used = used.into_iter().filter(|given| *given).count();
    let others = pods.restarts.is_some()
        || pods.oom_killed == Some(true)
        || pods.crash_loop == Some(true)
        || pods.ready_below.is_some();
    refusals.require(
        used == 0 || (used == 1 && !others),
        at,
        "memory, cpu and memoryGrowing are judged by samples, and each has its own",
        "write a trigger for each",
    );
    for (name, rule) in [("memory", &pods.memory), ("cpu", &pods.cpu)] {
        let Some(rule) = rule else { continue };
        refusals.require(
            quantity::nanos(&rule.above).is_some_and(|n| n > 0),
            format!("{at}.{name}.above"),
            format!("{:?} is not a quantity above 0", rule.above),
            if name == "cpu" { "write for example \"1500m\"" } else { "write for example \"3Gi\"" },
        );
    }
    if let Some(growing) = &pods.memory_growing {
        refusals.require(
            !growing.for_.is_zero(),
            format!("{at}.memoryGrowing.for"),
            "nothing grows within no time",
            "give some time, such as 10m",
        );
    }
}
