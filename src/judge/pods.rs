//! PURE. What is seen of the target's pods: restarts, memory kills, crash loops, readiness. No reads of its own; judged
//! by every decision, so that a dead pod needs no interval to be noticed. Pods that are being deleted do not count.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::actions::{Cx, Out};
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::trigger::PodsTrigger;
use crate::endpoints::{matches, whole_selector};
use crate::journal::later;
use crate::plan::{MinReady, count_or_percent};
use crate::world::PodView;

use super::ready::{self, Counted};
use super::{clock, judged};

/// Most times of restarts that are kept, whatever the bound.
const MAX_EVENTS: usize = 1024;
/// Why a container waits that has crashed again and again.
const CRASH_LOOP: &str = "CrashLoopBackOff";

/// See [`super::advance`].
pub fn advance(cx: &Cx, pods: &PodsTrigger, record: &mut TriggerRecord, out: &mut Out) -> Option<String> {
    let now = cx.world.now;
    record.armed_at.get_or_insert(now);
    let Some(target) = target(cx) else {
        judged(record, now, TrialVerdict::Inconclusive, "the pods are being looked up");
        return None;
    };
    let side = &cx.plan.target.name;
    let fired = restarts(&target, pods, record, now, out)
        .map(|why| format!("{why} of {side}'s pods"))
        .or_else(|| crash_loops(&target, pods))
        .or_else(|| memory_kills(&target, pods, record));
    if let Some(why) = fired {
        judged(record, now, TrialVerdict::Bad, &why);
        return Some(format!("{why} at {}", clock(now)));
    }
    let (verdict, saw) = match pods.ready_below.as_deref().map(count_or_percent) {
        None => (TrialVerdict::Good, "ok".to_owned()),
        Some(Some(rule)) => ready::advance(cx, rule, Counted::All, record, out),
        // `plan` refuses it.
        Some(None) => (TrialVerdict::Inconclusive, "readyBelow is neither a number nor per cent".to_owned()),
    };
    judged(record, now, verdict, &saw);
    (verdict == TrialVerdict::Bad).then(|| format!("{saw} at {}", clock(now)))
}

/// No ready endpoint of the target on a switched Service: see [`BuiltInTrigger::Ready`].
pub(crate) fn no_endpoint(cx: &Cx, record: &mut TriggerRecord, out: &mut Out) -> Option<String> {
    let now = cx.world.now;
    record.armed_at.get_or_insert(now);
    let (verdict, saw) = ready::advance(cx, MinReady::Count(1), Counted::Services, record, out);
    judged(record, now, verdict, &saw);
    (verdict == TrialVerdict::Bad).then(|| format!("{saw} at {}", clock(now)))
}

/// At least half the pods of a workload of the target in a crash loop: see [`BuiltInTrigger::CrashLoop`].
pub fn crash_loop(cx: &Cx, record: &mut TriggerRecord) -> Option<String> {
    let now = cx.world.now;
    record.armed_at.get_or_insert(now);
    let Some(pods) = target(cx) else {
        judged(record, now, TrialVerdict::Inconclusive, "the pods are being looked up");
        return None;
    };
    for w in &cx.plan.target.workloads {
        let own = || pods.iter().filter(|p| p.workload.as_ref() == Some(w));
        let crashes = |p: &&&PodView| p.containers.iter().any(|c| c.waiting.as_deref() == Some(CRASH_LOOP));
        let wanted = cx.world.workloads.get(w).and_then(|s| s.value.as_ref()).map_or(0, |view| view.wanted);
        let all = own().count().max(usize::try_from(wanted).unwrap_or(usize::MAX));
        let crashing = own().filter(crashes).count();
        if let Some(first) = own().find(crashes)
            && crashing.saturating_mul(2) >= all
        {
            let why = format!(
                "{crashing} of {all} pods of {:?} {} are in a crash loop, such as {}",
                w.kind, w.name, first.name
            );
            judged(record, now, TrialVerdict::Bad, &why);
            return Some(format!("{why} at {}", clock(now)));
        }
    }
    judged(record, now, TrialVerdict::Good, "ok");
    None
}

/// Takes the restarts that have happened by now as known, whatever caused them.
pub(crate) fn excuse_restarts(cx: &Cx, record: &mut TriggerRecord) {
    for p in target(cx).into_iter().flatten() {
        for c in &p.containers {
            if let Some(known) = record.restarts.get_mut(&format!("{}/{}", p.uid, c.name)) {
                *known = c.restarts;
            }
        }
    }
}

