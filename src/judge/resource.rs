//! PURE. An object whose expectations must hold: fires at the first trial in which one does not. One that is not there, or
//! cannot be read, is no verdict.

use crate::actions::{Cx, resource};
use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::step::Resource;
use crate::api::trigger::Trigger;
use crate::effect::Read;
use crate::world::{Reading, ResourceAnswer};

use super::trial::{Missed, NotAsked, Trial, TrialRule, Trials};
use super::{clock, judged, no_data};

impl TrialRule for Resource {
    type Answer<'w> = &'w ResourceAnswer;

    // What it was at that time cannot be asked for any more.
    const MISSED: Missed = Missed::AskLast;

    fn patience(&self, _trials: Trials) -> Duration {
        Duration::from_secs(5)
    }

    fn ask<'w>(&self, _cx: &Cx<'w>, _trial: &Trial) -> Result<Read, NotAsked<&'w ResourceAnswer>> {
        Ok(Read::Resource(resource::object(self)))
    }

    fn answer<'w>(&self, reading: &'w Reading) -> Option<&'w ResourceAnswer> {
        if let Reading::Resource(answer) = reading { Some(answer) } else { None }
    }

    fn judge(
        &self,
        cx: &Cx,
        trigger: &Trigger,
        trial: &Trial,
        answer: &ResourceAnswer,
        record: &mut TriggerRecord,
    ) -> Option<String> {
        let now = cx.world.now;
        record.last_at = Some(trial.due);
        let what = format!("{} {}", self.kind, self.name);
        let (verdict, saw) = match resource::judge(cx, self, answer) {
            Ok((_, None)) => (TrialVerdict::Good, "ok".to_owned()),
            Ok((_, Some(why))) => (TrialVerdict::Bad, format!("{what}: {why}")),
            Err(why) => (no_data::verdict(trigger), why),
        };
        judged(record, now, verdict, &saw);
        (verdict == TrialVerdict::Bad).then(|| format!("{saw} at {}", clock(now)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{armed, judge, read, trigger};
    use super::*;
    use crate::actions::fixtures::Fixture;
    use crate::world::ResourceAnswer;

    #[test]
    fn an_expectation_that_fails_fires_and_nothing_else_does() {
        let t = trigger(json!({"name": "budget", "every": "5s", "resource": {"apiVersion": "v1", "kind": "ConfigMap",
            "name": "budget", "expect": ["object.data.open == 'yes'"]}}));
        let open = |open: &str| ResourceAnswer::Found(json!({"data": {"open": open}}));
        let table = [
            (open("yes"), TrialVerdict::Good, false),
            (open("no"), TrialVerdict::Bad, true),
            (ResourceAnswer::NotFound, TrialVerdict::Inconclusive, false),
            (ResourceAnswer::Unread("503".into()), TrialVerdict::Inconclusive, false),
        ];
        for (answer, verdict, fires) in table {
            let mut f = Fixture::new();
            let mut record = armed(&f);
            f.after(5);
            let (_, out) = judge(&f, &t, &mut record);
            assert!(out.reads.contains_key(&read("budget@1")), "{:?}", out.reads.keys());
            f.world.readings.insert(read("budget@1"), Reading::Resource(answer.clone()));
            let (why, _) = judge(&f, &t, &mut record);
            assert_eq!((record.last, why.is_some()), (Some(verdict), fires), "{answer:?}");
        }
    }
}
