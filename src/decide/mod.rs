//! PURE, TOTAL. Plan + journal + world → what to write down, what to look at, what to do.
//!
//! No clock (time is `world.now`), no I/O, no `async`. Failures of the domain are values here, never `Err`.
//! [`decide`] reads as the lifecycle: people first, then the table of changes, then triggers, then the phase.

use crate::api::phase::Phase;
use crate::api::run::{RunState, RunStatus};
use crate::plan::{Plan, Stage};
use crate::world::World;

mod after;
mod answers;
mod before;
mod blocked;
mod changes;
mod close;
mod closing;
mod decision;
mod draft;
mod execution;
mod interrupt;
mod nodes;
mod notify;
mod observe;
mod people;
pub(crate) mod proof;
mod restore;
mod rollback;
mod steps;
mod switch;
mod templates;
mod trail;
mod undo;
mod unread;

pub use decision::{Decision, Note, Write};
pub(crate) use undo::undo_due;

use draft::Draft;

/// Decides.
pub fn decide(plan: &Plan, journal: &RunStatus, world: &World) -> Decision {
    let mut d = Draft::new(plan, journal, world);
    if journal.state == RunState::Closed {
        return d.finish();
    }
    // Of a run to which nothing has happened there is nothing to write before something is known.
    let nothing_known = world.cutover.is_none() && world.decisions.is_empty() && world.unread.is_none();
    if *journal == RunStatus::default() && nothing_known && !execution::everything_is_known(&mut d) {
        return d.finish();
    }
    d.journal.phase_since.get_or_insert(world.now);
    // 1. What people and the world have changed; a rollback is decided before anything else.
    people::take_in(&mut d);
    notify::take_in(&mut d);
    changes::apply(&mut d);
    if d.journal.state == RunState::Closed {
        notify::tell(&mut d);
        return with_outbox(d.finish(), world);
    }
    observe::watch_triggers(&mut d);
    people::answer_question(&mut d);
    d.journal.waiting = None;
    // 2. The phase. A phase that ends hands over to the next in the same decision, so that one write carries both.
    for _ in 0..8 {
        let before = (d.journal.phase, d.journal.ending.clone());
        if d.journal.ending.is_some() && !d.journal.phase.is_over() {
            after::interrupted(&mut d);
            rollback::run(&mut d);
        } else {
            run_phase(&mut d);
        }
        if (d.journal.phase, d.journal.ending.clone()) == before {
            break;
        }
    }
    unread::explain(&mut d);
    answers::write(&mut d);
    crate::status::conditions(plan, &mut d.journal, world);
    trail::keep(&mut d);
    notify::tell(&mut d);
    with_outbox(d.finish(), world)
}

/// The decision with its notes in the outbox. They are no reason to write: those of a decision that writes nothing now are
/// told as they are.
fn with_outbox(mut decision: Decision, world: &World) -> Decision {
    if decision.write == Write::Now {
        trail::tell(&mut decision.journal, world, &decision.notes);
    }
    decision
}

fn run_phase(d: &mut Draft) {
    closing::after_switch(d);
    match d.journal.phase {
        Phase::Idle | Phase::Pending => steps::pending(d),
        Phase::Preflight => steps::stage(d, Stage::Preflight, Phase::Preparing),
        Phase::Preparing => steps::stage(d, Stage::Prepare, Phase::Verifying),
        Phase::Verifying => steps::stage(d, Stage::Verify, Phase::Switching),
        Phase::Switching => switch::run(d),
        Phase::Confirming => steps::stage(d, Stage::Confirm, Phase::Observing),
        Phase::Observing => observe::run(d),
        Phase::Finishing => steps::stage(d, Stage::Finish, Phase::Completed),
        Phase::RollingBack => rollback::run(d),
        Phase::Completed => after::run(d),
        Phase::RolledBack | Phase::Failed | Phase::Aborted | Phase::Superseded => close::run(d),
    }
}
