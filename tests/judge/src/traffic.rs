//! Traffic: what a release answers, pod by pod, and what is scraped of it. All of a replay follows from its number.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Beta, Distribution, Poisson};

use crate::cases::{Case, Shape, Trouble};
use crate::series::{Sample, Series};

/// Pods of a release.
pub const PODS: usize = 2;

/// What a rule may see of one replay.
pub struct Trace {
    /// The release under judgement.
    pub release: Series,
    /// The version before, under the same traffic at the same time: what only a comparison needs. A plain switch has none.
    pub baseline: Series,
    /// From and to when the operator is away, in seconds from the switch.
    pub away: Vec<(u32, u32)>,
}

/// The replay of this number.
pub fn replay(case: &Case, number: u64) -> Trace {
    let mut random = SmallRng::seed_from_u64(seed(case, number));
    let mut trace = Trace { release: Series::new(PODS), baseline: Series::new(PODS), away: vec![] };
    let shares = shares(case, &case.shape, &mut random);
    let load = load(case, &mut random);
    answer(case, &shares, &load, &mut random, &mut trace.release);
    // A release that keeps its limit is no worse than the version before; a bad one follows a good one.
    let before = if case.keeps { case.shape } else { Shape::Flat(case.before()) };
    let shares = self::shares(case, &before, &mut random);
    answer(case, &shares, &load, &mut random, &mut trace.baseline);
    if case.trouble == Trouble::Restarts {
        trace.away = spans(case.window, 600.0, 30, 90, &mut random);
    }
    trace
}

