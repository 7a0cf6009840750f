//! PURE. Loss of ready pods: fewer are ready than a share of those that once were. Counted for each switched Service, and
//! for each workload of the target that no Service selects. Pods that start are no loss, and neither are those that an
//! autoscaler takes away, since the reference is the smaller of the most that were ready and of what is wanted now.

use jiff::Timestamp;

use crate::actions::{Cx, Out};
use crate::api::duration::Duration;
use crate::api::run::{SwitchState, TrialVerdict, TriggerRecord};
use crate::effect::{Read, ReadKey};
use crate::endpoints::{matches, whole_selector};
use crate::journal::later;
use crate::plan::MinReady;
use crate::world::{PodView, Reading};

/// How far what watches tell may lie behind a live read.
const LAG: Duration = Duration::from_secs(2);
/// A loss that no live look confirms in this time counts all the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whose pods are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The endpoints of Services.
    Services,
    /// Those, and the pods of workloads that no Service selects.
    All,
}

/// Pods that are counted together.
struct Group {
    /// The Service, or `Kind/name` of the workload.
    name: String,
    ready: u32,
    /// Not being deleted.
    present: u32,
    wanted: u32,
    /// What a live look at the switch has seen ready at least (P5), and when.
    proven: Option<(u32, Timestamp)>,
}

/// How the pods of the target stand against a rule.
pub fn advance(
    cx: &Cx,
    rule: MinReady,
    counted: Counted,
    record: &mut TriggerRecord,
    out: &mut Out,
) -> (TrialVerdict, String) {
    let side = &cx.plan.target.name;
    let Some(groups) = groups(cx, counted) else {
        return (TrialVerdict::Inconclusive, format!("how many pods {side} wants is not known"));
    };
    let several = groups.len() > 1;
    let before = record.last;
    let (mut verdict, mut saw) = (TrialVerdict::Good, None);
    let mut unconfirmed = false;
    for group in &groups {
        // What an autoscaler has taken away is not missed when it adds as many again: those start.
        let known = record.most.get(&group.name).copied();
        let known = known.unwrap_or_else(|| group.proven.map_or(0, |(count, _)| count));
        let most = known.min(group.wanted).max(group.ready);
        record.most.insert(group.name.clone(), most);
        let had = most.min(group.wanted);
        let of = if several { format!(" ({})", group.name) } else { String::new() };
        let text = |of_all: u32| format!("{} of {of_all} pods of {side} are ready{of}", group.ready);
        let bound = match rule {
            MinReady::Percent(_) if had == 0 => 0,
            MinReady::Percent(_) => rule.of(had),
            MinReady::Count(n) => n.min(had),
        };
        let starting = match rule {
            MinReady::Percent(_) => had == 0 && group.wanted > 0,
            MinReady::Count(n) => most < n && group.wanted >= n,
        };
        let (found, text) = if group.ready < bound {
            let lost = format!("{}, fewer than {}", text(had), words(rule));
            let due = group.proven.map(|(_, at)| later(at, LAG)).filter(|due| cx.world.now < *due);
            match due {
                // What is seen here may be older than the live look at the switch for a moment.
                Some(due) if before != Some(TrialVerdict::Good) => {
                    out.wake_at(due);
                    (TrialVerdict::Inconclusive, text(had))
                }
                // Pods that are not there may have been taken away by a change of replicas that is not seen yet.
                _ if group.present < group.wanted && !confirmed(cx, record, out) => {
                    unconfirmed = true;
                    (TrialVerdict::Inconclusive, format!("{lost}; being looked at live"))
                }
                _ => (TrialVerdict::Bad, lost),
            }
        } else if starting {
            (TrialVerdict::Inconclusive, format!("{}; never yet as many as {}", text(group.wanted), words(rule)))
        } else {
            (TrialVerdict::Good, text(group.wanted))
        };
        if weight(found) > weight(verdict) || saw.is_none() {
            (verdict, saw) = (found, Some(text));
        }
    }
    if !unconfirmed && verdict != TrialVerdict::Bad {
        record.unconfirmed_since = None;
    }
    (verdict, saw.unwrap_or_else(|| "ok".into()))
}

fn weight(verdict: TrialVerdict) -> u8 {
    match verdict {
        TrialVerdict::Good => 0,
        TrialVerdict::Inconclusive => 1,
        TrialVerdict::Bad => 2,
    }
}

/// A rule as it is written.
fn words(rule: MinReady) -> String {
    match rule {
        MinReady::Count(n) => n.to_string(),
        MinReady::Percent(p) => format!("{p}%"),
    }
}

/// Whether everything has been read live since the loss was first seen, or that takes too long.
fn confirmed(cx: &Cx, record: &mut TriggerRecord, out: &mut Out) -> bool {
    let since = *record.unconfirmed_since.get_or_insert(cx.world.now);
    let key = ReadKey::Loss(record.name.clone());
    let answered = matches!(cx.world.readings.get(&key), Some(Reading::Refreshed));
    out.reads.insert(key, Read::Refresh);
    let due = later(since, PATIENCE);
    if !answered {
        out.wake_at(due);
    }
    answered || cx.world.now >= due
}

