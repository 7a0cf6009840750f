//! PURE. Probes that are sent together, round after round: fires when so many rounds in a row were not green. One round is
//! under way at a time, and a gap between two makes the count begin anew, as with probes.

use crate::actions::request::build;
use crate::actions::{Cx, Out, span};
use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::step::To;
use crate::api::trigger::{Check, SuiteTrigger, Trigger};
use crate::effect::{Read, ReadKey};
use crate::journal::later;
use crate::world::Reading;

use super::probe::{self, FAILING, Seen};
use super::trial::Trials;
use super::{clock, forget, judged, no_data};

/// See [`super::advance`].
pub fn advance(
    cx: &Cx,
    trigger: &Trigger,
    suite: &SuiteTrigger,
    record: &mut TriggerRecord,
    out: &mut Out,
) -> Option<String> {
    let now = cx.world.now;
    let trials = Trials::arm(cx, trigger, record);
    let n = record.trials + 1;
    let due = trials.due(n);
    if due > now {
        out.wake_at(due);
        return None;
    }
    let timeout = probe::timeout(trials);
    let nobody_waits = later(due, Duration::from_millis(timeout.as_millis() + probe::MARGIN.as_millis()));
    let (mut seen, mut reads, mut open) = (vec![], vec![], false);
    for step in &suite.steps {
        let http = &step.http;
        let key = ReadKey::PartOfTrial(trigger.name.clone(), n, step.name.clone());
        let request = build(cx, http, To::Live, timeout, None);
        match (cx.world.readings.get(&key), request) {
            (Some(Reading::Http(answers)), request) => {
                seen.push((step, probe::seen(cx, http, Ok(answers))));
                reads.extend(request.ok().map(|request| (key, Read::Http(request))));
            }
            (_, Ok(request)) => {
                open = true;
                reads.push((key, Read::Http(request)));
            }
            (_, Err(why)) => seen.push((step, probe::seen(cx, http, Err(why)))),
        }
    }
    if open && nobody_waits >= now {
        // What is answered is asked for as well: it is kept until the round is over.
        out.reads.extend(reads);
        out.wake_at(later(nobody_waits, Duration::from_millis(1)));
        return None;
    }
    record.trials = trials.latest(now).max(n);
    out.wake_at(trials.due(record.trials + 1));
    if open {
        judged(record, due, TrialVerdict::Inconclusive, "not looked at for a while");
        return None;
    }
    let (verdict, saw) = round(trigger, suite, &seen);
    if record.last_at.is_some_and(|last| span(last, due) > trials.times(2)) {
        forget(record);
    }
    record.last_at = Some(now);
    judged(record, due, verdict, &saw);
    let times = record.bad_in_a_row;
    let fires = verdict == TrialVerdict::Bad && times >= suite.failing.unwrap_or(FAILING);
    let since = clock(record.bad_since.unwrap_or(due));
    fires.then(|| format!("failed {times} rounds in a row since {since}: {saw}"))
}

