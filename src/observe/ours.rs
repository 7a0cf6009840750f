//! Cutovers and people's decisions, as one watch of each shows them to all runs of the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};

use super::feed::{Slot, Subscriber, Subscribers, Wants};
use super::kept::{All, Asked, Changed, Told};
use super::scope;
use super::space::{Source, for_ever};
use crate::api::{Cutover, CutoverDecision};
use crate::net::call::answered;
use crate::net::watch::Named;
use crate::world::{CutoverView, DecisionView, Sighting, convert};

/// Cutovers of one page of a list: each is decoded as a whole before it is known that no run asks for it, and takes some
/// hundred KiB until then.
const PAGE: u32 = 20;
/// Pause before a question that was not answered is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A decision, and where it stands: one of another namespace counts nowhere else, whatever it names.
#[derive(Clone, Debug, PartialEq)]
struct Word {
    namespace: String,
    view: DecisionView,
}

impl Word {
    fn concerns(&self, wants: &Wants) -> bool {
        self.namespace == wants.namespace && self.view.spec.run_uid == wants.run_uid
    }
}

/// A Cutover, and its resourceVersion where that is a number.
#[derive(Clone, Debug, PartialEq)]
struct Versioned {
    version: Option<u64>,
    view: CutoverView,
}

/// What one pair of watches has shown: of a namespace, or of all.
#[derive(Default)]
struct Place {
    only: Option<String>,
    cutovers: Asked<Versioned>,
    decisions: All<Word>,
}

impl Place {
    fn has(&self, wants: &Wants) -> bool {
        self.only.as_ref().is_none_or(|only| *only == wants.namespace)
    }
}

#[derive(Default)]
struct State {
    subscribers: Subscribers,
    places: Vec<Place>,
    /// The version of each Cutover that was last read live: an older one is told to nobody, however late the watch shows it.
    read: BTreeMap<String, u64>,
}

/// How an object of a namespace is called here.
fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

impl State {
    fn asked(&self, place: usize) -> BTreeSet<String> {
        let Some(place) = self.places.get(place) else { return BTreeSet::new() };
        let wants = self.subscribers.each();
        wants.filter(|s| place.has(&s.wants)).map(|s| key(&s.wants.namespace, &s.wants.cutover)).collect()
    }

    /// Takes an event in. Gives the Cutovers that seem to be gone: whether they are is to be looked at live.
    fn cutover(&mut self, place: usize, event: Event<(String, Told<Versioned>)>, at: Timestamp) -> Vec<String> {
        let asked = self.asked(place);
        let Some(of) = self.places.get_mut(place) else { return vec![] };
        let changed = of.cutovers.take_in(event, &asked);
        let (gone, there): (BTreeSet<String>, BTreeSet<String>) =
            changed.into_iter().partition(|key| matches!(of.cutovers.known(key), Some(None)));
        gone.iter().for_each(|key| of.cutovers.forget(key));
        self.mark_cutovers(&there, at);
        gone.into_iter().collect()
    }

    /// A live reading has shown this, whatever the watch says.
    fn looked(&mut self, place: usize, key: String, found: Option<Versioned>, at: Timestamp) {
        if !self.asked(place).contains(&key) {
            return;
        }
        if let Some(version) = found.as_ref().and_then(|found| found.version) {
            self.read(&key, version);
        }
        if let Some(of) = self.places.get_mut(place) {
            of.cutovers.put(key.clone(), found);
            self.mark_cutovers(&BTreeSet::from([key]), at);
        }
    }

    /// This version of a Cutover was read live.
    fn read(&mut self, key: &str, version: u64) {
        let all: BTreeSet<String> =
            self.subscribers.each().map(|s| self::key(&s.wants.namespace, &s.wants.cutover)).collect();
        self.read.retain(|key, _| all.contains(key));
        let known = self.read.entry(key.to_owned()).or_default();
        *known = (*known).max(version);
    }

    fn mark_cutovers(&self, keys: &BTreeSet<String>, at: Timestamp) {
        self.subscribers.mark(at, |wants| {
            let concerns = keys.contains(&key(&wants.namespace, &wants.cutover));
            if concerns { vec![Slot::Cutover] } else { vec![] }
        });
    }

