//! PURE. One look at one Cutover, from its first request to its last.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt;
use kube::core::ObjectMeta;

use super::decisions::{self, Wish};
use super::intent::{self, Live, Verdict};
use super::order::{Class, Failure, Reply, Request};
use super::replay::{Replay, Stop, another_kind};
use super::show::{Trouble, idle, is_of, live_of, settle, show, stuck, write_status};
use super::start::{self, Started};
use super::{accepted, finalizer, prune, receivers, reopen};
use crate::api::FINALIZER;
use crate::api::condition::{reasons, types};
use crate::api::cutover::{Cutover, CutoverStatus, RunRef};
use crate::api::phase::Phase;
use crate::api::run::{CutoverRun, RunState, Selector};
use crate::decide::Note;
use crate::status::Facts;

/// What waits for somebody else is looked at again after this.
pub(crate) const AGAIN: Duration = Duration::from_secs(15);

/// Looks once. Returns when to look again although nothing is heard.
pub fn look(look: &mut Replay<'_>) -> Result<Option<Duration>, Stop> {
    let cutover = match look.ask_opt(Request::Cutover)? {
        Some(Reply::Cutover(cutover)) => {
            look.read(cutover);
            cutover
        }
        Some(Reply::Unreadable { metadata, error }) => {
            unreadable(look, metadata.uid.clone(), error);
            // What it says is not needed to let it go: nothing hangs for an object that nobody understands.
            return if metadata.deletion_timestamp.is_some() { going(look, metadata) } else { Ok(None) };
        }
        None => return Ok(decisions::hear(look, None)?.again),
        Some(_) => return Err(another_kind()),
    };
    let heard = decisions::hear(look, Some(cutover))?;
    let again = if cutover.metadata.deletion_timestamp.is_some() {
        going(look, &cutover.metadata)?
    } else {
        let again = staying(look, cutover.as_ref().clone(), heard.wish);
        let again = accepted::written(look, again)?;
        // Last: nothing waits for it.
        again.into_iter().chain(receivers::check(look)?).min()
    };
    Ok(again.into_iter().chain(heard.again).min())
}

fn unreadable(look: &mut Replay<'_>, uid: Option<String>, error: &str) {
    let note = Note {
        warning: true,
        reason: reasons::INVALID_SPEC.into(),
        subject: "spec".into(),
        message: format!("the Cutover cannot be read: {error}; apply the CRDs of this operator's version"),
    };
    look.tell(uid, note);
}

/// A Cutover that is being deleted: its runs decide when it may go, unless the namespace goes too.
fn going(look: &mut Replay<'_>, cutover: &ObjectMeta) -> Result<Option<Duration>, Stop> {
    let namespace_goes = namespace_is_going(look)?;
    let uid = cutover.uid.clone().unwrap_or_default();
    let mut active = 0;
    for run in look.runs(Request::Runs)?.iter().filter(|r| r.spec.cutover_uid == uid) {
        if is_closed(run) || namespace_goes {
            finalizer::release(look, run)?;
        } else {
            active += 1;
        }
    }
    if active == 0 || namespace_goes {
        finalizer::let_go(look, cutover)?;
        return Ok(None);
    }
    Ok(Some(AGAIN))
}

fn namespace_is_going(look: &mut Replay<'_>) -> Result<bool, Stop> {
    match look.ask_opt(Request::Namespace) {
        Ok(Some(Reply::Namespace { going })) => Ok(*going),
        Ok(None) => Ok(true),
        // Without the right to read namespaces nothing is released early.
        Err(Stop::Fails(failure)) if failure.class == Class::Forbidden => Ok(false),
        Err(stop) => Err(stop),
        Ok(Some(_)) => Err(another_kind()),
    }
}

/// Where the Services of a Cutover point now.
pub fn live(look: &mut Replay<'_>, cutover: &Cutover) -> Result<Live, Stop> {
    let mut selectors: BTreeMap<String, Option<Selector>> = BTreeMap::new();
    for service in &cutover.spec.services {
        let selector = match look.ask_opt(Request::Service(service.name.clone()))? {
            Some(Reply::Selector(selector)) => Some(selector.clone()),
            None => None,
            Some(_) => return Err(another_kind()),
        };
        selectors.insert(service.name.clone(), selector);
    }
    Ok(intent::live(&cutover.spec, &selectors))
}

