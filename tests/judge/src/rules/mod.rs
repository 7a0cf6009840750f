//! The rules. Each gets what was scraped, and says when it would roll back.
//!
//! Those of other tools are written from their public documentation alone, with the figures of its examples; the bound is
//! the case's limit, as that is what the comparison is about. Where a documentation is silent, what rolls back less is taken.

mod argo;
mod cutover;
mod flagger;
mod kayenta;
mod threshold;

pub use cutover::{ALPHA, bets};

use crate::cases::Case;
use crate::traffic::Trace;

/// A rule.
pub struct Rule {
    /// Its name in the results.
    pub name: &'static str,
    /// Its name on the page.
    pub title: &'static str,
    /// Where it is from, and with which figures.
    pub source: &'static str,
    /// When it rolls back, in seconds from the switch.
    pub fires: fn(&Case, &Trace) -> Option<u32>,
}

/// All rules, Cutover's own first.
pub const RULES: [Rule; 6] = [
    Rule {
        name: "cutover",
        title: "Cutover",
        source: "The default rule, α = 1 %, intervals of 15 s, each asked for 3 s after its end: the code that the operator runs.",
        fires: cutover::fires,
    },
    Rule {
        name: "threshold",
        title: "plain threshold",
        source: "Above the limit for 5 minutes without a good value between, asked every 15 s over the last minute: the \
                 bound that runbooks name, as a trigger with `sustained` has it.",
        fires: threshold::fires,
    },
    Rule {
        name: "argo",
        title: "Argo, 5 min",
        source: "Argo Rollouts, background analysis as its documentation shows it first: every 5 minutes the share of \
                 good requests by `irate` over 5 minutes; the third failed measurement aborts, and so does the fifth \
                 error in a row.",
        fires: argo::background,
    },
    Rule {
        name: "argo-1m",
        title: "Argo, 1 min",
        source: "Argo Rollouts, the documentation's second form: an interval of 60 s and a count of 5, where one failed \
                 measurement aborts (the default of `failureLimit`); the same query. It ends after five minutes.",
        fires: argo::counted,
    },
    Rule {
        name: "flagger",
        title: "Flagger",
        source: "Flagger, the documentation's tutorial for blue/green on plain Kubernetes: every 30 s the \
                 request-success-rate over one minute, 10 iterations, rolled back at the second failed check. It ends \
                 after five minutes.",
        fires: flagger::fires,
    },
    Rule {
        name: "kayenta",
        title: "Kayenta",
        source: "Kayenta, by Spinnaker's pages about the judge and best practices: a Mann-Whitney test of at least 50 \
                 points of either side (60 here), one metric, so that its score is 0 or 100 against the 75 below which a \
                 canary fails. The pages give no level; 1 % on the worse side is taken here. The baseline runs at the \
                 same time under the same traffic, which a plain switch cannot offer.",
        fires: kayenta::fires,
    },
];
