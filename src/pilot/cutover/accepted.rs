//! PURE. The condition `Accepted`: the whole Cutover with its templates, checked as soon as it is applied and again when a
//! template changes, so that a mistake is told by day and not by the run.

use super::known::Memo;
use super::order::{Reply, Request};
use super::replay::{Accepted, Replay, Resolved, Stop, another_kind};
use super::show::write_status;
use crate::api::condition::{reasons, set, set_whole, types};
use crate::api::cutover::{Cutover, CutoverSpec, CutoverStatus};
use crate::plan::templates::{Expanded, FoundTemplate, expand};
use crate::plan::{Plan, Refusal, resolve};

/// Refusals shown where a short text is wanted; the rest is counted.
const SHOWN: usize = 4;
/// Most refusals in the condition.
const MOST: usize = 64;

/// Checks the Cutover unless this generation of it was checked before with the same templates. What came of it stands in the
/// next status that is written ([`put`]), or is written when the look ends ([`written`]).
///
/// # Errors
/// When a template cannot be read for now.
pub fn check(look: &mut Replay<'_>, cutover: &mut Cutover) -> Result<(), Stop> {
    let generation = cutover.metadata.generation;
    let checked = look.seen().checked;
    if checked.is_some() && checked == generation {
        return Ok(());
    }
    // Said first: a template that changes while it is read makes it due once more.
    look.remember(Memo::Checked(generation));
    let refusals = refusals(look, &cutover.spec).map_err(|stop| again(look, stop))?;
    let refused = (!refusals.is_empty()).then(|| text(&refusals, MOST));
    let accepted = Accepted { refused, generation, at: look.now() };
    put(&accepted, cutover.status.get_or_insert_default());
    look.accepted = Some(accepted);
    Ok(())
}

/// Puts what came of a check into a status.
pub fn put(accepted: &Accepted, status: &mut CutoverStatus) {
    let Accepted { refused, generation, at } = accepted;
    match refused {
        None => {
            let message = "checked with its templates; nothing is refused";
            set(&mut status.conditions, types::ACCEPTED, true, reasons::ACCEPTED, message, *at);
        }
        Some(why) => set_whole(&mut status.conditions, types::ACCEPTED, false, reasons::INVALID_SPEC, why, *at),
    }
    for condition in status.conditions.iter_mut().filter(|c| c.type_ == types::ACCEPTED) {
        condition.observed_generation = *generation;
    }
}

/// What came of the check is written, if nothing that the look has written says it. So it is, too, where the look fails for
/// another reason.
pub fn written<T>(look: &mut Replay<'_>, end: Result<T, Stop>) -> Result<T, Stop> {
    let asks = matches!(end, Err(Stop::Asks(_)));
    let (Some(stands), Some(_), false) = (look.stands(), &look.accepted, asks) else { return end };
    let status = stands.status.clone().unwrap_or_default();
    write_status(look, stands, status).map_err(|stop| again(look, stop))?;
    end
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
