//! PURE. The condition `Accepted`: the whole Cutover with its templates, checked as soon as it is applied and again when a
//! template changes, so that a mistake is told by day and not by the run.

use super::known::Memo;
use super::order::{Reply, Request};
use super::replay::{Replay, Resolved, Stop, another_kind};
use super::show::write_status;
use crate::api::condition::{reasons, set, set_whole, types};
use crate::api::cutover::{Cutover, CutoverSpec};
use crate::plan::templates::{Expanded, FoundTemplate, expand};
use crate::plan::{Plan, Refusal, resolve};

/// Refusals shown where a short text is wanted; the rest is counted.
const SHOWN: usize = 4;
/// Most refusals in the condition.
const MOST: usize = 64;

/// Checks the Cutover unless this generation of it was checked before with the same templates, and records what came of it.
///
/// # Errors
/// When a template cannot be read, or the status cannot be written, for now.
pub fn check(look: &mut Replay<'_>, cutover: Cutover) -> Result<Cutover, Stop> {
    let generation = cutover.metadata.generation;
    let checked = look.seen().checked;
    if checked.is_some() && checked == generation {
        return Ok(cutover);
    }
    // Said first: a template that changes while it is read makes it due once more.
    look.remember(Memo::Checked(generation));
    let refusals = refusals(look, &cutover.spec).map_err(|stop| again(look, stop))?;
    let mut status = cutover.status.clone().unwrap_or_default();
    let now = look.now();
    if refusals.is_empty() {
        let message = "checked with its templates; nothing is refused";
        set(&mut status.conditions, types::ACCEPTED, true, reasons::ACCEPTED, message, now);
    } else {
        let message = text(&refusals, MOST);
        set_whole(&mut status.conditions, types::ACCEPTED, false, reasons::INVALID_SPEC, &message, now);
    }
    for condition in status.conditions.iter_mut().filter(|c| c.type_ == types::ACCEPTED) {
        condition.observed_generation = generation;
    }
    write_status(look, &cutover, status).map_err(|stop| again(look, stop))
}

/// A check that could not be made, or recorded, is due again.
fn again(look: &mut Replay<'_>, stop: Stop) -> Stop {
    if let Stop::Fails(_) = stop {
        look.remember(Memo::Checked(None));
    }
    stop
}

/// All that is refused, whichever side is live.
fn refusals(look: &mut Replay<'_>, spec: &CutoverSpec) -> Result<Vec<Refusal>, Stop> {
    let old = spec.sides.iter().find(|side| side.name != spec.activate).map(|side| side.name.clone());
    Ok(planned(look, spec, &old.unwrap_or_default())?.err().unwrap_or_default())
}

/// The plan of a run from the side `live`, with the templates as they are now, or all that is refused.
pub fn planned(look: &mut Replay<'_>, spec: &CutoverSpec, live: &str) -> Result<Resolved, Stop> {
    let (key, offered) = (look.key(), &look.setup().offered);
    let expanded = expanded(look, spec)?;
    Ok(look.resolve(|| {
        let whole = expanded?;
        resolve(&key.name, &key.namespace, &whole.spec, live, offered)
            .map(|plan| Plan { templates: whole.used.clone(), ..plan })
            .map_err(|list| list.into_iter().map(|r| whole.explain(r)).collect())
    }))
}

/// The spec with all of its templates, or why there is none: what changes later changes the next run.
fn expanded(look: &mut Replay<'_>, spec: &CutoverSpec) -> Result<Result<Expanded, Vec<Refusal>>, Stop> {
    let mut found = vec![];
    for (i, usage) in spec.templates.iter().enumerate() {
        let kind = usage.kind.unwrap_or_default();
        match look.ask_opt(Request::Template(kind, usage.name.clone()))? {
            None => found.push(None),
            Some(Reply::Template { uid, generation, template }) => {
                let (uid, template) = (uid.clone(), template.as_ref().clone());
                found.push(Some(FoundTemplate { uid, generation: *generation, template }));
            }
            Some(Reply::UnreadableTemplate(error)) => {
                return Ok(Err(vec![Refusal {
                    field: format!("spec.templates[{i}].name"),
                    message: format!("{} {} cannot be read: {error}", kind.as_str(), usage.name),
                    remedy: "correct the template, or apply the CRDs of this operator's version".into(),
                }]));
            }
            Some(_) => return Err(another_kind()),
        }
    }
    Ok(expand(&look.key().namespace, spec, &found))
}

/// The first `most` refusals as one text, and how many there are beside them.
fn text(list: &[Refusal], most: usize) -> String {
    let mut text: Vec<String> = list.iter().take(most).map(ToString::to_string).collect();
    if list.len() > most {
        text.push(format!("and {} more", list.len() - most));
    }
    text.join(" | ")
}

/// The first refusals, for a message.
pub fn shown(list: &[Refusal]) -> String {
    text(list, SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_counts_what_it_leaves_out() {
        let refusal = |i: usize| Refusal { field: format!("f{i}"), message: "m".into(), remedy: "r".into() };
        let list: Vec<Refusal> = (0..6).map(refusal).collect();
        assert!(shown(&list).ends_with("f3: m; r | and 2 more"), "{}", shown(&list));
    }
}
