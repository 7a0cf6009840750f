//! How much of the process what tenants ask for may hold: connections and bytes of answers, each by namespace and in all. What is
//! beyond waits, and is never counted against whoever was to be asked. The rest of the descriptors is the operator's own: a
//! restore needs some.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::world::HttpError;

/// Connections of one namespace, and of all together where descriptors allow.
const CONNECTIONS: (usize, usize) = (64, 512);
/// KiB of answers beyond the first 64 of each: of one namespace, and of all.
const KIBIBYTES: (usize, usize) = (8 * 1024, 32 * 1024);
/// Logs that are read at a time: of one namespace, and of all. Each is a connection to the API server, and large.
const LOGS: (usize, usize) = (8, 48);
/// Looks at receivers of notifications at a time: of one namespace, and of all. Each holds up the look at its Cutover.
const LOOKS: (usize, usize) = (2, 6);
/// So long a look waits for its turn.
const LOOK_WAITS: Duration = Duration::from_millis(200);
/// Bytes of logs that a namespace reads in a second: each goes through the API server, which all share.
const LOG_PACE: u64 = 4 * 1024 * 1024;
/// So much of it may be ahead of that pace.
const LOG_AHEAD: Duration = Duration::from_secs(2);
/// What a notification costs a namespace: 120 in a minute.
const NOTIFICATION: Duration = Duration::from_millis(500);
/// So much of it may be ahead of that pace: 60 notifications.
const NOTIFICATIONS_AHEAD: Duration = Duration::from_secs(30);
/// What reading a log costs at least: the API server asks the kubelet for it.
const LOG_AT_LEAST: usize = 64 * 1024;
/// Descriptors kept for a restore and its claims.
const RESTORE: usize = 64;
/// Descriptors kept for the health server, watches, logs and files.
const OWN: usize = 192;
/// Where the limit is not known.
const USUAL: usize = 1024;

/// A number of things, of which each namespace may have a part.
struct Purse {
    all: Arc<Semaphore>,
    size: usize,
    each: usize,
    of: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// What was taken; given back when dropped.
pub(crate) struct Taken {
    _of: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Purse {
    fn new(each: usize, all: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), size: all, each: each.min(all), of: Mutex::default() }
    }

    fn of(&self, namespace: &str) -> Arc<Semaphore> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = of.get(namespace).and_then(Weak::upgrade) {
            return known;
        }
        of.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(Semaphore::new(self.each));
        of.insert(namespace.to_owned(), Arc::downgrade(&new));
        new
    }

    /// Waits for so many, first for the namespace's own share, then for the share of all. Permits keep the semaphore.
    async fn take(&self, namespace: &str, count: usize) -> Option<Taken> {
        let count = u32::try_from(count.min(self.each)).ok()?;
        let of = self.of(namespace).acquire_many_owned(count).await.ok()?;
        let all = self.all.clone().acquire_many_owned(count).await.ok()?;
        Some(Taken { _of: of, _all: all })
    }
}

/// What is left for requests of Cutovers.
pub(super) struct Budget {
    connections: Purse,
    kibibytes: Purse,
    logs: Purse,
    looks: Purse,
    pace: Pace,
    notifications: Pace,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(descriptors())
    }
}

/// By namespace: until when what it has read is paid for, at its pace.
#[derive(Default)]
struct Pace(Mutex<HashMap<String, Instant>>);

impl Pace {
    /// When whoever has read so much may go on.
    fn pay(&self, namespace: &str, bytes: usize, now: Instant) -> Instant {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is paid for is as if it had never been.
        all.retain(|_, until| *until > now);
        let until = all.entry(namespace.to_owned()).or_insert(now);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        *until += Duration::from_micros(bytes.saturating_mul(1_000_000) / LOG_PACE);
        until.checked_sub(LOG_AHEAD).unwrap_or(now).max(now)
    }

    /// Pays `cost`, unless that is more than `ahead` of the pace: then it says how long to wait, and nothing is paid.
    fn pay_or_wait(&self, namespace: &str, cost: Duration, ahead: Duration, now: Instant) -> Option<Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, until| *until > now);
        let until = all.entry(namespace.to_owned()).or_insert(now);
        let over = (*until + cost).saturating_duration_since(now + ahead);
        if over.is_zero() {
            *until += cost;
        }
        (!over.is_zero()).then_some(over)
    }
}

impl Budget {
    fn of(descriptors: usize) -> Self {
        let (each, all) = CONNECTIONS;
        let left = descriptors.saturating_sub(RESTORE + OWN).clamp(8, all);
        Self {
            connections: Purse::new(each, left),
            kibibytes: Purse::new(KIBIBYTES.0, KIBIBYTES.1),
            logs: Purse::new(LOGS.0, LOGS.1),
            looks: Purse::new(LOOKS.0, LOOKS.1),
            pace: Pace::default(),
            notifications: Pace::default(),
        }
    }

    /// Before a connection is made.
    ///
    /// # Errors
    /// [`HttpError::Unread`] when none is free until the deadline: nothing was sent.
    pub(super) async fn connection(&self, namespace: &str, deadline: Instant) -> Result<Taken, HttpError> {
        let taken = timeout_at(deadline, self.connections.take(namespace, 1)).await.ok().flatten();
        taken.ok_or_else(|| {
            let (each, all) = (self.connections.each, self.connections.size);
            HttpError::Unread(format!(
                "too many requests of Cutovers are under way (the operator has at most {each} connections for a namespace and \
                 {all} for all)"
            ))
        })
    }

    /// Before an answer becomes longer than its first 64 KiB, for all that it may become.
    pub(super) async fn room(&self, namespace: &str, bytes: usize, deadline: Instant) -> Result<Taken, HttpError> {
        let taken = timeout_at(deadline, self.kibibytes.take(namespace, bytes / 1024)).await.ok().flatten();
        taken.ok_or_else(|| {
            HttpError::Lost("there was no room for the answer: too many long ones are read at once".into())
        })
    }

