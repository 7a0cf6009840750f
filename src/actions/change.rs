//! PURE. What all steps share that change objects: the look at a workload, the one effect that makes a change, what came
//! of it, and the wait until the cluster shows it. What was there before is journaled with the claim of the effect.

use serde_json::{Value, json};

use crate::api::run::{Before, ObjectKind, ObjectRef, StepRecord, TemplateChange};
use crate::api::step::{SideRef, WorkloadRef};
use crate::effect::change::Now;
use crate::effect::{Attempt, Change, Effect, Outcome, Read};
use crate::world::{PodView, Reading, WorkloadView};

use super::rights::remedy;
use super::{Cx, Out, Verdict, span, try_of};
use crate::journal::{self, later};
use crate::plan::PlanStep;

/// The workloads that a step names, by their side or one by one.
pub fn workloads(cx: &Cx, side: Option<SideRef>, named: &[WorkloadRef]) -> Vec<WorkloadRef> {
    cx.plan.named(side, named)
}

/// What is known of a workload.
pub enum WorkloadState<'a> {
    /// It exists.
    Known(&'a WorkloadView),
    /// Not known yet.
    Wait,
    /// It does not exist.
    Missing(String),
}

/// Looks at a workload.
pub fn look<'a>(cx: &Cx<'a>, workload: &WorkloadRef, record: &mut StepRecord) -> WorkloadState<'a> {
    let name = shown(&workload.into());
    match cx.world.workloads.get(workload).map(|seen| &seen.value) {
        Some(Some(view)) => WorkloadState::Known(view),
        Some(None) => WorkloadState::Missing(format!("{name} does not exist")),
        None => {
            record.message = Some(format!("{name} is being looked up"));
            WorkloadState::Wait
        }
    }
}

/// `Deployment web`.
pub fn shown(object: &ObjectRef) -> String {
    format!("{:?} {}", object.kind, object.name)
}

/// A workload as a change looks at it, as far as it is seen.
pub fn seen(view: &WorkloadView) -> Value {
    json!({"spec": {"replicas": view.wanted, "template": view.template}})
}

/// The place of what was journaled of an object; journals it now where it is new.
pub fn journaled(record: &mut StepRecord, object: ObjectRef, uid: &str, fill: impl FnOnce(&mut Before)) -> usize {
    if let Some(i) = record.before.iter().position(|b| b.object == object) {
        return i;
    }
    let mut before = Before::of(object, uid);
    fill(&mut before);
    record.before.push(before);
    record.before.len() - 1
}

/// What was journaled of a workload, with its place; journals it now where it is new.
///
/// # Errors
/// It is another one of that name by now.
pub(crate) fn known(
    record: &mut StepRecord,
    workload: &WorkloadRef,
    view: &WorkloadView,
    fill: impl FnOnce(&mut Before),
) -> Result<(usize, Before), String> {
    let i = journaled(record, workload.into(), &view.uid, fill);
    match record.before.get(i).filter(|before| before.uid == view.uid) {
        Some(before) => Ok((i, before.clone())),
        None => Err(format!("{} was replaced by another of that name", shown(&workload.into()))),
    }
}

/// A change that a step wants.
pub(crate) struct WantedChange<'a> {
    pub why: &'a str,
    /// What was journaled of the object.
    pub before: &'a Before,
    pub change: Change,
    /// Services whose pods it must not take away.
    pub(crate) unless_live: Vec<String>,
    /// What the object was last seen to say of the change, if anything was seen.
    pub seen: Option<Now>,
}

/// What came of it so far.
pub(crate) enum Made {
    /// Made; with the hash of a pod template, where that is known.
    Done(Option<String>),
    /// Under way.
    NotYet(String),
    /// Somebody else has changed the object.
    Conflict(String),
    /// The object is gone.
    Gone(String),
    /// It is refused.
    Never(String),
}

