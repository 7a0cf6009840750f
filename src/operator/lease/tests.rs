//! Candidates against a Lease in memory, with moments that are only numbers.

use super::*;

/// The Lease as an API server holds it.
#[derive(Default)]
struct Store {
    lease: Option<Lease>,
    version: u64,
}

impl Store {
    /// Carries out a write of the candidate of this name; `None`: refused.
    fn write(&mut self, identity: &str, write: &Write) -> Option<Lease> {
        let mut lease = match (write, &self.lease) {
            (Write::Take(wanted), now) if version(wanted) == now.as_ref().and_then(version) => (**wanted).clone(),
            (Write::Renew(time), Some(now)) if holder(now) == identity => {
                let spec = now.spec.clone().map(|s| LeaseSpec { renew_time: Some(time.clone()), ..s });
                Lease { spec, ..now.clone() }
            }
            _ => return None,
        };
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        Some(lease)
    }

    fn give_back(&mut self, identity: &str) {
        self.version += 1;
        if let Some(lease) = self.lease.as_mut().filter(|l| holder(l) == identity) {
            lease.metadata.resource_version = Some(self.version.to_string());
            lease.spec.get_or_insert_default().holder_identity = Some(String::new());
        }
    }
}

fn at(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

/// The clock on the wall stands still: each write must be known from the others all the same.
const WALL: Timestamp = Timestamp::UNIX_EPOCH;

/// The write that is due, carried out at once, and its answer.
fn wrote(c: &mut Candidate, store: &mut Store, now: Instant) -> Change {
    let Some(write) = c.write(now, WALL) else { return Change::None };
    let identity = c.identity().to_owned();
    match store.write(&identity, &write) {
        Some(lease) => c.saw(Some(lease), now),
        None => {
            c.failed(now);
            Change::None
        }
    }
}

fn renewed(start: Instant, ms: u64, first: bool) -> Change {
    Change::Renewed { until: at(start, ms) + WORTH, first }
}

fn three() -> (Candidate, Candidate, Store, Instant) {
    (Candidate::new("l", "a"), Candidate::new("l", "b"), Store::default(), Instant::now())
}

#[test]
fn nothing_is_written_before_the_lease_was_looked_at() {
    let (mut a, _, mut store, start) = three();
    assert_eq!(a.due(start), None);
    assert!(a.write(start, WALL).is_none());
    assert_eq!(a.saw(None, start), Change::None);
    assert_eq!(a.due(start), Some(start), "there is none: at once");
    assert_eq!(wrote(&mut a, &mut store, start), renewed(start, 0, true));
    assert!(a.leads());
    assert_eq!(a.due(start), Some(start + RENEW));
    let spec = store.lease.and_then(|l| l.spec).expect("a spec");
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_duration_seconds), (Some("a"), Some(3)));
}

#[test]
fn a_follower_counts_from_the_last_change_it_saw_and_not_from_what_stands_in_the_lease() {
    let (mut a, mut b, mut store, start) = three();
    a.saw(None, start);
    assert_eq!(wrote(&mut a, &mut store, start), renewed(start, 0, true));
    b.saw(store.lease.clone(), at(start, 200));
    assert_eq!(b.due(start), Some(at(start, 3200)), "later than the holder stops writing");
    assert_eq!(wrote(&mut a, &mut store, at(start, 1000)), renewed(start, 1000, false));
    b.saw(store.lease.clone(), at(start, 1100));
    assert_eq!(b.due(start), Some(at(start, 4100)));
    // The same version again, from a list, is no sign of life.
    b.saw(store.lease.clone(), at(start, 4000));
    assert_eq!(b.due(start), Some(at(start, 4100)));
}

#[test]
fn one_that_missed_a_renewal_cannot_take() {
    let (mut a, mut b, mut store, start) = three();
    a.saw(None, start);
    wrote(&mut a, &mut store, start);
    b.saw(store.lease.clone(), start);
    // And b's watch is dead.
    assert_eq!(wrote(&mut a, &mut store, at(start, 1000)), renewed(start, 1000, false));
    assert_eq!(wrote(&mut b, &mut store, at(start, 3000)), Change::None);
    b.saw(store.lease.clone(), at(start, 3010));
    assert!(!b.leads());
    assert_eq!(b.due(at(start, 3010)), Some(at(start, 6010)));
}

