//! PURE. The way back (DESIGN §5): selectors first, then undos in reverse order, then the rollback's own steps.

use crate::api::condition::reasons;
use crate::api::phase::Phase;
use crate::api::run::{RunStatus, ServiceSwitch, SwitchState};
use crate::decide::draft::Draft;
use crate::decide::{before, blocked, closing, execution, interrupt, restore, undo};
use crate::journal;
use crate::journal::question::Subject;
use crate::plan::{PlanStep, Stage};
use crate::route::Route;

/// Runs the end of a run, whatever it is: RolledBack, Failed, Aborted or Superseded.
pub fn run(d: &mut Draft) {
    let Some(ending) = d.journal.ending.clone() else { return };
    closing::call_off(d);
    if !before::run(d) {
        return;
    }
    if !restore::run(d) {
        return blocked::run(d);
    }
    if !execution::everything_is_known(d) {
        return;
    }
    // Neither a step that is brought to its end nor people are waited for, unless an undo uses the target first.
    if !undo::target_comes_first(d) {
        closing::after_restore(d);
    }
    if !interrupt::settle(d) {
        return;
    }
    if !undo::unretire(d) || !undos_are_agreed(d) || !undo::undo_all(d) {
        return;
    }
    let switched = d.journal.switch.as_ref().is_some_and(|s| s.services.iter().any(|s| s.restored_at.is_some()));
    if ending.phase == Phase::RolledBack && !(has_followed(d) && own_steps(d)) {
        return;
    }
    // A Service that vanished may have come back on the target while steps ran.
    if !restore::run(d) {
        return;
    }
    let Some(ending) = d.journal.ending.clone() else { return };
    // One whose Service came back only now.
    if !closing::after_restore(d) || awaits_return(d, ending.at) {
        return;
    }
    // A switch of which every patch was refused switched nothing.
    let phase = match (ending.phase, d.journal.phase) {
        (Phase::RolledBack, Phase::RollingBack) if !switched && nothing_switched(&d.journal) => Phase::Failed,
        (phase, _) => phase,
    };
    if phase != ending.phase
        && let Some(e) = d.journal.ending.as_mut()
    {
        e.phase = phase;
    }
    let tail = if ending.incomplete { "; an undo or a step of the rollback failed" } else { "" };
    let message = format!("{}{tail}", ending.message);
    d.enter(phase, &ending.reason, &message);
}

/// Whether a Service that vanished after its switch may still come back on the target (DESIGN §5.4): whoever re-creates
/// it applies what Git holds, which can be the target's selector. Awaited for `switch.timeout`; not where the Cutover is
/// gone as well, since then nobody is about to bring anything back.
fn awaits_return(d: &mut Draft, ending: jiff::Timestamp) -> bool {
    let gone = |s: &ServiceSwitch| s.state == SwitchState::Gone && s.switched_at.is_some();
    let Some(name) = d.journal.switch.iter().flat_map(|s| &s.services).find(|s| gone(s)).map(|s| s.name.clone()) else {
        return false;
    };
    let cutover_goes = d.world.cutover.as_ref().is_some_and(|c| c.value.as_ref().is_none_or(|c| c.deleting));
    let until = journal::later(ending, d.plan.switch.timeout);
    // Back on the old side, or foreign: nothing is left to restore.
    if cutover_goes || d.world.service(&name).is_some() || d.now() >= until {
        return false;
    }
    let why = format!(
        "Service {name} does not exist any more. Until {until:.0} it is restored if it comes back on {}. Next: kubectl get \
         service {name} -n {}",
        d.plan.target.name, d.plan.namespace
    );
    restore::block(d, Some((reasons::SERVICE_GONE, &why)));
    d.journal.waiting = Some(why);
    d.out.wake_at(until);
    true
}

fn nothing_switched(journal: &RunStatus) -> bool {
    use SwitchState::{Claimed, Gone, Refused, Restored, Switched};
    journal.switch.as_ref().is_none_or(|s| {
        s.services.iter().all(|s| match s.state {
            Refused => s.switched_at.is_none(),
            Claimed | Switched | Restored | Gone => false,
        })
    })
}

/// Whether the undos may begin. Those of a completed run ask first: what its steps have changed may be in use for days
/// (DESIGN §4). A no leaves them out.
fn undos_are_agreed(d: &mut Draft) -> bool {
    if !journal::was_completed(&d.journal) {
        return true;
    }
    let plan = d.plan;
    let not_begun = |undo: &PlanStep| journal::record(&d.journal, &undo.name).is_none();
    let due: Vec<PlanStep> = undo::undos(d).into_iter().filter(not_begun).collect();
    match d.journal.after.as_ref().and_then(|a| a.undo) {
        _ if due.is_empty() => true,
        Some(true) => true,
        Some(false) => {
            due.iter().for_each(|undo| undo::left_out(d, undo));
            true
        }
        None => {
            let names: Vec<&str> = due.iter().map(|u| u.name.as_str()).collect();
            let text = format!(
                "{} is live again; the run had been completed, so its undos ({}) wait for a word: Resolve step decision \
                 with outcome Failed runs them, Succeeded leaves them out",
                plan.old.name,
                names.join(", ")
            );
            d.ask(&Subject::Undo, &text, None, true);
            false
        }
    }
}

/// Whether the traffic has followed the selectors back, so that the rollback's own steps and checks meet the old side: the
/// endpoints have, and `switch.drain` has passed. Awaited for `switch.timeout`.
fn has_followed(d: &mut Draft) -> bool {
    let own = |s: &&PlanStep| matches!(s.stage, Stage::Rollback | Stage::RollbackVerify);
    let Some(first) = d.plan.steps.iter().find(own) else { return true };
    let Some(switch) = &d.journal.switch else { return true };
    let Some(restored) = switch.restored_at else { return true };
    if journal::record(&d.journal, &first.name).is_some() {
        return true;
    }
    let drained = journal::later(restored, d.plan.switch.drain);
    let until = journal::later(restored, d.plan.switch.timeout).max(drained);
    let back = |s: &&ServiceSwitch| s.state == SwitchState::Restored;
    let followed =
        switch.services.iter().filter(back).all(|s| d.world.converged(&s.name, &Route::of(s).pods(&s.from), 1).is_ok());
    if d.now() >= until || (followed && d.now() >= drained) {
        return true;
    }
    d.journal.waiting = Some(format!("the endpoints follow back to {}", d.plan.old.name));
    d.out.wake_at(if followed { drained } else { until });
    false
}

/// The rollback's own steps, then its checks.
fn own_steps(d: &mut Draft) -> bool {
    let plan = d.plan;
    plan.stage(Stage::Rollback).chain(plan.stage(Stage::RollbackVerify)).all(|step| execution::drive_back(d, step))
}