fn staying(look: &mut Replay<'_>, cutover: Cutover, wish: Option<Wish>) -> Result<Option<Duration>, Stop> {
    let mut cutover = cutover;
    accepted::check(look, &mut cutover)?;
    let status = cutover.status.clone().unwrap_or_default();
    let uid = cutover.uid().unwrap_or_default();
    // 1. The newest run: one under way is shown, and nothing else happens.
    let mut unborn = false;
    let mut newest = None;
    if let Some(reference) = &status.run {
        let active = look.seen().active_of(&uid);
        let active = active
            .filter(|run| run.name_any() == reference.name && (reference.uid.is_none() || reference.uid == run.uid()));
        let found = match active {
            // One that was let go is over, whatever a watch that lags still shows.
            Some(run) if !finished(&cutover, &status) => Some(run),
            None if finished(&cutover, &status) && wish.is_none() => None,
            _ => look.run_opt(&reference.name)?.filter(|r| r.spec.cutover_uid == uid),
        };
        match (found, &reference.uid) {
            (Some(run), known) if known.is_none() || *known == run.uid() => {
                if known.is_none() {
                    // It was claimed, and is born. What shows it records that; one that is over already may not be shown.
                    let born = Some(RunRef { name: run.name_any(), uid: run.uid() });
                    let base = CutoverStatus { run: born, ..status.clone() };
                    if is_closed(run) {
                        cutover = write_status(look, &cutover, base)?;
                    } else {
                        cutover.status = Some(base);
                    }
                }
                if !is_closed(run) {
                    show(look, &cutover, Some(run), Facts { live: live_of(&cutover, run), problem: None })?;
                    return Ok(None);
                }
                newest = Some(run);
            }
            (None, None) => unborn = true,
            _ if finished(&cutover, &status) || is_over(&cutover, &status) => {}
            _ => return lost(look, &cutover, &reference.name),
        }
    }
    // 2. It is closed: it is opened again for its checks, or lets go of what it held.
    if let (Some(run), Some(Wish::Revalidate(decision))) = (newest, &wish) {
        reopen::reopen(look, &cutover, run, decision.uid().unwrap_or_default())?;
        return Ok(None);
    }
    if let Some(run) = newest {
        finalizer::release(look, run)?;
        // One of a former intent is not shown any more.
        if is_of(run, &status) {
            let facts = Facts { live: live_of(&cutover, run), problem: None };
            cutover = show(look, &cutover, Some(run), facts)?;
        }
        prune::prune(look, &cutover)?;
    }
    // 3. The next one, if it is wanted.
    let status = cutover.status.clone().unwrap_or_default();
    let wanted = intent::wanted(&cutover.spec);
    let retry = match (newest, wish) {
        (Some(_), Some(Wish::Retry(decision))) => Some(decision),
        _ => None,
    };
    if intent::is_started(&status, &wanted) && retry.is_none() && !unborn {
        cutover = unheld(look, cutover)?;
        if newest.is_none() {
            settle(look, &cutover, &status)?;
        }
        return Ok(None);
    }
    let live = live(look, &cutover)?;
    let trouble = match intent::judge(&cutover.spec, &status, &live) {
        Verdict::Start(side) => match start::start(look, cutover.clone(), &side, retry)? {
            // A Retry is answered by the next look, which finds it carried out: that it is said at once matters little.
            (_, Started::Run) => return Ok(retry.map(|_| Duration::ZERO)),
            (now, Started::Problem(trouble)) => {
                cutover = now;
                trouble
            }
        },
        Verdict::Idle => {
            cutover = unheld(look, cutover)?;
            if let Some(decision) = retry {
                let why = format!("{} is live already, so there is nothing to switch", cutover.spec.activate);
                decisions::refuse(look, decision, newest, &why)?;
            }
            return idle(look, &cutover, &live);
        }
        Verdict::TargetIsLive => Trouble {
            type_: types::STALLED.into(),
            reason: reasons::TARGET_IS_LIVE.into(),
            message: format!(
                "the release changed while {} is already live, so there is nothing to switch: set spec.activate to the \
                 other side, on which the new release runs",
                cutover.spec.activate
            ),
            again: false,
        },
        Verdict::Missing(list) => Trouble {
            type_: types::STALLED.into(),
            reason: reasons::SERVICE_NOT_FOUND.into(),
            message: format!(
                "spec.services: Service {} does not exist in namespace {}: create it, or correct the name",
                list.join(", "),
                look.key().namespace
            ),
            again: true,
        },
        Verdict::Drift(text) => Trouble {
            type_: types::SELECTOR_DRIFT.into(),
            reason: reasons::SELECTOR_DRIFT.into(),
            message: text,
            again: true,
        },
    };
    // What was claimed and could not be created yet holds on; anything else lets go while it waits.
    let claimed = cutover.status.as_ref().and_then(|s| s.run.as_ref()).is_some_and(|r| r.uid.is_none());
    if !claimed {
        cutover = unheld(look, cutover)?;
    }
    // It counts now or never: a release that was bad does not go out again once the obstacle is gone and nobody looks. One
    // whose run is claimed has counted.
    let counted = |uid: Option<String>| {
        let retries = cutover.status.iter().flat_map(|s| &s.retries);
        uid.is_some_and(|uid| retries.into_iter().any(|r| r.decision == uid))
    };
    if let Some(decision) = retry.filter(|d| !counted(d.uid())) {
        let why = format!("no run can be started now: {}", trouble.message);
        decisions::refuse(look, decision, newest, &why)?;
        return Ok(Some(Duration::ZERO));
    }
    stuck(look, &cutover, newest, &live, trouble)
}