/// FNV-1a of the case's name, mixed with the number.
fn seed(case: &Case, number: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in case.name().bytes().chain(number.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// The expected share of bad requests in each slot.
fn shares(case: &Case, shape: &Shape, random: &mut SmallRng) -> Vec<f64> {
    let slots = case.slots();
    let before = case.before();
    let mut shares = match *shape {
        Shape::Flat(share) => vec![share; slots],
        Shape::OverDispersed { mean, rho } => {
            let (a, b) = (mean * (1.0 - rho) / rho, (1.0 - mean) * (1.0 - rho) / rho);
            let of = Beta::new(a, b).expect("a mean and a correlation in (0, 1)");
            let width = (case.hiccup / case.slot).max(1) as usize;
            let drawn: Vec<f64> = (0..slots.div_ceil(width)).map(|_| of.sample(random)).collect();
            (0..slots).map(|slot| drawn[slot / width]).collect()
        }
        Shape::Spells { mean, base, length, aligned } => spells(case, (mean, base), length, aligned, random),
        // The share follows the load: highest, at the limit, when most is asked.
        Shape::Tide(most) => (0..slots).map(|slot| most * tide(case, slot, 0.0)).collect(),
    };
    let onset = (case.onset / case.slot) as usize;
    shares.iter_mut().take(onset).for_each(|share| *share = before);
    shares
}

/// Spells in which all requests are bad, and between them a base share. Spells begin without a memory: after each moment
/// outside of one, with the same chance, which gives the mean.
fn spells(case: &Case, (mean, base): (f64, f64), length: u32, aligned: bool, random: &mut SmallRng) -> Vec<f64> {
    let bad = (mean - base) / (1.0 - base);
    // An aligned spell is as long as an interval of judgement, and begins with one.
    let step = if aligned { (case.hiccup / case.slot) as usize } else { 1 };
    let steps = (length / case.slot) as usize / step;
    let between = steps as f64 * (1.0 - bad) / bad;
    let begins = 1.0 / (1.0 + between);
    let mut shares = Vec::with_capacity(case.slots() + length as usize);
    while shares.len() < case.slots() {
        let (share, times) = if random.random_bool(begins) { (1.0, steps * step) } else { (base, step) };
        shares.extend(std::iter::repeat_n(share, times));
    }
    shares.truncate(case.slots());
    shares
}

/// How much of the rate each slot has.
fn load(case: &Case, random: &mut SmallRng) -> Vec<f64> {
    if !case.swings {
        return vec![1.0; case.slots()];
    }
    let phase = if matches!(case.shape, Shape::Tide(_)) { 0.0 } else { random.random::<f64>() };
    (0..case.slots()).map(|slot| tide(case, slot, phase)).collect()
}

/// Between a tenth and all, once in a day; in the short window once in twenty minutes.
fn tide(case: &Case, slot: usize, phase: f64) -> f64 {
    let period = if case.window > 86_400 { 86_400.0 } else { 1200.0 };
    let turns = slot as f64 * f64::from(case.slot) / period + phase;
    0.55 - 0.45 * (turns * std::f64::consts::TAU).cos()
}

/// Lets each pod answer its part, and scrapes it.
fn answer(case: &Case, shares: &[f64], load: &[f64], random: &mut SmallRng, into: &mut Series) {
    let outages = if case.trouble == Trouble::Gaps { spans(case.window, 600.0, 60, 180, random) } else { vec![] };
    let per_slot = case.rate * f64::from(case.slot) / PODS as f64;
    let every = (case.scrape / case.slot).max(1) as usize;
    into.begin(case.slots());
    for pod in 0..PODS {
        let mut now = Sample::default();
        let mut arrivals = Arrivals::default();
        // Targets are scraped at moments of their own.
        let offset = if every > 1 { random.random_range(0..every) } else { 0 };
        for slot in 0..case.slots() {
            let (bad, good) = arrivals.draw(per_slot * load[slot], shares[slot], random);
            let requests = bad + good;
            let restarts = case.trouble == Trouble::Resets && random.random_bool(f64::from(case.slot) / 300.0);
            if restarts {
                // What was counted after the last scrape is lost with the pod; it comes back in the middle of the slot.
                now = Sample { total: requests / 2, bad: bad / 2, ..now };
            } else {
                now.total += requests;
                now.bad += bad;
            }
            let time = (slot as u32 + 1) * case.slot;
            let missed = case.trouble == Trouble::Gaps
                && (random.random_bool(0.1) || outages.iter().any(|(from, to)| (*from..*to).contains(&time)));
            let due = (slot + offset) % every == 0;
            into.slot(pod, (due && !missed).then_some(Sample { time, ..now }));
        }
    }
}

/// Requests that arrive without a memory, so that bad and good ones do so independently of each other.
#[derive(Default)]
struct Arrivals {
    of: (f64, f64),
    bad: Option<Poisson<f64>>,
    good: Option<Poisson<f64>>,
}

impl Arrivals {
    /// How many bad and how many good ones there are, of so many in the mean.
    fn draw(&mut self, mean: f64, share: f64, random: &mut SmallRng) -> (u64, u64) {
        if self.of != (mean, share) {
            // A mean of 0 has no distribution, and no requests.
            *self = Self {
                of: (mean, share),
                bad: Poisson::new(mean * share).ok(),
                good: Poisson::new(mean * (1.0 - share)).ok(),
            };
        }
        let mut draw = |of: Option<Poisson<f64>>| of.map_or(0, |of| of.sample(random) as u64);
        (draw(self.bad), draw(self.good))
    }
}

/// Spans that begin at random, `mean` seconds apart, and last between `least` and `most` seconds.
fn spans(window: u32, mean: f64, least: u32, most: u32, random: &mut SmallRng) -> Vec<(u32, u32)> {
    let mut found = vec![];
    let mut at = 0.0;
    loop {
        at += -mean * (1.0 - random.random::<f64>()).ln();
        if at >= f64::from(window) {
            return found;
        }
        let length = random.random_range(least..=most);
        found.push((at as u32, at as u32 + length));
        at += f64::from(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::{self, Window};

    /// The share of bad requests in all replays of a case.
    fn share(case: &Case, replays: u64) -> f64 {
        let (mut bad, mut total) = (0, 0);
        for number in 0..replays {
            let trace = replay(case, number);
            let all = trace.release.all();
            bad += all.bad;
            total += all.total;
        }
        bad as f64 / total as f64
    }

    #[test]
    fn the_share_of_bad_requests_is_the_one_that_a_case_names() {
        for case in
            cases::all().iter().filter(|c| c.window == Window::Short.seconds() && c.rate >= 10.0 && c.onset == 0)
        {
            let wanted = match case.shape {
                Shape::Flat(share) => share,
                Shape::OverDispersed { mean, .. } | Shape::Spells { mean, .. } => mean,
                Shape::Tide(_) => continue,
            };
            let found = share(case, 400);
            assert!((found / wanted - 1.0).abs() < 0.08, "{}: {found} is not {wanted}", case.name());
        }
    }

    #[test]
    fn a_replay_follows_from_its_number() {
        let case = &cases::all()[0];
        let (first, again, other) = (replay(case, 7), replay(case, 7), replay(case, 8));
        assert_eq!(first.release.all(), again.release.all());
        assert_ne!(first.release.all(), other.release.all());
    }
}