#[test]
fn a_holder_that_sees_another_has_lost_and_a_late_event_of_its_own_is_none() {
    let (mut a, mut b, mut store, start) = three();
    a.saw(None, start);
    wrote(&mut a, &mut store, start);
    let old = store.lease.clone();
    b.saw(old.clone(), start);
    assert_eq!(wrote(&mut b, &mut store, at(start, 3000)), renewed(start, 3000, true));
    assert_eq!(b.saw(old, at(start, 3001)), Change::None, "an event from before");
    assert!(b.leads());
    assert_eq!(a.saw(store.lease.clone(), at(start, 9000)), Change::Lost { to: "b".into() });
    assert!(!a.leads());
    assert_eq!(a.due(at(start, 9000)), Some(at(start, 12000)));
    assert_eq!(store.lease.and_then(|l| l.spec).and_then(|s| s.lease_transitions), Some(2));
}

#[test]
fn a_lease_given_back_is_taken_at_once_and_a_deleted_one_is_not() {
    let (mut a, mut b, mut store, start) = three();
    a.saw(None, start);
    wrote(&mut a, &mut store, start);
    b.saw(store.lease.clone(), start);
    b.saw(None, at(start, 100));
    assert_eq!(b.due(start), Some(at(start, 3100)), "who holds it may not know yet");
    a.saw(None, at(start, 100));
    assert_eq!(a.due(at(start, 100)), Some(at(start, 100)), "the holder makes it anew");
    store.lease = None;
    assert_eq!(wrote(&mut a, &mut store, at(start, 100)), renewed(start, 100, false));
    b.saw(store.lease.clone(), at(start, 110));
    store.give_back("a");
    a.resigned();
    b.saw(store.lease.clone(), at(start, 120));
    assert_eq!(wrote(&mut b, &mut store, at(start, 120)), renewed(start, 120, true));
}

#[test]
fn whatever_shows_a_write_of_ours_renews() {
    let (mut a, mut b, mut store, start) = three();
    a.saw(None, start);
    // The first answers are lost: the watch shows that it leads.
    let take = a.write(start, WALL).expect("due");
    store.write("a", &take);
    assert_eq!(a.saw(store.lease.clone(), at(start, 100)), renewed(start, 0, true));
    // Two are under way; the second arrives first, and the first one's answer comes last.
    let first = a.write(at(start, 1000), WALL).expect("due");
    assert_eq!(a.due(at(start, 1000)), Some(at(start, 1500)), "it need not be answered before the next");
    let second = a.write(at(start, 1500), WALL).expect("due");
    store.write("a", &second).expect("still the holder");
    assert_eq!(a.saw(store.lease.clone(), at(start, 1600)), renewed(start, 1500, false));
    assert_eq!(a.due(at(start, 1600)), Some(at(start, 2500)), "the last one is answered");
    let late = store.write("a", &first).expect("still the holder");
    assert_eq!(a.saw(Some(late), at(start, 1700)), Change::None, "older than what is known");
    // One that is carried out when it is worth nothing any more.
    let third = a.write(at(start, 2500), WALL).expect("due");
    let late = store.write("a", &third).expect("still the holder");
    assert_eq!(a.saw(Some(late.clone()), at(start, 5200)), Change::None);
    assert!(a.write(at(start, 5200), WALL).is_none(), "lapsed: a candidate like the others");
    assert_eq!(a.due(at(start, 5200)), Some(at(start, 8200)));
    b.saw(Some(late), at(start, 5100));
    assert_eq!(wrote(&mut b, &mut store, at(start, 8100)), renewed(start, 8100, true));
    assert!(store.write("a", &Write::Renew(MicroTime(WALL))).is_none(), "not the holder any more");
}

