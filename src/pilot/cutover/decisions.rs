//! PURE. Decisions that no driver answers, since their run is closed or is not there: read live, judged by [`super::words`],
//! answered. What an open one asks for is carried out by the look that hears it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::asked::{Said, may_tell};
use super::intent;
use super::known::Memo;
use super::order::{Answer, Reply, Request, TakeUp};
use super::replay::{Replay, Stop, another_kind};
use super::words::{NamedRun, Stand, Word, judge};
use crate::api::LABEL_CUTOVER;
use crate::api::condition::reasons;
use crate::api::cutover::{Cutover, CutoverStatus};
use crate::api::decision::CutoverDecision;
use crate::api::run::{CutoverRun, RunState};
use crate::decide::Note;
use crate::decide::proof::{self, Standing};
use crate::effect::Outcome;
use crate::journal::words::counts;

/// Decisions looked at together; more follow at once.
const BATCH: usize = 200;
/// Pause before an answer that did not arrive is written again.
const AGAIN: Duration = Duration::from_secs(2);
/// Pause before it is asked again whose a decision is.
const UNPROVEN: Duration = Duration::from_secs(5);

/// What a person wants of a closed run, if it can be had.
pub(crate) enum Wish<'a> {
    /// Another run.
    Retry(&'a CutoverDecision),
    /// The checks of this one.
    Revalidate(&'a CutoverDecision),
}

/// What was heard.
#[derive(Default)]
pub struct Wishes<'a> {
    /// The first wish, in the order of creation; others are judged once it is carried out.
    pub(crate) wish: Option<Wish<'a>>,
    /// When to look again for what could not be answered.
    pub again: Option<Duration>,
}

/// Answers the open decisions that name this Cutover.
///
/// # Errors
/// When they or a run could not be read.
pub fn hear<'a>(look: &mut Replay<'a>, cutover: Option<&Cutover>) -> Result<Wishes<'a>, Stop> {
    let mut heard = Wishes::default();
    let questions = &look.seen().questions;
    if !questions.asked {
        return Ok(heard);
    }
    let list = open(look)?;
    let at = look.now();
    let mut runs = Runs::default();
    let mut answers = vec![];
    for decision in list {
        let uid = decision.uid().unwrap_or_default();
        // Once judged it stays so, however long it takes to write that on it.
        if let Some(said) = questions.said.get(&uid) {
            answers.push((decision, said.clone()));
            continue;
        }
        let place = runs.place(look, cutover, &decision.spec.run_uid)?;
        let said = |result, run| Said { result, at, run, owner: runs.there.get(&decision.spec.run_uid).cloned() };
        match word(decision, cutover, place) {
            Word::Leave => {}
            Word::Answer { result, run } => answers.push((decision, said(result, run))),
            _ if heard.wish.is_some() => {}
            Word::Retry | Word::Revalidate if questions.inherited.contains(&uid) => {
                // Looked at again once that is known, with what then stands there.
                let done = take_up(look, decision)?;
                heard.again = heard.again.max(Some(if done { Duration::ZERO } else { AGAIN }));
            }
            Word::Revalidate if questions.opened.contains(&uid) => {
                let result = "refused: the run was opened for it and has not taken it in".into();
                answers.push((decision, said(result, None)));
            }
            word @ (Word::Retry | Word::Revalidate) => match standing(look, decision)? {
                Standing::Refused(result) => answers.push((decision, said(result, None))),
                Standing::Waits(_) => heard.again = heard.again.max(Some(UNPROVEN)),
                // Neither of them leads back.
                Standing::Counts | Standing::Unproven(_) if word == Word::Retry => {
                    heard.wish = Some(Wish::Retry(decision));
                }
                Standing::Counts | Standing::Unproven(_) => heard.wish = Some(Wish::Revalidate(decision)),
            },
        }
    }
    if answers.len() >= BATCH {
        heard.again = Some(Duration::ZERO);
    }
    if !reply(look, answers)? {
        heard.again = heard.again.max(Some(AGAIN));
    }
    Ok(heard)
}

