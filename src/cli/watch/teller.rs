//! PURE. What a pipeline is told, and when it may go on.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::choose::{Choice, Pick, choose};
use super::lines::{About, Change, Flags, Seen};
use super::store::{Part, Store};
use super::until::Until;
use crate::api::cutover::Cutover;
use crate::cli::exit::{Exit, Failure};
use crate::cli::rights;
use crate::cli::text::time;
use crate::view;

/// After so long the operator has had time enough for what it does at once.
const AWAY: SignedDuration = SignedDuration::from_secs(15);
/// After so long a lost connection is worth a line; most are back sooner.
const LOST: SignedDuration = SignedDuration::from_secs(3);

/// What the watches have to know before anything can be said.
pub(crate) const PARTS: [Part; 2] = [Part::Cutover, Part::Runs];

/// Follows one run, or waits for it.
pub(crate) struct Teller {
    pick: Pick,
    until: Until,
    /// What printed commands need behind them.
    flags: String,
    cutover: String,
    namespace: String,
    /// The run that was chosen: uid and name. Another one never takes its place.
    chosen: Option<(String, String)>,
    seen: Seen,
    waiting: Option<String>,
    lost: bool,
    away: bool,
    /// Since when the operator could have done what it does at once.
    idle_since: Option<Timestamp>,
}

/// What a look came to.
pub(crate) struct Said {
    pub changes: Vec<Change>,
    /// How the wait ends; none while it goes on.
    pub end: Option<Result<Exit, Failure>>,
}

impl Teller {
    pub(crate) fn new(cutover: &str, namespace: &str, pick: Pick, until: Until, flags: String) -> Self {
        Self {
            pick,
            until,
            flags,
            cutover: cutover.to_owned(),
            namespace: namespace.to_owned(),
            chosen: None,
            seen: Seen::default(),
            waiting: None,
            lost: false,
            away: false,
            idle_since: None,
        }
    }

    /// Looks at what is known now.
    pub(crate) fn look(&mut self, store: &Store, now: Timestamp) -> Said {
        let mut changes = self.connection(store, now);
        let end = self.run(store, now, &mut changes);
        Said { changes, end }
    }

    /// What is said when the time is over.
    pub(crate) fn too_late(&self, store: &Store, after: std::time::Duration, now: Timestamp) -> Failure {
        let after = time::long(SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX));
        let next = format!("kubectl cutover status {}{}", self.cutover, self.flags);
        if let Some(lost) = store.lost() {
            let since = time::ago(lost.since, now);
            return Failure::new(format!(
                "the connection to the cluster has been lost for {since}, so what came of it is not known: {}",
                lost.why
            ))
            .next(next);
        }
        let goal = self.until.goal.word();
        let stands = match (&self.waiting, &self.chosen) {
            (Some(waiting), _) => waiting.clone(),
            (None, Some((_, run))) => format!("run {run} is not over"),
            (None, None) => "nothing is known of it".to_owned(),
        };
        Failure::new(format!("not {goal} within {after}: {stands}")).next(next).exit(Exit::TimedOut)
    }

    fn run(&mut self, store: &Store, now: Timestamp, changes: &mut Vec<Change>) -> Option<Result<Exit, Failure>> {
        if let Some(right) = PARTS.iter().find_map(|part| store.denied(*part)) {
            return Some(Err(rights::missing(right, Some(&self.namespace), None)));
        }
        if !store.knows(&PARTS) {
            return None;
        }
        let Some(cutover) = store.cutover() else {
            return Some(Err(Failure::new(format!("Cutover {} has been deleted", self.cutover))));
        };
        let runs = store.runs();
        let run = match &self.chosen {
            Some((uid, name)) => match runs.iter().find(|r| r.uid().as_ref() == Some(uid)) {
                Some(run) => run,
                None => return Some(Err(Failure::new(format!("run {name} has been deleted")))),
            },
            None => match choose(cutover, &runs, &self.pick) {
                Choice::Run(run) => {
                    self.chosen = Some((run.uid().unwrap_or_default(), run.name_any()));
                    run
                }
                Choice::AtRest(why) => {
                    changes.push(self.of_cutover(now, "at rest", why));
                    return Some(Ok(Exit::Done));
                }
                Choice::Refused(why) => {
                    changes.push(self.of_cutover(now, "refused", why));
                    return Some(Ok(Exit::Failed));
                }
                Choice::Wait(why) => {
                    self.waits(cutover, now, why, changes);
                    return None;
                }
            },
        };
        let plan = view::plan_of(run);
        let Some(view) = view::Run::of(run, plan.as_ref()) else {
            self.waits(cutover, now, format!("run {} has not begun yet", run.name_any()), changes);
            return None;
        };
        let waited = self.waiting.take().is_some();
        changes.extend(self.seen.changes(&view, &Flags(&self.flags), now, waited));
        let late = view.gate.filter(|_| !view.phase.is_over()).map(|g| (g.open.until, format!("gate {}", g.name)));
        let late = late.or_else(|| view.question.and_then(|q| Some((q.until?, "the open question".to_owned()))));
        self.idle_since = late.as_ref().map(|(until, _)| *until);
        let what = late.map(|(_, what)| format!("the time of {what} is over")).unwrap_or_default();
        self.away(now, &what, changes);
        self.until.judge(&view).map(Ok)
    }

    /// Nothing can be followed yet.
    fn waits(&mut self, cutover: &Cutover, now: Timestamp, why: String, changes: &mut Vec<Change>) {
        // What the operator does at once: look at a change, begin a run.
        let observed = cutover.status.as_ref().and_then(|s| s.observed_generation);
        let at_once = observed < cutover.metadata.generation || self.chosen.is_some();
        self.idle_since = if at_once { self.idle_since.or(Some(now)) } else { None };
        if self.waiting.as_ref() != Some(&why) {
            changes.push(self.of_cutover(now, "waiting", why.clone()));
            self.waiting = Some(why.clone());
        }
        self.away(now, &why, changes);
    }

    /// An operator that is there would have done something by now.
    fn away(&mut self, now: Timestamp, what: &str, changes: &mut Vec<Change>) {
        let away = self.idle_since.is_some_and(|since| now.duration_since(since) > AWAY);
        if away && !self.away {
            let since = self.idle_since.map(|at| time::ago(at, now)).unwrap_or_default();
            let message = format!("the operator seems to be away: {what}, for {since} now");
            let next = vec![format!("kubectl cutover check{}", self.flags)];
            changes.push(Change { next, ..self.change(now, About::Connection, Some("away"), message) });
        }
        self.away = away;
    }

    fn connection(&mut self, store: &Store, now: Timestamp) -> Vec<Change> {
        match store.lost() {
            Some(lost) if !self.lost && now.duration_since(lost.since) >= LOST => {
                self.lost = true;
                let message = format!("lost since {}: {}; trying again", time::clock(lost.since, now), lost.why);
                vec![self.change(now, About::Connection, Some("lost"), message)]
            }
            None if self.lost => {
                self.lost = false;
                vec![self.change(now, About::Connection, Some("back"), "back".to_owned())]
            }
            Some(_) | None => vec![],
        }
    }

    fn of_cutover(&self, now: Timestamp, state: &str, message: String) -> Change {
        self.change(now, About::Cutover, Some(state), message)
    }

    fn change(&self, at: Timestamp, about: About, state: Option<&str>, message: String) -> Change {
        Change {
            at,
            cutover: self.cutover.clone(),
            run: self.chosen.as_ref().map(|(_, name)| name.clone()),
            about,
            name: None,
            state: state.map(str::to_owned),
            message,
            next: vec![],
        }
    }
}