impl WantedChange<'_> {
    /// Makes the change: takes in its outcome, or wants its effect.
    pub fn make(self, cx: &Cx, out: &mut Out) -> Made {
        let object = &self.before.object;
        let name = shown(object);
        let waiting = format!("{name} is being {}", doing(&self.change));
        let resource = match object.kind {
            ObjectKind::Deployment => "deployments.apps",
            ObjectKind::StatefulSet => "statefulsets.apps",
            ObjectKind::CronJob => "cronjobs.batch",
        };
        let cannot = format!("{name} cannot be {}", done(&self.change));
        let effect = Effect::Change {
            why: self.why.to_owned(),
            object: object.clone(),
            uid: self.before.uid.clone(),
            change: self.change,
            unless_live: self.unless_live,
        };
        let key = effect.key();
        match out.outcome(cx, &key).map(|(_, outcome)| outcome) {
            Some(Outcome::Done) => return Made::Done(None),
            Some(Outcome::Changed { template }) => return Made::Done(Some(template)),
            Some(Outcome::NotFound) => return Made::Gone(format!("{name} does not exist any more")),
            Some(Outcome::Conflict(why)) => return Made::Conflict(format!("changed by somebody else: {why}")),
            Some(Outcome::Refused { why, forbidden }) => {
                let remedy = if forbidden { format!("; {}", remedy(cx, "patch", resource)) } else { String::new() };
                return Made::Never(format!("{cannot}: {why}{remedy}"));
            }
            Some(Outcome::Transient(why)) => {
                out.want(cx, effect);
                return Made::NotYet(format!("{waiting}: {why}"));
            }
            Some(other) => {
                out.want(cx, effect);
                return Made::NotYet(format!("{waiting}: {other:?}"));
            }
            None => {}
        }
        if cx.world.in_flight.contains(&key) {
            return Made::NotYet(waiting);
        }
        match self.seen {
            // By a process that did not live to record it.
            Some(Now::Done) => return Made::Done(None),
            Some(Now::Conflict(why)) => return Made::Conflict(format!("changed by somebody else: {name}: {why}")),
            Some(Now::Edit(_)) | None => {}
        }
        out.want(cx, effect);
        Made::NotYet(waiting)
    }
}

fn doing(change: &Change) -> String {
    match change {
        Change::Scale { from, to } => format!("scaled from {from} to {to}"),
        Change::Suspend { to: true, .. } => "suspended".into(),
        Change::Suspend { to: false, .. } => "resumed".into(),
        Change::SetEnv { .. } => "given its environment".into(),
        Change::UnsetEnv { .. } | Change::ForgetEnv { .. } => "given back its environment".into(),
        Change::Restart { .. } => "restarted".into(),
        Change::Template { .. } => "set back to its former template".into(),
    }
}

fn done(change: &Change) -> String {
    match change {
        Change::Scale { .. } => "scaled".into(),
        other => doing(other),
    }
}

/// What the cluster does not show yet of what was made of a workload, such as its count or the hash of its template.
pub(crate) fn unsettled(
    cx: &Cx,
    workloads: &[WorkloadRef],
    differs: impl Fn(&WorkloadRef, &WorkloadView) -> Option<String>,
) -> Option<String> {
    workloads.iter().find_map(|workload| {
        let view = cx.world.workloads.get(workload)?.value.as_ref()?;
        Some(format!("{} {}", shown(&workload.into()), differs(workload, view)?))
    })
}

/// Pods that a change takes away and that are not gone yet: those that end, and those above `count`, which nobody has
/// asked to end yet. What still runs still works, whatever the counts of its workload say. One that was not asked to end and
/// has ended for good (an evicted pod) may stay forever and is not awaited.
pub(crate) fn leaving(
    cx: &Cx,
    workloads: &[WorkloadRef],
    count: impl Fn(&WorkloadRef) -> Option<u32>,
) -> Option<String> {
    let Some(pods) = &cx.world.pods else { return Some("the pods are being looked up".into()) };
    workloads.iter().find_map(|workload| {
        let own =
            pods.value.iter().filter(|p| p.workload.as_ref() == Some(workload) && !(p.ended && p.gone_by.is_none()));
        let (ending, staying): (Vec<&PodView>, Vec<&PodView>) = own.partition(|p| p.gone_by.is_some());
        let name = shown(&workload.into());
        // The one that takes longest, since the others are gone by then.
        if let Some(last) = ending.iter().max_by_key(|p| (p.gone_by, &p.name)) {
            let by = last.gone_by.unwrap_or(cx.world.now);
            let when = if by <= cx.world.now { "should be gone since" } else { "should be gone by" };
            let still =
                if ending.len() == 1 { "1 pod still ends".into() } else { format!("{} pods still end", ending.len()) };
            return Some(format!("{name}: {still}; pod {} {when} {by:.0}", last.name));
        }
        let wanted = count(workload)?;
        let above = staying.len().saturating_sub(usize::try_from(wanted).unwrap_or(usize::MAX));
        let pod = staying.last().filter(|_| above > 0)?;
        Some(format!("{name}: {above} of its pods are still to end, such as {}; {wanted} are to stay", pod.name))
    })
}

/// Whether pods of a former template still end, and says so. Those of the present one are counted by the rollout.
pub(crate) fn still_leaving(cx: &Cx, workloads: &[WorkloadRef], record: &mut StepRecord) -> bool {
    let why = leaving(cx, workloads, |_| None);
    if let Some(why) = &why {
        record.message = Some(why.clone());
    }
    why.is_some()
}

/// Why a workload does not show the pod template that the step has left.
pub(crate) fn other_template(all: &[Before], workload: &WorkloadRef, view: &WorkloadView) -> Option<String> {
    let object = ObjectRef::from(workload);
    let before = all.iter().find(|b| b.object == object && b.done)?;
    let left = before.template.as_ref()?.to.as_ref()?;
    (*left != view.template_hash).then(|| "does not show the pod template that was written".to_owned())
}

