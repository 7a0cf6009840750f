//! The rule's promise in exact arithmetic, and that floating point never breaks it.

use num_bigint::BigInt;
use num_rational::BigRational;

use super::*;

fn ratio(of: i64, by: i64) -> BigRational {
    BigRational::new(BigInt::from(of), BigInt::from(by))
}

/// The stakes as they are written, not as floating point has them.
fn stakes() -> [(BigRational, BigRational); 3] {
    [(ratio(15, 100), ratio(3, 10)), (ratio(4, 10), ratio(3, 10)), (ratio(75, 100), ratio(4, 10))]
}

fn one() -> BigRational {
    ratio(1, 1)
}

fn begins(window: u64, t: u64) -> BigRational {
    let (window, t) = (window as i64, t as i64);
    if t <= window { ratio(4, 5 * window) } else { ratio(1, 5 * (t - window) * (t - window + 1)) }
}

/// The rule of [`Evidence`], in exact numbers.
#[derive(Clone)]
struct Exact {
    from_the_switch: [BigRational; 3],
    later: [BigRational; 3],
    bets: u64,
    /// What is yet to begin.
    rest: BigRational,
}

impl Exact {
    fn new() -> Self {
        let all = |of: i64| [ratio(of, 1), ratio(of, 1), ratio(of, 1)];
        Self { from_the_switch: all(1), later: all(0), bets: 0, rest: one() }
    }

    fn bet(&mut self, limit: &BigRational, window: u64, share: &BigRational) {
        self.bets += 1;
        let begins = begins(window, self.bets);
        self.rest -= &begins;
        for (i, (stake, _)) in stakes().iter().enumerate() {
            let factor = one() + stake * (share - limit) / limit;
            self.from_the_switch[i] = &self.from_the_switch[i] * &factor;
            self.later[i] = (&self.later[i] + &begins) * factor;
        }
    }

    fn level(&self) -> BigRational {
        let parts = stakes();
        let of =
            |capital: &[BigRational; 3]| parts.iter().zip(capital).map(|((_, part), c)| part * c).sum::<BigRational>();
        (of(&self.from_the_switch) + of(&self.later)) / ratio(2, 1)
    }

    /// The level with what is yet to begin: a fair game at best, and never below the level.
    fn game(&self) -> BigRational {
        self.level() + &self.rest / ratio(2, 1)
    }
}

#[test]
fn the_stakes_are_those_of_the_promise() {
    let parts: BigRational = stakes().iter().map(|(_, part)| part.clone()).sum();
    assert_eq!(parts, one(), "the parts of the capital are all of it");
    for ((stake, part), (exact_stake, exact_part)) in STAKES.iter().zip(stakes()) {
        assert_eq!(exact_stake, ratio((stake * 100.0).round() as i64, 100));
        assert_eq!(exact_part, ratio((part * 100.0).round() as i64, 100));
    }
    assert_eq!(ratio((WITHIN * 10.0).round() as i64, 10), ratio(4, 5));
    // A bet never loses more than it has.
    assert!(stakes().iter().all(|(stake, _)| *stake < one()));
}