    fn decision(&mut self, place: usize, event: Event<DeserializeGuard<CutoverDecision>>, at: Timestamp) {
        let Some(of) = self.places.get_mut(place) else { return };
        let changed = of.decisions.take_in(event, |decision| {
            let namespace = decision.namespace().unwrap_or_default();
            let key = key(&namespace, &decision.name_any());
            (key, readable(decision).map(|view| Word { namespace, view }))
        });
        let of = &*of;
        match changed {
            Changed::Nothing => {}
            Changed::All(_) => {
                self.subscribers.mark(at, |wants| if of.has(wants) { vec![Slot::Decisions] } else { vec![] });
            }
            Changed::One(name, before) => {
                let now = of.decisions.any().get(&name);
                self.subscribers.mark(at, |wants| {
                    let concerns = before.iter().chain(now).any(|word| word.concerns(wants));
                    if concerns { vec![Slot::Decisions] } else { vec![] }
                });
            }
        }
    }

    fn show(&self, wants: &Wants, slot: &Slot) -> Option<Sighting> {
        let place = self.places.iter().find(|place| place.has(wants))?;
        match slot {
            Slot::Cutover => {
                let key = key(&wants.namespace, &wants.cutover);
                let known = place.cutovers.known(&key)?.as_ref();
                let version = known.and_then(|known| known.version);
                let older = version.zip(self.read.get(&key)).is_some_and(|(shown, read)| shown < *read);
                (!older).then(|| Sighting::Cutover(known.map(|known| known.view.clone())))
            }
            Slot::Decisions => {
                let words = place.decisions.known()?.values().filter(|word| word.concerns(wants));
                let mut list: Vec<DecisionView> = words.map(|word| word.view.clone()).collect();
                convert::order(&mut list);
                Some(Sighting::Decisions(list))
            }
            _ => None,
        }
    }
}

/// Cutovers and decisions. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Ours(Arc<Mutex<State>>);

impl Ours {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run hears of its Cutover and of people's words from now on, first of what is known.
    pub fn join(&self, subscriber: &Arc<Subscriber>) {
        self.state().subscribers.add(subscriber);
        // Any live reading is younger.
        subscriber.mark(Slot::Cutover, Timestamp::MIN);
        subscriber.mark(Slot::Decisions, Timestamp::MIN);
    }

    /// A live reading of a run has shown this version of its Cutover.
    pub fn read_live(&self, namespace: &str, cutover: &str, version: Option<&str>) {
        if let Some(version) = number(version) {
            self.state().read(&key(namespace, cutover), version);
        }
    }

    /// The latest of what the watches have shown.
    pub fn show(&self, wants: &Wants, slot: &Slot) -> Option<Sighting> {
        self.state().show(wants, slot)
    }

    /// Watches in these namespaces (none: everywhere), forever.
    pub async fn watch(&self, source: &Source, namespaces: &[String]) {
        let only: Vec<Option<String>> =
            if namespaces.is_empty() { vec![None] } else { namespaces.iter().cloned().map(Some).collect() };
        let place = |only: &Option<String>| Place { only: only.clone(), ..Place::default() };
        self.state().places = only.iter().map(place).collect();
        let watches = only.into_iter().enumerate().flat_map(|(place, only)| -> [BoxFuture<'_, ()>; 2] {
            let of = only.clone();
            [
                async move { for_ever("Cutovers", || self.cutovers(source, place, of.as_deref())).await }.boxed(),
                async move { for_ever("decisions", || self.decisions(source, place, only.as_deref())).await }.boxed(),
            ]
        });
        join_all(watches).await;
    }

    async fn cutovers(&self, source: &Source, place: usize, only: Option<&str>) {
        let api = api::<DeserializeGuard<Cutover>>(&source.client, only);
        let config = watcher::Config::default().page_size(PAGE);
        let mut batches = Box::pin(source.follow(api, config, &Named::needed("cutovers of runs")));
        while let Some(batch) = batches.next().await {
            for event in batch {
                let event = match event {
                    Event::Init => Event::Init,
                    Event::InitDone => Event::InitDone,
                    Event::Delete(object) => Event::Delete((key_of(&object), Told::Gone)),
                    Event::InitApply(object) => Event::InitApply(self.told(source, place, object).await),
                    Event::Apply(object) => Event::Apply(self.told(source, place, object).await),
                };
                let gone = self.state().cutover(place, event, Timestamp::now());
                for key in gone {
                    self.look(source, place, key).await;
                }
            }
        }
    }

    /// What an event says of a Cutover.
    async fn told(
        &self,
        source: &Source,
        place: usize,
        object: DeserializeGuard<Cutover>,
    ) -> (String, Told<Versioned>) {
        let key = key_of(&object);
        // Of the others nothing is kept.
        let asked = self.state().asked(place).contains(&key);
        let told = if asked { view(source, object).await } else { Told::Unreadable };
        (key, told)
    }

