//! PURE. Whether the pod of a Job that was started has begun, and why not: it was not admitted, no node takes it, its
//! image cannot be had. Ends the Job at once where waiting cannot help; where it may, the cause is remembered for the
//! day that the deadline comes.

use crate::api::duration::Duration;
use crate::api::run::{JobRecord, StepRecord};
use crate::effect::{Read, ReadKey};
use crate::endpoints::why::{self, Cause, Patience};
use crate::journal::later;
use crate::plan::PlanStep;
use crate::world::{JobView, PodView, Reading};

use super::{Cx, Out, attempt_of, span};

/// A pod that has not begun after this long is asked about in Events.
const SLOW: Duration = Duration::from_secs(3);
/// A pod that has not begun after this long is told of.
const LONG: Duration = Duration::from_secs(10);
/// Longest pause between two looks at Events.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a pod may wait for what seldom comes by itself.
const SHORT: Duration = Duration::from_secs(20);

/// What is to be done about a Job that has not ended.
pub enum Start {
    /// Nothing: it runs, or may still begin.
    GoOn,
    /// It will never begin.
    Never(String),
}

/// Looks at a started Job.
pub fn look(
    cx: &Cx,
    step: &PlanStep,
    claim: &mut JobRecord,
    view: &JobView,
    record: &mut StepRecord,
    out: &mut Out,
) -> Start {
    let Some(started) = claim.started else { return Start::GoOn };
    let pod = view.pod.as_ref();
    // The kubelet writes the states of a pod that is being deleted anew: they say nothing of what it waited for.
    if claim.not_started.is_some() && pod.is_some_and(|pod| pod.gone_by.is_some()) {
        return Start::GoOn;
    }
    let seen = pod.and_then(why::not_started);
    let stands = |cause: &Cause| cause.patience < Patience::Starting;
    let cause = match (seen.filter(stands), pod) {
        (Some(cause), _) => Some(cause),
        (None, Some(pod)) if why::has_begun(pod) => {
            if claim.not_started.take().is_some() {
                record.message = Some(format!("Job {} is running", claim.name));
            }
            return Start::GoOn;
        }
        (None, pod) => asked(cx, step, view, pod, started, record, out).or_else(|| long(cx, pod, started)),
    };
    let Some(cause) = cause else { return Start::GoOn };
    let how = if cause.patience == Patience::Starting { "has not started" } else { "cannot start" };
    let text = format!("Job {} {how}: {}", claim.name, cause.text);
    if claim.not_started.as_ref().is_none_or(|known| !why::alike(known, &cause.text)) {
        claim.not_started = Some(cause.text.clone());
    }
    // Beside a container that runs, the Job is at work: only its deadline ends it.
    let at_work = pod.is_some_and(|pod| pod.containers.iter().any(|c| c.running));
    match cause.patience {
        Patience::None if !at_work => return Start::Never(text),
        Patience::Short if !at_work => {
            let due = later(view.stuck_since.unwrap_or(cx.world.now), SHORT);
            if cx.world.now >= due {
                return Start::Never(text);
            }
            out.wake_at(due);
        }
        _ => {}
    }
    record.message = Some(text);
    Start::GoOn
}

/// What a pod that is still starting is doing, once that takes long: all that is known when the deadline comes first, as
/// where an image is pulled from an address that does not answer.
fn long(cx: &Cx, pod: Option<&PodView>, started: jiff::Timestamp) -> Option<Cause> {
    if cx.world.now >= later(started, LONG) { pod.and_then(why::not_started) } else { None }
}

/// What Events say of a pod that is not there, or that has been starting for a while.
fn asked(
    cx: &Cx,
    step: &PlanStep,
    view: &JobView,
    pod: Option<&PodView>,
    started: jiff::Timestamp,
    record: &StepRecord,
    out: &mut Out,
) -> Option<Cause> {
    let Some((n, next)) = look_of(span(started, cx.world.now)) else {
        out.wake_at(later(started, SLOW));
        return None;
    };
    out.wake_at(later(started, next));
    events(cx, view, pod, attempt_of(step, record).part(format!("events@{n}")), out)?.ok()?
}

/// Asks for the Events of a Job and its pod. `None`: no answer yet; `Err`: they cannot be read.
pub fn events(
    cx: &Cx,
    view: &JobView,
    pod: Option<&PodView>,
    key: ReadKey,
    out: &mut Out,
) -> Option<Result<Option<Cause>, String>> {
    let of = std::iter::once(view.uid.clone()).chain(pod.map(|pod| pod.uid.clone())).collect();
    let answer = cx.world.readings.get(&key).cloned();
    out.reads.insert(key, Read::Events(of));
    match answer? {
        Reading::Events(Ok(events)) => Some(Ok(why::events(&events))),
        Reading::Events(Err(why)) => Some(Err(why)),
        _ => None,
    }
}

/// Which look at Events it is after this long, and when the next one is due: 3 s apart at first, then ever longer.
fn look_of(elapsed: Duration) -> Option<(u64, Duration)> {
    let mut due = SLOW.as_millis();
    if elapsed.as_millis() < due {
        return None;
    }
    let mut n = 0;
    loop {
        let next = due + due.min(PAUSE.as_millis());
        if elapsed.as_millis() < next {
            return Some((n, Duration::from_millis(next)));
        }
        due = next;
        n += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_looked_at_every_few_seconds_at_most() {
        let at = |s| look_of(Duration::from_secs(s)).map(|(n, next)| (n, next.as_millis() / 1000));
        assert_eq!(
            [at(2), at(3), at(5), at(6), at(12)],
            [None, Some((0, 6)), Some((0, 6)), Some((1, 12)), Some((2, 24))]
        );
        assert_eq!([at(48), at(78)], [Some((4, 78)), Some((5, 108))]);
    }
}
