//! PURE. What a watch has shown so far, from its events: all objects of a kind, or those that somebody has asked for.

use std::collections::{BTreeMap, BTreeSet};

use kube::runtime::watcher::Event;

/// What an event has changed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Changed<V> {
    Nothing,
    /// Anything may have: a list is complete. All that there was before.
    All(BTreeMap<String, V>),
    /// This object, which was so before.
    One(String, Option<V>),
}

/// The same event, of a reference.
pub(super) fn by_ref<K>(event: &Event<K>) -> Event<&K> {
    match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(object),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(object),
        Event::Delete(object) => Event::Delete(object),
    }
}

/// The same event, of something else.
pub(super) fn map<K, T>(event: Event<K>, of: impl Fn(K) -> T) -> Event<T> {
    match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(of(object)),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(of(object)),
        Event::Delete(object) => Event::Delete(of(object)),
    }
}

/// All objects of a kind.
#[derive(Debug)]
pub(super) struct All<V> {
    /// Half a list says that the other half is not there: nothing is known before the first is whole.
    whole: bool,
    by_name: BTreeMap<String, V>,
    coming: BTreeMap<String, V>,
}

impl<V> Default for All<V> {
    fn default() -> Self {
        Self { whole: false, by_name: BTreeMap::new(), coming: BTreeMap::new() }
    }
}

impl<V: PartialEq> All<V> {
    /// Takes an event in. `view` says under which name an object is kept, and what is kept of it: nothing of one that is
    /// not looked at.
    pub fn take_in<K>(&mut self, event: Event<K>, view: impl Fn(K) -> (String, Option<V>)) -> Changed<V> {
        match event {
            Event::Init => self.coming.clear(),
            Event::InitApply(object) => {
                if let (name, Some(view)) = view(object) {
                    self.coming.insert(name, view);
                }
            }
            Event::InitDone => {
                self.whole = true;
                return Changed::All(std::mem::replace(&mut self.by_name, std::mem::take(&mut self.coming)));
            }
            Event::Apply(object) => {
                let (name, view) = view(object);
                let same = self.by_name.get(&name) == view.as_ref();
                let before = match view {
                    Some(view) => self.by_name.insert(name.clone(), view),
                    None => self.by_name.remove(&name),
                };
                if self.whole && !same {
                    return Changed::One(name, before);
                }
            }
            Event::Delete(object) => {
                let (name, _) = view(object);
                let before = self.by_name.remove(&name);
                if self.whole && before.is_some() {
                    return Changed::One(name, before);
                }
            }
        }
        Changed::Nothing
    }

    /// What is known, be it half of what there is.
    pub fn any(&self) -> &BTreeMap<String, V> {
        &self.by_name
    }

    /// Everything there is; `None` before that is known.
    pub fn known(&self) -> Option<&BTreeMap<String, V>> {
        self.whole.then_some(&self.by_name)
    }
}

/// What an event says of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told<V> {
    Is(V),
    /// It is there, but going, whatever it says.
    Gone,
    /// What was known of it holds.
    Unreadable,
}

/// Objects of a kind that somebody has asked for by name: the others may be many and large. One that was asked for after it
/// was last seen is not known before it is seen again.
#[derive(Debug)]
pub(super) struct Asked<V> {
    by_name: BTreeMap<String, Option<V>>,
    coming: BTreeSet<String>,
}

impl<V> Default for Asked<V> {
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), coming: BTreeSet::new() }
    }
}

impl<V> Asked<V> {
    /// Takes an event in; `asked`: the names that somebody wants now.
    pub fn take_in(&mut self, event: Event<(String, Told<V>)>, asked: &BTreeSet<String>) -> BTreeSet<String> {
        match event {
            Event::Init => self.coming.clear(),
            Event::InitApply((name, told)) => {
                self.coming.insert(name.clone());
                return self.see(name, told, asked);
            }
            Event::Apply((name, told)) => return self.see(name, told, asked),
            Event::Delete((name, _)) => return self.see(name, Told::Gone, asked),
            Event::InitDone => {
                let coming = std::mem::take(&mut self.coming);
                self.by_name.retain(|name, _| asked.contains(name));
                let missing: BTreeSet<String> = asked.difference(&coming).cloned().collect();
                self.by_name.extend(missing.iter().map(|name| (name.clone(), None)));
                return missing;
            }
        }
        BTreeSet::new()
    }

    fn see(&mut self, name: String, told: Told<V>, asked: &BTreeSet<String>) -> BTreeSet<String> {
        if !asked.contains(&name) {
            // Whoever asks for it later must not be told how it was before.
            self.by_name.remove(&name);
            return BTreeSet::new();
        }
        let view = match told {
            Told::Is(view) => Some(view),
            Told::Gone => None,
            Told::Unreadable => return BTreeSet::new(),
        };
        self.by_name.insert(name.clone(), view);
        BTreeSet::from([name])
    }

    /// What was known of it does not count any more.
    pub fn forget(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// It was read live.
    pub fn put(&mut self, name: String, view: Option<V>) {
        self.by_name.insert(name, view);
    }

    /// How the object is, or that there is none; `None`: not known.
    pub fn known(&self, name: &str) -> Option<&Option<V>> {
        self.by_name.get(name)
    }
}
