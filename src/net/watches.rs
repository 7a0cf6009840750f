//! Every watch of this process: whether it works, and since when it does not. A watch is dead once it has failed, until the
//! API server takes it again; and once it has been open and silent for too long, until the API server says something in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Uri;
use tokio::time::Instant;

/// The API server ends a watch after this time, and has spoken in it by then.
pub(crate) const SECONDS: u32 = 60;
/// A watch that ends after so much silence is one that its client has given up. The API server itself ends it earlier.
const GIVEN_UP: Duration = Duration::from_secs(62);
/// A watch is not silent for so long while it works.
const SILENT: Duration = Duration::from_secs(70);

/// What a watch asks for. Watches that ask for the same are as good as each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Key {
    path: String,
    fields: String,
    labels: String,
}

impl Key {
    /// `None` for a request that is no watch.
    fn of(uri: &Uri) -> Option<Self> {
        let mut key = Self { path: uri.path().to_owned(), ..Self::default() };
        let mut watches = false;
        for (name, value) in url::form_urlencoded::parse(uri.query()?.as_bytes()) {
            match &*name {
                "watch" => watches = matches!(&*value, "true" | "1" | ""),
                "fieldSelector" => key.fields = value.into_owned(),
                "labelSelector" => key.labels = value.into_owned(),
                _ => {}
            }
        }
        watches.then_some(key)
    }
}

/// The resource in a path such as `/api/v1/…` or `/apis/GROUP/VERSION/…`, with `namespaces/NAME` before it or not.
pub(crate) fn resource(path: &str) -> Option<&str> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    parts.find(|part| matches!(*part, "api" | "apis")).and_then(|root| parts.nth(usize::from(root != "api")))?;
    let rest: Vec<&str> = parts.collect();
    match rest.as_slice() {
        ["namespaces", _, resource, ..] => Some(resource),
        [resource, ..] => Some(resource),
        [] => None,
    }
}

struct Entry {
    key: Key,
    name: String,
    /// It may be one that the operator has no right to.
    optional: bool,
    /// Everything there is has been told once.
    listed: bool,
    /// Its request that is under way.
    request: Option<u64>,
    /// The API server has taken that.
    open: bool,
    /// Its last one ended in silence, so that the answer to the next one alone says little.
    mute: bool,
    /// When it was last known to work.
    heard: Instant,
    /// Since when it fails, and why it failed last.
    failed: Option<(Instant, String)>,
    /// The operator has no right to it, which is told elsewhere.
    forbidden: bool,
}

impl Entry {
    fn works(&mut self) {
        (self.heard, self.failed, self.mute, self.forbidden) = (Instant::now(), None, false, false);
    }

    /// Since when it is dead, and what people are told of it.
    fn trouble(&self) -> Option<(Instant, String)> {
        if self.forbidden {
            return None;
        }
        let silent = self.heard.elapsed();
        let long = (silent >= SILENT).then(|| self.heard + SILENT);
        let (since, says) = match (&self.failed, long) {
            (Some((since, why)), long) => (long.map_or(*since, |long| long.min(*since)), format!("fails: {why}")),
            (None, Some(long)) => (long, format!("has heard nothing for {} s", silent.as_secs())),
            (None, None) => return None,
        };
        Some((since, format!("the watch of {} {says}", self.name)))
    }
}

#[derive(Default)]
struct Board {
    next: u64,
    entries: BTreeMap<u64, Entry>,
}

/// The watches of this process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watches(Arc<Mutex<Board>>);

/// Somebody wants to watch something, until this is dropped.
pub(crate) struct Wanted {
    board: Watches,
    id: u64,
}

/// A request that watches, from when it is sent until this is dropped.
pub(crate) struct Asked {
    board: Watches,
    entry: Option<u64>,
    id: u64,
}

impl Watches {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is watched from now on. `name` is what people call it; `optional` if the operator may lack the right.
    pub(crate) fn want(
        &self,
        path: &str,
        fields: Option<&str>,
        labels: Option<&str>,
        name: &str,
        optional: bool,
    ) -> Wanted {
        let text = |selector: Option<&str>| selector.unwrap_or_default().to_owned();
        let key = Key { path: path.to_owned(), fields: text(fields), labels: text(labels) };
        let mut board = self.board();
        let id = board.next;
        board.next += 1;
        let entry = Entry {
            key,
            name: name.to_owned(),
            optional,
            listed: false,
            request: None,
            open: false,
            mute: false,
            heard: Instant::now(),
            failed: None,
            forbidden: false,
        };
        board.entries.insert(id, entry);
        Wanted { board: self.clone(), id }
    }

