//! The condition `Accepted`: the whole Cutover with its templates, checked as soon as it is applied and again when a
//! template changes, so that a mistake is told by day and not by the run.

use std::collections::HashMap;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::watcher::Event;

use super::reconcile::{Look, write_status};
use super::templates;
use crate::act::call::CallError;
use crate::api::condition::{reasons, set, set_whole, types};
use crate::api::cutover::{Cutover, CutoverSpec};
use crate::api::template::TemplateKind;
use crate::plan::{Refusal, resolve};

/// Refusals shown where a short text is wanted; the rest is counted.
const SHOWN: usize = 4;
/// Most refusals in the condition.
const MOST: usize = 64;

/// Checks the Cutover unless this generation of it was checked before with the same templates, and records what came of it.
///
/// # Errors
/// When a template cannot be read, or the status cannot be written, for now.
pub async fn check(look: &Look<'_>, cutover: Cutover) -> Result<Cutover, CallError> {
    let generation = cutover.metadata.generation;
    if look.cx.known.is_checked(&look.key, generation) {
        return Ok(cutover);
    }
    // Said first: a template that changes while it is read makes it due once more.
    look.cx.known.checked(&look.key, generation);
    let refusals = match refusals(look, &cutover.spec).await {
        Ok(refusals) => refusals,
        Err(e) => {
            look.cx.known.check_again(&look.key);
            return Err(e);
        }
    };
    let mut status = cutover.status.clone().unwrap_or_default();
    let now = Timestamp::now();
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
    match write_status(look, &cutover, status).await {
        Ok(written) => Ok(written),
        Err(e) => {
            look.cx.known.check_again(&look.key);
            Err(e)
        }
    }
}

/// All that is refused, whichever side is live.
async fn refusals(look: &Look<'_>, spec: &CutoverSpec) -> Result<Vec<Refusal>, CallError> {
    let (name, namespace) = (&look.key.name, &look.key.namespace);
    let old = spec.sides.iter().find(|side| side.name != spec.activate).map(|side| side.name.clone());
    let whole = match templates::expanded(&look.cx.client, namespace, spec).await? {
        Ok(whole) => whole,
        Err(list) => return Ok(list),
    };
    let resolved = resolve(name, namespace, &whole.spec, &old.unwrap_or_default(), &look.cx.offered);
    Ok(resolved.err().unwrap_or_default().into_iter().map(|r| whole.explain(r)).collect())
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

/// A template by its kind, its namespace (none for one of the whole cluster) and its name.
pub type TemplateKey = (TemplateKind, Option<String>, String);

/// Which templates exist, as far as a change of one has to be told from a first sight.
#[derive(Default)]
pub struct Templates {
    generations: HashMap<TemplateKey, i64>,
}

impl Templates {
    /// What an event of the watch of one kind says: the template that is new, changed or gone.
    pub fn changed<K: ResourceExt>(&mut self, kind: TemplateKind, event: Event<K>) -> Option<TemplateKey> {
        let key = |object: &K| (kind, object.namespace(), object.name_any());
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let generation = object.meta().generation.unwrap_or_default();
                let known = self.generations.insert(key(&object), generation);
                (known != Some(generation)).then(|| key(&object))
            }
            Event::Delete(object) => {
                self.generations.remove(&key(&object));
                Some(key(&object))
            }
            Event::Init | Event::InitDone => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CutoverTemplate;

    fn template(generation: i64) -> CutoverTemplate {
        let mut template = CutoverTemplate::new("smoke", Default::default());
        template.metadata.namespace = Some("prod".into());
        template.metadata.generation = Some(generation);
        template
    }

    #[test]
    fn a_template_is_told_when_it_comes_changes_and_goes_and_not_when_it_is_listed_again() {
        let mut known = Templates::default();
        let key = Some((TemplateKind::CutoverTemplate, Some("prod".to_owned()), "smoke".to_owned()));
        let mut seen = |event| known.changed(TemplateKind::CutoverTemplate, event);
        assert_eq!(seen(Event::InitApply(template(1))), key);
        assert_eq!(seen(Event::InitApply(template(1))), None);
        assert_eq!(seen(Event::Apply(template(2))), key);
        assert_eq!(seen(Event::Delete(template(2))), key);
        assert_eq!(seen(Event::Apply(template(1))), key);
    }

    #[test]
    fn a_short_text_counts_what_it_leaves_out() {
        let refusal = |i: usize| Refusal { field: format!("f{i}"), message: "m".into(), remedy: "r".into() };
        let list: Vec<Refusal> = (0..6).map(refusal).collect();
        assert!(shown(&list).ends_with("f3: m; r | and 2 more"), "{}", shown(&list));
    }
}