#[test]
fn one_that_lapsed_takes_what_nobody_took() {
    let (mut a, _, mut store, start) = three();
    a.saw(None, start);
    wrote(&mut a, &mut store, start);
    assert_eq!(a.due(at(start, 2600)), Some(at(start, 3000)));
    assert_eq!(wrote(&mut a, &mut store, at(start, 3000)), renewed(start, 3000, false));
    assert_eq!(store.lease.and_then(|l| l.spec).and_then(|s| s.lease_transitions), Some(1));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// To the API server.
    Way,
    /// Back from it.
    WayBack,
}

/// A write under way.
struct Call {
    by: usize,
    write: Write,
    sent: Instant,
    part: Part,
    /// When that part is over; `None`: it never gets there.
    over: Option<Instant>,
    /// How long the answer takes; `None`: it is lost.
    back: Option<Duration>,
    /// Its sender has not given it up.
    awaited: bool,
    answer: Option<Lease>,
}

struct Process {
    candidate: Candidate,
    until: Option<Instant>,
    frozen: Instant,
    /// How many candidates have become leaders.
    took: u32,
}

impl Process {
    fn saw(&mut self, lease: Option<Lease>, now: Instant) {
        match self.candidate.saw(lease, now) {
            Change::Renewed { until, first } => {
                self.until = Some(until);
                self.took += u32::from(first);
            }
            Change::Lost { .. } => self.until = None,
            Change::None => {}
        }
    }
}

/// Processes, and what is under way between them and the API server. Its steps are 20 ms.
struct Cluster {
    start: Instant,
    store: Store,
    /// Every version there has been.
    history: Vec<Option<Lease>>,
    all: Vec<Process>,
    calls: Vec<Call>,
}

impl Cluster {
    fn new(names: &[&str]) -> Self {
        let start = Instant::now();
        let new = |n: &&str| Process { candidate: Candidate::new("l", n), until: None, frozen: start, took: 0 };
        let all = names.iter().map(new).collect();
        Self { start, store: Store::default(), history: vec![None], all, calls: vec![] }
    }

    /// One more step; `road` says how long a write of this candidate takes there and back.
    fn step(&mut self, now: Instant, mut road: impl FnMut(usize) -> (Option<Duration>, Option<Duration>)) {
        for call in &mut self.calls {
            if call.part == Part::Way && call.over.is_some_and(|over| over <= now) {
                call.answer = self.store.write(self.all[call.by].candidate.identity(), &call.write);
                if call.answer.is_some() {
                    self.history.push(call.answer.clone());
                }
                (call.part, call.over) = (Part::WayBack, call.back.map(|back| now + back));
            }
        }
        for (by, p) in self.all.iter_mut().enumerate().filter(|(_, p)| p.frozen <= now) {
            for call in self.calls.iter_mut().filter(|call| call.by == by && call.awaited) {
                let late = now >= call.sent + WORTH;
                let answered = call.part == Part::WayBack && call.over.is_some_and(|over| over <= now);
                if !late && !answered {
                    continue;
                }
                // What is given up may still be carried out.
                call.awaited = false;
                let shown = match call.answer.take() {
                    Some(lease) if !late => Some(lease),
                    _ => {
                        p.candidate.failed(now);
                        // It is read after a refusal.
                        self.store.lease.clone().filter(|_| !late)
                    }
                };
                if let Some(lease) = shown {
                    p.saw(Some(lease), now);
                }
            }
            if let Some(write) = p.candidate.write(now, WALL) {
                let (way, back) = road(by);
                let over = way.map(|way| now + way);
                self.calls.push(Call {
                    by,
                    write,
                    sent: now,
                    part: Part::Way,
                    over,
                    back,
                    awaited: true,
                    answer: None,
                });
            }
        }
        self.calls.retain(|call| call.awaited || (call.part == Part::Way && call.over.is_some()));
        let holders = self.all.iter().filter(|p| p.until.is_some_and(|until| now < until)).count();
        assert!(holders <= 1, "{holders} may write after {:?}", now - self.start);
    }

