//! PURE. A completed run that is closed already is opened again when a person wants its checks made again (`Revalidate`). The
//! driver takes the decision in, makes the checks, and closes it; nothing else of it goes on.

use super::finalizer;
use super::known::Memo;
use super::order::Request;
use super::replay::{Replay, Stop};
use super::start::hold;
use crate::api::RUN_FINALIZER;
use crate::api::cutover::Cutover;
use crate::api::run::CutoverRun;
use crate::journal;

/// Opens the newest run, which is closed, for a decision that may be met.
///
/// # Errors
/// When something could not be written; the next look tries again.
pub(crate) fn reopen(look: &mut Replay<'_>, cutover: &Cutover, run: &CutoverRun, decision: String) -> Result<(), Stop> {
    // In this order, so that whatever is deleted meanwhile waits for the checks.
    hold(look, cutover.clone())?;
    let mut run = held(look, run)?;
    let mut journal = run.status.take().unwrap_or_default();
    journal::reopen(&mut journal);
    run.status = Some(journal);
    run.metadata.managed_fields = None;
    look.run(Request::ReopenRun(Box::new(run)))?;
    // Whatever its driver makes of it: one that is never taken in opens the run once and not forever.
    look.remember(Memo::Opened(decision));
    Ok(())
}

fn held(look: &mut Replay<'_>, run: &CutoverRun) -> Result<CutoverRun, Stop> {
    if finalizer::has(run, RUN_FINALIZER) {
        return Ok(run.clone());
    }
    let name = run.metadata.name.clone().unwrap_or_default();
    look.run(Request::PatchRun(name, finalizer::with(run, RUN_FINALIZER))).cloned()
}
