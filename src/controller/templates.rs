//! Which templates the watches have shown, as far as a change of one has to be told from a first sight.

use std::collections::HashMap;

use kube::ResourceExt;
use kube::runtime::watcher::Event;

use crate::api::template::TemplateKind;
use crate::pilot::cutover::TemplateKey;

/// The generation of each template.
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
}
