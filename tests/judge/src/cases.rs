//! What is replayed: shapes of traffic and errors, each with its name, and whether the release in it keeps its limit.

/// How many seconds a run is watched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Window {
    /// Half an hour.
    Short,
    /// Two days.
    Long,
}

impl Window {
    /// In seconds.
    pub fn seconds(self) -> u32 {
        match self {
            Self::Short => 30 * 60,
            Self::Long => 48 * 3600,
        }
    }
}

/// How the expected share of bad requests goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Always the same.
    Flat(f64),
    /// Drawn anew for each interval of judgement from a beta distribution: the requests of an interval have something to
    /// do with each other, with this correlation.
    OverDispersed { mean: f64, rho: f64 },
    /// Spells in which all requests are bad, this many seconds long, and a base share between them. Aligned ones lie
    /// within one interval of judgement.
    Spells { mean: f64, base: f64, length: u32, aligned: bool },
    /// It follows the load, and is this much at most.
    Tide(f64),
}

/// What else happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Each pod restarts every five minutes or so.
    Resets,
    /// A tenth of the scrapes is missed, and every ten minutes or so all of them for one to three minutes.
    Gaps,
    /// Every ten minutes or so the operator is away for 30 to 90 s. It asks for what it missed: a verdict comes later.
    Restarts,
}

/// What is said of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Group {
    /// A release that keeps its limit as the rule understands it: given everything before, each interval's expected share
    /// is at most the limit.
    Keeps,
    /// Bad spells that reach into another interval, or are longer than one: the mean is at most the limit, but not what
    /// is to be expected once a spell has begun. The promise does not cover it.
    Beyond,
    /// A release that is worse than its limit.
    Bad,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is, without the rate.
    pub title: String,
    /// What is said of it.
    pub group: Group,
    /// Whether the release keeps its limit at least in the mean.
    pub keeps: bool,
    /// Seconds that it is watched.
    pub window: u32,
    /// The share of bad requests that is tolerated.
    pub limit: f64,
    /// An interval of judgement, in seconds.
    pub hiccup: u32,
    /// Requests per second.
    pub rate: f64,
    /// How the share of bad requests goes.
    pub shape: Shape,
    /// When it becomes bad, in seconds from the switch; a fifth of the limit is bad before.
    pub onset: u32,
    /// What else happens.
    pub trouble: Trouble,
    /// Whether the load swings between a tenth and all of the rate.
    pub swings: bool,
    /// Seconds between two scrapes.
    pub scrape: u32,
    /// Seconds between two moments of the simulation.
    pub slot: u32,
}

impl Case {
    /// Its name in the results; the random numbers follow from it.
    pub fn name(&self) -> String {
        format!("{}, {}/s", self.title, self.rate)
    }

    /// How many slots the window has.
    pub fn slots(&self) -> usize {
        (self.window / self.slot) as usize
    }

    /// The share of bad requests of a good version.
    pub fn before(&self) -> f64 {
        self.limit / 5.0
    }

    /// How many intervals of judgement the window has.
    pub fn intervals(&self) -> u64 {
        u64::from(self.window / self.hiccup)
    }

    fn new(window: Window, rate: f64, title: String, shape: Shape) -> Self {
        let scrape = if window == Window::Long { 15 } else { 5 };
        Self {
            title,
            group: Group::Keeps,
            keeps: true,
            window: window.seconds(),
            limit: LIMIT,
            hiccup: 15,
            rate,
            shape,
            onset: 0,
            trouble: Trouble::None,
            swings: false,
            scrape,
            slot: scrape,
        }
    }

    fn flat(window: Window, rate: f64, times: f64) -> Self {
        let name = if times == 1.0 { "exactly at the limit".into() } else { format!("{times} × the limit") };
        Self::new(window, rate, name, Shape::Flat(LIMIT * times))
    }

    fn spells(window: Window, rate: f64, length: u32, aligned: bool) -> Self {
        let how = if aligned { ", each within an interval" } else { "" };
        let name = format!("all bad for {length} s now and then, at the limit in the mean{how}");
        let shape = Shape::Spells { mean: LIMIT, base: 0.0, length, aligned };
        let case = Self::new(window, rate, name, shape);
        if aligned { case } else { case.beyond() }
    }

    fn with(self, trouble: Trouble, what: &str) -> Self {
        let title = format!("{}, {what}", self.title);
        Self { trouble, title, ..self }
    }

    fn beyond(self) -> Self {
        Self { group: Group::Beyond, ..self }
    }

    fn bad(rate: f64, share: f64, onset: u32) -> Self {
        let when = if onset == 0 { "from the switch".to_owned() } else { format!("after {} min", onset / 60) };
        let name = format!("{}\u{202f}% bad {when}", (share * 1000.0).round() / 10.0);
        let case = Self::new(Window::Short, rate, name, Shape::Flat(share));
        Self { group: Group::Bad, keeps: false, onset, ..case }
    }
}

