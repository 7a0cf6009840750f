//! Candidates against a Lease in memory, with moments that are only numbers.

use super::*;

/// The Lease as an API server holds it.
#[derive(Default)]
struct Store {
    lease: Option<Lease>,
    version: u64,
}

impl Store {
    /// A compare-and-swap.
    fn put(&mut self, wanted: Lease) -> Option<Lease> {
        let same = match (&self.lease, version(&wanted)) {
            (None, None) => true,
            (Some(lease), Some(v)) => version(lease) == Some(v),
            _ => false,
        };
        same.then(|| {
            self.version += 1;
            let mut lease = wanted;
            lease.metadata.resource_version = Some(self.version.to_string());
            self.lease = Some(lease.clone());
            lease
        })
    }
}

fn at(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

fn take(c: &mut Candidate, store: &mut Store, now: Instant) -> Option<Instant> {
    let lease = store.put(c.wanted(Timestamp::UNIX_EPOCH))?;
    Some(c.wrote(lease, now))
}

#[test]
fn nothing_is_written_before_the_lease_was_looked_at() {
    let (mut a, start) = (Candidate::new("l", "a"), Instant::now());
    assert_eq!(a.due(), None);
    assert_eq!(a.saw(None, start), Change::None);
    assert_eq!(a.due(), Some(start), "there is none: at once");
    let mut store = Store::default();
    assert_eq!(take(&mut a, &mut store, start), Some(start + DURATION - MARGIN));
    assert!(a.leads());
    assert_eq!(a.due(), Some(start + RENEW));
    let spec = store.lease.and_then(|l| l.spec).expect("a spec");
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_duration_seconds), (Some("a"), Some(3)));
}

#[test]
fn a_follower_counts_from_the_last_change_it_saw_and_not_from_what_stands_in_the_lease() {
    let (mut a, mut b, mut store, start) =
        (Candidate::new("l", "a"), Candidate::new("l", "b"), Store::default(), Instant::now());
    a.saw(None, start);
    let until = take(&mut a, &mut store, start).expect("taken");
    b.saw(store.lease.clone(), at(start, 200));
    assert_eq!(b.due(), Some(at(start, 3200)));
    assert!(b.due().is_some_and(|due| due > until), "the holder stops writing before another may take it");
    take(&mut a, &mut store, at(start, 1000)).expect("renewed");
    b.saw(store.lease.clone(), at(start, 1100));
    assert_eq!(b.due(), Some(at(start, 4100)));
    // The same version again, from a list, is no sign of life.
    b.saw(store.lease.clone(), at(start, 4000));
    assert_eq!(b.due(), Some(at(start, 4100)));
}

#[test]
fn one_that_missed_a_renewal_cannot_take() {
    let (mut a, mut b, mut store, start) =
        (Candidate::new("l", "a"), Candidate::new("l", "b"), Store::default(), Instant::now());
    a.saw(None, start);
    take(&mut a, &mut store, start).expect("taken");
    b.saw(store.lease.clone(), start);
    take(&mut a, &mut store, at(start, 1000)).expect("renewed, and b's watch is dead");
    assert_eq!(take(&mut b, &mut store, at(start, 3000)), None);
    b.failed(at(start, 3000));
    b.saw(store.lease.clone(), at(start, 3010));
    assert!(!b.leads());
    assert_eq!(b.due(), Some(at(start, 6010)));
}

#[test]
fn a_holder_that_sees_another_has_lost_and_a_late_event_of_its_own_is_none() {
    let (mut a, mut b, mut store, start) =
        (Candidate::new("l", "a"), Candidate::new("l", "b"), Store::default(), Instant::now());
    a.saw(None, start);
    take(&mut a, &mut store, start).expect("taken");
    let old = store.lease.clone();
    b.saw(old.clone(), start);
    take(&mut b, &mut store, at(start, 3000)).expect("nothing changed for three seconds");
    assert_eq!(b.saw(old, at(start, 3001)), Change::None, "an event from before");
    assert!(b.leads());
    assert_eq!(a.saw(store.lease.clone(), at(start, 9000)), Change::Lost { to: "b".into() });
    assert!(!a.leads());
    assert_eq!(a.due(), Some(at(start, 12000)));
    assert_eq!(store.lease.and_then(|l| l.spec).and_then(|s| s.lease_transitions), Some(2));
}

