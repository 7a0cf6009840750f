//! PURE. What a run keeps for the record alone, and how all of it stays within bounds.

use jiff::Timestamp;

use super::short;
use crate::api::run::{RunStatus, StepRecord, StepState, TrialVerdict, TriggerRecord};
use crate::api::trail::{AttemptRecord, TrialRecord};

/// A run may not grow beyond this in etcd (DESIGN §3).
pub(crate) const MAX_RUN: usize = 512 * 1024;
/// Most attempts kept before the last one, of a step.
const MAX_EARLIER: usize = 5;
/// Longest message of one of them, in characters.
const MAX_EARLIER_MESSAGE: usize = 120;
/// Most trials kept of a trigger.
const MAX_HISTORY: usize = 12;
/// Longest text of what one of them saw, in characters.
const MAX_SAW: usize = 48;
/// Most words of a Job's command, and how long all of them are together, in characters.
const MAX_WORDS: usize = 16;
const MAX_COMMAND: usize = 256;

/// Keeps an attempt that has ended, before another one begins.
pub(crate) fn keep_attempt(record: &mut StepRecord, ended: Timestamp, state: StepState, message: &str) {
    record.earlier.push(AttemptRecord {
        attempt: record.attempt,
        started: record.attempt_at,
        ended,
        state,
        message: short(message, MAX_EARLIER_MESSAGE),
    });
    if record.earlier.len() > MAX_EARLIER {
        record.earlier.remove(0);
    }
}

/// Keeps a trial that was bad, or judged otherwise than the one before; to be called before it is the last one. One that
/// saw the same as the last that is kept says nothing new.
pub(crate) fn keep_trial(record: &mut TriggerRecord, at: Timestamp, verdict: TrialVerdict, saw: &str) {
    let saw = short(saw, MAX_SAW);
    let changed = record.last != Some(verdict);
    let known = record.history.last().is_some_and(|t| t.verdict == verdict && t.saw == saw);
    if !changed && (verdict != TrialVerdict::Bad || known) {
        return;
    }
    record.history.push(TrialRecord { at, verdict, saw, limit: None });
    if record.history.len() > MAX_HISTORY {
        record.history.remove(0);
    }
}

/// Says what the trial of this time was measured by, where it is kept.
pub(crate) fn keep_limit(record: &mut TriggerRecord, at: Timestamp, limit: &str) {
    if let Some(trial) = record.history.last_mut().filter(|t| t.at == at) {
        trial.limit = Some(short(limit, MAX_SAW));
    }
}

/// A command as it is kept: bounded, and without what looks like a credential. Values of the environment are not in it.
pub fn command<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut kept = vec![];
    let mut left = MAX_COMMAND;
    let mut hidden = false;
    for word in words {
        if left == 0 {
            break;
        }
        if kept.len() == MAX_WORDS {
            kept.pop();
            kept.push("…".to_owned());
            break;
        }
        let (shown, hides_next) = if hidden { ("…".to_owned(), false) } else { without_credential(word) };
        hidden = hides_next;
        let shown = short(&shown, left);
        left = left.saturating_sub(shown.chars().count());
        kept.push(shown);
    }
    kept
}

/// What the names of options and variables with a credential have in them.
const CREDENTIALS: [&str; 7] = ["password", "passwd", "secret", "token", "apikey", "api-key", "credential"];

/// A word without a credential that it seems to have, and whether the next word seems to be one.
fn without_credential(word: &str) -> (String, bool) {
    let named = |name: &str| {
        let name = name.to_ascii_lowercase().replace('_', "-");
        CREDENTIALS.iter().any(|c| name.contains(c))
    };
    if let Some((name, _)) = word.split_once('=').filter(|(name, _)| named(name)) {
        return (format!("{name}=…"), false);
    }
    // `scheme://user:password@host`.
    if let Some((scheme, rest)) = word.split_once("://")
        && let Some((user, host)) = rest.split_once('@')
        && user.contains(':')
    {
        return (format!("{scheme}://…@{host}"), false);
    }
    (word.to_owned(), word.starts_with('-') && named(word))
}

