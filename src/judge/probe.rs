//! PURE. A request that must succeed: fires after so many failures in a row, or after failing for a time. Probes cannot
//! be asked for a time that has passed, so they go one after another, and a gap between two makes the count begin anew.

use crate::actions::request::{NoRequest, build};
use crate::actions::{Cx, Verdict, http, span};
use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::step::{Http, To};
use crate::api::trigger::{ProbeTrigger, Trigger};
use crate::effect::Read;
use crate::world::{HttpAnswer, HttpError, Reading};

use super::trial::{Missed, NotAsked, Trial, TrialRule, Trials};
use super::{clock, forget, judged, no_data};

/// Failures in a row where nothing is said.
pub(super) const FAILING: u32 = 3;
/// What an answer may take on its way beyond the request's own time-out.
pub(super) const MARGIN: Duration = Duration::from_secs(2);

pub(super) fn timeout(trials: Trials) -> Duration {
    Duration::from_millis(trials.times(2).as_millis().clamp(3000, 10_000))
}

/// Why nobody was asked, where that is no fault of theirs.
fn unread(answers: &[HttpAnswer]) -> Option<String> {
    answers.iter().find_map(|answer| match &answer.result {
        Err(HttpError::Unread(why)) => Some(format!("not sent: {why}")),
        Err(HttpError::NotSent(_) | HttpError::Lost(_)) | Ok(_) => None,
    })
}

/// What a request has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Good,
    /// And why.
    Bad(String),
    /// Neither, and why.
    Unknown(String),
}

/// What the answers to a request say, or that it could not be sent.
pub(super) fn seen(cx: &Cx, http: &Http, answer: Result<&[HttpAnswer], NoRequest>) -> Seen {
    match answer {
        Ok(answers) => match (unread(answers), http::judge_or_not(cx, http, answers)) {
            (Some(why), _) => Seen::Unknown(why),
            (None, Ok(Verdict::Pass { .. })) => Seen::Good,
            (None, Ok(Verdict::Fail { message, .. } | Verdict::Refused { message, .. })) => Seen::Bad(message),
            (
                None,
                Ok(Verdict::Unknown { message } | Verdict::NotMade { message })
                | Err(http::Unjudged { why: message, .. }),
            ) => Seen::Unknown(message),
        },
        // That nobody is there is what a probe is there to find.
        Err(NoRequest::Nobody(why)) => Seen::Bad(why),
        Err(NoRequest::Wait(why) | NoRequest::Fail(why)) => Seen::Unknown(why),
    }
}

impl TrialRule for ProbeTrigger {
    /// The answers, or why nothing could be asked.
    type Answer<'w> = Result<&'w [HttpAnswer], NoRequest>;

    // What would be seen now belongs to the trial that is due next.
    const MISSED: Missed = Missed::AwaitNext;

    fn patience(&self, trials: Trials) -> Duration {
        Duration::from_millis(timeout(trials).as_millis() + MARGIN.as_millis())
    }

