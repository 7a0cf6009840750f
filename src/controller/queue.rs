//! Which Cutovers are to be looked at, and when: each at most once at a time, the earliest first.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::pilot::cutover::Key;

/// A namespace has no more looks under way while others wait.
const SHARE: usize = 4;
/// And never more than this: the others need not wait for one of them to end.
const MOST: usize = 12;
/// What a run does is shown by a look at once, and then no more often than this: a run passes several phases in that time,
/// and only the latest is of interest.
const PACE: Duration = Duration::from_millis(500);
/// What changes without an end is looked at no more often than this, in its latest form: each look costs requests, and
/// whoever changes it so often is not to delay what others need of the API server.
const FLOOD: Duration = Duration::from_secs(2);
/// So many looks at one Cutover come at once before that.
const AT_ONCE: u32 = 8;

/// Why a Cutover at which somebody looks is to be looked at again.
#[derive(Clone, Debug, Default)]
struct Again {
    /// To show what its run does.
    soon: bool,
    /// The latest version in which it was seen.
    changed: Option<String>,
    now: bool,
}

/// What waits to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    due: BTreeSet<(Instant, Key)>,
    at: HashMap<Key, Instant>,
    busy: HashSet<Key>,
    /// Of those: to be looked at again.
    again: HashMap<Key, Again>,
    /// When looks ended, as long as that was not long ago.
    ended: HashMap<Key, Instant>,
    /// To be looked at because of something that does not wait.
    urgent: HashSet<Key>,
    /// Until when the looks of that kind would have lasted at the pace of a flood.
    spent: HashMap<Key, Instant>,
}

impl Queue {
    /// To be looked at now, or once the present look is over; a little later if there were very many such looks.
    pub fn now(&mut self, key: Key) {
        if self.busy.contains(&key) {
            self.again.entry(key).or_default().now = true;
        } else if self.urgent.insert(key.clone()) {
            let now = Instant::now();
            let until = self.spent.entry(key.clone()).or_insert(now);
            *until = now.max(*until);
            let at = until.checked_sub(FLOOD * AT_ONCE).map_or(now, |at| now.max(at));
            *until += FLOOD;
            self.schedule(key, at);
        }
    }

    /// As [`Queue::now`], unless the present look turns out to know of this version of the Cutover.
    pub fn changed(&mut self, key: Key, version: String) {
        if !self.busy.contains(&key) {
            return self.now(key);
        }
        self.again.entry(key).or_default().changed = Some(version);
    }

    /// To be looked at now, but a while after the last look.
    pub fn soon(&mut self, key: Key) {
        if self.busy.contains(&key) {
            self.again.entry(key).or_default().soon = true;
        } else {
            let now = Instant::now();
            let at = self.ended.get(&key).map_or(now, |ended| now.max(*ended + PACE));
            self.schedule(key, at);
        }
    }

    /// To be looked at after a while, or sooner where that is due already.
    pub fn after(&mut self, key: Key, pause: Duration) {
        self.schedule(key, Instant::now() + pause);
    }

    fn schedule(&mut self, key: Key, at: Instant) {
        match self.at.get(&key) {
            Some(known) if *known <= at => {}
            known => {
                if let Some(known) = known {
                    self.due.remove(&(*known, key.clone()));
                }
                self.at.insert(key.clone(), at);
                self.due.insert((at, key));
            }
        }
    }

    fn busy_in(&self, namespace: &str) -> usize {
        self.busy.iter().filter(|key| key.namespace == namespace).count()
    }

    /// When the next that may be taken is due.
    pub fn next(&self) -> Option<Instant> {
        self.due.iter().find(|(_, key)| self.busy_in(&key.namespace) < MOST).map(|(at, _)| *at)
    }

    /// The next that is due, which is then busy until [`Queue::done`].
    pub fn take(&mut self) -> Option<Key> {
        let now = Instant::now();
        let under = |share: usize| {
            let mut due = self.due.iter().take_while(|(at, _)| *at <= now);
            due.find(|(_, key)| self.busy_in(&key.namespace) < share).cloned()
        };
        let next = under(SHARE).or_else(|| under(MOST))?;
        self.due.remove(&next);
        let (_, key) = next;
        self.at.remove(&key);
        self.urgent.remove(&key);
        self.busy.insert(key.clone());
        Some(key)
    }

    /// A look is over. `is_known`: whether it knew of a version that was seen meanwhile.
    pub fn done(&mut self, key: Key, after: Option<Duration>, is_known: impl FnOnce(&str) -> bool) {
        self.busy.remove(&key);
        let now = Instant::now();
        self.ended.retain(|_, ended| now.duration_since(*ended) < PACE);
        self.ended.insert(key.clone(), now);
        self.spent.retain(|_, until| *until > now);
        let again = self.again.remove(&key).unwrap_or_default();
        if again.now || again.changed.is_some_and(|version| !is_known(&version)) {
            return self.now(key);
        }
        if again.soon {
            self.soon(key.clone());
        }
        if let Some(pause) = after {
            self.after(key, pause);
        }
    }

    /// Looks under way were broken off: they are due again.
    pub(crate) fn broken_off(&mut self) {
        self.again.clear();
        for key in std::mem::take(&mut self.busy) {
            self.now(key);
        }
    }

