//! PURE. What the default rule could see: how soon it fires at so many requests per second and so large a share of bad ones.
//! Found by playing it with seeded chance, so that the same question has the same answer.

use crate::api::duration::Duration;
use crate::api::trigger::{Severity, Trigger, Watched};
use crate::plan::PlanObserve;

use super::bets::{Evidence, Rule};
pub use super::query::rate;
use super::{part, rule};

/// Runs that are played for a median: an odd number.
const RUNS: u64 = 41;
/// Most intervals that are played: more of them are no answer that anybody waits for.
const MOST: u64 = 1000;

/// Requests per second that are shown.
pub const RATES: [f64; 4] = [0.1, 1.0, 10.0, 100.0];

/// What a trigger of the default rule could see.
#[derive(Clone, Debug, PartialEq)]
pub struct Power {
    /// Shares of bad requests: twice, four and ten times the limit, and all; those below 1.
    pub shares: Vec<f64>,
    /// For each of [`RATES`], how soon each share is found, counted from the switch, in half of the runs; none where it is
    /// not within the window.
    pub found: Vec<Vec<Option<Duration>>>,
    /// It could not even find ten times its limit, or all requests failing, with as many requests as one may wish.
    pub blind: bool,
}

/// What a trigger could see; none where it has another rule.
pub fn of(trigger: &Trigger, observe: &PlanObserve) -> Option<Power> {
    let (rule, part, interval) = set(trigger, observe)?;
    let window = (observe.for_.as_millis() / interval.as_millis().max(1)).min(MOST);
    let mut shares: Vec<f64> = [2.0, 4.0, 10.0].iter().map(|n| n * rule.limit()).filter(|s| *s < 1.0).collect();
    shares.push(1.0);
    let times = |n: u64| Duration::from_millis(interval.as_millis().saturating_mul(n));
    let found = |rate: &f64| {
        let requests = rate * interval.std().as_secs_f64();
        shares.iter().map(|share| median(&rule, part, requests, *share, window).map(times)).collect()
    };
    let found = RATES.iter().map(found).collect();
    Some(Power { found, blind: soonest(&rule, part, tenfold(&rule)).is_none_or(|n| n > window), shares })
}

/// Why a trigger could not find ten times its limit in so many intervals with requests; none where it could. With so
/// many requests in all of them, where that is known: else with as many as one may wish.
pub fn blind(trigger: &Trigger, observe: &PlanObserve, intervals: u64, requests: Option<f64>) -> Option<String> {
    let (rule, part, interval) = set(trigger, observe)?;
    let share = tenfold(&rule);
    let of_each = requests.map(|requests| requests / (intervals.max(1) as f64));
    let within = |most: u64| match of_each {
        Some(requests) => median(&rule, part, requests, share, most),
        None => soonest(&rule, part, share).filter(|n| *n <= most),
    };
    if within(intervals.min(MOST)).is_some() {
        return None;
    }
    let needed = within(MOST).map_or_else(|| format!("more than {MOST}"), |n| n.to_string());
    let seconds = interval.std().as_secs_f64();
    let rate = of_each.map(|requests| format!(" at {} requests/s", rounded(requests / seconds))).unwrap_or_default();
    Some(format!(
        "trigger {} cannot find {} bad requests in {intervals} intervals of {interval}{rate}: it needs {needed} with requests",
        trigger.name,
        super::percent(share)
    ))
}

/// The same of the whole window, before anything is seen, at a rate of requests per second where that is known.
pub fn blind_window(trigger: &Trigger, observe: &PlanObserve, rate: Option<f64>) -> Option<String> {
    let interval = trigger.every?;
    let intervals = observe.for_.as_millis() / interval.as_millis().max(1);
    let requests = rate.filter(|rate| rate.is_finite() && *rate >= 0.0);
    let requests = requests.map(|rate| rate * interval.std().as_secs_f64() * intervals as f64);
    blind(trigger, observe, intervals, requests)
}

/// Two digits that count.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.1e}").parse().unwrap_or(rate)
}

fn set(trigger: &Trigger, observe: &PlanObserve) -> Option<(Rule, f64, Duration)> {
    let Ok(Watched::Metric(metric)) = trigger.watches.one() else { return None };
    let part = if trigger.severity.unwrap_or_default() == Severity::Rollback { part(observe) } else { 1.0 };
    Some((rule(trigger, metric, observe)?, part, trigger.every?))
}

fn tenfold(rule: &Rule) -> f64 {
    (10.0 * rule.limit()).min(1.0)
}

/// With how many intervals of exactly this share it fires.
fn soonest(rule: &Rule, part: f64, share: f64) -> Option<u64> {
    let mut evidence = Evidence::default();
    (1..=MOST).find(|_| {
        evidence.bet(rule, share);
        part * evidence.weight(rule) >= 1.0
    })
}