/// `None` while something of it is not known.
fn groups(cx: &Cx, counted: Counted) -> Option<Vec<Group>> {
    let (world, side) = (cx.world, &cx.plan.target);
    let pods = &world.pods.as_ref()?.value;
    let count = |of: &dyn Fn(&PodView) -> bool| {
        u32::try_from(pods.iter().filter(|p| !p.terminating && of(p)).count()).unwrap_or(u32::MAX)
    };
    let mut groups = vec![];
    for s in cx.journal.switch.iter().flat_map(|s| &s.services).filter(|s| s.state == SwitchState::Switched) {
        let whole = whole_selector(&world.service(&s.name)?.selector, &side.selector);
        groups.push(Group {
            name: s.name.clone(),
            ready: world.ready_on(&s.name, side)?,
            present: count(&|p| matches(&p.labels, &whole)),
            wanted: world.wanted_of(&s.name, side)?,
            proven: s.switched_at.map(|at| (cx.plan.switch.min_ready.of(s.wanted), at)),
        });
    }
    if counted == Counted::Services {
        return Some(groups);
    }
    let mut selected = vec![];
    for service in &cx.plan.services {
        selected.extend(world.selected(service, side)?);
    }
    for w in side.workloads.iter().filter(|w| !selected.contains(w)) {
        let own = |p: &PodView| p.workload.as_ref() == Some(w);
        groups.push(Group {
            name: format!("{:?}/{}", w.kind, w.name),
            ready: count(&|p| p.ready && own(p)),
            present: count(&own),
            wanted: world.workloads.get(w)?.value.as_ref().map_or(0, |view| view.wanted),
            proven: None,
        });
    }
    Some(groups)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{armed, judge, read, switched, trigger};
    use super::super::pods;
    use super::*;
    use crate::actions::fixtures::{Fixture, pod, view, workload};
    use crate::api::trigger::Trigger;
    use crate::world::Seen;

    fn below(rule: &str) -> Trigger {
        trigger(json!({"name": "ready", "every": "15s", "pods": {"readyBelow": rule}}))
    }

    /// Switched a minute ago to `ready` pods, of as many wanted.
    fn world(ready: u32) -> Fixture {
        let mut f = Fixture::new();
        switched(&mut f, ready);
        f.after(60);
        f.workload("green").wanted = ready;
        pods_of(&mut f, ready, 0);
        f
    }

    fn pods_of(f: &mut Fixture, ready: u32, starting: u32) {
        let mut all: Vec<_> = (0..ready).map(|i| pod(&format!("green-{i}"), "green")).collect();
        all.extend((0..starting).map(|i| PodView { ready: false, ..pod(&format!("green-new-{i}"), "green") }));
        f.pods(all);
    }

    /// Judges, with the live look answered where one is asked for.
    fn verdict(f: &mut Fixture, t: &Trigger, record: &mut TriggerRecord) -> Option<String> {
        let (fired, out) = judge(f, t, record);
        if !out.reads.contains_key(&read("t@loss")) {
            f.world.readings.clear();
            return fired;
        }
        f.world.readings.insert(read("t@loss"), Reading::Refreshed);
        judge(f, t, record).0
    }

    #[test]
    fn a_loss_is_of_those_that_were_ready() {
        for (rule, left, fires) in
            [("2", 1, true), ("2", 2, false), ("100%", 1, true), ("50%", 1, false), ("1", 0, true), ("51%", 1, true)]
        {
            let t = below(rule);
            let mut f = world(2);
            let mut record = armed(&f);
            assert_eq!(verdict(&mut f, &t, &mut record), None, "{rule}");
            pods_of(&mut f, left, 2 - left);
            assert_eq!(verdict(&mut f, &t, &mut record).is_some(), fires, "{rule} {left}");
        }
    }

    #[test]
    fn pods_that_start_are_no_loss_and_deleting_the_ready_ones_is() {
        let t = below("50%");
        let mut f = world(2);
        let mut record = armed(&f);
        f.workload("green").wanted = 6;
        for (ready, starting) in [(2, 0), (2, 4), (3, 3), (2, 4)] {
            pods_of(&mut f, ready, starting);
            assert_eq!(verdict(&mut f, &t, &mut record), None, "{ready} of 6");
            assert_eq!(record.last, Some(TrialVerdict::Good), "{ready} of 6: {:?}", record.saw);
        }
        pods_of(&mut f, 0, 6);
        let why = verdict(&mut f, &t, &mut record).unwrap_or_default();
        assert_eq!(why, "0 of 3 pods of green are ready, fewer than 50% at 00:01:00Z");
    }

    #[test]
    fn an_autoscaler_that_shrinks_is_no_loss_in_whatever_order_it_is_seen() {
        let t = below("50%");
        let mut f = world(6);
        let mut record = armed(&f);
        assert_eq!(verdict(&mut f, &t, &mut record), None);
        // The pods first: looked at live before anything is concluded.
        pods_of(&mut f, 2, 0);
        let (fired, out) = judge(&f, &t, &mut record);
        assert!(fired.is_none() && out.reads.get(&read("t@loss")) == Some(&Read::Refresh), "{:?}", out.reads);
        f.workload("green").wanted = 2;
        assert_eq!(verdict(&mut f, &t, &mut record), None);
        assert_eq!((record.last, record.unconfirmed_since), (Some(TrialVerdict::Good), None));
        // Grown again: those that come are no loss while they start.
        f.workload("green").wanted = 6;
        assert_eq!(verdict(&mut f, &t, &mut record), None);
        assert_eq!(record.last, Some(TrialVerdict::Good));
        // Without a change of replicas, and with a live look that never comes, it is a loss after a while.
        let mut f = world(6);
        let mut record = armed(&f);
        assert_eq!(verdict(&mut f, &t, &mut record), None);
        pods_of(&mut f, 2, 0);
        assert_eq!(judge(&f, &t, &mut record).0, None);
        f.after(2);
        assert!(judge(&f, &t, &mut record).0.is_some_and(|why| why.contains("2 of 6 pods")));
    }

    #[test]
    fn a_side_that_is_still_starting_is_not_losing_any() {
        let t = below("2");
        let mut f = world(2);
        f.journal.switch = None;
        switched(&mut f, 1);
        f.workload("green").wanted = 2;
        pods_of(&mut f, 1, 1);
        f.after(60);
        let mut record = armed(&f);
        assert_eq!(verdict(&mut f, &t, &mut record), None);
        assert_eq!(record.last, Some(TrialVerdict::Inconclusive), "the switch needed one");
        // After a restart nothing is remembered; but a switch that happened needed both of them.
        let mut record = armed(&f);
        switched(&mut f, 2);
        let (fired, out) = judge(&f, &t, &mut record);
        let now = f.world.now;
        assert!(fired.is_none() && out.wake == Some(later(now, LAG)), "watches may lag behind the switch");
        f.after(2);
        let why = verdict(&mut f, &t, &mut record).unwrap_or_default();
        assert!(why.contains("1 of 2 pods of green are ready, fewer than 2"), "{why}");
    }

    #[test]
    fn a_workload_without_a_service_counts_for_triggers_and_not_for_endpoints() {
        let mut f = world(2);
        let worker = workload("worker");
        f.plan.target.workloads.push(worker.clone());
        let mut template = view("green", 4);
        template.pod_labels = [("app".to_owned(), "worker".to_owned())].into();
        f.world.workloads.insert(worker.clone(), Seen { at: f.world.now, value: Some(template) });
        let hands = |ready: u32| {
            let own = |i: u32| PodView {
                workload: Some(worker.clone()),
                labels: [("app".to_owned(), "worker".to_owned())].into(),
                ready: i < ready,
                ..pod(&format!("worker-{i}"), "green")
            };
            let web = (0..2).map(|i| pod(&format!("green-{i}"), "green"));
            web.chain((0..4).map(own)).collect::<Vec<_>>()
        };
        let t = below("50%");
        let mut record = armed(&f);
        f.pods(hands(0));
        assert_eq!(verdict(&mut f, &t, &mut record), None);
        assert_eq!(record.last, Some(TrialVerdict::Inconclusive), "they have never been ready");
        f.pods(hands(4));
        assert_eq!(verdict(&mut f, &t, &mut record), None);
        assert_eq!(record.last, Some(TrialVerdict::Good));
        f.pods(hands(1));
        let mut endpoints = armed(&f);
        let mut out = Out::default();
        assert_eq!(pods::no_endpoint(&f.cx(), &mut endpoints, &mut out), None);
        let why = verdict(&mut f, &t, &mut record).unwrap_or_default();
        assert!(why.starts_with("1 of 4 pods of green are ready (Deployment/worker), fewer than 50%"), "{why}");
    }

    #[test]
    fn no_endpoint_at_all_fires_whatever_is_wanted() {
        let mut f = world(2);
        let mut record = armed(&f);
        f.workload("green").wanted = 0;
        f.pods(vec![]);
        let mut out = Out::default();
        assert_eq!(pods::no_endpoint(&f.cx(), &mut record, &mut out), None, "looked at live first");
        f.world.readings.insert(read("t@loss"), Reading::Refreshed);
        let why = pods::no_endpoint(&f.cx(), &mut record, &mut out).unwrap_or_default();
        assert!(why.starts_with("0 of 1 pods of green are ready, fewer than 1"), "{why}");
    }
}