/// The journal without what is kept for the record alone: nothing is decided by what is left out here.
pub fn without_record(journal: &mut RunStatus) {
    journal.outbox = Default::default();
    journal.images.clear();
    journal.old_release = None;
    journal.steps.iter_mut().for_each(|step| step.earlier.clear());
    journal.start_over.iter_mut().flat_map(|over| &mut over.steps).for_each(|former| former.earlier.clear());
    super::jobs_mut(journal).for_each(|job| job.command.clear());
    journal.triggers.iter_mut().for_each(|t| t.history.clear());
}

/// Makes a journal fit beside a spec of so many bytes, and says whether something had to go: evidence of executions that
/// ended first, the oldest first, then what is kept for the record alone. What is left is never cut, since a rollback must
/// always find room.
pub fn fit(journal: &mut RunStatus, spec: usize) -> bool {
    let size = |j: &RunStatus| serde_json::to_vec(j).map_or(0, |v| v.len()) + spec;
    let mut cut = false;
    let mut left = CUTS.iter();
    let Some(mut next) = left.next() else { return false };
    while size(journal) > MAX_RUN {
        if next(journal) {
            cut = true;
            continue;
        }
        match left.next() {
            Some(after) => next = after,
            None => break,
        }
    }
    cut
}

/// What goes, one piece at a time, in this order: each says whether there was a piece.
const CUTS: [fn(&mut RunStatus) -> bool; 5] = [
    |j| {
        let ended = j.steps.iter_mut().find(|s| s.ended.is_some() && s.evidence.is_some());
        ended.is_some_and(|step| step.evidence.take().is_some())
    },
    |j| {
        let longest = j.triggers.iter_mut().max_by_key(|t| t.history.len());
        longest.is_some_and(|t| (!t.history.is_empty()).then(|| t.history.remove(0)).is_some())
    },
    |j| {
        let former = j.start_over.iter_mut().flat_map(|over| &mut over.steps).map(|f| &mut f.earlier);
        let all = j.steps.iter_mut().map(|s| &mut s.earlier).chain(former);
        all.filter(|earlier| !earlier.is_empty()).take(1).any(|earlier| !std::mem::take(earlier).is_empty())
    },
    |j| {
        super::jobs_mut(j)
            .find(|job| !job.command.is_empty())
            .is_some_and(|job| !std::mem::take(&mut job.command).is_empty())
    },
    |j| j.images.pop().is_some(),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::run::JobRecord;
    use crate::api::trail::ImageRecord;
    use crate::journal::outbox;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// Everything that this file bounds, at its most, with as many steps and triggers as a plan can have.
    fn most() -> RunStatus {
        let long = "m".repeat(5000);
        let mut journal = RunStatus { old_release: Some("v".repeat(64)), ..RunStatus::default() };
        for n in 0..200 {
            let mut step = StepRecord {
                name: format!("a-step-whose-name-is-as-long-as-it-may-{n:03}"),
                state: StepState::Failed,
                ended: Some(at(1)),
                message: Some("m".repeat(512)),
                evidence: Some(json!({"x": "y".repeat(1016)})),
                job: Some(JobRecord { command: command([long.as_str(); 20].into_iter()), ..JobRecord::default() }),
                ..StepRecord::default()
            };
            (1..=20).for_each(|n| {
                step.attempt = n;
                keep_attempt(&mut step, at(1), StepState::Failed, &long);
            });
            journal.steps.push(step);
        }
        for n in 0..22 {
            let mut trigger = TriggerRecord { name: format!("trigger-{n}"), ..TriggerRecord::default() };
            for trial in 0..40 {
                keep_trial(&mut trigger, at(trial), TrialVerdict::Bad, &format!("{trial}{long}"));
                keep_limit(&mut trigger, at(trial), &long);
                trigger.last = Some(TrialVerdict::Bad);
            }
            journal.triggers.push(trigger);
        }
        for n in 0..100 {
            let happened = outbox::Happened { reason: &long, subject: &long, message: &long, warning: true };
            outbox::append(&mut journal, "uid", at(n), happened);
        }
        let image = ImageRecord {
            image_ids: vec!["i".repeat(256); 2],
            at_switch: vec!["i".repeat(256); 2],
            image: "i".repeat(256),
            ..ImageRecord::default()
        };
        journal.images = vec![image; 24];
        journal
    }

    #[test]
    fn a_run_with_the_most_of_everything_fits() {
        let mut journal = most();
        assert!(journal.steps.iter().all(|s| s.earlier.len() == MAX_EARLIER));
        assert!(journal.triggers.iter().all(|t| t.history.len() == MAX_HISTORY));
        let plan = 320 * 1024;
        assert!(serde_json::to_vec(&journal).map_or(0, |v| v.len()) + plan > MAX_RUN, "something has to go");
        assert!(fit(&mut journal, plan));
        let size = serde_json::to_vec(&journal).map_or(0, |v| v.len()) + plan;
        assert!(size <= MAX_RUN, "{size}");
        assert_eq!(journal.outbox.entries.len(), outbox::MAX_ENTRIES, "what is still to be told stays");
        assert!(journal.steps.iter().all(|s| s.message.is_some()), "and so does why things failed");
        assert!(!fit(&mut journal, plan), "once is enough");
    }

    #[test]
    fn evidence_goes_first_and_that_of_what_runs_never() {
        let step = |name: &str, ended: bool| StepRecord {
            name: name.into(),
            ended: ended.then(|| at(0)),
            evidence: Some(json!({"x": "y".repeat(300 * 1024)})),
            earlier: vec![AttemptRecord::default()],
            ..StepRecord::default()
        };
        let mut journal =
            RunStatus { steps: vec![step("a", true), step("b", true), step("c", false)], ..RunStatus::default() };
        assert!(fit(&mut journal, 1000));
        assert_eq!(journal.steps.iter().map(|s| s.evidence.is_some()).collect::<Vec<_>>(), [false, false, true]);
        assert!(journal.steps.iter().all(|s| s.earlier.len() == 1), "nothing else had to go");
        let mut large = RunStatus { steps: vec![step("c", false), step("d", false)], ..RunStatus::default() };
        fit(&mut large, 1000);
        assert!(large.steps.iter().all(|s| s.evidence.is_some() && s.earlier.is_empty()));
    }

    #[test]
    fn trials_are_kept_that_were_bad_or_changed_the_verdict() {
        use TrialVerdict::{Bad, Good, Inconclusive};
        let mut record = TriggerRecord::default();
        let seen = [
            (1, Good, "0.01"),
            (2, Good, "0.02"),
            (3, Bad, "0.09"),
            (4, Bad, "0.08"),
            (5, Bad, "0.08"),
            (6, Inconclusive, "no data"),
            (7, Inconclusive, "no data"),
            (8, Good, "0.01"),
        ];
        for (second, verdict, saw) in seen {
            keep_trial(&mut record, at(second), verdict, saw);
            keep_limit(&mut record, at(second), "> 0.05");
            record.last = Some(verdict);
        }
        let kept: Vec<_> = record.history.iter().map(|t| (t.at.as_second(), t.verdict)).collect();
        assert_eq!(kept, [(1, Good), (3, Bad), (4, Bad), (6, Inconclusive), (8, Good)]);
        assert!(record.history.iter().all(|t| t.limit.as_deref() == Some("> 0.05")));
    }

    #[test]
    fn no_credential_of_a_command_is_kept() {
        let words = |text: &str| command(text.split(' ')).join(" ");
        assert_eq!(words("npm run migrate:deploy"), "npm run migrate:deploy");
        assert_eq!(words("tool --password=hunter2 --user=joe"), "tool --password=… --user=joe");
        assert_eq!(words("tool --auth-token hunter2 go"), "tool --auth-token … go");
        assert_eq!(words("psql postgres://joe:hunter2@db/shop"), "psql postgres://…@db/shop");
        assert_eq!(words("env API_KEY=hunter2 run"), "env API_KEY=… run");
        let long = command(["x"; 40].into_iter());
        assert_eq!((long.len(), long.last().map(String::as_str)), (MAX_WORDS, Some("…")));
        let long = "y".repeat(1000);
        let cut = command([long.as_str(), "z"].into_iter());
        assert!(cut.len() == 1 && cut[0].chars().count() == MAX_COMMAND && cut[0].ends_with("y…"), "{cut:?}");
    }
}