    /// This version of the Lease is shown to a candidate.
    fn show(&mut self, by: usize, version: usize, now: Instant) {
        let lease = self.history.get(version).cloned().flatten();
        let p = &mut self.all[by];
        if lease.is_some() || self.store.lease.is_none() {
            p.saw(lease, now);
        }
    }
}

/// Three candidates whose watches lag and go back, whose writes overlap, overtake each other, get lost or are carried out long
/// after they were given up, whose answers are lost, and which freeze: at no moment may two of them write, and somebody
/// leads again in the end.
#[test]
fn at_no_moment_do_two_hold() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    let mut takes = 0;
    for _ in 0..200 {
        let mut c = Cluster::new(&["a", "b", "c"]);
        for step in 0..2400_u64 {
            let now = at(c.start, step * 20);
            // In the last sixteen seconds everything works.
            let calm = step > 1600;
            for by in 0..3 {
                if calm {
                    c.all[by].frozen = c.start;
                } else if random(200) == 0 {
                    c.all[by].frozen = at(now, random(8000));
                }
                if c.all[by].frozen <= now && (calm || random(4) == 0) {
                    let newest = c.history.len() - 1;
                    let behind = if calm { 0 } else { random(3) as usize * random(3) as usize };
                    c.show(by, newest.saturating_sub(behind), now);
                }
            }
            c.step(now, |_| {
                let mut part = || match random(10) {
                    _ if calm => Some(Duration::ZERO),
                    0 => None,
                    1..=5 => Some(Duration::from_millis(random(200))),
                    _ => Some(Duration::from_millis(random(6000))),
                };
                (part(), part())
            });
        }
        assert_eq!(c.all.iter().filter(|p| p.candidate.leads()).count(), 1);
        takes += c.all.iter().map(|p| p.took).sum::<u32>();
    }
    assert!(takes > 400, "only {takes} changes of the leader were tried");
}

/// How long nobody could write, from the first second on, while each write of `a` took so long; who leads in the end; and how
/// often that changed. With a follower whose road is good.
fn slow(way: u64, back: u64, before: u64) -> (Duration, String, u32) {
    let mut c = Cluster::new(&["a", "b"]);
    let mut nobody = Duration::ZERO;
    for step in 0..1500_u64 {
        let now = at(c.start, step * 20);
        let newest = c.history.len() - 1;
        // b comes when a leads.
        (0..2).filter(|by| *by == 0 || step > 10).for_each(|by| c.show(by, newest, now));
        let slow = step * 20 >= before;
        c.step(now, |by| {
            let slow = |ms| Duration::from_millis(if slow && by == 0 { ms } else { 1 });
            (Some(slow(way)), Some(slow(back)))
        });
        if step > 50 && !c.all.iter().any(|p| p.until.is_some_and(|until| now < until)) {
            nobody += Duration::from_millis(20);
        }
    }
    let leads = c.all.iter().find(|p| p.candidate.leads()).map(|p| p.candidate.identity().to_owned());
    (nobody, leads.unwrap_or_default(), c.all.iter().map(|p| p.took).sum())
}

#[test]
fn a_holder_whose_renewals_take_long_loses_no_moment() {
    assert_eq!(slow(1500, 0, 2000), (Duration::ZERO, "a".into(), 1));
    assert_eq!(slow(0, 1900, 2000), (Duration::ZERO, "a".into(), 1));
    assert_eq!(slow(950, 950, 2000), (Duration::ZERO, "a".into(), 1));
}

#[test]
fn a_holder_whose_renewals_take_too_long_gives_way() {
    for (way, back) in [(4000, 0), (2600, 10), (30_000, 0)] {
        let (nobody, leads, changes) = slow(way, back, 2000);
        assert_eq!((leads.as_str(), changes), ("b", 2), "{way} ms");
        // The last renewal that was sent while it held, the Lease's duration, and one more try.
        let bound = Duration::from_millis(way.min(6000)) + DURATION + Duration::from_secs(2);
        assert!(nobody < bound, "{way} ms: nobody could write for {nobody:?}");
    }
}
