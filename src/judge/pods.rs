//! PURE. `pods`: what the kubelet says of the target's pods. No reads of its own; judged whenever pods are seen.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::settle;
use crate::actions::{Cx, Out};
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::trigger::{PodsTrigger, Trigger};
use crate::endpoints::matches;
use crate::journal::later;
use crate::plan::MinReady;
use crate::world::PodView;

/// Most restarts whose times are kept.
const MAX_EVENTS: usize = 64;

/// Judges the pods as they are now.
pub fn advance(cx: &Cx, _: &Trigger, pods: &PodsTrigger, record: &mut TriggerRecord, out: &mut Out) -> Option<String> {
    let now = cx.world.now;
    record.armed_at.get_or_insert(now);
    let seen = cx.world.pods.as_ref()?;
    let target: Vec<&PodView> =
        seen.value.iter().filter(|p| !p.terminating && matches(&p.labels, &cx.plan.target.selector)).collect();
    let why = restarts(&target, pods, record, now, out)
        .or_else(|| containers(&target, pods, record))
        .or_else(|| readiness(cx, &target, pods, record));
    settle(record, now, if why.is_some() { TrialVerdict::Bad } else { TrialVerdict::Good });
    // Kept only where it says something: an idle observation writes nothing.
    record.last_at = None;
    record.bad_since = None;
    record.bad_in_a_row = 0;
    why
}

/// Counts restarts since the trigger was armed; a new container begins at what it is first seen with.
fn restarts(
    target: &[&PodView],
    pods: &PodsTrigger,
    record: &mut TriggerRecord,
    now: Timestamp,
    out: &mut Out,
) -> Option<String> {
    let mut known = BTreeMap::new();
    for p in target {
        for c in &p.containers {
            let key = format!("{}/{}", p.uid, c.name);
            let before = record.restarts.get(&key).copied().unwrap_or(c.restarts);
            let more = c.restarts.saturating_sub(before).min(MAX_EVENTS as u32);
            record.events.extend(std::iter::repeat_n(now, more as usize));
            known.insert(key, c.restarts);
        }
    }
    record.restarts = known;
    let excess = record.events.len().saturating_sub(MAX_EVENTS);
    record.events.drain(..excess);
    let rule = pods.restarts.as_ref()?;
    record.events.retain(|at| later(*at, rule.within) > now);
    if let Some(first) = record.events.first() {
        out.wake_at(later(*first, rule.within));
    }
    let count = record.events.len();
    (count > rule.more_than as usize)
        .then(|| format!("{count} restarts within {}, more than {}", rule.within, rule.more_than))
}

/// Crash loops and containers killed for their memory since the trigger was armed.
fn containers(target: &[&PodView], pods: &PodsTrigger, record: &TriggerRecord) -> Option<String> {
    let armed = record.armed_at?;
    for p in target {
        for c in &p.containers {
            if pods.crash_loop == Some(true) && c.waiting.as_deref() == Some("CrashLoopBackOff") {
                return Some(format!("container {} of pod {} is in a crash loop", c.name, p.name));
            }
            if pods.oom_killed == Some(true)
                && let Some((reason, Some(at))) = &c.terminated
                && reason == "OOMKilled"
                && *at >= armed
            {
                return Some(format!("container {} of pod {} was killed for its memory", c.name, p.name));
            }
        }
    }
    None
}

/// Fewer ready pods than wanted. P5 has seen the side ready at the switch, so fewer now is a loss.
fn readiness(cx: &Cx, target: &[&PodView], pods: &PodsTrigger, record: &mut TriggerRecord) -> Option<String> {
    let rule = pods.ready_below.as_deref()?;
    let wanted = cx.world.wanted(&cx.plan.target)?;
    let limit = match rule.strip_suffix('%') {
        Some(percent) => MinReady::Percent(percent.parse().ok()?).of(wanted),
        None => rule.parse().ok()?,
    };
    let ready = u32::try_from(target.iter().filter(|p| p.ready).count()).unwrap_or(u32::MAX);
    record.saw = Some(format!("{ready} of {wanted} ready"));
    (ready < limit).then(|| format!("{ready} of {wanted} pods of {} are ready, fewer than {rule}", cx.plan.target.name))
}