    /// A request is sent. `None`: it watches nothing.
    pub(crate) fn asked(&self, uri: &Uri) -> Option<Asked> {
        let key = Key::of(uri)?;
        let mut board = self.board();
        let id = board.next;
        board.next += 1;
        let entry = board.entries.iter_mut().find(|(_, e)| e.key == key && e.request.is_none());
        let entry = entry.map(|(of, entry)| {
            entry.request = Some(id);
            *of
        });
        Some(Asked { board: self.clone(), entry, id })
    }

    /// How long each resource that is watched has been silent: its most silent watch.
    pub(crate) fn ages(&self) -> Vec<(String, Duration)> {
        let mut ages: BTreeMap<String, Duration> = BTreeMap::new();
        for entry in self.board().entries.values() {
            let resource = resource(&entry.key.path).unwrap_or_default().to_owned();
            let age = ages.entry(resource).or_default();
            *age = (*age).max(entry.heard.elapsed());
        }
        ages.into_iter().collect()
    }

    /// Why not everything of this name has been listed; `None`: it has.
    pub(crate) fn not_listed(&self, name: &str) -> Option<String> {
        let board = self.board();
        let mut missing = board.entries.values().filter(|e| e.name == name && !e.listed).peekable();
        let known = board.entries.values().any(|e| e.name == name);
        if known && missing.peek().is_none() {
            return None;
        }
        Some(missing.find_map(|e| e.failed.as_ref()).map(|(_, why)| why.clone()).unwrap_or_default())
    }

    /// Whether what the watches of this name have told is all there is, as it is now.
    pub(crate) fn current(&self, name: &str) -> bool {
        let board = self.board();
        let mut of_name = board.entries.values().filter(|e| e.name == name).peekable();
        of_name.peek().is_some() && of_name.all(|e| e.listed && !e.forbidden && e.trouble().is_none())
    }

    /// What people are told of watches that are dead, and for how long the first of them has been; `None` while all work.
    pub(crate) fn trouble(&self) -> Option<(String, Duration)> {
        let board = self.board();
        let mut dead: Vec<(Instant, String)> = board.entries.values().filter_map(Entry::trouble).collect();
        dead.sort();
        let (since, says) = dead.first()?;
        let others = dead.len() - 1;
        let more = if others > 0 { format!(" (and {others} more)") } else { String::new() };
        Some((format!("{says}{more}"), since.elapsed()))
    }
}

impl Wanted {
    fn entry(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.board.board().entries.get_mut(&self.id) {
            change(entry);
        }
    }

    /// Everything there is has been told.
    pub(crate) fn listed(&self) {
        self.entry(|entry| entry.listed = true);
    }

    /// It failed, and is tried again. `forbidden`: the operator has no right to it.
    pub(crate) fn failed(&self, why: &str, forbidden: bool) {
        self.entry(|entry| {
            let since = entry.failed.take().map_or_else(Instant::now, |(since, _)| since);
            entry.failed = Some((since, why.chars().take(200).collect()));
            entry.forbidden = forbidden && entry.optional;
        });
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.board.board().entries.remove(&self.id);
    }
}

impl Asked {
    fn entry(&self, change: impl FnOnce(&mut Entry)) {
        let mut board = self.board.board();
        if let Some(entry) = self.entry.and_then(|of| board.entries.get_mut(&of))
            && entry.request == Some(self.id)
        {
            change(entry);
        }
    }

    /// The API server has taken the watch.
    pub(crate) fn taken(&self) {
        self.entry(|entry| {
            entry.open = true;
            if !entry.mute {
                entry.works();
            }
        });
    }

    /// The API server said something.
    pub(crate) fn heard(&self) {
        self.entry(Entry::works);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.entry(|entry| {
            entry.request = None;
            entry.mute |= std::mem::take(&mut entry.open) && entry.heard.elapsed() >= GIVEN_UP;
        });
    }
}

#[cfg(test)]
#[path = "watches_tests.rs"]
mod tests;