/// The Cutover without its finalizer.
fn unheld(look: &mut Replay<'_>, cutover: Cutover) -> Result<Cutover, Stop> {
    match finalizer::let_go(look, &cutover.metadata)? {
        // The answer carries whatever the spec is by now. What this look has judged is another one: recorded as started, a
        // release applied in between would never be.
        Some(after) if after.metadata.generation != cutover.metadata.generation => {
            Err(Failure::new(Class::Conflict, "the Cutover was changed meanwhile").into())
        }
        Some(after) => {
            look.wrote(after);
            Ok(after.clone())
        }
        None => Ok(cutover),
    }
}

fn is_closed(run: &CutoverRun) -> bool {
    run.status.as_ref().is_some_and(|s| s.state == RunState::Closed)
}

/// Whether the newest run is known to be over and let go: then nothing about it needs to be read.
fn finished(cutover: &Cutover, status: &CutoverStatus) -> bool {
    let held = cutover.finalizers().iter().any(|f| f == FINALIZER);
    status.run.as_ref().is_some_and(|r| r.uid.is_some()) && !held
}

/// Whether the newest run is known to be over by what the status shows. One that was created for what is wanted now, and of
/// which nothing was shown yet, is not.
fn is_over(cutover: &Cutover, status: &CutoverStatus) -> bool {
    let unseen = intent::is_started(status, &intent::wanted(&cutover.spec));
    status.phase.is_some_and(|p| p.is_over() || p == Phase::Completed || p == Phase::Idle && !unseen)
}

/// The journal of a run is gone before it was closed: told, and never repeated.
fn lost(look: &mut Replay<'_>, cutover: &Cutover, name: &str) -> Result<Option<Duration>, Stop> {
    let message = format!(
        "run {name} is gone before its end, and with it what it had done: check the Services' selectors, then change \
         spec.release.attempt to start again"
    );
    let live = live(look, cutover)?;
    let trouble = Trouble { type_: types::STALLED.into(), reason: reasons::RUN_LOST.into(), message, again: false };
    // Told before it is let go: a Cutover that is not held is not looked at again.
    let again = stuck(look, cutover, None, &live, trouble)?;
    finalizer::let_go(look, &cutover.metadata)?;
    Ok(again)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::api::run::RunStatus;
    use crate::pilot::cutover::{Background, Key, Look, Order};

    /// The requests of a look at a Cutover that cannot be read and is being deleted, whose run is closed or not.
    fn asked(state: RunState) -> Vec<String> {
        let metadata: ObjectMeta = serde_json::from_value(json!({
            "name": "web", "uid": "u", "resourceVersion": "7", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": [FINALIZER],
        }))
        .expect("metadata");
        let unreadable = || Reply::Unreadable { metadata: Box::new(metadata.clone()), error: "what?".into() };
        let spec = json!({"cutover": "web", "cutoverUID": "u", "planVersion": 1, "plan": {}});
        let mut run = CutoverRun::new("web-1", serde_json::from_value(spec).expect("a spec"));
        run.status = Some(RunStatus { state, ..RunStatus::default() });
        let key = Key { namespace: "a".into(), name: "web".into() };
        let mut look = Look::begin(Arc::default(), key, Background::default());
        let mut asked = vec![];
        loop {
            for order in look.next(Timestamp::UNIX_EPOCH) {
                let request = match order {
                    Order::Do(request) => request,
                    Order::Done(result) => {
                        result.expect("a look that does not fail");
                        return asked;
                    }
                    _ => continue,
                };
                asked.push(format!("{request:?}").chars().take_while(char::is_ascii_alphabetic).collect());
                look.hear(Ok(match request {
                    Request::Namespace => Reply::Namespace { going: false },
                    Request::Runs => Reply::Runs(vec![run.clone()]),
                    _ => unreadable(),
                }));
            }
        }
    }

    #[test]
    fn a_cutover_that_nobody_understands_is_let_go_once_its_run_is_closed() {
        assert_eq!(asked(RunState::Active), ["Cutover", "Namespace", "Runs"]);
        assert_eq!(asked(RunState::Closed), ["Cutover", "Namespace", "Runs", "PatchCutover"]);
    }
}
