//! PURE. Alerts: fires when one fires that began after the switch. One that was there already is no fault of the release.

use crate::actions::Cx;
use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::trigger::{AlertTrigger, Trigger};
use crate::effect::{AlertsOf, Read};
use crate::world::{AlertsAnswer, Reading};

use super::trial::{Missed, NotAsked, Trial, TrialRule, Trials};
use super::{clock, judged, no_data};

/// What an answer may take on its way beyond the request's own time-out.
const MARGIN: Duration = Duration::from_secs(2);

fn timeout(trials: Trials) -> Duration {
    Duration::from_millis(trials.times(2).as_millis().clamp(3000, 10_000))
}

impl TrialRule for AlertTrigger {
    type Answer<'w> = &'w AlertsAnswer;

    // What fires now is what matters.
    const MISSED: Missed = Missed::AskLast;

    fn patience(&self, trials: Trials) -> Duration {
        Duration::from_millis(timeout(trials).as_millis() + MARGIN.as_millis())
    }

    fn ask<'w>(&self, _cx: &Cx<'w>, trial: &Trial) -> Result<Read, NotAsked<&'w AlertsAnswer>> {
        Ok(Read::Alerts(AlertsOf {
            alertmanager: self.alertmanager.clone(),
            matchers: self.matchers.clone(),
            since: trial.trials.armed(),
            timeout: timeout(trial.trials),
        }))
    }

    fn answer<'w>(&self, reading: &'w Reading) -> Option<&'w AlertsAnswer> {
        if let Reading::Alerts(answer) = reading { Some(answer) } else { None }
    }

    fn judge(
        &self,
        cx: &Cx,
        trigger: &Trigger,
        trial: &Trial,
        answer: &AlertsAnswer,
        record: &mut TriggerRecord,
    ) -> Option<String> {
        let now = cx.world.now;
        record.last_at = Some(trial.due);
        let (verdict, saw) = match answer {
            AlertsAnswer::Found { count: 0, .. } => (TrialVerdict::Good, "no alert".to_owned()),
            AlertsAnswer::Found { count, first } => (TrialVerdict::Bad, said(*count, first.as_ref())),
            AlertsAnswer::Inconclusive(why) => (no_data::verdict(trigger), why.clone()),
        };
        judged(record, now, verdict, &saw);
        (verdict == TrialVerdict::Bad).then(|| match answer {
            AlertsAnswer::Found { .. } => format!("{saw}, seen at {}", clock(now)),
            AlertsAnswer::Inconclusive(_) => format!("no data, which noData: Rollback takes as bad: {saw}"),
        })
    }
}

/// `alert Errors and 2 more fire since 01:02:03Z`.
fn said(count: usize, first: Option<&(String, Option<jiff::Timestamp>)>) -> String {
    let name = first.map_or("without a name", |(name, _)| name.as_str());
    let others = match count {
        0 | 1 => " fires".to_owned(),
        more => format!(" and {} more fire", more - 1),
    };
    let since = first.and_then(|(_, since)| *since).map(|at| format!(" since {}", clock(at))).unwrap_or_default();
    format!("alert {name}{others}{since}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{armed, judge, read, trigger};
    use super::*;
    use crate::actions::fixtures::Fixture;

    #[test]
    fn fires_on_what_began_after_the_switch() {
        let alert = json!({"matchers": {"team": "web"}, "alertmanager": {"url": "http://a"}});
        let found = |count, since: Option<&str>| AlertsAnswer::Found {
            count,
            first: (count > 0).then(|| ("Errors".into(), since.map(|at| at.parse().expect("a time")))),
        };
        let away = || AlertsAnswer::Inconclusive("Alertmanager: connection refused".into());
        let table = [
            (found(0, None), "Hold", TrialVerdict::Good, None),
            (found(1, None), "Hold", TrialVerdict::Bad, Some("alert Errors fires, seen at 00:00:05Z")),
            (
                found(3, Some("2026-01-01T00:00:03Z")),
                "Ignore",
                TrialVerdict::Bad,
                Some("alert Errors and 2 more fire since 00:00:03Z, seen at 00:00:05Z"),
            ),
            (away(), "Hold", TrialVerdict::Inconclusive, None),
            (away(), "Ignore", TrialVerdict::Inconclusive, None),
            (
                away(),
                "Rollback",
                TrialVerdict::Bad,
                Some("no data, which noData: Rollback takes as bad: Alertmanager: connection refused"),
            ),
        ];
        for (answer, no_data, verdict, why) in table {
            let t = trigger(json!({"name": "t", "every": "5s", "noData": no_data, "alert": alert}));
            let mut f = Fixture::new();
            let switched = f.world.now;
            let mut record = armed(&f);
            f.after(5);
            let (_, out) = judge(&f, &t, &mut record);
            let Some(Read::Alerts(of)) = out.reads.get(&read("t@1")) else { panic!("{:?}", out.reads) };
            assert_eq!((of.since, of.matchers["team"].as_str(), of.alertmanager.is_some()), (switched, "web", true));
            f.world.readings.insert(read("t@1"), Reading::Alerts(answer.clone()));
            let (fired, _) = judge(&f, &t, &mut record);
            assert_eq!((fired.as_deref(), record.last, record.trials), (why, Some(verdict), 1), "{answer:?} {no_data}");
        }
    }

    #[test]
    fn a_restart_asks_what_fires_now() {
        let t = trigger(json!({"name": "t", "every": "5s", "alert": {"matchers": {"team": "web"}}}));
        let mut f = Fixture::new();
        let mut record = armed(&f);
        f.after(61);
        let (fired, out) = judge(&f, &t, &mut record);
        assert!(fired.is_none() && out.reads.contains_key(&read("t@12")) && out.reads.len() == 1, "{:?}", out.reads);
    }
}
