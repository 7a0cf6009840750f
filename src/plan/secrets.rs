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
        self.steps.iter().filter(|step| !step.action.sensitive().is_empty())
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
                "say sensitive: true",
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