    /// There is nothing to be looked at any more.
    pub fn forget(&mut self, key: &Key) {
        self.urgent.remove(key);
        if let Some(at) = self.at.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "a".into(), name: name.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_heard_during_a_look_leads_to_another_one() {
        let mut queue = Queue::default();
        queue.now(key("web"));
        assert_eq!(queue.take(), Some(key("web")));
        queue.now(key("web"));
        assert_eq!(queue.take(), None, "never two looks at once");
        queue.done(key("web"), None, |_| false);
        assert_eq!(queue.take(), Some(key("web")));
        queue.done(key("web"), None, |_| false);
        assert_eq!((queue.take(), queue.next()), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_run_does_is_shown_at_once_and_then_at_a_pace() {
        let mut queue = Queue::default();
        queue.soon(key("web"));
        assert_eq!(queue.take(), Some(key("web")), "the first at once");
        queue.soon(key("web"));
        queue.done(key("web"), None, |_| false);
        assert_eq!((queue.take(), queue.next()), (None, Some(Instant::now() + PACE)));
        for _ in 0..10 {
            tokio::time::advance(PACE / 20).await;
            queue.soon(key("web"));
        }
        assert_eq!(queue.take(), None, "ten changes wait for one look");
        queue.now(key("web"));
        assert_eq!(queue.take(), Some(key("web")), "what cannot wait does not");
        queue.soon(key("web"));
        queue.now(key("web"));
        queue.soon(key("web"));
        queue.done(key("web"), Some(Duration::from_secs(60)), |_| false);
        assert_eq!(queue.take(), Some(key("web")), "at once, whatever else is due later");
        queue.done(key("web"), None, |_| false);
        tokio::time::advance(PACE).await;
        queue.soon(key("web"));
        assert_eq!(queue.take(), Some(key("web")));
        queue.done(key("web"), None, |_| false);
        assert_eq!(queue.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_without_an_end_is_looked_at_at_a_pace() {
        let mut queue = Queue::default();
        let few = usize::try_from(AT_ONCE).expect("few");
        let mut looks = vec![];
        let began = Instant::now();
        for _ in 0..200 {
            queue.now(key("web"));
            // No more of them than any pace allows.
            for _ in 0..2 * few {
                let Some(key) = queue.take() else { break };
                looks.push(began.elapsed().as_millis());
                queue.now(key.clone());
                queue.done(key, None, |_| false);
            }
            tokio::time::advance(Duration::from_millis(50)).await;
        }
        assert_eq!(looks[..=few], [vec![0; few + 1]].concat(), "a person never notices");
        let paced: Vec<u128> = (1..5).map(|n| n * FLOOD.as_millis()).collect();
        assert_eq!(looks[few + 1..], paced, "then at a pace, and the last change, too");
        queue.now(key("other"));
        assert_eq!(queue.take(), Some(key("other")), "nobody else waits for it");
        tokio::time::advance(FLOOD * AT_ONCE * 2).await;
        queue.take();
        queue.done(key("web"), None, |_| true);
        queue.now(key("web"));
        assert_eq!(queue.take(), Some(key("web")), "once it is quiet it counts as any other");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_look_has_written_itself_leads_to_no_other() {
        let mut queue = Queue::default();
        let mut during = |versions: &[&str], wrote: &str| {
            queue.now(key("web"));
            assert_eq!(queue.take(), Some(key("web")));
            versions.iter().for_each(|version| queue.changed(key("web"), (*version).into()));
            queue.done(key("web"), None, |seen| seen <= wrote);
            let again = queue.take().is_some();
            queue.done(key("web"), None, |_| true);
            again
        };
        assert!(!during(&["5", "6"], "6"), "our own");
        assert!(during(&["5", "7"], "6"), "somebody else's after ours");
        queue.changed(key("web"), "8".into());
        assert_eq!(queue.take(), Some(key("web")), "nobody looks, so nobody knows");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_was_broken_off_is_due_again() {
        let mut queue = Queue::default();
        queue.now(key("web"));
        assert_eq!(queue.take(), Some(key("web")));
        queue.now(key("web"));
        queue.broken_off();
        assert_eq!(queue.take(), Some(key("web")));
        queue.done(key("web"), None, |_| false);
        assert_eq!(queue.take(), None, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn no_namespace_keeps_the_others_waiting() {
        let of = |namespace: &str, n: usize| Key { namespace: namespace.into(), name: format!("c{n}") };
        let mut queue = Queue::default();
        (0..100).for_each(|n| queue.now(of("crowd", n)));
        tokio::time::advance(Duration::from_secs(1)).await;
        queue.now(of("quiet", 0));
        let mut taken: Vec<Key> = (0..5).filter_map(|_| queue.take()).collect();
        assert_eq!(taken.last(), Some(&of("quiet", 0)), "it came last and is looked at fifth");
        taken.extend(std::iter::from_fn(|| queue.take()));
        assert_eq!(taken.len(), MOST + 1, "what is left is free for others");
        assert_eq!(queue.next(), None, "nothing is due that may be taken");
        queue.now(of("late", 0));
        assert_eq!((queue.next(), queue.take()), (Some(Instant::now()), Some(of("late", 0))));
        queue.done(taken.swap_remove(0), None, |_| false);
        assert_eq!(queue.take().map(|key| key.namespace), Some("crowd".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_time_wins() {
        let mut queue = Queue::default();
        queue.after(key("web"), Duration::from_secs(30));
        queue.after(key("web"), Duration::from_secs(5));
        queue.after(key("web"), Duration::from_secs(60));
        assert_eq!(queue.next(), Some(Instant::now() + Duration::from_secs(5)));
        assert_eq!(queue.take(), None);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(queue.take(), Some(key("web")));
        assert_eq!(queue.next(), None, "one look for all three");
    }
}
