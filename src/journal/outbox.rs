//! PURE. What people are still to hear of: each entry stays in the journal until every sink has received it, or room is
//! wanted for newer ones. Told at least once, across restarts; the id is the same each time.
//!
//! A new sink is a variant of [`Sink`] with its row in [`SINKS`], and whatever delivers to it.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::short;
use crate::api::run::RunStatus;
use crate::api::trail::{Outbox, OutboxEntry};

/// Most entries.
pub(crate) const MAX_ENTRIES: usize = 32;
/// Longest message, subject and reason, in characters.
const MAX_MESSAGE: usize = 256;
const MAX_SUBJECT: usize = 80;
const MAX_REASON: usize = 64;

/// Where entries are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    /// Kubernetes Events on the Cutover.
    Events,
}

/// A sink, its name in receipts, and what it wants to hear of.
pub struct Row {
    pub(crate) sink: Sink,
    /// Its name in receipts.
    pub name: &'static str,
    /// Whether an entry is for it.
    pub wants: fn(&OutboxEntry) -> bool,
}

/// All sinks.
pub(crate) const SINKS: [Row; 1] = [Row { sink: Sink::Events, name: "Events", wants: |_| true }];

impl Sink {
    fn row(self) -> Option<&'static Row> {
        const { &SINKS }.iter().find(|row| row.sink == self)
    }

    /// Its name in receipts.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }
}

/// What has happened, before it is an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened<'a> {
    /// One of the reasons of Events and conditions.
    pub reason: &'a str,
    /// What it is about.
    pub subject: &'a str,
    /// In words.
    pub message: &'a str,
    /// Somebody should look.
    pub warning: bool,
}

/// Appends what happened at `now`. Entries that everybody has received and that are older leave; where there is still no
/// room, the oldest leaves that somebody has received, and last of all one that nobody has.
pub fn append(journal: &mut RunStatus, run_uid: &str, now: Timestamp, happened: Happened) {
    let Outbox { entries, dropped } = &mut journal.outbox;
    entries.retain(|e| e.at >= now || is_open(e));
    while entries.len() >= MAX_ENTRIES {
        let settled = entries.iter().position(|e| !is_open(e));
        let partly = || entries.iter().position(|e| !e.receipts.is_empty());
        let leaves = settled.or_else(partly).unwrap_or_default();
        if settled.is_none() {
            *dropped = dropped.saturating_add(1);
        }
        entries.remove(leaves);
    }
    let id = id(entries, run_uid, happened.subject, now);
    entries.push(OutboxEntry {
        id,
        at: now,
        reason: short(happened.reason, MAX_REASON),
        subject: short(happened.subject, MAX_SUBJECT),
        message: short(happened.message, MAX_MESSAGE),
        warning: happened.warning,
        attempts: 0,
        receipts: Default::default(),
    });
}

/// What a sink has not received, in order.
pub fn pending(journal: &RunStatus, sink: Sink) -> impl Iterator<Item = &OutboxEntry> {
    let row = sink.row();
    journal.outbox.entries.iter().filter(move |e| row.is_some_and(|row| is_pending(e, row)))
}

/// Whether an entry says these words.
pub fn tells(entry: &OutboxEntry, subject: &str, reason: &str, message: &str) -> bool {
    entry.subject == short(subject, MAX_SUBJECT)
        && entry.reason == short(reason, MAX_REASON)
        && entry.message == short(message, MAX_MESSAGE)
}

/// A sink has received an entry. That need not be written at once: without it the entry is told once more, under its id.
pub fn received(journal: &mut RunStatus, sink: Sink, id: &str, at: Timestamp) {
    if let Some(entry) = journal.outbox.entries.iter_mut().find(|e| e.id == id) {
        entry.receipts.entry(sink.name().to_owned()).or_insert(at);
    }
}

/// An entry was sent, and nobody has answered.
pub(crate) fn not_received(journal: &mut RunStatus, id: &str) {
    if let Some(entry) = journal.outbox.entries.iter_mut().find(|e| e.id == id) {
        entry.attempts = entry.attempts.saturating_add(1);
    }
}

/// Whether every sink has received everything that is for it.
#[cfg(test)]
fn is_delivered(journal: &RunStatus) -> bool {
    !journal.outbox.entries.iter().any(is_open)
}

fn is_pending(entry: &OutboxEntry, row: &Row) -> bool {
    (row.wants)(entry) && !entry.receipts.contains_key(row.name)
}