/// After how many intervals half of the runs have fired.
fn median(rule: &Rule, part: f64, requests: f64, share: f64, window: u64) -> Option<u64> {
    let mut fired: Vec<Option<u64>> = (0..RUNS).map(|seed| play(rule, part, requests, share, window, seed)).collect();
    // None comes first: it is never.
    fired.sort_by_key(|n| n.unwrap_or(u64::MAX));
    fired[(RUNS / 2) as usize]
}

fn play(rule: &Rule, part: f64, requests: f64, share: f64, window: u64, seed: u64) -> Option<u64> {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut evidence = Evidence::default();
    (1..=window).find(|_| {
        let (good, bad) = (chance.poisson(requests * (1.0 - share)), chance.poisson(requests * share));
        if good + bad > 0.0 {
            evidence.bet(rule, bad / (good + bad));
        }
        part * evidence.weight(rule) >= 1.0
    })
}

/// Seeded chance (SplitMix64).
struct Chance(u64);

impl Chance {
    /// In (0, 1].
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + f64::EPSILON / 4.0
    }

    /// How many of what happens `mean` times on average; a normal distribution stands for many.
    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 30.0 {
            let normal = (-2.0 * self.next().ln()).sqrt() * (std::f64::consts::TAU * self.next()).cos();
            return (mean + mean.sqrt() * normal).round().max(0.0);
        }
        let (bound, mut product, mut n) = ((-mean).exp(), self.next(), 0.0);
        while product > bound {
            product *= self.next();
            n += 1.0;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actions::fixtures::Fixture;

    fn power(limit: &str, seconds: u64, more: usize) -> (Power, Option<String>) {
        let trigger = |n: usize| {
            json!({"name": format!("t{n}"), "every": "15s", "metric": {
                "errors": "e", "total": "t", "limit": limit, "hiccup": "15s", "alpha": "0.01"}})
        };
        let mut observe = Fixture::new().plan.observe;
        observe.for_ = Duration::from_secs(seconds);
        observe.triggers = (0..=more).map(|n| serde_json::from_value(trigger(n)).expect("a trigger")).collect();
        let first = &observe.triggers[0];
        (of(first, &observe).expect("power"), blind_window(first, &observe, None))
    }

    #[test]
    fn more_requests_and_worse_releases_are_found_sooner() {
        let (found, blind) = power("0.05", 1800, 0);
        assert_eq!((found.shares.as_slice(), blind, found.blind), (&[0.1, 0.2, 0.5, 1.0][..], None, false));
        let seconds = |rate: usize, share: usize| found.found[rate][share].map(|d| d.as_millis() / 1000);
        assert_eq!(seconds(1, 3), Some(45), "all requests failing, at one a second");
        assert!(seconds(0, 3).is_some_and(|s| s <= 60), "{found:?}");
        assert!(seconds(1, 1).is_some_and(|s| s <= 120), "20 % at one a second: {found:?}");
        assert_eq!(seconds(0, 0), None, "a doubling at a request in ten seconds");
        for rate in 1..RATES.len() {
            let slower = found.found[rate - 1].iter().map(|d| d.unwrap_or(Duration::from_mins(9999)));
            assert!(found.found[rate].iter().map(|d| d.unwrap_or(Duration::from_mins(9999))).le(slower), "{found:?}");
        }
        assert_eq!(power("0.05", 1800, 0), power("0.05", 1800, 0), "the same question has the same answer");
    }

    #[test]
    fn a_window_that_could_find_nothing_is_said_to() {
        let (found, blind) = power("0.05", 30, 0);
        assert!(found.blind, "{found:?}");
        let blind = blind.expect("said");
        assert!(blind.contains("50 %") && blind.contains("in 2 intervals of 15s"), "{blind}");
        assert_eq!(power("0.05", 60, 0).1, None);
        // A twentieth of the chance wants twenty times the evidence.
        assert!(power("0.01", 60, 19).0.blind && !power("0.01", 60, 0).0.blind);
    }

    #[test]
    fn a_window_that_could_find_nothing_at_its_rate_is_said_to() {
        let said = |seconds: u64, rate: f64| {
            let mut observe = Fixture::new().plan.observe;
            observe.for_ = Duration::from_secs(seconds);
            let metric = json!({"errors": "e", "total": "t", "limit": "0.01", "hiccup": "15s", "alpha": "0.01"});
            let t = json!({"name": "t", "every": "15s", "metric": metric});
            observe.triggers = vec![serde_json::from_value(t).expect("a trigger")];
            blind_window(&observe.triggers[0], &observe, Some(rate))
        };
        let text = said(300, 0.02).expect("a request in 50 s is too few");
        assert!(text.contains("10 %") && text.contains("in 20 intervals of 15s at 0.02 requests/s"), "{text}");
        assert_eq!(said(300, 100.0), None);
        // More time makes up for fewer requests, and nothing for none.
        assert_eq!((said(14_400, 0.02).is_some(), said(120, 0.05).is_some()), (false, true));
        assert!(said(14_400, 0.0).is_some_and(|text| text.contains("more than 1000")));
        assert_eq!(said(300, f64::NAN), None, "a rate that is none is not known");
    }
}
