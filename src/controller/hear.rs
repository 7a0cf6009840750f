//! Decisions that no driver answers, since their run is closed or is not there: read live, judged by [`super::words`],
//! answered. What an open one asks for is carried out by the look that hears it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt};

use super::asked::Said;
use super::intent;
use super::reconcile::Look;
use super::words::{Place, Stand, Word, judge};
use crate::act::answer::{Seen, answer, status};
use crate::act::call::{CallError, Class, call};
use crate::api::LABEL_CUTOVER;
use crate::api::condition::reasons;
use crate::api::cutover::{Cutover, CutoverStatus};
use crate::api::decision::CutoverDecision;
use crate::api::run::{CutoverRun, RunState};
use crate::decide::Note;
use crate::effect::Outcome;
use crate::journal::words::counts;
use crate::publish::About;

/// Decisions looked at together; more follow at once.
const BATCH: u32 = 200;
/// Answers under way at the same time.
const AT_ONCE: usize = 8;
/// Pause before an answer that did not arrive is written again.
const AGAIN: Duration = Duration::from_secs(2);

/// What a person wants of a closed run, if it can be had.
pub enum Wish {
    /// Another run.
    Retry(Box<CutoverDecision>),
    /// The checks of this one.
    Revalidate(Box<CutoverDecision>),
}

/// What was heard.
#[derive(Default)]
pub struct Heard {
    /// The first wish, in the order of creation; others are judged once it is carried out.
    pub wish: Option<Wish>,
    /// When to look again for what could not be answered.
    pub again: Option<Duration>,
}

/// Answers the open decisions that name this Cutover.
///
/// # Errors
/// When they or a run could not be read.
pub async fn hear(look: &Look<'_>, cutover: Option<&Cutover>) -> Result<Heard, CallError> {
    if !look.cx.known.asked(|a| a.is_asked(&look.key)) {
        return Ok(Heard::default());
    }
    let list = open(look).await?;
    let mut heard = Heard::default();
    let mut runs = Runs::default();
    let mut answers = vec![];
    let at = Timestamp::now();
    for decision in list {
        let uid = decision.uid().unwrap_or_default();
        // Once judged it stays so, however long it takes to write that on it.
        if let Some(said) = look.cx.known.asked(|a| a.said(&uid)) {
            answers.push((decision, said));
            continue;
        }
        let place = runs.place(look, cutover, &decision.spec.run_uid).await?;
        match word(&decision, cutover, place) {
            Word::Leave => {}
            Word::Answer { result, run } => answers.push((decision, Said { result, at, run })),
            _ if heard.wish.is_some() => {}
            Word::Retry => heard.wish = Some(Wish::Retry(Box::new(decision))),
            Word::Revalidate if look.cx.known.asked(|a| a.was_opened_for(&uid)) => {
                let result = "refused: the run was opened for it and has not taken it in".into();
                answers.push((decision, Said { result, at, run: None }));
            }
            Word::Revalidate => heard.wish = Some(Wish::Revalidate(Box::new(decision))),
        }
    }
    if answers.len() >= BATCH as usize {
        heard.again = Some(Duration::ZERO);
    }
    let written = answers.into_iter().map(|(decision, said)| reply(look, decision, said));
    let written: Vec<bool> = futures::stream::iter(written).buffer_unordered(AT_ONCE).collect().await;
    if written.contains(&false) {
        heard.again = heard.again.max(Some(AGAIN));
    }
    Ok(heard)
}

fn word(decision: &CutoverDecision, cutover: Option<&Cutover>, place: &Found) -> Word {
    let created = decision.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    let none = CutoverStatus::default();
    let wanted = cutover.map(|c| intent::wanted(&c.spec));
    let stand = cutover.zip(wanted.as_ref()).map(|(c, wanted)| Stand {
        name: &decision.spec.cutover,
        status: c.status.as_ref().unwrap_or(&none),
        wanted,
        deleting: c.metadata.deletion_timestamp.is_some(),
    });
    judge(&decision.uid().unwrap_or_default(), created, &decision.spec, stand, place.as_place())
}

/// The open decisions, in the order of their creation.
async fn open(look: &Look<'_>) -> Result<Vec<CutoverDecision>, CallError> {
    let api: Api<DeserializeGuard<CutoverDecision>> = Api::namespaced(look.cx.client.clone(), &look.key.namespace);
    let fields = format!("spec.cutover={},status.state!=Answered", look.key.name);
    let list = call(api.list(&ListParams::default().fields(&fields).limit(BATCH))).await?;
    let mut open: Vec<CutoverDecision> = list.items.into_iter().filter_map(|guard| guard.0.ok()).collect();
    let known = &look.cx.known;
    // One whose answer cannot be written is not tried again and again.
    open.retain(|d| d.is_open() && !known.asked(|a| a.is_given_up(&d.uid().unwrap_or_default())));
    open.sort_by_key(|d| (d.creation_timestamp().map(|t| t.0), d.uid()));
    Ok(open)
}

/// Refuses what cannot be carried out after all.
pub async fn refuse(look: &Look<'_>, decision: CutoverDecision, why: &str) -> bool {
    let said = Said { result: format!("refused: {why}"), at: Timestamp::now(), run: None };
    reply(look, decision, said).await
}

