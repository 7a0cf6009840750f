//! PURE. `suite` as a trigger: requests that are sent together again and again, and how many rounds may fail.

use crate::api::step::{Action, Http, SuiteStep, To};
use crate::api::trigger::{SuiteTrigger, Watched};
use crate::plan::actions::Given;
use crate::plan::refuse::label;
use crate::plan::request::{self, RequestPlace};
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;

use super::TriggerRule;

/// Rounds in a row, unless it says.
const FAILING: u32 = 3;

impl SuiteTrigger {
    /// Its requests, each with its step.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (&SuiteStep, &Http)> {
        self.suite.steps.iter().filter_map(|step| match step.action.one() {
            Ok(Action::Http(http)) => Some((step, http)),
            _ => None,
        })
    }
}

impl TriggerRule for SuiteTrigger {
    fn texts(&self, at: &str) -> Vec<Usage> {
        let of = |(i, step): (usize, &SuiteStep)| match step.action.one() {
            Ok(Action::Http(http)) => http.texts(&format!("{at}.steps[{}].http", label(&step.name, i))),
            _ => vec![],
        };
        self.suite.steps.iter().enumerate().flat_map(of).collect()
    }

    fn resolve(&self, cx: &mut Cx, at: &str) -> Watched {
        let mut out = self.clone();
        cx.refusals.require(
            !self.suite.steps.is_empty(),
            format!("{at}.steps"),
            "the suite has no steps",
            "give at least one",
        );
        cx.refusals.require(
            self.suite.pass_rate.is_none_or(|p| p <= 100),
            format!("{at}.passRate"),
            "more than 100 per cent cannot pass",
            "give 0 to 100",
        );
        cx.refusals.require(
            self.failing != Some(0),
            format!("{at}.failing"),
            "a suite that fires before it failed",
            "let it fail at least once",
        );
        out.failing.get_or_insert(FAILING);
        for (i, step) in out.suite.steps.iter_mut().enumerate() {
            one(cx, step, &format!("{at}.steps[{}]", label(&step.name, i)));
        }
        Watched::Suite(out)
    }
}

fn one(cx: &mut Cx, step: &mut SuiteStep, at: &str) {
    cx.scope.take_name(&step.name, &format!("{at}.name"), cx.refusals);
    for (field, given) in [
        ("when", step.when.is_some()),
        ("timeout", step.timeout.is_some()),
        ("retry", step.retry.is_some()),
        ("after", !step.after.is_empty()),
    ] {
        cx.refusals.require(
            !given,
            format!("{at}.{field}"),
            format!("{field} has no place in a round: all of it is sent together, and again and again"),
            "leave it out",
        );
    }
    let services = cx.services;
    match step.action.one_mut() {
        Ok(Action::Http(http)) => {
            let place = RequestPlace { to: To::Live, services, read_only: false, repeated: true };
            *http = request::resolve(http, place, &format!("{at}.http"), cx.refusals);
        }
        Ok(Action::Job(_)) => cx.refusals.add(
            format!("{at}.job"),
            "this version runs no Jobs in a trigger",
            "send a request (http), or run the Job once in phases.confirm",
        ),
        Ok(_) => cx.refusals.add(
            at,
            "a suite that is repeated sends requests only",
            "give http, or write a trigger of its own",
        ),
        Err(named) => {
            let message = format!("a step of a suite has exactly one action, this one has {named}");
            cx.refusals.add(at, message, "give http");
        }
    }
}
