//! When each watch last heard from the API server, by resource. A watch that is open but silent is found as well as one
//! that cannot be opened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::labels::{WATCHED, within};

/// A watch that ended is tried again well within this time; after it, the resource is not watched any more.
const AGAIN: Duration = Duration::from_secs(15);

#[derive(Default)]
struct Board {
    next: u64,
    open: HashMap<u64, (&'static str, Instant)>,
    /// When any watch of the resource last heard something, and when one was last begun or ended.
    last: HashMap<&'static str, (Instant, Instant)>,
}

/// The watches of this process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watches(Arc<Mutex<Board>>);

/// A watch from its first request on; it is over when this is dropped.
pub struct Watch {
    board: Watches,
    id: u64,
    resource: &'static str,
}

impl Watches {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A watch is asked for.
    pub fn begin(&self, resource: &str) -> Watch {
        let (resource, now) = (within(&WATCHED, resource), Instant::now());
        let mut board = self.board();
        let busy = board.open.values().any(|(r, _)| *r == resource);
        let heard = match board.last.get(resource) {
            // The next try of a watch that failed is no news: its age goes on.
            Some((heard, touched)) if busy || touched.elapsed() < AGAIN => *heard,
            _ => now,
        };
        let id = board.next;
        board.next += 1;
        board.open.insert(id, (resource, heard));
        board.last.insert(resource, (heard, now));
        Watch { board: self.clone(), id, resource }
    }

    /// How long each resource that is watched has been silent: its most silent watch.
    pub(crate) fn ages(&self) -> Vec<(&'static str, Duration)> {
        let board = self.board();
        let age = |resource: &&'static str| {
            let open = board.open.values().filter(|(r, _)| r == resource).map(|(_, heard)| heard.elapsed()).max();
            let between = || board.last.get(resource).filter(|(_, touched)| touched.elapsed() < AGAIN);
            open.or_else(|| between().map(|(heard, _)| heard.elapsed())).map(|age| (*resource, age))
        };
        WATCHED.iter().filter_map(age).collect()
    }
}

impl Watch {
    /// The API server answered, or said something.
    pub fn heard(&self) {
        let now = Instant::now();
        let mut board = self.board.board();
        board.open.insert(self.id, (self.resource, now));
        board.last.insert(self.resource, (now, now));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut board = self.board.board();
        board.open.remove(&self.id);
        if let Some((_, touched)) = board.last.get_mut(self.resource) {
            *touched = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    fn age(watches: &Watches, resource: &str) -> Option<u64> {
        watches.ages().into_iter().find(|(r, _)| *r == resource).map(|(_, age)| age.as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn the_most_silent_open_watch_counts() {
        let watches = Watches::default();
        assert!(watches.ages().is_empty());
        let (one, other) = (watches.begin("pods"), watches.begin("pods"));
        one.heard();
        other.heard();
        pass(50).await;
        one.heard();
        pass(10).await;
        assert_eq!(age(&watches, "pods"), Some(60));
        drop(other);
        assert_eq!(age(&watches, "pods"), Some(10));
    }

    #[tokio::test(start_paused = true)]
    async fn tries_that_fail_do_not_make_a_watch_young_again() {
        let watches = Watches::default();
        watches.begin("services").heard();
        for _ in 0..60 {
            pass(5).await;
            // Refused: asked for, never answered.
            drop(watches.begin("services"));
        }
        assert_eq!(age(&watches, "services"), Some(300));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_watched_any_more_has_no_age_and_begins_anew() {
        let watches = Watches::default();
        watches.begin("jobs").heard();
        pass(20).await;
        assert_eq!(age(&watches, "jobs"), None);
        let again = watches.begin("jobs");
        assert_eq!(age(&watches, "jobs"), Some(0));
        drop(again);
        drop(watches.begin("a-name-nobody-knows"));
        assert_eq!(age(&watches, "other"), Some(0));
    }
}
