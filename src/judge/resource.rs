//! PURE. An object whose expectations must hold: fires at the first trial in which one does not. One that is not there, or
//! cannot be read, is no verdict.

use crate::actions::{Cx, Out, resource};
use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::step::Resource;
use crate::api::trigger::Trigger;
use crate::effect::Read;
use crate::journal::later;
use crate::world::Reading;

use super::{Trials, clock, judged, no_data};

/// After this nobody waits for the answer of a trial.
const PATIENCE: Duration = Duration::from_secs(5);

/// See [`super::advance`].
pub fn advance(cx: &Cx, trigger: &Trigger, of: &Resource, record: &mut TriggerRecord, out: &mut Out) -> Option<String> {
    let now = cx.world.now;
    let trials = Trials::of(cx, trigger, record);
    let mut n = record.trials + 1;
    if trials.due(n) > now {
        out.wake_at(trials.due(n));
        return None;
    }
    if later(trials.due(n), PATIENCE) < now {
        // What it was at that time cannot be asked for any more.
        n = trials.latest(now);
        record.trials = n - 1;
    }
    let key = format!("{}@{n}", trigger.name);
    let Some(Reading::Resource(answer)) = cx.world.readings.get(&key) else {
        out.reads.insert(key, Read::Resource(resource::object(of)));
        out.wake_at(later(later(trials.due(n), PATIENCE), Duration::from_millis(1)));
        return None;
    };
    record.last_at = Some(trials.due(n));
    record.trials = trials.latest(now).max(n);
    out.wake_at(trials.due(record.trials + 1));
    let what = format!("{} {}", of.kind, of.name);
    let (verdict, saw) = match resource::judge(cx, of, answer) {
        Ok((_, None)) => (TrialVerdict::Good, "ok".to_owned()),
        Ok((_, Some(why))) => (TrialVerdict::Bad, format!("{what}: {why}")),
        Err(why) => (no_data::verdict(trigger), why),
    };
    judged(record, now, verdict, &saw);
    (verdict == TrialVerdict::Bad).then(|| format!("{saw} at {}", clock(now)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{armed, judge, trigger};
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
            assert!(out.reads.contains_key("budget@1"), "{:?}", out.reads.keys());
            f.world.readings.insert("budget@1".into(), Reading::Resource(answer.clone()));
            let (why, _) = judge(&f, &t, &mut record);
            assert_eq!((record.last, why.is_some()), (Some(verdict), fires), "{answer:?}");
        }
    }
}