/// Whether some sink still waits for it.
fn is_open(entry: &OutboxEntry) -> bool {
    SINKS.iter().any(|row| is_pending(entry, row))
}

/// The id of something that happened to a subject of a run at a time. It is also the name by which the API server knows
/// the Event of a transition. What happens to the same subject at the same time is numbered.
fn id(known: &[OutboxEntry], run_uid: &str, subject: &str, at: Timestamp) -> String {
    let digest = Sha256::digest(format!("{run_uid}/{subject}/{at}").as_bytes());
    let plain: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    let same = |e: &&OutboxEntry| e.id.split('-').next() == Some(plain.as_str());
    match known.iter().filter(same).count() {
        0 => plain,
        n => format!("{plain}-{n}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn add(journal: &mut RunStatus, second: i64, subject: &str) -> String {
        let happened = Happened { reason: "Progress", subject, message: "m", warning: false };
        append(journal, "uid", at(second), happened);
        journal.outbox.entries.last().expect("an entry").id.clone()
    }

    fn subjects(journal: &RunStatus) -> Vec<&str> {
        journal.outbox.entries.iter().map(|e| e.subject.as_str()).collect()
    }

    #[test]
    fn an_entry_is_pending_until_its_receipt_and_leaves_when_a_later_one_comes() {
        let mut journal = RunStatus::default();
        let first = add(&mut journal, 1, "Preflight");
        let second = add(&mut journal, 1, "Preparing");
        assert_eq!(pending(&journal, Sink::Events).map(|e| e.id.as_str()).collect::<Vec<_>>(), [&first, &second]);
        not_received(&mut journal, &first);
        received(&mut journal, Sink::Events, &first, at(2));
        received(&mut journal, Sink::Events, &first, at(3));
        received(&mut journal, Sink::Events, "unknown", at(3));
        assert_eq!(pending(&journal, Sink::Events).map(|e| e.id.as_str()).collect::<Vec<_>>(), [&second]);
        assert!(!is_delivered(&journal));
        let told = &journal.outbox.entries[0];
        assert_eq!((told.receipts["Events"], told.attempts), (at(2), 1), "the first receipt stands");
        add(&mut journal, 1, "Verifying");
        assert_eq!(subjects(&journal), ["Preflight", "Preparing", "Verifying"], "its id is still taken at that time");
        add(&mut journal, 2, "Switching");
        assert_eq!(subjects(&journal), ["Preparing", "Verifying", "Switching"]);
        assert_eq!(journal.outbox.dropped, 0);
    }

    #[test]
    fn an_id_follows_from_run_subject_and_time() {
        let mut one = RunStatus::default();
        let mut other = RunStatus::default();
        let first = add(&mut one, 1, "Preflight");
        assert_eq!(first, add(&mut other, 1, "Preflight"), "whoever writes it");
        assert_ne!(first, add(&mut one, 2, "Preflight"));
        assert_ne!(first, add(&mut one, 1, "Preparing"));
        assert_eq!(add(&mut other, 1, "Preflight"), format!("{first}-1"));
        assert_eq!(add(&mut other, 1, "Preflight"), format!("{first}-2"));
    }

    #[test]
    fn what_nobody_has_received_leaves_last_and_is_counted() {
        let mut journal = RunStatus::default();
        let ids: Vec<String> = (0..32).map(|n| add(&mut journal, n, &format!("s{n}"))).collect();
        // One that somebody has received, though not everybody: there is but one sink, so it is another's receipt.
        journal.outbox.entries[5].receipts.insert("Other".into(), at(40));
        add(&mut journal, 50, "new");
        assert!(!subjects(&journal).contains(&"s5") && journal.outbox.dropped == 1);
        received(&mut journal, Sink::Events, &ids[9], at(51));
        add(&mut journal, 52, "newer");
        assert!(!subjects(&journal).contains(&"s9") && journal.outbox.dropped == 1, "nothing was lost");
        add(&mut journal, 53, "newest");
        assert_eq!((subjects(&journal)[0], subjects(&journal).len(), journal.outbox.dropped), ("s1", 32, 2));
    }

    #[test]
    fn words_are_bounded() {
        let mut journal = RunStatus::default();
        let long = "x".repeat(5000);
        append(&mut journal, "uid", at(1), Happened { reason: &long, subject: &long, message: &long, warning: true });
        let size = serde_json::to_vec(&journal.outbox).map_or(0, |v| v.len());
        assert!(size < 700, "{size}");
    }
}
