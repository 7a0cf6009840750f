//! The watches of a namespace: as many for three runs as for one, and none for nobody.

use std::sync::atomic::{AtomicUsize, Ordering};

use kube::client::Body;
use tokio::sync::watch;

use super::*;
use crate::api::step::WorkloadRef;

/// What is watched now: an API server that takes every watch and says nothing in it.
fn server() -> (Client, Arc<Mutex<Vec<String>>>, watch::Receiver<usize>) {
    let open: Arc<Mutex<Vec<String>>> = Arc::default();
    let (count, seen) = watch::channel(0);
    let (all, count) = (open.clone(), Arc::new(count));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (all, count) = (all.clone(), count.clone());
        async move {
            let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default());
            if query.contains("watch=") {
                all.lock().expect("one at a time").push(path.clone());
                count.send_modify(|count| *count += 1);
                let _open = Open(path, all, count);
                std::future::pending::<()>().await;
            }
            // A list without a resourceVersion is as current as a live read. One with a resourceVersion may be old.
            if query.contains("resourceVersion=") {
                let gone = http::Response::builder().status(410).body(Body::from(b"{}".to_vec()));
                return Ok(gone.expect("a response"));
            }
            let list = br#"{"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": []}"#;
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(list.to_vec())))
        }
    });
    (Client::new(service, "a"), open, seen)
}

struct Open(String, Arc<Mutex<Vec<String>>>, Arc<watch::Sender<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        let mut all = self.1.lock().expect("one at a time");
        if let Some(at) = all.iter().position(|path| *path == self.0) {
            all.remove(at);
        }
        self.2.send_modify(|count| *count -= 1);
    }
}

fn subscriber(namespace: &str, kinds: &[WorkloadKind]) -> Arc<Subscriber> {
    let workloads = kinds.iter().map(|kind| WorkloadRef { kind: *kind, name: "w".into() }).collect();
    Subscriber::new(Wants { namespace: namespace.into(), workloads, jobs: true, ..Wants::default() })
}

#[tokio::test]
async fn three_runs_of_a_namespace_share_their_watches_and_the_last_one_ends_them() {
    let (client, open, mut count) = server();
    let source = Source { client, board: Watches::default(), waits: Waits::default() };
    let spaces = Spaces::default();
    let one = spaces.join(&source, &subscriber("a", &[WorkloadKind::Deployment]));
    count.wait_for(|n| *n == 5).await.expect("a server");
    let more: Vec<_> = (0..2).map(|_| spaces.join(&source, &subscriber("a", &[WorkloadKind::Deployment]))).collect();
    assert!(more.iter().all(|space| Arc::ptr_eq(space, &one)));
    let with_another_kind = spaces.join(&source, &subscriber("a", &[WorkloadKind::StatefulSet]));
    count.wait_for(|n| *n == 6).await.expect("a server");
    let elsewhere = spaces.join(&source, &subscriber("b", &[]));
    count.wait_for(|n| *n == 10).await.expect("a server");
    let mut paths = open.lock().expect("one at a time").clone();
    paths.retain(|path| path.contains("/namespaces/a/"));
    paths.sort();
    let kinds: Vec<&str> = paths.iter().filter_map(|path| path.rsplit('/').next()).collect();
    assert_eq!(kinds, ["pods", "services", "deployments", "statefulsets", "jobs", "endpointslices"]);
    drop((one, more));
    assert_eq!(*count.borrow(), 10, "somebody is still there");
    drop(with_another_kind);
    count.wait_for(|n| *n == 4).await.expect("a server");
    drop(elsewhere);
    count.wait_for(|n| *n == 0).await.expect("a server");
    let again = spaces.join(&source, &subscriber("a", &[]));
    count.wait_for(|n| *n == 4).await.expect("a server");
    drop(again);
}

#[tokio::test]
async fn what_the_watches_list_for_a_run_is_its_first_reading_and_nobody_elses() {
    let (client, ..) = server();
    let source = Source { client, board: Watches::default(), waits: Waits::default() };
    let spaces = Spaces::default();
    let run = |uid: &str| {
        let workloads = [WorkloadRef { kind: WorkloadKind::Deployment, name: "w".into() }].into();
        let services = ["web".to_owned()].into();
        Subscriber::new(Wants { namespace: "a".into(), run_uid: uid.into(), workloads, services, ..Wants::default() })
    };
    let (one, other) = (run("one"), run("other"));
    let space = spaces.join(&source, &one);
    let again = spaces.join(&source, &other);
    assert!(spaces.first("a", "other").is_none(), "its watches were there before it");
    assert!(spaces.first("b", "one").is_none());
    let first = spaces.first("a", "one").expect("the watches were begun for it").come().await;
    assert!(spaces.first("a", "one").is_none(), "a second reading is a reading");
    let workload = one.wants.workloads.first().expect("one").clone();
    for slot in [Slot::Pods, Slot::Service("web".into()), Slot::Endpoints("web".into()), Slot::Workload(workload)] {
        assert!(first.show(&one.wants, &slot).is_some(), "{slot:?}");
    }
    assert!(first.show(&one.wants, &Slot::Cutover).is_none());
    assert!(first.began <= Timestamp::now());
    drop((space, again));
}

#[tokio::test(start_paused = true)]
async fn lists_that_do_not_come_are_read_by_the_run_itself() {
    let service = tower::service_fn(|_: http::Request<Body>| {
        std::future::pending::<Result<http::Response<Body>, std::convert::Infallible>>()
    });
    let (client, board) = (Client::new(service, "a"), Watches::default());
    let spaces = Spaces::default();
    let one = subscriber("a", &[]);
    let space = spaces.join(&Source { client, board, waits: Waits::default() }, &one);
    let first = spaces.first("a", "").expect("begun for it").come().await;
    assert!(first.show(&one.wants, &Slot::Pods).is_none());
    drop(space);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_breaks_begins_anew() {
    let begun = AtomicUsize::new(0);
    let watch = for_ever("a test", || async {
        assert!(begun.fetch_add(1, Ordering::Relaxed) > 1, "it breaks");
        std::future::pending::<()>().await;
    });
    let over = tokio::time::timeout(AGAIN * 10, watch).await;
    assert!(over.is_err() && begun.load(Ordering::Relaxed) == 3);
}
