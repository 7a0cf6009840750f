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

/// One pod: its scrapes with restarts taken out, so that the increase over any time is a difference; and for each slot the
/// last scrape by then.
#[derive(Default)]
struct Pod {
    samples: Vec<Sample>,
    last_by: Vec<u32>,
    raw: Sample,
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
            *pod = Pod { samples: vec![Sample::default()], last_by: Vec::with_capacity(slots + 1), ..Pod::default() };
            pod.last_by.push(0);
        }
    }

    /// The next slot of a pod, with what was scraped at its end, if it was.
    pub fn slot(&mut self, pod: usize, scraped: Option<Sample>) {
        let pod = &mut self.pods[pod];
        if let Some(sample) = scraped {
            let so_far = pod.samples[pod.samples.len() - 1];
            // A counter that went down has begun anew.
            let more = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
            let anew = sample.total < pod.raw.total;
            let bad = if anew { sample.bad } else { more(sample.bad, pod.raw.bad) };
            pod.samples.push(Sample {
                time: sample.time,
                total: so_far.total + more(sample.total, pod.raw.total),
                bad: so_far.bad + bad,
            });
            pod.raw = sample;
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

    /// Where reading begins.
    pub fn cursor(&self) -> Vec<usize> {
        vec![0; self.pods.len()]
    }

    /// What was counted since the cursor, which moves on; nothing where a pod has no new sample: what is missing might have
    /// been the good or the bad ones.
    pub fn since(&self, cursor: &mut [usize], slot: usize) -> Option<Counted> {
        let mut counted = Some(Counted::default());
        for (pod, from) in self.pods.iter().zip(cursor) {
            let last = pod.last_by(slot);
            counted = counted.filter(|_| last > *from).map(|so_far| so_far.and(pod.between(*from, last)));
            *from = last;
        }
        counted
    }
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
    fn disjoint_intervals_are_read_once_and_gaps_not_at_all() {
        let series = series(&[Some((10, 1)), Some((20, 1)), None, None, Some((50, 9))]);
        let mut cursor = series.cursor();
        assert_eq!(series.since(&mut cursor, 2), Some(Counted { total: 20, bad: 1 }));
        assert_eq!(series.since(&mut cursor, 4), None);
        assert_eq!(series.since(&mut cursor, 5), Some(Counted { total: 30, bad: 8 }));
        assert_eq!(series.since(&mut cursor, 5), None);
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