#[test]
fn no_two_point_distribution_that_keeps_the_limit_makes_the_game_grow_in_expectation() {
    let limit = ratio(1, 10);
    // Shares of tenths; of two of them, each with every chance in tenths that keeps the mean at or below the limit. Every
    // distribution on the grid that keeps the limit is a mixture of such.
    let mut tried = 0;
    for window in [1_u64, 2, 5] {
        let paths: [&[i64]; 4] = [&[], &[10, 0, 3], &[0, 0, 0, 0], &[1, 10, 10, 2, 0, 7]];
        for path in paths {
            let mut before = Exact::new();
            path.iter().for_each(|share| before.bet(&limit, window, &ratio(*share, 10)));
            let game = before.game();
            for (low, high) in (0..=10).flat_map(|low| (low..=10).map(move |high| (low, high))) {
                for chance in 0..=10 {
                    let (of_high, of_low) = (ratio(chance, 10), ratio(10 - chance, 10));
                    if &of_high * ratio(high, 10) + &of_low * ratio(low, 10) > limit {
                        continue;
                    }
                    let after = |share: i64| {
                        let mut after = before.clone();
                        after.bet(&limit, window, &ratio(share, 10));
                        after.game()
                    };
                    let expected = of_high * after(high) + of_low * after(low);
                    assert!(expected <= game, "{window} {path:?}: {low} {high} {chance}");
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn what_is_yet_to_begin_is_never_less_than_nothing_also_beyond_the_window() {
    for window in [1, 3, 120] {
        let mut rest = one();
        for t in 1..=window + 300 {
            rest -= begins(window, t);
            assert!(rest > ratio(0, 1), "{window} {t}");
        }
        let rule = Rule::new(0.05, 0.01, window).expect("a rule");
        for t in [1, window, window + 1, window + 2, window + 300] {
            let exact = begins(window, t);
            let near =
                exact.numer().to_string().parse::<f64>().unwrap() / exact.denom().to_string().parse::<f64>().unwrap();
            assert!((rule.begins(t) - near).abs() <= near * 1e-12, "{window} {t}");
        }
    }
}

/// Seeded numbers in [0, 1).
pub(in crate::evidence) fn chance(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as f64 / (1_u64 << 31) as f64
}

#[test]
fn floating_point_is_never_above_the_exact_level_by_more_than_a_billionth() {
    for (seed, (limit, window)) in [(1, 20), (1, 1000), (1, 2), (99, 100)].into_iter().zip([1, 4, 40, 7]).enumerate() {
        let exact_limit = ratio(limit.0, limit.1);
        let rule = Rule::new(limit.0 as f64 / limit.1 as f64, 0.01, window).expect("a rule");
        let (mut exact, mut evidence, mut state) = (Exact::new(), Evidence::default(), seed as u64);
        for _ in 0..150 {
            let total = (chance(&mut state) * 50.0) as i64 + 1;
            let bad = (chance(&mut state) * 1.2 * limit.0 as f64 / limit.1 as f64 * total as f64).round() as i64;
            let share = ratio(bad.min(total), total);
            exact.bet(&exact_limit, window, &share);
            evidence.bet(&rule, bad.min(total) as f64 / total as f64);
            let bound = exact.level() * (one() + ratio(1, 1_000_000_000));
            let level = BigRational::from_float(evidence.level()).expect("a number");
            assert!(level <= bound, "{limit:?} after {}: {}", evidence.bets, evidence.level());
        }
    }
}

#[test]
fn no_input_makes_evidence_more_than_a_number_can_hold() {
    let mut state = 7;
    let wild = [0.0, 1.0, f64::NAN, f64::INFINITY, -0.0, -1.0, 1.0 + f64::EPSILON, f64::MIN_POSITIVE, 5e-324, 0.5];
    for run in 0..300 {
        let limit = [1e-12, 1e-9, 0.01, 0.5, 1.0 - f64::EPSILON / 2.0][run % 5];
        let alpha = [1e-12, 0.01, 0.99][run % 3];
        let window = [1, 2, 11_520, u64::MAX][run % 4];
        let rule = Rule::new(limit, alpha, window).expect("a rule");
        let mut evidence = Evidence::default();
        if run % 7 == 0 {
            evidence.bets = u64::MAX - 3;
        }
        for _ in 0..1500 {
            let pick = (chance(&mut state) * 14.0) as usize;
            evidence.bet(&rule, wild.get(pick).copied().unwrap_or_else(|| chance(&mut state)));
            let all = evidence.from_the_switch.iter().chain(&evidence.later);
            assert!(all.clone().all(|c| (0.0..=MOST).contains(c)), "{rule:?} {evidence:?}");
            assert!(evidence.level().is_finite() && evidence.weight(&rule).is_finite() && evidence.level() >= 0.0);
        }
    }
}
