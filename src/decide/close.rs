//! PURE. The end of a run: its Jobs and its Secret get their ownerReference (only now, so that a foreground deletion cannot take the
//! journal away in mid-rollback), those never started are deleted, what was kept for an undo is dropped, then the run is
//! closed and writes nothing more (P7).

use crate::actions::set_env;
use crate::api::duration::Duration;
use crate::decide::draft::Draft;
use crate::effect::{Effect, Outcome};
use crate::journal;
use crate::plan::execution::secret_name;

/// Pause between two tries.
const PACE: Duration = Duration::from_secs(1);
/// After this long a Job that cannot be owned is left to itself.
const GIVE_UP: Duration = Duration::from_mins(5);

/// Hands over what is left and closes.
pub fn run(d: &mut Draft) {
    let mut open = false;
    let now = d.now();
    let since = *d.journal.closing_since.get_or_insert(now);
    let late = d.now() >= journal::later(since, GIVE_UP);
    let mut left: Vec<(String, String)> =
        journal::jobs(&d.journal).filter(|j| !j.owned).filter_map(|j| Some((j.name.clone(), j.uid.clone()?))).collect();
    left.dedup();
    for (name, uid) in left {
        if is_over(d, Effect::OwnJob { name: name.clone(), uid }, late) {
            journal::jobs_mut(&mut d.journal).filter(|j| j.name == name).for_each(|j| j.owned = true);
            continue;
        }
        open = true;
    }
    let name = secret_name(&d.plan.cutover, &d.world.run_uid);
    let may_be = d.plan.keepers().any(|step| journal::record(&d.journal, &step.name).is_some());
    if may_be && !d.journal.secret_owned {
        let over = is_over(d, Effect::OwnSecret { name }, late);
        d.journal.secret_owned = over;
        open |= !over;
    }
    // What was kept for an undo that is not to come any more.
    for (step, object, effect) in set_env::kept(d.plan, &d.world.run_uid, &d.journal.steps) {
        if is_over(d, effect, late) {
            let all = d.journal.steps.iter_mut().filter(|r| r.name == step).flat_map(|r| &mut r.before);
            all.filter(|b| b.object == object).for_each(|b| b.forgotten = true);
            continue;
        }
        open = true;
    }
    // Whoever looks at it once the run is closed would take a decision without its answer for one that nobody has seen.
    if super::answers::is_awaited(d) {
        open = true;
        d.out.wake_at(journal::later(d.now(), PACE));
    }
    if super::notify::is_awaited(d) {
        open = true;
    }
    if !open {
        journal::transition::close(&mut d.journal);
    }
}

/// Whether no more can come of an effect; else it is wanted.
fn is_over(d: &mut Draft, effect: Effect, late: bool) -> bool {
    let over = match d.outcome(&effect.key()) {
        Some((_, Outcome::Done | Outcome::NotFound | Outcome::Conflict(_) | Outcome::Refused { .. })) => true,
        _ => late,
    };
    if !over {
        d.out.wake_at(journal::later(d.now(), PACE));
        d.want(effect, PACE);
    }
    over
}