/// The limit, where a case names no other: the seeds' bound.
pub const LIMIT: f64 = 0.05;
/// Requests per second of the cases that go through all of them.
pub const RATES: [f64; 6] = [0.1, 0.5, 1.0, 3.0, 10.0, 100.0];
/// Shares of bad requests of the releases that are worse than the limit: 1.5, 2, 4, 10 and 20 times of it.
pub const BAD: [f64; 5] = [0.075, 0.1, 0.2, 0.5, 1.0];
/// When a release becomes bad that does so later, in seconds.
pub const LATER: u32 = 600;

/// All cases.
pub fn all() -> Vec<Case> {
    let mut all = vec![];
    for window in [Window::Short, Window::Long] {
        keeping(window, &mut all);
        beyond(window, &mut all);
    }
    for onset in [0, LATER] {
        for share in BAD {
            all.extend(RATES.map(|rate| Case::bad(rate, share, onset)));
        }
    }
    for (trouble, what) in TROUBLES {
        for rate in [1.0, 10.0] {
            all.push(Case::bad(rate, 0.2, 0).with(trouble, what));
        }
    }
    all
}

const TROUBLES: [(Trouble, &str); 3] =
    [(Trouble::Resets, "pods restart"), (Trouble::Gaps, "scrapes missing"), (Trouble::Restarts, "operator restarts")];

/// Releases that keep their limit. Over two days there are fewer rates: those at which the short window has its extremes.
fn keeping(window: Window, all: &mut Vec<Case>) {
    let short = window == Window::Short;
    let few: &[f64] = if short { &[0.1, 1.0, 10.0, 100.0] } else { &[1.0] };
    let rates: &[f64] = if short { &RATES } else { &[0.1, 1.0, 10.0, 100.0] };
    for times in [0.2, 0.9] {
        let rates = if short { rates } else { &rates[1..2] };
        all.extend(rates.iter().map(|rate| Case::flat(window, *rate, times)));
    }
    all.extend(rates.iter().map(|rate| Case::flat(window, *rate, 1.0)));
    for limit in [0.01, 0.2] {
        let rates: &[f64] = if short { few } else { &[] };
        all.extend(rates.iter().map(|rate| {
            let name = format!("exactly at a limit of {}\u{202f}%", limit * 100.0);
            Case { limit, ..Case::new(window, *rate, name, Shape::Flat(limit)) }
        }));
    }
    for rho in [0.01, 0.1, 0.3] {
        let shape = Shape::OverDispersed { mean: LIMIT, rho };
        all.extend(
            few.iter().map(|rate| {
                Case::new(window, *rate, format!("over-dispersed, ρ = {rho}, exactly at the limit"), shape)
            }),
        );
    }
    for rate in few {
        all.push(Case::spells(window, *rate, 15, true));
    }
    let two: &[f64] = if short { &[1.0, 10.0] } else { &[1.0] };
    for rate in two.iter().copied() {
        let shape =
            Shape::Spells { mean: LIMIT / 2.0, base: LIMIT / 5.0, length: if short { 5 } else { 15 }, aligned: !short };
        let spikes = if short { "a spike of 5 s now and then" } else { "a spike of 15 s now and then" };
        all.push(Case::new(window, rate, format!("{spikes}, half the limit in the mean"), shape));
        let name = "the load swings between 10\u{202f}% and all, exactly at the limit";
        all.push(Case { swings: true, ..Case::new(window, rate, name.into(), Shape::Flat(LIMIT)) });
        let name = "the share follows a load that swings, at the limit when it is high";
        all.push(Case { swings: true, ..Case::new(window, rate, name.into(), Shape::Tide(LIMIT)) });
        for (trouble, what) in TROUBLES {
            all.push(Case::flat(window, rate, 1.0).with(trouble, what));
        }
    }
    if short {
        all.extend([1.0, 10.0].map(|rate| {
            let case = Case::flat(window, rate, 1.0);
            Case { scrape: 15, title: format!("{}, scraped every 15 s", case.title), ..case }
        }));
    }
}

/// Bad spells that do not lie within one interval.
fn beyond(window: Window, all: &mut Vec<Case>) {
    // Spells begin and end within intervals: the moments are short.
    let (lengths, rates, slot): (&[u32], &[f64], u32) = match window {
        Window::Short => (&[5, 10, 15, 30, 60], &[1.0, 10.0], 1),
        Window::Long => (&[5, 15, 30], &[1.0], 5),
    };
    for length in lengths {
        all.extend(rates.iter().map(|rate| Case { slot, scrape: 5, ..Case::spells(window, *rate, *length, false) }));
    }
    // What helps: half of the bad requests, or intervals that are longer than the spells.
    for rate in rates {
        let title = "all bad for 15 s now and then, half the limit in the mean".to_owned();
        let shape = Shape::Spells { mean: LIMIT / 2.0, base: 0.0, length: 15, aligned: false };
        all.push(Case { slot, scrape: 5, ..Case::new(window, *rate, title, shape) }.beyond());
        all.extend([30, 60].map(|hiccup| {
            let case = Case::spells(window, *rate, 15, false);
            let title = format!("{}, intervals of {hiccup} s", case.title);
            Case { slot, scrape: 5, hiccup, title, ..case }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(|c| (c.window, c.name())).collect();
        assert_eq!(names.len(), all.len());
        assert!(all.iter().all(|c| !c.title.contains(';')), "what the results are separated by");
    }
}
