//! PURE. What the target's pods use, by the metrics API: memory or CPU above a bound, or memory that grows. The API
//! gives each pod's last sample with its time, and gives it again until there is a new one: a trial is a new sample of
//! every pod, not a new answer. A pod without a sample is not known to be well.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::actions::{Cx, logs, span};
use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::step::SideRef;
use crate::api::trigger::{Above, PodsTrigger, Trigger};
use crate::effect::Read;
use crate::endpoints::check::{MOST_GROWING, MOST_PODS};
use crate::journal::{later, trail};
use crate::plan::quantity;
use crate::world::{PodUsage, PodView, Reading, UsageAnswer};

use super::trial::{Missed, NotAsked, Trial, TrialRule, Trials};
use super::{clock, forget, growth, judged, no_data, pods};

/// Two samples further apart leave a gap: metrics-server takes one every 15 to 60 s.
const GAP: Duration = Duration::from_secs(150);
/// What is watched of what pods use.
#[derive(Clone, Copy)]
pub enum Usage<'a> {
    /// Memory above a bound.
    Memory(&'a Above),
    /// CPU above a bound.
    Cpu(&'a Above),
    /// Memory that grows for this long.
    Growing(Duration),
}

impl<'a> Usage<'a> {
    /// How many pods can be judged; a side that wants more is refused before anything is changed.
    fn most_pods(self) -> usize {
        match self {
            Self::Memory(_) | Self::Cpu(_) => MOST_PODS,
            Self::Growing(_) => MOST_GROWING,
        }
    }

    /// What a trigger watches, where that is what pods use.
    pub fn of(pods: &'a PodsTrigger) -> Option<Self> {
        let growing = pods.memory_growing.as_ref().map(|g| Self::Growing(g.for_));
        pods.memory.as_ref().map(Self::Memory).or_else(|| pods.cpu.as_ref().map(Self::Cpu)).or(growing)
    }

    /// How long it must be bad; growth has its time in itself.
    fn sustained(self) -> Duration {
        match self {
            Self::Memory(above) | Self::Cpu(above) => above.sustained.unwrap_or_default(),
            Self::Growing(_) => Duration::default(),
        }
    }
}

impl TrialRule for Usage<'_> {
    type Answer<'w> = &'w UsageAnswer;

    // What was used at that time cannot be asked for any more.
    const MISSED: Missed = Missed::AskLast;

    fn patience(&self, _trials: Trials) -> Duration {
        Duration::from_secs(10)
    }

    fn ask<'w>(&self, cx: &Cx<'w>, _trial: &Trial) -> Result<Read, NotAsked<&'w UsageAnswer>> {
        let selectors = logs::selectors(cx, SideRef::Target);
        selectors.map(Read::Usage).map_err(|why| NotAsked::Cannot(cx.world.now, why))
    }

    fn answer<'w>(&self, reading: &'w Reading) -> Option<&'w UsageAnswer> {
        if let Reading::Usage(answer) = reading { Some(answer) } else { None }
    }

    fn judge(
        &self,
        cx: &Cx,
        trigger: &Trigger,
        trial: &Trial,
        answer: &UsageAnswer,
        record: &mut TriggerRecord,
    ) -> Option<String> {
        let (now, armed) = (cx.world.now, trial.trials.armed());
        let samples = match samples(cx, answer, self.most_pods()) {
            Ok(samples) => samples,
            Err(why) => return without_data(trigger, *self, record, now, why),
        };
        // What was used before the switch says nothing about the side under its users.
        let oldest = samples.iter().map(|(_, s)| s.at).min().unwrap_or(armed);
        let gap = GAP.max(trial.trials.times(2));
        if oldest <= record.last_at.unwrap_or(armed) {
            let stale = span(record.last_at.unwrap_or(armed), now) > gap;
            let why = format!("no new sample of every pod since {}", clock(oldest));
            return if stale { without_data(trigger, *self, record, now, why) } else { None };
        }
        if record.last_at.is_some_and(|last| span(last, oldest) > gap) {
            forget(record);
            record.growth.clear();
        }
        record.last_at = Some(oldest);
        let (verdict, saw) = match *self {
            Self::Memory(above) => bounded(&samples, &above.above, "memory", |s| (s.bytes, bytes(s.bytes))),
            Self::Cpu(above) => bounded(&samples, &above.above, "CPU", |s| (s.nanocores, cores(s.nanocores))),
            Self::Growing(time) => growing(&samples, time, record),
        };
        take_in(*self, record, oldest, verdict, saw)
    }
}

