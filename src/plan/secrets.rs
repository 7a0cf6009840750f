//! PURE. What of a plan is secret: captures that only the run's Secret holds, and what may be captured at all.

use std::collections::BTreeSet;

use http::header::HeaderName;

use crate::api::step::Capture;

use super::refuse::Refusals;
use super::{Plan, PlanStep, select};

impl Plan {
    /// The names of the captures that only the run's Secret holds.
    pub(crate) fn sensitive(&self) -> BTreeSet<String> {
        self.steps.iter().flat_map(|step| step.action.sensitive()).collect()
    }

    /// The steps that put something into the run's Secret.
    pub(crate) fn keepers(&self) -> impl Iterator<Item = &PlanStep> {
        self.steps.iter().filter(|step| {
            !step.action.sensitive().is_empty() || step.parts().iter().any(|part| part.session.is_some())
        })
    }
}

/// Refuses what cannot be captured, or not so.
pub(super) fn check_capture(capture: &Capture, at: &str, refusals: &mut Refusals) {
    match (&capture.path, &capture.header) {
        (Some(path), None) => {
            if let Err(why) = select::check_path(path) {
                refusals.add(format!("{at}.path"), why, "correct the path");
            }
        }
        (None, Some(header)) => {
            refusals.require(
                HeaderName::from_bytes(header.as_bytes()).is_ok(),
                format!("{at}.header"),
                format!("{header:?} is not the name of a header"),
                "use letters, digits and dashes",
            );
            refusals.require(
                capture.sensitive || !header.eq_ignore_ascii_case("set-cookie"),
                format!("{at}.header"),
                "a cookie is a secret, and a capture stands in the run for all to read",
                "say sensitive: true, or cookies: Keep in the suite",
            );
        }
        _ => refusals.add(at, "a capture has either path or header", "give exactly one of them"),
    }
    refusals.require(
        !(capture.sensitive && capture.record),
        format!("{at}.record"),
        "what is sensitive is not recorded",
        "leave out one of record and sensitive",
    );
}

#[cfg(test)]
mod tests {
    use crate::api::cutover::Cutover;
    use crate::plan::{Offered, resolve};

    #[test]
    fn a_session_goes_with_the_steps_that_come_after_directly_or_not() {
        let step = |name: &str, after: &str| format!("{{name: {name}, after: [{after}], http: {{path: /}}}}");
        let suite = |more: &str| {
            let steps =
                [step("last", "pay, me"), step("me", "login"), step("pay", "me"), step("login", ""), step("other", "")];
            format!("suite: {{{more}steps: [{}]}}", steps.join(", "))
        };
        let text = format!(
            "{{apiVersion: cutover.dev/v1alpha1, kind: Cutover, metadata: {{name: shop}}, spec: {{services: [{{name: web}}], \
             sides: [{{name: blue, selector: {{side: blue}}, workloads: [{{kind: Deployment, name: web-blue}}]}}, \
             {{name: green, selector: {{side: green}}, workloads: [{{kind: Deployment, name: web-green}}]}}], \
             activate: green, phases: {{verify: {{steps: [{{name: s, {}}}]}}, confirm: {{steps: [{{name: p, {}}}]}}}}}}}}",
            suite("cookies: Keep, "),
            suite("")
                .replace("name: ", "name: c-")
                .replace("after: [", "after: [c-")
                .replace(", me]", ", c-me]")
                .replace("[c-]", "[]"),
        );
        let cutover: Cutover = serde_saphyr::from_str(&text).expect("a Cutover");
        let plan = resolve("shop", "prod", &cutover.spec, "blue", &Offered::default()).expect("a plan");
        let of = |name: &str| plan.step(name).expect("the step").session.clone().map(|all| all.join(" "));
        let found = ["login", "me", "pay", "last", "other", "c-last"].map(of);
        let wanted = [Some(""), Some("login"), Some("login me"), Some("login me pay"), Some(""), None];
        assert_eq!(found, wanted.map(|all| all.map(str::to_owned)));
        assert_eq!(plan.keepers().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["s"]);
    }
}
