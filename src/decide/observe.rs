//! PURE. Triggers, armed from the first selector write until Completed, and the observation window.

use crate::api::condition::reasons;
use crate::api::duration::Duration;
use crate::api::phase::Phase;
use crate::api::run::{ObservationClock, RunStatus, SwitchState, TrialVerdict, TriggerRecord};
use crate::api::trigger::{DecideDefault, NoData, Severity, Trigger, Until};
use crate::decide::draft::Draft;
use crate::decide::nodes::{self, MayJudge};
use crate::effect::{Read, ReadKey};
use crate::evidence;
use crate::journal;
use crate::journal::question::Subject;
use crate::journal::{REHEARSE_EVERY, later};
use crate::judge;
use crate::plan::{BuiltInTrigger, Plan};
use crate::route::Route;

/// Everything is read live at least every half minute. Where that has failed for so long, what watches showed last may not
/// be true any more.
const BLIND: Duration = Duration::from_secs(45);
/// A trigger of either kind.
#[derive(Clone, Copy)]
enum Watched<'a> {
    Own(&'a Trigger),
    BuiltIn(BuiltInTrigger),
}

impl<'a> Watched<'a> {
    /// Those that are armed: one's own first, so that their names are reported where both would do.
    fn armed(plan: &'a Plan, journal: &RunStatus) -> Vec<Self> {
        let own = plan.observe.triggers.iter().filter(|t| journal::is_armed(journal, t.until.unwrap_or_default()));
        let built_in = plan.observe.built_in.iter().filter(|_| journal::is_armed(journal, Until::Completed));
        own.map(Self::Own).chain(built_in.map(|t| Self::BuiltIn(*t))).collect()
    }

    fn name(self) -> &'a str {
        match self {
            Self::Own(trigger) => &trigger.name,
            Self::BuiltIn(trigger) => trigger.name(),
        }
    }

    fn own(self) -> Option<&'a Trigger> {
        match self {
            Self::Own(trigger) => Some(trigger),
            Self::BuiltIn(_) => None,
        }
    }

    fn severity(self) -> Severity {
        self.own().and_then(|t| t.severity).unwrap_or_default()
    }

    fn within(self) -> Duration {
        self.own().and_then(|t| t.within).unwrap_or(Duration::from_mins(15))
    }
}

/// Arms triggers, moves them on, and acts on those that fire.
pub(crate) fn watch_triggers(d: &mut Draft) {
    let plan = d.plan;
    let armed = Watched::armed(plan, &d.journal);
    let switched = d.journal.phase.after_switch() && d.journal.phase != Phase::Completed;
    if (armed.is_empty() && !switched) || d.journal.ending.is_some() {
        d.journal.nodes_lost = None;
        return;
    }
    let Some(switch) = &d.journal.switch else { return };
    if !switch.services.iter().any(|s| s.state == SwitchState::Switched) {
        return;
    }
    rehearse_restore(d);
    let sight = nodes::look(d);
    for watched in armed {
        let former = journal::trigger(&d.journal, watched.name()).cloned();
        let mut record = former.unwrap_or_else(|| TriggerRecord {
            name: watched.name().to_owned(),
            armed_at: Some(d.world.now),
            ..TriggerRecord::default()
        });
        if record.dismissed {
            continue;
        }
        if record.fired_at.is_none() {
            let mut out = std::mem::take(&mut d.out);
            let fired = match (&sight, watched) {
                (MayJudge::Asked, _) => None,
                (MayJudge::Excused(why), _) => {
                    judge::excuse(&d.cx(), watched.own(), &mut record, why);
                    None
                }
                (MayJudge::Clear(_), Watched::Own(t)) => judge::advance(&d.cx(), t, &mut record, &mut out),
                (MayJudge::Clear(_), Watched::BuiltIn(t)) => judge::advance_built_in(&d.cx(), t, &mut record, &mut out),
            };
            d.out = out;
            if let Some(why) = fired {
                record.fired_at = Some(d.now());
                record.saw = Some(why);
            }
        }
        journal::put_trigger(&mut d.journal, record.clone());
        if record.fired_at.is_some() {
            fire(d, watched, &record, &sight);
            if d.journal.ending.is_some() {
                d.journal.nodes_lost = None;
                return;
            }
        }
    }
    fire_together(d, &sight);
}