/// A trial without data.
fn without_data(
    trigger: &Trigger,
    rule: Usage,
    record: &mut TriggerRecord,
    at: Timestamp,
    why: String,
) -> Option<String> {
    let verdict = no_data::verdict(trigger);
    let bad = verdict == TrialVerdict::Bad;
    let saw = if bad { format!("no data, which noData: Rollback takes as bad: {why}") } else { why };
    take_in(rule, record, at, verdict, saw)
}

/// Takes a verdict into the record; why the trigger fires, once it was bad for long enough.
fn take_in(
    rule: Usage,
    record: &mut TriggerRecord,
    at: Timestamp,
    verdict: TrialVerdict,
    saw: String,
) -> Option<String> {
    judged(record, at, verdict, &saw);
    if let Usage::Memory(above) | Usage::Cpu(above) = rule {
        trail::keep_limit(record, at, &format!("> {}", above.above));
    }
    let since = record.bad_since.filter(|_| verdict == TrialVerdict::Bad)?;
    let bad = span(since, at);
    (bad >= rule.sustained()).then(|| format!("{saw} since {} ({bad})", clock(since)))
}

/// The last sample of each of the target's pods.
///
/// # Errors
/// Says what is missing.
fn samples<'a>(cx: &Cx<'a>, answer: &'a UsageAnswer, most: usize) -> Result<Vec<(&'a PodView, &'a PodUsage)>, String> {
    let all = match answer {
        UsageAnswer::Found(all) => all,
        UsageAnswer::Inconclusive(why) => return Err(why.clone()),
    };
    let target = pods::target(cx).ok_or("the pods are being looked up")?;
    if target.is_empty() || target.len() > most {
        return Err(format!("{} has {} pods; 1 to {most} can be judged", cx.plan.target.name, target.len()));
    }
    let sample = |pod: &'a PodView| {
        let found = all.iter().find(|s| s.pod == pod.name);
        found.map(|s| (pod, s)).ok_or_else(|| format!("the metrics API has no sample of pod {}", pod.name))
    };
    target.into_iter().map(sample).collect()
}

fn bounded(
    samples: &[(&PodView, &PodUsage)],
    bound: &str,
    what: &str,
    of: impl Fn(&PodUsage) -> (u64, String),
) -> (TrialVerdict, String) {
    let Some((pod, most)) = samples.iter().max_by_key(|(_, s)| of(s).0) else {
        return (TrialVerdict::Inconclusive, "there are no pods".into());
    };
    let (value, shown) = of(most);
    // A bound of memory is in bytes, one of CPU in cores; values are bytes and thousand-millionths of a core.
    let unit = if what == "CPU" { 1 } else { quantity::NANO };
    let exceeded = quantity::nanos(bound).is_some_and(|bound| i128::from(value) * unit > bound);
    let saw = format!("pod {} uses {shown} of {what}", pod.name);
    if exceeded { (TrialVerdict::Bad, format!("{saw} > {bound}")) } else { (TrialVerdict::Good, saw) }
}

