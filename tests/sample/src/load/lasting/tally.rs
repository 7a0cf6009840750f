//! What the clients of one protocol met, and who answered each of them.

use super::super::{
    report::{LastingClient, LastingReport, Loss, Move},
    tally::{millis, text},
};
use super::connection::Answer;
use jiff::Timestamp;
use std::time::Duration;

/// The losses that are kept.
const MAX_LOSSES: usize = 20;
/// The moves of a client that are kept, for bounded memory.
const MAX_MOVES: usize = 50;

/// Numbers of the clients of one protocol.
pub struct Tally {
    pub sent: u64,
    pub connections: u64,
    pub reopened: u64,
    ok: u64,
    app_errors: u64,
    lost: u64,
    losses: Vec<Loss>,
    clients: Vec<LastingClient>,
}

impl Tally {
    /// So many clients that have asked nothing.
    pub fn new(clients: usize) -> Self {
        let clients = vec![LastingClient::default(); clients];
        Self { sent: 0, connections: 0, reopened: 0, ok: 0, app_errors: 0, lost: 0, losses: vec![], clients }
    }

    /// Counts an answer to a client.
    pub fn answered(&mut self, client: usize, answer: Answer, at: Timestamp) {
        if answer.status < 400 {
            self.ok += 1
        } else {
            self.app_errors += 1
        }
        let client = &mut self.clients[client];
        let from = client.colour.replace(answer.colour.clone());
        if let Some(from) = from.filter(|from| *from != answer.colour)
            && client.moves.len() < MAX_MOVES
        {
            client.moves.push(Move { at, from, to: answer.colour });
        }
        client.pod = Some(answer.pod);
        client.at = Some(at);
        client.answers += 1;
    }

    /// Counts a request without a full answer.
    pub fn lost(&mut self, began: Timestamp, took: Duration, kind: &str, error: String) {
        self.lost += 1;
        if self.losses.len() < MAX_LOSSES {
            let (at, after_ms, kind) = (text(began), millis(took), kind.to_owned());
            self.losses.push(Loss { at, after_ms, kind, error, mark: String::new() });
        }
    }

    /// The numbers as they are reported.
    pub fn report(&self) -> LastingReport {
        LastingReport {
            sent: self.sent,
            ok: self.ok,
            app_errors: self.app_errors,
            lost: self.lost,
            connections: self.connections,
            reopened: self.reopened,
            losses: self.losses.clone(),
            clients: self.clients.clone(),
        }
    }
}