/// The triggers of the default rule that roll back fire on what all of them have seen. While pods are lost with their nodes,
/// nothing is added to it.
fn fire_together(d: &mut Draft, sight: &MayJudge) {
    if !matches!(sight, MayJudge::Clear(_)) {
        return;
    }
    let plan = d.plan;
    let Some((name, why)) = evidence::together(&plan.observe, &d.journal) else { return };
    let Some(trigger) = plan.observe.triggers.iter().find(|t| t.name == name) else { return };
    let Some(mut record) = journal::trigger(&d.journal, &trigger.name).cloned() else { return };
    if record.fired_at.is_some() {
        return;
    }
    record.fired_at = Some(d.now());
    record.saw = Some(why);
    journal::put_trigger(&mut d.journal, record.clone());
    fire(d, Watched::Own(trigger), &record, sight);
    if d.journal.ending.is_some() {
        d.journal.nodes_lost = None;
    }
}

fn fire(d: &mut Draft, watched: Watched, record: &TriggerRecord, sight: &MayJudge) {
    let name = record.name.as_str();
    let text = format!("trigger {name}: {}", record.saw.as_deref().unwrap_or_default());
    let subject = Subject::Trigger(name.to_owned());
    match watched.severity() {
        Severity::Rollback => roll_back(d, watched, &subject, &text, sight),
        Severity::Decide => {
            let back = watched.own().and_then(|t| t.default).unwrap_or_default() == DecideDefault::Rollback;
            d.ask(&subject, &text, Some(watched.within()), back);
        }
        Severity::Warn => {
            d.note(true, reasons::TRIGGER_FIRED, name, text);
            if let Some(t) = d.journal.triggers.iter_mut().find(|t| t.name == name) {
                t.dismissed = true;
            }
        }
    }
}

/// Rolls back at once, unless the old side is lost as well: then people are asked, and once it can serve again while the
/// target still cannot, the rollback is made without their word.
fn roll_back(d: &mut Draft, watched: Watched, subject: &Subject, text: &str, sight: &MayJudge) {
    let asked = subject.is_of(d.journal.question.as_ref());
    match sight {
        // It was asked before, and a side may return any moment.
        MayJudge::Excused(_) | MayJudge::Asked => {}
        MayJudge::Clear(loss) if loss.target && loss.old => {
            let text = format!("{text}; {}", nodes::both_lost(d));
            d.ask(subject, &text, Some(watched.within()), true);
            let elsewhere = !subject.is_of(d.journal.question.as_ref());
            if elsewhere && let Some(t) = d.journal.triggers.iter_mut().find(|t| t.name == watched.name()) {
                // Another question is open: this one is put once that is answered, if it still stands then.
                t.fired_at = None;
            }
        }
        MayJudge::Clear(loss) if asked && !loss.target => {}
        MayJudge::Clear(_) => d.end(Phase::RolledBack, reasons::TRIGGER_FIRED, text, Some(watched.name())),
    }
}

/// Whether a restore would work is known beforehand: a dry run every minute; its answer becomes `CanRollBack`.
fn rehearse_restore(d: &mut Draft) {
    let Some(switch) = &d.journal.switch else { return };
    let minute = d.now().as_second() / REHEARSE_EVERY;
    let runs = switch
        .services
        .iter()
        .filter(|s| s.state == SwitchState::Switched)
        .filter_map(|s| {
            let route = Route::of(s);
            Some(route.trial(&route.seen(d.world)?, &d.plan.old, false))
        })
        .collect::<Vec<_>>();
    if !runs.is_empty() {
        let key = ReadKey::Rehearsal;
        // The last answer stands until the next one is there, so that `CanRollBack` does not flap.
        let last = key(minute - 1);
        if !d.world.readings.contains_key(&key(minute)) && d.world.readings.contains_key(&last) {
            d.out.reads.insert(last, Read::DryRun(runs.clone()));
        }
        d.out.reads.insert(key(minute), Read::DryRun(runs));
    }
    if let Ok(next) = jiff::Timestamp::from_second((minute + 1) * REHEARSE_EVERY) {
        d.out.wake_at(next);
    }
}