/// The target's pods: those that a Service of the run would send users to, ready or not, and those of every workload that
/// the side lists.
pub(super) fn target<'a>(cx: &Cx<'a>) -> Option<Vec<&'a PodView>> {
    let pods = cx.world.pods.as_ref()?;
    let mut selectors = vec![];
    for name in &cx.plan.services {
        selectors.extend(cx.world.service(name).map(|s| whole_selector(&s.selector, &cx.plan.target.selector)));
    }
    let listed = |p: &PodView| p.workload.as_ref().is_some_and(|w| cx.plan.target.workloads.contains(w));
    let of_target = |p: &&PodView| !p.terminating && (listed(p) || selectors.iter().any(|s| matches(&p.labels, s)));
    (!selectors.is_empty()).then(|| pods.value.iter().filter(of_target).collect())
}

/// Counts restarts from the time each container is first seen.
fn restarts(
    target: &[&PodView],
    pods: &PodsTrigger,
    record: &mut TriggerRecord,
    now: Timestamp,
    out: &mut Out,
) -> Option<String> {
    let rule = pods.restarts.as_ref()?;
    let bound = usize::try_from(rule.more_than).unwrap_or(usize::MAX);
    let keep = bound.saturating_add(1).min(MAX_EVENTS);
    let mut known = BTreeMap::new();
    for p in target {
        for c in &p.containers {
            let key = format!("{}/{}", p.uid, c.name);
            let before = record.restarts.get(&key).copied().unwrap_or(c.restarts);
            let more = usize::try_from(c.restarts.saturating_sub(before)).unwrap_or(keep).min(keep);
            record.events.extend(std::iter::repeat_n(now, more));
            known.insert(key, c.restarts);
        }
    }
    record.restarts = known;
    record.events.retain(|at| later(*at, rule.within) > now);
    record.events.drain(..record.events.len().saturating_sub(keep));
    if let Some(first) = record.events.first() {
        out.wake_at(later(*first, rule.within));
    }
    let count = record.events.len();
    (count > bound).then(|| format!("{count} restarts within {} > {}", rule.within, rule.more_than))
}

fn crash_loops(target: &[&PodView], pods: &PodsTrigger) -> Option<String> {
    pods.crash_loop.filter(|watched| *watched)?;
    let all = target.iter().flat_map(|p| p.containers.iter().map(move |c| (p, c)));
    let mut crashing = all.filter(|(_, c)| c.waiting.as_deref() == Some(CRASH_LOOP));
    crashing.next().map(|(p, c)| format!("container {} of pod {} is in a crash loop", c.name, p.name))
}

