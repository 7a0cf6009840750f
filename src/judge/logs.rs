//! PURE. Lines of logs: fires when more of them match than may. What is counted are the lines of the last `within`, none
//! from before the trigger was armed. A count that is too high already is bad whatever else could not be read; one that
//! is not known to be whole is never good.

use crate::actions::{Cx, logs};
use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::trigger::{LogsTrigger, Trigger};
use crate::effect::Read;
use crate::world::{LogsAnswer, Reading};

use super::trial::{Missed, NotAsked, Trial, TrialRule, Trials};
use super::{clock, judged, no_data};

impl TrialRule for LogsTrigger {
    type Answer<'w> = &'w LogsAnswer;

    // A later trial counts the same lines, as far as they still matter.
    const MISSED: Missed = Missed::AskLast;

    fn patience(&self, _trials: Trials) -> Duration {
        Duration::from_secs(40)
    }

    fn ask<'w>(&self, cx: &Cx<'w>, trial: &Trial) -> Result<Read, NotAsked<&'w LogsAnswer>> {
        let since = logs::before(trial.due, self.logs.within.unwrap_or_default());
        logs::read(cx, &self.logs, since.max(trial.trials.armed())).map_err(|why| NotAsked::Cannot(trial.due, why))
    }

    fn answer<'w>(&self, reading: &'w Reading) -> Option<&'w LogsAnswer> {
        if let Reading::Logs(answer) = reading { Some(answer) } else { None }
    }

    fn judge(
        &self,
        cx: &Cx,
        trigger: &Trigger,
        trial: &Trial,
        answer: &LogsAnswer,
        record: &mut TriggerRecord,
    ) -> Option<String> {
        record.last_at = Some(trial.due);
        let (lines, within) = (answer.lines, self.logs.within.unwrap_or_default());
        let of = format!("{lines} lines of {} match {:?}", logs::whose(cx, &self.logs), self.logs.matches);
        let (verdict, saw) = match &answer.problem {
            _ if lines > u64::from(self.more_than) => {
                (TrialVerdict::Bad, format!("{of} within {within}, more than {}", self.more_than))
            }
            Some(why) => (no_data::verdict(trigger), why.clone()),
            None => (TrialVerdict::Good, of),
        };
        judged(record, trial.due, verdict, &saw);
        (verdict == TrialVerdict::Bad).then(|| format!("{saw} at {}", clock(trial.due)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{armed, judge, read, trigger};
    use super::*;
    use crate::actions::Out;
    use crate::actions::fixtures::Fixture;

    fn errors(no_data: &str) -> Trigger {
        let logs = json!({"side": "Target", "matches": "ERROR", "within": "1m", "moreThan": 2});
        trigger(json!({"name": "errors", "every": "10s", "noData": no_data, "logs": logs}))
    }

    fn since(out: &Out) -> Option<String> {
        let Some(Read::Logs(of)) = out.reads.values().next() else { return None };
        Some(of.since.to_string())
    }

    /// Judges trial after trial, ten seconds apart.
    fn play(t: &Trigger, answers: &[(u64, Option<&str>)]) -> (Option<String>, TriggerRecord) {
        let mut f = Fixture::new();
        let mut record = armed(&f);
        for (lines, problem) in answers {
            f.after(10);
            let (_, out) = judge(&f, t, &mut record);
            for key in out.reads.keys() {
                let answer = LogsAnswer { lines: *lines, pods: 2, problem: problem.map(str::to_owned) };
                f.world.readings.insert(key.clone(), Reading::Logs(answer));
            }
            if let (Some(why), _) = judge(&f, t, &mut record) {
                return (Some(why), record);
            }
        }
        (None, record)
    }

    #[test]
    fn more_lines_than_allowed_fire_at_once() {
        let (why, _) = play(&errors("Hold"), &[(0, None), (2, None), (3, None)]);
        assert_eq!(why.as_deref(), Some("3 lines of green's pods match \"ERROR\" within 1m, more than 2 at 00:00:30Z"));
        let (why, record) = play(&errors("Hold"), &[(2, None), (0, None)]);
        assert!(why.is_none() && record.last == Some(TrialVerdict::Good));
    }

    #[test]
    fn what_could_not_all_be_read_is_bad_or_nothing_and_never_good() {
        let gone = Some("rotated");
        assert!(play(&errors("Hold"), &[(3, gone)]).0.is_some(), "there are too many already");
        let (why, record) = play(&errors("Hold"), &[(0, None), (1, gone)]);
        assert!(why.is_none() && record.last == Some(TrialVerdict::Inconclusive));
        assert!(play(&errors("Rollback"), &[(0, None), (1, gone)]).0.is_some_and(|why| why.starts_with("rotated")));
    }

    #[test]
    fn lines_from_before_the_switch_do_not_count_and_missed_trials_are_made_up_for() {
        let t = errors("Hold");
        let mut f = Fixture::new();
        let mut record = armed(&f);
        f.after(10);
        assert_eq!(since(&judge(&f, &t, &mut record).1).as_deref(), Some("2026-01-01T00:00:00Z"));
        f.after(110);
        let (_, out) = judge(&f, &t, &mut record);
        assert_eq!(since(&out).as_deref(), Some("2026-01-01T00:01:00Z"), "the last minute");
        assert!(out.reads.contains_key(&read("errors@12")), "{:?}", out.reads.keys());
    }
}
