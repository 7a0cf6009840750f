//! One watch that never ends by itself: paced where it fails, begun anew where the API server does not remember where it
//! stood, and known to the health of the process.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::Api;
use kube::runtime::watcher::{self, Config, Error, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::watches::{SECONDS, Wanted, Watches};

/// Pauses between tries: the first, and the longest that doubling it leads to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// A failure so long after the one before is the first of its kind.
const CALM: Duration = Duration::from_secs(30);

/// What a watch is called, and whether the operator may lack the right to it.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    /// Without the right it is tried on, and nobody is told.
    pub optional: bool,
}

impl Named {
    /// One that the operator cannot do without.
    pub fn needed(name: impl Into<String>) -> Self {
        Self { name: name.into(), optional: false }
    }

    /// One that it may lack the right to.
    pub fn optional(name: impl Into<String>) -> Self {
        Self { name: name.into(), optional: true }
    }
}

struct Life<K, B> {
    begin: B,
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    wanted: Wanted,
    pause: Pause,
    /// Before the next event is asked for.
    wait: Option<Duration>,
}

/// Watches forever. Each failure is an item, and no other watch waits for it.
pub(crate) fn watch<K>(
    board: &Watches,
    api: Api<K>,
    config: Config,
    named: &Named,
) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: kube::Resource + Clone + Debug + Send + DeserializeOwned + 'static,
    K::DynamicType: Clone,
{
    let config = config.timeout(SECONDS);
    let selectors = (config.field_selector.as_deref(), config.label_selector.as_deref());
    let wanted = board.want(api.resource_url(), selectors.0, selectors.1, &named.name, named.optional);
    life(move || watcher(api.clone(), config.clone()).boxed(), wanted)
}

fn life<K, B>(begin: B, wanted: Wanted) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: Send + 'static,
    B: Fn() -> BoxStream<'static, watcher::Result<Event<K>>> + Send + 'static,
{
    let life = Life { events: begin(), begin, wanted, pause: Pause::default(), wait: None };
    stream::unfold(life, async |mut life| {
        if let Some(pause) = life.wait.take() {
            tokio::time::sleep(pause).await;
        }
        let event = life.events.next().await?;
        match &event {
            // Half a list: its other half may fail as often as it is tried.
            Ok(Event::Init | Event::InitApply(_)) => {}
            Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => {
                life.pause = Pause::default();
                life.wanted.listed();
            }
            Err(error) => {
                let answer = answered(error);
                life.wanted.failed(&error.to_string(), answer.is_some_and(kube::core::Status::is_forbidden));
                life.wait = Some(life.pause.next());
                if answer.is_some_and(lost_its_place) {
                    // The watcher itself would ask for the same place forever.
                    life.events = (life.begin)();
                }
            }
        }
        Some((event, life))
    })
    .boxed()
}

/// What the API server answered, if it did.
fn answered(error: &Error) -> Option<&kube::core::Status> {
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status))
        | Error::WatchError(status) => Some(status),
        Error::InitialListFailed(_) | Error::WatchStartFailed(_) | Error::WatchFailed(_) => None,
        Error::NoResourceVersion => None,
    }
}

/// The API server has forgotten what was there when the watch last heard something, or, restored from a backup, has never
/// known it: only a new list helps.
fn lost_its_place(status: &kube::core::Status) -> bool {
    status.code == 410 || status.message.contains("Too large resource version")
}

/// Pauses of a watch that fails again and again.
#[derive(Debug)]
struct Pause {
    next: Duration,
    last: Option<Instant>,
}

impl Default for Pause {
    fn default() -> Self {
        Self { next: PAUSES.0, last: None }
    }
}

impl Pause {
    fn next(&mut self) -> Duration {
        if self.last.is_some_and(|last| last.elapsed() >= CALM) {
            *self = Self::default();
        }
        self.last = Some(Instant::now());
        let now = self.next;
        self.next = (now * 2).min(PAUSES.1);
        now
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn refused(code: u16) -> Error {
        let status = kube::core::Status::failure("no", "Test").with_code(code);
        Error::WatchStartFailed(kube::Error::Api(Box::new(status)))
    }

    /// A watch whose beginnings are counted; each of them says `events`.
    async fn begun(events: fn() -> Vec<watcher::Result<Event<u8>>>, take: usize) -> u32 {
        let count = Arc::new(AtomicU32::new(0));
        let counted = count.clone();
        let begin = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            stream::iter(events()).chain(stream::pending()).boxed()
        };
        let wanted = Watches::default().want("/api/v1/pods", None, None, "pods", false);
        let heard: Vec<_> = life(begin, wanted).take(take).collect().await;
        assert_eq!(heard.len(), take);
        count.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_the_api_server_has_forgotten_is_given_up() {
        // The watcher asks for the same resourceVersion again whatever the answer was.
        assert_eq!(begun(|| vec![Ok(Event::InitDone), Err(refused(410))], 5).await, 3);
        assert_eq!(begun(|| vec![Ok(Event::InitDone), Err(refused(503)), Err(refused(503))], 3).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_few_seconds_although_lists_begin_well() {
        let mut all = vec![];
        for _ in 0..8 {
            all.extend([Ok(Event::Init), Err(refused(503))]);
        }
        let wanted = Watches::default().want("/api/v1/pods", None, None, "pods", false);
        let mut events = Some(all);
        let begin = std::sync::Mutex::new(move || stream::iter(events.take().unwrap_or_default()).boxed());
        let mut heard: BoxStream<'static, watcher::Result<Event<u8>>> =
            life(move || (begin.lock().expect("one thread"))(), wanted);
        let (mut last, mut pauses) = (Instant::now(), vec![]);
        while let Some(event) = heard.next().await {
            if event.is_ok() {
                pauses.push(last.elapsed().as_millis());
            }
            last = Instant::now();
        }
        assert_eq!(pauses, [0, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_at_once() {
        let board = Watches::default();
        let wanted = board.want("/api/v1/pods", None, None, "pods", false);
        let mut heard = life(|| stream::iter([Err::<Event<u8>, _>(refused(503))]).boxed(), wanted);
        let before = Instant::now();
        assert!(heard.next().await.is_some_and(|event| event.is_err()));
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert!(board.trouble().is_some_and(|(why, _)| why.contains("the watch of pods fails")));
        drop(heard);
        assert_eq!(board.trouble(), None, "nobody wants it any more");
    }
}