/// The pod that reaches its limit first, of those that grow; what each has used of late stays known.
fn growing(samples: &[(&PodView, &PodUsage)], lasts: Duration, record: &mut TriggerRecord) -> (TrialVerdict, String) {
    let mut known = BTreeMap::new();
    let mut grow = vec![];
    for (pod, sample) in samples {
        let growth = growth::take_in(record.growth.remove(&pod.uid), sample.at, sample.bytes, lasts);
        let grows = growth::judge(&growth, sample.at, sample.bytes, lasts, pod.memory_limit);
        grow.extend(grows.map(|grows| (pod, sample, grows)));
        known.insert(pod.uid.clone(), growth);
    }
    record.growth = known;
    let first = grow.into_iter().min_by_key(|(.., grows)| grows.reached_in.unwrap_or(growth::HORIZON));
    let Some((pod, sample, grows)) = first else {
        return (TrialVerdict::Good, "no pod's memory grows towards its limit".into());
    };
    let (pace, used) = (bytes(grows.per_hour), bytes(sample.bytes));
    let saw = format!("the memory of pod {} has grown by {pace} per hour for {}, to {used}", pod.name, grows.lasts);
    let end = pod.memory_limit.zip(grows.reached_in).map(|(limit, time)| {
        let at = later(sample.at, time);
        format!("{saw}: it reaches its limit of {} in {time}, at {}", bytes(limit), clock(at))
    });
    (TrialVerdict::Bad, end.unwrap_or_else(|| format!("{saw}; it has no limit")))
}

fn bytes(n: u64) -> String {
    if n >= 10 << 20 { format!("{}Mi", n >> 20) } else { format!("{}Ki", n >> 10) }
}

