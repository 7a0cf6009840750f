//! Stops the operator at its k-th request that writes: before it arrives, after it was applied, or after the answer was
//! delivered and before anything else is done.

/// Where the stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The request never arrives.
    Before,
    /// It is applied, and the answer is lost.
    Applied,
    /// It is applied and answered; what would have followed is not done.
    Answered,
}

/// Counts requests, and stops the operator at one of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Knife {
    /// Requests so far: status writes and effects.
    pub count: u32,
    /// At which, and how.
    pub at: Option<(u32, Cut)>,
    /// The stop is due: the caller kills the operator.
    pub fell: bool,
    /// The reply to this one takes long, so that others overtake it.
    pub slow: Option<u32>,
    /// This one is refused for good.
    pub refuse: Option<u32>,
}

impl Knife {
    /// Counts a request; how it is cut, if it is the one.
    pub fn strike(&mut self) -> Option<Cut> {
        self.count += 1;
        let cut = self.at.filter(|(k, _)| *k == self.count).map(|(_, cut)| cut);
        self.fell |= cut.is_some();
        cut
    }
}
