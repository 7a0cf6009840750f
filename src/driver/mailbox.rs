//! What a driver hears: answers to reads, outcomes of effects, and what the shared watches have shown. Bounded: a sender of
//! letters waits, and of what is watched only the latest state is told.

use tokio::sync::mpsc;

use crate::observe::feed::Feed;
use crate::pilot::run::Heard;

/// Room for this many letters.
const ROOM: usize = 256;
/// At most this many are taken before the next decision, so that a flood cannot keep one from being made.
const BATCH: usize = 1024;

pub(crate) struct Mailbox {
    letters: mpsc::Receiver<Heard>,
    feed: Feed,
    waiting: Vec<Heard>,
}

/// The sending end.
#[derive(Clone)]
pub struct Post {
    /// For answers and outcomes.
    pub(crate) letters: mpsc::Sender<Heard>,
}

/// A mailbox and its sending end.
pub(crate) fn mailbox(feed: Feed) -> (Post, Mailbox) {
    let (letters, letters_in) = mpsc::channel(ROOM);
    (Post { letters }, Mailbox { letters: letters_in, feed, waiting: vec![] })
}

impl Mailbox {
    /// Waits until something is heard. Nothing is lost when the wait is given up.
    pub async fn wait(&mut self) {
        if !self.waiting.is_empty() {
            return;
        }
        tokio::select! {
            // The driver keeps its own sending end, so that the channel never closes.
            Some(letter) = self.letters.recv() => self.waiting.push(letter),
            () = self.feed.changed() => {}
        }
    }

    /// Everything heard so far.
    pub fn take(&mut self) -> Vec<Heard> {
        let mut all = std::mem::take(&mut self.waiting);
        while all.len() < BATCH {
            match self.letters.try_recv() {
                Ok(letter) => all.push(letter),
                Err(_) => break,
            }
        }
        for letter in &all {
            if let Heard::Refreshed { began, sightings, .. } = letter {
                self.feed.read_live(*began, sightings);
            }
        }
        all.extend(self.feed.take().into_iter().map(Heard::Seen));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::{EffectKey, Outcome};
    use crate::world::Sighting;

    #[tokio::test]
    async fn nothing_is_lost_when_a_wait_is_given_up() {
        let (feed, changes) = Feed::for_tests();
        let (post, mut mailbox) = mailbox(feed);
        for n in 0..10 {
            post.letters.send(Heard::Ended(EffectKey::answer(&format!("e{n}")), Outcome::Done)).await.expect("open");
            changes();
        }
        mailbox.wait().await;
        mailbox.wait().await;
        let all = mailbox.take();
        assert_eq!(all.len(), 11, "what is seen is told once");
        assert!(matches!(all.last(), Some(Heard::Seen(Sighting::Pods(_)))));
        changes();
        mailbox.wait().await;
        assert_eq!(mailbox.take().len(), 1);
    }

    #[tokio::test]
    async fn what_was_read_live_since_is_not_told_again() {
        let (feed, changes) = Feed::for_tests();
        let (post, mut mailbox) = mailbox(feed);
        let read = |sightings| Heard::Refreshed { key: None, began: jiff::Timestamp::UNIX_EPOCH, sightings };
        changes();
        post.letters.send(read(vec![Sighting::Pods(vec![])])).await.expect("open");
        assert_eq!(mailbox.take().len(), 1, "the reading alone");
        // Of pods it says nothing.
        changes();
        post.letters.send(read(vec![Sighting::Unread("pods".into())])).await.expect("open");
        assert_eq!(mailbox.take().len(), 2);
    }
}
