//! What was scraped of a release: counters of its pods, read as Prometheus reads them.

/// A scrape of one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Seconds after the switch.
    pub time: u32,
    /// Requests so far.
    pub total: u64,
    /// Bad ones of them.
    pub bad: u64,
}

/// Requests between two scrapes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counted {
    /// All of them.
    pub total: u64,
    /// The bad ones.
    pub bad: u64,
}

impl Counted {
    /// The share of bad ones, where there was any request.
    pub fn share(self) -> Option<f64> {
        (self.total > 0).then(|| self.bad as f64 / self.total as f64)
    }

    fn and(self, more: Self) -> Self {
        Self { total: self.total + more.total, bad: self.bad + more.bad }
    }
}

/// One pod: its scrapes, as they were and with restarts taken out, so that the increase over any time is a difference; and
/// for each slot the last scrape by then.
#[derive(Default)]
struct Pod {
    raw: Vec<Sample>,
    samples: Vec<Sample>,
    last_by: Vec<u32>,
}

impl Pod {
    fn last_by(&self, slot: usize) -> usize {
        self.last_by[slot.min(self.last_by.len() - 1)] as usize
    }

    fn between(&self, first: usize, last: usize) -> Counted {
        let (from, to) = (self.samples[first], self.samples[last]);
        Counted { total: to.total - from.total, bad: to.bad - from.bad }
    }
}

/// The counters of a release.
pub struct Series {
    pods: Vec<Pod>,
}

impl Series {
    /// Of so many pods.
    pub fn new(pods: usize) -> Self {
        Self { pods: (0..pods).map(|_| Pod::default()).collect() }
    }

    /// Begins with a scrape of zero at the switch.
    pub fn begin(&mut self, slots: usize) {
        for pod in &mut self.pods {
            let first = || vec![Sample::default()];
            *pod = Pod { raw: first(), samples: first(), last_by: Vec::with_capacity(slots + 1) };
            pod.last_by.push(0);
        }
    }

    /// The next slot of a pod, with what was scraped at its end, if it was.
    pub fn slot(&mut self, pod: usize, scraped: Option<Sample>) {
        let pod = &mut self.pods[pod];
        if let Some(sample) = scraped {
            let (so_far, before) = (pod.samples[pod.samples.len() - 1], pod.raw[pod.raw.len() - 1]);
            let more = if sample.total < before.total {
                Counted { total: sample.total, bad: sample.bad }
            } else {
                Counted { total: sample.total - before.total, bad: grown(before.bad, sample.bad) }
            };
            pod.samples.push(Sample {
                time: sample.time,
                total: so_far.total + more.total,
                bad: so_far.bad + more.bad,
            });
            pod.raw.push(sample);
        }
        pod.last_by.push(pod.samples.len() as u32 - 1);
    }

    /// Everything that was scraped.
    pub fn all(&self) -> Counted {
        self.pods.iter().map(|pod| pod.between(0, pod.samples.len() - 1)).fold(Counted::default(), Counted::and)
    }

    /// `increase` over the `window` seconds up to a slot, over all pods; nothing where no pod has two samples in it.
    pub fn increase(&self, slot: usize, slot_length: u32, window: u32) -> Option<Counted> {
        let now = slot as u32 * slot_length;
        let before = (window <= now).then(|| ((now - window) / slot_length) as usize);
        self.over(slot, |pod, _| before.map_or(0, |slot| pod.last_by(slot) + 1))
    }

    /// `irate`: between the last two samples in the `window` seconds up to a slot.
    pub fn last_increase(&self, slot: usize, slot_length: u32, window: u32) -> Option<Counted> {
        let now = slot as u32 * slot_length;
        self.over(slot, |pod, last| {
            let first = last.saturating_sub(1);
            if pod.samples[first].time + window > now { first } else { last }
        })
    }

    fn over(&self, slot: usize, first: impl Fn(&Pod, usize) -> usize) -> Option<Counted> {
        let counted = self.pods.iter().filter_map(|pod| {
            let last = pod.last_by(slot);
            let first = first(pod, last);
            (first < last).then(|| pod.between(first, last))
        });
        counted.reduce(Counted::and)
    }

    /// What the operator's query says of the interval between two slots: of each pod that was scraped in it, what its
    /// counters have grown by since their last value before. One that has less than before began anew. Nothing where no pod
    /// was scraped; the requests of one that was not are in its next interval.
    pub fn interval(&self, from: usize, to: usize) -> Option<Counted> {
        let counted = self.pods.iter().filter_map(|pod| {
            let (first, last) = (pod.last_by(from), pod.last_by(to));
            let (before, now) = (pod.raw[first], pod.raw[last]);
            (first < last).then(|| Counted { total: grown(before.total, now.total), bad: grown(before.bad, now.bad) })
        });
        counted.reduce(Counted::and)
    }
}

/// What a counter has grown by.
fn grown(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(scrapes: &[Option<(u64, u64)>]) -> Series {
        let mut series = Series::new(1);
        series.begin(scrapes.len());
        for (slot, scrape) in scrapes.iter().enumerate() {
            series.slot(0, scrape.map(|(total, bad)| Sample { time: (slot as u32 + 1) * 5, total, bad }));
        }
        series
    }

    #[test]
    fn a_restart_counts_from_zero() {
        let series = series(&[Some((10, 2)), Some((4, 1)), Some((6, 1))]);
        assert_eq!(series.all(), Counted { total: 16, bad: 3 });
    }

    #[test]
    fn requests_of_a_missed_scrape_are_in_the_next_interval() {
        let series = series(&[Some((10, 1)), Some((20, 1)), None, None, Some((50, 9)), Some((7, 1))]);
        assert_eq!(series.interval(0, 2), Some(Counted { total: 20, bad: 1 }));
        assert_eq!(series.interval(2, 4), None);
        assert_eq!(series.interval(4, 5), Some(Counted { total: 30, bad: 8 }));
        assert_eq!(series.interval(5, 6), Some(Counted { total: 7, bad: 1 }));
    }

    #[test]
    fn windows_are_open_on_the_left() {
        let series = series(&[Some((10, 0)), Some((20, 1)), Some((30, 3)), Some((40, 6))]);
        // At 20 s, over 15 s: the samples of 10, 15 and 20 s.
        assert_eq!(series.increase(4, 5, 15), Some(Counted { total: 20, bad: 5 }));
        assert_eq!(series.increase(4, 5, 5), None);
        assert_eq!(series.last_increase(4, 5, 300), Some(Counted { total: 10, bad: 3 }));
    }
}
