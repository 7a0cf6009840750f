//! PURE. The default rule for shares of bad requests: bets against a limit (DESIGN §6).
//!
//! One interval at a time, the rule bets that more than `limit` of the requests are bad. Its capital stays small while the
//! release keeps its limit, and multiplies while it does not. Whoever bets fairly makes a hundred of one only once in a
//! hundred times: a release that keeps its limit is rolled back with a chance of at most `alpha`, however long it is
//! watched, at any traffic, and whatever the requests of an interval have to do with each other.

/// The stakes: which part of what a limit allows is bet, and which part of the capital bets so.
const STAKES: [(f64, f64); 3] = [(0.15, 0.3), (0.4, 0.3), (0.75, 0.4)];

/// The part of the capital of those who bet on a change that begins within the window; the rest begins beyond it. With
/// less, a release that turns wholly bad in half an hour's window would be found after five intervals instead of four.
const WITHIN: f64 = 0.8;

/// No capital is more than this: what is above would only be lost to rounding. Less capital is never in the way of the
/// bound.
const MOST: f64 = 1e18;

/// Smallest limit and chance: below, a factor would be more than a number can hold.
const LEAST: f64 = 1e-12;

/// So many intervals must have had bad requests before the rule fires.
const FEWEST_BAD: u32 = 3;

/// What is tolerated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    limit: f64,
    alpha: f64,
    window: u64,
}

impl Rule {
    /// A rule that tolerates a share of `limit`, is wrong with a chance of `alpha` at most, and watches for `window`
    /// intervals or longer. Nothing when a number makes no sense: both are at least [`LEAST`] and less than 1.
    pub fn new(limit: f64, alpha: f64, window: u64) -> Option<Self> {
        let share = |number: f64| (LEAST..1.0).contains(&number);
        (share(limit) && share(alpha)).then(|| Self { limit, alpha, window: window.max(1) })
    }

    /// What is tolerated, in (0, 1).
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// The chance of a false rollback, in (0, 1).
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// What of the capital that bets on a change for the worse begins to bet in interval `t`, from 1. All of them add up
    /// to 1 at most.
    fn begins(&self, t: u64) -> f64 {
        match t.saturating_sub(self.window) {
            0 => WITHIN / self.window as f64,
            beyond => (1.0 - WITHIN) / (beyond as f64 * (beyond as f64 + 1.0)),
        }
    }
}

/// What the bets have come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// The capital of those who bet that it is bad from the switch on.
    pub from_the_switch: [f64; 3],
    /// The capital of those who bet that it became bad later.
    pub later: [f64; 3],
    /// Intervals that were bet on.
    pub bets: u64,
    /// Those of them that had bad requests.
    pub bad: u32,
}

impl Default for Evidence {
    fn default() -> Self {
        Self { from_the_switch: [1.0; 3], later: [0.0; 3], bets: 0, bad: 0 }
    }
}

impl Evidence {
    /// Bets on an interval in which this share of the requests was bad. A share that is none (less than 0, more than 1, not
    /// a number) is not bet on: the caller knows more of why, and says so.
    pub fn bet(&mut self, rule: &Rule, share: f64) {
        if !(0.0..=1.0).contains(&share) {
            return;
        }
        self.bets = self.bets.saturating_add(1);
        self.bad = self.bad.saturating_add(u32::from(share > 0.0));
        let begins = rule.begins(self.bets);
        for (i, (stake, _)) in STAKES.iter().enumerate() {
            let factor = 1.0 + stake * (share - rule.limit) / rule.limit;
            self.from_the_switch[i] = (self.from_the_switch[i] * factor).min(MOST);
            self.later[i] = ((self.later[i] + begins) * factor).min(MOST);
        }
    }

    /// How much the capital has multiplied; 1 at the switch, at most. A fair game brings it to x or above with a chance of
    /// at most 1/x.
    pub fn level(&self) -> f64 {
        let of =
            |capital: &[f64; 3]| STAKES.iter().zip(capital).map(|((_, part), capital)| part * capital).sum::<f64>();
        0.5 * of(&self.from_the_switch) + 0.5 * of(&self.later)
    }

    /// The level as a share of the one at which the rule fires. The evidence of several triggers is averaged over all of
    /// them, and fires at 1. Nothing counts before enough intervals had bad requests.
    pub fn weight(&self, rule: &Rule) -> f64 {
        if self.bad < FEWEST_BAD { 0.0 } else { self.level() * rule.alpha }
    }

    /// Whether the rule fires on this evidence alone.
    pub fn fires(&self, rule: &Rule) -> bool {
        self.weight(rule) >= 1.0
    }

    /// How many more intervals with only bad requests it takes until the rule fires, at most `most`: alone with `part` 1 and
    /// `others` 0, else with this part of the weight beside that of others.
    pub fn more(mut self, rule: &Rule, part: f64, others: f64, most: u32) -> Option<u32> {
        for n in 0..=most {
            if part * self.weight(rule) + others >= 1.0 {
                return Some(n);
            }
            self.bet(rule, 1.0);
        }
        None
    }
}

#[cfg(test)]
#[path = "bets_exact_tests.rs"]
pub(super) mod exact;

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(limit: f64) -> Rule {
        Rule::new(limit, 0.01, 120).expect("a rule")
    }

    #[test]
    fn three_wholly_bad_intervals_are_enough_from_the_switch_on_and_four_later() {
        let rule = rule(0.05);
        let mut evidence = Evidence::default();
        assert_eq!(evidence.more(&rule, 1.0, 0.0, 10), Some(3));
        (0..60).for_each(|_| evidence.bet(&rule, 0.0));
        assert_eq!(evidence.more(&rule, 1.0, 0.0, 10), Some(4));
    }

    #[test]
    fn what_makes_no_sense_is_no_rule_and_no_bet() {
        for (limit, alpha) in [(0.0, 0.01), (1.0, 0.01), (0.05, 0.0), (0.05, 1.0), (f64::NAN, 0.01), (0.05, f64::NAN)] {
            assert_eq!(Rule::new(limit, alpha, 1), None, "{limit} {alpha}");
        }
        let mut evidence = Evidence::default();
        [f64::NAN, -0.1, 1.1, f64::INFINITY].into_iter().for_each(|share| evidence.bet(&rule(0.05), share));
        assert_eq!(evidence, Evidence::default());
    }

    #[test]
    fn what_begins_later_adds_up_to_one_at_most() {
        for window in [1, 2, 120, 11_520] {
            let rule = Rule::new(0.05, 0.01, window).expect("a rule");
            let all: f64 = (1..=window + 1_000_000).map(|t| rule.begins(t)).sum();
            assert!(all <= 1.0 + 1e-9 && all > 0.99, "{all}");
        }
    }

    #[test]
    fn no_capital_overflows() {
        let rule = rule(1e-12);
        let mut evidence = Evidence::default();
        (0..100_000).for_each(|n| evidence.bet(&rule, f64::from(n % 2)));
        assert!(evidence.level().is_finite() && evidence.fires(&rule));
    }
}