/// Containers killed for their memory since the trigger looked for the first time. Which those are the ids of the containers
/// say: the clock of a node is not compared with the operator's.
fn memory_kills(target: &[&PodView], pods: &PodsTrigger, record: &mut TriggerRecord) -> Option<String> {
    pods.oom_killed.filter(|watched| *watched)?;
    let ends =
        target.iter().flat_map(|p| p.containers.iter().filter_map(move |c| Some((p, c, c.terminated.as_ref()?))));
    let mut kills = ends.filter(|(_, _, end)| end.reason == "OOMKilled");
    let Some(before) = &record.killed_before else {
        record.killed_before = Some(kills.map(|(_, _, end)| end.id.clone()).collect());
        return None;
    };
    let new = kills.find(|(_, _, end)| !before.contains(&end.id));
    new.map(|(p, c, _)| format!("container {} of pod {} was killed for its memory", c.name, p.name))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixtures::{armed, judge, trigger};
    use super::*;
    use crate::actions::fixtures::{Fixture, pod};
    use crate::api::trigger::Trigger;
    use crate::world::ContainerEnd;

    fn watch(pods: Value) -> Trigger {
        trigger(json!({"name": "pods", "every": "15s", "pods": pods}))
    }

    fn world() -> Fixture {
        let mut f = Fixture::new();
        f.pods(vec![pod("green-a", "green"), pod("green-b", "green"), pod("blue-a", "blue")]);
        f
    }

    fn at<'a>(f: &'a mut Fixture, name: &str) -> &'a mut PodView {
        let pods = f.world.pods.as_mut().expect("pods");
        pods.value.iter_mut().find(|p| p.name == name).expect("a pod")
    }

    #[test]
    fn restarts_since_first_seen_within_the_window() {
        let t = watch(json!({"restarts": {"moreThan": 2, "within": "10m"}}));
        let mut f = world();
        at(&mut f, "green-a").containers[0].restarts = 9;
        let mut record = armed(&f);
        assert_eq!(judge(&f, &t, &mut record).0, None, "old restarts do not count");
        at(&mut f, "green-a").containers[0].restarts = 10;
        at(&mut f, "blue-a").containers[0].restarts = 50;
        f.after(60);
        assert_eq!(judge(&f, &t, &mut record).0, None);
        at(&mut f, "green-b").containers[0].restarts = 2;
        f.after(60);
        let why = judge(&f, &t, &mut record).0;
        assert_eq!(why.as_deref(), Some("3 restarts within 10m > 2 of green's pods at 00:02:00Z"));
        // The same in a slower world: the first has left the window.
        let mut record = armed(&f);
        judge(&f, &t, &mut record);
        for n in [11, 12, 13, 14] {
            at(&mut f, "green-a").containers[0].restarts = n;
            f.after(301);
            assert_eq!(judge(&f, &t, &mut record).0, None, "{n}");
        }
    }

    #[test]
    fn a_restart_of_the_operator_counts_on_from_the_record() {
        let t = watch(json!({"restarts": {"moreThan": 1, "within": "10m"}}));
        let mut f = world();
        let mut record = armed(&f);
        judge(&f, &t, &mut record);
        at(&mut f, "green-a").containers[0].restarts = 1;
        judge(&f, &t, &mut record);
        // Nothing is known of what came before but the record.
        at(&mut f, "green-a").containers[0].restarts = 2;
        assert!(judge(&f, &t, &mut record).0.is_some());
    }

    #[test]
    fn crash_loops_and_memory_kills_of_the_target_alone() {
        let crash = watch(json!({"crashLoop": true}));
        let oom = watch(json!({"oomKilled": true}));
        let killed = |id: &str| Some(ContainerEnd { reason: "OOMKilled".into(), id: id.into() });
        for (name, terminating, fires) in [("green-a", false, true), ("green-a", true, false), ("blue-a", false, false)]
        {
            let mut f = world();
            let mut record = armed(&f);
            judge(&f, &oom, &mut record);
            let p = at(&mut f, name);
            p.terminating = terminating;
            p.containers[0].waiting = Some("CrashLoopBackOff".into());
            p.containers[0].terminated = killed("a");
            f.after(1);
            assert_eq!(judge(&f, &crash, &mut record.clone()).0.is_some(), fires, "{name} {terminating}");
            assert_eq!(judge(&f, &oom, &mut record).0.is_some(), fires, "{name} {terminating}");
        }
        let mut f = world();
        let mut record = armed(&f);
        at(&mut f, "green-a").containers[0].terminated = killed("a");
        for _ in 0..2 {
            assert_eq!(judge(&f, &oom, &mut record).0, None, "before the switch");
        }
        // The same container of the same pod, killed once more; and one of a pod that was not there before.
        at(&mut f, "green-a").containers[0].terminated = killed("b");
        assert!(judge(&f, &oom, &mut record.clone()).0.is_some());
        at(&mut f, "green-a").containers[0].terminated = killed("a");
        let mut new = pod("green-c", "green");
        new.containers[0].terminated = killed("c");
        if let Some(pods) = &mut f.world.pods {
            pods.value.push(new);
        }
        assert!(judge(&f, &oom, &mut record).0.is_some());
    }

    #[test]
    fn what_is_not_known_is_neither_good_nor_bad() {
        let mut f = Fixture::new();
        let mut record = armed(&f);
        assert_eq!(judge(&f, &watch(json!({"crashLoop": true})), &mut record).0, None);
        assert_eq!(record.last, Some(TrialVerdict::Inconclusive));
        f.pods(vec![pod("green-a", "green")]);
        f.world.workloads.clear();
        assert_eq!(judge(&f, &watch(json!({"readyBelow": "50%"})), &mut record).0, None);
        assert_eq!(record.last, Some(TrialVerdict::Inconclusive));
    }

    #[test]
    fn an_idle_observation_writes_nothing() {
        let t = watch(json!({"restarts": {"moreThan": 2, "within": "10m"}, "crashLoop": true, "readyBelow": "1"}));
        let mut f = world();
        let mut record = armed(&f);
        judge(&f, &t, &mut record);
        let before = record.clone();
        f.after(15);
        judge(&f, &t, &mut record);
        assert_eq!(record, before);
    }
}