    fn ask<'w>(&self, cx: &Cx<'w>, trial: &Trial) -> Result<Read, NotAsked<Self::Answer<'w>>> {
        let request = build(cx, &self.http, To::Live, timeout(trial.trials), None);
        Ok(Read::Http(request.map_err(|why| NotAsked::Known(Err(why)))?))
    }

    fn answer<'w>(&self, reading: &'w Reading) -> Option<Self::Answer<'w>> {
        if let Reading::Http(answers) = reading { Some(Ok(answers)) } else { None }
    }

    fn judge(
        &self,
        cx: &Cx,
        trigger: &Trigger,
        trial: &Trial,
        answer: Self::Answer<'_>,
        record: &mut TriggerRecord,
    ) -> Option<String> {
        let due = trial.due;
        let (verdict, saw) = match seen(cx, &self.http, answer) {
            Seen::Good => (TrialVerdict::Good, "ok".to_owned()),
            Seen::Bad(why) => (TrialVerdict::Bad, why),
            Seen::Unknown(why) => (no_data::verdict(trigger), why),
        };
        // The time of the answer, not of the question: one that hangs is no gap.
        if record.last_at.is_some_and(|last| span(last, due) > trial.trials.times(2)) {
            forget(record);
        }
        record.last_at = Some(cx.world.now);
        judged(record, due, verdict, &saw);
        if verdict != TrialVerdict::Bad {
            return None;
        }
        let since = record.bad_since.unwrap_or(due);
        let times = record.bad_in_a_row;
        match self.failing_for {
            Some(limit) => {
                let failing = span(since, due);
                (failing >= limit).then(|| format!("failing since {} ({failing}): {saw}", clock(since)))
            }
            None => (times >= self.failing.unwrap_or(FAILING))
                .then(|| format!("failed {times} times in a row since {}: {saw}", clock(since))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{armed, judge, trigger};
    use super::*;
    use crate::actions::fixtures::{Fixture, answer, pod};
    use crate::api::trigger::Watched;

    fn probe(extra: &[(&str, serde_json::Value)]) -> Trigger {
        let mut probe = json!({"http": {"path": "/health"}});
        for (key, value) in extra {
            probe[*key] = value.clone();
        }
        trigger(json!({"name": "down", "every": "1s", "probe": probe}))
    }

    fn answers(c: char) -> Vec<HttpAnswer> {
        let failed = |e| vec![HttpAnswer { from: "service/web".into(), result: Err(e) }];
        match c {
            'g' => vec![answer(200, "")],
            'x' => vec![answer(200, &"a".repeat(65_536))],
            'b' => vec![answer(503, "")],
            'r' => failed(HttpError::NotSent("connection refused".into())),
            'u' => failed(HttpError::Unread("Secret tokens cannot be read: no answer".into())),
            _ => failed(HttpError::Lost("timed out".into())),
        }
    }

    /// Plays one answer a second; `.` is a second in which the operator was not there.
    fn play(t: &Trigger, script: &str) -> Option<(usize, String)> {
        let mut f = Fixture::new();
        let mut record = armed(&f);
        for (i, c) in script.chars().enumerate() {
            f.after(1);
            if c == '.' {
                f.world.readings.clear();
                continue;
            }
            let (_, out) = judge(&f, t, &mut record);
            for key in out.reads.keys() {
                f.world.readings.insert(key.clone(), Reading::Http(answers(c)));
            }
            if let (Some(why), _) = judge(&f, t, &mut record) {
                return Some((i + 1, why));
            }
        }
        None
    }

    #[test]
    fn so_many_failures_in_a_row() {
        let table = [("bbb", Some(3)), ("bbgbb", None), ("brl", Some(3)), ("gggg", None), ("bbgbbb", Some(6))];
        for (script, fires) in table {
            assert_eq!(play(&probe(&[]), script).map(|f| f.0), fires, "{script}");
        }
        let why = play(&probe(&[]), "gbbb").map(|f| f.1).unwrap_or_default();
        assert_eq!(why, "failed 3 times in a row since 00:00:02Z: green-a: status 503 is not 2xx");
        assert_eq!(play(&probe(&[("failing", json!(1))]), "gb").map(|f| f.0), Some(2));
    }

    #[test]
    fn an_api_server_that_is_away_is_no_fault_of_the_target() {
        assert_eq!(play(&probe(&[]), "uuuuuuuuuu"), None);
        assert_eq!(play(&probe(&[]), "buubuu"), None);
        let mut holds_nothing = probe(&[]);
        holds_nothing.no_data = Some(crate::api::trigger::NoData::Rollback);
        assert_eq!(play(&holds_nothing, "uuu").map(|f| f.0), Some(3), "unless the manifest says so");
    }

    #[test]
    fn an_answer_that_takes_too_long_to_judge_is_no_failure() {
        let mut t = probe(&[("failing", json!(1))]);
        if let Ok(Watched::Probe(p)) = t.watches.one_mut() {
            p.http.expect = vec!["!body.matches('(?:a{1,98}){1,98}x')".into(), "status == 200".into()];
        }
        assert_eq!(play(&t, "xgxx"), None);
        assert_eq!(play(&t, "xgxb").map(|f| f.0), Some(4));
    }

    #[test]
    fn failing_for_a_time() {
        let t = probe(&[("failingFor", json!("3s"))]);
        let table = [("bbb", None), ("bbbb", Some(4)), ("bbgbbb", None)];
        for (script, fires) in table {
            assert_eq!(play(&t, script).map(|f| f.0), fires, "{script}");
        }
    }

    #[test]
    fn a_gap_never_counts_as_failing() {
        assert_eq!(play(&probe(&[]), "bb......bb"), None);
        assert_eq!(play(&probe(&[]), "bb......bbbb").map(|f| f.0), Some(12));
        let t = probe(&[("failingFor", json!("3s"))]);
        assert_eq!(play(&t, "b......bb"), None, "the time of the gap is not known to be bad");
        assert_eq!(play(&probe(&[]), "bb.b").map(|f| f.0), Some(4), "one missed trial is no gap");
    }

    #[test]
    fn a_target_that_hangs_is_failing_and_no_gap() {
        let t = probe(&[]);
        let mut f = Fixture::new();
        let mut record = armed(&f);
        let mut fired = None;
        for _ in 0..20 {
            f.after(1);
            let (_, out) = judge(&f, &t, &mut record);
            let Some(key) = out.reads.keys().next().cloned() else { continue };
            // Each request takes its whole time-out.
            f.after(2);
            let (_, still) = judge(&f, &t, &mut record);
            assert!(still.reads.contains_key(&key), "asked for until it is answered");
            f.after(1);
            f.world.readings.insert(key, Reading::Http(answers('l')));
            fired = fired.or(judge(&f, &t, &mut record).0);
        }
        assert!(fired.is_some_and(|why| why.contains("failed 3 times in a row")), "{record:?}");
    }

    #[test]
    fn nobody_there_is_failing_but_not_knowing_is_not() {
        let mut t = probe(&[("failing", json!(1))]);
        if let Ok(Watched::Probe(p)) = t.watches.one_mut() {
            p.http.to = Some(To::Target);
        }
        let mut f = Fixture::new();
        let mut record = armed(&f);
        f.after(1);
        assert_eq!(judge(&f, &t, &mut record).0, None);
        assert_eq!(record.last, Some(TrialVerdict::Inconclusive), "pods are not known yet");
        f.pods(vec![pod("blue-a", "blue")]);
        f.after(1);
        assert!(judge(&f, &t, &mut record).0.is_some_and(|why| why.contains("no pod of green is ready")));
    }
}