/// What a round comes to. What is not known decides nothing: it is inconclusive where the round could be either.
fn round(trigger: &Trigger, suite: &SuiteTrigger, seen: &[(&Check, Seen)]) -> (TrialVerdict, String) {
    let green = |unknown_passes: bool| {
        let passed = |(_, seen): &&(&Check, Seen)| match seen {
            Seen::Good => true,
            Seen::Bad(_) => false,
            Seen::Unknown(_) => unknown_passes,
        };
        let passes = seen.iter().filter(passed).count();
        let critical = seen.iter().filter(|one| one.0.critical && !passed(one)).count();
        passes * 100 >= usize::try_from(suite.pass_rate.unwrap_or(100)).unwrap_or(100) * seen.len()
            && critical <= usize::try_from(suite.max_critical_failures.unwrap_or(0)).unwrap_or(0)
    };
    let verdict = match (green(false), green(true)) {
        (true, _) => TrialVerdict::Good,
        (false, false) => TrialVerdict::Bad,
        (false, true) => no_data::verdict(trigger),
    };
    let passed = seen.iter().filter(|(_, seen)| *seen == Seen::Good).count();
    let mut saw = format!("{passed} of {} checks passed", seen.len());
    let bad = seen.iter().find_map(|(step, seen)| if let Seen::Bad(why) = seen { Some((step, why)) } else { None });
    let unknown =
        || seen.iter().find_map(|(step, seen)| if let Seen::Unknown(why) = seen { Some((step, why)) } else { None });
    if let Some((step, why)) = bad.or_else(unknown) {
        saw.push_str(&format!("; {}: {why}", step.name));
    }
    (verdict, saw)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{armed, judge, trigger};
    use super::*;
    use crate::actions::fixtures::{Fixture, answer};
    use crate::world::{HttpAnswer, HttpError};

    fn suite(more: &[(&str, serde_json::Value)]) -> Trigger {
        let mut suite = json!({"steps": [
            {"name": "a", "http": {"path": "/a"}},
            {"name": "b", "http": {"path": "/b"}},
            {"name": "c", "critical": false, "http": {"path": "/c"}},
        ]});
        for (key, value) in more {
            suite[*key] = value.clone();
        }
        trigger(json!({"name": "gate", "every": "1s", "suite": suite}))
    }

    fn answers(c: char) -> Vec<HttpAnswer> {
        let failed = |e| vec![HttpAnswer { from: "service/web".into(), result: Err(e) }];
        match c {
            'g' => vec![answer(200, "")],
            'b' => vec![answer(503, "")],
            _ => failed(HttpError::Unread("no answer".into())),
        }
    }

    /// Plays rounds, each with a letter for every check; `...` is a second in which the operator was not there. The round
    /// that fires, why, and what was judged last.
    fn play(t: &Trigger, rounds: &[&str]) -> (Option<(usize, String)>, Option<TrialVerdict>) {
        let mut f = Fixture::new();
        let mut record = armed(&f);
        for (i, letters) in rounds.iter().enumerate() {
            f.after(1);
            f.world.readings.clear();
            if *letters == "..." {
                continue;
            }
            let (_, out) = judge(&f, t, &mut record);
            if out.reads.is_empty() {
                // What was missed is looked at no more.
                continue;
            }
            assert_eq!(out.reads.len(), 3, "{:?}", out.reads.keys());
            for (n, (key, c)) in out.reads.keys().zip(letters.chars()).enumerate() {
                f.world.readings.insert(key.clone(), Reading::Http(answers(c)));
                let (fired, out) = judge(&f, t, &mut record);
                if n < 2 {
                    assert!(fired.is_none() && out.reads.len() == 3, "the round is not over: {:?}", out.reads.keys());
                } else if let Some(why) = fired {
                    return (Some((i + 1, why)), record.last);
                }
            }
        }
        (None, record.last)
    }

    #[test]
    fn so_many_rounds_in_a_row_that_are_not_green() {
        let table: [(&[&str], Option<usize>); 6] = [
            (&["ggg", "bgg", "gbg", "ggb"], Some(4)),
            (&["bgg", "gbg", "ggg", "ggb", "bbb"], None),
            // A round that is not known neither ends nor adds.
            (&["bgg", "ugg", "bgg", "bgg"], Some(4)),
            (&["uuu", "uuu", "uuu", "uuu"], None),
            // Red whatever the unknown one is.
            (&["bug", "bug", "ubg"], Some(3)),
            (&["bbb", "bbb", "...", "...", "...", "...", "...", "...", "bbb", "bbb", "bbb"], None),
        ];
        for (rounds, fires) in table {
            assert_eq!(play(&suite(&[]), rounds).0.map(|f| f.0), fires, "{rounds:?}");
        }
        let why = play(&suite(&[]), &["bgg", "gbg", "gbg"]).0.map(|f| f.1).unwrap_or_default();
        assert_eq!(
            why,
            "failed 3 rounds in a row since 00:00:01Z: 2 of 3 checks passed; b: green-a: status 503 is not 2xx"
        );
        assert_eq!(play(&suite(&[("failing", json!(1))]), &["ggg", "ggb"]).0.map(|f| f.0), Some(2));
    }

    #[test]
    fn a_round_has_a_pass_rate_and_critical_checks() {
        use TrialVerdict::{Bad, Good, Inconclusive};
        let table = [
            (100, 0, "ggg", Good),
            (60, 0, "ggb", Good),
            (60, 0, "gbg", Bad),
            (60, 1, "gbg", Good),
            (67, 1, "gbg", Bad),
            (60, 0, "ggu", Good),
            (60, 0, "gug", Inconclusive),
            (0, 3, "bbb", Good),
        ];
        for (rate, bearable, letters, verdict) in table {
            let t = suite(&[("passRate", json!(rate)), ("maxCriticalFailures", json!(bearable))]);
            assert_eq!(play(&t, &[letters]).1, Some(verdict), "{rate} {bearable} {letters}");
        }
        let mut t = suite(&[("failing", json!(1))]);
        t.no_data = serde_json::from_value(json!("Rollback")).ok();
        assert_eq!(play(&t, &["gug"]).0.map(|f| f.0), Some(1), "what is missing is bad where the manifest says so");
    }

    #[test]
    fn a_round_that_nobody_waited_for_is_no_verdict() {
        let t = suite(&[]);
        let mut f = Fixture::new();
        let mut record = armed(&f);
        f.after(1);
        let (_, out) = judge(&f, &t, &mut record);
        let first = out.reads.keys().next().cloned().expect("a read");
        f.world.readings.insert(first, Reading::Http(answers('b')));
        f.after(30);
        assert_eq!(judge(&f, &t, &mut record).0, None);
        assert_eq!((record.trials, record.last), (31, Some(TrialVerdict::Inconclusive)));
        f.after(1);
        let (_, out) = judge(&f, &t, &mut record);
        assert!(out.reads.keys().all(|key| key.to_string().starts_with("gate@32/")), "{:?}", out.reads.keys());
    }
}