/// Takes in that a template was changed: `hash` as the API server told it, else what is seen.
pub(crate) fn template_changed(before: &mut Before, hash: Option<String>, view: Option<&WorkloadView>) {
    before.done = true;
    if let Some(change) = before.template.as_mut() {
        change.to = hash.or_else(|| view.map(|v| v.template_hash.clone()));
    }
}

/// The template of a workload, to be journaled before it is changed.
pub(crate) fn template_of(view: &WorkloadView) -> Option<TemplateChange> {
    Some(TemplateChange { from: view.template_hash.clone(), to: None })
}

/// A read of an object that no watch shows, tried again while it fails. `None`: no answer yet.
pub fn answer<'a>(
    cx: &Cx<'a>,
    record: &mut StepRecord,
    out: &mut Out,
    (attempt, what): (&Attempt, &str),
    read: &Read,
    known: impl Fn(&Reading) -> Result<(), String>,
) -> Option<&'a Reading> {
    let began = record.attempt_at.unwrap_or(cx.world.now);
    let (n, next) = try_of(span(began, cx.world.now));
    let mut found = None;
    for n in [Some(n), n.checked_sub(1)].into_iter().flatten() {
        let key = attempt.part(format!("{what}/{n}"));
        match cx.world.readings.get(&key).map(|r| (r, known(r))) {
            Some((reading, Ok(()))) => found = found.or(Some(reading)),
            Some((_, Err(why))) => record.message = Some(format!("to be read again: {why}")),
            None => {}
        }
        out.reads.insert(key, read.clone());
    }
    if found.is_none() {
        record.message.get_or_insert_with(|| format!("{attempt}/{what} is being read"));
        out.wake_at(later(began, next));
    }
    found
}

/// A verdict for a change that cannot be made, with what was seen so far.
pub fn never(why: String, evidence: Value) -> Verdict {
    Verdict::Fail { message: why, evidence: Some(evidence) }
}

/// Reverses what the step `of` has changed: journals what there is to reverse, and wants its effects. The executor
/// looks at the objects live and leaves alone what is not the run's any more. `change`: what reverses it, from what
/// the step journaled; `None` where there is nothing to reverse. Ends with what was done of each.
pub(crate) fn take_back(
    cx: &Cx,
    step: &PlanStep,
    of: &str,
    record: &mut StepRecord,
    out: &mut Out,
    change: impl Fn(&Before) -> Option<Change>,
) -> Option<Result<Vec<Before>, String>> {
    let mut waiting = false;
    let changed = journal::record(cx.journal, of).map(|r| r.before.clone()).unwrap_or_default();
    for own in &changed {
        let Some(change) = change(own) else { continue };
        let rolls_out = change.rolls_out();
        let i = journaled(record, own.object.clone(), &own.uid, |b| {
            *b = Before { done: false, left: None, template: None, ..own.clone() };
            // What it is now is not the run's word: it is only told apart from the run's own change by the hash after.
            b.template = own
                .template
                .as_ref()
                .filter(|_| rolls_out)
                .map(|t| TemplateChange { from: t.to.clone().unwrap_or_else(|| t.from.clone()), to: None });
        });
        let Some(before) = record.before.get(i).cloned() else { continue };
        if before.done || before.left.is_some() {
            continue;
        }
        let unless_live = cx.plan.services.clone();
        let made = WantedChange { why: &step.name, before: &before, change, unless_live, seen: None }.make(cx, out);
        let Some(slot) = record.before.get_mut(i) else { continue };
        match made {
            Made::Done(hash) => template_changed(slot, hash, None),
            Made::NotYet(why) => {
                waiting = true;
                record.message = Some(why);
            }
            Made::Conflict(why) => slot.left = Some(format!("left as it is: {why}")),
            Made::Gone(_) => slot.left = Some("does not exist".into()),
            Made::Never(why) => return Some(Err(why)),
        }
    }
    if waiting { None } else { Some(Ok(record.before.clone())) }
}

/// The workloads that were set back, and not left as they are.
pub(crate) fn standing(workloads: &[WorkloadRef], back: &[Before]) -> Vec<WorkloadRef> {
    let taken = |w: &&WorkloadRef| {
        let object = ObjectRef::from(*w);
        back.iter().any(|b| b.object == object && b.left.is_none())
    };
    workloads.iter().filter(taken).cloned().collect()
}

/// What is told of an object that was set back, or why it was left as it is.
pub(crate) fn left_or(before: &Before, told: impl Fn(&Before) -> Value) -> Value {
    before.left.as_ref().map_or_else(|| told(before), |why| why.as_str().into())
}
