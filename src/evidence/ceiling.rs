//! PURE. How low the share of bad requests is, with 99 % confidence: the default rule's bets turned round. For each
//! candidate, a capital bets that the share is lower; one that has made a hundred of one says so.

/// The shares that may be said.
pub const CANDIDATES: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5];

/// The part of what a candidate allows that is bet.
const STAKE: f64 = 0.75;

/// A fair game makes this of one with a chance of 1 % at most.
const ENOUGH: f64 = 100.0;

/// The capital of each candidate. One that has enough keeps it: what has been shown stays shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceiling(pub [f64; 13]);

impl Default for Ceiling {
    fn default() -> Self {
        Self([1.0; 13])
    }
}

impl Ceiling {
    /// Bets on an interval in which this share of the requests was bad, in [0, 1]; any other is not bet on.
    pub fn bet(&mut self, share: f64) {
        if !(0.0..=1.0).contains(&share) {
            return;
        }
        for (capital, candidate) in self.0.iter_mut().zip(CANDIDATES).filter(|(capital, _)| **capital < ENOUGH) {
            // With a share of 1 a quarter is left: nothing is below 0.
            *capital = (*capital * (1.0 + STAKE * (candidate - share) / (1.0 - candidate))).clamp(0.0, ENOUGH);
        }
    }

    /// The lowest candidate that the share is below, with 99 % confidence.
    pub fn below(&self) -> Option<f64> {
        self.0.iter().zip(CANDIDATES).find(|(capital, _)| **capital >= ENOUGH).map(|(_, candidate)| candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::super::bets::exact::chance;
    use super::*;

    fn after(intervals: usize, share: f64) -> Option<f64> {
        let mut ceiling = Ceiling::default();
        (0..intervals).for_each(|_| ceiling.bet(share));
        ceiling.below()
    }

    #[test]
    fn the_longer_it_is_good_the_lower_the_ceiling() {
        assert_eq!(after(5, 0.0), None);
        assert_eq!((after(20, 0.0), after(120, 0.0), after(2000, 0.0)), (Some(0.3), Some(0.05), Some(0.005)));
        assert!(after(2000, 0.04).is_some_and(|share| share > 0.04));
        let mut ceiling = Ceiling::default();
        (0..40).for_each(|_| ceiling.bet(0.0));
        let shown = ceiling.below();
        (0..40).for_each(|_| ceiling.bet(1.0));
        assert_eq!(ceiling.below(), shown, "what has been shown stays shown");
    }

    #[test]
    fn it_is_wrong_once_in_a_hundred_times_at_most() {
        let mut state = 3;
        let mut wrong = 0;
        for _ in 0..2000 {
            let mut ceiling = Ceiling::default();
            // A tenth of the intervals is half bad: the share is 5 %.
            (0..400).for_each(|_| ceiling.bet(if chance(&mut state) < 0.1 { 0.5 } else { 0.0 }));
            wrong += usize::from(ceiling.below().is_some_and(|share| share <= 0.05));
        }
        assert!(wrong <= 20, "{wrong} of 2000");
    }
}