/// Counts conclusive time until there is enough of it.
pub fn run(d: &mut Draft) {
    let Some(mut seen) = d.journal.observation.clone() else { return };
    let now = d.now();
    let every = d.plan.observe.every;
    let elapsed = u64::try_from(now.duration_since(seen.counted_to).as_millis()).unwrap_or(0);
    let blind = d.world.refreshed.filter(|at| later(*at, BLIND) < now);
    if let Some(since) = blind
        && seen.clock == ObservationClock::Counting
    {
        // The API server is away: what was counted after the last live reading was not watched, so it is subtracted.
        let unseen = u64::try_from(seen.counted_to.duration_since(since).as_millis()).unwrap_or(0);
        seen.conclusive_ms = seen.conclusive_ms.saturating_sub(unseen);
    }
    let clock = if d.paused() || d.journal.question.is_some() {
        ObservationClock::Stopped
    } else if blind.is_none() && conclusive(d) {
        ObservationClock::Counting
    } else {
        ObservationClock::Inconclusive
    };
    match seen.clock {
        // Only time that was watched counts: a gap (a restart, a stopped process) is worth two intervals at most. And
        // only time that ends as it began: what stands in the way now may have begun at any moment in between.
        ObservationClock::Counting if clock == ObservationClock::Counting => {
            let cap = every.as_millis().saturating_mul(2).clamp(2000, u64::from(u32::MAX));
            seen.conclusive_ms = seen.conclusive_ms.saturating_add(elapsed.min(cap));
        }
        ObservationClock::Counting | ObservationClock::Inconclusive => {}
        ObservationClock::Stopped => seen.stopped_ms = seen.stopped_ms.saturating_add(elapsed),
    }
    seen.clock = clock;
    seen.counted_to = now;
    let left = d.plan.observe.for_.as_millis().saturating_sub(seen.conclusive_ms);
    let deadline = later(later(seen.since, d.plan.observe.timeout), Duration::from_millis(seen.stopped_ms));
    d.journal.observation = Some(seen);
    if left == 0 {
        let text = format!("observed for {} without a reason to go back", d.plan.observe.for_);
        return d.enter(Phase::Finishing, reasons::PROGRESS, &text);
    }
    if clock == ObservationClock::Stopped {
        return;
    }
    if now >= deadline {
        let mut text =
            format!("no conclusive observation of {} within {}", d.plan.observe.for_, d.plan.observe.timeout);
        if let Some(lost) = &d.journal.nodes_lost {
            text = format!("{text}: pods of both sides are lost with node {}", lost.nodes.join(", "));
        }
        d.ask(&Subject::Observation, &text, None, true);
        return;
    }
    d.out.wake_at(deadline);
    d.out.wake_at(later(now, Duration::from_millis(left.min(every.as_millis()).max(1))));
}

/// Whether every trigger that holds the observation has a verdict (DESIGN §6: missing data is never good).
fn conclusive(d: &Draft) -> bool {
    let judged = |name: &str| {
        journal::trigger(&d.journal, name)
            .is_some_and(|r| r.dismissed || matches!(r.last, Some(TrialVerdict::Good | TrialVerdict::Bad)))
    };
    let observe = &d.plan.observe;
    d.journal.nodes_lost.is_none()
        && observe.triggers.iter().all(|t| t.no_data.unwrap_or_default() == NoData::Ignore || judged(&t.name))
        && observe.built_in.iter().all(|t| judged(t.name()))
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
