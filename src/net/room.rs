//! Requests to the API server that are under way together: each takes a connection, and they are few. A namespace has a share of
//! them, so that requests which are answered late, by a tenant's webhook for example, are in nobody else's way. A restore waits
//! for no room, and neither does the Lease; a watch has its connection for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, Uri};
use kube::Client;
use kube::client::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests under way together.
const ROOM: usize = 48;
/// Those of one namespace.
const SHARE: usize = 16;

/// Marks a request that waits for no room.
#[derive(Clone, Copy)]
struct Urgent;

/// A client over the connections of `base` whose requests wait for no room.
pub(crate) fn urgent(base: Client) -> Client {
    let namespace = base.default_namespace().to_owned();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        request.extensions_mut().insert(Urgent);
        let base = base.clone();
        async move { base.send(request).await }
    });
    Client::new(service, namespace)
}

/// The room of one process. Cheap to clone.
#[derive(Clone)]
pub struct Room {
    all: Arc<Semaphore>,
    shares: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

impl Default for Room {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(ROOM)), shares: Arc::default() }
    }
}

/// A place, until it is dropped.
struct Place {
    room: Room,
    namespace: Option<String>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Room {
    /// A client over the connections of `base` whose requests wait until there is room.
    pub fn guard(&self, base: Client) -> Client {
        let room = self.clone();
        let namespace = base.default_namespace().to_owned();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (room, base) = (room.clone(), base.clone());
            async move {
                let free = request.extensions().get::<Urgent>().is_some() || is_free(request.uri());
                let _place = if free { None } else { Some(room.place(namespace_of(request.uri())).await) };
                base.send(request).await
            }
        });
        Client::new(service, namespace)
    }

    /// The share first: whoever waits for its own takes nobody else's room meanwhile.
    async fn place(&self, namespace: Option<&str>) -> Place {
        let mut place = Place { room: self.clone(), namespace: namespace.map(str::to_owned), permits: vec![] };
        let share = namespace.map(|namespace| {
            let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
            shares.entry(namespace.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(SHARE))).clone()
        });
        for semaphore in share.into_iter().chain([self.all.clone()]) {
            // None of them is ever closed.
            place.permits.extend(semaphore.acquire_owned().await.ok());
        }
        place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permits.clear();
        let Some(namespace) = &self.namespace else { return };
        let mut shares = self.room.shares.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody has a place of it, and nobody waits for one: those would have the semaphore, too.
        if shares.get(namespace).is_some_and(|share| Arc::strong_count(share) == 1) {
            shares.remove(namespace);
        }
    }
}

/// Watches, and what keeps the Lease.
fn is_free(uri: &Uri) -> bool {
    let watch = |pair: &str| matches!(pair, "watch=true" | "watch=1");
    uri.query().is_some_and(|query| query.split('&').any(watch)) || uri.path().contains("/leases/")
}

/// The namespace of a request.
fn namespace_of(uri: &Uri) -> Option<&str> {
    let mut parts = uri.path().split('/');
    parts.by_ref().find(|part| *part == "namespaces")?;
    parts.next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::{ListParams, WatchParams};
    use tokio::sync::Notify;

    use super::*;

    /// An API server that answers nobody before it is told to, and how many have asked.
    fn silent() -> (Client, Arc<AtomicUsize>, Arc<Notify>) {
        let (asked, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (count, bell) = (asked.clone(), go.clone());
        let service = tower::service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::SeqCst);
            let bell = bell.clone();
            async move {
                bell.notified().await;
                let list = r#"{"apiVersion":"v1","kind":"ConfigMapList","metadata":{},"items":[]}"#;
                Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(list.as_bytes().to_vec())))
            }
        });
        (Client::new(service, "default"), asked, go)
    }

    fn ask(client: &Client, namespace: &str) {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        tokio::spawn(async move { api.list(&ListParams::default()).await.map(drop) });
    }

    async fn settled(asked: &AtomicUsize) -> usize {
        // Paused time moves only when nothing else can.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        asked.load(Ordering::SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_has_its_share_and_all_have_the_room() {
        let (base, asked, go) = silent();
        let room = Room::default();
        let client = room.guard(base);
        (0..100).for_each(|_| ask(&client, "loud"));
        assert_eq!(settled(&asked).await, SHARE);
        ask(&client, "quiet");
        assert_eq!(settled(&asked).await, SHARE + 1, "another namespace has room");
        (0..10).for_each(|n| (0..SHARE).for_each(|_| ask(&client, &format!("other-{n}"))));
        assert_eq!(settled(&asked).await, ROOM);
        for _ in 0..40 {
            go.notify_waiters();
            settled(&asked).await;
        }
        assert_eq!(settled(&asked).await, 100 + 1 + 10 * SHARE, "everybody had a turn");
        assert!(room.shares.lock().expect("the shares").is_empty(), "and nothing is kept of them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_restore_the_lease_and_watches_wait_for_nobody() {
        let (base, asked, _go) = silent();
        let client = Room::default().guard(base);
        (0..100).for_each(|n| ask(&client, &format!("n-{n}")));
        assert_eq!(settled(&asked).await, ROOM);
        ask(&urgent(client.clone()), "n-1");
        assert_eq!(settled(&asked).await, ROOM + 1);
        let leases: Api<k8s_openapi::api::coordination::v1::Lease> = Api::namespaced(client.clone(), "cutover-system");
        tokio::spawn(async move { leases.get("operator").await.map(drop) });
        assert_eq!(settled(&asked).await, ROOM + 2);
        let watched: Api<ConfigMap> = Api::namespaced(client, "n-2");
        tokio::spawn(async move { watched.watch(&WatchParams::default(), "0").await.map(drop) });
        assert_eq!(settled(&asked).await, ROOM + 3);
    }
}