fn cores(nanos: u64) -> String {
    format!("{}m", nanos / 1_000_000)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixtures::{armed, judge, trigger};
    use super::*;
    use crate::actions::fixtures::{Fixture, pod};

    fn watch(pods: Value) -> Trigger {
        trigger(json!({"name": "used", "every": "5s", "pods": pods}))
    }

    /// Judges a trial every five seconds; each answer is the age of its samples in seconds and what green-a and green-b
    /// use, or nothing for a pod without a sample.
    fn play(t: &Trigger, answers: &[(i64, Option<u64>, Option<u64>)]) -> (Option<(usize, String)>, TriggerRecord) {
        let mut f = Fixture::new();
        f.pods(vec![pod("green-a", "green"), pod("green-b", "green"), pod("blue-a", "blue")]);
        let mut record = armed(&f);
        for (i, (age, a, b)) in answers.iter().enumerate() {
            f.after(5);
            let at = f.world.now - jiff::SignedDuration::from_secs(*age);
            let used = |name: &str, n: &Option<u64>| {
                n.map(|n| PodUsage { pod: name.into(), at, nanocores: n * 1_000_000, bytes: n << 20 })
            };
            let found = [used("green-a", a), used("green-b", b), used("blue-a", &Some(999))].into_iter().flatten();
            let (_, out) = judge(&f, t, &mut record);
            for key in out.reads.keys() {
                f.world.readings.insert(key.clone(), Reading::Usage(UsageAnswer::Found(found.clone().collect())));
            }
            if let (Some(why), _) = judge(&f, t, &mut record) {
                return (Some((i + 1, why)), record);
            }
        }
        (None, record)
    }

    #[test]
    fn one_pod_above_the_bound_for_the_time() {
        let high = (1, Some(10), Some(80));
        let low = (1, Some(10), Some(20));
        let at_once = watch(json!({"memory": {"above": "64Mi"}}));
        let (fired, _) = play(&at_once, &[low, high]);
        assert_eq!(fired, Some((2, "pod green-b uses 80Mi of memory > 64Mi since 00:00:09Z (0s)".to_owned())));
        let sustained = watch(json!({"memory": {"above": "64Mi", "sustained": "10s"}}));
        assert_eq!(play(&sustained, &[high, high, high]).0.map(|f| f.0), Some(3));
        assert_eq!(play(&sustained, &[high, high, low, high, high]).0, None);
        let cpu = watch(json!({"cpu": {"above": "79m"}}));
        assert!(play(&cpu, &[high]).0.is_some_and(|(_, why)| why.contains("uses 80m of CPU > 79m")));
        assert_eq!(play(&watch(json!({"cpu": {"above": "80m"}})), &[high]).0, None);
    }

    #[test]
    fn the_same_sample_again_is_no_trial() {
        let t = watch(json!({"memory": {"above": "64Mi", "sustained": "9s"}}));
        // Asked three times, sampled once.
        let again = [(1, Some(80), Some(80)), (6, Some(80), Some(80)), (11, Some(80), Some(80))];
        let (fired, record) = play(&t, &again);
        assert_eq!((fired, record.bad_in_a_row), (None, 1));
        // One from before the switch counts for nothing.
        let (fired, record) = play(&watch(json!({"memory": {"above": "64Mi"}})), &[(5, Some(80), Some(80))]);
        assert!(fired.is_none() && record.last.is_none(), "{record:?}");
    }

    #[test]
    fn a_pod_without_a_sample_is_inconclusive() {
        let one = [(1, Some(10), Some(10)), (1, Some(10), None)];
        let (fired, record) = play(&watch(json!({"memory": {"above": "64Mi"}})), &one);
        assert!(fired.is_none() && record.last == Some(TrialVerdict::Inconclusive));
        assert_eq!(record.saw.as_deref(), Some("the metrics API has no sample of pod green-b"));
        let mut strict = watch(json!({"memory": {"above": "64Mi"}}));
        strict.no_data = Some(crate::api::trigger::NoData::Rollback);
        assert!(play(&strict, &one).0.is_some());
        // Samples that stop coming are no data either.
        let stopped: Vec<_> = (0..40).map(|i| (1 + 5 * i, Some(10), Some(10))).collect();
        let (_, record) = play(&watch(json!({"memory": {"above": "64Mi"}})), &stopped);
        assert_eq!(record.last, Some(TrialVerdict::Inconclusive), "{record:?}");
    }

    #[test]
    fn memory_that_grows_names_the_pod_its_pace_and_the_end() {
        let t = watch(json!({"memoryGrowing": {"for": "40s"}}));
        let run = |values: &mut dyn Iterator<Item = u64>| {
            let answers: Vec<_> = values.map(|n| (1, Some(50), Some(n))).collect();
            play(&t, &answers)
        };
        let (fired, record) = run(&mut (0..10).map(|n| 100 + 2 * n));
        let (n, why) = fired.expect("it grows");
        assert_eq!(n, 9, "forty seconds lie between the first sample and the ninth");
        assert!(
            why.contains("the memory of pod green-b has grown by 1440Mi per hour for 40s, to 116Mi; it has no limit"),
            "{why}"
        );
        assert_eq!(record.growth.len(), 2);
        let (fired, record) = run(&mut (0..30).map(|n| 100 + n % 4));
        assert!(fired.is_none() && record.last == Some(TrialVerdict::Good), "{record:?}");
        assert_eq!(record.saw.as_deref(), Some("no pod's memory grows towards its limit"));
    }

    #[test]
    fn a_limit_says_when_it_ends() {
        let pod = PodView { name: "web".into(), uid: "u".into(), memory_limit: Some(256 << 20), ..PodView::default() };
        let mut record = TriggerRecord::default();
        let lasts = Duration::from_secs(600);
        let mut saw = (TrialVerdict::Good, String::new());
        for n in 0..=40 {
            let at = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(15 * n);
            let sample = PodUsage { pod: "web".into(), at, nanocores: 0, bytes: (100 << 20) + ((n as u64) << 18) };
            saw = growing(&[(&pod, &sample)], lasts, &mut record);
        }
        let wanted = "the memory of pod web has grown by 60Mi per hour for 10m, to 110Mi: it reaches its limit of 256Mi in \
                      2h26m, at 02:36:00Z";
        assert_eq!(saw, (TrialVerdict::Bad, wanted.to_owned()));
        // What the journal has is what it goes on with.
        let text = serde_json::to_string(&record.growth).expect("JSON");
        assert_eq!(
            serde_json::from_str::<BTreeMap<String, crate::api::run::Growth>>(&text).expect("a growth"),
            record.growth
        );
        assert!(text.len() < 400, "{} bytes", text.len());
    }
}