    /// Before a log is read. Waits; whoever reads bounds the whole.
    pub(super) async fn log(&self, namespace: &str) -> Option<Taken> {
        let taken = self.logs.take(namespace, 1).await;
        self.logged(namespace, LOG_AT_LEAST).await;
        taken
    }

    /// Before a notification: how long the namespace has to wait for it, where it has sent too many.
    pub(super) fn notification(&self, namespace: &str) -> Option<Duration> {
        self.notifications.pay_or_wait(namespace, NOTIFICATION, NOTIFICATIONS_AHEAD, Instant::now())
    }

    /// Before a look at receivers; none where others are still at it.
    pub(super) async fn look(&self, namespace: &str) -> Option<Taken> {
        tokio::time::timeout(LOOK_WAITS, self.looks.take(namespace, 1)).await.ok().flatten()
    }

    /// A part of a log was read: waits as long as it takes at the pace of a namespace.
    pub(super) async fn logged(&self, namespace: &str, bytes: usize) {
        tokio::time::sleep_until(self.pace.pay(namespace, bytes, Instant::now())).await;
    }
}

/// How many files this process may have open.
fn descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    soft_limit(&limits).unwrap_or(USUAL)
}

fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[test]
    fn the_limit_of_descriptors_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1048576              1048577              files\n";
        assert_eq!(soft_limit(limits), Some(1_048_576));
        assert_eq!(
            soft_limit("Max open files            unlimited            unlimited            files"),
            Some(usize::MAX)
        );
        assert_eq!(soft_limit(""), None);
        assert!(descriptors() > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_namespace_leaves_room_for_others_and_all_leave_room_for_the_restore() {
        let budget = Budget::of(RESTORE + OWN + 100);
        let mut held = vec![];
        for _ in 0..CONNECTIONS.0 {
            held.push(budget.connection("loud", soon()).await.unwrap_or_else(|_| panic!("free")));
        }
        let why = budget.connection("loud", soon()).await.err();
        assert!(matches!(&why, Some(HttpError::Unread(why)) if why.contains("64 connections")), "{why:?}");
        for _ in 0..100 - CONNECTIONS.0 {
            held.push(budget.connection("quiet", soon()).await.unwrap_or_else(|_| panic!("free")));
        }
        assert!(budget.connection("third", soon()).await.is_err(), "what is left is the restore's");
        held.pop();
        assert!(budget.connection("third", soon()).await.is_ok());
        held.clear();
        assert!(budget.connection("loud", soon()).await.is_ok(), "what was taken comes back");
    }

    #[tokio::test(start_paused = true)]
    async fn long_answers_wait_for_room_and_do_not_hold_each_other_up() {
        let budget = Budget::of(1024);
        let mib = 1024 * 1024;
        let mut held = vec![];
        for _ in 0..8 {
            held.push(budget.room("loud", mib, soon()).await.unwrap_or_else(|_| panic!("room")));
        }
        assert!(budget.room("loud", mib, soon()).await.is_err());
        let quiet = budget.room("quiet", mib, soon()).await;
        assert!(quiet.is_ok());
        held.pop();
        assert!(budget.room("loud", mib, soon()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn logs_of_one_namespace_leave_room_for_those_of_others() {
        let budget = Budget::of(1024);
        let mut held = vec![];
        for _ in 0..LOGS.0 {
            held.push(budget.log("loud").await);
        }
        assert!(tokio::time::timeout(Duration::from_secs(1), budget.log("loud")).await.is_err());
        assert!(budget.log("quiet").await.is_some());
        held.pop();
        assert!(budget.log("loud").await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_notifies_at_its_pace_and_holds_up_no_other() {
        let budget = Budget::of(1024);
        assert!((0..60).all(|_| budget.notification("loud").is_none()), "a minute's worth at once");
        assert_eq!(budget.notification("loud"), Some(NOTIFICATION));
        assert_eq!(budget.notification("loud"), Some(NOTIFICATION), "what was refused is not paid");
        assert_eq!(budget.notification("quiet"), None);
        tokio::time::advance(NOTIFICATION * 2).await;
        assert!((0..2).all(|_| budget.notification("loud").is_none()));
        assert!(budget.notification("loud").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn looks_of_one_namespace_leave_room_for_those_of_others_and_wait_for_nobody_long() {
        let budget = Budget::of(1024);
        let held = [budget.look("loud").await, budget.look("loud").await];
        assert!(held.iter().all(Option::is_some) && budget.look("loud").await.is_none());
        assert!(budget.look("quiet").await.is_some());
    }

    #[test]
    fn a_namespace_reads_logs_at_its_pace_and_nobody_waits_for_another() {
        let (pace, now) = (Pace::default(), Instant::now());
        let second = usize::try_from(LOG_PACE).expect("it fits");
        assert_eq!(pace.pay("loud", second, now), now, "a little is free");
        assert_eq!(pace.pay("loud", second, now), now);
        assert_eq!(pace.pay("loud", second, now), now + Duration::from_secs(1));
        assert_eq!(pace.pay("quiet", second, now), now);
        let later = now + Duration::from_secs(10);
        assert_eq!(pace.pay("loud", second, later), later, "it is paid for by then");
        assert_eq!(pace.0.lock().expect("the paces").len(), 1, "and nothing is kept of the others");
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_descriptors_are_enough_to_go_on() {
        assert!(Budget::of(16).connection("a", soon()).await.is_ok());
        assert!(Budget::of(usize::MAX).connection("a", soon()).await.is_ok());
    }
}