fn word(decision: &CutoverDecision, cutover: Option<&Cutover>, place: NamedRun<'_>) -> Word {
    let none = CutoverStatus::default();
    let wanted = cutover.map(|c| intent::wanted(&c.spec));
    let stand = cutover.zip(wanted.as_ref()).map(|(c, wanted)| Stand {
        name: &decision.spec.cutover,
        status: c.status.as_ref().unwrap_or(&none),
        wanted,
        deleting: c.metadata.deletion_timestamp.is_some(),
    });
    judge(&decision.uid().unwrap_or_default(), created(decision), &decision.spec, stand, place)
}

/// The open decisions, in the order of their creation.
fn open<'a>(look: &mut Replay<'a>) -> Result<Vec<&'a CutoverDecision>, Stop> {
    let given_up = &look.seen().questions.given_up;
    let list = look.decisions(BATCH as u32)?;
    // One whose answer cannot be written is not tried again and again.
    let open = list.iter().filter(|d| d.is_open() && !given_up.contains(&d.uid().unwrap_or_default()));
    let mut open: Vec<_> = open.collect();
    open.sort_by_key(|d| (d.creation_timestamp().map(|t| t.0), d.uid()));
    Ok(open)
}

/// How a decision stands by what is proven of who made it.
fn standing(look: &mut Replay<'_>, decision: &CutoverDecision) -> Result<Standing, Stop> {
    let uid = decision.uid().unwrap_or_default();
    let Reply::Proof(proof) = look.ask(Request::Proof)? else { return Err(another_kind()) };
    let now = look.now();
    let since = look.seen().questions.unproven.get(&uid).copied().unwrap_or(now);
    let created = created(decision);
    let standing = proof::standing(decision.spec.decision, created, since, Some(proof), now);
    if matches!(standing, Standing::Waits(_)) {
        look.remember(Memo::Waits(uid, now));
    }
    Ok(standing)
}

fn created(decision: &CutoverDecision) -> Timestamp {
    decision.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |t| t.0)
}

/// Refuses what cannot be carried out after all. `newest`: the run that it names, if it is still there.
pub fn refuse(
    look: &mut Replay<'_>,
    decision: &CutoverDecision,
    newest: Option<&CutoverRun>,
    why: &str,
) -> Result<(), Stop> {
    let owner =
        newest.filter(|run| run.metadata.uid.as_ref() == Some(&decision.spec.run_uid)).map(ResourceExt::name_any);
    let said = Said { result: format!("refused: {why}"), at: look.now(), run: None, owner };
    reply(look, vec![(decision, said)]).map(drop)
}

/// Makes the answer fail that another process may have sent (P14). Whether no more is to be done for that.
fn take_up(look: &mut Replay<'_>, decision: &CutoverDecision) -> Result<bool, Stop> {
    let (name, uid) = (decision.name_any(), decision.uid().unwrap_or_default());
    let resource_version = decision.resource_version().unwrap_or_default();
    let wanted = TakeUp { name, uid: uid.clone(), resource_version, at: look.now() };
    let Reply::Answers(outcomes) = look.ask(Request::TakeUp(wanted))? else { return Err(another_kind()) };
    // Where the status cannot be written, nobody's answer can be.
    let done = matches!(outcomes.first(), Some(Outcome::Done | Outcome::Refused { .. }));
    if done {
        look.remember(Memo::TakenUp(uid));
    }
    Ok(done)
}

/// Writes answers. False where one is to be tried again.
fn reply(look: &mut Replay<'_>, answers: Vec<(&CutoverDecision, Said)>) -> Result<bool, Stop> {
    if answers.is_empty() {
        return Ok(true);
    }
    let questions = &look.seen().questions;
    let mut request = vec![];
    for (decision, said) in &answers {
        let uid = decision.uid().unwrap_or_default();
        look.remember(Memo::Said(uid.clone(), said.clone()));
        let resource_version = decision.resource_version().unwrap_or_default();
        let run_uid = decision.spec.run_uid.clone();
        request.push(Answer { name: decision.name_any(), uid, resource_version, run_uid, said: said.clone() });
    }
    let Reply::Answers(outcomes) = look.ask(Request::Answer(request))? else { return Err(another_kind()) };
    let (mut told, mut mute, mut all) = (questions.told, questions.mute, true);
    for (i, (decision, said)) in answers.iter().enumerate() {
        let uid = decision.uid().unwrap_or_default();
        if !questions.said.contains_key(&uid) {
            tell(look, &mut told, decision, &said.result);
        }
        match outcomes.get(i) {
            Some(Outcome::Done | Outcome::NotFound) => look.remember(Memo::Answered(uid)),
            Some(Outcome::Refused { why, .. }) => {
                look.remember(Memo::GaveUp(uid));
                if !std::mem::replace(&mut mute, true) {
                    let message = format!(
                        "what comes of decisions cannot be written on them, they count all the same: {why}; apply the \
                         definitions of this version and grant the operator update on cutoverdecisions/status"
                    );
                    publish(look, true, reasons::PERMISSION_MISSING, "decisions", message);
                }
            }
            // Read again: it may have been answered, or only its labels have changed.
            _ => all = false,
        }
    }
    Ok(all)
}