#[test]
fn a_lease_given_back_is_taken_at_once_and_a_deleted_one_is_not() {
    let (mut a, mut b, mut store, start) =
        (Candidate::new("l", "a"), Candidate::new("l", "b"), Store::default(), Instant::now());
    a.saw(None, start);
    take(&mut a, &mut store, start).expect("taken");
    b.saw(store.lease.clone(), start);
    b.saw(None, at(start, 100));
    assert_eq!(b.due(), Some(at(start, 3100)), "who holds it may not know yet");
    a.saw(None, at(start, 100));
    assert_eq!(a.due(), Some(at(start, 100)), "the holder makes it anew");
    store.lease = None;
    take(&mut a, &mut store, at(start, 100)).expect("made anew");
    b.saw(store.lease.clone(), at(start, 110));
    store.put(a.released().expect("ours")).expect("given back");
    a.resigned();
    b.saw(store.lease.clone(), at(start, 120));
    assert_eq!(b.due(), Some(at(start, 120)));
    take(&mut b, &mut store, at(start, 120)).expect("taken");
    assert_eq!(a.released().and_then(|l| store.put(l)), None, "nobody gives back what is another's");
}

#[test]
fn a_renewal_whose_answer_was_lost_is_recognised() {
    let (mut a, mut store, start) = (Candidate::new("l", "a"), Store::default(), Instant::now());
    a.saw(None, start);
    take(&mut a, &mut store, start).expect("taken");
    store.put(a.wanted(Timestamp::UNIX_EPOCH)).expect("carried out, the answer was lost");
    a.failed(at(start, 1900));
    assert_eq!(take(&mut a, &mut store, at(start, 2150)), None, "its version is an older one");
    assert_eq!(a.saw(store.lease.clone(), at(start, 2160)), Change::None);
    assert!(a.leads());
    assert!(take(&mut a, &mut store, at(start, 2400)).is_some());
}

/// Three candidates whose watches lag, whose writes are lost or answered late, and which freeze: at no moment may two of
/// them write, and somebody leads again in the end.
#[test]
fn at_no_moment_do_two_hold() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    let start = Instant::now();
    let mut takes = 0;
    for _ in 0..200 {
        let mut store = Store::default();
        let mut all: Vec<(Candidate, Option<Instant>, u64)> =
            ["a", "b", "c"].map(|n| (Candidate::new("l", n), None, 0)).into();
        for step in 0..2000_u64 {
            let now = at(start, step * 20);
            // In the last eight seconds everything works.
            let calm = step > 1600;
            for (c, until, frozen) in &mut all {
                if *frozen > step && !calm {
                    continue;
                }
                if !calm && random(200) == 0 {
                    *frozen = step + random(400);
                    continue;
                }
                if (calm || random(4) == 0) && matches!(c.saw(store.lease.clone(), now), Change::Lost { .. }) {
                    *until = None;
                }
                if c.due().is_none_or(|due| due > now) {
                    continue;
                }
                let first = !c.leads();
                match store.put(c.wanted(Timestamp::UNIX_EPOCH)) {
                    Some(lease) if calm || random(5) > 0 => {
                        *until = Some(c.wrote(lease, now));
                        takes += u32::from(first);
                    }
                    _ => c.failed(now),
                }
            }
            let holders = all.iter().filter(|(_, until, _)| until.is_some_and(|u| now < u)).count();
            assert!(holders <= 1, "{holders} may write at {} ms", step * 20);
        }
        assert_eq!(all.iter().filter(|(c, _, _)| c.leads()).count(), 1);
    }
    assert!(takes > 400, "only {takes} changes of the leader were tried");
}
