//! What a driver hears: sightings of the watches, answers to reads, outcomes of effects. Bounded; a sender waits.

use tokio::sync::mpsc;

use crate::pilot::run::Heard;
use crate::world::Sighting;

/// Room for this many letters each.
const ROOM: usize = 256;
/// At most this many are taken before the next decision, so that a flood cannot keep one from being made.
const BATCH: usize = 1024;

pub(crate) struct Mailbox {
    letters: mpsc::Receiver<Heard>,
    sightings: mpsc::Receiver<Sighting>,
    waiting: Vec<Heard>,
}

/// The sending ends.
#[derive(Clone)]
pub struct Post {
    /// For answers and outcomes.
    pub(crate) letters: mpsc::Sender<Heard>,
    /// For the watches.
    pub sightings: mpsc::Sender<Sighting>,
}

/// A mailbox and its sending ends.
pub(crate) fn mailbox() -> (Post, Mailbox) {
    let (letters, letters_in) = mpsc::channel(ROOM);
    let (sightings, sightings_in) = mpsc::channel(ROOM);
    (Post { letters, sightings }, Mailbox { letters: letters_in, sightings: sightings_in, waiting: vec![] })
}

impl Mailbox {
    /// Waits until something is heard. Nothing is lost when the wait is given up.
    pub async fn wait(&mut self) {
        if !self.waiting.is_empty() {
            return;
        }
        // The driver keeps its own sending ends, so that neither channel ever closes.
        let mail = tokio::select! {
            Some(mail) = self.letters.recv() => mail,
            Some(sighting) = self.sightings.recv() => Heard::Seen(sighting),
            else => std::future::pending().await,
        };
        self.waiting.push(mail);
    }

    /// Everything heard so far.
    pub fn take(&mut self) -> Vec<Heard> {
        let mut all = std::mem::take(&mut self.waiting);
        while all.len() < BATCH {
            match self.letters.try_recv() {
                Ok(mail) => all.push(mail),
                Err(_) => break,
            }
        }
        while all.len() < BATCH {
            match self.sightings.try_recv() {
                Ok(sighting) => all.push(Heard::Seen(sighting)),
                Err(_) => break,
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Outcome;

    #[tokio::test]
    async fn nothing_is_lost_when_a_wait_is_given_up() {
        let (post, mut mailbox) = mailbox();
        for n in 0..10 {
            post.letters.send(Heard::Ended(format!("e{n}"), Outcome::Done)).await.expect("open");
            post.sightings.send(Sighting::Pods(vec![])).await.expect("open");
        }
        mailbox.wait().await;
        mailbox.wait().await;
        assert_eq!(mailbox.take().len(), 20);
    }
}
