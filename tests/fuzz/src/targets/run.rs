//! A run as it is read back from the API server, plan and journal: what the operator decides on it, and what every page shows
//! of it. Whatever stands in it, nothing panics, what has been done stays recorded, transitions stay legal, and no text of it
//! reaches a terminal as it is.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover::api::run::{CutoverRun, RunState, RunStatus, StepState, SwitchState};
use cutover::decide::{Decision, decide};
use cutover::effect::{Effect, Outcome};
use cutover::entrances;
use cutover::journal;
use cutover::pilot::run::{Heard, Now, Order, Pace, Pilot, Put, Reread, Then};
use cutover::plan::Plan;
use cutover::view;
use cutover::world::{Proven, Seen};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::setting::{self, NOW};
use crate::oracle;

/// A run may not grow beyond this (DESIGN §3).
const MAX_RUN: usize = 512 * 1024;
/// Decisions after one another.
const ROUNDS: i64 = 5;

/// See [`crate::TARGETS`].
///
/// # Panics
/// Something does not hold.
pub fn run(input: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return };
    let Ok(run) = serde_json::from_value::<CutoverRun>(value) else { return };
    same_again(&run);
    pages(&run, input.len());
    drive(&run);
    let Some(plan) = view::plan_of(&run) else { return };
    let journal = run.status.clone().unwrap_or_default();
    let uid = run.metadata.uid.as_deref().unwrap_or_default();
    for live in [&plan.old, &plan.target] {
        decisions(&plan, &journal, uid, live);
    }
    fits(journal);
}

/// What was read is what is written, and what is written is read as it was.
fn same_again(run: &CutoverRun) {
    let again = |journal: &Option<RunStatus>| -> Option<RunStatus> {
        let text = serde_json::to_string(journal).expect("a journal has a form");
        serde_json::from_str(&text).expect("a journal is read as it was written")
    };
    let mut first = again(&run.status);
    assert_eq!(again(&first), first);
    // Times of conditions are written in whole seconds.
    let mut journal = run.status.clone();
    [&mut journal, &mut first].into_iter().flatten().for_each(|journal| journal.conditions.clear());
    assert_eq!(first, journal);
}

/// What people are shown.
fn pages(run: &CutoverRun, size: usize) {
    let selector = json!({"metadata": {"name": "web"}, "spec": {"selector": {"side": "green"}}});
    let service: Service = serde_json::from_value(selector).expect("a Service");
    let mut cutover = setting::cutover();
    let status = entrances::projected(&cutover, run, Some("blue"), NOW);
    let projected = serde_json::to_string(&status).expect("a status has a form");
    assert_eq!(serde_json::from_str::<Value>(&projected).ok(), serde_json::to_value(&status).ok());
    cutover.status = Some(status);
    for (page, lines, model) in entrances::pages(&cutover, std::slice::from_ref(run), &service, NOW) {
        lines.iter().for_each(|line| oracle::harmless(page, line));
        let shown: usize = lines.iter().map(String::len).sum();
        // Escapes make characters longer, and some pages show a text more than once.
        let most = 40 * size + 64 * 1024;
        assert!(shown <= most, "{page} has {shown} bytes, made of a run of {size}");
        assert!(model.to_string().len() <= most, "the model of {page} has more than {most} bytes");
    }
    for (start, end, _) in entrances::trace(run) {
        assert!(start <= end, "a span ends before it begins");
    }
}

/// The pilot of the run takes it up, and somebody answers what it orders. A decision that panics it would report.
fn drive(run: &CutoverRun) {
    let uid = run.metadata.uid.as_deref().unwrap_or_default();
    let now = |ticks: u64| Now {
        wall: NOW + SignedDuration::from_secs(ticks.cast_signed()),
        ticks: Duration::from_secs(ticks),
    };
    let Ok(mut pilot) = Pilot::open(run, now(0), Pace::of(uid)) else { return };
    let mut written = run.status.clone().unwrap_or_default();
    for ticks in 0..12 {
        let next = pilot.next(now(ticks));
        assert!(!next.orders.iter().any(|order| matches!(order, Order::Panicked)), "a decision has panicked");
        let heard = match next.then {
            Then::Put { journal, .. } => {
                written = *journal;
                Heard::Put(Put::Written)
            }
            Then::Reread => Heard::Read(Reread::Found { journal: Box::new(written.clone()), same: false }),
            Then::Authorise => Heard::Authority(Reread::Found { journal: Box::new(written.clone()), same: true }),
            Then::Release => Heard::Released(true),
            Then::Sleep(_) => continue,
            Then::End(_) => return,
        };
        pilot.hear(heard, now(ticks));
    }
}