/// Writes an answer. False where it is to be tried again.
async fn reply(look: &Look<'_>, decision: CutoverDecision, said: Said) -> bool {
    let uid = decision.uid().unwrap_or_default();
    let first = look.cx.known.asked(|a| a.say(&uid, &said));
    let (name, version) = (decision.name_any(), decision.resource_version().unwrap_or_default());
    let seen = Seen { name: &name, uid: &uid, resource_version: &version };
    let outcome =
        answer(look.cx.client.clone(), &look.key.namespace, &seen, &status(&said.result, said.at, said.run)).await;
    if first {
        tell(look, &decision, &said.result);
    }
    match outcome {
        Outcome::Done | Outcome::NotFound => {
            look.cx.known.asked(|a| a.answered(&uid));
            true
        }
        Outcome::Refused { why, .. } => {
            if look.cx.known.asked(|a| a.give_up(&uid)) {
                let message = format!(
                    "what comes of decisions cannot be written on them, they count all the same: {why}; apply the \
                     definitions of this version and grant the operator update on cutoverdecisions/status"
                );
                publish(look, true, reasons::PERMISSION_MISSING, "decisions", message);
            }
            true
        }
        // Read again: it may have been answered, or only its labels have changed.
        _ => false,
    }
}

/// One Event for each decision that counts, and at most one a minute for those that do not.
fn tell(look: &Look<'_>, decision: &CutoverDecision, result: &str) {
    if counts(result) || look.cx.known.asked(|a| a.may_tell(&look.key)) {
        let verb = format!("{:?}", decision.spec.decision);
        let message = format!("{verb} by {}: {result}", decision.spec.by);
        publish(look, false, reasons::DECISION, &verb, message);
    }
}

fn publish(look: &Look<'_>, warning: bool, reason: &str, subject: &str, message: String) {
    let about = About { namespace: look.key.namespace.clone(), cutover: look.key.name.clone(), ..About::default() };
    let note = Note { warning, reason: reason.into(), subject: subject.into(), message };
    look.cx.publisher.publish(&about, &note);
}

/// A run that a decision names.
enum Found {
    UnderWay,
    Newest(Box<CutoverRun>),
    Older(Box<CutoverRun>),
    Elsewhere,
    Gone,
}

impl Found {
    fn as_place(&self) -> Place<'_> {
        match self {
            Self::UnderWay => Place::UnderWay,
            Self::Newest(run) => Place::Newest(run),
            Self::Older(run) => Place::Older(run),
            Self::Elsewhere => Place::Elsewhere,
            Self::Gone => Place::Gone,
        }
    }
}

/// Runs as they were read for this look: each once, whatever the number of decisions on it.
#[derive(Default)]
struct Runs {
    found: BTreeMap<String, Found>,
    /// Name and Cutover by uid, of all runs of the namespace.
    names: Option<BTreeMap<String, (String, Option<String>)>>,
}

impl Runs {
    async fn place(&mut self, look: &Look<'_>, cutover: Option<&Cutover>, uid: &str) -> Result<&Found, CallError> {
        if !self.found.contains_key(uid) {
            let found = self.find(look, cutover, uid).await?;
            self.found.insert(uid.to_owned(), found);
        }
        Ok(self.found.get(uid).unwrap_or(&Found::Gone))
    }

    async fn find(&mut self, look: &Look<'_>, cutover: Option<&Cutover>, uid: &str) -> Result<Found, CallError> {
        if look.cx.known.is_active(&look.key.namespace, uid) {
            return Ok(Found::UnderWay);
        }
        let newest = cutover.and_then(|c| c.status.as_ref()?.run.as_ref()).filter(|r| r.uid.as_deref() == Some(uid));
        let (name, of) = match newest {
            Some(run) => (run.name.clone(), Some(look.key.name.clone())),
            None => match self.names(look).await?.get(uid) {
                Some(known) => known.clone(),
                None => return Ok(Found::Gone),
            },
        };
        if of.as_ref() != Some(&look.key.name) {
            return Ok(Found::Elsewhere);
        }
        let run = match call(look.runs().get(&name)).await {
            Ok(run) if run.uid().as_deref() == Some(uid) => run,
            Ok(_) => return Ok(Found::Gone),
            Err(e) if e.class == Class::NotFound => return Ok(Found::Gone),
            Err(e) => return Err(e),
        };
        Ok(match () {
            () if run.status.as_ref().is_none_or(|s| s.state != RunState::Closed) => Found::UnderWay,
            // Of a former Cutover of this name.
            () if cutover.and_then(ResourceExt::uid).is_some_and(|uid| uid != run.spec.cutover_uid) => Found::Elsewhere,
            () if newest.is_some() => Found::Newest(Box::new(run)),
            () => Found::Older(Box::new(run)),
        })
    }

    async fn names(&mut self, look: &Look<'_>) -> Result<&BTreeMap<String, (String, Option<String>)>, CallError> {
        if self.names.is_none() {
            let list = call(look.runs().list_metadata(&ListParams::default())).await?;
            let of = |run: kube::core::PartialObjectMeta<CutoverRun>| {
                let cutover = run.labels().get(LABEL_CUTOVER).cloned();
                (run.uid().unwrap_or_default(), (run.name_any(), cutover))
            };
            self.names = Some(list.items.into_iter().map(of).collect());
        }
        Ok(self.names.get_or_insert_default())
    }
}
