//! PURE. The end of a run: its Jobs get their ownerReference (only now, so that a foreground deletion cannot take the
//! journal away in mid-rollback), those never started are deleted, then the run is closed and writes nothing more (P7).

use crate::api::duration::Duration;
use crate::api::run::RunState;
use crate::decide::draft::Draft;
use crate::effect::{Effect, Outcome};

/// Pause between two tries.
const PACE: Duration = Duration::from_secs(1);
/// After this long a Job that cannot be owned is left to itself.
const GIVE_UP: Duration = Duration::from_mins(5);

/// Hands over what is left and closes.
pub fn run(d: &mut Draft) {
    let mut open = false;
    let since = d.journal.phase_since.unwrap_or(d.now());
    let late = d.now() >= crate::journal::later(since, GIVE_UP);
    for i in 0..d.journal.steps.len() {
        let Some(job) = d.journal.steps.get(i).and_then(|r| r.job.clone()) else { continue };
        let Some(uid) = job.uid.clone() else { continue };
        if job.owned {
            continue;
        }
        let effect = Effect::OwnJob { name: job.name.clone(), uid };
        let done = match d.outcome(&effect.key()) {
            Some((_, Outcome::Done | Outcome::NotFound | Outcome::Conflict(_) | Outcome::Refused { .. })) => true,
            _ => late,
        };
        if done {
            if let Some(j) = d.journal.steps.get_mut(i).and_then(|r| r.job.as_mut()) {
                j.owned = true;
            }
            continue;
        }
        open = true;
        d.out.wake_at(crate::journal::later(d.now(), PACE));
        d.want(effect, PACE);
    }
    if !open {
        d.journal.state = RunState::Closed;
    }
}