/// Decisions after one another, in a cluster in which every effect is carried out.
fn decisions(plan: &Plan, journal: &RunStatus, uid: &str, live: &cutover::plan::PlanSide) {
    let mut before = journal.clone();
    let mut world = setting::world(plan, uid, live, NOW);
    world.begun_before =
        journal.steps.iter().filter(|s| s.state == StepState::Running).map(|s| s.name.clone()).collect();
    let known = has_names_once(journal);
    for round in 1..=ROUNDS {
        let decision = decide(plan, &before, &world);
        if known {
            nothing_is_lost(&before, &decision);
        }
        for effect in &decision.effects {
            if !matches!(effect, Effect::Answer { .. }) {
                world.outcomes.insert(effect.key(), Seen { at: world.now, value: Outcome::Done });
            }
        }
        setting::prove(&mut world, &decision, &Proven::Holds);
        world.said = decision.said;
        before = decision.journal;
        world.now = NOW + SignedDuration::from_secs(20 * round);
    }
}

/// As the API server keeps these lists: by name.
fn has_names_once(journal: &RunStatus) -> bool {
    let once = |names: Vec<&String>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    let services = journal.switch.iter().flat_map(|switch| &switch.services).map(|service| &service.name);
    once(journal.steps.iter().map(|step| &step.name).collect())
        && once(journal.triggers.iter().map(|trigger| &trigger.name).collect())
        && once(journal.closings.iter().map(|closing| &closing.side).collect())
        && once(services.collect())
}

fn nothing_is_lost(before: &RunStatus, decision: &Decision) {
    let after = &decision.journal;
    if before.state == RunState::Closed {
        assert_eq!(before, after, "a closed run is changed");
        assert!(decision.effects.is_empty(), "a closed run acts: {:?}", decision.effects);
        return;
    }
    // What is over stays over, and each step of the way is one that the lifecycle has.
    let mut from = before.phase;
    if before.timeline.len() <= 48 {
        for moment in after.timeline.iter().skip(before.timeline.len()) {
            let to = moment.phase;
            assert!(entrances::is_legal(from, to), "a run goes from {from} to {to}");
            from = to;
        }
        assert_eq!(from, after.phase, "the timeline does not tell of the phase");
    }
    assert!(!before.phase.is_over() || after.phase == before.phase, "{} becomes {}", before.phase, after.phase);
    let kept = after.decisions.get(..before.decisions.len());
    assert_eq!(kept, Some(before.decisions.as_slice()), "decisions are lost");
    let started_over = after.start_over != before.start_over;
    for step in &before.steps {
        let now = journal::record(after, &step.name);
        assert!(now.is_some() || started_over, "the record of {} is lost", step.name);
        let Some(now) = now.filter(|_| !started_over) else { continue };
        let stays = match step.state {
            StepState::Succeeded | StepState::Skipped => now.state == step.state,
            StepState::Failed => matches!(now.state, StepState::Failed | StepState::Skipped),
            StepState::Running | StepState::Unknown => true,
        };
        assert!(stays, "{} was {:?} and is {:?}", step.name, step.state, now.state);
    }
    for service in before.switch.iter().flat_map(|switch| &switch.services) {
        let now = after.switch.iter().flat_map(|switch| &switch.services).find(|s| s.name == service.name);
        let Some(now) = now else {
            assert!(service.state != SwitchState::Switched, "the claim of {} is lost", service.name);
            continue;
        };
        if service.state == SwitchState::Switched {
            assert_eq!((&now.from, &now.to), (&service.from, &service.to), "the claim of {} is another", service.name);
        }
    }
    let claimed = after.switch.is_some();
    for effect in &decision.effects {
        assert!(
            claimed || !matches!(effect, Effect::Restore { .. } | Effect::Switch { .. }),
            "not claimed: {effect:?}"
        );
    }
}

/// Room is made of what is kept for the record alone.
fn fits(before: RunStatus) {
    let mut after = before.clone();
    let cut = journal::fit(&mut after, 0);
    let size = |journal: &RunStatus| serde_json::to_vec(journal).map_or(0, |bytes| bytes.len());
    assert_eq!(cut, before != after);
    let mut bare = before.clone();
    journal::without_record(&mut bare);
    assert!(
        size(&after) <= MAX_RUN || size(&bare) > MAX_RUN - 4096 || before.steps.iter().any(|s| s.evidence.is_some())
    );
    let decisive = |journal: &RunStatus| {
        let mut journal = journal.clone();
        journal::without_record(&mut journal);
        journal.steps.iter_mut().for_each(|step| step.evidence = None);
        journal
    };
    assert_eq!(decisive(&before), decisive(&after), "something that decides was cut");
}