    /// Looks live at a Cutover that seems to be gone: the watch may be behind, and there be another one of that name.
    async fn look(&self, source: &Source, place: usize, key: String) {
        let Some((namespace, name)) = key.split_once('/') else { return };
        let api = Api::<DeserializeGuard<Cutover>>::namespaced(source.client.clone(), namespace);
        let found = match answered(api.get_opt(name)).await {
            Ok(None) => None,
            Ok(Some(object)) => match view(source, object).await {
                Told::Is(view) => Some(view),
                Told::Gone => None,
                Told::Unreadable => return,
            },
            // The next live reading of the run tells.
            Err(error) => return tracing::warn!(cutover = key, %error, "whether the Cutover is gone cannot be read"),
        };
        self.state().looked(place, key, found, Timestamp::now());
    }

    async fn decisions(&self, source: &Source, place: usize, only: Option<&str>) {
        let api = api::<DeserializeGuard<CutoverDecision>>(&source.client, only);
        // Answered ones are of no interest, and there may be many of them.
        let open = watcher::Config::default().fields(scope::OPEN);
        let config = if selects_open(&api).await { open } else { watcher::Config::default() };
        let mut batches = Box::pin(source.follow(api, config, &Named::needed("decisions on runs")));
        while let Some(batch) = batches.next().await {
            let at = Timestamp::now();
            let mut state = self.state();
            batch.into_iter().for_each(|event| state.decision(place, event, at));
        }
    }
}

fn api<K>(client: &Client, only: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    only.map_or_else(|| Api::all(client.clone()), |namespace| Api::namespaced(client.clone(), namespace))
}

fn key_of(object: &impl ResourceExt) -> String {
    key(&object.namespace().unwrap_or_default(), &object.name_any())
}

/// What is known of a Cutover by this object. Of one that goes, whether its namespace goes with it is asked live.
async fn view(source: &Source, object: DeserializeGuard<Cutover>) -> Told<Versioned> {
    let (key, version) = (key_of(&object), number(object.resource_version().as_deref()));
    let going = match &object.0 {
        Ok(object) if object.metadata.deletion_timestamp.is_some() => {
            match going(&source.client, &object.namespace().unwrap_or_default()).await {
                Ok(going) => going,
                Err(error) => {
                    tracing::warn!(cutover = key, error, "whether its namespace goes cannot be read");
                    return Told::Unreadable;
                }
            }
        }
        _ => false,
    };
    match object.0 {
        Ok(object) => Told::Is(Versioned { version, view: convert::cutover(&object, going) }),
        // Whatever it says: it is going.
        Err(error) if error.metadata.deletion_timestamp.is_some() => Told::Gone,
        Err(error) => {
            tracing::warn!(cutover = key, %error, "the Cutover cannot be read; its last readable state holds");
            Told::Unreadable
        }
    }
}

fn number(version: Option<&str>) -> Option<u64> {
    version.and_then(|version| version.parse().ok())
}

/// Whether the API server can leave out decisions that have been answered: definitions of an older version cannot.
async fn selects_open(api: &Api<DeserializeGuard<CutoverDecision>>) -> bool {
    let params = ListParams::default().fields(scope::OPEN).limit(1);
    loop {
        match answered(api.list(&params)).await {
            Ok(_) => return true,
            Err(error) if error.code() == Some(400) => return false,
            Err(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}

/// A decision that can be read and has no answer yet.
pub(super) fn readable(decision: DeserializeGuard<CutoverDecision>) -> Option<DecisionView> {
    match decision.0 {
        Ok(decision) => decision.is_open().then(|| convert::decision(&decision)),
        Err(error) => {
            tracing::warn!(decision = error.metadata.name, %error, "a decision cannot be read and does not count");
            None
        }
    }
}

/// Whether the namespace is being deleted.
pub(super) async fn going(client: &Client, namespace: &str) -> Result<bool, String> {
    let api = Api::<Namespace>::all(client.clone());
    match answered(api.get_opt(namespace)).await {
        Ok(found) => Ok(found.is_none_or(|n| n.metadata.deletion_timestamp.is_some())),
        Err(error) => Err(format!("Namespace {namespace}: {error}")),
    }
}

#[cfg(test)]
#[path = "ours_tests.rs"]
mod tests;