/// One Event for each decision that counts, and at most one a minute for those that do not.
fn tell(look: &mut Replay<'_>, told: &mut Option<Timestamp>, decision: &CutoverDecision, result: &str) {
    let now = look.now();
    if !counts(result) {
        if !may_tell(*told, now) {
            return;
        }
        *told = Some(now);
        look.remember(Memo::Told(now));
    }
    let verb = format!("{:?}", decision.spec.decision);
    let message = format!("{verb} by {}: {result}", decision.spec.by);
    publish(look, false, reasons::DECISION, &verb, message);
}

fn publish(look: &mut Replay<'_>, warning: bool, reason: &str, subject: &str, message: String) {
    look.tell(None, Note { warning, reason: reason.into(), subject: subject.into(), message });
}

/// Runs as they were read for this look: each once, whatever the number of decisions on it.
#[derive(Default)]
struct Runs<'a> {
    found: BTreeMap<String, NamedRun<'a>>,
    /// Names of those that are there, by uid.
    there: BTreeMap<String, String>,
    /// Name and Cutover by uid, of all runs of the namespace.
    names: Option<BTreeMap<String, (String, Option<String>)>>,
}

impl<'a> Runs<'a> {
    fn place(&mut self, look: &mut Replay<'a>, cutover: Option<&Cutover>, uid: &str) -> Result<NamedRun<'a>, Stop> {
        if let Some(found) = self.found.get(uid) {
            return Ok(*found);
        }
        let found = self.find(look, cutover, uid)?;
        self.found.insert(uid.to_owned(), found);
        Ok(found)
    }

    fn find(&mut self, look: &mut Replay<'a>, cutover: Option<&Cutover>, uid: &str) -> Result<NamedRun<'a>, Stop> {
        if look.seen().is_active(uid) {
            return Ok(NamedRun::UnderWay);
        }
        let own = &look.key().name;
        let newest = cutover.and_then(|c| c.status.as_ref()?.run.as_ref()).filter(|r| r.uid.as_deref() == Some(uid));
        let (name, of) = match newest {
            Some(run) => (run.name.clone(), Some(own.clone())),
            None => match self.names(look)?.get(uid) {
                Some(known) => known.clone(),
                None => return Ok(NamedRun::Gone),
            },
        };
        if of.as_ref() != Some(own) {
            self.there.insert(uid.to_owned(), name);
            return Ok(NamedRun::Elsewhere);
        }
        let run = match look.run_opt(&name)? {
            Some(run) if run.metadata.uid.as_deref() == Some(uid) => run,
            _ => return Ok(NamedRun::Gone),
        };
        self.there.insert(uid.to_owned(), name);
        Ok(match () {
            () if run.status.as_ref().is_none_or(|s| s.state != RunState::Closed) => NamedRun::UnderWay,
            // Of a former Cutover of this name.
            () if cutover.and_then(ResourceExt::uid).is_some_and(|uid| uid != run.spec.cutover_uid) => {
                NamedRun::Elsewhere
            }
            () if newest.is_some() => NamedRun::Newest(run),
            () => NamedRun::Older(run),
        })
    }

    fn names(&mut self, look: &mut Replay<'a>) -> Result<&BTreeMap<String, (String, Option<String>)>, Stop> {
        if self.names.is_none() {
            let mut names = BTreeMap::new();
            for run in look.metadata(Request::AllRuns)? {
                let cutover = run.labels.as_ref().and_then(|labels| labels.get(LABEL_CUTOVER)).cloned();
                names.insert(run.uid.clone().unwrap_or_default(), (run.name.clone().unwrap_or_default(), cutover));
            }
            self.names = Some(names);
        }
        Ok(self.names.get_or_insert_default())
    }
}
